package api

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/coordinator"
)

// op is what a request asks for, the "op" label of the metrics.
type op uint8

const (
	opGet op = iota
	opHead
	opPut
	opDelete
	opAdd
	opBatch
	opList
	opAdmin // everything that is not about the keys of a bucket
	ops
)

var opNames = [ops]string{"get", "head", "put", "delete", "add", "batch", "list", "admin"}

// String is the op's label.
func (o op) String() string { return opNames[o] }

// write reports whether the op changes a key.
func (o op) write() bool { return o == opPut || o == opDelete || o == opAdd || o == opBatch }

// The consistency labels: those of the levels, one for requests that gave
// numbers, one for requests that have no consistency or were refused early.
const (
	labelNumbers = int(coordinator.LevelAny) + 1
	labelNone    = int(coordinator.LevelAny) + 2
	labels       = int(coordinator.LevelAny) + 3
)

func labelName(l int) string {
	switch l {
	case labelNumbers:
		return "numbers"
	case labelNone:
		return "none"
	default:
		return coordinator.Level(l).String()
	}
}

// Why something was refused, the "bound" label.
const (
	refusedRequests = iota
	refusedBytes
	refusedConnections
	refusals
)

var refusalNames = [refusals]string{"requests", "bytes", "connections"}

// metrics are the numbers of the HTTP API. The handles of requests are found
// once and kept: looking one up costs more than counting.
type metrics struct {
	requests  *prometheus.CounterVec
	handles   [ops][labels][maxStatus - minStatus]atomic.Pointer[prometheus.Counter]
	durations [ops]histogram
	refused   [refusals]prometheus.Counter
	overdue   prometheus.Counter
	panics    prometheus.Counter
	siblings  prometheus.Histogram
	// batched counts the operations of batches; see countBatched.
	batched *prometheus.CounterVec
}

// histogram is what the handles of a histogram are.
type histogram interface {
	prometheus.Observer
	prometheus.ExemplarObserver
}

// Statuses outside these bounds are counted as 500.
const minStatus, maxStatus = 200, 512

func newMetrics(reg prometheus.Registerer, s *Server) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_http_requests_total", Help: "Requests answered, by operation, consistency asked for and status.",
		}, []string{"op", "consistency", "code"}),
		overdue: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "starling_http_overdue_total", Help: "Key requests answered at their deadline although the node was still working on them.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "starling_http_panics_total", Help: "Requests whose handler panicked.",
		}),
		siblings: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "starling_http_siblings_per_read", Help: "Live siblings that a read found, 0 for an absent key.",
			Buckets:                     []float64{0, 1, 2, 3, 5, 10, 20, 50, 100},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}),
	}
	m.batched = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "starling_http_batch_operations_total", Help: "Operations of batches, by operation and the status that each was given.",
	}, []string{"op", "code"})
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "starling_http_request_duration_seconds", Help: "Time from the header read to the answer written.",
		Buckets:                     []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	}, []string{"op"})
	for o := range ops {
		m.durations[o] = durations.WithLabelValues(o.String()).(histogram)
	}
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "starling_http_refused_total", Help: "Key requests and connections refused because a bound was reached.",
	}, []string{"bound"})
	for i, name := range refusalNames {
		m.refused[i] = refused.WithLabelValues(name)
	}
	gauge := func(name, help string, v *atomic.Int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(v.Load()) })
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.requests, durations, refused, m.overdue, m.panics, m.siblings, m.batched,
		gauge("starling_http_inflight_requests", "Key requests being served.", &s.admission.requests),
		gauge("starling_http_inflight_bytes", "Bytes of values being read, held for a write, or answered.", &s.admission.bytes),
		gauge("starling_http_connections", "Open connections.", &s.connections),
		bound("starling_http_inflight_requests_limit", "Most key requests that are served at once; more are refused.", int64(s.opts.MaxInflight)),
		bound("starling_http_inflight_limit_bytes", "Most bytes of values that the requests being served may hold; more are refused.", s.opts.MaxInflightBytes),
		bound("starling_http_connections_limit", "Most connections that are open at once; more are refused.", int64(s.opts.MaxConnections)),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// bound is a gauge of a bound, for what is bounded to be compared with.
func bound(name, help string, limit int64) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	g.Set(float64(limit))
	return g
}

// observe counts one request that was answered with status. h has the headers of the
// request: its trace, if it bears one, becomes the exemplar of its duration.
func (m *metrics) observe(o op, label, status int, took time.Duration, h http.Header) {
	if status < minStatus || status >= maxStatus {
		status = 500
	}
	handle := &m.handles[o][label][status-minStatus]
	c := handle.Load()
	if c == nil {
		counter := m.requests.WithLabelValues(o.String(), labelName(label), strconv.Itoa(status))
		c = &counter
		handle.Store(c)
	}
	(*c).Inc()
	if id := traceID(h); id != "" {
		m.durations[o].ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": id})
		return
	}
	m.durations[o].Observe(took.Seconds())
}

// traceID is the trace of a W3C traceparent header (version-trace-parent-flags), ""
// where there is none, or what is there is not one.
func traceID(h http.Header) string {
	const versionEnd, traceEnd, length = 2, 35, 55
	given := h["Traceparent"]
	if len(given) != 1 || len(given[0]) != length || given[0][versionEnd] != '-' || given[0][traceEnd] != '-' {
		return ""
	}
	id := given[0][versionEnd+1 : traceEnd]
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return id
}
