package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"starling/coordinator/health"
	"starling/ring"
	"starling/store/bucket/resolve"
	"starling/store/object"
	"starling/store/version"
)

const (
	// maxTries bounds how often one put, get or page is tried where the ring
	// changes under it.
	maxTries = 5
	// tryPause is the pause before the third try, and doubles from then on: the
	// changes of members that join or part come in clusters.
	tryPause = 10 * time.Millisecond
)

// again says whether to place a request anew, and waits until it is time to: if
// its n-th try under a view, n from 1, was refused, and there is another view.
func (c *Coordinator) again(ctx context.Context, err error, n int, before *ring.View) bool {
	if !errors.Is(err, ErrStaleRing) || n == maxTries || ctx.Err() != nil || c.View() == before {
		return false
	}
	if n > 1 {
		pause := time.NewTimer(tryPause << (n - 2))
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
			return false
		}
	}
	c.metrics.placedAnew.Inc()
	return true
}

// Put writes one key. Its errors are [*QuorumError], the sentinels of this
// package, and what the store refused; see "What it owes".
func (c *Coordinator) Put(ctx context.Context, req PutRequest) (PutResult, error) {
	if req.Sibling.Op.IsZero() && !req.Increment {
		return PutResult{}, fmt.Errorf("%w: a put needs an operation ID", ErrInvalid)
	}
	if err := c.checkBucket(req.Bucket); err != nil {
		return PutResult{}, c.metrics.failure("put", err)
	}
	if req.ReadFirst && req.Context.Empty() {
		seen, err := c.Get(ctx, GetRequest{Bucket: req.Bucket, Key: req.Key, Consistency: req.Consistency})
		if err != nil {
			return PutResult{}, err
		}
		req.Context = version.Context{Vector: seen.Object.Vector}
		if req.Sibling.Tombstone && len(seen.Object.Live(c.nowMS())) == 0 {
			return PutResult{Context: req.Context, Acked: seen.Received - seen.Hinted, Hinted: seen.Hinted,
				Required: seen.Required, Coordinator: c.opts.Self}, nil
		}
	}
	return c.untilPlaced(ctx, req.repeatable(), func() (PutResult, error) {
		ref, pl, err := c.place(req.Bucket, req.Key)
		switch {
		case err != nil:
			return PutResult{}, err
		case ownerIndex(pl, c.opts.Self) >= 0:
			return c.coordinate(ctx, ref, pl, req)
		default:
			return c.forward(ctx, ref, pl, req)
		}
	})
}

// HandleForward coordinates a put for a node that is no owner of the key.
func (c *Coordinator) HandleForward(ctx context.Context, req ForwardRequest) (PutResult, error) {
	if c.draining.Load() {
		return PutResult{}, fmt.Errorf("%w: it is stopping", ErrNotReady)
	}
	stamp := req.Stamp
	return c.untilPlaced(ctx, req.Put.repeatable(), func() (PutResult, error) {
		ref, pl, err := c.place(req.Put.Bucket, req.Put.Key)
		if err != nil {
			return PutResult{}, err
		}
		if (stamp != 0 && pl.Stamp != stamp) || ownerIndex(pl, c.opts.Self) < 0 {
			return PutResult{}, fmt.Errorf("%w: partition %d", ErrStaleRing, ref.Partition)
		}
		stamp = 0 // the ring may move on while we coordinate; we must stay an owner
		return c.coordinate(ctx, ref, pl, req.Put)
	})
}

// repeatable says whether a put may be done again that may have been applied: its
// operation ID makes the two one. An increment without one counts each time.
func (req *PutRequest) repeatable() bool { return !req.Sibling.Op.IsZero() }

// untilPlaced repeats a put whose replicas refused the placement, at most
// maxTries times and only after the placement changed; one that is not
// repeatable, only if it was not applied.
func (c *Coordinator) untilPlaced(ctx context.Context, repeatable bool, put func() (PutResult, error)) (PutResult, error) {
	if _, ok := ctx.Deadline(); !ok {
		return PutResult{}, fmt.Errorf("%w: a put needs a deadline", ErrInvalid)
	}
	maybeApplied := false
	for try := 1; ; try++ {
		before := c.View()
		res, err := PutResult{}, c.awake()
		if err == nil {
			res, err = put()
		}
		if err == nil {
			return res, nil
		}
		var q *QuorumError
		maybeApplied = maybeApplied || (errors.As(err, &q) && q.MaybeApplied)
		if maybeApplied && !repeatable || !c.again(ctx, err, try, before) {
			return PutResult{}, c.metrics.failure("put", withMaybeApplied(err, maybeApplied, c.opts.Self))
		}
	}
}

// withMaybeApplied keeps what an earlier try may have left behind in the
// error of the last one.
func withMaybeApplied(err error, maybe bool, self ring.NodeID) error {
	var q *QuorumError
	switch {
	case !maybe, errors.Is(err, ErrGone): // whatever was left behind is gone
		return err
	case errors.As(err, &q):
		q.MaybeApplied = true
		return err
	default:
		return &QuorumError{Op: "put", MaybeApplied: true, Causes: []ReplicaError{{Node: self, Err: err}}}
	}
}

