package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"starling/gossip/state"
	"starling/ring"
	"starling/store/bucket"
	"starling/store/object"
	"starling/store/version"
)

// staticCluster is a cluster that does not change by itself.
type staticCluster struct {
	mu   sync.Mutex
	m    state.Map
	view *ring.View
	dead map[ring.NodeID]bool
}

func (c *staticCluster) Map() state.Map {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m
}

func (c *staticCluster) View() *ring.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view
}

func (c *staticCluster) Alive(id ring.NodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.dead[id]
}

func (c *staticCluster) set(t testing.TB, m state.Map) {
	t.Helper()
	view, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m, c.view = m, view
}

func nodeID(n byte) ring.NodeID { return ring.NodeID{0: n, 15: n} }

const testPartitions = 16

// testMap is a cluster of five active members n1..n5 that keeps three replicas.
func testMap() state.Map {
	m := state.Map{Settings: state.Settings{
		Cluster: [16]byte{0xc1}, Partitions: testPartitions, Replicas: 3, HashVersion: state.HashVersion, Secret: [32]byte{7: 9},
	}}
	for n := byte(1); n <= 5; n++ {
		m = m.With(state.Member{
			ID: nodeID(n), Name: fmt.Sprintf("n%d", n), Weight: 100, State: state.Active, Boot: 3, Version: state.FirstVersion(3),
			HTTP: fmt.Sprintf("127.0.0.1:47%d0", n), RPC: fmt.Sprintf("127.0.0.1:47%d1", n), Gossip: fmt.Sprintf("127.0.0.1:47%d2", n),
			Settled: state.FullBits(testPartitions),
		})
	}
	return m
}

// fixture is a server on a loopback socket.
type fixture struct {
	t       *testing.T
	kv      *memoryKV
	cluster *staticCluster
	server  *Server
	addr    string
	now     *testClock
}

type testClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// serve starts a server of options as tests want them, changed by change.
func serve(t *testing.T, change ...func(*Options)) *fixture {
	t.Helper()
	clock := &testClock{t: time.Date(2026, 11, 2, 10, 0, 0, 125e6, time.UTC)}
	f := &fixture{t: t, now: clock, cluster: &staticCluster{dead: map[ring.NodeID]bool{}},
		kv: &memoryKV{objects: map[string]object.Object{}, now: clock.Now}}
	f.kv.modeOf = func(stored string) bucket.Mode {
		name, _, _ := bucket.Split(stored)
		return f.cluster.Map().Buckets.Find(name).Properties.Mode
	}
	f.cluster.set(t, testMap())
	o := Options{KV: f.kv, Cluster: f.cluster, Self: nodeID(1), Name: "n1", Version: "test", Now: clock.Now,
		Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&o)
	}
	var err error
	if f.server, err = New(o); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return f
}

// answer is a whole response.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
	closes bool // the connection ends with it
}

// do sends one request exactly as it is given, reads the answer, and holds
// both against the OpenAPI document. headers are "Name: value" lines.
func (f *fixture) do(method, target, body string, headers ...string) *answer {
	f.t.Helper()
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: starling"}, headers...)
	if body != "" && !slices.ContainsFunc(headers, isFraming) {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	lines = append(lines, "Connection: close")
	return f.raw(strings.Join(lines, "\r\n") + "\r\n\r\n" + body)
}

func isFraming(line string) bool {
	return strings.HasPrefix(line, "Content-Length:") || strings.HasPrefix(line, "Transfer-Encoding:")
}

// raw is do for a request that is written out. The sending side is closed
// after it, so that what is missing is missing for good.
func (f *fixture) raw(request string) *answer {
	f.t.Helper()
	conn := f.dial()
	defer conn.Close()
	sent := make(chan struct{})
	go func() { // a refused body may never be read
		defer close(sent)
		_, _ = io.WriteString(conn, request)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	a := f.receive(bufio.NewReader(conn), request)
	conn.Close()
	<-sent
	return a
}

func (f *fixture) dial() net.Conn {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// receive reads the answer to a request that was sent.
func (f *fixture) receive(r *bufio.Reader, request string) *answer {
	f.t.Helper()
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		f.t.Fatalf("reading the answer to %.80q: %v", request, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatalf("reading the answer to %.80q: %v", request, err)
	}
	a := &answer{t: f.t, status: resp.StatusCode, header: resp.Header, body: body, closes: resp.Close}
	if req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request))); err == nil {
		checkExchange(f.t, req, a)
	}
	return a
}

func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d; %s", a.status, status, a.body)
	}
	return a
}

// wantProblem checks that a is a problem with this slug, and that its detail
// mentions each of words.
func (a *answer) wantProblem(status int, slug string, words ...string) map[string]any {
	a.t.Helper()
	a.want(status)
	var doc map[string]any
	a.decode(&doc)
	if got := doc["type"]; got != "/problems/"+slug {
		a.t.Fatalf("problem type %v, want %s; %s", got, slug, a.body)
	}
	if a.header.Get("Content-Type") != "application/problem+json" {
		a.t.Fatalf("Content-Type %q", a.header.Get("Content-Type"))
	}
	for _, w := range words {
		if !strings.Contains(doc["detail"].(string), w) {
			a.t.Errorf("detail %q does not mention %q", doc["detail"], w)
		}
	}
	return doc
}

func (a *answer) decode(v any) {
	a.t.Helper()
	d := json.NewDecoder(bytes.NewReader(a.body))
	if err := d.Decode(v); err != nil {
		a.t.Fatalf("%v in %s", err, a.body)
	}
}

// wantClose checks whether the connection ends with the answer.
func (a *answer) wantClose(closes bool) *answer {
	a.t.Helper()
	if a.closes != closes {
		a.t.Errorf("the answer %d ends the connection: %v", a.status, a.closes)
	}
	return a
}

func (a *answer) wantHeader(name, value string) *answer {
	a.t.Helper()
	if got := a.header.Get(name); got != value {
		a.t.Errorf("%s: %q, want %q", name, got, value)
	}
	return a
}

func (a *answer) wantBody(body string) *answer {
	a.t.Helper()
	if string(a.body) != body {
		a.t.Errorf("body %q, want %q", a.body, body)
	}
	return a
}

// context is the token of an answer about a key, which must have one.
func (a *answer) context() string {
	a.t.Helper()
	token := a.header.Get(hContext)
	if token == "" {
		a.t.Fatalf("the answer %d has no context", a.status)
	}
	return token
}

// seen is what the token of an answer about bucket b stands for.
func (f *fixture) seen(a *answer, key string) version.Context {
	f.t.Helper()
	m := f.cluster.Map()
	c, err := version.Open(m.Settings.Secret[:], "b", key, a.context())
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func withContext(token string) string { return hContext + ": " + token }

// declare declares a bucket behind the server's back.
func (f *fixture) declare(name string, p bucket.Properties) {
	f.t.Helper()
	m := f.cluster.Map()
	next, err := m.Buckets.With(m.Buckets.Find(name).Declare(p, [16]byte{1}))
	if err != nil {
		f.t.Fatal(err)
	}
	m.Buckets = next
	f.cluster.set(f.t, m)
}
