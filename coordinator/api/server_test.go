package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/coordinator"
)

// TestProbes: live and ready are two questions.
func TestProbes(t *testing.T) {
	var live, ready error
	f := serve(t, func(o *Options) {
		o.Live = func() error { return live }
		o.Ready = func() error { return ready }
	})
	f.do("GET", "/healthz", "").want(200).wantBody(`{"status":"ok","node":"n1","version":"test"}`)
	f.do("GET", "/readyz", "").want(200).wantBody(`{"status":"ready","node":"n1","version":"test"}`)
	f.do("HEAD", "/readyz", "").want(200)
	ready = errors.New("draining")
	f.do("GET", "/healthz", "").want(200)
	f.do("GET", "/readyz", "").wantProblem(503, "not-ready", "draining")
	f.do("HEAD", "/readyz", "").want(503)
	live = errors.New("no progress for 30s")
	f.do("GET", "/healthz", "").wantProblem(503, "not-live", "no progress for 30s")
}

// TestOverload: beyond MaxInflight a request is refused before its body is
// sent, and the next one after the others have ended is not.
func TestOverload(t *testing.T) {
	reg := prometheus.NewRegistry()
	entered, leave := make(chan struct{}, 8), make(chan struct{})
	f := serve(t, func(o *Options) {
		o.MaxInflight, o.Metrics, o.Gatherer = 2, reg, reg
		o.KV = gate{o.KV.(*memoryKV), entered, leave}
	})
	open := sync.OnceFunc(func() { close(leave) })
	t.Cleanup(open)
	done := make(chan int, 2)
	for range 2 {
		go func() {
			resp, err := http.Get("http://" + f.addr + testKey)
			if err != nil {
				done <- 0
				return
			}
			resp.Body.Close()
			done <- resp.StatusCode
		}()
	}
	<-entered
	<-entered
	conn := f.dial()
	defer conn.Close()
	request := "PUT " + testKey + " HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	a := f.receive(bufio.NewReader(conn), request)
	if doc := a.wantProblem(503, "overloaded", "2 requests", "Nothing was written"); doc["maybe_applied"] != false {
		t.Errorf("%v", doc)
	}
	a.wantHeader("Retry-After", "1")
	f.do("GET", "/healthz", "").want(200) // probes and metrics are not bounded
	if body := f.do("GET", "/metrics", "").want(200).body; !strings.Contains(string(body), "\nstarling_http_inflight_requests 2\n") ||
		!strings.Contains(string(body), "\nstarling_http_refused_total{bound=\"requests\"} 1\n") {
		t.Errorf("metrics:\n%s", body)
	}
	open()
	for range 2 {
		if status := <-done; status != 404 {
			t.Errorf("a request that was let in was answered %d", status)
		}
	}
	f.do("GET", testKey, "").want(404)
}

// gate holds reads until it is opened.
type gate struct {
	*memoryKV
	entered chan<- struct{}
	leave   <-chan struct{}
}

func (g gate) Get(ctx context.Context, req coordinator.GetRequest) (coordinator.GetResult, error) {
	g.entered <- struct{}{}
	<-g.leave
	return g.memoryKV.Get(ctx, req)
}

// TestPanics are answered, logged and counted; half an answer is cut off.
func TestPanics(t *testing.T) {
	var log logBuffer
	f := serve(t, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		o.Live = func() error { panic("no health") }
	})
	f.kv.onPut = func(context.Context, coordinator.PutRequest) (coordinator.PutResult, error) { panic("kv on fire") }
	f.do("PUT", testKey, "v").wantProblem(500, "internal")
	f.do("GET", "/healthz", "").wantProblem(500, "internal")
	f.do("GET", testKey, "").want(404)
	for _, words := range []string{"kv on fire", "no health", "write.go"} {
		if !strings.Contains(log.String(), words) {
			t.Errorf("the log does not have %q:\n%s", words, log.String())
		}
	}
	if n := testutil.ToFloat64(f.server.metrics.panics); n != 2 {
		t.Errorf("%v panics were counted", n)
	}
	if n := f.server.admission.requests.Load(); n != 0 {
		t.Errorf("%d requests are in flight", n)
	}
	f.server.router.Get("/half", f.server.admin(func(w http.ResponseWriter, _ *http.Request) *problem {
		_, _ = io.WriteString(w, "half")
		panic("in the middle")
	}))
	resp, err := http.Get("http://" + f.addr + "/half")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("half an answer was passed off as a whole one")
	}
}

