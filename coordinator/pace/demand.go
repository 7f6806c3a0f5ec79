package pace

import "time"

const (
	// BusyRate is how many requests a second make a node busy, even when it has
	// answered each by the time that somebody looks.
	BusyRate = 10.0
	// LeastPressure is the pressure of a node that is busy and has nothing to do
	// at this instant.
	LeastPressure = 1.0 / 1024
	// demandWindow is the least time over which a rate is taken.
	demandWindow = 500 * time.Millisecond
)

// Demand turns the pressure of an instant into one that can be gone by. A node
// that answers thousands of requests a second has none under way in many an
// instant, and one that owns copies may have no clients of its own: work in
// the background that went by the instant would take all that is left between
// two requests, and be in the way of the next. The zero Demand has seen none.
type Demand struct {
	count uint64 // of requests, when the window began
	began time.Time
	busy  bool // in the last whole window
}

// Pressure is the pressure of an instant, 0 to 1, but [LeastPressure] at least
// while the requests, which are counted from the start, come at [BusyRate] or
// faster.
func (d *Demand) Pressure(now time.Time, requests uint64, instant float64) float64 {
	if passed := now.Sub(d.began); passed >= demandWindow {
		d.busy = float64(requests-d.count) >= BusyRate*passed.Seconds()
		d.count, d.began = requests, now
	}
	if d.busy {
		return max(instant, LeastPressure)
	}
	return instant
}
