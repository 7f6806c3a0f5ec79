package wire

import (
	"fmt"
	"sync/atomic"
)

// shares is how many parts a server's bounds have, of which every connection
// is sure of one: 64 requests and 2 MiB of the defaults. A connection that
// takes all that there is can so never shut another one out, and a request
// that somebody waits for gets through beside any amount of other work. Up to
// this many connections (64 peers with two each) the sure parts add up to no
// more than the bound itself, so that a server never runs more than twice that.
const shares = 128

// load is what a server runs for all its connections together.
type load struct {
	maxRequests, maxBytes int64

	requests, bytes atomic.Int64
}

// enter books a request of so many bytes for a connection that runs something
// already, or says why it must not run.
//
// A connection that runs nothing is let in whatever the size: its reader holds
// the request in any case, so that refusing it would save little, and a large
// one would otherwise have no chance while others fill the bound.
func (l *load) enter(size, connRequests, connBytes int) error {
	requests, bytes := l.requests.Add(1), l.bytes.Add(int64(size))
	switch {
	case requests <= l.maxRequests && bytes <= l.maxBytes,
		connRequests == 0,
		int64(connRequests) < l.maxRequests/shares && int64(connBytes+size) <= l.maxBytes/shares:
		return nil
	}
	l.leave(size)
	return fmt.Errorf("%w: %d requests of %d bytes run for all peers", ErrOverloaded, requests-1, bytes-int64(size))
}

// leave is the opposite of enter.
func (l *load) leave(size int) {
	l.requests.Add(-1)
	l.bytes.Add(-int64(size))
}
