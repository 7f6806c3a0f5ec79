package node

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"starling/gossip/state"
	"starling/ring"
)

// newRegistry has the process's own metrics.
func newRegistry(version string) (*prometheus.Registry, error) {
	reg := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "starling_build_info",
		Help:        "Always 1; the labels say which release runs, of which commit, built with which Go.",
		ConstLabels: prometheus.Labels{"version": version, "revision": cmp.Or(revision(), "unknown"), "goversion": runtime.Version()}})
	build.Set(1)
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsScheduler, collectors.MetricsGC)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return reg, nil
}

// revision is the commit that the program was built from, empty where the build
// does not say.
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}

// How the owners of a partition are, by this node's view of who is alive.
const (
	ownersAlive  = iota // all of them, and as many as there are to be
	ownersDown          // some are down or missing, a majority is there
	ownersMissed        // no majority
	numOwners
)

var ownersNames = [numOwners]string{"all_alive", "some_down", "no_quorum"}

var (
	infoDesc = prometheus.NewDesc("starling_node_info",
		"Always 1; the labels say who this node is.", []string{"name", "id", "zone"}, nil)
	readyDesc = prometheus.NewDesc("starling_node_ready",
		"1 while the node has joined and is not stopping, as /readyz says.", nil, nil)
	stateDesc = prometheus.NewDesc("starling_node_state",
		"1 for the state that this node has in its cluster map, 0 for the others.", []string{"state"}, nil)
	clockDesc = prometheus.NewDesc("starling_clock_seconds",
		"This node's wall clock, by which it stamps writes and expires values, since 1970.", nil, nil)
	partitionsDesc = prometheus.NewDesc("starling_ring_partitions",
		"Partitions of the whole ring as this node sees them, by their owners: all_alive, some_down (or missing), no_quorum (no majority is alive).",
		[]string{"owners"}, nil)
	movingDesc = prometheus.NewDesc("starling_ring_moving_partitions",
		"Partitions of the whole ring that are being filled somewhere or that an owner has yet to let go.", nil, nil)
	ownedDesc = prometheus.NewDesc("starling_owned_partitions",
		"Partitions of which this node is an owner, with complete data.", nil, nil)
)

// collector gives what only the whole node knows. Before the node has found its
// cluster there is no ring.
type collector struct{ n *Node }

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{infoDesc, readyDesc, stateDesc, clockDesc, partitionsDesc, movingDesc, ownedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	n := c.n
	gauge(infoDesc, 1, n.cfg.Name, n.id.String(), n.cfg.Zone)
	gauge(readyDesc, truth(n.Ready() == nil))
	gauge(clockDesc, float64(clock(n.cfg.TestClockOffset)().UnixMicro())/1e6)
	g, view := n.gossip.Load(), n.coord.View()
	if g == nil || view == nil {
		return
	}
	self, _ := g.Map().Member(n.id)
	for s := state.Joining; s <= state.Removed; s++ {
		gauge(stateDesc, truth(s == self.State), s.String())
	}
	owners, moving := survey(view, g.Alive)
	for o, count := range owners {
		gauge(partitionsDesc, float64(count), ownersNames[o])
	}
	gauge(movingDesc, float64(moving))
	gauge(ownedDesc, float64(view.OwnedBy(n.id)))
}

// survey counts the partitions of a view by how their owners are, and those that
// move.
func survey(view *ring.View, alive func(ring.NodeID) bool) (owners [numOwners]int, moving int) {
	want := view.Ring().Config().Replicas
	known := make(map[ring.NodeID]bool)
	for p := range view.Ring().Config().Partitions {
		place := view.Placement(p)
		live := 0
		for _, id := range place.Owners {
			up, asked := known[id]
			if !asked {
				up = alive(id)
				known[id] = up
			}
			if up {
				live++
			}
		}
		switch {
		case live < len(place.Owners)/2+1:
			owners[ownersMissed]++
		case live < len(place.Owners) || live < want:
			owners[ownersDown]++
		default:
			owners[ownersAlive]++
		}
		if place.Extra() > 0 {
			moving++
		}
	}
	return owners, moving
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
