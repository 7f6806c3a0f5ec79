package gossip

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"starling/gossip/state"
)

// metrics are the counters of one Gossip; it also collects the gauges, from the map and the live peers of the moment.
type metrics struct {
	g *Gossip

	changes, dropped                                            prometheus.Counter
	exchanges                                                   *prometheus.CounterVec
	exchangeNews, exchangeSame, exchangeFailed, exchangeRefused prometheus.Counter
	rejoins                                                     *prometheus.CounterVec
	rejoinDone, rejoinFailed                                    prometheus.Counter
	liveness                                                    *prometheus.CounterVec
	cameAlive, wentDown                                         prometheus.Counter
}

var (
	membersDesc = prometheus.NewDesc("starling_members",
		"Members in the cluster map, by state and by whether this node believes them alive.",
		[]string{"state", "alive"}, nil)
	mapHashDesc = prometheus.NewDesc("starling_cluster_map_hash",
		"The upper 53 bits of the cluster map's hash, a number that nodes with the same map share.", nil, nil)
	healthDesc = prometheus.NewDesc("starling_gossip_health_score",
		"How late this node is with its part of failure detection: 0 in time, more the slower it is, as for want of CPU.", nil, nil)
)

func newMetrics(g *Gossip) *metrics {
	m := &metrics{
		g: g,
		changes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "starling_cluster_map_changes_total",
			Help: "Changes of this node's cluster map, made here or merged.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "starling_gossip_dropped_events_total",
			Help: "Events of the failure detector that were ignored: a node without identity, or one too many.",
		}),
		exchanges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_map_exchanges_total",
			Help: "Exchanges of cluster maps that this node began, by result: news, same, failed, refused.",
		}, []string{"result"}),
		rejoins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_rejoin_attempts_total",
			Help: "Attempts to reach members that are not alive, by result: reached, failed.",
		}, []string{"result"}),
	}
	m.liveness = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "starling_liveness_changes_total",
		Help: "Times that this node found another one alive, a new start of it included, or down.",
	}, []string{"to"})
	m.cameAlive = m.liveness.WithLabelValues("alive")
	m.wentDown = m.liveness.WithLabelValues("down")
	m.exchangeNews = m.exchanges.WithLabelValues("news")
	m.exchangeSame = m.exchanges.WithLabelValues("same")
	m.exchangeFailed = m.exchanges.WithLabelValues("failed")
	m.exchangeRefused = m.exchanges.WithLabelValues("refused")
	m.rejoinDone = m.rejoins.WithLabelValues("reached")
	m.rejoinFailed = m.rejoins.WithLabelValues("failed")
	return m
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	return r.Register(m)
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- membersDesc
	ch <- mapHashDesc
	ch <- healthDesc
	for _, c := range m.counters() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.counters() {
		c.Collect(ch)
	}
	// A float64 holds 53 bits exactly.
	ch <- prometheus.MustNewConstMetric(mapHashDesc, prometheus.GaugeValue, float64(m.g.MapHash()>>11))
	if ml := m.g.list.Load(); ml != nil {
		ch <- prometheus.MustNewConstMetric(healthDesc, prometheus.GaugeValue, float64(ml.GetHealthScore()))
	}
	type group struct {
		state state.Lifecycle
		alive bool
	}
	count := map[group]int{}
	for _, r := range m.g.Map().Members {
		count[group{r.State, m.g.Alive(r.ID)}]++
	}
	for s := state.Joining; s <= state.Removed; s++ {
		for _, alive := range []bool{false, true} {
			ch <- prometheus.MustNewConstMetric(membersDesc, prometheus.GaugeValue,
				float64(count[group{s, alive}]), s.String(), strconv.FormatBool(alive))
		}
	}
}

func (m *metrics) counters() []prometheus.Collector {
	return []prometheus.Collector{m.changes, m.dropped, m.exchanges, m.rejoins, m.liveness}
}
