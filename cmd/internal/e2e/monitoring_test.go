package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"starling/cmd/internal/monitoring"
)

// window is what stands for Grafana's rate interval.
const window = "10s"

// A cluster under load, a node that is killed and comes back: the panels show
// it, the alert about it fires and clears, and every query has had data.
func TestWhatPrometheusSeesOfAFault(t *testing.T) {
	t.Parallel()
	needsPrometheus(t)
	const victim = 3
	c := up(t, 5, "STARLING_ANTIENTROPY_INTERVAL=2s")
	begun := time.Now()
	p := c.watch(monitoring.Timing{Scrape: 500 * time.Millisecond, Evaluate: 500 * time.Millisecond, For: 2 * time.Second}, c.n)
	c.keepBusy(victim)
	hints, moving := p.panel("Overview", "Hints kept"), p.panel("Overview", "Nodes that do not answer")
	eventually(t, "all nodes to be scraped", func() bool {
		down, there := p.sum(moving)
		return there && down == 0
	})

	c.run("kill", fmt.Sprint(victim))
	eventually(t, "hints in the panel", func() bool { n, _ := p.sum(hints); return n > 0 })
	eventually(t, "NodeDown to fire", func() bool { return p.fires("NodeDown", fmt.Sprint("n", victim)) })
	if p.fires("NodeDown", "n1") {
		t.Error("NodeDown fires for n1, which runs")
	}
	eventually(t, "partitions with an owner down in the panel", func() bool {
		n, _ := p.sum(`cluster:starling_ring_partitions:max{owners="some_down"}`)
		return n > 0
	})

	c.run("start", fmt.Sprint(victim))
	eventually(t, "NodeDown to clear", func() bool { return !p.fires("NodeDown", fmt.Sprint("n", victim)) })
	eventually(t, "the hints in the panel to be gone", func() bool { n, there := p.sum(hints); return there && n == 0 })
	eventually(t, "all partitions with all their owners", func() bool {
		n, there := p.sum(`sum(cluster:starling_ring_partitions:max{owners!="all_alive"})`)
		return there && n == 0
	})
	p.wantData(begun)
}

// wantData asks every panel's queries and every recording rule for the time of
// the test.
func (p *prometheus) wantData(begun time.Time) {
	p.t.Helper()
	now, asked := time.Now(), 0
	check := func(who, query, rare string) {
		asked++
		if n := p.numbers(query, begun, now); n == 0 && rare == "" {
			p.t.Errorf("%s: no data: %s", who, query)
		}
	}
	for _, r := range monitoring.Records() {
		check(r.Name, r.Name, r.Rare)
	}
	for _, d := range monitoring.Dashboards() {
		for _, panel := range d.Panels() {
			for _, q := range panel.Queries {
				check(d.Name+", "+panel.Title, d.Filled(q.Expr, window), q.Rare)
			}
		}
	}
	if asked < 80 {
		p.t.Errorf("only %d queries were asked", asked)
	}
}

// keepBusy has clients read and write at all nodes but one until the test ends.
func (c *cluster) keepBusy(but int) {
	stop := make(chan struct{})
	var clients sync.WaitGroup
	c.t.Cleanup(func() {
		close(stop)
		clients.Wait()
	})
	for i := range c.n {
		if i+1 == but {
			continue
		}
		clients.Go(func() {
			pause := time.NewTicker(10 * time.Millisecond)
			defer pause.Stop()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-pause.C:
				}
				path := fmt.Sprintf("/v1/buckets/b/keys/k%d-%d", i, n%200)
				method := [...]string{http.MethodPut, http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete}[n%5]
				body := ""
				if method == http.MethodPut {
					body = strings.Repeat("v", 512)
				}
				_, _ = c.try(method, i+1, path, body) // some fail while a node goes
			}
		})
	}
}

// The script starts Prometheus on the cluster where it is installed, and ends
// it with the cluster.
func TestClusterWithMonitoring(t *testing.T) {
	t.Parallel()
	needsPrometheus(t)
	c := up(t, 1)
	address := fmt.Sprintf("http://127.0.0.1:%d", c.base+99)
	for range 2 { // every verb can be repeated
		if out := c.runWith([]string{"MONITORING=1"}, "up", "1"); !strings.Contains(out, "prometheus "+address) {
			t.Fatalf("up does not say where Prometheus is: %s", out)
		}
	}
	p := &prometheus{t: t, url: address, http: c.http}
	eventually(t, "the node to be scraped", func() bool {
		n, _ := p.sum(`up{job="starling",instance="n1",cluster="local"}`)
		return n == 1
	})
	if out := c.run("status"); !strings.Contains(out, "prometheus "+address) {
		t.Errorf("status does not say where Prometheus is: %s", out)
	}
	c.run("down")
	if _, err := c.http.Get(address + "/-/ready"); err == nil {
		t.Error("Prometheus outlives the cluster")
	}
}
