package antientropy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"starling/ring"
)

// Exchanger compares this node's partitions with their other owners, repairs
// what differs, and knows when each pair was last proven equal. Make it with
// [NewExchanger] and keep [Exchanger.Run] running. Its methods are safe for
// concurrent use.
type Exchanger struct {
	opts    ExchangerOptions
	metrics *exchangeMetrics
	pace    *pacer
	kick    chan struct{}
	start   time.Time

	mu      sync.Mutex
	running bool
	ledger  ledger
}

var (
	_ Meter    = (*Exchanger)(nil)
	_ Reporter = (*Exchanger)(nil)
)

// NewExchanger checks the options and registers the metrics.
func NewExchanger(o ExchangerOptions) (*Exchanger, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	x := &Exchanger{opts: o, pace: newPacer(func() int64 { return o.BytesPerSecond }, o.Pressure), kick: make(chan struct{}, 1), start: time.Now()}
	x.ledger = ledger{self: o.Self, interval: o.Interval, always: o.Enabled}
	if x.metrics, err = newExchangeMetrics(x); err != nil {
		return nil, fmt.Errorf("antientropy: metrics: %w", err)
	}
	return x, nil
}

// now is the time since the start, by a clock that nobody sets.
func (x *Exchanger) now() time.Duration { return time.Since(x.start) }

// The bounds of the time between two looks at what is due: a fraction of the
// interval, so that comparisons are spread over it and still share messages.
const (
	looksPerInterval = 10
	minTick          = 10 * time.Millisecond
	maxTick          = time.Second
)

// Run begins exchanges until ctx ends, waits for those under way, and returns
// nil. Only one Run may be running.
func (x *Exchanger) Run(ctx context.Context) error {
	if !x.setRunning(true) {
		return errors.New("antientropy: already running")
	}
	defer x.setRunning(false)
	var passes sync.WaitGroup
	defer passes.Wait()
	ticker := time.NewTicker(min(max(x.opts.Interval/looksPerInterval, minTick), maxTick))
	defer ticker.Stop()
	for ctx.Err() == nil {
		x.look()
		for _, peer := range x.begin() {
			passes.Go(func() { x.pass(ctx, peer) })
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		case <-x.kick:
		}
	}
	return nil
}

// setRunning reports whether that was a change.
func (x *Exchanger) setRunning(to bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	changed := x.running != to
	x.running = to
	return changed
}

// look takes in the view, and how the peers are.
func (x *Exchanger) look() {
	view := x.opts.Views.View()
	x.mu.Lock()
	x.ledger.update(view, x.now())
	// A list, once made, is not changed: it may be walked without the lock.
	peers := x.ledger.peers
	x.mu.Unlock()
	for _, p := range peers {
		x.see(p.id)
	}
}

// see takes in how a peer is. It is asked without the lock: it has its own.
func (x *Exchanger) see(id ring.NodeID) {
	alive, boot := x.opts.Liveness.Alive(id), x.opts.Liveness.Boot(id)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ledger.see(x.now(), id, alive, boot)
}

func (x *Exchanger) begin() []ring.NodeID {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ledger.begin(x.now())
}

// Kick has the view and the peers looked at now rather than at the next tick:
// call it when one of them changed. It never blocks.
func (x *Exchanger) Kick() {
	select {
	case x.kick <- struct{}{}:
	default: // a look is due already, and it will see what this one would
	}
}

// Hold leaves partitions alone for a while: this node begins no exchange of
// them, breaks off those under way before their next step, and refuses to
// compare them. A purge deletes at one owner after the other, and what it has
// deleted at one is not to be brought back by another. That would do no harm,
// but the purge would have to begin again.
func (x *Exchanger) Hold(partitions []uint32, d time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ledger.hold(partitions, x.now()+d)
}

// reservation is how long a partition stays reserved for a peer that began to
// exchange it: several times a turn, after which it would begin again.
const reservation = 30 * time.Second

// Admits implements [Meter].
func (x *Exchanger) Admits(peer ring.NodeID, partition uint32, begins bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.now()
	if begins {
		return x.ledger.reserve(now, partition, peer, now+reservation)
	}
	return !x.ledger.isHeld(now, partition)
}

// reserve is Admits for an exchange that this node begins. The reservation
// lasts until it is released.
func (x *Exchanger) reserve(peer ring.NodeID, partition uint32) (release func(), ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	ok = x.ledger.reserve(x.now(), partition, peer, math.MaxInt64)
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.ledger.release(x.now(), partition, peer)
	}, ok
}

func (x *Exchanger) held(partition uint32) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ledger.isHeld(x.now(), partition)
}

// Compared implements [Meter].
func (x *Exchanger) Compared(peer ring.NodeID, partition uint32, equal bool) {
	// A peer that came back may ask before the next look: what its return
	// makes void is what was proven before.
	x.see(peer)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ledger.compared(x.now(), peer, partition, equal)
}

// Repair makes pairs due now that this node begins exchanges of. There is one
// repair at a time: it fails with [ErrRepairRunning] while another runs. Other
// errors are [ErrNoPartition] and [ErrNotRunning]. The status is the last
// repair's in any case.
func (x *Exchanger) Repair(req RepairRequest) (RepairStatus, error) {
	x.look()
	x.mu.Lock()
	defer x.mu.Unlock()
	err := ErrNotRunning
	if x.running {
		err = x.ledger.startRepair(x.now(), time.Now(), req)
	}
	if err == nil {
		x.Kick()
	}
	return x.ledger.repair.status(), err
}

// RepairStatus is how far the last repair is.
func (x *Exchanger) RepairStatus() RepairStatus {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ledger.repair.status()
}

// HandleReport implements [Reporter].
func (x *Exchanger) HandleReport(context.Context) (Report, error) {
	x.look()
	r := Report{Pairs: x.pairs()}
	if v := x.opts.Views.View(); v != nil {
		r.Filling = len(v.PendingFor(x.opts.Self))
	}
	if x.opts.Hints != nil {
		r.Hints = x.opts.Hints()
	}
	if x.opts.Blockers != nil {
		r.Blockers = x.opts.Blockers()
	}
	if x.opts.Tombstones == nil {
		return r, nil
	}
	var err error
	if r.Tombstones, err = x.opts.Tombstones(); err != nil {
		return Report{}, fmt.Errorf("antientropy: counting tombstones: %w", err)
	}
	return r, nil
}

func (x *Exchanger) pairs() []Pair {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ledger.report(x.now())
}

func (x *Exchanger) oldest() (time.Duration, int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ledger.oldest(x.now())
}

// compared counts the pairs that this node compares.
func (x *Exchanger) compared() (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, peer := range x.ledger.peers {
		n += len(peer.pairs)
	}
	return n
}
