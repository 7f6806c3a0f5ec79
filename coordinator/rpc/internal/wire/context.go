package wire

import (
	"context"
	"sync"
	"time"
)

// requestContext is the context of a request in a server. Most handlers never
// wait on it, so the timer and channel of a real one are made when somebody
// first asks for Done (or derives a context, which asks).
type requestContext struct {
	deadline time.Time // zero: none

	mu       sync.Mutex
	real     context.Context // nil until somebody waits
	stop     context.CancelFunc
	canceled bool
}

// Deadline implements context.Context.
func (c *requestContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Done implements context.Context.
func (c *requestContext) Done() <-chan struct{} { return c.materialize().Done() }

// Value implements context.Context. A context derived from this one finds the
// real one through it, and hangs itself there.
func (c *requestContext) Value(key any) any { return c.materialize().Value(key) }

// Err implements context.Context.
func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.real != nil:
		return c.real.Err()
	case c.canceled:
		return context.Canceled
	case c.late():
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func (c *requestContext) late() bool {
	return !c.deadline.IsZero() && !time.Now().Before(c.deadline)
}

func (c *requestContext) materialize() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real == nil {
		if c.deadline.IsZero() {
			c.real, c.stop = context.WithCancel(context.Background())
		} else {
			c.real, c.stop = context.WithDeadline(context.Background(), c.deadline)
		}
		if c.canceled {
			c.stop()
		}
	}
	return c.real
}

// cancel ends the context.
func (c *requestContext) cancel() {
	c.mu.Lock()
	c.canceled = true
	stop := c.stop
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
}
