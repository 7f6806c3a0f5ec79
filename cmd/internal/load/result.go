package load

import (
	"strconv"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what a run measured. Its JSON is part of the command line's
// output.
type Result struct {
	Target          string  `json:"target"`
	Workload        string  `json:"workload"`
	Connections     int     `json:"connections"`
	Records         int     `json:"records"`
	ValueBytes      int     `json:"value_bytes"`
	DurationSeconds float64 `json:"duration_seconds"`
	// Ops were answered as they should be; Errors are all others.
	Ops          int64   `json:"ops"`
	OpsPerSecond float64 `json:"ops_per_second"`
	Errors       int64   `json:"errors"`
	// Operations is by the name of the operation.
	Operations map[string]OpResult `json:"operations"`
	// FirstError is the text of a failure of the transport, if there was one.
	FirstError string `json:"first_error,omitempty"`
}

// OpResult is what was measured of one kind of operation.
type OpResult struct {
	Ops          int64   `json:"ops"`
	OpsPerSecond float64 `json:"ops_per_second"`
	Errors       int64   `json:"errors"`
	// Statuses counts answers by HTTP status; "transport" are those that
	// never came. A read-modify-write counts by its last answer.
	Statuses map[string]int64 `json:"statuses"`
	// Latency is of all that was answered.
	Latency Latency `json:"latency_us"`
}

// Latency is a distribution in microseconds, with three significant digits.
type Latency struct {
	Mean float64 `json:"mean"`
	P50  int64   `json:"p50"`
	P90  int64   `json:"p90"`
	P99  int64   `json:"p99"`
	P999 int64   `json:"p999"`
	Max  int64   `json:"max"`
}

// longestLatency is what the histograms can hold; longer ones count as it.
const longestLatency = 2 * time.Minute

// maxStatus bounds the statuses that are told apart.
const maxStatus = 600

// tally is what one connection saw of one operation.
type tally struct {
	hist      *hdrhistogram.Histogram
	statuses  [maxStatus]int64
	transport int64
}

func newTally() *tally {
	return &tally{hist: hdrhistogram.New(1, longestLatency.Microseconds(), 3)}
}

// good tells an answer that did what was asked: siblings (300) are an answer
// to a read, and an echo server's 200 to a put.
func good(status int) bool { return status >= 200 && status <= 300 }

func (t *tally) add(r reply, err error, took time.Duration) {
	if err != nil {
		t.transport++
		return
	}
	t.statuses[min(max(r.status, 0), maxStatus-1)]++
	_ = t.hist.RecordValue(min(max(took, time.Microsecond), longestLatency).Microseconds()) // within its bounds
}

func (t *tally) merge(o *tally) {
	t.hist.Merge(o.hist)
	t.transport += o.transport
	for i, n := range o.statuses {
		t.statuses[i] += n
	}
}

func (t *tally) result(elapsed time.Duration) OpResult {
	r := OpResult{Errors: t.transport, Statuses: make(map[string]int64)}
	for status, n := range t.statuses {
		switch {
		case n == 0:
			continue
		case good(status):
			r.Ops += n
		default:
			r.Errors += n
		}
		r.Statuses[strconv.Itoa(status)] = n
	}
	if t.transport > 0 {
		r.Statuses["transport"] = t.transport
	}
	r.OpsPerSecond = perSecond(r.Ops, elapsed)
	if t.hist.TotalCount() > 0 {
		r.Latency = Latency{
			Mean: t.hist.Mean(),
			P50:  t.hist.ValueAtQuantile(50), P90: t.hist.ValueAtQuantile(90),
			P99: t.hist.ValueAtQuantile(99), P999: t.hist.ValueAtQuantile(99.9),
			Max: t.hist.Max(),
		}
	}
	return r
}

func perSecond(n int64, elapsed time.Duration) float64 {
	if elapsed <= 0 {
		return 0
	}
	return float64(n) / elapsed.Seconds()
}
