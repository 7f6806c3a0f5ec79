package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/antientropy"
	"starling/config"
	"starling/coordinator"
	"starling/coordinator/api"
	"starling/coordinator/hint"
	"starling/coordinator/pace"
	"starling/coordinator/rpc"
	"starling/gossip"
	"starling/gossip/state"
	"starling/ring"
	"starling/store"
)

// Options says what a node is made of.
type Options struct {
	Config config.Config
	// Version is the release of this program.
	Version string
	// Logger may be nil: nothing is logged.
	Logger *slog.Logger
}

// Node is one running member of a cluster. Make it with [New], run it with
// [Node.Run].
type Node struct {
	cfg      config.Config
	version  string
	started  time.Time
	log      *slog.Logger
	registry *prometheus.Registry

	store     *store.Store
	id        ring.NodeID
	listeners map[string]net.Listener // "http" and "rpc"
	transport *rpc.Transport
	coord     *coordinator.Coordinator
	lister    *coordinator.Lister
	drainer   *hint.Drainer
	source    *antientropy.Server
	filler    *antientropy.Filler
	parter    *antientropy.Parter
	pace      *antientropy.Limit // of transfers
	exchanger *antientropy.Exchanger
	replica   *antientropy.ReplicaServer
	reaper    *antientropy.Reaper
	reaped    *antientropy.ReapedServer
	sweeper   *sweeper
	api       *api.Server

	// gossip is set once the node has found its cluster.
	gossip atomic.Pointer[gossip.Gossip]
	// applyMu makes maps take effect in order; see apply.
	applyMu  sync.Mutex
	draining atomic.Bool
	demandMu sync.Mutex // guards demand
	demand   pace.Demand
	wounds   *wounds
	// replaces is the member whose place this node takes when it joins; zero: none.
	replaces ring.NodeID
	// allHeard: every member answered before this start was published.
	// actorsKept: the store was told so; see keepActors.
	allHeard   bool
	actorsKept atomic.Bool
}

// New opens the data directory and binds the HTTP and RPC ports. Whoever
// calls it must call [Node.Run], which gives both back.
func New(o Options) (*Node, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Node{cfg: o.Config, version: o.Version, started: time.Now(), log: o.Logger, listeners: map[string]net.Listener{}, wounds: newWounds()}
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// open makes every component that needs no cluster.
func (n *Node) open() error {
	registry, err := newRegistry(n.version)
	if err != nil {
		return err
	}
	n.registry = registry
	for what, addr := range map[string]string{"http": n.cfg.HTTP, "rpc": n.cfg.RPC} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("node: the %s address %s cannot be listened on: %w", what, addr, err)
		}
		n.listeners[what] = l
	}
	if n.store, err = n.openStore(); err != nil {
		return err
	}
	identity := n.store.Identity()
	n.id = ring.NodeID(identity.ID)
	n.log.Info("data directory opened", "dir", n.cfg.DataDir, "id", n.id, "boot", identity.Boot, "clean", identity.Clean)
	return n.assemble()
}

// assemble makes the components that serve requests.
func (n *Node) assemble() (err error) {
	now := clock(n.cfg.TestClockOffset)
	if n.transport, err = rpc.New(n.rpcOptions()); err != nil {
		return err
	}
	co := coordinator.Options{
		Self: n.id, Store: keptObjects{n.store}, Peers: n.transport, Batches: n.transport, Membership: members{n}, Probes: n.transport,
		HintTotals: n.store.HintTotals, Transfer: n.transferred, LeaveWaits: n.leaveReason, Leaf: n.leaf, ReadRepair: n.cfg.ReadRepairEnabled, Now: now,
		Logger: n.log, Metrics: n.registry, PeerName: n.peerName,
	}
	if n.cfg.HintsEnabled {
		co.Hints = keptHints{n.store}
	}
	if n.coord, err = coordinator.New(co); err != nil {
		return err
	}
	n.lister, err = coordinator.NewLister(coordinator.ListerOptions{Coordinator: n.coord, Store: n.openList, Peers: n.transport})
	if err != nil {
		return err
	}
	n.drainer, err = hint.New(hint.Options{
		Store: n.store, Deliverer: deliveries{n}, Mover: moves{n}, BytesPerSecond: n.cfg.HintsBytesPerSecond,
		Logger: n.log, Metrics: n.registry, PeerName: n.peerName,
	})
	if err != nil {
		return err
	}
	if err = errors.Join(n.assembleTransfer(), n.assembleExchange(), n.assembleReaper()); err != nil {
		return err
	}
	n.sweeper = &sweeper{rows: n.store, gone: n.coord.Gone, partitions: n.partitions, log: n.log,
		pressure: n.pressure}
	if err = n.sweeper.register(n.registry); err != nil {
		return err
	}
	n.wounds.tell(n.filler.Kick)
	n.api, err = api.New(api.Options{
		KV: n.coord, Batches: n.coord, Lists: n.lister, Cluster: cluster{n}, Diagnostics: n.coord, Hints: n.drainer, Convergence: everybody{n},
		Topology: membership{n}, Buckets: bucketChanges{n}, Host: host{n}, Pace: transferPace{n}, Profiles: n.cfg.ProfilesEnabled,
		Self: n.id, Name: n.cfg.Name, Version: n.version, Ready: n.Ready, Draining: n.draining.Load,
		MaxValueBytes: int(n.cfg.MaxValueBytes), MaxInflight: n.cfg.MaxInflight,
		MaxInflightBytes: max(n.cfg.MaxInflightBytes, n.cfg.MaxValueBytes), MaxConnections: n.cfg.MaxConnections,
		DefaultTimeout: n.cfg.DefaultTimeout, MaxTimeout: n.cfg.MaxTimeout,
		ShutdownGrace: n.cfg.ShutdownGrace, DrainDelay: n.cfg.DrainDelay,
		Now: now, Logger: n.log, Metrics: n.registry, Gatherer: n.registry,
	})
	return errors.Join(err, n.registry.Register(collector{n}))
}

