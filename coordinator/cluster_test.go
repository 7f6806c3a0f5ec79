package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// withHints gives every node its hints.
func (c *cluster) withHints() *cluster {
	for _, id := range c.ids {
		c.nodes[id].opts.Hints = c.hints[id]
	}
	return c
}

// held counts the hints for a target over all nodes.
func (c *cluster) held(target ring.NodeID) (n int) {
	for _, h := range c.hints {
		h.mu.Lock()
		for row := range h.rows {
			if row.target == target {
				n++
			}
		}
		h.mu.Unlock()
	}
	return n
}

// deliverAll drains every hint whose target is usable, as the drainer does.
func (c *cluster) deliverAll() {
	c.t.Helper()
	for id, h := range c.hints {
		h.mu.Lock()
		rows := maps.Clone(h.rows)
		h.mu.Unlock()
		for row, o := range rows {
			if !c.nodes[id].Usable(row.target) {
				continue
			}
			if err := c.nodes[id].Deliver(c.t.Context(), row.target, row.ref, o); err != nil {
				c.t.Fatalf("delivering to %s: %v", ring.NodeID(row.target), err)
			}
			h.mu.Lock()
			delete(h.rows, row)
			h.mu.Unlock()
		}
	}
}

// fault is what the network does to the requests to one node.
type fault int

const (
	healthy   fault = iota
	refused         // connection refused
	hung            // no answer before the deadline
	lostReply       // carried out, and the answer is lost
	delayed         // carried out once the test lets it
)

// cluster is a set of coordinators joined by a network in memory.
type cluster struct {
	t      *testing.T
	ids    []ring.NodeID
	nodes  map[ring.NodeID]*Coordinator
	stores map[ring.NodeID]*memStore
	hints  map[ring.NodeID]*memHints
	latest *ring.View    // what Refresh brings
	letGo  chan struct{} // closed: delayed requests go on

	replicated atomic.Int64 // copies sent
	credulous  atomic.Bool  // the failure detector calls everybody alive

	mu     sync.Mutex
	faults map[ring.NodeID]fault
}

func nodeID(i int) ring.NodeID { return ring.NodeID{0: byte(i), 15: 1} }

const testPartitions = 64

func ringOf(t *testing.T, n int) *ring.Ring {
	t.Helper()
	var members []ring.Member
	for i := range n {
		members = append(members, ring.Member{ID: nodeID(i), Weight: 100})
	}
	r, err := ring.New(ring.Config{Partitions: testPartitions, Replicas: 3}, members)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// settledView is the view of n nodes that came to rest: the targets are settled.
func settledView(t *testing.T, n int) *ring.View {
	t.Helper()
	r := ringOf(t, n)
	return ring.NewView(r, func(id ring.NodeID, p int) bool { return slices.Contains(r.Targets(p), id) })
}

// newCluster starts n coordinators; they stop with the test.
func newCluster(t *testing.T, n int, set func(*Options)) *cluster {
	t.Helper()
	c := &cluster{t: t, nodes: map[ring.NodeID]*Coordinator{}, stores: map[ring.NodeID]*memStore{},
		hints: map[ring.NodeID]*memHints{}, faults: map[ring.NodeID]fault{}}
	c.letGo = make(chan struct{})
	c.latest = settledView(t, n)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { stop(); running.Wait() })
	for i := range n {
		id := nodeID(i)
		c.ids = append(c.ids, id)
		c.stores[id] = newMemStore(version.Actor(100 + i))
		o := Options{Self: id, Store: c.stores[id], Peers: netPeers{c, id}, Membership: netMembers{c, id},
			Probes: netPeers{c, id}, Logger: slog.New(slog.DiscardHandler)}
		c.hints[id] = &memHints{actors: version.Actor(1000 * (i + 1)), rows: map[hintRow]object.Object{}}
		if set != nil {
			set(&o)
		}
		node, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		node.SetView(c.latest)
		c.nodes[id] = node
		running.Go(func() { _ = node.Run(ctx) })
	}
	return c
}

func (c *cluster) setFault(id ring.NodeID, f fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[id] = f
}

func (c *cluster) faultOf(id ring.NodeID) fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faults[id]
}

// call carries one request through the network.
func (c *cluster) call(ctx context.Context, to ring.NodeID, do func(context.Context, *Coordinator) error) error {
	switch c.faultOf(to) {
	case refused:
		return ErrUnreachable
	case hung:
		<-ctx.Done()
		return fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	case delayed:
		select {
		case <-c.letGo:
			return do(ctx, c.nodes[to])
		case <-ctx.Done():
			return ErrUnknown
		}
	case lostReply:
		_ = do(ctx, c.nodes[to])
		return ErrUnknown
	default:
		return do(ctx, c.nodes[to])
	}
}

type netPeers struct {
	c    *cluster
	from ring.NodeID
}

func (p netPeers) Read(ctx context.Context, to ring.NodeID, req ReadRequest) (r ReadReply, err error) {
	err = p.c.call(ctx, to, func(ctx context.Context, n *Coordinator) (err error) { r, err = n.HandleRead(ctx, req); return err })
	return r, err
}

func (p netPeers) Replicate(ctx context.Context, to ring.NodeID, req ReplicateRequest) error {
	p.c.replicated.Add(1)
	return p.c.call(ctx, to, func(ctx context.Context, n *Coordinator) error { return n.HandleReplicate(ctx, req) })
}

