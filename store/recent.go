package store

import (
	"hash/maphash"
	"sync"

	"starling/store/object"
	"starling/store/version"
)

// recentPuts is how many superseded puts a store remembers to answer retries
// by. They take about 16 MiB.
const recentPuts = 1 << 17

// recent remembers the dots of puts by their operations when their values were
// superseded last, so that a retry of a put gets the same dot even then. It
// does not matter which replica stamped the put. A row answers a retry by it
// only if it covers the dot.
type recent struct {
	seed maphash.Seed

	mu   sync.Mutex
	dots map[putID]version.Dot
	ring []putID // in the order of arrival; the oldest is at next once it is full
	next int
}

// putID names a put to a row. The row's key takes part as a keyed hash, which a client cannot
// make collide.
type putID struct {
	op   object.OpID
	name uint64
}

func newRecent() *recent {
	return &recent{seed: maphash.MakeSeed(), dots: make(map[putID]version.Dot)}
}

func (r *recent) id(op object.OpID, key []byte) putID {
	return putID{op, maphash.Bytes(r.seed, key)}
}

func (r *recent) find(id putID) (version.Dot, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.dots[id]
	return d, ok
}

// add remembers a put, and forgets the oldest when there are too many. Of two
// stampings it keeps the first, if that is one that the row covers.
func (r *recent) add(id putID, d version.Dot, covered version.Vector) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, again := r.dots[id]
	if again && covered.Covers(first) {
		return
	}
	r.dots[id] = d
	switch {
	case again:
	case len(r.ring) < recentPuts:
		r.ring = append(r.ring, id)
	default:
		delete(r.dots, r.ring[r.next])
		r.ring[r.next] = id
		r.next = (r.next + 1) % recentPuts
	}
}
