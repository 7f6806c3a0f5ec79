package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/antientropy"
	"starling/coordinator"
	"starling/coordinator/rpc/internal/wire"
	"starling/gossip/state"
	"starling/ring"
	"starling/store/object"
)

// Options of a [Transport]. Node, Resolve and Logger are required; zero
// elsewhere is the default, of which package wire has the bounds.
type Options struct {
	// Node is this node's ID, Cluster its cluster's: zero until it has joined.
	Node    ring.NodeID
	Cluster [16]byte
	// Resolve gives a member's RPC address.
	Resolve func(ring.NodeID) (addr string, ok bool)
	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: none
	// Observe hears of every call to a member how long it took; nil: nobody.
	Observe func(to ring.NodeID, method string, took time.Duration, err error)
	// Dial opens a connection; nil: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	// QueueBytes bounds what waits to be written on one connection, MaxPending
	// the calls that wait on one, MaxInFlight the requests that run for one.
	QueueBytes, MaxPending, MaxInFlight int
	// MaxServerInFlight and MaxServerInFlightBytes bound what runs for all
	// peers together, but for a small part that each is sure of.
	MaxServerInFlight, MaxServerInFlightBytes int
	// PingEvery and DeadAfter are how long a silent connection waits before
	// it pings, and before it gives up; BusyPingEvery and BusyDeadAfter are
	// the same while calls wait on it.
	PingEvery, DeadAfter, BusyPingEvery, BusyDeadAfter time.Duration
	// DialTimeout bounds a dial with its preface, DrainTimeout the end of
	// Serve.
	DialTimeout, DrainTimeout time.Duration

	// ReplyDelay holds every answer to a read, replicate or forward back, and
	// those to batches of them.
	// For tests only.
	ReplyDelay time.Duration
}

// Transport is a node's end of the wire: it calls peers and serves their
// calls. Its methods may be called concurrently.
type Transport struct {
	opts     Options
	cluster  atomic.Pointer[[16]byte]
	services atomic.Pointer[Services]
	pool     *wire.Pool
	server   *wire.Server
	called   *requestCounters
	served   *requestCounters
	bytes    *byteCounters
}

var (
	_ coordinator.Peers      = (*Transport)(nil)
	_ coordinator.BatchPeers = (*Transport)(nil)
	_ coordinator.ListPeers  = (*Transport)(nil)
	_ coordinator.Probes     = (*Transport)(nil)
	_ antientropy.Peers      = (*Transport)(nil)

	_ antientropy.ReplicaPeers = (*Transport)(nil)
	_ antientropy.ReportPeers  = (*Transport)(nil)
	_ antientropy.ReapPeers    = (*Transport)(nil)
	_ antientropy.RepairPeers  = (*Transport)(nil)
)

// New makes a transport. It serves nothing before Serve, and calls peers until
// Close.
func New(o Options) (*Transport, error) {
	if o.Resolve == nil || o.Logger == nil {
		return nil, errors.New("rpc: Resolve and Logger are required")
	}
	t := &Transport{opts: o}
	t.cluster.Store(&o.Cluster)
	t.services.Store(&Services{})
	counted, err := wire.NewMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("rpc: metrics: %w", err)
	}
	if t.called, t.served, err = newRequestCounters(o.Metrics); err != nil {
		return nil, fmt.Errorf("rpc: metrics: %w", err)
	}
	if t.bytes, err = newByteCounters(o.Metrics); err != nil {
		return nil, fmt.Errorf("rpc: metrics: %w", err)
	}
	w := t.wireOptions(counted)
	if t.pool, err = wire.NewPool(w); err != nil {
		return nil, err
	}
	t.server, err = wire.NewServer(wire.ServerOptions{
		Options: w, Handle: t.serveCounted, EncodeError: appendError,
		Done: func(m uint8, err error) { t.served.count(known(m), serverResult(err)) },
	})
	return t, err
}