func (p netPeers) Forward(ctx context.Context, to ring.NodeID, req ForwardRequest) (r PutResult, err error) {
	err = p.c.call(ctx, to, func(ctx context.Context, n *Coordinator) (err error) { r, err = n.HandleForward(ctx, req); return err })
	return r, err
}

func (p netPeers) Ping(ctx context.Context, to ring.NodeID) error {
	return p.c.call(ctx, to, func(context.Context, *Coordinator) error { return nil })
}

func (p netPeers) Inspect(ctx context.Context, to ring.NodeID, ref object.Ref) (r InspectReply, err error) {
	err = p.c.call(ctx, to, func(ctx context.Context, n *Coordinator) (err error) { r, err = n.HandleInspect(ctx, ref); return err })
	return r, err
}

func (p netPeers) Status(ctx context.Context, to ring.NodeID) (r NodeStatus, err error) {
	err = p.c.call(ctx, to, func(ctx context.Context, n *Coordinator) (err error) { r, err = n.HandleStatus(ctx); return err })
	return r, err
}

type netMembers struct {
	c    *cluster
	self ring.NodeID
}

func (m netMembers) Alive(id ring.NodeID) bool {
	return m.c.credulous.Load() || m.c.faultOf(id) == healthy
}

func (m netMembers) Refresh(_ context.Context, id ring.NodeID) error {
	if m.c.faultOf(id) != healthy {
		return ErrUnreachable
	}
	m.c.nodes[m.self].SetView(m.c.latest)
	m.c.nodes[id].SetView(m.c.latest)
	return nil
}

// untilUsable waits until a node sends requests to all others again.
func (c *cluster) untilUsable(at ring.NodeID) { c.t.Helper(); c.untilUsableBut(at) }

// untilUsableBut waits until it sends requests to all others but some.
func (c *cluster) untilUsableBut(at ring.NodeID, but ...ring.NodeID) {
	c.t.Helper()
	for range 100 {
		synctest.Wait()
		if !slices.ContainsFunc(c.nodes[at].Peers(), func(p PeerStatus) bool { return !p.Usable && !slices.Contains(but, p.Node) }) {
			return
		}
		time.Sleep(pingTick) // of the bubble's clock
	}
	c.t.Fatalf("%s still keeps requests from a healthy node: %+v", at, c.nodes[at].Peers())
}

// untilGivenUp waits until a node sends another no more requests.
func (c *cluster) untilGivenUp(at, other ring.NodeID) {
	for c.nodes[at].usable(other) {
		time.Sleep(pingTick)
	}
}

// placement is where a key of bucket "b" lies.
func (c *cluster) placement(key string) ring.Placement {
	return c.latest.Placement(ring.Partition("b", key, testPartitions))
}

// owners gives the coordinators of the key's owners, others the rest.
func (c *cluster) owners(key string) []ring.NodeID { return c.placement(key).Owners }

func (c *cluster) others(key string) (ids []ring.NodeID) {
	pl := c.placement(key)
	for _, id := range c.ids {
		if !holds(pl, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

var opCounter struct {
	sync.Mutex
	n uint64
}

func newOp() object.OpID {
	opCounter.Lock()
	defer opCounter.Unlock()
	opCounter.n++
	return object.OpID{0: 1, 8: byte(opCounter.n >> 16), 9: byte(opCounter.n >> 8), 10: byte(opCounter.n)}
}

func putReq(key, value string, cons Consistency) PutRequest {
	return PutRequest{Bucket: "b", Key: key, Consistency: cons, Sibling: object.Sibling{Value: []byte(value), Op: newOp()}}
}

func (c *cluster) put(at ring.NodeID, req PutRequest) (PutResult, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return c.nodes[at].Put(ctx, req)
}

func (c *cluster) get(at ring.NodeID, req GetRequest) (GetResult, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req.Bucket = "b"
	return c.nodes[at].Get(ctx, req)
}

func (c *cluster) mustPut(at ring.NodeID, req PutRequest) PutResult {
	c.t.Helper()
	res, err := c.put(at, req)
	if err != nil {
		c.t.Fatalf("put %q at %s: %v", req.Key, at, err)
	}
	return res
}

func (c *cluster) wantValues(at ring.NodeID, req GetRequest, want ...string) GetResult {
	c.t.Helper()
	res, err := c.get(at, req)
	if err != nil {
		c.t.Fatalf("get %q at %s: %v", req.Key, at, err)
	}
	var got []string
	for _, s := range res.Object.Live(0) {
		got = append(got, string(s.Value))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.Fatalf("get %q at %s: values %q, want %q", req.Key, at, got, want)
	}
	return res
}

func wantQuorumError(t *testing.T, err error, required, received int, maybe bool) {
	t.Helper()
	var q *QuorumError
	if !errors.As(err, &q) {
		t.Fatalf("error %v, want a QuorumError", err)
	}
	if q.Required != required || q.Received != received || q.MaybeApplied != maybe {
		t.Fatalf("required %d received %d maybe applied %v, want %d %d %v (%v)",
			q.Required, q.Received, q.MaybeApplied, required, received, maybe, err)
	}
}

func refOf(key string) object.Ref {
	return object.Ref{Partition: uint32(ring.Partition("b", key, testPartitions)), Bucket: "b", Key: key}
}
