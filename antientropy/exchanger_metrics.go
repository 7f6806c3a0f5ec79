package antientropy

import "github.com/prometheus/client_golang/prometheus"

// exchangeMetrics are handles, so that nothing is looked up per exchange.
type exchangeMetrics struct {
	exchanges     [numOutcomes]prometheus.Counter
	fetched       shippedMetrics
	pushed        shippedMetrics
	redundantPush prometheus.Counter
}

type shippedMetrics struct{ keys, bytes prometheus.Counter }

func newExchangeMetrics(x *Exchanger) (*exchangeMetrics, error) {
	exchanges := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_antientropy_exchanges_total",
		Help: "Comparisons of a partition with another owner that this node began, by how they ended."}, []string{"result"})
	keys := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_antientropy_shipped_keys_total",
		Help: "Objects that this node fetched from other owners and pushed to them because replicas differed."}, []string{"direction"})
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_antientropy_shipped_bytes_total",
		Help: "Bytes of the objects that were fetched and pushed."}, []string{"direction"})
	m := &exchangeMetrics{
		fetched: shippedMetrics{keys.WithLabelValues("fetched"), bytes.WithLabelValues("fetched")},
		pushed:  shippedMetrics{keys.WithLabelValues("pushed"), bytes.WithLabelValues("pushed")},
		redundantPush: prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_antientropy_redundant_pushes_total",
			Help: "Objects that were pushed to owners that had them by then."}),
	}
	for o := range m.exchanges {
		m.exchanges[o] = exchanges.WithLabelValues(outcomeNames[o])
	}
	if x.opts.Metrics == nil {
		return m, nil
	}
	oldest := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "starling_antientropy_oldest_proof_seconds",
		Help: "Time since the equality of a pair of owners was last proven, of the pair for which it is the longest."}, func() float64 {
		age, _ := x.oldest()
		return age.Seconds()
	})
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "starling_antientropy_open_pairs",
		Help: "Pairs of this node and another owner of a partition that are not known to be equal."}, func() float64 {
		_, n := x.oldest()
		return float64(n)
	})
	pairs := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "starling_antientropy_pairs",
		Help: "Pairs of this node and another owner of a partition, which anti-entropy compares."}, func() float64 {
		return float64(x.compared())
	})
	for _, c := range []prometheus.Collector{exchanges, keys, bytes, m.redundantPush, oldest, open, pairs} {
		if err := x.opts.Metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *shippedMetrics) add(keys, bytes int) {
	m.keys.Add(float64(keys))
	m.bytes.Add(float64(bytes))
}
