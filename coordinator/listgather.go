package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"starling/coordinator/health"
	"starling/ring"
	"starling/store/object"
)

// listSlowAfter is how long a node may take for a scan before its partitions are
// asked for elsewhere as well, if the budget of hedges allows it.
const listSlowAfter = time.Second

// gathering is one round of a listing: every partition is to be read by as many
// of its owners as the request needs. Which nodes are asked is one ranking for
// all partitions, so that the first ones are asked for nearly all that they own
// and few nodes are asked at all.
type gathering struct {
	l     *Lister
	req   ScanRequest // for all partitions together
	cons  Consistency
	rank  map[ring.NodeID]int
	parts []listPart // by number
	under []*listCall
	ended chan *listCall
	// rows are what the nodes answered; done and upTo how far all of them went.
	rows   []object.Entry
	done   bool
	upTo   string
	causes []ReplicaError
	gone   error // a node knows that the bucket was dropped
	late   bool
}

// listPart is what is known of a partition.
type listPart struct {
	pl   ring.Placement
	need int // owners that must answer
	// tried are the owners that were asked, by number. Of these heard answered,
	// and of fast and slow ones an answer is awaited.
	tried             uint64
	heard, fast, slow int
	// placed is how often it was looked up again, replaced how often it had
	// another placement then.
	placed, replaced int
}

// listCall is one request to a node.
type listCall struct {
	node   ring.NodeID
	claims []ListClaim
	// replaced has for each claim what the partition's was.
	replaced []int
	began    time.Time
	slow     bool
	reply    ScanReply
	err      error
	// refreshed: the node's refusals were followed by an exchange of maps.
	refreshed bool
}

// gather does one round.
func (l *Lister) gather(ctx context.Context, req ScanRequest, cons Consistency) (*gathering, error) {
	v := l.c.View()
	if v == nil {
		return nil, ErrNotReady
	}
	if err := l.c.checkBucket(req.Bucket); err != nil {
		return nil, err
	}
	g := &gathering{l: l, req: req, cons: cons, done: true, ended: make(chan *listCall), rank: l.c.ranking(v)}
	g.parts = make([]listPart, v.Ring().Config().Partitions)
	for i := range g.parts {
		g.parts[i] = g.part(v.Placement(i))
	}
	return g, g.run(ctx)
}

// part is a partition that nobody was asked for yet.
func (g *gathering) part(pl ring.Placement) listPart {
	return listPart{pl: pl, need: max(required(g.cons.R, g.cons.Level, len(pl.Owners)), g.cons.PR)}
}

// ranking orders the members for listings: this node, then the usable ones by
// how quick they are.
func (c *Coordinator) ranking(v *ring.View) map[ring.NodeID]int {
	members := v.Ring().Members()
	ids := make([]ring.NodeID, len(members))
	for i, m := range members {
		ids[i] = m.ID
	}
	order, _ := c.preferred(ids, health.List)
	rank := make(map[ring.NodeID]int, len(ids))
	for place, i := range order {
		rank[ids[i]] = place
	}
	return rank
}

// run asks nodes until every partition was answered often enough, one cannot be,
// or ctx ends.
func (g *gathering) run(ctx context.Context) error {
	callers := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // answers that are no longer needed
	g.l.c.hedges.earn()
	slow := time.NewTicker(listSlowAfter / 4)
	defer slow.Stop()
	for {
		if short := g.askMore(ctx); short != nil {
			drain(ctx, g.ended, func() bool { return len(g.under) > 0 && g.gone == nil }, g.report)
			if g.gone != nil {
				return g.gone
			}
			return g.failure(short, g.late)
		}
		if g.unheard() == nil {
			return nil
		}
		if len(g.under) == 0 {
			continue // this node stops, and starts no more calls
		}
		select {
		case call := <-g.ended:
			g.report(call)
		case now := <-slow.C:
			g.hedge(now)
		case <-callers.Done():
			return g.failure(g.unheard(), true)
		}
		if g.gone != nil {
			return g.gone
		}
	}
}

// unheard is a partition that was not answered often enough; nil: there is none.
func (g *gathering) unheard() *listPart {
	i := slices.IndexFunc(g.parts, func(p listPart) bool { return p.heard < p.need })
	if i < 0 {
		return nil
	}
	return &g.parts[i]
}

