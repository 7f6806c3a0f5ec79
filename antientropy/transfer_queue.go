package antientropy

import (
	"slices"

	"starling/ring"
)

// part is one partition on its way through a round. One worker has it at a
// time.
type part struct {
	Claim
	// confirmed are the owners that confirmed the claim, or where there are none the
	// members that did; never empty.
	confirmed []ring.NodeID
	*filling
	// out: nothing more can be done about it in this round.
	out bool
}

// complete: what every owner that confirmed the claim held then is here.
func (p *part) complete() bool {
	if p.out || !p.streamed {
		return false
	}
	return !slices.ContainsFunc(p.confirmed, func(id ring.NodeID) bool { return !p.caughtUp[id] })
}

// maxGroup bounds the partitions of a group.
const maxGroup = 64

// group is some partitions that one stream takes from one owner.
type group struct {
	source ring.NodeID
	parts  []*part
}

// owners are those that confirmed any of the group, the source first: most of
// what lacks comes from the first one that is asked.
func (g group) owners() []ring.NodeID {
	owners := []ring.NodeID{g.source}
	for _, p := range g.parts {
		for _, id := range p.confirmed {
			if !contains(owners, id) {
				owners = append(owners, id)
			}
		}
	}
	return owners
}

// queue hands out the partitions of a round. It is not safe for concurrent use.
type queue struct {
	sources []ring.NodeID // sorted
	waiting map[ring.NodeID][]*part
	busy    map[ring.NodeID]int // streams, by source
}

// newQueue gives each partition to one of the owners that confirmed it: the one
// that has the fewest so far.
func newQueue(parts []*part) *queue {
	q := &queue{waiting: map[ring.NodeID][]*part{}, busy: map[ring.NodeID]int{}}
	for _, p := range parts {
		source := slices.MinFunc(p.confirmed, func(a, b ring.NodeID) int {
			if n := len(q.waiting[a]) - len(q.waiting[b]); n != 0 {
				return n
			}
			return a.Compare(b)
		})
		q.waiting[source] = append(q.waiting[source], p)
	}
	for id := range q.waiting {
		q.sources = append(q.sources, id)
	}
	slices.SortFunc(q.sources, ring.NodeID.Compare)
	return q
}

// take gives the next group, of the source with the fewest streams: partitions
// of so many bytes together, one at least. The group must be released.
func (q *queue) take(bytes int64) (g group, ok bool) {
	for _, id := range q.sources {
		if len(q.waiting[id]) > 0 && (!ok || q.busy[id] < q.busy[g.source]) {
			g.source, ok = id, true
		}
	}
	if !ok {
		return group{}, false
	}
	waiting := q.waiting[g.source]
	n := 1
	for sum := waiting[0].size.Load(); n < min(len(waiting), maxGroup); n++ {
		if sum += waiting[n].size.Load(); sum > bytes {
			break
		}
	}
	g.parts, q.waiting[g.source] = waiting[:n], waiting[n:]
	q.busy[g.source]++
	return g, true
}

// release says that nothing of a group is under way any more.
func (q *queue) release(g group) { q.busy[g.source]-- }

// giveUp takes out what was to come from a source.
func (q *queue) giveUp(source ring.NodeID) { delete(q.waiting, source) }
