package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/coordinator"
	"starling/store/object"
	"starling/store/version"
)

// heldKV keeps every request until it is let go. It does not look at the
// context.
type heldKV struct {
	get     coordinator.GetResult
	entered chan object.Sibling
	leave   chan struct{}
}

func newHeldKV(room int) *heldKV {
	return &heldKV{entered: make(chan object.Sibling, room), leave: make(chan struct{})}
}

func (kv *heldKV) Get(context.Context, coordinator.GetRequest) (coordinator.GetResult, error) {
	kv.entered <- object.Sibling{}
	<-kv.leave
	return kv.get, nil
}

func (kv *heldKV) Put(_ context.Context, req coordinator.PutRequest) (coordinator.PutResult, error) {
	kv.entered <- req.Sibling
	<-kv.leave
	runtime.KeepAlive(req) // as a KV does that still works on it
	return coordinator.PutResult{Acked: 2, Required: 2, Coordinator: nodeID(1)}, nil
}

// TestAdmission: the arithmetic, against one that is plainly right.
func TestAdmission(t *testing.T) {
	a := admission{maxRequests: 3, maxBytes: 100}
	rng := rand.New(rand.NewPCG(1, 2))
	var held []int64
	used := int64(0)
	for range 10000 {
		n := rng.Int64N(60)
		switch rng.IntN(4) {
		case 0:
			if got, want := a.enter(), len(held) < 3; got != want {
				t.Fatalf("entered %v with %d requests", got, len(held))
			} else if got {
				held = append(held, 0)
			}
		case 1, 2:
			if len(held) == 0 {
				continue
			}
			take, want := a.reserve, used+n <= 100
			if n%2 == 0 {
				take, want = a.overdraw, used < 100
			}
			if got := take(n); got != want {
				t.Fatalf("%d of 100 bytes are used, and %d more: %v", used, n, got)
			} else if got {
				held[0] += n
				used += n
			}
		case 3:
			if len(held) > 0 {
				a.leave(held[0])
				used -= held[0]
				held = held[1:]
			}
		}
		if a.requests.Load() != int64(len(held)) || a.bytes.Load() != used {
			t.Fatalf("%d requests and %d bytes, want %d and %d", a.requests.Load(), a.bytes.Load(), len(held), used)
		}
	}
}

// TestAdmissionAtOnce: no number of callers passes the bounds together.
func TestAdmissionAtOnce(t *testing.T) {
	a := admission{maxRequests: 5, maxBytes: 100}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 2000 {
				if !a.enter() {
					continue
				}
				var held int64
				for a.reserve(7) {
					held += 7
				}
				if used := a.bytes.Load(); used > 100 {
					t.Errorf("%d bytes", used)
				}
				a.leave(held)
			}
		})
	}
	callers.Wait()
	if a.requests.Load() != 0 || a.bytes.Load() != 0 {
		t.Errorf("%d requests and %d bytes are left", a.requests.Load(), a.bytes.Load())
	}
}

// TestBytesInFlight: values being written count until their request ends,
// whether their length is known or not.
func TestBytesInFlight(t *testing.T) {
	kv := newHeldKV(8)
	f := serve(t, func(o *Options) {
		o.KV, o.MaxInflight, o.MaxInflightBytes, o.MaxValueBytes = kv, 4, 100_000, 100_000
		o.DefaultTimeout = time.Minute // what is held here may take its time
	})
	put := func(body string, headers ...string) <-chan *answer {
		got := make(chan *answer, 1)
		go func() { got <- f.do("PUT", testKey, body, headers...) }()
		return got
	}
	first := put(strings.Repeat("x", 60_000))
	<-kv.entered
	second := put(chunked(strings.Repeat("y", 30_000)), "Transfer-Encoding: chunked")
	if sib := <-kv.entered; len(sib.Value) != 30_000 {
		t.Errorf("a value of %d bytes", len(sib.Value))
	}
	if got := f.server.admission.bytes.Load(); got < 90_000 || got > 100_000 {
		t.Errorf("%d bytes are counted", got)
	}
	if got := f.server.Pressure(); got != 0.5 {
		t.Errorf("2 of 4 requests are a pressure of %v", got)
	}
	f.do("PUT", testKey, strings.Repeat("z", 20_000)).wantProblem(503, "overloaded", "100000 bytes", "Nothing was written")
	f.do("PUT", testKey, chunked(strings.Repeat("z", 20_000)), "Transfer-Encoding: chunked").wantProblem(503, "overloaded")
	if n := testutil.ToFloat64(f.server.metrics.refused[refusedBytes]); n != 2 {
		t.Errorf("%v refusals are counted", n)
	}
	close(kv.leave)
	(<-first).want(204)
	(<-second).want(204)
	f.do("PUT", testKey, strings.Repeat("z", 100_000)).want(204)
	<-kv.entered
	if got := f.server.admission.bytes.Load(); got != 0 {
		t.Errorf("%d bytes are still counted", got)
	}
	if got := f.server.Pressure(); got != 0 {
		t.Errorf("a pressure of %v without requests", got)
	}
}

