package load

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestFill(t *testing.T) {
	s := newRecorder()
	url := serve(t, s)
	l := newLoad(t, Options{Target: Target{Name: "t", Endpoints: []string{url}, Bucket: "b", Query: "consistency=one"}, Connections: 4, Records: 50, ValueBytes: 10})
	var last Progress
	if err := l.Fill(context.Background(), func(p Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	if len(s.values) != 50 || s.methods["PUT"] != 50 || !s.queries["consistency=one"] || len(s.queries) != 1 {
		t.Errorf("%d values, requests %v, queries %v", len(s.values), s.methods, s.queries)
	}
	for key, v := range s.values {
		if len(v) != 10 || !strings.HasPrefix(key, "/v1/buckets/b/keys/user0000000000") {
			t.Errorf("%s has %d bytes", key, len(v))
		}
	}
	if last.Done != 1 || last.Ops != 50 {
		t.Errorf("progress ended as %+v", last)
	}
	// Again: nothing is written, but for a record of another size.
	s.values["/v1/buckets/b/keys/user000000000007"] = []byte("short")
	l = newLoad(t, l.opts)
	if err := l.Fill(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if s.methods["PUT"] != 51 || s.stale != 0 {
		t.Errorf("requests %v, %d stale", s.methods, s.stale)
	}
}

func TestFillGivesUp(t *testing.T) {
	refuse := func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	l := newLoad(t, Options{Target: Target{Name: "store", Endpoints: []string{serve(t, http.HandlerFunc(refuse))}}, Connections: 2, Records: 5})
	if err := l.Fill(context.Background(), nil); err == nil || !strings.Contains(err.Error(), "filling store") || !strings.Contains(err.Error(), "503") {
		t.Errorf("%v", err)
	}
}

func TestFillBearsWithAFewRefusals(t *testing.T) {
	s := newRecorder()
	var refusals atomic.Int64
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && refusals.Add(1) <= 5 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	}
	l := newLoad(t, Options{Target: Target{Endpoints: []string{serve(t, s)}}, Connections: 1, Records: 3})
	if err := l.Fill(context.Background(), nil); err != nil || len(s.values) != 3 {
		t.Errorf("%d values, %v", len(s.values), err)
	}
}

// operations counts the kinds of operation in a workload.
func operations(w *Workload) (n int) {
	for _, share := range w.Share {
		if share > 0 {
			n++
		}
	}
	return n
}

func TestRunCounts(t *testing.T) {
	s := newRecorder()
	l := newLoad(t, Options{Target: Target{Name: "t", Endpoints: []string{serve(t, s)}}, Connections: 4, Records: 20, ValueBytes: 100})
	if err := l.Fill(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	for _, w := range append(slices.Clone(workloads), Gets, Puts) {
		r := runUntil(t, l, w, func(r Result) bool { return len(r.Operations) == operations(&w) })
		var total int64
		for op, share := range w.Share {
			part, ok := r.Operations[Op(op).String()]
			if ok != (share > 0) {
				t.Errorf("workload %s: %s is there: %v", w.Name, Op(op), ok)
			}
			total += part.Ops
			if !ok {
				continue
			}
			latency := part.Latency
			if part.Ops == 0 || latency.P50 <= 0 || latency.P50 > latency.P99 || latency.P99 > latency.Max || latency.Mean <= 0 {
				t.Errorf("workload %s: %s: %+v", w.Name, Op(op), part)
			}
		}
		if r.Ops != total || r.Errors != 0 || r.Workload != w.Name || r.DurationSeconds <= 0 {
			t.Errorf("workload %s: %+v", w.Name, r)
		}
		if got := r.OpsPerSecond * r.DurationSeconds; got < float64(r.Ops)*0.999 || got > float64(r.Ops)*1.001 {
			t.Errorf("workload %s: %v ops/s for %v s and %d ops", w.Name, r.OpsPerSecond, r.DurationSeconds, r.Ops)
		}
	}
	if s.most > 4 {
		t.Errorf("%d requests at once on 4 connections", s.most)
	}
}

// With one connection every put must carry the last context of its record.
func TestPutsCarryContexts(t *testing.T) {
	for _, w := range []Workload{Puts, workloads[0], workloads[4]} {
		s := newRecorder()
		l := newLoad(t, Options{Target: Target{Endpoints: []string{serve(t, s)}}, Connections: 1, Records: 3, ValueBytes: 10})
		if err := l.Fill(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		runUntil(t, l, w, func(Result) bool { return s.methods["PUT"] > 10 })
		if s.stale != 0 {
			t.Errorf("workload %s: %d of %d puts with a stale context", w.Name, s.stale, s.methods["PUT"])
		}
	}
}

// A read-modify-write gives the context of its own read, whatever else was
// learnt of the record.
func TestReadModifyWriteUsesItsRead(t *testing.T) {
	var wrong atomic.Int64
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set(headerContext, "read")
		} else {
			if r.Header.Get(headerContext) != "read" {
				wrong.Add(1)
			}
			w.Header().Set(headerContext, "written")
			w.WriteHeader(http.StatusNoContent)
		}
	}
	l := newLoad(t, Options{Target: Target{Endpoints: []string{serve(t, http.HandlerFunc(h))}}, Connections: 4, Records: 1})
	r := mustRun(t, l, Workload{"rmw", [opCount]float64{ReadModifyWrite: 1}, Uniform})
	if r.Ops == 0 || wrong.Load() != 0 {
		t.Errorf("%d of %d with another context", wrong.Load(), r.Ops)
	}
}

func TestInsertsAreNewAndReadable(t *testing.T) {
	s := newRecorder()
	l := newLoad(t, Options{Target: Target{Endpoints: []string{serve(t, s)}}, Connections: 4, Records: 10, ValueBytes: 10})
	if err := l.Fill(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	r := runUntil(t, l, workloads[3], func(Result) bool { return len(s.values) > 10 })
	if r.Errors != 0 || s.stale != 0 {
		t.Errorf("%d errors, %d values, %d stale: %+v", r.Errors, len(s.values), s.stale, r.Operations)
	}
	for key, n := range s.writes {
		if n != 1 {
			t.Errorf("%s was written %d times", key, n)
		}
	}
	if again := newLoad(t, l.opts); again.conns[0].fresh == l.conns[0].fresh {
		t.Error("two loads insert the same names")
	}
}

func TestErrorsByStatus(t *testing.T) {
	var n atomic.Int64
	h := func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 1:
			w.WriteHeader(http.StatusMultipleChoices)
		case 2:
			panic(http.ErrAbortHandler)
		}
	}
	l := newLoad(t, Options{Target: Target{Endpoints: []string{serve(t, http.HandlerFunc(h))}}, Connections: 1, Records: 1})
	r := runUntil(t, l, Puts, func(r Result) bool { return len(r.Operations["update"].Statuses) >= 4 })
	part := r.Operations["update"]
	if got := slices.Sorted(maps.Keys(part.Statuses)); !slices.Equal(got, []string{"200", "300", "503", "transport"}) {
		t.Fatalf("statuses %v", part.Statuses)
	}
	if part.Ops != part.Statuses["200"]+part.Statuses["300"] || part.Errors != part.Statuses["503"]+part.Statuses["transport"] || r.Errors != part.Errors {
		t.Errorf("%+v", part)
	}
	if r.FirstError == "" {
		t.Error("the transport's error is not told")
	}
}

// Connections are spread over the endpoints in turn, and those of one that is
// down go to the others.
func TestEndpoints(t *testing.T) {
	var a, b, c *recorder
	servers := []**recorder{&a, &b, &c}
	var urls []string
	for _, s := range servers {
		*s = newRecorder()
		urls = append(urls, serve(t, *s))
	}
	clients := map[*recorder]map[string]bool{}
	var mu sync.Mutex
	for _, s := range servers {
		clients[*s] = map[string]bool{}
		(*s).before = func(_ http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			clients[*s][r.RemoteAddr] = true
			return false
		}
	}
	l := newLoad(t, Options{Target: Target{Endpoints: urls}, Connections: 7, Records: 10})
	mustRun(t, l, Puts)
	if na, nb, nc := len(clients[a]), len(clients[b]), len(clients[c]); na != 3 || nb != 2 || nc != 2 {
		t.Errorf("connections: %d, %d and %d", na, nb, nc)
	}
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	l = newLoad(t, Options{Target: Target{Endpoints: []string{dead.Addr().String(), urls[0]}}, Connections: 2, Records: 10})
	if err := l.Fill(context.Background(), nil); err != nil {
		t.Errorf("filling with one endpoint down: %v", err)
	}
	if r := mustRun(t, l, Gets); r.Errors != 0 || r.Ops == 0 {
		t.Errorf("%+v", r)
	}
}

// An answer that comes after the time is waited for and counted.
func TestAStallAtTheEndCounts(t *testing.T) {
	const stall = 200 * time.Millisecond
	h := func(w http.ResponseWriter, r *http.Request) { time.Sleep(stall) }
	l := newLoad(t, Options{Target: Target{Endpoints: []string{serve(t, http.HandlerFunc(h))}}, Connections: 1, Records: 1})
	r, err := l.Run(context.Background(), Phase{Workload: Gets, Duration: stall / 4})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Operations["read"].Latency.Max; r.Ops != 1 || got < stall.Microseconds() || r.DurationSeconds < stall.Seconds() {
		t.Errorf("%d reads; the longest took %d µs, the run %v s", r.Ops, got, r.DurationSeconds)
	}
}

func TestWarmUpIsNotCounted(t *testing.T) {
	const each = 10 * time.Millisecond
	h := func(w http.ResponseWriter, r *http.Request) { time.Sleep(each) }
	l := newLoad(t, Options{Target: Target{Endpoints: []string{serve(t, http.HandlerFunc(h))}}, Connections: 1, Records: 1})
	var all Progress
	r, err := l.Run(context.Background(), Phase{Workload: Gets, WarmUp: 10 * each, Duration: 2 * each, Progress: func(p Progress) { all = p }})
	if err != nil {
		t.Fatal(err)
	}
	if r.Ops > 2 || all.Ops <= r.Ops || all.Done != 1 {
		t.Errorf("%d operations counted of %+v", r.Ops, all)
	}
}

func TestAPutWithoutContextAfterOneWith(t *testing.T) {
	s := newRecorder()
	l := newLoad(t, Options{Target: Target{Endpoints: []string{serve(t, s)}}, Connections: 1, Records: 2})
	c := l.conns[0]
	c.begin(context.Background())
	for _, put := range []struct {
		record int
		token  string
	}{{0, ""}, {0, "after-1"}, {1, ""}} {
		if _, err := c.doPut(put.record, []byte("v"), put.token); err != nil {
			t.Fatal(err)
		}
	}
	if s.stale != 0 {
		t.Errorf("%d puts with another context than was given", s.stale)
	}
}

func TestTallyMerge(t *testing.T) {
	a, b := newTally(), newTally()
	a.add(reply{status: 200}, nil, time.Millisecond)
	b.add(reply{status: 200}, nil, 3*time.Millisecond)
	b.add(reply{status: 503}, nil, time.Hour)
	b.add(reply{}, errors.New("gone"), 0)
	a.merge(b)
	r := a.result(2 * time.Second)
	if r.Ops != 2 || r.OpsPerSecond != 1 || r.Errors != 2 || !maps.Equal(r.Statuses, map[string]int64{"200": 2, "503": 1, "transport": 1}) {
		t.Errorf("%+v", r)
	}
	if r.Latency.P50 != 3001 || r.Latency.Max < longestLatency.Microseconds() {
		t.Errorf("%+v", r.Latency)
	}
}

func TestCancel(t *testing.T) {
	reached := make(chan struct{})
	var once sync.Once
	h := func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(reached) })
		<-r.Context().Done()
	}
	l := newLoad(t, Options{Target: Target{Endpoints: []string{serve(t, http.HandlerFunc(h))}}, Connections: 3, Records: 1})
	ctx, cancel := context.WithCancelCause(context.Background())
	reason := errors.New("enough")
	go func() {
		<-reached
		cancel(reason)
	}()
	if _, err := l.Run(ctx, Phase{Workload: Gets, Duration: time.Hour}); !errors.Is(err, reason) {
		t.Errorf("Run: %v", err)
	}
	if err := l.Fill(ctx, nil); !errors.Is(err, reason) {
		t.Errorf("Fill: %v", err)
	}
}

