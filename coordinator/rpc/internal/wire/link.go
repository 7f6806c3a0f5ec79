package wire

import (
	"context"
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
	done       chan struct{}
	once       sync.Once
	err        error // set before done is closed
	afterFail  func(error)
}

// init sets a link up after the prefaces. afterFail runs once, when the link
// has ended.
func (l *link) init(opts *Options, nc net.Conn, afterFail func(error)) {
	l.opts, l.nc, l.afterFail = opts, nc, afterFail
	l.done = make(chan struct{})
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
		l.nc.Close()
		l.afterFail(err)
	})
}

// keepalive pings a silent peer and ends the link of a dead one. See the
// package comment, "Liveness".
func (l *link) keepalive() {
	defer l.wg.Done()
	const perPing = 4
	every := l.opts.PingEvery / perPing
	dead := int((l.opts.DeadAfter + every - 1) / every)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var reads, writes uint64
	silent, stalled := 0, 0 // ticks
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
		}
		if now := l.count.reads.Load(); now != reads {
			reads, silent = now, 0
		} else {
			silent++
		}
		if now, flushing := l.out.busy(); now != writes || !flushing {
			writes, stalled = now, 0
		} else {
			stalled++
		}
		if silent >= dead || stalled >= dead {
			l.fail(ErrDead)
			return
		}
		if silent > 0 && silent%perPing == 0 {
			// A full queue is no reason to fail: then the writer stalls.
			_ = l.out.control(header{kind: kindPing})
		}
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
