package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"starling/gossip/state"
	"starling/ring"
)

// Gossip keeps this node's cluster map and knows who is alive. Its methods are safe for concurrent use.
type Gossip struct {
	opt     Options
	self    state.Member // identity and labels of this start
	logger  *slog.Logger
	metrics *metrics

	// commitMu is held from reading the current map to publishing its successor, a save in between.
	commitMu sync.Mutex
	seq      uint32 // the last n of Version = Boot<<32|n
	current  atomic.Pointer[snapshot]

	// Tokens, one each, that the map has changed: for Changes, the announcing and the spreading loop.
	changes, toAnnounce, toSpread chan struct{}
	changedHere                   atomic.Bool // since toSpread was taken last

	vouched   chan struct{}
	vouchOnce sync.Once

	quits    atomic.Bool // this node declared itself removed
	failOnce sync.Once
	failed   chan struct{} // closed with failure set
	failure  error

	table     *table
	sync      *syncer
	transport *transport
	started   atomic.Bool
	looked    atomic.Bool // the members have been dialled since the start; see Down
}

// snapshot is a map and its hash.
type snapshot struct {
	state.Map
	hash uint64
}

// Close releases what New bound, if Run is never called.
func (g *Gossip) Close() error {
	if !g.started.CompareAndSwap(false, true) {
		return nil
	}
	return g.transport.close()
}

// Map is the current cluster map.
func (g *Gossip) Map() state.Map { return g.current.Load().Map }

// MapHash is the hash of Map, computed already.
func (g *Gossip) MapHash() uint64 { return g.current.Load().hash }

// Changes has a token after the map has changed; several changes may leave one. It is for one consumer, who then reads
// Map.
func (g *Gossip) Changes() <-chan struct{} { return g.changes }

// Vouched is closed once a member that this node knew when it started has merged its map and shown no later life of it.
// A lone founder is never vouched for before its next start.
func (g *Gossip) Vouched() <-chan struct{} { return g.vouched }

// Alive says whether memberlist believes that the member runs, whichever start of it. This node is always alive.
func (g *Gossip) Alive(id ring.NodeID) bool {
	if id == g.self.ID {
		return true
	}
	_, ok := g.table.peer(id)
	return ok
}

// Down says whether the member was looked for and is not alive. A node that has only just started holds nobody for down: its
// peers are to be tried before they are given up.
func (g *Gossip) Down(id ring.NodeID) bool { return g.looked.Load() && !g.Alive(id) }

// Peers lists the live nodes other than this one, by ID. Not all need be in the map yet.
func (g *Gossip) Peers() []Peer { return g.table.all() }

// Addr is the host:port that this node advertises for gossip.
func (g *Gossip) Addr() string { return g.self.Gossip }

// Refresh exchanges maps with a member now and returns when what it knew is merged: an exchange that was in flight
// when Refresh was called does not count. Concurrent calls share one exchange.
func (g *Gossip) Refresh(ctx context.Context, id ring.NodeID) error {
	if id == g.self.ID {
		return nil
	}
	if _, ok := g.rpcAddr(id); !ok {
		return fmt.Errorf("%w: %v", ErrUnknownMember, id)
	}
	r, err := g.sync.request(id)
	if err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rpcAddr is where a member is reached now: a live one says so itself, for others the map does.
func (g *Gossip) rpcAddr(id ring.NodeID) (string, bool) {
	if p, ok := g.table.peer(id); ok {
		return p.RPC, true
	}
	r, ok := g.Map().Member(id)
	return r.RPC, ok
}

// Run gossips until ctx ends, then says goodbye and returns nil; or until this node must stop, and returns ErrLostTime
// or ErrRemoved. All goroutines it started have then ended.
func (g *Gossip) Run(ctx context.Context) error {
	if !g.started.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: Run was called before", ErrStopped)
	}
	ml, err := memberlist.Create(g.memberlistConfig(ctx))
	if err != nil {
		return errors.Join(fmt.Errorf("gossip: start memberlist: %w", err), g.transport.close())
	}
	g.metrics.detector.Store(ml)
	loops, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	g.sync.start(loops)
	for _, loop := range []func(context.Context){
		g.watch,
		g.spread,
		func(ctx context.Context) { g.announce(ctx, ml) },
		func(ctx context.Context) { g.rejoin(ctx, ml) },
		g.exchangeAtRandom,
	} {
		wg.Go(func() { loop(loops) })
	}

	select {
	case <-ctx.Done():
	case <-g.failed:
		err = g.failure
	}
	if errors.Is(err, ErrRemoved) {
		g.farewell(ctx)
	}
	stop()
	if err := ml.Leave(g.opt.LeaveTimeout); err != nil {
		g.logger.Debug("leaving without having told a peer", "error", err)
	}
	// Dials and streams that still wait, the rejoin loop's among them, end now.
	g.transport.cancel()
	wg.Wait()
	g.sync.stop()
	if err := ml.Shutdown(); err != nil {
		g.logger.Debug("memberlist shutdown", "error", err)
	}
	return err
}

// pause waits; it is false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// between is a random duration.
func between(low, high time.Duration) time.Duration { return low + rand.N(high-low) }

// jitter is d give or take a quarter.
func jitter(d time.Duration) time.Duration { return between(d*3/4, d*5/4+1) }
