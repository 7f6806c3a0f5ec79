package load

import (
	"slices"
	"time"
)

// Request is one request of a client.
type Request struct {
	// Start is when it began, since the trace's epoch; Took is the time to
	// the end of the answer, or until the client gave up.
	Start, Took time.Duration
	// Status is the HTTP status; 0: no answer came.
	Status uint16
	// Endpoint is the index of the endpoint that was asked last.
	Endpoint uint8
	// Put tells a put from a get.
	Put bool
	// Failed: it was not answered, or otherwise than it should be.
	Failed bool
	// Moved: an endpoint refused the connection, and the next one was asked.
	Moved bool
	// Stale: a get that lacked what was acknowledged before it began.
	Stale bool
}

// Trace has requests in no order.
type Trace struct {
	Epoch    time.Time
	Requests []Request
}

// Window is a part of a trace: what began at From or later and before Till.
type Window struct {
	Name       string
	From, Till time.Time
	// Answered leaves out what was not answered by Till: the window ends with
	// a fault that what is under way then belongs to.
	Answered bool
	// Only, if not nil, chooses among the requests.
	Only func(Request) bool
}

// Summary is what happened in a window.
type Summary struct {
	Requests, Failed, Stale int
	PerSecond               float64
	// P50, P99 and Max are of the latency of all its requests, those that
	// failed included; 0 where there are none.
	P50, P99, Max time.Duration
}

// SuccessPercent is the part of the requests that did not fail.
func (s Summary) SuccessPercent() float64 {
	if s.Requests == 0 {
		return 0
	}
	return 100 * float64(s.Requests-s.Failed) / float64(s.Requests)
}

// In are the requests of a window.
func (t Trace) In(w Window) []Request {
	from, till := w.From.Sub(t.Epoch), w.Till.Sub(t.Epoch)
	var in []Request
	for _, r := range t.Requests {
		if r.Start >= from && r.Start < till && (!w.Answered || r.Start+r.Took <= till) && (w.Only == nil || w.Only(r)) {
			in = append(in, r)
		}
	}
	return in
}

// Summarize measures a window.
func (t Trace) Summarize(w Window) Summary {
	in := t.In(w)
	s := Summary{Requests: len(in), PerSecond: perSecond(int64(len(in)), w.Till.Sub(w.From))}
	took := make([]time.Duration, len(in))
	for i, r := range in {
		took[i] = r.Took
		if r.Failed {
			s.Failed++
		}
		if r.Stale {
			s.Stale++
		}
	}
	slices.Sort(took)
	s.P50, s.P99, s.Max = quantile(took, 0.50), quantile(took, 0.99), quantile(took, 1)
	return s
}

// quantile of ascending values: the lowest that at least the part q of them
// does not exceed; 0 if there are none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(q * float64(len(sorted)))
	if float64(rank) < q*float64(len(sorted)) {
		rank++
	}
	return sorted[max(rank, 1)-1]
}
