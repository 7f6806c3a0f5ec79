package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"starling/cmd/internal/monitoring"
)

// prometheus is a real one that scrapes the nodes of a cluster.
type prometheus struct {
	t    *testing.T
	url  string
	http *http.Client
}

// needsPrometheus skips the test where there is none.
func needsPrometheus(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("Prometheus is not installed here (Debian: apt-get install prometheus)")
	}
	return path
}

// watch starts Prometheus with the rules of the repository, faster than they
// are there, on the first n nodes. It ends with the test.
func (c *cluster) watch(timing monitoring.Timing, n int) *prometheus {
	c.t.Helper()
	path, dir := needsPrometheus(c.t), c.t.TempDir()
	nodes := make(map[string]string)
	for i := 1; i <= n; i++ {
		nodes[fmt.Sprint("n", i)] = fmt.Sprintf("127.0.0.1:%d", c.base+10*i)
	}
	rules := filepath.Join(dir, "rules.yml")
	file := filepath.Join(dir, "prometheus.yml")
	for name, text := range map[string][]byte{rules: monitoring.Rules(timing), file: monitoring.Config(timing, rules, "e2e", nodes)} {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
	address := fmt.Sprintf("127.0.0.1:%d", c.base+97) // within the range that this test has found free
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill() // its data goes with the test's directory
		_ = cmd.Wait()         // says that it was killed
		if c.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			c.t.Logf("Prometheus:\n%s", tail(text, 4000))
		}
	})
	p := &prometheus{t: c.t, url: "http://" + address, http: c.http}
	eventually(c.t, "Prometheus to be ready", func() bool {
		resp, err := p.http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// ask calls its API and wants an answer.
func (p *prometheus) ask(path string, query url.Values, into any) {
	p.t.Helper()
	resp, err := p.http.Get(p.url + path + "?" + query.Encode())
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		p.t.Fatal(err)
	}
	if answer.Status != "success" {
		p.t.Fatalf("%s of %v: %s", path, query, answer.Error)
	}
	if err := json.Unmarshal(answer.Data, into); err != nil {
		p.t.Fatal(err)
	}
}

// sample is a value as the API writes it: its time, and its number as a text.
type sample [2]any

func (s sample) value() float64 {
	text, _ := s[1].(string)
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return math.NaN()
	}
	return v
}

// numbers counts the samples of a query between two times that are numbers.
func (p *prometheus) numbers(query string, from, to time.Time) (n int) {
	p.t.Helper()
	var data struct{ Result []struct{ Values []sample } }
	stamp := func(t time.Time) string { return fmt.Sprintf("%.3f", float64(t.UnixMilli())/1e3) }
	p.ask("/api/v1/query_range", url.Values{"query": {query}, "start": {stamp(from)}, "end": {stamp(to)}, "step": {"1"}}, &data)
	for _, r := range data.Result {
		for _, s := range r.Values {
			if !math.IsNaN(s.value()) {
				n++
			}
		}
	}
	return n
}

// sum adds up what a query gives now; there: it gives something.
func (p *prometheus) sum(query string) (sum float64, there bool) {
	p.t.Helper()
	var data struct{ Result []struct{ Value sample } }
	p.ask("/api/v1/query", url.Values{"query": {query}}, &data)
	for _, r := range data.Result {
		sum += r.Value.value()
	}
	return sum, len(data.Result) > 0
}

// fires reports whether an alert about a node fires.
func (p *prometheus) fires(alert, instance string) bool {
	p.t.Helper()
	var data struct {
		Alerts []struct {
			State               string
			Labels, Annotations map[string]string
		}
	}
	p.ask("/api/v1/alerts", nil, &data)
	for _, a := range data.Alerts {
		if a.State == "firing" && a.Labels["alertname"] == alert && a.Labels["instance"] == instance {
			return true
		}
	}
	return false
}

// panel finds the first query of a panel.
func (p *prometheus) panel(dashboard, title string) string {
	p.t.Helper()
	for _, d := range monitoring.Dashboards() {
		for _, panel := range d.Panels() {
			if d.Name == dashboard && panel.Title == title {
				return d.Filled(panel.Queries[0].Expr, window)
			}
		}
	}
	p.t.Fatalf("there is no panel %q in %s", title, dashboard)
	return ""
}
