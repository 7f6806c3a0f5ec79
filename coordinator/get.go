package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"starling/coordinator/quorum"
	"starling/ring"
	"starling/store/object"
)

// Get reads one key from R owners and merges what they hold. Its errors are
// [*QuorumError], [ErrNotVisible], [ErrNotReady], and what this node's own
// store said if too few others answered.
func (c *Coordinator) Get(ctx context.Context, req GetRequest) (GetResult, error) {
	for try := 1; ; try++ {
		before := c.View()
		res, err := c.getOnce(ctx, req)
		if err == nil {
			return res, nil
		}
		if !errors.Is(err, ErrStaleRing) || try == maxTries || ctx.Err() != nil || c.View() == before {
			return GetResult{}, c.metrics.failure("get", err)
		}
		c.metrics.placedAnew.Inc()
	}
}

// getEvent is what one owner answered.
type getEvent struct {
	owner int
	copy  object.Object
	err   error
}

// get is one read on its way.
type get struct {
	c      *Coordinator
	ref    object.Ref
	pl     ring.Placement
	core   *quorum.Get
	events chan getEvent
	local  object.Object // this node's copy, with its hash where it has one
	have   uint64
	causes []ReplicaError
}

func (c *Coordinator) getOnce(ctx context.Context, req GetRequest) (GetResult, error) {
	ref, pl, err := c.place(req.Bucket, req.Key)
	if err != nil {
		return GetResult{}, err
	}
	need := max(required(req.Consistency.R, req.Consistency.Level, len(pl.Owners)), req.Consistency.PR)
	g := &get{
		c: c, ref: ref, pl: pl,
		core:   quorum.NewGet(quorum.GetConfig{Order: c.preferred(pl.Owners), R: need, Session: req.Session.Vector}),
		events: make(chan getEvent, len(pl.Owners)),
	}
	timeout := g.run(ctx)
	switch g.core.Verdict() {
	case quorum.Done:
		g.repairStale()
		return GetResult{Object: g.core.Merged(), Required: need, Received: g.core.Received()}, nil
	case quorum.NotVisible:
		return GetResult{}, fmt.Errorf("%w: %d owners were asked", ErrNotVisible, g.core.Received())
	default:
		return GetResult{}, &QuorumError{Op: "get", Required: need, Received: g.core.Received(), Timeout: timeout, Causes: g.causes}
	}
}

// run asks owners until the core has a verdict or ctx ends.
func (g *get) run(ctx context.Context) (timeout bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // answers that are no longer needed
	if g.core.Verdict() == quorum.Impossible {
		g.causes = []ReplicaError{{Node: g.c.opts.Self, Err: fmt.Errorf("%w: %d", ErrTooFewOwners, len(g.pl.Owners))}}
		return false
	}
	g.askMore(ctx)
	if g.core.Verdict() == quorum.Done {
		return false // this node's copy was enough
	}
	slow := time.NewTimer(g.c.opts.SlowAfter)
	defer slow.Stop()
	for g.core.Verdict() == quorum.Waiting {
		select {
		case e := <-g.events:
			g.report(e)
		case <-slow.C:
			g.c.metrics.slowReads.Inc()
			g.core.Slow()
			slow.Reset(g.c.opts.SlowAfter)
		case <-ctx.Done():
			return true
		}
		g.askMore(ctx)
	}
	timeout = ctx.Err() != nil
	if g.core.Verdict() == quorum.Impossible {
		drain(ctx, g.events, g.core.Outstanding(), g.report)
	}
	return timeout
}

// askMore asks every owner that the core wants now. This node's own copy is
// read in place: it costs less than handing it to another goroutine, and
// peers asked after it need not send a copy that is the same.
func (g *get) askMore(ctx context.Context) {
	for i, ok := g.core.Ask(); ok; i, ok = g.core.Ask() {
		if g.pl.Owners[i] == g.c.opts.Self {
			o, err := g.c.opts.Store.Get(g.ref)
			if err == nil && !o.Absent() {
				g.local, g.have = o, o.Hash(g.ref.Bucket, g.ref.Key)
			}
			g.report(getEvent{i, o, err})
			continue
		}
		req := ReadRequest{Ref: g.ref, Stamp: g.pl.Stamp, Have: g.have}
		if !g.c.tasks.start(1) {
			g.report(getEvent{owner: i, err: ErrNotReady})
			continue
		}
		go func() {
			defer g.c.tasks.done(1)
			g.events <- g.read(ctx, i, req)
		}()
	}
}

// read asks one peer. Its stamp refusal is handled as in [Coordinator.replicate].
func (g *get) read(ctx context.Context, owner int, req ReadRequest) getEvent {
	to := g.pl.Owners[owner]
	var reply ReadReply
	ask := func() (err error) {
		reply, err = g.c.opts.Peers.Read(ctx, to, req)
		return err
	}
	err := g.c.timed(to, opRead, ask)
	if errors.Is(err, ErrStaleRing) && g.c.refreshed(ctx, to, req.Ref.Partition, req.Stamp) {
		err = g.c.timed(to, opRead, ask)
	}
	if err == nil && reply.Same {
		reply.Object = g.local
	}
	return getEvent{owner, reply.Object, err}
}

func (g *get) report(e getEvent) {
	if e.err != nil {
		g.causes = append(g.causes, ReplicaError{Node: g.pl.Owners[e.owner], Err: e.err})
		g.core.Fail(e.owner)
		return
	}
	g.core.Reply(e.owner, e.copy)
}

// preferred orders owners by number: this node first, then those that the
// failure detector calls alive, taking turns, then the rest.
func (c *Coordinator) preferred(owners []ring.NodeID) []int {
	order := make([]int, 0, len(owners))
	var down []int
	turn := int(c.turn.Add(1))
	for k := range owners {
		i := (turn + k) % len(owners)
		switch {
		case owners[i] == c.opts.Self:
			order = append([]int{i}, order...)
		case c.opts.Membership.Alive(owners[i]):
			order = append(order, i)
		default:
			down = append(down, i)
		}
	}
	return append(order, down...)
}
