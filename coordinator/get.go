package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"starling/coordinator/health"
	"starling/coordinator/quorum"
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// Get reads one key from R owners, or fallbacks that hold hints, and merges
// what they hold. Its errors are
// [*QuorumError], [ErrNotVisible], [ErrNotReady], and what this node's own
// store said if too few others answered.
func (c *Coordinator) Get(ctx context.Context, req GetRequest) (GetResult, error) {
	for try := 1; ; try++ {
		before := c.View()
		res, err := c.getOnce(ctx, req)
		if err == nil {
			return res, nil
		}
		if !c.again(ctx, err, try, before) {
			return GetResult{}, c.metrics.failure("get", err)
		}
	}
}

// getEvent is what one node answered.
type getEvent struct {
	node int
	copy object.Object
	err  error
}

// get is one read on its way. Its nodes are the owners and, behind them, the
// fallbacks that may be asked.
type get struct {
	c       *Coordinator
	ref     object.Ref
	pl      ring.Placement
	sloppy  bool
	batched bool // its answers come with those to others
	session version.Vector
	nodes   []ring.NodeID
	core    *quorum.Get
	events  chan getEvent
	local   object.Object // this node's copy, with its hash where it has one
	have    uint64
	causes  []ReplicaError
	late    bool  // a node could not answer before the deadline
	gone    error // a replica knows that the bucket was dropped
	// hedgeAt is when one of the nodes under way will have taken longer than
	// it almost always does; zero: there is nobody to hedge for.
	hedgeAt time.Time
}

func (c *Coordinator) getOnce(ctx context.Context, req GetRequest) (GetResult, error) {
	ref, pl, err := c.place(req.Bucket, req.Key)
	if err == nil {
		err = c.checkBucket(req.Bucket)
	}
	if err != nil {
		return GetResult{}, err
	}
	g := &get{c: c, ref: ref, pl: pl, batched: batchOf(ctx) != nil, sloppy: c.sloppy(req.Consistency), session: req.Session.Vector, nodes: pl.Owners}
	order, usable := c.preferred(pl.Owners, health.Read)
	cfg := quorum.GetConfig{
		Owners: len(pl.Owners), Order: order,
		R:  max(required(req.Consistency.R, req.Consistency.Level, len(pl.Owners)), req.Consistency.PR),
		PR: req.Consistency.PR, Session: g.session,
	}
	if usable < len(order) && g.sloppy {
		cfg.Order = slices.Insert(order, usable, g.fallbacks()...)
	}
	g.core = quorum.NewGet(cfg)
	g.events = make(chan getEvent, len(pl.Owners)+maxSpare+1)
	timeout := g.run(ctx)
	if g.gone != nil {
		return GetResult{}, g.gone
	}
	switch g.core.Verdict() {
	case quorum.Done:
		g.repairStale()
		return GetResult{Object: g.core.Merged(), Required: cfg.R, Received: g.core.Received(), Hinted: g.core.FromHints()}, nil
	case quorum.NotVisible:
		o, ok := g.searched(ctx)
		if g.gone != nil {
			return GetResult{}, g.gone
		}
		if ok {
			return GetResult{Object: o, Required: cfg.R, Received: g.core.Received(), Hinted: g.core.FromHints()}, nil
		}
		return GetResult{}, fmt.Errorf("%w: %d replicas were asked", ErrNotVisible, g.core.Received())
	default:
		need, got := g.core.Lacking()
		return GetResult{}, &QuorumError{Op: "get", Required: need, Received: got, Timeout: timeout, Causes: g.causes}
	}
}

// fallbacks appends the nodes that may answer from hints to those of the get,
// and gives their numbers. This node is the first of them if it is no owner.
func (g *get) fallbacks() []int {
	g.sloppy = false // once
	spare := g.c.fallbacks(g.c.View(), g.pl, false)
	if ownerIndex(g.pl, g.c.opts.Self) < 0 {
		spare = append([]ring.NodeID{g.c.opts.Self}, spare...)
	}
	numbers := make([]int, len(spare))
	for k := range spare {
		numbers[k] = len(g.nodes) + k
	}
	g.nodes = append(g.nodes[:len(g.nodes):len(g.nodes)], spare...)
	return numbers
}

