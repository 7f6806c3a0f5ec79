package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"starling/coordinator/quorum"
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// maxTries bounds how often one put or get is placed anew because the ring
// changed under it.
const maxTries = 3

// Put writes one key. Its errors are [*QuorumError], the sentinels of this
// package, and what the store refused; see "What it owes".
func (c *Coordinator) Put(ctx context.Context, req PutRequest) (PutResult, error) {
	if req.Sibling.Op == (object.OpID{}) {
		return PutResult{}, fmt.Errorf("%w: a put needs an operation ID", ErrInvalid)
	}
	if req.ReadFirst && req.Context.Empty() {
		seen, err := c.Get(ctx, GetRequest{Bucket: req.Bucket, Key: req.Key, Consistency: req.Consistency})
		if err != nil {
			return PutResult{}, err
		}
		req.Context = version.Context{Vector: seen.Object.Vector}
		if len(seen.Object.Live(c.nowMS())) == 0 {
			return PutResult{Context: req.Context, Acked: seen.Received, Required: seen.Required, Coordinator: c.opts.Self}, nil
		}
	}
	return c.untilPlaced(ctx, func() (PutResult, error) {
		ref, pl, err := c.place(req.Bucket, req.Key)
		switch {
		case err != nil:
			return PutResult{}, err
		case ownerIndex(pl, c.opts.Self) >= 0:
			return c.coordinate(ctx, ref, pl, req)
		default:
			return c.forward(ctx, pl, req)
		}
	})
}