// TestLargeAnswersCount: a read is refused while answers that go out slowly
// use up the bound; small ones and those without a body are not.
func TestLargeAnswersCount(t *testing.T) {
	f := serve(t, func(o *Options) { o.MaxValueBytes, o.MaxInflightBytes = 4<<20, 4<<20 })
	object := func(bytes int) coordinator.GetResult {
		return coordinator.GetResult{Required: 1, Received: 1, Object: object.Object{Vector: version.Vector{{Actor: 1, Seq: 1}},
			Siblings: []object.Sibling{{Dot: version.Dot{Actor: 1, Seq: 1}, ContentType: "a/b", Value: make([]byte, bytes)}}}}
	}
	res := object(16 << 20) // more than the sockets between the two take
	f.kv.onGet = func(context.Context, coordinator.GetRequest) (coordinator.GetResult, error) { return res, nil }
	conn := f.dial()
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET "+testKey+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatal(line, err)
	}
	f.kv.mu.Lock()
	res = object(smallAnswer + 1)
	f.kv.mu.Unlock()
	f.do("GET", testKey, "").wantProblem(503, "overloaded")
	f.do("HEAD", testKey, "").want(200)
	f.kv.mu.Lock()
	res = object(smallAnswer)
	f.kv.mu.Unlock()
	f.do("GET", testKey, "").want(200)
	if _, err := io.CopyN(io.Discard, r, 16<<20); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return f.server.admission.bytes.Load() == 0 })
	f.do("GET", testKey, "").want(200)
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come true")
		}
	}
}

