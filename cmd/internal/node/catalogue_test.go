package node

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"starling/cmd/internal/monitoring"
)

var update = flag.Bool("update", false, "write the catalogue of metrics anew")

// What a node exposes is what the catalogue says: names, types, labels and help.
// The queries of dashboards and alerts are held to the catalogue in turn, so that
// a metric's new name shows at once in all that goes by the old one.
func TestCatalogueIsWhatANodeExposes(t *testing.T) {
	nodes := form(t, 2, "STARLING_PARTITIONS=16")
	n := nodes[0]
	if code, body := n.request("PUT", "/v1/buckets/b/keys/k?consistency=all", "v"); code != 204 {
		t.Fatalf("PUT: %d %s", code, body)
	}
	nodes[1].shut()
	eventually(t, "a hint", func() bool {
		code, _ := n.request("PUT", "/v1/buckets/b/keys/k?consistency=any", "v")
		return code == 204 && len(n.store.HintTotals()) > 0
	})
	gathered := gatherTypes(t, n)
	got := make([]monitoring.Metric, 0, len(gathered))
	for _, m := range describe(t, n.registry) {
		if !strings.HasPrefix(m.Name, "starling_") {
			continue
		}
		kind, ok := gathered[m.Name]
		if !ok && strings.HasSuffix(m.Name, "_total") {
			kind, ok = "counter", true // of which there is no child yet
		}
		if !ok {
			t.Errorf("%s is described and was not gathered, so its type is not known: have the test bring it about", m.Name)
		}
		m.Type = kind
		got = append(got, m)
	}
	slices.SortFunc(got, func(a, b monitoring.Metric) int { return strings.Compare(a.Name, b.Name) })
	got = slices.CompactFunc(got, func(a, b monitoring.Metric) bool { return a.Name == b.Name }) // one for each constant label
	if *update {
		path := filepath.Join("..", "monitoring", "catalogue.tsv")
		if err := os.WriteFile(path, monitoring.Format(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := differences(got, monitoring.Catalogue()); len(diff) > 0 {
		t.Errorf("the catalogue is not what a node exposes; \"make monitoring\" writes it anew:\n%s", strings.Join(diff, "\n"))
	}
	for _, name := range monitoring.Runtime() {
		if _, ok := gathered[name]; !ok {
			t.Errorf("queries use %s, which a node does not expose here", name)
		}
	}
}

// gatherTypes maps the names that the node exposes now to their types, and
// wants names, units and help to keep the customs.
func gatherTypes(t *testing.T, n *proc) map[string]string {
	t.Helper()
	families, err := n.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	types := make(map[string]string)
	var own []*dto.MetricFamily
	for _, f := range families {
		types[f.GetName()] = strings.ToLower(f.GetType().String())
		if strings.HasPrefix(f.GetName(), "starling_") {
			own = append(own, f)
		}
		if f.GetType() == dto.MetricType_HISTOGRAM && strings.HasPrefix(f.GetName(), "starling_") {
			for _, m := range f.GetMetric() {
				if h := m.GetHistogram(); len(h.GetBucket()) == 0 || h.Schema == nil && f.GetName() != "starling_store_wal_fsync_seconds" {
					t.Errorf("%s has %d classic buckets, native: %v; want both", f.GetName(), len(h.GetBucket()), h.Schema != nil)
				}
			}
		}
	}
	problems, err := promlint.NewWithMetricFamilies(own).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	return types
}

var descPattern = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), unit: "[a-z_]*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

var constLabel = regexp.MustCompile(`([a-z_]+)="(?:[^"\\]|\\.)*"`)

// describe reads what the registry's collectors say of themselves. A Desc gives
// it away in its text alone.
func describe(t *testing.T, r *prometheus.Registry) []monitoring.Metric {
	t.Helper()
	ch := make(chan *prometheus.Desc)
	go func() {
		defer close(ch)
		r.Describe(ch)
	}()
	var descs []*prometheus.Desc // all of them, before anything can fail: the registry is locked meanwhile
	for d := range ch {
		descs = append(descs, d)
	}
	var out []monitoring.Metric
	for _, d := range descs {
		parts := descPattern.FindStringSubmatch(d.String())
		if parts == nil {
			t.Fatalf("a description of another form: %s", d)
		}
		var m monitoring.Metric
		for i, into := range []*string{&m.Name, &m.Help} {
			text, err := strconv.Unquote(parts[1+i])
			if err != nil {
				t.Fatal(err)
			}
			*into = text
		}
		for _, l := range constLabel.FindAllStringSubmatch(parts[3], -1) {
			m.Labels = append(m.Labels, l[1])
		}
		if parts[4] != "" {
			m.Labels = append(m.Labels, strings.Split(parts[4], ",")...)
		}
		slices.Sort(m.Labels)
		out = append(out, m)
	}
	return out
}

// differences says where two sorted lists of metrics differ.
func differences(got, want []monitoring.Metric) (diff []string) {
	text := func(list []monitoring.Metric) map[string]string {
		lines := make(map[string]string)
		for _, m := range list {
			lines[m.Name] = string(monitoring.Format([]monitoring.Metric{m}))
		}
		return lines
	}
	have, expected := text(got), text(want)
	for name, line := range have {
		if expected[name] != line {
			diff = append(diff, fmt.Sprintf("node:      %scatalogue: %s", line, expected[name]))
		}
	}
	for name := range expected {
		if have[name] == "" {
			diff = append(diff, "a node does not expose "+name)
		}
	}
	slices.Sort(diff)
	return diff
}