func (t *Transport) wireOptions(counted *wire.Metrics) wire.Options {
	o := &t.opts
	return wire.Options{
		Node: o.Node, Cluster: func() [16]byte { return *t.cluster.Load() }, Unjoined: unjoined,
		Metrics: counted, Logger: o.Logger, Dial: o.Dial,
		QueueBytes: o.QueueBytes, MaxPending: o.MaxPending, MaxInFlight: o.MaxInFlight,
		MaxServerInFlight: o.MaxServerInFlight, MaxServerInFlightBytes: o.MaxServerInFlightBytes,
		PingEvery: o.PingEvery, DeadAfter: o.DeadAfter,
		BusyPingEvery: o.BusyPingEvery, BusyDeadAfter: o.BusyDeadAfter,
		DialTimeout: o.DialTimeout, DrainTimeout: o.DrainTimeout,
	}
}

// Serve answers peers on ln until ctx ends, lets running requests finish for
// at most DrainTimeout, and returns nil when nothing of it is left. It may be
// called once.
func (t *Transport) Serve(ctx context.Context, ln net.Listener) error {
	return t.server.Serve(ctx, ln)
}

// Close ends all calls and connections to peers and waits for what belongs to
// them.
func (t *Transport) Close() { t.pool.Close() }

// SetServices says what the node can do for others from now on.
func (t *Transport) SetServices(s Services) { t.services.Store(&s) }

// SetCluster says which cluster the node has joined. Connections that were
// opened before are replaced, since on those it said otherwise.
func (t *Transport) SetCluster(id [16]byte) {
	t.cluster.Store(&id)
	t.pool.Rejoin()
}

// Read implements coordinator.Peers.
func (t *Transport) Read(ctx context.Context, to ring.NodeID, req coordinator.ReadRequest) (coordinator.ReadReply, error) {
	return callNode(ctx, t, to, methodRead, req, putReadRequest, decodeReadReply)
}

// Replicate implements coordinator.Peers.
func (t *Transport) Replicate(ctx context.Context, to ring.NodeID, req coordinator.ReplicateRequest) error {
	_, err := callNode(ctx, t, to, methodReplicate, req, putReplicateRequest, decodeEmpty)
	return err
}

// Forward implements coordinator.Peers.
func (t *Transport) Forward(ctx context.Context, to ring.NodeID, req coordinator.ForwardRequest) (coordinator.PutResult, error) {
	return callNode(ctx, t, to, methodForward, req, putForwardRequest, decodePutResult)
}

// Confirm implements antientropy.Peers.
func (t *Transport) Confirm(ctx context.Context, to ring.NodeID, claims []antientropy.Claim) ([]antientropy.Claim, error) {
	return callNode(ctx, t, to, methodConfirm, claims, putClaims, decodeClaims)
}

// Pull implements antientropy.Peers.
func (t *Transport) Pull(ctx context.Context, to ring.NodeID, req antientropy.PullRequest) (antientropy.PullPage, error) {
	return callNode(ctx, t, to, methodPull, req, putPullRequest, decodePullPage)
}

// Ping implements coordinator.Probes. Unlike the others it waits for a dial to
// a peer that was hung or did not answer the last one.
func (t *Transport) Ping(ctx context.Context, to ring.NodeID) error {
	_, err := callNode(ctx, t, to, methodPing, struct{}{}, putEmpty, decodeEmpty)
	return err
}

// Inspect implements coordinator.Probes.
func (t *Transport) Inspect(ctx context.Context, to ring.NodeID, ref object.Ref) (coordinator.InspectReply, error) {
	return callNode(ctx, t, to, methodInspect, ref, putInspectRequest, decodeInspectReply)
}

// Status implements coordinator.Probes.
func (t *Transport) Status(ctx context.Context, to ring.NodeID) (coordinator.NodeStatus, error) {
	return callNode(ctx, t, to, methodStatus, struct{}{}, putEmpty, decodeNodeStatus)
}

// Exchange gives this node's map to whichever node answers at an address and
// returns that node's. It is the one call that a node may make, and answer,
// before it has joined.
func (t *Transport) Exchange(ctx context.Context, addr string, mine state.Map) (state.Map, error) {
	theirs, err := call(ctx, t, target{addr: addr}, methodExchange, mine, putMap, decodeMap)
	t.called.count(methodExchange, clientResult(err))
	return theirs, err
}

