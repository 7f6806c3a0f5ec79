package resolve

import (
	"cmp"
	"encoding/binary"
	"slices"

	"starling/store/object"
	"starling/store/version"
)

// tally is the state of a counter: what each actor has added to it, sorted by
// actor, each once. It is never changed once it was made.
type tally []share

// share is what one actor has added.
//
// Its operations form one list, which only the actor itself makes longer; first
// of them are forgotten by now, by whomever, and recent are the rest. What is
// forgotten is always a beginning of the list, and folded is a function of first
// alone (see the package's documentation). So of two copies of a share the
// greater seq tells direct and the list's end, and the greater first tells
// folded and its beginning.
type share struct {
	actor version.Actor
	// since and seq are the sequences of the first and the last dot under which
	// the actor added anything. An actor whose share was reset begins anew, with a
	// greater since.
	since, seq uint64
	direct     int64 // the sum of what was added without an operation
	folded     int64 // the sum of what counts of the first operations
	first      uint64
	recent     []increment
}

// tag is what a counter remembers of an operation's ID, which is drawn at random
// or is a digest: both halves in one. That two of [MaxRecent] operations have one tag,
// so that one of them is not counted, happens once in 10^11 counters that are full.
type tag uint64

// tagOf is not zero for an ID that is not.
func tagOf(op object.OpID) tag {
	if op.IsZero() {
		return 0
	}
	return tag(max(1, binary.BigEndian.Uint64(op[:8])^binary.BigEndian.Uint64(op[8:])))
}

// increment is one operation of a share.
type increment struct {
	op    tag // 0: none
	delta int64
	atMS  int64 // when it was added, by the clock of who added it
}

func byActor(a, b share) int { return cmp.Compare(a.actor, b.actor) }

// mergeTallies is all that a or b holds.
func mergeTallies(a, b tally) tally { return merge(a, b, byActor, mergeShares) }

func mergeShares(a, b share) share {
	if a.since != b.since {
		if a.since < b.since {
			a = b
		}
		return a
	}
	if a.seq < b.seq {
		a, b = b, a
	}
	if b.first > a.first {
		gone := min(b.first-a.first, uint64(len(a.recent)))
		a.recent, a.first, a.folded = a.recent[gone:], b.first, b.folded
	}
	return a
}

// tallyOf merges the counters among the siblings of an object that live at
// nowMS, and lists the other living siblings. newest is the newest of the
// counters; ok is false if there is none.
func tallyOf(o object.Object, nowMS int64) (t tally, newest object.Sibling, others []object.Sibling, ok bool) {
	for _, s := range living(o.Siblings, nowMS) {
		u, err := decodeTally(s.Value)
		switch {
		case err != nil:
			others = append(others, s)
		case !ok:
			t, newest, ok = u, s, true
		default:
			t, newest = mergeTallies(t, u), newer(newest, s)
		}
	}
	return t, newest, others, ok
}

// knows reports whether an operation is among those that t remembers.
func (t tally) knows(op tag) bool {
	for i := range t {
		if slices.ContainsFunc(t[i].recent, func(inc increment) bool { return inc.op == op }) {
			return true
		}
	}
	return false
}

// remembered is how many operations t remembers, each as often as it was added.
func (t tally) remembered() int {
	n := 0
	for i := range t {
		n += len(t[i].recent)
	}
	return n
}

// count is the value of the counter. An operation that several actors added
// counts once, with the delta of the smallest of them.
func (t tally) count() sum {
	var n sum
	var seen map[tag]bool
	if len(t) > 1 {
		seen = make(map[tag]bool, t.remembered())
	}
	for i := range t {
		n = n.plus(t[i].direct).plus(t[i].folded)
		for _, inc := range t[i].recent {
			if !seen[inc.op] {
				n = n.plus(inc.delta)
			}
			if seen != nil {
				seen[inc.op] = true
			}
		}
	}
	return n
}

// own is the share of an actor, and t without it; one that begins at the dot if
// there is none.
func (t tally) own(dot version.Dot) (share, tally) {
	i, ok := slices.BinarySearchFunc(t, share{actor: dot.Actor}, byActor)
	if !ok {
		return share{actor: dot.Actor, since: dot.Seq}, t
	}
	return t[i], slices.Delete(slices.Clone(t), i, i+1)
}
