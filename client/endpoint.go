package client

import (
	"math"
	"net/url"
	"sync/atomic"
	"time"
)

// How long a node that did not answer is left alone: the first time, and at
// most after repeated failures.
const (
	asideFirst   = 500 * time.Millisecond
	asideLongest = 15 * time.Second
)

// endpoint is one node's HTTP address and what was last seen of it. Times are
// durations since the client's start, so that a stepped wall clock is no
// matter.
type endpoint struct {
	url      url.URL
	failures atomic.Int32
	until    atomic.Int64
}

// aside reports whether the endpoint is to be left alone at the time now.
func (e *endpoint) aside(now time.Duration) bool { return int64(now) < e.until.Load() }

// failed sets the endpoint aside, longer each time.
func (e *endpoint) failed(now time.Duration) time.Duration {
	n := e.failures.Add(1)
	pause := min(asideFirst<<min(n-1, 10), asideLongest)
	e.until.Store(int64(now + pause))
	return pause
}

// refused sets aside an endpoint that answered and asked for a pause.
func (e *endpoint) refused(now, pause time.Duration) {
	e.until.Store(int64(now + min(pause, asideLongest)))
}

// answered ends what failed began.
func (e *endpoint) answered() {
	if e.failures.Load() != 0 {
		e.failures.Store(0)
		e.until.Store(math.MinInt64)
	}
}

// routes is where requests can go: an immutable snapshot, replaced as a whole
// when a ring arrives.
type routes struct {
	// all are the configured endpoints, then the ring's other live members.
	all []*endpoint
	// members are the ring's, by index; nil for those that are not alive or
	// have no usable address.
	members []*endpoint
	// owners has the members' indexes for each partition; nil without a ring.
	owners [][]uint16
	// shift makes a partition of a hash. It is 64 for a single partition.
	shift uint
}

// ownersOf gives the indexes of the members that own a hash.
func (r *routes) ownersOf(hash uint64) []uint16 {
	if len(r.owners) == 0 {
		return nil
	}
	return r.owners[hash>>r.shift]
}

// pick chooses where an attempt goes: a live owner of the key, else any
// endpoint; one not yet tried in this call before one that was, and one that
// is set aside only if there is no other. turn rotates the choice among
// equals: owners keep their order when it is 0. fresh tells whether the
// choice is neither tried nor set aside.
func (r *routes) pick(hash uint64, turn uint64, rotateOwners bool, tried []*endpoint, now time.Duration) (e *endpoint, fresh bool) {
	owners := r.ownersOf(hash)
	candidate := func(i int) *endpoint {
		if i < len(owners) {
			if rotateOwners {
				i = int((uint64(i) + turn) % uint64(len(owners)))
			}
			return r.members[owners[i]]
		}
		return r.all[(uint64(i-len(owners))+turn)%uint64(len(r.all))]
	}
	var untried, available, last *endpoint
	for i := range len(owners) + len(r.all) {
		e := candidate(i)
		if e == nil {
			continue
		}
		seen, aside := contains(tried, e), e.aside(now)
		switch {
		case !seen && !aside:
			return e, true
		case !seen && untried == nil:
			untried = e
		case !aside && available == nil:
			available = e
		}
		if last == nil {
			last = e
		}
	}
	for _, e := range []*endpoint{untried, available, last} {
		if e != nil {
			return e, false
		}
	}
	return nil, false
}

func contains(list []*endpoint, e *endpoint) bool {
	for _, x := range list {
		if x == e {
			return true
		}
	}
	return false
}
