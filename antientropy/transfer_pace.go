package antientropy

import (
	"time"

	"starling/coordinator/pace"
)

const (
	// fullPressure is the highest pressure that transfers know: there the rate is
	// a tenth of what was set. A cluster may be grown because it is busy, and has
	// to get there.
	fullPressure = 0.8418
	// transferShare is the share of the time that one stream may be at work while
	// there are requests of clients, and leastTransferShare that at the highest
	// pressure.
	transferShare, leastTransferShare = 0.25, 0.05
)

// transferPressure is the pressure as transfers see it; nil is always idle.
func transferPressure(pressure func() float64) func() float64 {
	if pressure == nil {
		return func() float64 { return 0 }
	}
	return func() float64 { return min(pressure(), fullPressure) }
}

// transferRest is how long a stream pauses after work that took so long. A node
// without requests does not pause.
func transferRest(worked time.Duration, pressure float64) time.Duration {
	if pressure <= 0 {
		return 0
	}
	f := pace.Yielding(pressure)
	share := max(transferShare*f*f, leastTransferShare)
	return min(time.Duration(float64(worked)*(1/share-1)), maxRest)
}
