package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"starling/coordinator/quorum"
	"starling/ring"
	"starling/store/bucket/resolve"
	"starling/store/object"
)

// putKind is what became of a put at one replica, or of the hint for it.
type putKind uint8

const (
	putAcked    putKind = iota
	putFailed           // the replica will not acknowledge
	putExcused          // nor is it owed a hint: it knows another ring
	putHinted           // a node of its own keeps the hint
	putKept             // a node whose copy counts already keeps the hint
	putHintless         // nobody keeps it
	putGone             // the bucket was dropped
)

// putEvent is a report about one replica.
type putEvent struct {
	replica int
	kind    putKind
	holder  ring.NodeID  // who keeps the hint
	cause   ReplicaError // what went wrong; Err is nil if nothing did
}

// put is one write on its way, at the node that coordinates it.
type put struct {
	c        *Coordinator
	ref      object.Ref
	pl       ring.Placement
	req      PutRequest
	core     *quorum.Put
	self     int // the replica that this node is, or stands in for
	standsIn bool

	replicas []ring.NodeID
	up       []bool        // by replica: usable when the put began
	holders  []ring.NodeID // by replica: who keeps its hint
	spare    *spareNodes
	events   chan putEvent
	causes   []ReplicaError
	gone     error // a replica knows that the bucket was dropped
}

func (c *Coordinator) newPut(ref object.Ref, pl ring.Placement, req PutRequest, self int, standsIn bool) *put {
	req.Sibling.ModifiedMS = c.nowMS()
	n := len(pl.Owners) + pl.Extra()
	nodes := make([]ring.NodeID, n, 2*n)
	p := &put{
		c: c, ref: ref, pl: pl, req: req, self: self, standsIn: standsIn,
		core: quorum.NewPut(quorum.PutConfig{
			Owners: len(pl.Owners), Extra: pl.Extra(),
			W:    max(required(req.Consistency.W, req.Consistency.Level, len(pl.Owners)), req.Consistency.PW),
			PW:   req.Consistency.PW,
			Self: self, StandIn: standsIn, Hints: c.opts.Hints != nil, Sloppy: c.sloppy(req.Consistency),
		}),
		replicas: pl.AppendWriters(nodes[:0]),
		up:       make([]bool, n),
		holders:  nodes[n : 2*n],
		events:   make(chan putEvent, 3*n),
	}
	p.spare = &spareNodes{c: c, pl: pl}
	return p
}

// run writes this node's copy, sends it to the other replicas, and waits for
// the verdict. The deadline of ctx must be set.
func (p *put) run(ctx context.Context, write func() (object.Written, error)) (PutResult, error) {
	if err := p.refuse(); err != nil {
		return PutResult{}, err
	}
	if !p.c.tasks.start(len(p.replicas)) {
		return PutResult{}, ErrNotReady
	}
	written, err := p.mint(write)
	if err != nil {
		p.c.tasks.done(len(p.replicas))
		return PutResult{}, err
	}
	for i := range p.replicas {
		go p.replica(ctx, i, written)
	}
	timeout := p.collect(ctx)
	if p.gone != nil {
		return PutResult{}, p.gone
	}
	if p.core.Verdict() != quorum.Done {
		need, got := p.core.Lacking()
		return PutResult{}, &QuorumError{Op: "put", Required: need, Received: got,
			MaybeApplied: true, Timeout: timeout, Causes: p.causes}
	}
	return p.result(written), nil
}

// mint writes this node's copy, unless the put may have been waiting for too
// long (see pulse).
func (p *put) mint(write func() (object.Written, error)) (object.Written, error) {
	if err := p.c.awake(); err != nil {
		return object.Written{}, err
	}
	return write()
}

// refuse answers a put that cannot be done before anything is written: the
// partition has too few owners, or too few nodes are up, or nobody had room
// for the hints lately. The replicas that are down have failed from then on, so
// that the put is not done before they have their hints.
func (p *put) refuse() error {
	fail := &QuorumError{Op: "put", Required: p.core.Required()}
	if p.core.Verdict() == quorum.Impossible {
		fail.Causes = []ReplicaError{{Node: p.c.opts.Self, Err: fmt.Errorf("%w: %d", ErrTooFewOwners, len(p.pl.Owners))}}
		return fail
	}
	for i, id := range p.replicas {
		p.up[i] = p.c.usable(id)
	}
	if !p.enoughUp() { // a peer that is being tried is better than none
		for i, id := range p.replicas {
			p.up[i] = p.up[i] || p.c.tried(id)
		}
	}
	for i, id := range p.replicas {
		if !p.up[i] {
			p.report(putEvent{replica: i, kind: putFailed, cause: ReplicaError{id, errDown}})
		}
	}
	if !p.enoughUp() {
		fail.Causes = p.causes
		return fail
	}
	return p.refuseHintless()
}

// enoughUp says whether the put can be done with the replicas that are up.
func (p *put) enoughUp() bool {
	down, ownersUp := 0, 0
	for i, up := range p.up {
		switch {
		case !up:
			down++
		case i < len(p.pl.Owners):
			ownersUp++
		}
	}
	if down == 0 {
		return true
	}
	votes := len(p.replicas) - down
	if p.c.sloppy(p.req.Consistency) {
		spare := p.spare.count()
		if p.standsIn {
			spare++
		}
		votes += min(down, spare)
	}
	return ownersUp >= p.req.Consistency.PW && votes >= p.core.Required()
}

