package purge

import (
	"maps"
	"slices"

	"starling/ring"
	"starling/store/object"
)

// deliverHint has some member that keeps hints deliver one.
func (w *world) deliverHint() {
	var keep []*member
	for _, x := range w.members {
		if x.up && len(x.hints) > 0 {
			keep = append(keep, x)
		}
	}
	if len(keep) > 0 {
		keep[w.rng.IntN(len(keep))].deliverHint()
	}
}

// deliverHint brings a hint to its target, or, where that keeps nothing, to all
// that do; or it has another member keep it, as one does that leaves. The stamp is read after the hint: its row is there until then, for
// there is one try at a time.
func (x *member) deliverHint() {
	keys := slices.SortedFunc(maps.Keys(x.hints), compareHintKeys)
	if len(keys) == 0 {
		return
	}
	k := keys[x.w.rng.IntN(len(keys))]
	if x.delivering[k] != nil {
		return
	}
	o, missing := x.hints[k], new(int)
	x.delivering[k] = missing
	soon := x.later
	if x.w.chance(50) {
		soon = func(task func()) { task() }
	}
	giveUp := func() {
		if x.delivering[k] == missing {
			delete(x.delivering, k)
		}
	}
	soon(func() {
		if x.delivering[k] != missing && x.w.flaw != lateDelivery {
			return // its row may be gone by now
		}
		to := []ring.NodeID{simID(k.target)}
		if !holds(x.pl, to[0]) {
			to = x.pl.AppendWriters(nil)
		}
		if y := x.w.rng.IntN(simMembers); holds(x.pl, to[0]) && y != x.id && y != k.target && x.w.chance(30) {
			*missing = 1
			x.moveHint(k, o, y, func(ok bool) {
				if x.delivering[k] == missing {
					giveUp()
					if ok {
						x.drop(k, o)
					}
				}
			})
			return
		}
		*missing = len(to)
		for _, id := range to {
			x.sendBy(x.w.postTwice, id, k.ref, x.pl.Stamp, o, func(ok bool) {
				if *missing--; !ok || x.delivering[k] != missing {
					*missing = -1
					giveUp()
				} else if *missing == 0 {
					giveUp()
					x.drop(k, o)
				}
			})
		}
	})
}

// moveHint has another member keep a hint.
func (x *member) moveHint(k hintKey, o object.Object, to int, done func(ok bool)) {
	stamp := x.pl.Stamp
	x.w.callBy(x.w.postTwice, x, to, func(y *member) func() {
		ok := y.pl.Stamp == stamp || x.w.flaw == ungatedMove
		if ok {
			y.keep(k, o)
			y.sync()
		}
		return func() { done(ok) }
	})
}

// abandon gives up the deliveries that are under way, which come again later.
func (x *member) abandon() { clear(x.delivering) }

// drop deletes a hint that has not changed, without a sync.
func (x *member) drop(k hintKey, o object.Object) {
	if x.hints[k].Equal(o) {
		x.setHint(k, object.Object{})
	}
}

func compareHintKeys(a, b hintKey) int {
	if a.target != b.target {
		return a.target - b.target
	}
	return CompareRefs(a.ref, b.ref)
}

func (x *member) gossip() {
	m := x.saved
	x.w.call(x, x.w.rng.IntN(simMembers), func(y *member) func() {
		y.adopt(m)
		theirs := y.saved
		return func() { x.adopt(theirs) }
	})
}

// settle gives up a partition that others own, or goes on filling one. It is
// given up when all agree on that: what a purge is about is not how rings change.
func (x *member) settle() {
	switch {
	case slices.Contains(x.pl.Displaced, x.self()) && x.w.oneMap():
		x.write(func(r *record) { r.settled = false })
	case slices.Contains(x.pl.Pending, x.self()) && !x.filling:
		x.filling = true
		x.fill()
	}
}

func (w *world) oneMap() bool {
	return !slices.ContainsFunc(w.members, func(x *member) bool { return x.saved != w.members[0].saved })
}

// fill pulls all keys from all owners and claims to be one.
func (x *member) fill() {
	pl, heard := x.pl, map[ring.NodeID]bool{}
	x.later(func() { x.filling = false })
	for _, id := range pl.Owners {
		x.w.call(x, simIndex(id), func(y *member) func() {
			if y.pl.Stamp != pl.Stamp {
				return nil
			}
			page := maps.Clone(y.rows)
			return func() { x.later(func() { x.takePage(pl, heard, id, page) }) }
		})
	}
}

func (x *member) takePage(pl ring.Placement, heard map[ring.NodeID]bool, id ring.NodeID, page map[object.Ref]object.Object) {
	for _, ref := range x.w.refs {
		o := page[ref]
		if x.w.flaw == ungatedPull {
			x.setRow(ref, object.Merge(x.rows[ref], o))
		} else if !x.apply(ref, pl.Stamp, o) {
			return
		}
	}
	heard[id] = true
	if len(heard) == len(pl.Owners) && x.pl.Stamp == pl.Stamp {
		x.sync()
		x.write(func(r *record) { r.settled = true })
	}
}
