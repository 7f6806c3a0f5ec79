package antientropy

import (
	"context"
	"runtime"
	"time"

	"starling/coordinator/pace"
)

const (
	// fullPressure is the highest pressure that transfers know: there the rate is
	// a tenth of what was set. A cluster may be grown because it is busy, and has
	// to get there.
	fullPressure = 0.8418
	// sendShare is the part of an owner's processors that all that it sends may
	// take while it has requests of clients. To take a page in is three to
	// four times the work, which may be done by the same machine.
	sendShare = 0.02
	// transferShare is the part of all processors that the streams together may
	// work while there are requests of clients, and leastTransferShare that at the
	// highest pressure.
	transferShare, leastTransferShare = 0.06, 0.012
)

// transferPressure is the pressure as transfers see it; nil is always idle.
func transferPressure(pressure func() float64) func() float64 {
	if pressure == nil {
		return func() float64 { return 0 }
	}
	return func() float64 { return min(pressure(), fullPressure) }
}

// streamShare is the part of the time that one of so many streams may be at
// work, where all of them have a part of the processors.
func streamShare(part float64, streams int) float64 {
	return min(part*float64(runtime.GOMAXPROCS(0))/float64(streams), 1)
}

// transferRest is how long one of so many streams pauses after work that took so
// long. A node without requests does not pause.
func transferRest(worked time.Duration, pressure float64, streams int) time.Duration {
	return restKeeping(worked, pressure, streamShare(transferShare, streams), streamShare(leastTransferShare, streams))
}

// labor keeps the work of concurrent requests within a part of the processors.
type labor struct {
	part     float64
	pressure func() float64
	line     line // of microseconds
}

func newLabor(part float64, pressure func() float64) *labor {
	return &labor{part: part, pressure: pressure, line: newLine()}
}

// rest waits for as long as the others need after work that took so long, at
// most [maxRest]. A node without requests does not wait. Its error is that of
// ctx.
func (l *labor) rest(ctx context.Context, worked time.Duration) error {
	if l.pressure() <= 0 {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, maxRest)
	defer cancel()
	_ = l.line.take(bounded, worked.Microseconds(), l.rate) // it may be as long as it is
	return ctx.Err()
}

// rate is in microseconds of work a second.
func (l *labor) rate() float64 {
	f := pace.Yielding(l.pressure())
	return l.part * max(f*f, leastTransferShare/transferShare) * float64(runtime.GOMAXPROCS(0)) * float64(time.Second/time.Microsecond)
}
