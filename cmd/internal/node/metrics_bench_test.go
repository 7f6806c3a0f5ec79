package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/config"
)

// BenchmarkMetricsShare says how much of the CPU time of a request is for its
// metrics: what was counted and observed at all nodes, times what one of each
// costs, by the CPU time of the process. That is of three nodes and a client
// together. It is to stay under 2 %. The last part is a scrape.
func BenchmarkMetricsShare(b *testing.B) {
	nodes := benchNodes(b, 3)
	value := bytes.Repeat([]byte("v"), 1024)
	key := func(n int) string {
		return fmt.Sprintf("http://%s/v1/buckets/b/keys/k%d", nodes[n%len(nodes)].HTTPAddr(), n)
	}
	var put int // a key that is put again without context gets a sibling
	b.Run("put", func(b *testing.B) {
		measureShare(b, nodes, func(int) (*http.Request, error) {
			put++
			return http.NewRequest(http.MethodPut, key(put), bytes.NewReader(value))
		})
	})
	b.Run("get", func(b *testing.B) {
		measureShare(b, nodes, func(n int) (*http.Request, error) {
			return http.NewRequest(http.MethodGet, key(1+n%put), nil)
		})
	})
	b.Run("scrape", func(b *testing.B) {
		for b.Loop() {
			if _, err := nodes[0].registry.Gather(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func measureShare(b *testing.B, nodes []*Node, request func(n int) (*http.Request, error)) {
	counted, observed, began := countAll(b, nodes), observedAll(b, nodes), cpuTime(b)
	n := 0
	for b.Loop() {
		n++
		req, err := request(n)
		if err != nil {
			b.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode >= 300 {
			b.Fatal(resp.Status)
		}
	}
	took := cpuTime(b) - began
	counted, observed = countAll(b, nodes)-counted, observedAll(b, nodes)-observed
	count, observe := unitCosts()
	b.ReportMetric(counted/float64(n), "counted/op")
	b.ReportMetric(observed/float64(n), "observed/op")
	b.ReportMetric(float64(took)/float64(n), "cpu-ns/op")
	b.ReportMetric(100*(counted*float64(count)+observed*float64(observe))/float64(took), "metrics-%")
}

// benchNodes runs a cluster without logs, and ends it with the benchmark.
func benchNodes(b *testing.B, n int) (nodes []*Node) {
	b.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, n)
	for i := range n {
		env := []string{fmt.Sprint("STARLING_NAME=n", i+1), "STARLING_DATA_DIR=" + b.TempDir(), "STARLING_HTTP=127.0.0.1:0", "STARLING_RPC=127.0.0.1:0",
			"STARLING_GOSSIP=127.0.0.1:0", "STARLING_FREE_FLOOR_BYTES=1MiB", "STARLING_PARTITIONS=64", "STARLING_ANTIENTROPY_ENABLED=false"}
		if i > 0 {
			env = append(env, "STARLING_JOIN="+nodes[0].RPCAddr())
		}
		cfg, err := config.Load(nil, env)
		if err != nil {
			b.Fatal(err)
		}
		node, err := New(Options{Config: cfg, Version: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, node)
		go func() { ended <- node.Run(ctx) }()
	}
	b.Cleanup(func() {
		stop()
		for range nodes {
			if err := <-ended; err != nil {
				b.Error(err)
			}
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		ready := 0
		for _, node := range nodes {
			if node.Ready() == nil && node.Pending() == 0 && len(node.gossip.Load().Map().Members) == n {
				ready++
			}
		}
		if ready == n {
			return nodes
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d nodes are ready", ready, n)
		}
	}
}

// countAll is how often requests have counted something: every count of one, and
// for the bytes of messages and frames the messages and the flushes.
func countAll(b *testing.B, nodes []*Node) (n float64) {
	b.Helper()
	for _, node := range nodes {
		families, err := node.registry.Gather()
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range families {
			name := f.GetName()
			if !strings.HasSuffix(name, "_total") || !strings.HasPrefix(name, "starling_") || strings.HasPrefix(name, "starling_store_") || strings.Contains(name, "bytes") {
				continue // the store's are read at a scrape
			}
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
				if name == "starling_rpc_requests_total" {
					n += 2 * m.GetCounter().GetValue() // its bytes, in and out
				}
				if name == "starling_rpc_frames_total" {
					n += m.GetCounter().GetValue() // at most as many reads and flushes
				}
			}
		}
	}
	return n
}

// observedAll is how many samples the histograms have.
func observedAll(b *testing.B, nodes []*Node) (n float64) {
	b.Helper()
	for _, node := range nodes {
		families, err := node.registry.Gather()
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range families {
			if strings.HasPrefix(f.GetName(), "starling_") && f.GetName() != "starling_store_wal_fsync_seconds" {
				for _, m := range f.GetMetric() {
					n += float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
	}
	return n
}

// unitCosts are what counting one, and observing one duration with the clock
// read for it, cost.
func unitCosts() (count, observe time.Duration) {
	const times = 1_000_000
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "c"})
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour})
	begun := time.Now()
	for range times {
		c.Inc()
	}
	counted := time.Now()
	for i := range times {
		h.Observe(time.Since(begun).Seconds() + float64(i%1000)*1e-5)
	}
	return counted.Sub(begun) / times, time.Since(counted) / times
}

// cpuTime is what this process has used, in user and system mode.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
