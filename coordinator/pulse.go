package coordinator

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// A process that stood still (stopped, or starved of its processor) finds puts
// in its sockets when it goes on. Their senders may have given it up, done them
// at other nodes, and written over them since: taken now, such a put would come
// back as a sibling that nobody is waiting for. Nothing in the request tells it
// from a fresh one, so for a moment none is taken. Its sender, if it still
// waits, is told that nothing happened.
const (
	pulseEvery = 50 * time.Millisecond
	// standstill is how long a break must be to count. Peers give a node up
	// after a second of silence, which may have begun before the break did.
	standstill = 500 * time.Millisecond
	// afterStandstill is how long puts are refused after a break: time enough
	// to read what the sockets hold.
	afterStandstill = 500 * time.Millisecond
)

// pulse notices that this process stood still. It goes by the monotonic
// clock: a machine that sleeps, clock and all, is not noticed.
type pulse struct {
	origin time.Time
	beats  atomic.Int64 // when the last beat was, as nanoseconds since origin; 0: none yet
	woke   atomic.Int64 // when the last break ended; 0: never
}

func newPulse() pulse { return pulse{origin: time.Now().Add(-time.Nanosecond)} }

// beat is one sign of life. It gives the length of the break that it ends, 0
// if there was none.
func (p *pulse) beat(now time.Time) time.Duration {
	at, last := int64(now.Sub(p.origin)), p.beats.Load()
	gap := time.Duration(at - last)
	if last == 0 || gap < standstill {
		gap = 0
	} else {
		p.woke.Store(at) // before the beat, which hides the break from stoodStill
	}
	p.beats.Store(at)
	return gap
}

// stop ends the watch: no beat is expected any more.
func (p *pulse) stop() { p.beats.Store(0) }

// stoodStill says whether a break goes on, or ended just now.
func (p *pulse) stoodStill(now time.Time) bool {
	at, last := int64(now.Sub(p.origin)), p.beats.Load()
	if last != 0 && time.Duration(at-last) >= standstill {
		return true
	}
	woke := p.woke.Load()
	return woke != 0 && time.Duration(at-woke) < afterStandstill
}

// pulseLoop beats until ctx ends.
func (c *Coordinator) pulseLoop(ctx context.Context) {
	defer c.pulse.stop()
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	for {
		if gap := c.pulse.beat(time.Now()); gap > 0 {
			c.metrics.standstills.Inc()
			c.opts.Logger.Warn("coordinator: the process stood still; puts that were waiting for it are refused", "duration", gap)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// awake refuses a put that may have been waiting while the process stood still.
func (c *Coordinator) awake() error {
	if c.pulse.stoodStill(time.Now()) {
		return fmt.Errorf("%w: it stood still and refuses what may be out of date", ErrNotReady)
	}
	return nil
}
