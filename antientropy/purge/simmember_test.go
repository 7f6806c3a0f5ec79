package purge

import (
	"slices"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// hintKey names a hint row.
type hintKey struct {
	target int
	ref    object.Ref
}

// member is one node. Its map, its identity and what it synced survive a crash.
type member struct {
	w     *world
	id    int
	up    bool
	boot  uint64
	saved clusterMap
	rows  map[object.Ref]object.Object
	hints map[hintKey]object.Object
	undo  []func() // takes back what was not synced, the latest last

	// Memory.
	pl         ring.Placement
	actor      version.Actor
	hintWrites map[object.Ref]uint64 // each key is a partition of its own
	tasks      []func()
	delivering map[hintKey]*int // the try that is under way
	filling    bool
	round      *simRound
}

// start is a start of the node.
func (x *member) start() {
	x.up, x.boot = true, x.boot+1
	x.actor = x.w.newActor()
	x.hintWrites, x.tasks, x.filling, x.round = map[object.Ref]uint64{}, nil, false, nil
	x.delivering = map[hintKey]*int{}
	x.write(func(r *record) {
		r.version = x.boot << 32
		if x.w.flaw == forgetfulFence {
			r.fence = 0
		}
	})
}

// crash loses the memory, and the end of what was not synced.
func (x *member) crash() {
	x.up = false
	for n := x.w.rng.IntN(len(x.undo) + 1); n > 0; n-- {
		x.undo[len(x.undo)-1]()
		x.undo = x.undo[:len(x.undo)-1]
	}
	x.sync()
}

func (x *member) sync() { x.undo = nil }

// write changes the member's record in the map.
func (x *member) write(change func(r *record)) {
	m := x.saved
	m.records[x.id].version++
	change(&m.records[x.id])
	x.adopt(m)
}

// adopt saves a map and obeys it.
func (x *member) adopt(m clusterMap) {
	merged := x.saved.merge(m)
	if merged != x.saved || x.pl.Stamp == 0 {
		x.saved = merged
		if x.w.flaw != lazyFence {
			x.sync() // one log: what is older is on disk too
		}
		x.pl = x.w.place(merged)
		if x.w.chance(30) {
			x.deliverHint()
		}
	}
}

// later keeps something in memory that is done some time.
func (x *member) later(task func()) {
	if len(x.tasks) < 24 {
		x.tasks = append(x.tasks, task)
	}
}

func (x *member) runTask() {
	if len(x.tasks) > 0 {
		n := x.w.rng.IntN(len(x.tasks))
		task := x.tasks[n]
		x.tasks = slices.Delete(x.tasks, n, n+1)
		task()
	}
}

func (w *world) newActor() version.Actor {
	w.nextActor++
	return w.nextActor
}

func (x *member) mint(actor version.Actor) version.Dot {
	x.w.nextSeq++
	return version.Dot{Actor: actor, Seq: x.w.nextSeq}
}

func (x *member) self() ring.NodeID { return simID(x.id) }

func (x *member) owns() bool { return slices.Contains(x.pl.Owners, x.self()) }

func holds(pl ring.Placement, id ring.NodeID) bool { return slices.Contains(pl.AppendWriters(nil), id) }

func (x *member) setRow(ref object.Ref, o object.Object) {
	old := x.rows[ref]
	if o.Equal(old) {
		return
	}
	x.undo = append(x.undo, func() { put(x.rows, ref, old) })
	put(x.rows, ref, o)
	x.w.oracle.look(x, o)
}

func (x *member) setHint(k hintKey, o object.Object) {
	old := x.hints[k]
	if o.Equal(old) {
		return
	}
	x.undo = append(x.undo, func() { put(x.hints, k, old) })
	put(x.hints, k, o)
	x.w.oracle.look(x, o)
}

// put keeps maps free of absent objects.
func put[K comparable](m map[K]object.Object, k K, o object.Object) {
	if o.Absent() {
		delete(m, k)
	} else {
		m[k] = o
	}
}

// apply merges a copy under the gate.
func (x *member) apply(ref object.Ref, stamp uint64, o object.Object) bool {
	if x.pl.Stamp != stamp || !holds(x.pl, x.self()) {
		x.w.stats.refused++
		return false
	}
	x.setRow(ref, object.Merge(x.rows[ref], o))
	return true
}

// keep merges a hint.
func (x *member) keep(k hintKey, o object.Object) {
	next := object.Merge(x.hints[k], o)
	if !next.Equal(x.hints[k]) {
		x.setHint(k, next)
		x.hintWrites[k.ref]++
	}
}

// send has another member apply an object.
func (x *member) send(to ring.NodeID, ref object.Ref, stamp uint64, o object.Object, done func(ok bool)) {
	x.sendBy(x.w.post, to, ref, stamp, o, done)
}

func (x *member) sendBy(post func(int, func(x *member)), to ring.NodeID, ref object.Ref, stamp uint64, o object.Object, done func(ok bool)) {
	x.w.callBy(post, x, simIndex(to), func(y *member) func() {
		ok := y.apply(ref, stamp, o)
		if ok {
			y.sync()
		}
		return func() { done(ok) }
	})
}

func ignore(bool) {}
