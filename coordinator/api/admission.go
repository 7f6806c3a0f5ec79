package api

import (
	"net/http"
	"sync/atomic"
	"time"
)

// admission bounds the key requests that are served at once, and the bytes of
// their values. What it refuses costs next to nothing: that is what keeps a
// node answering under many times the load that it can serve.
type admission struct {
	maxRequests, maxBytes int64
	requests, bytes       atomic.Int64
	entered               atomic.Uint64 // requests, since the start
}

// enter takes a place for a request; whoever gets one must call leave.
func (a *admission) enter() bool {
	if a.requests.Add(1) > a.maxRequests {
		a.requests.Add(-1)
		return false
	}
	a.entered.Add(1)
	return true
}

// leave gives back a place and the bytes that were reserved with it.
func (a *admission) leave(bytes int64) {
	a.bytes.Add(-bytes)
	a.requests.Add(-1)
}

// reserve takes n bytes if they are free.
func (a *admission) reserve(n int64) bool {
	for {
		used := a.bytes.Load()
		if n > a.maxBytes-used {
			return false
		}
		if a.bytes.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// overdraw takes n bytes if any are free, so that the bound is passed by one
// answer at most: an answer may be larger than any bound of ours, and must
// have its turn all the same.
func (a *admission) overdraw(n int64) bool {
	for {
		used := a.bytes.Load()
		if used >= a.maxBytes {
			return false
		}
		if a.bytes.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// Pressure says how busy the node is with key requests: 0 idle, 1 as busy as
// it may be. Work in the background gives way by it.
func (s *Server) Pressure() float64 {
	return min(1, float64(s.admission.requests.Load())/float64(s.admission.maxRequests))
}

// Admitted counts the key requests that were let in since the start.
func (s *Server) Admitted() uint64 { return s.admission.entered.Load() }

// reserve takes bytes for the request's value, until the request ends.
func (s *Server) reserve(q *keyRequest, n int64) bool {
	if !s.admission.reserve(n) {
		return false
	}
	q.reserved += n
	return true
}

// smallAnswer is the size up to which an answer is not counted: MaxInflight
// bounds these well enough.
const smallAnswer = 64 << 10

// holdAnswer counts a large answer, until the request ends.
func (s *Server) holdAnswer(q *keyRequest, n int64) bool {
	if n <= smallAnswer || q.op == opHead {
		return true
	}
	if !s.admission.overdraw(n) {
		return false
	}
	q.reserved += n
	return true
}

const (
	// discardBytes is the largest body that is read only to keep the
	// connection of a refused request.
	discardBytes = 4 << 10
	// lingerTime is how long the rest of a larger one is taken in after the
	// answer. To close at once would reset the connection, and the caller
	// might lose the answer to that.
	lingerTime = 100 * time.Millisecond
)

// refuse answers a request with p. Where a body was announced and not read
// the connection ends with the answer, so that nobody waits for that body.
func (q *keyRequest) refuse(p *problem) {
	size := q.r.ContentLength
	if q.bodyRead || size >= 0 && size <= discardBytes {
		p.write(q)
		return
	}
	q.Header()["Connection"] = closeConnection
	p.write(q)
	// An error means that the writer has no connection to set it on.
	_ = http.NewResponseController(q.ResponseWriter).SetReadDeadline(time.Now().Add(lingerTime))
}
