package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestDeadlineIsKept: a KV that neither looks at its context nor returns does
// not keep the caller waiting. Its requests count until it does.
func TestDeadlineIsKept(t *testing.T) {
	kv := newHeldKV(8)
	f := serve(t, func(o *Options) { o.KV, o.MaxInflight = kv, 3 })
	for i, method := range []string{"GET", "PUT", "DELETE"} {
		start := time.Now()
		a := f.do(method, testKey+"?timeout=150ms", "")
		took := time.Since(start)
		doc := a.wantProblem(504, "deadline-exceeded", "deadline passed")
		if write := method != "GET"; doc["maybe_applied"] != write {
			t.Errorf("%s: %v", method, doc)
		}
		if took < 150*time.Millisecond {
			t.Errorf("%s: answered after %v, before the deadline", method, took)
		}
		<-kv.entered
		if got := f.server.admission.requests.Load(); got != int64(i+1) {
			t.Errorf("%d requests are in flight", got)
		}
	}
	f.do("GET", testKey, "").wantProblem(503, "overloaded")
	close(kv.leave)
	waitFor(t, func() bool { return f.server.admission.requests.Load() == 0 })
	f.do("GET", testKey, "").want(404)
	<-kv.entered
	if n := testutil.ToFloat64(f.server.metrics.overdue); n != 3 {
		t.Errorf("%v requests are counted as overdue", n)
	}
	for _, op := range []op{opGet, opPut, opDelete} {
		if h := f.server.metrics.handles[op][labelQuorum][504-minStatus].Load(); h == nil || testutil.ToFloat64(*h) != 1 {
			t.Errorf("%v: not counted once as 504", op)
		}
		if h := f.server.metrics.handles[op][labelQuorum][200-minStatus].Load(); h != nil {
			t.Errorf("%v: counted as 200", op)
		}
	}
}

// TestPanicAfterTheDeadline is no second answer.
func TestPanicAfterTheDeadline(t *testing.T) {
	kv := newHeldKV(1)
	f := serve(t, func(o *Options) { o.KV = panicKV{kv} })
	f.do("GET", testKey+"?timeout=1ms", "").wantProblem(504, "deadline-exceeded")
	close(kv.leave)
	waitFor(t, func() bool { return testutil.ToFloat64(f.server.metrics.panics) == 1 })
	waitFor(t, func() bool { return f.server.admission.requests.Load() == 0 })
	if h := f.server.metrics.handles[opGet][labelQuorum][500-minStatus].Load(); h != nil {
		t.Error("counted as 500 too")
	}
}

// TestOverdueElsewhere: under another server, whose connections are not known,
// the handler answers, however late.
func TestOverdueElsewhere(t *testing.T) {
	kv := newHeldKV(1)
	f := serve(t, func(o *Options) { o.KV = kv })
	got := make(chan int, 1)
	go func() {
		rec := httptest.NewRecorder()
		f.server.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, testKey+"?timeout=1ms", nil))
		got <- rec.Code
	}()
	<-kv.entered
	if late := f.server.overdue.take(time.Now().Add(time.Hour)); len(late) != 0 {
		t.Errorf("%d requests were taken", len(late))
	}
	close(kv.leave)
	if status := <-got; status != 404 {
		t.Errorf("status %d", status)
	}
}

// TestOverdueList: requests come and go in any order, and each is answered by
// one side.
func TestOverdueList(t *testing.T) {
	var o overdue
	conn := withConn(context.Background(), &deafConn{})
	now := time.Now()
	request := func(deadline time.Duration) (*keyRequest, context.Context, context.CancelFunc) {
		q := &keyRequest{r: httptest.NewRequest(http.MethodGet, testKey, nil).WithContext(conn)}
		ctx, cancel := context.WithDeadline(conn, now.Add(deadline))
		return q, ctx, cancel
	}
	var all []*keyRequest
	for i := range 5 {
		q, ctx, cancel := request(time.Duration(i) * time.Second)
		defer cancel()
		o.enter(q, ctx)
		all = append(all, q)
	}
	for range 2 {
		if !o.leave(all[2]) {
			t.Error("one that left is not its own")
		}
	}
	late := o.take(now.Add(3*time.Second + 1))
	if len(late) != 3 || late[0] != all[3] || late[1] != all[1] || late[2] != all[0] {
		t.Errorf("%d were taken", len(late))
	}
	for range 2 {
		if o.leave(all[0]) || !o.leave(all[4]) {
			t.Error("both sides answer, or none")
		}
	}
	if late := o.take(now.Add(time.Hour)); late != nil || o.first != nil {
		t.Errorf("left over: %v", late)
	}
}
