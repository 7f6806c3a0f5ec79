package hint

import "time"

// MinBytesPerSecond is the rate at the highest pressure: a trickle, so that
// hints come to an end on a node that is always busy.
const MinBytesPerSecond = 64 << 10

// easyPressure is the pressure up to which requests of clients do not slow
// hints down.
const easyPressure = 0.5

// yielding is the share of its pace that the drainer keeps under a pressure:
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

// widthUnder is how many deliveries may be under way to a target under a
// pressure.
func widthUnder(pressure float64, most int) int {
	return max(int(float64(most)*yielding(pressure)), 1)
}

// burst is how much of the rate may be saved up while nothing is sent.
const burst = 100 * time.Millisecond

// bucket meters bytes. It is pure: the time goes in. It may be overdrawn by
// one hint, whatever its size, so that each can pass.
type bucket struct {
	bytes float64
	at    time.Time
}

// take takes bytes out at a rate per second, and returns 0; or it takes
// nothing and returns how long to wait before it is worth another try.
func (b *bucket) take(now time.Time, bytes int64, rate float64) time.Duration {
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
