package api

import (
	"context"
	"net"
	"sync"
	"time"
)

const (
	// overdueGrace is how long after its deadline a request may still be
	// answered by the KV, which knows most about it.
	overdueGrace = 50 * time.Millisecond
	// overdueTick is how often that is looked at.
	overdueTick = 20 * time.Millisecond
	// overdueWrite bounds the time to send the answer.
	overdueWrite = time.Second
)

// overdue knows the requests that the KV is working on, so that none outlives
// its deadline whatever the KV does: [Server.answerOverdue] answers in place
// of a handler that does not come back. It is a list under one lock, because a
// timer for every request costs several times as much, and a goroutine for
// every call of the KV more again.
type overdue struct {
	mu    sync.Mutex
	first *keyRequest
}

// watched is a request's place in the list of an [overdue].
type watched struct {
	prev, next *keyRequest
	deadline   time.Time
	listed     bool
	// taken: somebody else answers.
	taken bool
}

// enter is called before the KV gets the request, and leave after that.
func (o *overdue) enter(q *keyRequest, ctx context.Context) {
	q.watched.deadline, _ = ctx.Deadline()
	o.mu.Lock()
	defer o.mu.Unlock()
	q.watched.listed, q.watched.next = true, o.first
	if o.first != nil {
		o.first.watched.prev = q
	}
	o.first = q
}

// leave reports whether the request is still to be answered by its handler.
// It may be called for a request that has not entered, and again.
func (o *overdue) leave(q *keyRequest) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.remove(q)
	return !q.watched.taken
}

func (o *overdue) remove(q *keyRequest) {
	w := &q.watched
	if !w.listed {
		return
	}
	if w.prev == nil {
		o.first = w.next
	} else {
		w.prev.watched.next = w.next
	}
	if w.next != nil {
		w.next.watched.prev = w.prev
	}
	w.listed, w.prev, w.next = false, nil, nil
}

// take gives the requests whose deadline is before t. Their handlers answer
// them no more.
func (o *overdue) take(t time.Time) (late []*keyRequest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for q := o.first; q != nil; {
		next := q.watched.next
		if q.watched.deadline.Before(t) && q.conn() != nil {
			o.remove(q)
			q.watched.taken = true
			late = append(late, q)
		}
		q = next
	}
	return late
}

// answerOverdue answers the requests whose deadline has passed, until ctx
// ends.
func (s *Server) answerOverdue(ctx context.Context) {
	tick := time.NewTicker(overdueTick)
	defer tick.Stop()
	var answering sync.WaitGroup // as many as are being served, at most
	defer answering.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, q := range s.overdue.take(time.Now().Add(-overdueGrace)) {
			answering.Go(func() { s.giveUp(q) })
		}
	}
}

// giveUp answers 504 on the connection itself and closes it: the writer
// belongs to the handler, which goes on in the KV and keeps its place in
// MaxInflight until it comes back.
func (s *Server) giveUp(q *keyRequest) {
	write := q.op.write()
	p := &problem{kind: &kindDeadline, maybeApplied: &write,
		detail: "The deadline passed and this node's part of the work has not ended." + outcome(write, write)}
	s.metrics.overdue.Inc()
	s.metrics.observe(q.op, q.label, p.kind.status, time.Since(q.start), q.r.Header)
	conn := q.conn()
	_ = conn.SetWriteDeadline(time.Now().Add(overdueWrite))
	_, _ = conn.Write(p.raw(q.r.Method)) // the caller may have gone
	_ = conn.Close()
}

// connKey is where [Server.Serve] keeps the connection in the context of its
// requests.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// conn is the connection of the request; nil where another server than that
// of [Server.Serve] took it.
func (q *keyRequest) conn() net.Conn {
	c, _ := q.r.Context().Value(connKey{}).(net.Conn)
	return c
}