// A server that answers before it has read the body leaves the transport
// reading it: the next request must not touch it. The race detector judges.
func TestAnswersBeforeTheBodyIsRead(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	l := newLoad(t, Options{Target: Target{Endpoints: []string{serve(t, http.HandlerFunc(h))}}, Connections: 2, Records: 1, ValueBytes: 1 << 20})
	if r := mustRun(t, l, Puts); r.Errors == 0 || r.Ops != 0 {
		t.Errorf("%+v", r)
	}
}

func TestOptions(t *testing.T) {
	good := Options{Target: Target{Endpoints: []string{"a:1"}}}
	for want, change := range map[string]func(*Options){
		"connections":  func(o *Options) { o.Connections = 5000 },
		"records":      func(o *Options) { o.Records = -1 },
		"value bytes":  func(o *Options) { o.ValueBytes = 1 << 40 },
		"no endpoints": func(o *Options) { o.Target.Endpoints = nil },
		"host:port":    func(o *Options) { o.Target.Endpoints = []string{"http://"} },
		"timeout":      func(o *Options) { o.Timeout = -1 },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	l := newLoad(t, good)
	if _, err := l.Run(context.Background(), Phase{Workload: Gets}); err == nil {
		t.Error("a run of no time")
	}
}

// The names in the JSON are part of the command line's contract.
func TestResultJSON(t *testing.T) {
	tl := newTally()
	tl.add(reply{status: 204}, nil, 3*time.Millisecond)
	tl.add(reply{}, errors.New("gone"), 0)
	b, err := json.Marshal(tl.result(time.Second))
	const want = `{"ops":1,"ops_per_second":1,"errors":1,"statuses":{"204":1,"transport":1},"latency_us":{"mean":3001,"p50":3001,"p90":3001,"p99":3001,"p999":3001,"max":3001}}`
	if err != nil || string(b) != want {
		t.Errorf("%s, want %s", b, want)
	}
}
