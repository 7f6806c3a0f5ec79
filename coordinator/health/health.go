package health

import "time"

// State is the state of a peer's breaker.
type State uint8

// The states. Closed lets requests through, HalfOpen one at a time, Open none.
const (
	Closed State = iota
	HalfOpen
	Open
)

// String is the state's name in answers and metrics.
func (s State) String() string { return [...]string{"closed", "half_open", "open"}[s] }

// Class is the kind of a call. Latencies are kept apart by it, because a
// write waits for a disk where a read does not, and a listing goes through many
// keys.
type Class uint8

// The classes.
const (
	Read Class = iota
	Write
	List
	numClasses
)

// Outcome is how a call ended.
type Outcome uint8

// The outcomes.
const (
	// OK: the peer answered, be it with a refusal such as a stale ring.
	OK Outcome = iota
	// Busy: the peer answered that it is overloaded.
	Busy
	// Unreachable: there was no connection and nothing was sent.
	Unreachable
	// Lost: the connection ended with the call under way.
	Lost
	// Expired: the caller's own deadline or cancellation ended the wait. The
	// answer would have taken at least that long.
	Expired
)

// Config holds the thresholds of a [Peer]. A field that is not positive has
// its default.
type Config struct {
	// Fresh is how long an answer outweighs the failure detector; default 2 s.
	Fresh time.Duration
	// FirstProbe is the pause between the opening of a breaker and its first
	// probe, default 50 ms; it doubles to at most MaxBackoff, default 1 s.
	FirstProbe, MaxBackoff time.Duration
	// Steady is how long a breaker must have been closed for its next opening
	// to start with FirstProbe again; default 5 s.
	Steady time.Duration
	// ExpiredTrials is how many trials of a half-open breaker that expire one
	// after the other open it; default 3. A trial that was given up before it
	// had Patience, default 100 ms, says nothing and is not counted: the quorum
	// may just have been complete without it.
	ExpiredTrials int
	Patience      time.Duration
	// Weight is the share of a new sample in the estimate of latency, over 0
	// and at most 1; default 0.2.
	Weight float64
	// Stale is the silence after which an estimate starts to fall, halving
	// every Halving; defaults 2 s and 1 s.
	Stale, Halving time.Duration
	// BusyPenalty is what one Busy answer adds to the cost, counted in calls
	// under way; default 4. The sum is at most MaxBusy, default 64, and halves
	// every BusyHalving, default 1 s.
	BusyPenalty, MaxBusy float64
	BusyHalving          time.Duration
	// SampleHalving is the age at which a sample of the percentiles counts
	// half; default 10 s. With fewer than MinSamples, default 5, so counted,
	// there is no percentile.
	SampleHalving time.Duration
	MinSamples    float64
}

func (c Config) withDefaults() Config {
	setDefault(&c.Fresh, 2*time.Second)
	setDefault(&c.FirstProbe, 50*time.Millisecond)
	setDefault(&c.MaxBackoff, time.Second)
	setDefault(&c.Steady, 5*time.Second)
	setDefault(&c.ExpiredTrials, 3)
	setDefault(&c.Patience, 100*time.Millisecond)
	setDefault(&c.Weight, 0.2)
	setDefault(&c.Stale, 2*time.Second)
	setDefault(&c.Halving, time.Second)
	setDefault(&c.BusyPenalty, 4)
	setDefault(&c.MaxBusy, 64)
	setDefault(&c.BusyHalving, time.Second)
	setDefault(&c.SampleHalving, 10*time.Second)
	setDefault(&c.MinSamples, 5)
	c.Weight = min(c.Weight, 1)
	c.MaxBackoff = max(c.MaxBackoff, c.FirstProbe)
	return c
}

func setDefault[T int | float64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
