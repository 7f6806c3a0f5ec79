package antientropy

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

// Parter makes old copies go: those of partitions that this node kept once and
// is not to keep any more. Make it with [NewParter] and keep [Parter.Run]
// running.
type Parter struct {
	opts    ParterOptions
	differ  differ
	metrics *partMetrics
	pace    *pacer
	// clear is the view under which there was nothing left to do.
	clear *ring.View
	given given
}

// NewParter checks the options and registers the metrics.
func NewParter(o ParterOptions) (*Parter, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	p := &Parter{opts: o, pace: newPacer(o.Pace.Rate, o.Pressure)}
	p.differ = differ{o.Self, o.Peers, o.Store, o.CallTimeout, p.rest}
	if p.metrics, err = newPartMetrics(o.Metrics); err != nil {
		return nil, fmt.Errorf("antientropy: metrics: %w", err)
	}
	return p, nil
}

// Run looks for old copies until ctx ends.
func (p *Parter) Run(ctx context.Context) error {
	for sleep(ctx, p.interval()) == nil {
		p.look(ctx)
	}
	return nil
}

// Remaining counts the partitions that have rows here and that this node
// neither owns nor is to own, without those that it handed over to leave. One
// that cannot be read counts. Without a view nothing is known, and it is 0.
func (p *Parter) Remaining() int {
	v := p.opts.Views.View()
	if v == nil {
		return 0
	}
	n := 0
	for part := range v.Ring().Config().Partitions {
		pl := v.Placement(part)
		if contains(pl.Owners, p.opts.Self) || contains(pl.Pending, p.opts.Self) || p.given.has(uint32(part)) {
			continue
		}
		if held, err := p.opts.Copies.Holds(uint32(part)); held || err != nil {
			n++
		}
	}
	return n
}

// look tries once to drop every old copy, or to hand it over where this node
// leaves.
func (p *Parter) look(ctx context.Context) {
	v := p.opts.Views.View()
	if v == nil || v == p.clear {
		return // under one view no copy comes to be that is not to be kept
	}
	l := newLeaveTaking(p)
	for n := range v.Ring().Config().Partitions {
		if old, err := p.old(n); err != nil || old {
			l.left = append(l.left, uint32(n))
		}
	}
	if p.metrics.due.Set(float64(len(l.left))); len(l.left) == 0 {
		p.clear = v
	}
	var workers sync.WaitGroup
	for range min(p.opts.Streams, len(l.left)) {
		workers.Go(func() { l.work(ctx) })
	}
	for _, n := range l.left {
		l.partitions <- n
	}
	close(l.partitions)
	if workers.Wait(); ctx.Err() != nil {
		return // what was given up here says nothing of the copies
	}
	for w, n := range l.kept {
		p.metrics.kept[w].Set(float64(n))
	}
	if l.gone > 0 {
		what := "antientropy: dropped copies of partitions that other nodes keep now"
		if leaving(v, p.opts.Self) {
			what = "antientropy: handed over copies of partitions to leave"
		}
		p.opts.Logger.Info(what, "partitions", l.gone)
	}
}

// leaveTaking is one look at all old copies.
type leaveTaking struct {
	p          *Parter
	left       []uint32
	partitions chan uint32
	// dropping is held by the one that drops, and during the pause after it.
	dropping chan struct{}

	mu   sync.Mutex // guards what follows
	lost map[ring.NodeID]bool
	kept [numWaiting]int
	gone int // dropped, or handed over to leave
}

func newLeaveTaking(p *Parter) *leaveTaking {
	return &leaveTaking{p: p, lost: map[ring.NodeID]bool{}, partitions: make(chan uint32), dropping: make(chan struct{}, 1)}
}

// work takes partitions until there are none. After the end of ctx it does
// nothing about them.
func (l *leaveTaking) work(ctx context.Context) {
	for n := range l.partitions {
		if ctx.Err() != nil {
			continue
		}
		l.took(n, l.p.part(ctx, n, l))
	}
}

// took notes how it went with a partition.
func (l *leaveTaking) took(partition uint32, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.gone++
		l.p.metrics.due.Dec()
		return
	}
	l.kept[reasonFor(err)]++
	l.p.opts.Logger.Debug("antientropy: an old copy is kept", "partition", partition, "err", err)
}

// lose notes an owner that does not answer.
func (l *leaveTaking) lose(id ring.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost[id] = true
}

func (l *leaveTaking) isLost(id ring.NodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost[id]
}

// errMoving: a partition has not come to rest.
var errMoving = errors.New("antientropy: the partition still moves")

// reasonFor is what an old copy that could not be dropped waits for.
func reasonFor(err error) waiting {
	switch {
	case errors.Is(err, errMoving):
		return waitMoving
	case errors.Is(err, ErrRefused):
		return waitPlacement
	case errors.Is(err, errPeer):
		return waitUnreachable
	case errors.Is(err, errPaceZero):
		return waitHeld
	}
	return waitFailed
}

// old says whether there is a copy here that is not to be kept and was not
// handed over, as far as this node knows.
func (p *Parter) old(partition int) (bool, error) {
	v := p.opts.Views.View()
	if v == nil || partition >= v.Ring().Config().Partitions || keeps(v.Placement(partition), p.opts.Self) || p.given.has(uint32(partition)) {
		return false, nil
	}
	return p.opts.Copies.Holds(uint32(partition))
}

// keeps says whether writes of a partition go to a node.
func keeps(pl ring.Placement, id ring.NodeID) bool {
	return contains(pl.Owners, id) || contains(pl.Pending, id) || contains(pl.Displaced, id)
}