// TestRefusedBodies: a refusal does not wait for the body, and keeps the
// connection only where that costs next to nothing.
func TestRefusedBodies(t *testing.T) {
	f := serve(t, func(o *Options) { o.MaxInflight = 1; o.KV = newHeldKV(1) })
	held := f.server.opts.KV.(*heldKV)
	first := make(chan int, 1)
	go func() { first <- f.do("GET", testKey, "").status }()
	<-held.entered
	for _, tt := range []struct {
		name, head, body string
		keeps            bool
	}{
		{"none", "Content-Length: 0\r\n", "", true},
		{"small", "Content-Length: 4096\r\n", strings.Repeat("x", 4096), true},
		{"larger, of which nothing comes", "Content-Length: 4097\r\n", "", false},
		{"large, of which nothing comes", "Content-Length: 1000000\r\n", "", false},
		{"of unknown length", "Transfer-Encoding: chunked\r\n", "1\r\nx\r\n", false},
	} {
		conn := f.dial()
		r := bufio.NewReader(conn)
		request := "PUT " + testKey + " HTTP/1.1\r\nHost: x\r\n" + tt.head + "\r\n"
		if _, err := io.WriteString(conn, request+tt.body); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		a := f.receive(r, request)
		a.wantProblem(503, "overloaded")
		if a.closes == tt.keeps {
			t.Errorf("%s: the connection is closed: %v", tt.name, a.closes)
		}
		if tt.keeps {
			if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			f.receive(r, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").want(200)
		} else if n, err := io.Copy(io.Discard, conn); n != 0 || time.Since(start) > 5*time.Second {
			t.Errorf("%s: the connection ended after %v with %d bytes more, %v", tt.name, time.Since(start), n, err)
		}
		conn.Close()
	}
	fastest := time.Hour
	for range 5 {
		conn := f.dial()
		start := time.Now()
		if _, err := io.WriteString(conn, "PUT "+testKey+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		f.receive(bufio.NewReader(conn), "PUT").wantProblem(503, "overloaded")
		fastest = min(fastest, time.Since(start))
		conn.Close()
	}
	if fastest >= lingerTime {
		t.Errorf("an answer took %v: it waits for the body", fastest)
	}
	close(held.leave)
	if status := <-first; status != 404 {
		t.Errorf("the one that was let in was answered %d", status)
	}
}

// TestRefusedAfterTheBody: a body that was read is no reason to close.
func TestRefusedAfterTheBody(t *testing.T) {
	f := serve(t)
	f.kv.onPut = func(context.Context, coordinator.PutRequest) (coordinator.PutResult, error) {
		return coordinator.PutResult{}, coordinator.ErrOverloaded
	}
	conn := f.dial()
	defer conn.Close()
	r := bufio.NewReader(conn)
	for _, body := range []string{"Content-Length: 10000\r\n\r\n" + strings.Repeat("x", 10_000), "Transfer-Encoding: chunked\r\n\r\n" + chunked("x")} {
		request := "PUT " + testKey + " HTTP/1.1\r\nHost: x\r\n" + body
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		a := f.receive(r, request).wantClose(false)
		a.wantProblem(503, "overloaded")
	}
}

// TestAnswerBytes: several values are copied into a document.
func TestAnswerBytes(t *testing.T) {
	value := object.Sibling{Value: make([]byte, 100)}
	for n, want := range []int64{0, 100, 400} {
		if got := answerBytes(slices.Repeat([]object.Sibling{value}, n)); got != want {
			t.Errorf("%d values are counted as %d bytes, want %d", n, got, want)
		}
	}
}

// TestMemoryUnderOverload: with 20 times as many clients as are served at
// once, each of them writing 1 MiB, the heap stays near MaxInflightBytes.
func TestMemoryUnderOverload(t *testing.T) {
	const (
		inflight    = 64
		clients     = 20 * inflight
		valueBytes  = 1 << 20
		boundBytes  = 16 << 20
		marginBytes = 32 << 20 // connections, and what the test itself needs
	)
	kv := newHeldKV(inflight)
	f := serve(t, func(o *Options) { o.KV, o.MaxInflight, o.MaxInflightBytes = kv, inflight, boundBytes })
	before := heapInUse()
	value := make([]byte, valueBytes)
	head := fmt.Sprintf("PUT %s?timeout=1m HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", testKey, valueBytes)
	statuses := make(chan int, clients)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() { statuses <- f.send(head, value) })
	}
	served := boundBytes / valueBytes
	for range served {
		<-kv.entered
	}
	for range clients - served {
		if status := <-statuses; status != http.StatusServiceUnavailable {
			t.Errorf("a client too many was answered %d", status)
		}
	}
	if grown := heapInUse() - before; grown > boundBytes+marginBytes || grown < boundBytes {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	close(kv.leave)
	all.Wait()
	for range served {
		if status := <-statuses; status != http.StatusNoContent {
			t.Errorf("a client that was let in was answered %d", status)
		}
	}
}

// send writes a request while its answer is awaited, as a client does that
// must not lose an early answer. It gives the status, 0 for none.
func (f *fixture) send(head string, body []byte) int {
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.t.Error(err)
		return 0
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		if _, err := io.WriteString(conn, head); err == nil {
			_, _ = conn.Write(body) // a refused body may never be read
		}
	}()
	defer func() { <-written }()
	defer func() { _ = conn.Close() }()
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
	if err != nil {
		f.t.Error(err)
		return 0
	}
	return resp.StatusCode
}

// heapInUse is the heap after everything that can go has gone.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}
