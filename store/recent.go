package store

import (
	"hash/maphash"
	"sync"

	"starling/store/object"
	"starling/store/version"
)

// recentPuts is how many puts a store remembers to answer retries by.
const recentPuts = 1 << 16

// recent remembers the dots of the last puts by their operations, so that a
// retry of a put gets the same dot even when the value is superseded by now.
type recent struct {
	seed maphash.Seed

	mu   sync.Mutex
	dots map[putID]version.Dot
	ring []putID // in the order of arrival; the oldest is at next once it is full
	next int
}

// putID names a put. The key takes part as a keyed hash, which a client cannot
// make collide.
type putID struct {
	op   object.OpID
	name uint64
}

func newRecent() *recent {
	return &recent{seed: maphash.MakeSeed(), dots: make(map[putID]version.Dot)}
}

func (r *recent) id(op object.OpID, dataKey []byte) putID {
	return putID{op, maphash.Bytes(r.seed, dataKey)}
}

func (r *recent) find(id putID) (version.Dot, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.dots[id]
	return d, ok
}

// add remembers a put, and forgets the oldest when there are too many.
func (r *recent) add(id putID, d version.Dot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dots[id] = d
	if len(r.ring) < recentPuts {
		r.ring = append(r.ring, id)
		return
	}
	delete(r.dots, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % recentPuts
}

// clear forgets all. A put that was dropped with its partition must be stored
// when it is tried again.
func (r *recent) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.dots)
	r.ring, r.next = r.ring[:0], 0
}
