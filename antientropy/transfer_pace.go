package antientropy

import (
	"context"
	"math"
	"runtime"
	"time"

	"starling/coordinator/pace"
)

const (
	// fullPressure is the highest pressure that transfers know: there the rate is
	// a tenth of what was set. A cluster may be grown because it is busy, and has
	// to get there.
	fullPressure = 0.8418
	// transferShare is the part of all processors that the streams together may
	// work while there are requests of clients, and leastTransferShare that at the
	// highest pressure.
	transferShare, leastTransferShare = 0.12, 0.024
	// partShare and leastPartShare are the same for comparing old copies.
	partShare, leastPartShare = 0.03, 0.006
	// tollShare is the part of its rate at which an owner sends while it has
	// requests of clients, and leastToll that at the highest pressure.
	tollShare, leastToll = 0.125, 0.1
	// objectToll is what an object counts for besides its bytes, on one processor:
	// to merge a small one is work for indexes and logs, not for the network.
	objectToll = 24 << 10
	// tollPages is how many pages an owner sends in a second, while it has
	// requests, at least: they become as small as that asks for.
	tollPages = 16
	// maxToll bounds the wait for one page, far below the time of a call.
	maxToll = 2 * time.Second
)

// BusyRate estimates how many bytes an owner that has clients sends in a second at
// a pace, where an object has so many bytes on average; see [ServerOptions]. One
// that is filled while it has clients takes about as much.
func BusyRate(bytesPerSecond int64, objectBytes float64) int64 {
	counts := objectBytes + float64(objectToll)/float64(runtime.GOMAXPROCS(0))
	return int64(float64(bytesPerSecond) * tollShare * objectBytes / counts)
}

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

// partRest is the same for one of so many old copies that are compared at once.
func partRest(worked time.Duration, pressure float64, streams int) time.Duration {
	return restKeeping(worked, pressure, streamShare(partShare, streams), streamShare(leastPartShare, streams))
}

// toll is the pace of an owner that sends. What it takes to read a page is the
// least of it: whoever gets the page does several times that work, and may
// share a machine, or the disks, with the owner. So it is bytes and objects that are
// counted, not the owner's own work.
type toll struct {
	most     func() int64 // bytes per second; 0: held
	pressure func() float64
	line     line
}

func newToll(most func() int64, pressure func() float64) *toll {
	return &toll{most: most, pressure: pressure, line: newLine()}
}

// of is what a page of some objects counts for.
func (t *toll) of(bytes, objects int) int {
	return bytes + objects*objectToll/runtime.GOMAXPROCS(0)
}

// limit is what a page may count for. An owner without requests has no limit;
// one that is held gives an object at a time.
func (t *toll) limit() int {
	if t.most() > 0 && t.pressure() <= 0 {
		return math.MaxInt
	}
	return int(t.rate() / tollPages)
}

// pay waits until the rate allows what a page counts for, at most [maxToll].
// An owner without requests does not wait, one that is held waits as long as
// it may. Its error is that of ctx.
func (t *toll) pay(ctx context.Context, amount int) error {
	if t.most() <= 0 {
		return sleep(ctx, maxToll)
	}
	if t.pressure() <= 0 {
		return ctx.Err()
	}
	bounded, cancel := context.WithTimeout(ctx, maxToll)
	defer cancel()
	_ = t.line.take(bounded, int64(amount), t.rate) // it may be as long as it is
	return ctx.Err()
}

func (t *toll) rate() float64 {
	f := pace.Yielding(t.pressure())
	return float64(t.most()) * max(tollShare*f*f, leastToll)
}
