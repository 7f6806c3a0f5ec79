package antientropy

import (
	"context"
	"time"

	"starling/coordinator/pace"
)

const (
	// maxWait is how long bytes are waited for before the pressure is looked
	// at again.
	maxWait = 250 * time.Millisecond
	// busyShare is the share of the time that an exchange may be at work while
	// there are requests of clients, and leastShare that at the highest pressure.
	busyShare, leastShare = 0.125, 0.01
	// maxRest bounds one rest.
	maxRest = time.Second
)

// restAfter is how long to pause after work that took so long, so that the
// work keeps to its share of the time. A node without requests does not pause.
func restAfter(worked time.Duration, pressure float64) time.Duration {
	if pressure <= 0 {
		return 0
	}
	f := pace.Yielding(pressure)
	share := max(busyShare*f*f, leastShare)
	return min(time.Duration(float64(worked)*(1/share-1)), maxRest)
}

// pacer is the pace of all exchanges of a node together.
type pacer struct {
	bytesPerSecond int64
	pressure       func() float64
	// turn is held by the exchange whose bytes are metered next; the others
	// wait in line. It guards bucket.
	turn   chan struct{}
	bucket pace.Bucket
}

func newPacer(bytesPerSecond int64, pressure func() float64) *pacer {
	return &pacer{bytesPerSecond: bytesPerSecond, pressure: pressure, turn: make(chan struct{}, 1)}
}

// pageBytes is how large a page is to be: what may be shipped in a second, so
// that turns end in time, and at most as large as asked for.
func (p *pacer) pageBytes(most int) int {
	return max(min(most, int(pace.RateUnder(p.pressure(), p.bytesPerSecond))), MinPageBytes)
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
		wait := p.bucket.Take(time.Now(), int64(bytes), pace.RateUnder(p.pressure(), p.bytesPerSecond))
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
