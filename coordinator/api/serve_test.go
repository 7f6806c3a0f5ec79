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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/coordinator"
)

const labelQuorum = int(coordinator.LevelQuorum)

// panicKV panics when it is let go.
type panicKV struct{ *heldKV }

func (kv panicKV) Get(ctx context.Context, req coordinator.GetRequest) (coordinator.GetResult, error) {
	_, _ = kv.heldKV.Get(ctx, req)
	panic("too late")
}

// deafConn is a connection that nobody uses.
type deafConn struct{ net.Conn }

// TestMaxConnections: one connection too many is told so at once, without a
// request, and does not stand in the way of the next after one has ended.
func TestMaxConnections(t *testing.T) {
	f := serve(t, func(o *Options) { o.MaxConnections = 2 })
	var kept []net.Conn
	const probe = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	for range 2 {
		conn := f.dial()
		defer conn.Close()
		if _, err := io.WriteString(conn, probe); err != nil {
			t.Fatal(err)
		}
		f.receive(bufio.NewReader(conn), probe).want(200)
		kept = append(kept, conn)
	}
	for range 3 * maxLingering {
		conn := f.dial()
		a := f.receive(bufio.NewReader(conn), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		a.wantProblem(503, "overloaded", "2 connections")
		a.wantHeader("Retry-After", "1").wantClose(true)
		conn.Close()
	}
	if n := testutil.ToFloat64(f.server.metrics.refused[refusedConnections]); n != 3*maxLingering {
		t.Errorf("%v refusals are counted", n)
	}
	kept[0].Close()
	waitFor(t, func() bool { return f.server.connections.Load() == 1 })
	f.do("GET", "/healthz", "").want(200)
}

// TestTurnedAwayWithARequest: the answer survives a request that was sent
// before it came.
func TestTurnedAwayWithARequest(t *testing.T) {
	f := serve(t, func(o *Options) { o.MaxConnections = 1 })
	conn := f.dial()
	defer conn.Close()
	waitFor(t, func() bool { return f.server.connections.Load() == 1 })
	for range 20 {
		f.do("PUT", testKey, strings.Repeat("x", 30_000)).wantProblem(503, "overloaded")
	}
	if f.kv.calls() != 0 {
		t.Error("the KV was called")
	}
	// The answer is there, and what is still sent is taken for a while.
	taken := false
	for try := 0; try < 10 && !taken; try++ {
		late := f.dial()
		if _, err := io.Copy(io.Discard, late); err != nil {
			t.Fatal(err)
		}
		_, err1 := io.WriteString(late, "late")
		_, err2 := io.WriteString(late, "later")
		taken = err1 == nil && err2 == nil
		late.Close()
	}
	if !taken {
		t.Error("the connection is reset right behind the answer")
	}
}

// TestDraining: the node serves on, and asks its clients to leave.
func TestDraining(t *testing.T) {
	var draining atomic.Bool
	f := serve(t, func(o *Options) { o.Draining = draining.Load })
	conn := f.dial()
	defer conn.Close()
	r := bufio.NewReader(conn)
	ask := func(method, target string) *answer {
		t.Helper()
		request := method + " " + target + " HTTP/1.1\r\nHost: x\r\n\r\n"
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		return f.receive(r, request)
	}
	ask("PUT", testKey).want(204).wantClose(false)
	ask("GET", "/readyz").want(200).wantClose(false)
	draining.Store(true)
	a := ask("GET", testKey).want(200).wantClose(true)
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the connection is still there: %d %v", n, err)
	}
	for _, target := range []string{testKey, "/healthz", "/v1/ring"} {
		f.raw("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n").want(200).wantClose(true)
	}
	f.raw("PUT " + testKey + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n" + withContext(a.context()) + "\r\n\r\nv").want(204).wantClose(true)
	ready := f.raw("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
	ready.wantProblem(503, "not-ready", "stopping")
	ready.wantClose(true)
}

// pipes is a listener within the process, for tests in a bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial gives the other end of a new connection, or an error once closed.
func (p *pipes) dial() (net.Conn, error) {
	mine, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return mine, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// bubble serves within a synctest bubble.
func bubble(t *testing.T, o Options) (p *pipes, stop func(), served <-chan error) {
	t.Helper()
	cluster := &staticCluster{}
	cluster.set(t, testMap())
	o.Cluster, o.Logger = cluster, slog.New(slog.DiscardHandler)
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	p = newPipes()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, p) }()
	return p, stop, done
}

// TestDrainDelay: after the end of its context a server serves on, not ready,
// before it closes its listener.
func TestDrainDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop, served := bubble(t, Options{KV: &memoryKV{now: time.Now}, DrainDelay: 3 * time.Second})
		client := &http.Client{Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { return p.dial() },
		}}
		ask := func(path string) (int, bool) {
			t.Helper()
			resp, err := client.Get("http://node" + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			return resp.StatusCode, resp.Close
		}
		if status, last := ask("/readyz"); status != 200 || last {
			t.Errorf("before: %d, %v", status, last)
		}
		start := time.Now()
		stop()
		synctest.Wait()
		time.Sleep(3*time.Second - time.Millisecond)
		if status, last := ask("/readyz"); status != 503 || !last {
			t.Errorf("while it drains /readyz: %d, %v", status, last)
		}
		if status, last := ask(testKey); status != 404 || !last {
			t.Errorf("while it drains: %d, %v", status, last)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("it took %v", took)
		}
		if _, err := client.Get("http://node/healthz"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after it: %v", err)
		}
		client.CloseIdleConnections()
	})
}

// TestSlowBody: a body that comes a byte at a time ends with the time that a
// request may take to be read, and with it the place that it had.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := &memoryKV{now: time.Now}
		p, stop, served := bubble(t, Options{KV: kv, MaxInflight: 1})
		conn, err := p.dial()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		sent := make(chan int)
		go func() {
			_, err := io.WriteString(conn, "PUT "+testKey+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
			n := 0
			for ; err == nil && n < 1000; n++ {
				time.Sleep(time.Second)
				_, err = io.WriteString(conn, "x")
			}
			sent <- n
		}()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); resp.StatusCode != 400 || took != readTimeout || !resp.Close {
			t.Errorf("answered %d after %v, the connection closed: %v", resp.StatusCode, took, resp.Close)
		}
		_ = conn.Close()
		if n := <-sent; n > 61 || kv.calls() != 0 {
			t.Errorf("%d bytes were taken, and the KV called %d times", n, kv.calls())
		}
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