// coordinate carries out a put at this node, an owner: the local commit and
// the fan-out run in parallel.
func (c *Coordinator) coordinate(ctx context.Context, ref object.Ref, pl ring.Placement, req PutRequest) (PutResult, error) {
	var known resolve.Copies
	if req.Increment {
		known = c.gatherCounter(ctx, ref, pl)
	}
	p := c.newPut(ref, pl, req, ownerIndex(pl, c.opts.Self), false)
	return p.run(ctx, func() (object.Written, error) {
		return c.apply(ref, pl.Stamp, func() (object.Written, error) {
			return c.opts.Store.Update(ref, p.req.Sibling.Op, c.makes(ref, p.req, known))
		})
	})
}

// standIn carries out a put at this node, which is no owner, after no owner
// would: the dot is minted in a hint that this node keeps for one of them.
func (c *Coordinator) standIn(ctx context.Context, ref object.Ref, pl ring.Placement, req PutRequest) (PutResult, error) {
	absent := 0
	for i, id := range pl.Owners {
		if !c.usable(id) {
			absent = i
			break
		}
	}
	c.metrics.stoodIn.Inc()
	p := c.newPut(ref, pl, req, absent, true)
	return p.run(ctx, func() (object.Written, error) {
		return c.applyHint(ref, pl.Stamp, pl.Owners[absent], func() (object.Written, error) {
			return c.opts.Hints.PutHint(pl.Owners[absent], ref, req.Context, p.req.Sibling)
		})
	})
}

// mayStandIn says whether a put may be done without any owner. Nobody stands in
// that leaves: see leave.go.
func (c *Coordinator) mayStandIn(pl ring.Placement, req PutRequest) bool {
	return c.sloppy(req.Consistency) && req.Consistency.PW == 0 && len(pl.Owners) > 0 && !req.Increment &&
		c.View().Ring().Has(c.opts.Self) && !c.Leaving()
}

// sloppy says whether fallbacks count for a request.
func (c *Coordinator) sloppy(cons Consistency) bool { return c.opts.Hints != nil && !cons.Strict }

// forward hands a put to an owner, the likeliest first. An owner whose
// outcome is unknown may have taken the put; the next one is given the same
// operation ID, so the two cannot become two siblings for a reader; without one
// nobody else is given it. When no owner takes it this node stands in for them, if
// that is allowed.
func (c *Coordinator) forward(ctx context.Context, ref object.Ref, pl ring.Placement, req PutRequest) (PutResult, error) {
	fail := &QuorumError{Op: "put", Required: required(req.Consistency.W, req.Consistency.Level, len(pl.Owners)) + pl.Extra()}
	order, usable := c.preferred(pl.Owners, health.Write)
	standIn := c.mayStandIn(pl, req)
	if standIn {
		order = order[:usable]
	}
	for n, i := range order {
		to := pl.Owners[i]
		tries := len(order) - n
		if standIn {
			tries++
		}
		tryCtx, cancel := shareOfDeadline(ctx, tries)
		res, err := c.forwardTo(tryCtx, to, pl, req)
		cancel()
		if err == nil || !triesElsewhere(err) {
			return res, err
		}
		fail.Causes = append(fail.Causes, ReplicaError{Node: to, Err: err})
		fail.MaybeApplied = fail.MaybeApplied || errors.Is(err, ErrUnknown)
		fail.Timeout = ctx.Err() != nil
		if fail.Timeout || fail.MaybeApplied && !req.repeatable() {
			return PutResult{}, fail
		}
		if c.stampNow(uint32(pl.Partition)) != pl.Stamp {
			return PutResult{}, fail // the ring changed: Put places the key anew
		}
	}
	if !standIn {
		return PutResult{}, fail
	}
	res, err := c.standIn(ctx, ref, pl, req)
	return res, withMaybeApplied(err, err != nil && fail.MaybeApplied, c.opts.Self)
}

func (c *Coordinator) forwardTo(ctx context.Context, to ring.NodeID, pl ring.Placement, req PutRequest) (res PutResult, err error) {
	ref := object.Ref{Partition: uint32(pl.Partition), Bucket: req.Bucket, Key: req.Key}
	err = c.placed(ctx, to, opForward, ref, pl.Stamp, func() error {
		res, err = c.peersFor(ctx).Forward(ctx, to, ForwardRequest{Put: req, Stamp: pl.Stamp})
		return err
	})
	return res, err
}

// triesElsewhere tells failures of one owner from answers that every owner
// would give.
func triesElsewhere(err error) bool {
	var q *QuorumError
	if errors.As(err, &q) {
		return false
	}
	for _, e := range []error{ErrUnreachable, ErrUnknown, ErrNotReady, ErrOverloaded, ErrStaleRing, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// shareOfDeadline leaves time for the tries that may follow: half of what is
// left, or all of it for the last.
func shareOfDeadline(ctx context.Context, tries int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || tries <= 1 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}

func (c *Coordinator) nowMS() int64 { return c.opts.Now().UnixMilli() }
