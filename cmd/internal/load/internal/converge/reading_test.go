package main

import (
	"reflect"
	"strings"
	"testing"
)

const metrics = `# HELP starling_rpc_bytes_total Bytes on connections between nodes.
starling_rpc_bytes_total{direction="in"} 900
starling_rpc_bytes_total{direction="out"} 1.5e+03
starling_antientropy_shipped_keys_total{direction="fetched"} 3
starling_antientropy_shipped_keys_total{direction="pushed"} 4
starling_antientropy_shipped_bytes_total{direction="fetched"} 300
starling_antientropy_shipped_bytes_total{direction="pushed"} 400
starling_antientropy_open_pairs 2
starling_antientropy_open_pairs_of_others 100
starling_antientropy_oldest_proof_seconds 7.5
process_cpu_seconds_total 1.25
starling_rpc_requests_total{method="keys",result="ok",side="client"} 12
starling_rpc_requests_total{method="keys",result="ok",side="server"} 80
starling_rpc_requests_total{method="keys",result="error",side="client"} 5
starling_rpc_requests_total{method="ping",result="ok",side="client"} 0
`

func TestReadingOf(t *testing.T) {
	want := reading{shipped: 7, shippedBytes: 700, sentBytes: 1500, cpuSeconds: 1.25, openPairs: 2, oldestSeconds: 7.5,
		requests: map[string]float64{"keys": 12}}
	if got, err := readingOf(metrics); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, broken := range []string{
		"", strings.ReplaceAll(metrics, "process_cpu_seconds_total", "renamed"), strings.ReplaceAll(metrics, "7.5", "x"),
		strings.ReplaceAll(metrics, " 12", " x"),
	} {
		if got, err := readingOf(broken); err == nil {
			t.Errorf("%+v of %q", got, broken)
		}
	}
}

// What rose since is told of each node and then added up; the node that was
// down counts from nothing.
func TestReadingsSince(t *testing.T) {
	before := readings{{shipped: 5, sentBytes: 100, cpuSeconds: 2, openPairs: 9, oldestSeconds: 30, requests: map[string]float64{"keys": 3}}, {}}
	after := readings{
		{shipped: 6, sentBytes: 150, cpuSeconds: 2.5, openPairs: 1, oldestSeconds: 3, requests: map[string]float64{"keys": 5}},
		{shipped: 2, shippedBytes: 20, sentBytes: 10, cpuSeconds: 1, openPairs: 2, oldestSeconds: 4, requests: map[string]float64{"keys": 7}},
	}
	want := reading{shipped: 3, shippedBytes: 20, sentBytes: 60, cpuSeconds: 1.5, openPairs: 3, oldestSeconds: 4, requests: map[string]float64{"keys": 9}}
	if got := after.since(before); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestBenchmarkMetrics(t *testing.T) {
	const text = `goos: linux
BenchmarkExchangeCost-2   	      20	2105000000 ns/op	         0.9912 throughput-ratio	      8123 req/s
PASS
ok  	starling/cmd/internal/node	60.1s
`
	got := benchmarkMetrics(text, "BenchmarkExchangeCost")
	if len(got) != 3 || got["throughput-ratio"] != 0.9912 || got["req/s"] != 8123 {
		t.Errorf("%v", got)
	}
}

func TestReportTellsWhatWasMissed(t *testing.T) {
	var r report
	r.note("keys", "%d", 3)
	r.goal(true, "reached", "< 3", "%d", 2)
	var b strings.Builder
	if !r.print(&b) || strings.Contains(b.String(), "MISS") || strings.Count(b.String(), "PASS") != 1 {
		t.Errorf("all goals reached:\n%s", b.String())
	}
	r.goal(false, "not reached", "< 3", "%d", 4)
	b.Reset()
	if r.print(&b) || strings.Count(b.String(), "MISS") != 1 {
		t.Errorf("a goal was missed:\n%s", b.String())
	}
}