func (g *gathering) failure(p *listPart, timeout bool) error {
	return &QuorumError{Op: "list", Required: p.need, Received: p.heard, Timeout: timeout, Causes: g.causes}
}

// askMore has every partition asked for that lacks answers, each node once for
// all of its own. It returns a partition for which that is no more possible.
func (g *gathering) askMore(ctx context.Context) (short *listPart) {
	asks := make(map[ring.NodeID]*listCall)
	for i := range g.parts {
		p := &g.parts[i]
		for p.heard+p.fast < p.need {
			owner := g.next(p)
			if owner < 0 {
				break
			}
			p.tried |= 1 << owner
			p.fast++
			id := p.pl.Owners[owner]
			if asks[id] == nil {
				asks[id] = &listCall{node: id}
			}
			asks[id].claims = append(asks[id].claims, ListClaim{Partition: uint32(i), Stamp: p.pl.Stamp})
			asks[id].replaced = append(asks[id].replaced, p.replaced)
		}
		if p.need > len(p.pl.Owners) {
			g.causes = append(g.causes, ReplicaError{Node: g.l.c.opts.Self, Err: fmt.Errorf("%w: %d in partition %d", ErrTooFewOwners, len(p.pl.Owners), i)})
		}
		if p.heard+p.fast+p.slow < p.need {
			return p
		}
	}
	for _, call := range asks {
		g.start(ctx, call)
	}
	return nil
}

// next is the first owner, by rank, that was not asked; -1: all were.
func (g *gathering) next(p *listPart) int {
	best := -1
	for i, id := range p.pl.Owners {
		if p.tried&(1<<i) == 0 && (best < 0 || g.rank[id] < g.rank[p.pl.Owners[best]]) {
			best = i
		}
	}
	return best
}

// start sends a call on its way.
func (g *gathering) start(ctx context.Context, call *listCall) {
	call.began = time.Now()
	g.under = append(g.under, call)
	req := g.share(call)
	if !g.l.c.tasks.start(1) {
		call.err = ErrNotReady
		g.report(call)
		return
	}
	go func() {
		defer g.l.c.tasks.done(1)
		g.ask(ctx, call, req)
		select {
		case g.ended <- call:
		case <-ctx.Done():
		}
	}()
}

// share is what one node is asked of a request for all partitions: its part of
// the keys, somewhat more than it would have on average, and of the bounds.
func (g *gathering) share(call *listCall) ScanRequest {
	part := float64(len(call.claims)) / float64(len(g.parts))
	req := g.req
	req.Claims = call.claims
	mean := part * float64(g.req.Limit)
	req.Limit = min(g.req.Limit, uint32(math.Ceil(mean+2*math.Sqrt(mean)))+4)
	req.MaxRows = max(uint32(2*len(call.claims)), uint32(part*float64(g.req.MaxRows)), 1)
	req.MaxBytes = max(uint32(part*float64(g.req.MaxBytes)), 1)
	return req
}

// ask carries a call out, and exchanges maps with a node that refused some of it.
func (g *gathering) ask(ctx context.Context, call *listCall, req ScanRequest) {
	c := g.l.c
	if call.node == c.opts.Self {
		call.reply, call.err = g.l.HandleList(ctx, req)
		call.refreshed = true
		return
	}
	call.err = c.timed(ctx, call.node, opList, func() (err error) {
		call.reply, err = g.l.opts.Peers.List(ctx, call.node, req)
		return err
	})
	switch {
	case errors.Is(call.err, ErrGone):
		c.learnGone(ctx, call.node, req.Bucket)
	case call.err == nil && len(call.reply.Refused) > 0:
		if err := c.opts.Membership.Refresh(ctx, call.node); err != nil {
			c.opts.Logger.Debug("coordinator: exchanging maps after a refused listing", "peer", c.opts.PeerName(call.node), "err", err)
			return
		}
		call.refreshed = true
	}
}

// hedge has those partitions asked for elsewhere that slow nodes were asked for.
func (g *gathering) hedge(now time.Time) {
	for _, call := range g.under {
		if call.slow || now.Sub(call.began) < listSlowAfter {
			continue
		}
		if !g.l.c.hedges.spend() {
			g.l.c.metrics.hedgesDenied.Inc()
			return
		}
		g.l.c.metrics.hedges.Inc()
		call.slow = true
		for p := range g.awaited(call) {
			p.fast--
			p.slow++
		}
	}
}

