package hint

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"starling/ring"
)

// The results of deliveries.
const (
	delivered = iota
	changed   // delivered, but the hint had changed and is still here
	busy
	failed
	moved // another member keeps it now
	numResults
)

var resultNames = [numResults]string{"delivered", "changed", "busy", "failed", "moved"}

// metrics are the drainer's own counters, and a collector of what the store
// knows.
type metrics struct {
	deliveries *prometheus.CounterVec
	bytes      prometheus.Counter
	damaged    prometheus.Counter

	peerName func(ring.NodeID) string
	peers    sync.Map // ring.NodeID → *[numResults]prometheus.Counter: bounded by the members
}

func newMetrics(d *Drainer) (*metrics, error) {
	m := &metrics{
		peerName: d.opts.PeerName,
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_hint_deliveries_total",
			Help: "Deliveries of hints, by peer and result."}, []string{"peer", "result"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_hint_delivered_bytes_total",
			Help: "Bytes of the hints that were delivered."}),
		damaged: prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_hints_damaged_total",
			Help: "Places with hints that cannot be read."}),
	}
	if d.opts.Metrics == nil {
		return m, nil
	}
	rate := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "starling_hint_rate_bytes_per_second",
		Help: "Rate that deliveries of hints may have now, lower while requests of clients keep the node busy."}, d.rate)
	for _, c := range []prometheus.Collector{m.deliveries, m.bytes, m.damaged, rate, pending{d}} {
		if err := d.opts.Metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// of gives the counters of a peer by result.
func (m *metrics) of(id ring.NodeID) *[numResults]prometheus.Counter {
	if c, ok := m.peers.Load(id); ok {
		return c.(*[numResults]prometheus.Counter)
	}
	var c [numResults]prometheus.Counter
	for r := range c {
		c[r] = m.deliveries.WithLabelValues(m.peerName(id), resultNames[r])
	}
	actual, _ := m.peers.LoadOrStore(id, &c)
	return actual.(*[numResults]prometheus.Counter)
}

var (
	pendingHints = prometheus.NewDesc("starling_hints_pending", "Hints kept, by the peer that they are for.", []string{"peer"}, nil)
	pendingBytes = prometheus.NewDesc("starling_hints_pending_bytes", "Bytes of the hints kept, by the peer that they are for.", []string{"peer"}, nil)
)

// pending collects, at a scrape, what the store says there is to deliver.
type pending struct{ d *Drainer }

// Describe implements prometheus.Collector.
func (p pending) Describe(ch chan<- *prometheus.Desc) { ch <- pendingHints; ch <- pendingBytes }

// Collect implements prometheus.Collector.
func (p pending) Collect(ch chan<- prometheus.Metric) {
	// By name: a removed member may have had the name of one that is there.
	type sum struct{ hints, bytes int64 }
	sums := make(map[string]sum)
	for _, t := range p.d.Targets() {
		name := p.d.opts.PeerName(t.Node)
		s := sums[name]
		sums[name] = sum{s.hints + t.Hints, s.bytes + t.Bytes}
	}
	for name, s := range sums {
		ch <- prometheus.MustNewConstMetric(pendingHints, prometheus.GaugeValue, float64(s.hints), name)
		ch <- prometheus.MustNewConstMetric(pendingBytes, prometheus.GaugeValue, float64(s.bytes), name)
	}
}
