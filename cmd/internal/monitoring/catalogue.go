package monitoring

import (
	_ "embed" // the catalogue
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Metric is one metric of a node.
type Metric struct {
	Name string
	// Type is counter, gauge, histogram or summary.
	Type string
	// Labels are sorted. Those that Prometheus adds when it scrapes are not
	// among them.
	Labels []string
	Help   string
}

// catalogueText is what a node exposes: a line for each metric. The tests of
// cmd/internal/node compare it with a real one, and write it.
//
//go:embed catalogue.tsv
var catalogueText string

var parseCatalogue = sync.OnceValue(func() (all []Metric) {
	for line := range strings.Lines(catalogueText) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 4 {
			panic(fmt.Sprintf("monitoring: catalogue.tsv: a line of %d fields, want 4: %q", len(f), line))
		}
		m := Metric{Name: f[0], Type: f[1], Help: f[3]}
		if f[2] != "" {
			m.Labels = strings.Split(f[2], ",")
		}
		all = append(all, m)
	}
	return all
})

// Catalogue lists the metrics whose names begin with starling_, by name.
func Catalogue() []Metric { return slices.Clone(parseCatalogue()) }

// Format is the text of a catalogue.
func Format(all []Metric) []byte {
	var b strings.Builder
	for _, m := range all {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\n", m.Name, m.Type, strings.Join(m.Labels, ","), m.Help)
	}
	return []byte(b.String())
}

// Unit is what the metric counts, by the ending that the custom of Prometheus
// gives its name; "1" is a plain number.
func (m Metric) Unit() string {
	name := strings.TrimSuffix(m.Name, "_total")
	switch {
	case strings.HasSuffix(name, "_bytes_per_second"):
		return "bytes per second"
	case strings.HasSuffix(name, "_seconds"):
		return "seconds"
	case strings.HasSuffix(name, "_bytes"):
		return "bytes"
	default:
		return "1"
	}
}

// outside are metrics that queries may use and that are not Starling's own:
// what the Go runtime and the system say of the process, and what Prometheus
// itself notes.
var outside = []Metric{
	{Name: "go_goroutines", Type: "gauge", Help: "Goroutines."},
	{Name: "go_memstats_heap_inuse_bytes", Type: "gauge", Help: "Memory of the heap in use."},
	{Name: "go_gc_duration_seconds", Type: "summary", Labels: []string{"quantile"}, Help: "Pauses of garbage collections."},
	{Name: "go_sched_latencies_seconds", Type: "histogram", Help: "Time that goroutines waited for a processor."},
	{Name: "process_cpu_seconds_total", Type: "counter", Help: "CPU time."},
	{Name: "process_resident_memory_bytes", Type: "gauge", Help: "Memory that the system gave the process."},
	{Name: "process_open_fds", Type: "gauge", Help: "Open file descriptors."},
	{Name: "process_max_fds", Type: "gauge", Help: "Most file descriptors."},
	{Name: "process_start_time_seconds", Type: "gauge", Help: "When the process started, since 1970."},
}

// noted are the series that Prometheus makes by itself.
var noted = []Metric{
	{Name: "up", Type: "gauge"},
	{Name: "ALERTS", Type: "gauge", Labels: []string{"alertname", "alertstate", "severity", "peer"}},
}

// Runtime names the metrics of the process that queries use, which a node must
// expose too.
func Runtime() (names []string) {
	for _, m := range outside {
		names = append(names, m.Name)
	}
	return names
}
