package antientropy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"starling/ring"
)

// Filler fills the partitions that this node is to own. Make it with
// [NewFiller] and keep [Filler.Run] running.
type Filler struct {
	opts    FillerOptions
	kick    chan struct{}
	metrics *fillMetrics
	pace    *pacer
	fill    fill
	// settledAt is when bits were set last; it belongs to the settling side of
	// a round.
	settledAt time.Time
}

// NewFiller checks the options and registers the metrics.
func NewFiller(o FillerOptions) (*Filler, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	f := &Filler{opts: o, kick: make(chan struct{}, 1), pace: newPacer(o.Pace.Rate, o.Pressure)}
	if f.metrics, err = newFillMetrics(f); err != nil {
		return nil, fmt.Errorf("antientropy: metrics: %w", err)
	}
	return f, nil
}

// Kick starts a round; call it after every change of the view.
func (f *Filler) Kick() {
	select {
	case f.kick <- struct{}{}:
	default: // one is waiting already
	}
}

// Run fills until ctx ends.
func (f *Filler) Run(ctx context.Context) error {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.kick:
		case <-retry.C:
		}
		more, err := f.round(ctx)
		if err != nil && ctx.Err() == nil {
			f.opts.Logger.Debug("antientropy: filling", "pending", len(f.pending()), "err", err)
		}
		switch {
		case more && !f.pace.held():
			retry.Reset(0)
		case len(f.pending()) > 0 || len(f.displaced()) > 0:
			retry.Reset(f.opts.RetryInterval)
		}
	}
}

func (f *Filler) pending() []int {
	v := f.opts.Views.View()
	if v == nil {
		return nil
	}
	return v.PendingFor(f.opts.Self)
}

func (f *Filler) displaced() []int {
	v := f.opts.Views.View()
	if v == nil {
		return nil
	}
	return v.Displaced(f.opts.Self)
}

// round does one pass of the protocol in the package comment. more: its time
// was over before its work was.
func (f *Filler) round(ctx context.Context) (more bool, err error) {
	var leave []uint32
	if f.opts.Prepare != nil {
		var anew []uint32
		leave, anew = f.opts.Prepare(ctx)
		f.fill.anew(anew)
	}
	v := f.opts.Views.View()
	if v == nil {
		return false, nil
	}
	if err := f.release(ctx, v); err != nil {
		return false, err
	}
	if more, err = f.transfer(ctx, v, leave); err != nil {
		return more, err
	}
	if len(f.pending()) == 0 {
		f.fill.over()
		if f.opts.OnSettled != nil {
			f.opts.OnSettled()
		}
	}
	return more, nil
}

// releaseBatch is how many partitions are released at once: not all, since a
// change of the view in between would have all of it done again.
const releaseBatch = 128

// release gives up this node's votes in the partitions that it is displaced
// from and need not vote in any more: every owner confirms that it is one, under
// the same stamp. Without that, nodes that go by different maps could all give
// up their votes to each other, and leave the partition without an owner. Where
// there are fewer owners than N, quorums become smaller with each that goes, and
// the owners are given first what they lack.
func (f *Filler) release(ctx context.Context, v *ring.View) error {
	claims := f.released(ctx, v)
	for len(claims) > 0 {
		n := min(len(claims), releaseBatch)
		batch := f.handOver(ctx, v, claims[:n])
		if claims = claims[n:]; len(batch) == 0 {
			continue
		}
		if _, err := f.opts.Membership.SetSettled(batch, false); err != nil {
			return err
		}
	}
	return nil
}

// released are the partitions that every owner confirms this node to be
// displaced from.
func (f *Filler) released(ctx context.Context, v *ring.View) []Claim {
	displaced := v.Displaced(f.opts.Self)
	if len(displaced) == 0 {
		return nil
	}
	p := emptyPlan()
	for _, part := range displaced {
		p.add(v.Placement(part))
	}
	if err := f.confirm(ctx, p); err != nil {
		f.opts.Logger.Debug("antientropy: confirming new owners", "err", err)
	}
	return p.unanimous()
}

// releaseStreams is how many partitions are handed over at once before they are
// released: as many as a [Parter] compares.
const releaseStreams = DefaultPartStreams

// handOver gives the owners what they lack, where that has to be done, and
// leaves out the claims for which it cannot.
func (f *Filler) handOver(ctx context.Context, v *ring.View, claims []Claim) (done []Claim) {
	var mu sync.Mutex // guards done
	var streams errgroup.Group
	streams.SetLimit(releaseStreams)
	for _, c := range claims {
		streams.Go(func() error {
			if !f.mayRelease(ctx, v, c) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			done = append(done, c)
			return nil
		})
	}
	_ = streams.Wait() // none fails
	return done
}

// mayRelease hands a partition over, where that has to be done first.
func (f *Filler) mayRelease(ctx context.Context, v *ring.View, c Claim) bool {
	part := int(c.Partition)
	if !v.Short(part) {
		return true
	}
	if f.opts.HandOver == nil {
		return false
	}
	err := f.opts.HandOver(ctx, c, v.Placement(part).Owners)
	if err != nil {
		f.opts.Logger.Debug("antientropy: handing a partition over", "partition", part, "err", err)
	}
	return err == nil
}

// transfer fills what is pending in a view.
func (f *Filler) transfer(ctx context.Context, v *ring.View, leave []uint32) (more bool, err error) {
	p := newPlan(v, f.opts.Self, leave, f.opts.GivenUp != nil && f.opts.GivenUp())
	if f.fill.look(v.PendingFor(f.opts.Self)); len(p.owners) == 0 || f.pace.held() {
		return false, nil
	}
	err = f.confirm(ctx, p)
	c := newCrew(f, p)
	c.sizes(ctx)
	more = c.run(ctx)
	return more, errors.Join(err, c.err())
}

// confirm asks every live owner, all at once. One that sees another placement
// is brought up to date, and its partitions are left for the next round.
func (f *Filler) confirm(ctx context.Context, p *plan) error {
	var mu sync.Mutex // guards errs and what p has heard
	var errs []error
	var calls errgroup.Group
	for owner, claims := range p.claims {
		if !f.opts.Membership.Alive(owner) {
			continue
		}
		calls.Go(func() error {
			callCtx, cancel := context.WithTimeout(ctx, f.opts.CallTimeout)
			defer cancel()
			agreed, err := f.opts.Peers.Confirm(callCtx, owner, claims)
			if err != nil || len(agreed) < len(claims) {
				err = errors.Join(err, f.opts.Membership.Refresh(callCtx, owner))
			}
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			p.heard(owner, agreed)
			return nil
		})
	}
	_ = calls.Wait() // no call fails: errs has what went wrong
	return errors.Join(errs...)
}

// settle publishes the bits of the partitions that are still as they were
// confirmed.
func (f *Filler) settle(filled []Claim) error {
	v := f.opts.Views.View()
	done, err := f.opts.Membership.SetSettled(filled, true)
	f.fill.settled(done)
	begun := slices.DeleteFunc(slices.Clone(done), func(c Claim) bool { return len(v.Placement(int(c.Partition)).Owners) > 0 })
	if len(begun) > 0 {
		f.opts.Logger.Warn("antientropy: partitions that were given up begin again here, with what was left of them", "partitions", len(begun))
	}
	return err
}
