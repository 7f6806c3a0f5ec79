package resolve

import (
	"slices"

	"starling/store/object"
)

const (
	// RetryForMS is how long after the first run of an increment another run of
	// it may begin, and it still counts once.
	RetryForMS = 15_000
	// CompactAt is how many operations that can come no more make it worth to
	// [Compact] a counter.
	CompactAt = 512
)

// Copies are what each node holds of a counter that may hold an increment which
// others do not, each read from that node alone, none missing.
type Copies struct {
	// Owners are those of the owners and of those that are to be owners, Others
	// those of all others, hints among them: no increment begins there. They were
	// read before the owners, because what they hold goes there.
	Owners, Others []object.Object
	// ReadMS, Unix milliseconds, is the time before the first of them was read.
	ReadMS int64
}

// Crowded reports whether a counter remembers [CompactAt] operations or more that
// were added [RetryForMS] before nowMS or earlier: then an increment should come
// with a [Compact]. It stays true while that cannot be done, so the caller paces
// its tries.
func Crowded(o object.Object, nowMS int64) bool {
	t, _, _, _ := tallyOf(o, nowMS)
	n := 0
	for i := range t {
		for _, inc := range t[i].recent {
			if inc.atMS <= nowMS-RetryForMS {
				n++
			}
		}
	}
	return n >= CompactAt
}

// Compact is o merged with the copies of its owners, where the counter has
// forgotten the operations of which no further run can come; the count is that of
// the merge. It is for an [Add] in the same step alone, and is never stored itself:
//
//	resolve.Add(resolve.Compact(o, copies), dot, op, delta, nowMS)
//
// If nothing can be forgotten, or there are no copies, it is o. The package's
// documentation has the proof.
func Compact(o object.Object, copies Copies) object.Object {
	if len(copies.Owners) == 0 {
		return o
	}
	readMS := copies.ReadMS
	held, _, _, _ := tallyOf(o, readMS)
	tallies := []tally{held}
	var known []map[tag]bool
	merged := o
	for i, c := range slices.Concat(copies.Owners, copies.Others) {
		t, _, _, _ := tallyOf(c, readMS)
		tallies = append(tallies, t)
		if i < len(copies.Owners) {
			known = append(known, t.operations())
		}
		merged = object.Merge(merged, c)
	}
	t, newest, _, _ := tallyOf(merged, readMS)
	if slices.ContainsFunc(tallies, t.reset) {
		return o
	}
	t, ok := t.forget(func(inc increment) bool {
		return inc.atMS <= readMS-RetryForMS &&
			!slices.ContainsFunc(known, func(ops map[tag]bool) bool { return !ops[inc.op] })
	})
	if !ok {
		return o
	}
	// The merge of its counters is t: none of them knows more, or has forgotten more.
	merged.Siblings = slices.Clone(merged.Siblings)
	at := slices.IndexFunc(merged.Siblings, func(s object.Sibling) bool { return s.Dot == newest.Dot })
	merged.Siblings[at].Value = t.append(nil)
	return merged
}

// reset reports whether old holds shares that t has not, or that have begun anew.
func (t tally) reset(old tally) bool {
	return slices.ContainsFunc(old, func(s share) bool {
		i, ok := slices.BinarySearchFunc(t, s, byActor)
		return !ok || t[i].since != s.since
	})
}

// operations is the set of those that t remembers.
func (t tally) operations() map[tag]bool {
	ops := make(map[tag]bool, t.remembered())
	for i := range t {
		for _, inc := range t[i].recent {
			ops[inc.op] = true
		}
	}
	return ops
}

// place is where an operation stands: in which share, and where in its list.
type place struct{ share, at int }

// forget is t without those operations at the beginnings of its lists that may
// go, each either in all lists or in none. ok is false if there are none, or if a
// sum would leave the 64-bit integers.
func (t tally) forget(may func(increment) bool) (tally, bool) {
	places := make(map[tag][]place)
	ends := make([]int, len(t)) // how many of each list go
	for i := range t {
		ends[i] = len(t[i].recent)
		for j, inc := range t[i].recent {
			places[inc.op] = append(places[inc.op], place{i, j})
			if j < ends[i] && !may(inc) {
				ends[i] = j
			}
		}
	}
	for t.shorten(ends, places) {
	}
	next := slices.Clone(t)
	changed := false
	for i := range next {
		s := &next[i]
		for _, inc := range s.recent[:ends[i]] {
			if places[inc.op][0].share != i {
				continue // it counts with the smaller actor
			}
			var ok bool
			if s.folded, ok = addInt64(s.folded, inc.delta); !ok {
				return t, false
			}
		}
		changed = changed || ends[i] > 0
		s.first += uint64(ends[i])
		s.recent = s.recent[ends[i]:]
	}
	return next, changed
}

// shorten ends each list before the first operation that stays in another one,
// and reports whether it had to.
func (t tally) shorten(ends []int, places map[tag][]place) bool {
	changed := false
	for i := range t {
		for j := range t[i].recent[:ends[i]] {
			stays := func(p place) bool { return p.at >= ends[p.share] }
			if slices.ContainsFunc(places[t[i].recent[j].op], stays) {
				ends[i], changed = j, true
				break
			}
		}
	}
	return changed
}
