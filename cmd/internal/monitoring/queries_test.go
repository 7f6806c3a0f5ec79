package monitoring

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	promlabels "github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// target are the labels that every scraped series has, by the configuration.
var target = []string{"cluster", "instance", "job"}

// ranges are the functions that make a rate, or a change, of a counter.
var ranges = []string{"rate", "increase", "irate", "changes", "resets"}

// Every query is one, and goes by what the catalogue has.
func TestQueriesGoByTheCatalogue(t *testing.T) {
	n := 0
	check := func(who, expr string) {
		n++
		for _, bad := range checkQuery(expr) {
			t.Errorf("%s: %s", who, bad)
		}
	}
	for _, r := range Records() {
		check(r.Name, r.Expr)
	}
	for _, a := range Alerts() {
		check(a.Name, a.Expr)
	}
	for _, d := range Dashboards() {
		for _, p := range d.Panels() {
			for _, q := range p.Queries {
				check(d.Name+", "+p.Title, d.Filled(q.Expr, "5m"))
				for _, bad := range checkLegend(q.Legend, d.Filled(q.Expr, "5m")) {
					t.Errorf("%s, %s: %s", d.Name, p.Title, bad)
				}
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d queries", n)
	}
}

// The checker finds what it is there for.
func TestCheckQuery(t *testing.T) {
	for expr, want := range map[string]string{
		`sum by (op) (rate(starling_http_requests_total{op!="admin"}[5m]))`:                     "",
		`histogram_quantile(0.9, sum by (le) (rate(starling_rpc_frames_per_write_bucket[5m])))`: "",
		`starling_http_requests`:                                   "no metric",
		`rate(starling_no_such_total[5m])`:                         "no metric",
		`starling_http_requests_total`:                             "lifetime counter",
		`sum(starling_http_requests_total) / 5`:                    "lifetime counter",
		`starling_rpc_frames_per_write_count`:                      "lifetime counter",
		`rate(starling_http_requests_total{key="x"}[5m])`:          "no label key",
		`sum by (bucket) (rate(starling_http_requests_total[5m]))`: "no label bucket",
		`sum by (peer) (cluster:starling_hints:sum)`:               "no label peer",
		`rate(starling_store_hints[5m])`:                           "rate of a gauge",
		`rate(starling_http_requests_total[5m]`:                    "parse error",
	} {
		got := strings.Join(checkQuery(expr), "\n")
		if !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: got %q, want %q", expr, got, want)
		}
	}
}

// checkQuery says what is wrong with a query.
func checkQuery(expr string) (bad []string) {
	e, err := parser.ParseExpr(expr)
	if err != nil {
		return []string{err.Error()}
	}
	parser.Inspect(e, func(n parser.Node, path []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			bad = append(bad, checkSelector(n, path)...)
		case *parser.AggregateExpr:
			for _, l := range n.Grouping {
				if !slices.Contains(labelsIn(n.Expr), l) {
					bad = append(bad, fmt.Sprintf("there is no label %s in %s", l, n.Expr))
				}
			}
		}
		return nil
	})
	return bad
}

func checkSelector(s *parser.VectorSelector, path []parser.Node) (bad []string) {
	have, kind := labelsOf(s.Name)
	if kind == "" {
		return []string{"there is no metric " + s.Name}
	}
	for _, m := range s.LabelMatchers {
		if m.Name != promlabels.MetricName && !slices.Contains(have, m.Name) {
			bad = append(bad, fmt.Sprintf("%s has no label %s", s.Name, m.Name))
		}
	}
	caller := ""
	for _, n := range path {
		if c, ok := n.(*parser.Call); ok {
			caller = c.Func.Name // the innermost comes last
		}
	}
	rated := slices.Contains(ranges, caller)
	switch counts := kind == "counter" || kind == "histogram" || kind == "summary"; {
	case counts && !rated:
		bad = append(bad, fmt.Sprintf("%s is a lifetime counter, and is not made a rate", s.Name))
	case !counts && rated && caller != "changes":
		bad = append(bad, fmt.Sprintf("the %s of a gauge: %s", caller, s.Name))
	}
	return bad
}

// labelsOf is what labels a series has, and its type; that of a recorded one is
// gauge.
func labelsOf(name string) (have []string, kind string) {
	if i := slices.IndexFunc(Records(), func(r Record) bool { return r.Name == name }); i >= 0 {
		e, err := parser.ParseExpr(Records()[i].Expr)
		if err != nil {
			return nil, ""
		}
		return resultLabels(e), "gauge"
	}
	m, ok := Lookup(name)
	if !ok {
		return nil, ""
	}
	have = append(slices.Clone(m.Labels), target...)
	if strings.HasSuffix(name, "_bucket") {
		have = append(have, "le")
	}
	return have, m.Type
}

// resultLabels are those of an expression's result: of its outermost
// aggregations, or of what it selects.
func resultLabels(e parser.Expr) (have []string) {
	parser.Inspect(e, func(n parser.Node, path []parser.Node) error {
		for _, above := range path {
			if _, ok := above.(*parser.AggregateExpr); ok {
				return nil
			}
		}
		switch n := n.(type) {
		case *parser.AggregateExpr:
			have = append(have, n.Grouping...)
		case *parser.VectorSelector:
			l, _ := labelsOf(n.Name)
			have = append(have, l...)
		}
		return nil
	})
	return have
}

// labelsIn are the labels that an operand of an aggregation can have.
func labelsIn(e parser.Expr) []string {
	have := resultLabels(e)
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if a, ok := n.(*parser.AggregateExpr); ok && a.Op == parser.COUNT_VALUES {
			if s, ok := a.Param.(*parser.StringLiteral); ok {
				have = append(have, s.Val)
			}
		}
		return nil
	})
	return have
}

// checkLegend says which labels of a legend the result does not have.
func checkLegend(legend, expr string) (bad []string) {
	e, err := parser.ParseExpr(expr)
	if err != nil {
		return nil // said already
	}
	for _, part := range strings.Split(legend, "{{")[1:] {
		name, _, _ := strings.Cut(part, "}}")
		if !slices.Contains(resultLabels(e), name) {
			bad = append(bad, fmt.Sprintf("the legend %q names %s, which %s does not have", legend, name, expr))
		}
	}
	return bad
}