// run asks nodes until the core has a verdict, the bucket turns out to be gone,
// or ctx ends.
func (g *get) run(ctx context.Context) (timeout bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // answers that are no longer needed
	g.c.hedges.earn()
	if g.core.Verdict() == quorum.Impossible {
		g.causes = []ReplicaError{{Node: g.c.opts.Self, Err: fmt.Errorf("%w: %d", ErrTooFewOwners, len(g.pl.Owners))}}
		return false
	}
	g.askMore(ctx)
	if g.core.Verdict() != quorum.Waiting {
		return false // this node's copy was enough
	}
	slow := time.NewTimer(g.untilHedge())
	defer slow.Stop()
	for g.core.Verdict() == quorum.Waiting && g.gone == nil {
		select {
		case e := <-g.events:
			g.report(e)
		case <-slow.C:
			g.hedge()
			slow.Reset(g.untilHedge())
		case <-ctx.Done():
			return true
		}
		if ctx.Err() == nil {
			g.askMore(ctx)
		}
	}
	timeout = ctx.Err() != nil || g.late
	if g.core.Verdict() == quorum.Impossible && g.gone == nil {
		drain(ctx, g.events, func() bool { return g.core.Outstanding() > 0 }, g.report)
	}
	return timeout
}

// untilHedge is how long to wait before one more node is asked.
func (g *get) untilHedge() time.Duration {
	if g.hedgeAt.IsZero() {
		return g.c.opts.SlowAfter
	}
	return max(0, time.Until(g.hedgeAt))
}

// hedge has one more node asked, if there is one and the budget allows it.
func (g *get) hedge() {
	g.hedgeAt = time.Time{}
	switch {
	case !g.core.CanHedge():
	case g.c.hedges.spend():
		g.c.metrics.hedges.Inc()
		g.core.Slow()
	default:
		g.c.metrics.hedgesDenied.Inc()
	}
}

// expect notes when a node that is asked now will be slow.
func (g *get) expect(id ring.NodeID) {
	after := g.c.readP95(id)
	if after == 0 || after > g.c.opts.SlowAfter || g.batched {
		after = g.c.opts.SlowAfter
	}
	at := time.Now().Add(max(after, leastHedge))
	if g.hedgeAt.IsZero() || at.Before(g.hedgeAt) {
		g.hedgeAt = at
	}
}

// leastHedge keeps hedges from chasing the scheduler's noise.
const leastHedge = time.Millisecond

// askMore asks every node that the core wants now. What this node holds is
// read in place: it costs less than handing it to another goroutine, and
// peers asked after it need not send a copy that is the same.
func (g *get) askMore(ctx context.Context) {
	for i, ok := g.core.Ask(); ok; i, ok = g.core.Ask() {
		hints := i >= len(g.pl.Owners)
		if g.nodes[i] == g.c.opts.Self {
			o, err := g.c.read(g.ref, g.pl, hints)
			if err == nil && !o.Absent() {
				g.local, g.have = o, o.Hash(g.ref.Bucket, g.ref.Key)
			}
			g.report(getEvent{i, o, err})
			continue
		}
		req := ReadRequest{Ref: g.ref, Stamp: g.pl.Stamp, Have: g.have, Hints: hints}
		if !g.c.tasks.start(1) {
			g.report(getEvent{node: i, err: ErrNotReady})
			continue
		}
		to, local := g.nodes[i], g.local // the list of nodes may grow meanwhile
		g.expect(to)
		go func() {
			defer g.c.tasks.done(1)
			g.events <- g.read(ctx, i, to, req, local)
		}()
	}
}

// read asks one peer; local is the copy that req.Have is the hash of.
func (g *get) read(ctx context.Context, node int, to ring.NodeID, req ReadRequest, local object.Object) getEvent {
	var reply ReadReply
	err := g.c.placed(ctx, to, opRead, req.Ref, req.Stamp, func() (err error) {
		reply, err = g.c.peersFor(ctx).Read(ctx, to, req)
		return err
	})
	if err == nil && reply.Same {
		reply.Object = local
	}
	return getEvent{node, reply.Object, err}
}

func (g *get) report(e getEvent) {
	if e.err == nil {
		g.core.Reply(e.node, e.copy)
		return
	}
	if errors.Is(e.err, ErrGone) {
		g.gone = e.err
		return
	}
	g.causes = append(g.causes, ReplicaError{Node: g.nodes[e.node], Err: e.err})
	g.late = g.late || errors.Is(e.err, context.DeadlineExceeded)
	if g.sloppy {
		g.core.Extend(g.fallbacks())
	}
	g.core.Fail(e.node)
}