// target is where a call goes: an address, and the node that must be there
// unless zero.
type target struct {
	addr string
	node ring.NodeID
}

// callNode is call to a member.
func callNode[Q, A any](ctx context.Context, t *Transport, to ring.NodeID, m method,
	req Q, put func(*wire.Buffer, Q), decode func([]byte) (A, error)) (a A, err error) {
	var start time.Time
	if t.opts.Observe != nil {
		start = time.Now()
	}
	if addr, ok := t.opts.Resolve(to); ok {
		a, err = call(ctx, t, target{addr, to}, m, req, put, decode)
	} else {
		err = fmt.Errorf("%w: no address is known for node %s", coordinator.ErrUnreachable, to)
	}
	t.called.count(m, clientResult(err))
	if t.opts.Observe != nil {
		t.opts.Observe(to, m.String(), time.Since(start), err)
	}
	return a, err
}

// call is one round trip.
func call[Q, A any](ctx context.Context, t *Transport, to target, m method,
	req Q, put func(*wire.Buffer, Q), decode func([]byte) (A, error)) (a A, err error) {
	conn, err := t.connect(ctx, to, m)
	if err != nil {
		return a, err
	}
	b := wire.NewBuffer(0)
	put(b, req)
	t.bytes.sent(m, len(b.B)-wire.HeaderBytes)
	payload, err := conn.Call(ctx, uint8(m), b)
	if err != nil {
		return a, outcome(ctx, to, err)
	}
	t.bytes.received(m, len(payload))
	if a, err = decode(payload); err != nil {
		return a, fmt.Errorf("%w: reply of %s to %s: %w", coordinator.ErrUnknown, to.addr, m, err)
	}
	return a, nil
}

// connect finds the connection, and makes sure of who is at its other end.
func (t *Transport) connect(ctx context.Context, to target, m method) (*wire.Conn, error) {
	get := t.pool.Get
	if m == methodPing {
		get = t.pool.Probe
	}
	conn, err := get(ctx, to.addr, to.node, m.class())
	if err != nil {
		return nil, outcome(ctx, to, err)
	}
	if there := ring.NodeID(conn.Peer().Node); to.node != (ring.NodeID{}) && there != to.node {
		return nil, fmt.Errorf("%w: %s is the address of node %s now, not of %s",
			coordinator.ErrUnreachable, to.addr, there, to.node)
	}
	return conn, nil
}

// outcome puts an error of package wire into the terms of the callers.
func outcome(ctx context.Context, to target, err error) error {
	var remote *wire.RemoteError
	switch {
	case errors.As(err, &remote):
		e, bad := decodeError(remote.Payload)
		if bad != nil {
			return fmt.Errorf("%w: error of %s: %w", coordinator.ErrUnknown, to.addr, bad)
		}
		return e
	case errors.Is(err, wire.ErrLost):
		return fmt.Errorf("%w: %s: %w", coordinator.ErrUnknown, to.addr, err)
	case errors.Is(err, wire.ErrOverloaded):
		return fmt.Errorf("%w: %s: %w", coordinator.ErrOverloaded, to.addr, err)
	case errors.Is(err, wire.ErrTooLarge):
		return fmt.Errorf("%w: to %s: %w", coordinator.ErrInvalid, to.addr, err)
	case errors.Is(err, wire.ErrWrongCluster):
		return fmt.Errorf("%w: %w: %w", coordinator.ErrUnreachable, state.ErrForeignCluster, err)
	case errors.Is(err, wire.ErrDown):
		return down(ctx, err)
	default: // ctx ended before the request was sent
		return fmt.Errorf("rpc: %s: %w", to.addr, err)
	}
}

// down is an unreachable peer, or a caller that gave up while it was dialled.
// The dial's own timeout must not pass for the caller's deadline.
func down(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("rpc: %w: %v", ctx.Err(), err)
	case ctx.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)):
		return fmt.Errorf("%w: %v", coordinator.ErrUnreachable, err)
	default:
		return fmt.Errorf("%w: %w", coordinator.ErrUnreachable, err)
	}
}