// awaited are the partitions of a call that are still placed as they were when
// it was made.
func (g *gathering) awaited(call *listCall) func(yield func(*listPart, ListClaim) bool) {
	return func(yield func(*listPart, ListClaim) bool) {
		for i, claim := range call.claims {
			if p := &g.parts[claim.Partition]; p.replaced == call.replaced[i] && !yield(p, claim) {
				return
			}
		}
	}
}

// report takes a call that ended.
func (g *gathering) report(call *listCall) {
	g.under = slices.DeleteFunc(g.under, func(c *listCall) bool { return c == call })
	if call.err == nil {
		call.err = checkReply(g.req.After, call)
	}
	if errors.Is(call.err, ErrGone) {
		g.gone = call.err
		return
	}
	refused := call.reply.Refused
	answered := call.err == nil
	if !answered {
		g.late = g.late || errors.Is(call.err, context.DeadlineExceeded)
		g.causes = append(g.causes, ReplicaError{Node: call.node, Err: call.err})
	}
	for p, claim := range g.awaited(call) {
		if call.slow {
			p.slow--
		} else {
			p.fast--
		}
		if _, no := slices.BinarySearch(refused, claim.Partition); answered && !no {
			p.heard++
		}
	}
	if answered {
		g.take(&call.reply)
		g.placeAnew(call)
	}
}

// take adds an answer's rows. They are of partitions that the node owns, so that
// what they tell is true even where more owners were asked than needed.
func (g *gathering) take(a *ScanReply) {
	g.rows = append(g.rows, a.Rows...)
	if !a.Done && (g.done || a.UpTo < g.upTo) {
		g.done, g.upTo = false, a.UpTo
	}
}

// placeAnew looks the refused partitions of a call up again. What their owners
// answered by the old placement counts for nothing under a new one; under the
// same one, the node that refused knows it by now and is asked once more.
func (g *gathering) placeAnew(call *listCall) {
	if len(call.reply.Refused) == 0 {
		return
	}
	v := g.l.c.View()
	failed := false
	for _, n := range call.reply.Refused {
		p := &g.parts[n]
		pl := v.Placement(int(n))
		switch {
		case p.placed == maxTries || !call.refreshed && pl.Stamp == p.pl.Stamp:
			failed = true
		case pl.Stamp == p.pl.Stamp:
			p.placed++
			if i := ownerIndex(pl, call.node); i >= 0 {
				p.tried &^= 1 << i
			}
		default:
			placed, replaced := p.placed+1, p.replaced+1
			*p = g.part(pl)
			p.placed, p.replaced = placed, replaced
		}
	}
	if failed {
		g.causes = append(g.causes, ReplicaError{Node: call.node, Err: fmt.Errorf("%w: %d partitions", ErrStaleRing, len(call.reply.Refused))})
	}
}

// checkReply refuses an answer that would lead a listing astray.
func checkReply(after string, call *listCall) error {
	a, last := &call.reply, after
	for i := range a.Rows {
		if a.Rows[i].Ref.Key <= last {
			return fmt.Errorf("%w: the rows of a listing are not in order", ErrInvalid)
		}
		last = a.Rows[i].Ref.Key
	}
	if !a.Done && (a.UpTo < last || a.UpTo <= after) {
		return fmt.Errorf("%w: a listing went through no key", ErrInvalid)
	}
	claims := call.claims
	for _, p := range a.Refused {
		i, asked := slices.BinarySearchFunc(claims, p, func(c ListClaim, p uint32) int { return cmp.Compare(c.Partition, p) })
		if !asked {
			return fmt.Errorf("%w: a listing was refused for partition %d, which was not asked for", ErrInvalid, p)
		}
		claims = claims[i+1:]
	}
	return nil
}

// merged gives each key once, in order, up to where all answers went.
func (g *gathering) merged() []object.Entry {
	slices.SortFunc(g.rows, compareKeys)
	merged := g.rows[:0]
	for _, row := range g.rows {
		switch last := len(merged) - 1; {
		case !g.done && row.Ref.Key > g.upTo:
			return merged
		case last >= 0 && merged[last].Ref.Key == row.Ref.Key:
			merged[last].Object = object.Merge(merged[last].Object, row.Object)
		default:
			merged = append(merged, row)
		}
	}
	return merged
}
