package coordinator

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Where the operations of a batch come from.
const (
	batchOwn = iota
	batchForwarded
	numBatchOrigins
)

var batchOriginNames = [numBatchOrigins]string{"client", "forwarded"}

type batchMetrics struct {
	operations [numBatchOrigins]prometheus.Counter
	entries    prometheus.Histogram
}

func newBatchMetrics(reg prometheus.Registerer) (*batchMetrics, error) {
	operations := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_batch_operations_total",
		Help: "Operations that came in batches, from clients or forwarded by other nodes."}, []string{"from"})
	m := &batchMetrics{entries: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "starling_batch_message_entries",
		Help:                        "Requests in one message to another node, of those that operations of batches sent.",
		Buckets:                     prometheus.ExponentialBuckets(1, 2, 9),
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour})}
	for o := range numBatchOrigins {
		m.operations[o] = operations.WithLabelValues(batchOriginNames[o])
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{operations, m.entries} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
