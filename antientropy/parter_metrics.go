package antientropy

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// waiting is why an old copy is still here.
type waiting uint8

// The reasons.
const (
	waitMoving      waiting = iota // the partition has pending or displaced nodes
	waitPlacement                  // an owner goes by another placement, or this node by a new one
	waitUnreachable                // an owner does not answer
	waitHeld                       // transfers are held
	waitFailed                     // it cannot be read or dropped, or an owner does not keep what it is given
	numWaiting
)

var waitingNames = [numWaiting]string{"moving", "placement", "unreachable", "held", "failed"}

// partMetrics are handles, so that nothing is looked up per copy.
type partMetrics struct {
	kept    [numWaiting]prometheus.Gauge
	due     prometheus.Gauge
	dropped prometheus.Counter
	pushed  shippedMetrics
}

func newPartMetrics(reg prometheus.Registerer) (*partMetrics, error) {
	kept := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "starling_old_copies_waiting",
		Help: "Old copies that could not be dropped at the last try, by what they wait for: moving (the partition still does), placement (nodes go by different rings), unreachable (an owner is), held (transfers are), failed."},
		[]string{"waits_for"})
	pushed := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_old_copies_pushed_total",
		Help: "What this node gave to owners before it dropped its old copies, in objects and in bytes."}, []string{"unit"})
	m := &partMetrics{
		pushed: shippedMetrics{pushed.WithLabelValues("objects"), pushed.WithLabelValues("bytes")},
		due: prometheus.NewGauge(prometheus.GaugeOpts{Name: "starling_old_copies",
			Help: "Partitions that this node holds a copy of and is not to keep, without those that it has handed over to leave."}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_old_copies_dropped_total",
			Help: "Copies of partitions that this node dropped, after every owner had all that was in them."}),
	}
	for w := range m.kept {
		m.kept[w] = kept.WithLabelValues(waitingNames[w])
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(kept), reg.Register(m.due), reg.Register(pushed), reg.Register(m.dropped))
}
