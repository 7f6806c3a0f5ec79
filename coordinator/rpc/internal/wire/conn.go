package wire

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Conn is the calling end of a connection.
type Conn struct {
	link
	onRetire func(reason error) // no longer for new calls; may run more than once
	calls    sync.Pool

	mu      sync.Mutex
	pending map[uint64]*call
	lastID  uint64
	retired error // why no new call is taken
	watched bool  // keepalive looks often: a call waits, or went unanswered
}

// call is one request that waits. Whoever takes it out of pending owns it: the
// reader then sends exactly one outcome, or the caller is on its own.
type call struct {
	payload []byte
	err     error
	done    chan struct{} // capacity 1
}

// newCall takes one out of the connection's own pool: a channel of a test's
// bubble must not get into another.
func (c *Conn) newCall() *call {
	if w, ok := c.calls.Get().(*call); ok {
		return w
	}
	return &call{done: make(chan struct{}, 1)}
}

// Peer is what the other side said of itself.
func (c *Conn) Peer() Preface { return c.peer }

// Version is the protocol version that both sides speak.
func (c *Conn) Version() uint16 { return c.version }

// Call sends a request and waits for its reply, whose payload the caller owns.
// It takes req over. The errors are those of the package's first invariant: a
// [RemoteError] is the peer's own answer; of the rest only one that wraps
// [ErrLost] leaves open whether the request had an effect. When ctx ends, the
// error wraps ctx.Err and the peer is told to stop.
func (c *Conn) Call(ctx context.Context, method uint8, req *Buffer) ([]byte, error) {
	if err := c.checkSend(ctx, req); err != nil {
		req.Release()
		return nil, err
	}
	w := c.newCall()
	id, err := c.register(w)
	if err != nil {
		req.Release()
		c.calls.Put(w)
		return nil, err
	}
	req.h = header{id: id, kind: kindRequest, method: method}
	req.deadline, _ = ctx.Deadline()
	seq, err := c.out.send(req)
	if err != nil {
		c.abandon(id, w)
		return nil, c.notSent(err)
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		if c.take(id) != nil {
			c.calls.Put(w)
			return nil, c.stop(ctx, id, seq)
		}
		<-w.done // the reader has it: the outcome is on its way
	}
	payload, err := w.payload, w.err
	w.payload, w.err = nil, nil
	c.calls.Put(w)
	if errors.Is(err, errEnded) {
		err = c.ended(seq)
	}
	return payload, err
}

// errEnded is the outcome of a call whose connection ended; the caller works
// out what that means for it.
var errEnded = errors.New("wire: connection ended")

func (c *Conn) checkSend(ctx context.Context, req *Buffer) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wire: not sent: %w", err)
	}
	if req.payloadBytes() > c.opts.maxPayload {
		return fmt.Errorf("%w: request of %d bytes, at most %d", ErrTooLarge, req.payloadBytes(), c.opts.maxPayload)
	}
	return nil
}

// register enters a call into the table of those that wait.
func (c *Conn) register(w *call) (id uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired != nil {
		return 0, fmt.Errorf("%w: %w", ErrDown, c.retired)
	}
	if len(c.pending) >= c.opts.MaxPending {
		c.opts.Metrics.refusedClient.Inc()
		return 0, fmt.Errorf("%w: %d calls wait for this peer", ErrOverloaded, len(c.pending))
	}
	if !c.watched {
		c.watched = true
		c.hurry()
	}
	c.lastID++
	c.pending[c.lastID] = w
	c.opts.Metrics.pendingClient.Add(1)
	return c.lastID, nil
}

// take removes a call from the table; nil: somebody else did.
func (c *Conn) take(id uint64) *call {
	c.mu.Lock()
	w := c.pending[id]
	if w == nil {
		c.mu.Unlock()
		return nil
	}
	delete(c.pending, id)
	last := c.retired != nil && len(c.pending) == 0
	c.mu.Unlock()
	c.opts.Metrics.pendingClient.Add(-1)
	if last {
		c.fail(ErrClosed)
	}
	return w
}

// abandon gives up a call that was registered and not sent.
func (c *Conn) abandon(id uint64, w *call) {
	if c.take(id) == nil {
		<-w.done
		w.payload, w.err = nil, nil
	}
	c.calls.Put(w)
}

func (c *Conn) notSent(err error) error {
	if errors.Is(err, ErrOverloaded) {
		c.opts.Metrics.refusedClient.Inc()
		return fmt.Errorf("%w: the send queue to this peer is full", err)
	}
	return fmt.Errorf("%w: %w", ErrDown, err)
}

// stop is the end of a call whose context ended first.
func (c *Conn) stop(ctx context.Context, id, seq uint64) error {
	if c.out.withdraw(seq) {
		return fmt.Errorf("wire: not sent: %w", ctx.Err())
	}
	// Advice only: the peer that does not get it does work for nothing.
	_ = c.out.control(header{id: id, kind: kindCancel})
	return fmt.Errorf("%w: %w", ErrLost, ctx.Err())
}

// ended is the end of a call whose connection ended first.
func (c *Conn) ended(seq uint64) error {
	if c.out.handed(seq) {
		return fmt.Errorf("%w: connection ended: %w", ErrLost, c.err)
	}
	return fmt.Errorf("%w: %w", ErrDown, c.err)
}

// retire takes the connection out of use for new calls; it ends with the last
// one that waits.
func (c *Conn) retire(reason error) {
	c.mu.Lock()
	if c.retired == nil {
		c.retired = reason
	}
	idle := len(c.pending) == 0
	c.mu.Unlock()
	c.onRetire(reason)
	if idle {
		c.fail(ErrClosed)
	}
}

// failed runs when the link has ended: nobody waits any longer. Those that did
// hear of it when the pool has, so that who tries again gets another connection.
func (c *Conn) failed(err error) {
	c.mu.Lock()
	if c.retired == nil {
		c.retired = err
	}
	waiting := c.pending
	c.pending = nil
	c.mu.Unlock()
	c.opts.Metrics.pendingClient.Add(-int64(len(waiting)))
	c.onRetire(err)
	for _, w := range waiting {
		w.err = errEnded
		w.done <- struct{}{}
	}
}

// owing is for keepalive: whether the peer owes a sign of life, given whether
// it was heard since the look before. A call that its caller gave up leaves the
// question open: the next ones are to know.
func (c *Conn) owing(heard bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched = len(c.pending) > 0 || !heard
	return c.watched
}

// run reads replies until the connection ends, and returns when all that
// belongs to it has.
func (c *Conn) run() {
	c.opts.Metrics.connsClient.Add(1)
	defer c.opts.Metrics.connsClient.Add(-1)
	c.wg.Add(1)
	go c.keepalive(c.owing)
	c.fail(c.read())
	c.wg.Wait()
}

func (c *Conn) read() error {
	for {
		h, payload, err := c.in.next()
		if err != nil {
			return err
		}
		c.opts.Metrics.framesIn.Inc()
		switch h.kind {
		case kindResponse:
			c.deliver(h.id, payload, nil)
		case kindError:
			c.deliver(h.id, nil, &RemoteError{Payload: payload})
		case kindPing:
			if err := c.out.control(header{kind: kindPong}); err != nil {
				return err
			}
		case kindGoAway:
			c.retire(ErrGoingAway)
		}
	}
}

// deliver hands a reply to its call. One that nobody waits for any more is
// dropped.
func (c *Conn) deliver(id uint64, payload []byte, err error) {
	w := c.take(id)
	if w == nil {
		return
	}
	w.payload, w.err = payload, err
	w.done <- struct{}{}
}
