package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// serverConn is the answering end of a connection.
type serverConn struct {
	link
	srv *Server

	mu       sync.Mutex
	running  map[uint64]*task // nil once the connection has ended
	bytes    int              // payload of what runs
	begun    bool             // the prefaces are through: frames may be sent
	draining bool
}

// task is one request that was let in.
type task struct {
	conn    *serverConn
	id      uint64
	method  uint8
	payload []byte
	ctx     requestContext
}

// serve runs a connection from its preface to its end.
func (c *serverConn) serve(ctx context.Context) {
	log := c.opts.Logger.With("remote", c.nc.RemoteAddr().String())
	if err := c.exchange(ctx, false); err != nil {
		c.fail(err)
		level := log.Warn
		if errors.Is(err, io.EOF) || errors.Is(err, ErrClosed) || ctx.Err() != nil {
			level = log.Debug // a port check, or we are stopping
		}
		level("rpc: connection refused", "error", err)
		return
	}
	c.opts.Metrics.connsServer.Add(1)
	defer c.opts.Metrics.connsServer.Add(-1)
	c.begin()
	c.wg.Add(1)
	go c.keepalive(nil)
	err := c.read()
	c.fail(err)
	c.wg.Wait()
	log.Debug("rpc: connection ended", "error", c.err)
}

func (c *serverConn) read() error {
	for {
		h, payload, err := c.in.next()
		if err != nil {
			return err
		}
		c.opts.Metrics.framesIn.Inc()
		switch h.kind {
		case kindRequest:
			err = c.request(h, payload)
		case kindCancel:
			c.cancel(h.id)
		case kindPing:
			err = c.out.control(header{kind: kindPong})
		}
		if err != nil {
			return err
		}
	}
}

// request lets a request in or refuses it. An error ends the connection.
func (c *serverConn) request(h header, payload []byte) error {
	t := &task{conn: c, id: h.id, method: h.method, payload: payload}
	if h.budget > 0 {
		t.ctx.deadline = time.Now().Add(time.Duration(h.budget) * time.Microsecond)
	}
	err := c.srv.admit(c.peer.Cluster, h.method)
	if err == nil {
		err = c.enter(t)
	}
	if err == nil {
		c.srv.dispatch(t)
		return nil
	}
	if errors.Is(err, ErrCorrupt) {
		return err
	}
	if errors.Is(err, ErrOverloaded) {
		c.opts.Metrics.refusedServer.Inc()
	}
	c.srv.do.Done(h.method, err)
	return c.refuse(h.id, err)
}

// enter books a request among those that run, within the bounds of the
// connection and of the server.
func (c *serverConn) enter(t *task) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.draining || c.running == nil:
		return ErrGoingAway
	case c.running[t.id] != nil:
		return fmt.Errorf("%w: request id %d is in use", ErrCorrupt, t.id)
	case len(c.running) >= c.opts.MaxInFlight:
		return fmt.Errorf("%w: %d requests of this peer run", ErrOverloaded, len(c.running))
	case c.bytes > 0 && c.bytes+len(t.payload) > c.opts.MaxInFlightBytes:
		return fmt.Errorf("%w: requests of %d bytes of this peer run", ErrOverloaded, c.bytes)
	}
	if err := c.srv.load.enter(len(t.payload), len(c.running), c.bytes); err != nil {
		return err
	}
	c.running[t.id] = t
	c.bytes += len(t.payload)
	c.opts.Metrics.runningServer.Add(1)
	return nil
}

// leave is the opposite of enter.
func (c *serverConn) leave(t *task, size int) {
	c.mu.Lock()
	delete(c.running, t.id)
	c.bytes -= size
	c.mu.Unlock()
	c.srv.load.leave(size)
	c.opts.Metrics.runningServer.Add(-1)
}

// cancel ends the context of a request whose caller has given up.
func (c *serverConn) cancel(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.running[id]; t != nil {
		t.ctx.cancel()
	}
}

// begin allows frames; a goaway from before is made up for.
func (c *serverConn) begin() {
	c.mu.Lock()
	c.begun = true
	tell := c.draining
	c.mu.Unlock()
	if tell {
		c.goAway()
	}
}

// goAway stops letting requests in and tells the client.
func (c *serverConn) goAway() {
	c.mu.Lock()
	c.draining = true
	tell := c.begun
	c.mu.Unlock()
	if tell {
		_ = c.out.control(header{kind: kindGoAway}) // one that has ended needs no telling
	}
}

// failed runs when the connection has ended: nobody waits for what runs.
func (c *serverConn) failed(error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.running {
		t.ctx.cancel()
	}
	c.draining = true
}

// refuse answers a request that did not run. When not even that can be queued,
// the peer does not read: the connection ends.
func (c *serverConn) refuse(id uint64, err error) error {
	b := NewBuffer(0)
	b.h = header{id: id, kind: kindError}
	b.B = c.srv.do.EncodeError(b.B, err)
	return c.out.controlBuffer(b)
}

// run is a request's life in its worker.
func (t *task) run() {
	c, size := t.conn, len(t.payload)
	reply := NewBuffer(0)
	var err error
	if t.ctx.Err() != nil {
		err = ErrExpired
	} else {
		err = c.srv.handle(&t.ctx, t, reply)
	}
	c.leave(t, size)
	gaveUp := errors.Is(t.ctx.Err(), context.Canceled)
	t.ctx.cancel()
	if err == nil && reply.payloadBytes() > c.opts.maxPayload {
		err = fmt.Errorf("%w: it has %d bytes, at most %d", ErrReplyDropped, reply.payloadBytes(), c.opts.maxPayload)
	}
	c.srv.do.Done(t.method, err)
	if gaveUp {
		reply.Release()
		return
	}
	c.reply(t.id, reply, err)
}

// reply queues the answer. One that finds the queue full is replaced by an
// error that says so.
func (c *serverConn) reply(id uint64, b *Buffer, err error) {
	if err == nil {
		b.h = header{id: id, kind: kindResponse}
		if _, err = c.out.send(b); !errors.Is(err, ErrOverloaded) {
			return // queued, or the connection has ended
		}
		c.opts.Metrics.refusedServer.Inc()
		err = fmt.Errorf("%w: %w", ErrReplyDropped, err)
	} else {
		b.Release()
	}
	if err := c.refuse(id, err); err != nil {
		c.fail(err)
	}
}