// HandleForward coordinates a put for a node that is no owner of the key.
func (c *Coordinator) HandleForward(ctx context.Context, req ForwardRequest) (PutResult, error) {
	stamp := req.Stamp
	return c.untilPlaced(ctx, func() (PutResult, error) {
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

// untilPlaced repeats a put whose replicas refused the placement, at most
// maxTries times and only after the placement changed. The operation ID makes
// a repeated put the same put.
func (c *Coordinator) untilPlaced(ctx context.Context, put func() (PutResult, error)) (PutResult, error) {
	if _, ok := ctx.Deadline(); !ok {
		return PutResult{}, fmt.Errorf("%w: a put needs a deadline", ErrInvalid)
	}
	maybeApplied := false
	for try := 1; ; try++ {
		before := c.View()
		res, err := put()
		if err == nil {
			return res, nil
		}
		var q *QuorumError
		maybeApplied = maybeApplied || (errors.As(err, &q) && q.MaybeApplied)
		if !errors.Is(err, ErrStaleRing) || try == maxTries || ctx.Err() != nil || c.View() == before {
			return PutResult{}, c.metrics.failure("put", withMaybeApplied(err, maybeApplied, c.opts.Self))
		}
		c.metrics.placedAnew.Inc()
	}
}

// withMaybeApplied keeps what an earlier try may have left behind in the
// error of the last one.
func withMaybeApplied(err error, maybe bool, self ring.NodeID) error {
	var q *QuorumError
	switch {
	case !maybe:
		return err
	case errors.As(err, &q):
		q.MaybeApplied = true
		return err
	default:
		return &QuorumError{Op: "put", MaybeApplied: true, Causes: []ReplicaError{{Node: self, Err: err}}}
	}
}

// putEvent is what became of a put at one replica.
type putEvent struct {
	replica int
	err     error
}

// coordinate carries out a put at this node, an owner: the local commit and
// the fan-out run in parallel.
func (c *Coordinator) coordinate(ctx context.Context, ref object.Ref, pl ring.Placement, req PutRequest) (PutResult, error) {
	core := quorum.NewPut(quorum.PutConfig{
		Owners: len(pl.Owners), Extra: pl.Extra(),
		W:    max(required(req.Consistency.W, req.Consistency.Level, len(pl.Owners)), req.Consistency.PW),
		PW:   req.Consistency.PW,
		Self: ownerIndex(pl, c.opts.Self),
	})
	if core.Verdict() == quorum.Impossible {
		return PutResult{}, &QuorumError{Op: "put", Required: core.Required(), Causes: []ReplicaError{{
			Node: c.opts.Self, Err: fmt.Errorf("%w: %d", ErrTooFewOwners, len(pl.Owners))}}}
	}
	replicas := pl.AppendWriters(make([]ring.NodeID, 0, len(pl.Owners)+pl.Extra()))
	if !c.tasks.start(len(replicas)) {
		return PutResult{}, ErrNotReady
	}
	req.Sibling.ModifiedMS = c.nowMS()
	written, err := c.apply(ref, pl.Stamp, func() (object.Written, error) {
		return c.opts.Store.Put(ref, req.Context, req.Sibling)
	})
	if err != nil {
		c.tasks.done(len(replicas))
		return PutResult{}, err
	}
	events := c.fanOut(ctx, ref, pl.Stamp, replicas, written)
	causes, timeout := c.collect(ctx, core, replicas, events)
	if core.Verdict() != quorum.Done {
		return PutResult{}, &QuorumError{Op: "put", Required: core.Required(), Received: core.Received(),
			MaybeApplied: true, Timeout: timeout, Causes: causes}
	}
	return c.putResult(core, replicas, req, written), nil
}

// fanOut starts one task for every replica; each reports one event.
func (c *Coordinator) fanOut(ctx context.Context, ref object.Ref, stamp uint64, replicas []ring.NodeID, w object.Written) <-chan putEvent {
	events := make(chan putEvent, len(replicas))
	deadline, _ := ctx.Deadline()
	for i, id := range replicas {
		go func() {
			defer c.tasks.done(1)
			if id == c.opts.Self {
				events <- putEvent{i, durable(w)}
				return
			}
			// The answer to the client must not end the copies still on
			// their way.
			sendCtx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
			defer cancel()
			events <- putEvent{i, c.replicate(sendCtx, id, ReplicateRequest{Ref: ref, Stamp: stamp, Object: w.Object})}
		}()
	}
	return events
}

// replicate sends a copy to one peer. A peer whose ring is older than ours is
// brought up to date and asked once more.
func (c *Coordinator) replicate(ctx context.Context, to ring.NodeID, req ReplicateRequest) error {
	err := c.timed(to, opReplicate, func() error { return c.opts.Peers.Replicate(ctx, to, req) })
	if errors.Is(err, ErrStaleRing) && c.refreshed(ctx, to, req.Ref.Partition, req.Stamp) {
		err = c.timed(to, opReplicate, func() error { return c.opts.Peers.Replicate(ctx, to, req) })
	}
	return err
}

// refreshed exchanges maps with a peer that refused a stamp, and reports
// whether the stamp is still ours, so that asking again makes sense.
func (c *Coordinator) refreshed(ctx context.Context, peer ring.NodeID, partition uint32, stamp uint64) bool {
	if err := c.opts.Membership.Refresh(ctx, peer); err != nil {
		c.opts.Logger.Debug("coordinator: exchanging maps after a refused stamp", "peer", c.opts.PeerName(peer), "err", err)
		return false
	}
	return c.stampNow(partition) == stamp
}

// stragglersWait is how long a request that cannot succeed any more waits for
// the answers still under way, so that its error says who holds the write.
const stragglersWait = 50 * time.Millisecond

// collect feeds events to the core until it has a verdict or ctx ends.
func (c *Coordinator) collect(ctx context.Context, core *quorum.Put, replicas []ring.NodeID, events <-chan putEvent) (causes []ReplicaError, timeout bool) {
	report := func(e putEvent) {
		if e.err == nil {
			core.Ack(e.replica)
			return
		}
		core.Fail(e.replica)
		causes = append(causes, ReplicaError{Node: replicas[e.replica], Err: e.err})
		timeout = timeout || ctx.Err() != nil || errors.Is(e.err, context.DeadlineExceeded)
	}
	for core.Verdict() == quorum.Waiting {
		select {
		case e := <-events:
			report(e)
		case <-ctx.Done():
			return causes, true
		}
	}
	if core.Verdict() == quorum.Impossible {
		drain(ctx, events, len(replicas)-core.Received()-len(causes), report)
	}
	return causes, timeout
}

// drain reports up to n more events, those that come within stragglersWait.
func drain[E any](ctx context.Context, events <-chan E, n int, report func(E)) {
	ctx, cancel := context.WithTimeout(ctx, stragglersWait)
	defer cancel()
	for range n {
		select {
		case e := <-events:
			report(e)
		case <-ctx.Done():
			return
		}
	}
}

func (c *Coordinator) putResult(core *quorum.Put, replicas []ring.NodeID, req PutRequest, w object.Written) PutResult {
	res := PutResult{
		Context: w.Object.Reply(req.Context, w.Dot), Dot: w.Dot, ModifiedMS: req.Sibling.ModifiedMS,
		Acked: core.Received(), Required: core.Required(), Coordinator: c.opts.Self,
		Replicas: make([]Receipt, len(replicas)),
	}
	for i, id := range replicas {
		res.Replicas[i] = Receipt{Node: id}
		switch {
		case core.Acked(i):
			res.Replicas[i].Outcome = OutcomeAcked
		case core.Failed(i):
			res.Replicas[i].Outcome = OutcomeFailed
		}
	}
	for _, s := range w.Object.Siblings {
		if s.Dot == w.Dot { // a repeated put was stamped by its first try
			res.ModifiedMS = s.ModifiedMS
		}
	}
	return res
}

// forward hands a put to an owner, the likeliest first. An owner whose
// outcome is unknown may have taken the put; the next one is given the same
// operation ID, so the two cannot become two siblings for a reader.
func (c *Coordinator) forward(ctx context.Context, pl ring.Placement, req PutRequest) (PutResult, error) {
	fail := &QuorumError{Op: "put", Required: required(req.Consistency.W, req.Consistency.Level, len(pl.Owners)) + pl.Extra()}
	order := c.preferred(pl.Owners)
	for n, i := range order {
		to := pl.Owners[i]
		tryCtx, cancel := shareOfDeadline(ctx, len(order)-n)
		res, err := c.forwardTo(tryCtx, to, pl, req)
		cancel()
		if err == nil || !triesElsewhere(err) {
			return res, err
		}
		fail.Causes = append(fail.Causes, ReplicaError{Node: to, Err: err})
		fail.MaybeApplied = fail.MaybeApplied || errors.Is(err, ErrUnknown)
		if ctx.Err() != nil {
			fail.Timeout = true
			break
		}
		if c.stampNow(uint32(pl.Partition)) != pl.Stamp {
			break // the ring changed: Put places the key anew
		}
	}
	return PutResult{}, fail
}

func (c *Coordinator) forwardTo(ctx context.Context, to ring.NodeID, pl ring.Placement, req PutRequest) (res PutResult, err error) {
	send := func() error {
		res, err = c.opts.Peers.Forward(ctx, to, ForwardRequest{Put: req, Stamp: pl.Stamp})
		return err
	}
	err = c.timed(to, opForward, send)
	if errors.Is(err, ErrStaleRing) && c.refreshed(ctx, to, uint32(pl.Partition), pl.Stamp) {
		err = c.timed(to, opForward, send)
	}
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
