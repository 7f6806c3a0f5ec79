package monitoring

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// reference is docs/metrics.md.
func reference() []byte {
	used := usage()
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!-- %s -->\n# Metrics\n\n", rendered)
	b.WriteString(`Every node serves these at ` + "`GET /metrics`" + `, in the text form of Prometheus or as OpenMetrics, whichever the scraper asks
for. Names of keys and buckets are never labels. Histograms have classic buckets, and native ones for scrapers that ask
for them; ` + "`starling_store_wal_fsync_seconds`" + ` has classic ones alone. The duration of a request that bears a W3C
` + "`traceparent`" + ` header has the trace as its exemplar, where OpenMetrics is spoken.

The names, labels and help texts are part of the interface. [deploy/monitoring](../deploy/monitoring/README.md) has rules, alerts and
dashboards that use them; the last column says which.

| name | type | unit | labels | what it is | used by |
|---|---|---|---|---|---|
`)
	for _, m := range Catalogue() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", m.Name, m.Type, m.Unit(), code(m.Labels), strings.ReplaceAll(m.Help, "|", "\\|"), strings.Join(used[m.Name], ", "))
	}
	b.WriteString("\n## The process\n\nBeside them stand the metrics of the Go runtime (`go_`) and of the process (`process_`, where the system tells them). Queries use these:\n\n| name | type | what it is | used by |\n|---|---|---|---|\n")
	for _, m := range outside {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Type, m.Help, strings.Join(used[m.Name], ", "))
	}
	return b.Bytes()
}

// usage says which alerts and dashboards use a metric, by themselves or through a
// recording rule.
func usage() map[string][]string {
	used := make(map[string][]string)
	add := func(who, expr string) {
		for _, name := range namesIn(expr) {
			if !slices.Contains(used[name], who) {
				used[name] = append(used[name], who)
			}
		}
	}
	for _, a := range Alerts() {
		add("["+a.Name+"](runbooks/"+a.Name+".md)", a.Expr)
	}
	for _, d := range Dashboards() {
		for _, p := range d.Panels() {
			for _, q := range p.Queries {
				add(d.Name, q.Expr)
			}
		}
	}
	return used
}

var (
	nameInQuery = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	inQuotes    = regexp.MustCompile(`"[^"]*"`)
)

// namesIn finds the metrics that a query comes from: those in it, the parts of
// histograms under their own names, and those behind recorded ones.
func namesIn(expr string) (names []string) {
	for _, word := range nameInQuery.FindAllString(inQuotes.ReplaceAllString(expr, ""), -1) {
		if i := slices.IndexFunc(Records(), func(r Record) bool { return r.Name == word }); i >= 0 {
			names = append(names, namesIn(Records()[i].Expr)...)
		} else if m, ok := Lookup(word); ok {
			names = append(names, m.Name)
		}
	}
	return names
}

// Lookup finds the metric that a series belongs to: itself, or the histogram or
// summary of which it is a part.
func Lookup(series string) (Metric, bool) {
	for _, list := range [][]Metric{parseCatalogue(), outside, noted} {
		for _, m := range list {
			if m.Name == series {
				return m, true
			}
			part, of := strings.CutPrefix(series, m.Name)
			if of && (m.Type == "histogram" && part == "_bucket" || (m.Type == "histogram" || m.Type == "summary") && (part == "_sum" || part == "_count")) {
				return m, true
			}
		}
	}
	return Metric{}, false
}
