package wire

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// link is what both ends of a connection have in common: the socket, the
// writer, the keepalive, and one reason for which it ended.
type link struct {
	opts       *Options
	nc         net.Conn
	ours, peer Preface
	version    uint16
	count      *countingReader
	in         *frameReader
	out        writer
	wg         sync.WaitGroup // keepalive and flushers
	wake       chan struct{}  // see hurry
	done       chan struct{}
	once       sync.Once
	err        error // set before done is closed
	afterFail  func(error)
}

// init sets a link up after the prefaces. afterFail runs once, when the link
// has ended.
func (l *link) init(opts *Options, nc net.Conn, afterFail func(error)) {
	l.opts, l.nc, l.afterFail = opts, nc, afterFail
	l.wake, l.done = make(chan struct{}, 1), make(chan struct{})
	l.count = &countingReader{r: nc, bytes: opts.Metrics.readBytes}
	l.in = newFrameReader(l.count, opts.maxPayload)
	l.out = writer{out: nc, bound: opts.QueueBytes, fail: l.fail, metrics: opts.Metrics, wg: &l.wg}
}

// fail ends the link; the first reason stays.
func (l *link) fail(err error) {
	l.once.Do(func() {
		l.err = err
		l.out.close(err)
		close(l.done)
		if tcp, ok := l.nc.(*net.TCPConn); ok && errors.Is(err, ErrDead) {
			// What a dead peer has not taken must not reach it after all, when
			// its callers have been told that it is lost.
			_ = tcp.SetLinger(0)
		}
		l.nc.Close()
		l.afterFail(err)
	})
}

// keepalive pings a silent peer and ends the link of a dead one. See the
// package comment, "Liveness". owing says, after each look at a peer that owes
// a sign of life, whether it still does; nil: it never does.
func (l *link) keepalive(owing func(heard bool) bool) {
	defer l.wg.Done()
	w := newWatch(l.opts, time.Now())
	timer := time.NewTimer(w.interval())
	defer timer.Stop()
	for {
		woken := false
		select {
		case <-l.done:
			return
		case <-l.wake:
			woken = true
		case <-timer.C:
		}
		switch w.look(time.Now(), l.sight()) {
		case verdictDead:
			l.fail(ErrDead)
			return
		case verdictPing:
			// A full queue is no reason to fail: then the writer stalls.
			_ = l.out.control(header{kind: kindPing})
		}
		// The look that begins the watch does not end it, even if the call is
		// over by then: a caller that calls again and again would wake us
		// every time.
		w.busy = woken || w.busy && owing(w.owed == 0)
		timer.Reset(w.interval())
	}
}

func (l *link) sight() sight {
	s := sight{reads: l.count.reads.Load()}
	s.writes, s.flushers, s.flushing = l.out.progress()
	return s
}

// hurry makes keepalive look at the peer often, from now on.
func (l *link) hurry() {
	select {
	case l.wake <- struct{}{}:
	default: // it has been told already
	}
}

// exchange sends our preface and reads the other side's, the dialling side
// first, and leaves the agreed version in the link. The end of ctx ends it.
func (l *link) exchange(ctx context.Context, dialled bool) error {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		l.nc.Close()
		close(closed)
	})
	err := l.prefaces(dialled)
	if !stop() {
		<-closed
		return context.Cause(ctx)
	}
	return err
}

func (l *link) prefaces(dialled bool) error {
	if err := l.nc.SetDeadline(time.Now().Add(l.opts.PrefaceTimeout)); err != nil {
		return err
	}
	l.ours = l.opts.preface()
	if dialled {
		if _, err := l.nc.Write(AppendPreface(nil, l.ours)); err != nil {
			return err
		}
	}
	var err error
	if l.peer, err = ReadPreface(l.nc); err != nil {
		return err
	}
	if !dialled {
		// A peer that we refuse is told who we are all the same: it names
		// the mismatch to its own operator.
		if _, err := l.nc.Write(AppendPreface(nil, l.ours)); err != nil {
			return err
		}
	}
	if l.version, err = agree(l.ours, l.peer); err != nil {
		return err
	}
	return l.nc.SetDeadline(time.Time{})
}
