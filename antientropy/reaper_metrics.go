package antientropy

import (
	"github.com/prometheus/client_golang/prometheus"

	"starling/antientropy/purge"
)

// reapMetrics are handles, so that nothing is looked up per round.
type reapMetrics struct {
	idle, purged, blocked, waiting prometheus.Counter
	deletedKeys, prunedKeys        prometheus.Counter
	fences                         prometheus.Counter
}

func newReapMetrics(r *Reaper) (*reapMetrics, error) {
	rounds := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_purge_rounds_total",
		Help: "Purge rounds that this node led, by result: idle, purged (something), blocked (by a node), waiting (for owners to agree, or for actors to retire)."},
		[]string{"result"})
	keys := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_purge_keys_total",
		Help: "Keys that all owners deleted, or pruned the vector of, in rounds that this node led."}, []string{"done"})
	m := &reapMetrics{
		idle: rounds.WithLabelValues("idle"), purged: rounds.WithLabelValues("purged"),
		blocked: rounds.WithLabelValues("blocked"), waiting: rounds.WithLabelValues("waiting"),
		deletedKeys: keys.WithLabelValues("deleted"), prunedKeys: keys.WithLabelValues("pruned"),
		fences: prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_purge_fences_total",
			Help: "Purge rounds that this node led and that raised the fence."}),
	}
	if r.opts.Metrics == nil {
		return m, nil
	}
	blockers := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "starling_purge_blockers",
		Help: "Nodes that keep something from being purged, as the node that leads knows them."},
		func() float64 { return float64(len(r.Blockers())) })
	for _, c := range []prometheus.Collector{rounds, keys, m.fences, blockers} {
		if err := r.opts.Metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *reapMetrics) count(res purge.Result) {
	switch {
	case res.Purged+res.Pruned > 0:
		m.purged.Inc()
	case len(res.Blockers) > 0:
		m.blocked.Inc()
	case res.Candidates > 0:
		m.waiting.Inc()
	default:
		m.idle.Inc()
	}
	m.deletedKeys.Add(float64(res.Purged))
	m.prunedKeys.Add(float64(res.Pruned))
	if res.Fenced {
		m.fences.Inc()
	}
}