// refuseHintless refuses a put whose hints nobody would keep.
func (p *put) refuseHintless() error {
	if p.c.opts.Hints == nil {
		return nil
	}
	for i, id := range p.replicas {
		if !p.up[i] && !p.c.roomForHints(id) {
			return &QuorumError{Op: "put", Required: p.core.Required(), Causes: []ReplicaError{{Node: id, Err: errDown},
				{Node: p.c.opts.Self, Err: fmt.Errorf("%w at every node that could keep one", ErrHintsFull)}}}
		}
	}
	return nil
}

// errDown is the failure of a replica that was not asked.
var errDown = fmt.Errorf("%w: it is down as far as this node knows", ErrUnreachable)

// replica brings the write to one replica, or a hint for it to another node.
func (p *put) replica(ctx context.Context, i int, w object.Written) {
	defer p.c.tasks.done(1)
	id := p.replicas[i]
	if i == p.self {
		p.own(i, w)
		if !p.standsIn {
			return
		}
	}
	// The answer to the client must not end the copies still on their way.
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	if p.up[i] {
		err := p.c.replicate(ctx, id, ReplicateRequest{Ref: p.ref, Stamp: p.pl.Stamp, Object: w.Object})
		switch {
		case err == nil:
			p.events <- putEvent{replica: i, kind: putAcked}
			return
		case errors.Is(err, ErrStaleRing):
			p.events <- putEvent{replica: i, kind: putExcused, cause: ReplicaError{id, err}}
			p.keepHint(i, w.Object, ReplicaError{})
			return
		case errors.Is(err, ErrGone):
			p.events <- putEvent{replica: i, kind: putGone, cause: ReplicaError{id, err}}
			return
		}
		p.events <- putEvent{replica: i, kind: putFailed, cause: ReplicaError{id, err}}
	}
	if i != p.self {
		p.hint(ctx, i, w.Object)
	}
}

// replicate sends a copy to one peer.
func (c *Coordinator) replicate(ctx context.Context, to ring.NodeID, req ReplicateRequest) error {
	return c.placed(ctx, to, opReplicate, req.Ref, req.Stamp, func() error { return c.peersFor(ctx).Replicate(ctx, to, req) })
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

// own reports on the copy of this node.
func (p *put) own(i int, w object.Written) {
	e := putEvent{replica: i}
	done, undone := putAcked, putFailed
	if p.standsIn {
		e.holder, done, undone = p.c.opts.Self, putHinted, putHintless
	}
	e.kind = done
	if err := durable(w); err != nil {
		e.kind, e.cause = undone, ReplicaError{p.c.opts.Self, err}
	}
	p.events <- e
}

// stragglersWait is how long a request that cannot succeed any more waits for
// the answers still under way, so that its error says who holds the write.
const stragglersWait = 50 * time.Millisecond

// collect feeds events to the core until it has a verdict, the bucket turns out
// to be gone, or ctx ends.
func (p *put) collect(ctx context.Context) (timeout bool) {
	report := func(e putEvent) {
		p.report(e)
		timeout = timeout || e.cause.Err != nil && (ctx.Err() != nil || errors.Is(e.cause.Err, context.DeadlineExceeded))
	}
	for p.core.Verdict() == quorum.Waiting && p.gone == nil {
		select {
		case e := <-p.events:
			report(e)
		case <-ctx.Done():
			return true
		}
	}
	if p.core.Verdict() == quorum.Impossible && p.gone == nil {
		drain(ctx, p.events, p.core.Unheard, report)
	}
	return timeout
}

// report tells the core what happened and keeps what the answer will say.
func (p *put) report(e putEvent) {
	switch e.kind {
	case putAcked:
		p.core.Ack(e.replica)
	case putFailed:
		p.core.Fail(e.replica)
	case putExcused:
		p.core.Excuse(e.replica)
		p.core.Fail(e.replica)
	case putHinted:
		p.core.Hint(e.replica)
		p.holders[e.replica] = e.holder
	case putKept:
		p.core.Keep(e.replica)
		p.holders[e.replica] = e.holder
	case putHintless:
		p.core.NoHint(e.replica)
	case putGone:
		p.gone = e.cause.Err
	}
	if e.cause.Err != nil {
		p.causes = append(p.causes, e.cause)
	}
}

// drain reports the events that come within stragglersWait, as long as more
// of them are to come.
func drain[E any](ctx context.Context, events <-chan E, more func() bool, report func(E)) {
	ctx, cancel := context.WithTimeout(ctx, stragglersWait)
	defer cancel()
	for more() {
		select {
		case e := <-events:
			report(e)
		case <-ctx.Done():
			return
		}
	}
}

func (p *put) result(w object.Written) PutResult {
	res := PutResult{
		Context: resolve.Reply(w.Object, p.req.Context, w.Dot, p.req.Sibling.Value), Dot: w.Dot, ModifiedMS: p.req.Sibling.ModifiedMS,
		Required: p.core.Required(), Coordinator: p.c.opts.Self, Replicas: make([]Receipt, len(p.replicas)),
	}
	for i, id := range p.replicas {
		r := Receipt{Node: id}
		switch {
		case p.core.Acked(i):
			r.Outcome = OutcomeAcked
			res.Acked++
		case p.core.Hinted(i):
			r.Outcome, r.Holder = OutcomeHinted, p.holders[i]
			res.Hinted++
		case p.core.Failed(i):
			r.Outcome = OutcomeFailed
		}
		res.Replicas[i] = r
	}
	if p.req.Increment {
		res.Count, _ = resolve.Count(w.Object, p.c.nowMS()) // it was in range when it was written
	}
	for _, s := range w.Object.Siblings {
		if s.Dot == w.Dot { // a repeated put was stamped by its first try
			res.ModifiedMS = s.ModifiedMS
		}
	}
	return res
}
