package purge

import (
	"slices"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// simRound drives a round of the core for one member.
type simRound struct {
	x     *member
	core  *Round
	sent  Step
	first map[ring.NodeID]Verification // answers of the first verification
	asked []Key                        // in the first verification
	kept  []Ask                        // that the flaw ownersFirst put off
}

func (x *member) purgeView() View {
	v := View{Fence: x.saved.fence()}
	pl := x.pl
	v.Place = func(uint32) (ring.Placement, bool) { return pl, true }
	for i := range simMembers {
		v.Members = append(v.Members, simID(i))
	}
	return v
}

func (x *member) startRound() {
	if x.round != nil && x.round.core.Step() != Done {
		if x.w.rng.IntN(500) == 0 {
			x.round.timeout()
		}
		return
	}
	if !x.up {
		return
	}
	x.w.stats.rounds++
	x.round = &simRound{x: x, core: New(x.purgeView(), Options{}), sent: Done, first: map[ring.NodeID]Verification{}}
	x.round.goOn()
}

// timeout gives up what is waited for.
func (r *simRound) timeout() {
	for _, a := range slices.Clone(r.core.Asks()) {
		r.core.NotRaised(nil)
		r.core.Failed(a.Step, a.To, "timeout")
	}
	r.goOn()
}

// goOn carries out the asks of a new step.
func (r *simRound) goOn() {
	if r.core.Step() == r.sent {
		return
	}
	r.sent = r.core.Step()
	if r.sent == Done {
		r.over()
		return
	}
	for _, a := range slices.Clone(r.core.Asks()) {
		if a.Step == Fencing {
			r.raise()
		} else {
			r.carryOut(a)
		}
	}
}

func (r *simRound) over() {
	w, res := r.x.w, r.core.Result()
	if res.Fenced {
		w.stats.fenced++
	}
	w.stats.purged += res.Purged
	w.stats.pruned += res.Pruned
	for _, a := range r.kept {
		w.callSurely(r.x, simIndex(a.To), 0, func(y *member) func() { y.purge(a.Keys); return nil })
	}
}

func (r *simRound) carryOut(a Ask) {
	flaw := r.x.w.flaw
	switch {
	case a.Step == Verifying && flaw == noFirst:
		v := Verification{Fence: a.Fence, States: make([]State, len(a.Keys)), HintWrites: make([]uint64, len(a.Keys))}
		for i := range v.States {
			v.States[i] = Agreed
		}
		r.first[a.To] = v
		r.core.Verified(Verifying, a.To, v)
		r.goOn()
		return
	case a.Step == Clearing && flaw == ownersFirst:
		r.kept = append(r.kept, a)
		r.core.Purged(Clearing, a.To, len(a.Keys))
		r.goOn()
		return
	}
	r.x.w.callSurely(r.x, simIndex(a.To), 0, func(y *member) func() {
		report := r.ask(a, y)
		return func() { report(); r.goOn() }
	})
}

// ask has a member do its part and gives back how to report the answer.
func (r *simRound) ask(a Ask, y *member) (report func()) {
	switch a.Step {
	case Listing:
		p := y.candidates()
		return func() { r.core.Listed(a.To, p) }
	case Verifying, Proving:
		v := y.verify(a.Keys)
		return func() { r.core.Verified(a.Step, a.To, r.weaken(a, v)) }
	default:
		n := y.purge(a.Keys)
		return func() { r.core.Purged(a.Step, a.To, n) }
	}
}

// weaken hides from the core what a flaw would not look at.
func (r *simRound) weaken(a Ask, v Verification) Verification {
	if a.Step == Verifying {
		r.first[a.To], r.asked = v, a.Keys
		return v
	}
	switch r.x.w.flaw {
	case noFence:
		v.Fence = a.Fence
	case noFirst:
		v.Boot, v.HintWrites = 0, make([]uint64, len(a.Keys))
	case noBoots:
		v.Boot = r.first[a.To].Boot
	case noWrites:
		for i, k := range a.Keys {
			v.HintWrites[i] = r.first[a.To].HintWrites[slices.IndexFunc(r.asked, func(o Key) bool { return o.Ref == k.Ref })]
		}
	}
	return v
}

// raise raises the fence and exchanges maps with all others.
func (r *simRound) raise() {
	x := r.x
	if x.w.flaw == noFence {
		v := x.purgeView()
		v.Fence++
		r.core.Raised(v)
		r.goOn()
		return
	}
	x.w.trouble(25)
	fence := x.saved.fence() + 1
	x.write(func(r *record) { r.fence = fence })
	m, missing := x.saved, map[int]bool{}
	slowness := x.w.rng.IntN([]int{10, 60, 150}[x.w.rng.IntN(3)]) // time for mischief between the verifications
	for _, y := range x.w.members {
		if y == x {
			continue
		}
		missing[y.id] = true
		x.w.callSurely(x, y.id, slowness, func(y *member) func() {
			y.adopt(m)
			theirs := y.saved
			return func() {
				x.adopt(theirs)
				if delete(missing, y.id); len(missing) == 0 {
					r.core.Raised(x.purgeView())
					r.goOn()
				}
			}
		})
	}
}

func (x *member) candidates() (p Page) {
	for _, ref := range x.w.refs {
		o := x.rows[ref]
		c := Candidate{Ref: ref, Hash: o.Hash(ref.Bucket, ref.Key), Vector: o.Vector, Reap: Delete}
		if o.Absent() || !x.owns() {
			continue
		}
		if slices.ContainsFunc(o.Siblings, func(s object.Sibling) bool { return !s.Tombstone }) {
			c.Reap = Prune
			if len(o.Vector) < 3 {
				continue
			}
		}
		p.Candidates = append(p.Candidates, c)
	}
	return p
}

func (x *member) verify(keys []Key) Verification {
	v := Verification{Fence: x.saved.fence(), Boot: x.boot, Actors: []version.Actor{x.actor}}
	for _, k := range keys {
		v.States = append(v.States, x.state(k))
		v.HintWrites = append(v.HintWrites, x.hintWrites[k.Ref])
		if k.Reap == Prune && x.owns() {
			for _, s := range x.rows[k.Ref].Siblings {
				v.Actors = append(v.Actors, s.Dot.Actor)
			}
		}
	}
	return v
}

func (x *member) state(k Key) State {
	if x.pl.Stamp != k.Stamp {
		return Refused
	}
	for h := range x.hints {
		if h.ref == k.Ref {
			return Hinted
		}
	}
	o := x.rows[k.Ref]
	if x.owns() && o.Hash(k.Ref.Bucket, k.Ref.Key) == k.Hash || !x.owns() && k.Vector.Descends(o.Vector) {
		return Agreed
	}
	return Differs
}

func (x *member) purge(keys []Key) (done int) {
	for _, k := range keys {
		if x.pl.Stamp != k.Stamp {
			continue
		}
		o := x.rows[k.Ref]
		switch same := o.Hash(k.Ref.Bucket, k.Ref.Key) == k.Hash; {
		case o.Absent():
		case !x.owns() && k.Vector.Descends(o.Vector):
			x.setRow(k.Ref, object.Object{})
		case x.owns() && same && k.Reap == Prune:
			x.reap(k.Ref, o, object.Object{Vector: k.Vector, Siblings: o.Siblings})
		case x.owns() && same:
			x.reap(k.Ref, o, object.Object{})
		default:
			continue
		}
		done++
	}
	x.sync()
	return done
}

// reap is the deletion that all this is about.
func (x *member) reap(ref object.Ref, old, next object.Object) {
	x.w.deletions++
	x.setRow(ref, next)
	x.w.oracle.reaped(ref, old, next)
	x.w.trouble(10)
}
