// Package pace is how fast the work in the background of a node may go: hints
// and exchanges have a rate of bytes of their own and give way to the requests
// of clients. It is a pure core: pressure, bytes and the time go in.
//
// # Invariants
//
//  1. A rate under pressure is at most the one that was set, and never below
//     [MinBytesPerSecond] or that one, whichever is less: what is paced comes to
//     an end on a node that is always busy, too.
//  2. Within any time T a [Bucket] lets through at most rate × (T + [Burst])
//     bytes and one message.
//
// A Bucket and a Demand are for one goroutine at a time.
package pace

import "time"

// MinBytesPerSecond is the rate at the highest pressure: a trickle.
const MinBytesPerSecond = 64 << 10

// EasyPressure is the pressure up to which requests of clients do not lower a
// rate.
const EasyPressure = 0.5

// Burst is how much of a rate may be saved up while nothing is sent.
const Burst = 100 * time.Millisecond

// Yielding is the share of its pace that work in the background keeps under a
// pressure from 0, idle, to 1, as busy as may be: 1 up to [EasyPressure], from
// there falling to 0.
func Yielding(pressure float64) float64 {
	return min(max((1-pressure)/(1-EasyPressure), 0), 1)
}

// RateUnder is the rate under a pressure, bytes per second. It falls with the
// square: requests begin to suffer long before a node is as busy as it may be.
func RateUnder(pressure float64, most int64) float64 {
	f := Yielding(pressure)
	return max(float64(most)*f*f, float64(min(most, MinBytesPerSecond)))
}

// Bucket meters bytes. It may be overdrawn by one message, whatever its size,
// so that each can pass. The zero Bucket is full once time has passed.
type Bucket struct {
	bytes float64
	at    time.Time
}

// Take takes bytes out at a rate per second, and returns 0; or it takes nothing
// and returns how long to wait before it is worth another try.
func (b *Bucket) Take(now time.Time, bytes int64, rate float64) time.Duration {
	if passed := now.Sub(b.at); passed > 0 {
		b.bytes = min(b.bytes+passed.Seconds()*rate, Burst.Seconds()*rate)
		b.at = now
	}
	if b.bytes < 0 {
		return time.Duration(-b.bytes/rate*float64(time.Second)) + time.Nanosecond
	}
	b.bytes -= float64(bytes)
	return 0
}
