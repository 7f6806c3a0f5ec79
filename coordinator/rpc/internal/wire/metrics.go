package wire

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what all connections of a node do. Handles are resolved once.
type Metrics struct {
	framesIn, framesOut prometheus.Counter
	bytesIn, bytesOut   prometheus.Counter
	perWrite            prometheus.Histogram
	dialFailures        prometheus.Counter
	refusedClient       prometheus.Counter
	refusedServer       prometheus.Counter

	connsClient, connsServer     atomic.Int64
	pendingClient, runningServer atomic.Int64
}

// NewMetrics registers the collectors; reg may be nil.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{}
	frames := counterVec("frames_total", "Frames on connections between nodes.", "direction")
	bytes := counterVec("bytes_total", "Bytes on connections between nodes.", "direction")
	refused := counterVec("refused_total", "Requests refused because a bounded queue or table was full.", "side")
	m.framesIn, m.framesOut = frames.WithLabelValues("in"), frames.WithLabelValues("out")
	m.bytesIn, m.bytesOut = bytes.WithLabelValues("in"), bytes.WithLabelValues("out")
	m.refusedClient, m.refusedServer = refused.WithLabelValues("client"), refused.WithLabelValues("server")
	m.perWrite = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "starling", Subsystem: "rpc", Name: "frames_per_write",
		Help:                        "Frames that one flush wrote together.",
		Buckets:                     []float64{1, 2, 4, 8, 16, 32, 64, 128},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	})
	m.dialFailures = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "starling", Subsystem: "rpc", Name: "dial_failures_total",
		Help: "Connections to another node that could not be opened.",
	})
	if reg == nil {
		return m, nil
	}
	collectors := []prometheus.Collector{
		frames, bytes, refused, m.perWrite, m.dialFailures,
		gauge("connections", "Open connections to other nodes.", "client", &m.connsClient),
		gauge("connections", "Open connections to other nodes.", "server", &m.connsServer),
		gauge("in_flight_requests", "Requests waiting for a reply (client) or running (server).", "client", &m.pendingClient),
		gauge("in_flight_requests", "Requests waiting for a reply (client) or running (server).", "server", &m.runningServer),
	}
	var err error
	for _, c := range collectors {
		err = errors.Join(err, reg.Register(c))
	}
	return m, err
}

func counterVec(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "starling", Subsystem: "rpc", Name: name, Help: help,
	}, []string{label})
}

func gauge(name, help, side string, v *atomic.Int64) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "starling", Subsystem: "rpc", Name: name, Help: help,
		ConstLabels: prometheus.Labels{"side": side},
	}, func() float64 { return float64(v.Load()) })
}

// wrote counts one flush of a batch.
func (m *Metrics) wrote(frames, bytes, writes int) {
	if frames == 0 {
		return
	}
	m.framesOut.Add(float64(frames))
	m.bytesOut.Add(float64(bytes))
	m.perWrite.Observe(float64(frames) / float64(max(writes, 1)))
}

func (m *Metrics) readBytes(n int) { m.bytesIn.Add(float64(n)) }