// part gives every owner what it lacks and drops the copy, or says why not. The
// placement is the same from before the first key is compared until the copy is
// gone. A node that leaves drops nothing. An owner that does not answer is lost,
// and those who are, are not asked.
func (p *Parter) part(ctx context.Context, partition uint32, l *leaveTaking) error {
	v := p.opts.Views.View()
	pl, ok := placementOf(v, partition)
	switch {
	case !ok || keeps(pl, p.opts.Self):
		return ErrRefused
	case pl.Extra() > 0 || len(pl.Owners) == 0:
		return errMoving
	case p.pace.held():
		return errPaceZero
	}
	if slices.ContainsFunc(pl.Owners, l.isLost) {
		return errPeer
	}
	claim := Claim{Partition: partition, Stamp: pl.Stamp}
	if owner, err := p.handOver(ctx, claim, pl.Owners); err != nil {
		if errors.Is(err, errPeer) {
			l.lose(owner)
		}
		return err
	}
	if leaving(v, p.opts.Self) {
		p.given.add(partition)
		return nil
	}
	return p.drop(ctx, v, claim, l)
}

// drop drops a copy that was handed over under a view.
func (p *Parter) drop(ctx context.Context, v *ring.View, claim Claim, l *leaveTaking) error {
	l.dropping <- struct{}{}
	defer func() { <-l.dropping }()
	// The stamp stands for the placement and not for the time: if it was another
	// one in between, writes may have come that were not compared.
	if p.opts.Views.View() != v {
		return ErrRefused
	}
	if err := p.opts.Dropper.Drop(claim.Partition, claim.Stamp); err != nil {
		return err
	}
	p.metrics.dropped.Inc()
	p.pause(ctx)
	return nil
}

// HandOver gives each of the owners of a partition what it lacks of this node's
// copy, durably and under the stamp of the claim, until it was found to lack
// nothing. What comes into the copy meanwhile may be left out.
func (p *Parter) HandOver(ctx context.Context, claim Claim, owners []ring.NodeID) error {
	if held, err := p.opts.Copies.Holds(claim.Partition); err != nil || !held {
		return err // nobody lacks what is not here either
	}
	if p.pace.held() {
		return errPaceZero
	}
	_, err := p.handOver(ctx, claim, owners)
	return err
}

// handOver names the owner with which it failed.
func (p *Parter) handOver(ctx context.Context, claim Claim, owners []ring.NodeID) (ring.NodeID, error) {
	d := p.differ
	d.store = newRemembered(d.store)
	for _, owner := range owners {
		if err := p.give(ctx, d, owner, claim); err != nil {
			return owner, fmt.Errorf("%s: %w", p.opts.PeerName(owner), err)
		}
	}
	return ring.NodeID{}, nil
}

// maxPasses is how often the keys of an owner are gone through in one look. A
// copy that nobody writes to has told all that it knows in the first.
const maxPasses = 6

// errLacks: an owner goes on to lack what it was given.
var errLacks = errors.New("antientropy: an owner does not keep what it is given")

// give goes through the keys of an owner, until it was found under several salts
// that it lacks nothing that is here.
func (p *Parter) give(ctx context.Context, d differ, owner ring.NodeID, claim Claim) error {
	clean := 0
	for range maxPasses {
		news := 0
		err := d.pass(ctx, owner, claim, func(ctx context.Context, plan *keyPlan) error {
			n, err := p.push(ctx, owner, claim, append(plan.push, plan.both...))
			news += n
			return err
		})
		if err != nil {
			return err
		}
		if news > 0 {
			clean = 0
			continue
		}
		if clean++; clean == salts {
			return nil
		}
	}
	return errLacks
}

// push reads objects and gives them to an owner, page by page. It counts those
// that were news there.
func (p *Parter) push(ctx context.Context, owner ring.NodeID, claim Claim, refs []object.Ref) (news int, err error) {
	for len(refs) > 0 {
		var page []object.Entry
		bytes, most := 0, p.pace.pageBytes(p.opts.PageBytes)
		for len(refs) > 0 && len(page) < MaxRefs && bytes < most {
			o, err := p.opts.Store.Get(refs[0])
			if err != nil {
				return news, err
			}
			if !o.Absent() {
				page = append(page, object.Entry{Ref: refs[0], Object: o})
				bytes += sizeOf(refs[0], o)
			}
			refs = refs[1:]
		}
		if len(page) == 0 {
			continue
		}
		if err := p.pace.pay(ctx, bytes); err != nil {
			return news, err
		}
		err := p.differ.call(ctx, func(ctx context.Context) error {
			n, err := p.opts.Peers.Push(ctx, owner, PushRequest{Claim: claim, Entries: page})
			news += int(n)
			return err
		})
		if err != nil {
			return news, err
		}
		p.metrics.pushed.add(len(page), bytes)
	}
	return news, nil
}

// rest pauses after the work of comparing a page of keys.
func (p *Parter) rest(ctx context.Context, worked time.Duration) error {
	if pause := partRest(worked, p.opts.Pressure(), p.opts.Streams); pause > 0 {
		return sleep(ctx, pause)
	}
	return ctx.Err()
}

// pause is between two drops. It ends with ctx.
func (p *Parter) pause(ctx context.Context) {
	f := pace.Yielding(p.opts.Pressure())
	_ = sleep(ctx, time.Duration(float64(p.opts.DropPause)/(f*f)))
}
