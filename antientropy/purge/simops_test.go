package purge

import (
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// action is something that may happen next, with how often it does in disorder
// and while a purge is under way.
type action struct {
	disorder, purging int
	do                func(w *world, x *member)
}

const numActions = 12

var actions [numActions]action

func init() {
	actions = [numActions]action{
		{60, 90, func(w *world, _ *member) { w.deliver() }},
		{30, 40, func(_ *world, x *member) { x.runTask() }},
		{4, 1, func(w *world, x *member) { x.put(w.ref()) }},
		{6, 8, func(w *world, x *member) { x.read(w.ref()) }},
		{8, 8, func(w *world, x *member) { x.exchange(w.ref()) }},
		{5, 8, func(w *world, _ *member) { w.deliverHint() }},
		{1, 1, func(_ *world, x *member) { x.abandon() }},
		{6, 4, func(_ *world, x *member) { x.gossip() }},
		{6, 12, func(_ *world, x *member) { x.settle() }},
		{2, 15, func(w *world, _ *member) { w.leader().startRound() }},
		{1, 1, func(w *world, x *member) { w.crashOne(x) }},
		{1, 1, func(w *world, x *member) { w.changeRing(x) }},
	}
}

// step lets one thing happen.
func (w *world) step() {
	w.stats.steps++
	if w.crashAt == w.stats.steps {
		w.crash(w.members[w.rng.IntN(simMembers)])
	}
	sum := 0
	for _, n := range w.weights {
		sum += n
	}
	n := w.rng.IntN(sum)
	for i, weight := range w.weights {
		if n -= weight; n >= 0 {
			continue
		}
		x := w.members[w.rng.IntN(simMembers)]
		if !x.up {
			x.start()
		}
		actions[i].do(w, x)
		return
	}
}

// mood sets how often things happen: a little different in every run.
func (w *world) mood(purging bool) {
	w.rate = 30
	if purging {
		w.rate = 5
	}
	for i := range w.weights {
		weight := actions[i].disorder
		if purging {
			weight = actions[i].purging
		}
		w.weights[i] = weight * w.taste[i]
	}
}

// leader is nearly always the same member, as it is where all see one map.
func (w *world) leader() *member {
	if w.chance(3) {
		return w.members[1]
	}
	return w.members[0]
}

func (w *world) crashOne(x *member) {
	if w.chance(w.rate) {
		w.crash(x)
	}
}

func (w *world) crash(x *member) {
	w.stats.crashes++
	x.crash()
	w.oracle.lookAtAll()
}

// trouble has a member crash soon, at a time when that matters most.
func (w *world) trouble(percent int) {
	if w.chance(percent) {
		w.crashAt = w.stats.steps + 1 + w.rng.IntN(30)
	}
}

func (w *world) changeRing(x *member) {
	if x.saved.epoch+1 < simEpochs && w.chance(w.rate/2) {
		w.stats.rings++
		m := x.saved
		m.epoch++
		x.adopt(m)
	}
}

// context is what some client has seen of a key.
func (w *world) context(ref object.Ref) version.Context {
	if seen := w.contexts[ref]; len(seen) > 0 {
		return seen[len(seen)-1-w.rng.IntN(min(3, len(seen)))]
	}
	return version.Context{}
}

// putOp is a put on its way.
type putOp struct {
	x     *member
	ref   object.Ref
	pl    ring.Placement
	o     object.Object
	dot   version.Dot
	acked map[ring.NodeID]bool // or hinted at a node of its own
}

// put coordinates a put or a delete, at an owner or, now and then, as a
// stand-in.
func (x *member) put(ref object.Ref) {
	s := object.Sibling{Tombstone: x.w.chance(55)}
	var c version.Context
	if s.Tombstone || x.w.chance(50) {
		c = x.w.context(ref)
	}
	x.putWith(ref, c, s)
}

func (x *member) putWith(ref object.Ref, c version.Context, s object.Sibling) *putOp {
	p := &putOp{x: x, ref: ref, pl: x.pl, acked: map[ring.NodeID]bool{}}
	switch {
	case x.owns():
		s.Dot = x.mint(x.actor)
		p.o = x.update(x.rows[ref], ref, c, s)
		x.setRow(ref, p.o)
		x.later(func() { x.sync(); p.ack(x.self()) })
	case !holds(x.pl, x.self()) && x.w.chance(30):
		target := x.pl.Owners[x.w.rng.IntN(len(x.pl.Owners))]
		k := hintKey{simIndex(target), ref}
		s.Dot = x.mint(x.w.newActor())
		p.o = x.update(x.hints[k], ref, c, s)
		x.setHint(k, p.o)
		x.hintWrites[ref]++
		x.later(func() { x.sync(); p.ack(target) })
	default:
		return nil
	}
	x.w.stats.puts++
	p.dot = s.Dot
	for _, id := range p.pl.AppendWriters(nil) {
		if id != x.self() {
			p.replicate(id)
		}
	}
	return p
}

func (x *member) update(old object.Object, ref object.Ref, c version.Context, s object.Sibling) object.Object {
	o, err := old.Update(c, s, object.Limits{})
	if err != nil {
		x.w.oracle.fail("put of %v on %v: %v", s.Dot, old, err)
		return old
	}
	x.w.oracle.minted(ref, s, c)
	return o
}

func (p *putOp) ack(id ring.NodeID) {
	p.acked[id] = true
	if len(p.acked) >= 2+p.pl.Extra() {
		p.x.w.oracle.acked(p.dot)
	}
}

func (p *putOp) replicate(id ring.NodeID) {
	p.x.send(id, p.ref, p.pl.Stamp, p.o, func(ok bool) {
		if ok {
			p.ack(id)
		} else {
			p.x.later(func() { p.keepHint(id) })
		}
	})
	if p.x.w.chance(10) {
		p.x.later(func() { p.giveUp(id) })
	}
}

// giveUp has another node keep the hint for a replica.
func (p *putOp) giveUp(id ring.NodeID) {
	other := p.x.w.members[p.x.w.rng.IntN(simMembers)]
	if p.acked[id] || holds(p.pl, other.self()) || other == p.x {
		if id != p.x.self() {
			p.keepHint(id)
		}
		return
	}
	p.x.w.callSurely(p.x, other.id, 150, func(y *member) func() {
		if y.pl.Stamp != p.pl.Stamp {
			return nil
		}
		y.keep(hintKey{simIndex(id), p.ref}, p.o)
		y.sync()
		return func() { p.ack(id) }
	})
}

// keepHint keeps the hint for a replica at the coordinator.
func (p *putOp) keepHint(id ring.NodeID) {
	if !p.acked[id] && (p.x.pl.Stamp == p.pl.Stamp || p.x.w.flaw == ungatedHint) {
		p.x.keep(hintKey{simIndex(id), p.ref}, p.o)
	}
}

// readOp is a read on its way.
type readOp struct {
	x      *member
	ref    object.Ref
	pl     ring.Placement
	merged object.Object
	copies map[ring.NodeID]object.Object
}

func (x *member) read(ref object.Ref) {
	r := &readOp{x: x, ref: ref, pl: x.pl, copies: map[ring.NodeID]object.Object{}}
	for _, y := range x.w.members {
		if holds(r.pl, y.self()) && x.w.chance(70) || x.w.chance(15) {
			x.w.call(x, y.id, func(y *member) func() { return r.serve(y) })
		}
	}
}

func (r *readOp) serve(y *member) func() {
	if y.pl.Stamp != r.pl.Stamp {
		return nil
	}
	var o object.Object
	if holds(y.pl, y.self()) {
		o = y.rows[r.ref]
	}
	for k, h := range y.hints {
		if k.ref == r.ref {
			o = object.Merge(o, h)
		}
	}
	return func() {
		r.merged = object.Merge(r.merged, o)
		r.copies[y.self()] = o
		if r.x.w.chance(60) {
			r.x.later(r.finish)
		}
	}
}

// finish answers the client and repairs owners.
func (r *readOp) finish() {
	if !r.merged.Absent() {
		r.x.w.contexts[r.ref] = append(r.x.w.contexts[r.ref], r.merged.Context())
	}
	for _, id := range r.pl.Owners {
		if o, heard := r.copies[id]; heard && !o.Equal(r.merged) {
			r.x.send(id, r.ref, r.x.stampOf(r.pl), r.merged, ignore)
		}
	}
}

// stampOf is the stamp that goes with what was read after pl.
func (x *member) stampOf(pl ring.Placement) uint64 {
	if x.w.flaw == lateStamp {
		return x.pl.Stamp
	}
	return pl.Stamp
}

// exchange fetches a key from another owner, or pushes it there.
func (x *member) exchange(ref object.Ref) {
	if !x.owns() {
		return
	}
	pl := x.pl
	id := pl.Owners[x.w.rng.IntN(len(pl.Owners))]
	if x.w.chance(50) {
		o := x.rows[ref]
		x.later(func() {
			if x.w.flaw != lateStamp {
				o = x.rows[ref] // after the stamp
			}
			if !o.Absent() {
				x.send(id, ref, x.stampOf(pl), o, ignore)
			}
		})
		return
	}
	x.w.call(x, simIndex(id), func(y *member) func() {
		if y.pl.Stamp != pl.Stamp || !y.owns() {
			return nil
		}
		o := y.rows[ref]
		return func() { x.apply(ref, pl.Stamp, o) }
	})
}
