package antientropy

import (
	"context"
	"errors"
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

// restAfter is how long an exchange pauses after work that took so long, so that
// the work keeps to its share of the time.
func restAfter(worked time.Duration, pressure float64) time.Duration {
	return restKeeping(worked, pressure, busyShare, leastShare)
}

// restKeeping is the pause after work that is to keep to a share of the time
// while there are requests of clients, down to the least share at the highest
// pressure. A node without requests does not pause.
func restKeeping(worked time.Duration, pressure, share, least float64) time.Duration {
	if pressure <= 0 {
		return 0
	}
	f := pace.Yielding(pressure)
	share = max(share*f*f, least)
	return min(time.Duration(float64(worked)*(1/share-1)), maxRest)
}

// line meters something in the order of those who ask for it. Its zero value is
// not usable: see newLine.
type line struct {
	turn   chan struct{} // held by the one that is metered next; guards bucket
	bucket pace.Bucket
}

func newLine() line { return line{turn: make(chan struct{}, 1)} }

// take waits until the rate, which is looked at again now and then, allows so
// much more, or for the end of ctx, whose error it returns. At a rate of 0 it is
// errPaceZero.
func (l *line) take(ctx context.Context, amount int64, rate func() float64) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.turn }()
	for {
		r := rate()
		if r <= 0 {
			return errPaceZero
		}
		wait := l.bucket.Take(time.Now(), amount, r)
		if wait == 0 {
			return ctx.Err()
		}
		if err := sleep(ctx, min(wait, maxWait)); err != nil {
			return err
		}
	}
}

// errPaceZero: an administrator lets nothing through for now.
var errPaceZero = errors.New("antientropy: transfers are held")

// pacer is the pace of all exchanges, or transfers, of a node together.
type pacer struct {
	most     func() int64 // bytes per second; 0: held
	pressure func() float64
	line     line
}

func newPacer(most func() int64, pressure func() float64) *pacer {
	return &pacer{most: most, pressure: pressure, line: newLine()}
}

// held says whether nothing is to be shipped for now.
func (p *pacer) held() bool { return p.most() <= 0 }

// pageBytes is how large a page is to be: what may be shipped in a second, so
// that turns end in time, and at most as large as asked for.
func (p *pacer) pageBytes(most int) int {
	return max(min(most, int(p.rate())), MinPageBytes)
}

// pay waits until the rate allows so many bytes more, or for the end of ctx,
// whose error it returns. It is errPaceZero if nothing is to be shipped by then.
func (p *pacer) pay(ctx context.Context, bytes int) error {
	return p.line.take(ctx, int64(bytes), p.rate)
}

func (p *pacer) rate() float64 { return pace.RateUnder(p.pressure(), p.most()) }

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
