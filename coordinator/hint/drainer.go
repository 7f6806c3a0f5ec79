package hint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"starling/coordinator/pace"
	"starling/ring"
	"starling/store/object"
)

// Drainer delivers hints. Make it with [New] and keep [Drainer.Run] running.
// Its methods are safe for concurrent use.
type Drainer struct {
	opts    Options
	metrics *metrics
	kick    chan struct{}
	// turn is held by the pass whose bytes are metered next; those behind it
	// wait in line, so that none is passed over. It guards bucket.
	turn   chan struct{}
	bucket pace.Bucket

	mu      sync.Mutex
	running bool
	// targets are those that had hints since the node started: members, now
	// or once.
	targets map[ring.NodeID]*target
}

// New makes a drainer. Its error is [ErrOptions], or one of registering the
// metrics.
func New(o Options) (*Drainer, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	d := &Drainer{
		opts: o, kick: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		targets: make(map[ring.NodeID]*target),
	}
	if d.metrics, err = newMetrics(d); err != nil {
		return nil, fmt.Errorf("hint: metrics: %w", err)
	}
	return d, nil
}

// Run delivers hints until ctx ends, waits for what is under way, and returns
// nil. Only one Run may be running.
func (d *Drainer) Run(ctx context.Context) error {
	if !d.setRunning(true) {
		return errors.New("hint: already running")
	}
	defer d.setRunning(false)
	var passes sync.WaitGroup
	defer passes.Wait()
	ticker := time.NewTicker(d.opts.Tick)
	defer ticker.Stop()
	for {
		for _, t := range d.due() {
			passes.Go(func() { d.pass(ctx, t) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-d.kick:
		}
	}
}

// setRunning reports whether that was a change.
func (d *Drainer) setRunning(to bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	changed := d.running != to
	d.running = to
	return changed
}

// due lists the targets for which a pass is to begin now, and marks them as
// draining.
func (d *Drainer) due() []*target {
	var due []*target
	for _, total := range d.opts.Store.HintTotals() {
		t := d.target(total.Target)
		// The deliverer is asked without the lock: it has its own.
		if total.Hints > 0 && t.rested(time.Now()) && d.ready(t.id) {
			t.start()
			due = append(due, t)
		}
	}
	return due
}

// ready says whether a target's hints can be sent anywhere now.
func (d *Drainer) ready(id ring.NodeID) bool {
	return d.opts.Deliverer.Usable(id) || d.leaving()
}

func (d *Drainer) leaving() bool { return d.opts.Mover != nil && d.opts.Mover.Leaving() }

func (d *Drainer) target(id ring.NodeID) *target {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, ok := d.targets[id]
	if !ok {
		t = newTarget(id, d.opts.MaxWindow)
		d.targets[id] = t
	}
	return t
}

// Kick says that a target may have become usable: the totals are looked at now
// rather than at the next tick. It never blocks.
func (d *Drainer) Kick() {
	select {
	case d.kick <- struct{}{}:
	default: // a look is due already, and it will see what this one would
	}
}

// Replay begins now what the next tick would begin, and forgets pauses after
// failures; for one target, or for all if it is the zero ID. It answers how
// many hints are pending there, and [ErrNotRunning] if Run is not running. A
// target that is not usable stays as it is.
func (d *Drainer) Replay(target ring.NodeID) (int64, error) {
	d.mu.Lock()
	running := d.running
	d.mu.Unlock()
	if !running {
		return 0, ErrNotRunning
	}
	var pending int64
	for _, total := range d.opts.Store.HintTotals() {
		if id := ring.NodeID(total.Target); target.IsZero() || target == id {
			d.target(id).forgive()
			pending += total.Hints
		}
	}
	d.Kick()
	return pending, nil
}

// Pending counts the hints that this node keeps, those under way and those that
// cannot be read among them, and their bytes. It is 0 once every one of them is
// durable elsewhere.
func (d *Drainer) Pending() (hints, bytes int64) {
	for _, total := range d.opts.Store.HintTotals() {
		hints += total.Hints
		bytes += total.Bytes
	}
	return hints, bytes
}

// Targets lists the nodes that hints are kept for, or were since this node
// started, sorted by node.
func (d *Drainer) Targets() []Target {
	totals := make(map[ring.NodeID]object.HintTotals)
	for _, total := range d.opts.Store.HintTotals() {
		totals[total.Target] = total
		d.target(total.Target)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]Target, 0, len(d.targets))
	for id, t := range d.targets {
		list = append(list, t.report(totals[id]))
	}
	slices.SortFunc(list, func(a, b Target) int { return a.Node.Compare(b.Node) })
	return list
}