// TestMetrics: requests are counted by operation, consistency and status.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	f := serve(t, func(o *Options) { o.Metrics, o.Gatherer = reg, reg })
	f.do("PUT", testKey+"?consistency=all", "a").want(204)
	f.do("PUT", testKey, "b").want(204)
	f.do("PUT", testKey+"?w=9", "c").want(400)
	f.do("GET", testKey+"?r=1", "").want(300)
	f.do("HEAD", testKey, "").want(300)
	f.do("GET", testKey+"x", "").want(404)
	f.do("DELETE", testKey+"?consistency=any", "").want(204)
	f.do("GET", "/nowhere", "").want(404)
	text := string(f.do("GET", "/metrics", "").want(200).body)
	for _, line := range []string{
		`starling_http_requests_total{code="204",consistency="all",op="put"} 1`,
		`starling_http_requests_total{code="204",consistency="quorum",op="put"} 1`,
		`starling_http_requests_total{code="400",consistency="none",op="put"} 1`,
		`starling_http_requests_total{code="300",consistency="numbers",op="get"} 1`,
		`starling_http_requests_total{code="300",consistency="quorum",op="head"} 1`,
		`starling_http_requests_total{code="404",consistency="quorum",op="get"} 1`,
		`starling_http_requests_total{code="204",consistency="any",op="delete"} 1`,
		`starling_http_requests_total{code="404",consistency="none",op="admin"} 1`,
		`starling_http_request_duration_seconds_count{op="put"} 3`,
		`starling_http_siblings_per_read_sum 4`,
		`starling_http_siblings_per_read_count 3`,
		`starling_http_inflight_requests 0`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	f.do("GET", "/metrics", "", "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited").want(200)
	if _, err := New(Options{KV: f.kv, Cluster: f.cluster, Metrics: reg}); err == nil {
		t.Error("metrics were registered twice")
	}
}

// TestShutdown: Serve waits for requests being served, but not for ever.
func TestShutdown(t *testing.T) {
	for _, patient := range []bool{true, false} {
		kv := &memoryKV{now: time.Now}
		entered, leave := make(chan struct{}), make(chan struct{})
		cluster := &staticCluster{}
		cluster.set(t, testMap())
		s, err := New(Options{KV: gate{kv, entered, leave}, Cluster: cluster, ShutdownGrace: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if patient {
			s.opts.ShutdownGrace = time.Minute
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		served, got := make(chan error, 1), make(chan error, 1)
		go func() { served <- s.Serve(ctx, ln) }()
		go func() {
			resp, err := http.Get("http://" + ln.Addr().String() + testKey)
			if err == nil {
				resp.Body.Close()
			}
			got <- err
		}()
		<-entered
		stop()
		if patient {
			close(leave)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if err := <-got; (err == nil) != patient {
			t.Errorf("patient %v: the request in flight ended with %v", patient, err)
		}
		if !patient {
			close(leave)
		}
		if conn, err := net.Dial("tcp", ln.Addr().String()); err == nil {
			conn.Close()
			t.Error("the listener is still open")
		}
	}
}

// TestServeFails when its listener does.
func TestServeFails(t *testing.T) {
	f := serve(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := f.server.Serve(context.Background(), ln); err == nil {
		t.Error("no error")
	}
}

// TestOptions that cannot work are refused.
func TestOptions(t *testing.T) {
	kv, cluster := &memoryKV{}, &staticCluster{}
	for name, o := range map[string]Options{
		"no KV":            {Cluster: cluster},
		"no cluster":       {KV: kv},
		"negative value":   {KV: kv, Cluster: cluster, MaxValueBytes: -1},
		"negative bound":   {KV: kv, Cluster: cluster, MaxInflight: -1},
		"negative bytes":   {KV: kv, Cluster: cluster, MaxInflightBytes: -1},
		"too few bytes":    {KV: kv, Cluster: cluster, MaxValueBytes: 100, MaxInflightBytes: 99},
		"no connections":   {KV: kv, Cluster: cluster, MaxConnections: -1},
		"negative delay":   {KV: kv, Cluster: cluster, DrainDelay: -1},
		"timeouts crossed": {KV: kv, Cluster: cluster, DefaultTimeout: time.Minute, MaxTimeout: time.Second},
		"timeout too low":  {KV: kv, Cluster: cluster, DefaultTimeout: time.Microsecond},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s, err := New(Options{KV: kv, Cluster: cluster, Self: nodeID(1)})
	if err != nil || s.opts.Name != nodeID(1).String() || s.opts.MaxValueBytes != 1<<20 || s.opts.Now == nil {
		t.Errorf("defaults: %+v %v", s, err)
	}
}
