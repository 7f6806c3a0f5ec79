package antientropy

import (
	"context"
	"time"
)

// MinBytesPerSecond is the rate of exchanges at the highest pressure: a
// trickle, so that replicas become equal on a node that is always busy, too.
const MinBytesPerSecond = 64 << 10

const (
	// easyPressure is the pressure up to which requests of clients do not
	// lower the rate of bytes.
	easyPressure = 0.5
	// burst is how much of the rate may be saved up while nothing is sent.
	burst = 100 * time.Millisecond
	// maxWait is how long bytes are waited for before the pressure is looked
	// at again.
	maxWait = 250 * time.Millisecond
	// busyShare is the share of the time that an exchange may be at work while
	// there are requests of clients, and leastShare that at the highest pressure.
	busyShare, leastShare = 0.125, 0.01
	// maxRest bounds one rest.
	maxRest = time.Second
)

// yielding is the share of its pace that the exchanger keeps under a pressure:
// 1 up to easyPressure, from there falling to 0 at 1.
func yielding(pressure float64) float64 {
	return min(max((1-pressure)/(1-easyPressure), 0), 1)
}

// rateUnder is the rate under a pressure, bytes per second. It falls with the
// square: requests begin to suffer long before a node is as busy as it may be.
func rateUnder(pressure float64, most int64) float64 {
	f := yielding(pressure)
	return max(float64(most)*f*f, float64(min(most, MinBytesPerSecond)))
}

// restAfter is how long to pause after work that took so long, so that the
// work keeps to its share of the time. A node without requests does not pause.
func restAfter(worked time.Duration, pressure float64) time.Duration {
	if pressure <= 0 {
		return 0
	}
	f := yielding(pressure)
	share := max(busyShare*f*f, leastShare)
	return min(time.Duration(float64(worked)*(1/share-1)), maxRest)
}

// bucket meters bytes. It is pure: the time goes in. It may be overdrawn by
// one message, whatever its size, so that each can pass.
type bucket struct {
	bytes float64
	at    time.Time
}

// take takes bytes out at a rate per second, and returns 0; or it takes
// nothing and returns how long to wait before it is worth another try.
func (b *bucket) take(now time.Time, bytes int, rate float64) time.Duration {
	if passed := now.Sub(b.at); passed > 0 {
		b.bytes = min(b.bytes+passed.Seconds()*rate, burst.Seconds()*rate)
		b.at = now
	}
	if b.bytes < 0 {
		return time.Duration(-b.bytes/rate*float64(time.Second)) + time.Nanosecond
	}
	b.bytes -= float64(bytes)
	return 0
}

// pacer is the pace of all exchanges of a node together.
type pacer struct {
	bytesPerSecond int64
	pressure       func() float64
	// turn is held by the exchange whose bytes are metered next; the others
	// wait in line. It guards bucket.
	turn   chan struct{}
	bucket bucket
}

func newPacer(bytesPerSecond int64, pressure func() float64) *pacer {
	return &pacer{bytesPerSecond: bytesPerSecond, pressure: pressure, turn: make(chan struct{}, 1)}
}

// pageBytes is how large a page is to be: what may be shipped in a second, so
// that turns end in time, and at most as large as asked for.
func (p *pacer) pageBytes(most int) int {
	return max(min(most, int(rateUnder(p.pressure(), p.bytesPerSecond))), MinPageBytes)
}

// pay waits until the rate allows so many bytes more, or for the end of ctx,
// whose error it returns.
func (p *pacer) pay(ctx context.Context, bytes int) error {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.turn }()
	for {
		wait := p.bucket.take(time.Now(), bytes, rateUnder(p.pressure(), p.bytesPerSecond))
		if wait == 0 {
			return ctx.Err()
		}
		if err := sleep(ctx, min(wait, maxWait)); err != nil {
			return err
		}
	}
}

// rest pauses after work that took so long.
func (p *pacer) rest(ctx context.Context, worked time.Duration) error {
	if pause := restAfter(worked, p.pressure()); pause > 0 {
		return sleep(ctx, pause)
	}
	return ctx.Err()
}

// sleep waits, at most until ctx ends; then it returns the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