// pressure is how busy this node is with requests, its clients' own and what
// others ask it for theirs: 0 idle, 1 as busy as it may be. It may be asked for
// once Run has begun.
func (n *Node) pressure() float64 {
	n.demandMu.Lock()
	defer n.demandMu.Unlock()
	return n.demand.Pressure(time.Now(), n.api.Admitted()+n.coord.Asked(), n.api.Pressure())
}

// HTTPAddr and RPCAddr are the addresses that the node listens on.
func (n *Node) HTTPAddr() string { return n.listeners["http"].Addr().String() }

// RPCAddr is the address that others join by.
func (n *Node) RPCAddr() string { return n.listeners["rpc"].Addr().String() }

// Ready is nil once the node is an active member and not stopping, and says
// what it waits for otherwise.
func (n *Node) Ready() error {
	if n.draining.Load() {
		return errors.New("the node is stopping")
	}
	g := n.gossip.Load()
	if g == nil {
		return errors.New("the node has not found its cluster yet")
	}
	self, _ := g.Map().Member(n.id)
	if self.State != state.Active {
		return fmt.Errorf("the node is %v: %d partitions are still being filled", self.State, n.Pending())
	}
	return nil
}

// Pending is how many partitions the node is to own and does not hold yet.
func (n *Node) Pending() int {
	if v := n.coord.View(); v != nil {
		return len(v.PendingFor(n.id))
	}
	return 0
}

// close gives back what New took. The store comes last: everything else uses it.
func (n *Node) close() error {
	var errs []error
	if n.transport != nil {
		n.transport.Close()
	}
	for _, l := range n.listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends or a component fails, and returns when everything
// has stopped and the store is closed.
func (n *Node) Run(ctx context.Context) error {
	front, stopFront := context.WithCancelCause(ctx)
	back, stopBack := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBack()
	var parts sync.WaitGroup
	start := func(ctx context.Context, part func(context.Context) error) {
		parts.Go(func() {
			if err := part(ctx); err != nil {
				stopFront(err)
			}
		})
	}
	start(back, func(ctx context.Context) error { return n.transport.Serve(ctx, n.listeners["rpc"]) })
	start(back, n.coord.Run)
	// What depart waits for.
	gossiped, drained := make(chan struct{}), make(chan struct{})
	var departed error
	start(front, func(ctx context.Context) error {
		defer stopBack() // the rest serves until the last request is done
		err := n.api.Serve(ctx, n.listeners["http"])
		if errors.Is(context.Cause(ctx), errLeft) {
			departed = n.depart(back, drained, gossiped)
		}
		return err
	})
	stopped := context.AfterFunc(front, func() {
		n.draining.Store(true)
		n.coord.Drain()
	})
	defer stopped()

	// The part that needs a cluster: found by the front's time, run by the back's.
	g, err := n.enterCluster(front)
	if err != nil {
		stopFront(err)
	} else {
		start(back, closing(gossiped, g.Run))
		start(back, n.followMap)
		start(back, n.filler.Run)
		start(back, n.parter.Run)
		start(back, n.sweeper.Run)
		start(back, n.keepActors)
		start(front, n.exchanger.Run)
		if n.cfg.AntientropyEnabled {
			start(front, n.reaper.Run)
		}
		start(front, closing(drained, n.drainer.Run))
		start(front, func(ctx context.Context) error { return n.leave(ctx, stopFront) })
	}
	parts.Wait()
	err = errors.Join(departed, n.close())
	if cause := context.Cause(front); ctx.Err() == nil && cause != nil && !errors.Is(cause, errLeft) {
		err = errors.Join(cause, err)
	}
	stopFront(nil)
	return err
}

// closing has a channel closed when a part ends.
func closing(ended chan<- struct{}, part func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		defer close(ended)
		return part(ctx)
	}
}
