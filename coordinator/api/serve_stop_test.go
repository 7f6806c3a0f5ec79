package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"starling/coordinator"
	"starling/store/object"
)

// stops is how many servers TestNobodyIsCutOff stops in each of its cases;
// STARLING_TEST_STOPS has it search with more.
func stops(t *testing.T) int {
	n := 4
	if text := os.Getenv("STARLING_TEST_STOPS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// unevenKV takes a little while for some of its answers.
type unevenKV struct{ *memoryKV }

func (kv unevenKV) Get(ctx context.Context, req coordinator.GetRequest) (coordinator.GetResult, error) {
	if rand.IntN(4) == 0 {
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
	}
	return kv.memoryKV.Get(ctx, req)
}

// TestNobodyIsCutOff: callers who keep their connection and send one request
// after the other, some of them with pauses, see nothing but answers while a
// server stops, and refused connections once it has.
func TestNobodyIsCutOff(t *testing.T) {
	for _, delay := range []time.Duration{0, 20 * time.Millisecond} {
		t.Run(fmt.Sprint("drain delay ", delay), func(t *testing.T) {
			for range stops(t) {
				stopUnderLoad(t, delay)
			}
		})
	}
}

func stopUnderLoad(t *testing.T, delay time.Duration) {
	t.Helper()
	cluster := &staticCluster{}
	cluster.set(t, testMap())
	s, err := New(Options{KV: unevenKV{&memoryKV{now: time.Now, objects: map[string]object.Object{}}}, Cluster: cluster, DrainDelay: delay, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	const callers = 12
	var warm, calling sync.WaitGroup
	warm.Add(callers)
	for i := range callers {
		calling.Go(func() {
			n, err := callUntilRefused(ln.Addr().String(), time.Duration(i%3)*time.Millisecond, sync.OnceFunc(warm.Done))
			if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("after %d answers: %v", n, err)
			}
		})
	}
	warm.Wait()
	start := time.Now()
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	calling.Wait()
	if took := time.Since(start); took > s.opts.ShutdownGrace {
		t.Errorf("it took %v to stop: somebody had to be cut", took)
	}
}

// callUntilRefused sends requests, with a pause up to the one given between
// two, until one fails. It calls warm after some answers, or when it ends.
func callUntilRefused(addr string, pause time.Duration, warm func()) (answers int, err error) {
	defer warm()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for ; ; answers++ {
		if answers == 10 {
			warm()
		}
		method, body := http.MethodGet, ""
		if answers%2 == 0 {
			method, body = http.MethodPut, "value"
		}
		req, err := http.NewRequest(method, fmt.Sprint("http://", addr, testKey, answers), strings.NewReader(body))
		if err != nil {
			return answers, err
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return answers, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return answers, err
		}
		if pause > 0 {
			time.Sleep(time.Duration(rand.Int64N(int64(pause))))
		}
	}
}

// kept is a caller's end of a connection within the process.
type kept struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func keep(t *testing.T, p *pipes) kept {
	t.Helper()
	conn, err := p.dial()
	if err != nil {
		t.Fatal(err)
	}
	return kept{t, conn, bufio.NewReader(conn)}
}

const probe = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

// ask sends what is left of a request, and wants an answer that ends the
// connection or does not.
func (k kept) ask(rest string, last bool) {
	k.t.Helper()
	if _, err := io.WriteString(k, rest); err != nil {
		k.t.Fatal(err)
	}
	resp, err := http.ReadResponse(k.r, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 || resp.Close != last {
		k.t.Errorf("%d, the last on its connection: %v; %v", resp.StatusCode, resp.Close, err)
	}
}

// end waits for the end of the connection.
func (k kept) end() time.Time {
	k.t.Helper()
	if b, err := k.r.ReadByte(); err != io.EOF {
		k.t.Errorf("%q, %v", b, err)
	}
	return time.Now()
}

// TestQuietConnections: while a server stops, a kept connection is there for as
// long as it is in use, until an answer that says that it is the last.
func TestQuietConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop, served := bubble(t, Options{KV: &memoryKV{now: time.Now}})
		quiet, late, slow, hushed, unused := keep(t, p), keep(t, p), keep(t, p), keep(t, p), keep(t, p)
		for _, k := range []kept{quiet, late, slow, hushed} {
			k.ask(probe, false)
		}
		time.Sleep(time.Minute)
		start := time.Now()
		stop()
		synctest.Wait()
		hushed.ask(probe, false) // nobody is sent away while the door is open
		time.Sleep(hushTime)
		synctest.Wait()
		if _, err := p.dial(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a connection that comes too late: %v", err)
		}
		if _, err := io.WriteString(slow, probe[:len(probe)/2]); err != nil {
			t.Fatal(err)
		}
		hushed.ask(probe, true)
		hushed.end()
		time.Sleep(quietTime - 2*quietLook)
		late.ask(probe, true)
		late.end()
		for _, k := range []kept{quiet, unused} {
			if took := k.end().Sub(start); took < hushTime+quietTime || took > hushTime+quietTime+2*quietLook {
				t.Errorf("a quiet connection was closed after %v", took)
			}
		}
		time.Sleep(2 * quietTime)
		slow.ask(probe[len(probe)/2:], true)
		slow.end()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %v to stop", took)
		}
	})
}

// TestIdleServerStopsAtOnce: without connections there is nothing to wait for.
func TestIdleServerStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, stop, served := bubble(t, Options{KV: &memoryKV{now: time.Now}})
		synctest.Wait()
		start := time.Now()
		stop()
		if err := <-served; err != nil || time.Since(start) != hushTime {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// TestInputIsSeenBeforeItIsRead: what the system has for a connection counts,
// though nobody has read it yet.
func TestInputIsSeenBeforeItIsRead(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	mine, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	c := &servedConn{Conn: theirs}
	c.resting.Store(true)
	now := time.Now()
	if c.quiet(now) || c.quiet(now.Add(quietTime-1)) || !c.quiet(now.Add(quietTime)) {
		t.Error("a connection is quiet after quietTime, and not before")
	}
	if _, err := io.WriteString(mine, "x"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return hasInput(theirs) })
	if c.quiet(now.Add(quietTime)) {
		t.Error("a byte that waits to be read was overlooked")
	}
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if hasInput(theirs) || c.quiet(now.Add(quietTime)) || c.quiet(now.Add(3*quietTime)) {
		t.Error("a connection over which a request has begun to come is not quiet")
	}
}

// TestTheLastAreLetIn: who has come when the door is shut is not sent away with
// a reset, though nobody has accepted the connection yet; who comes later is
// refused.
func TestTheLastAreLetIn(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the system is not asked")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{KV: &memoryKV{}, Cluster: &staticCluster{}, MaxConnections: 100})
	if err != nil {
		t.Fatal(err)
	}
	door := newDoor(ln, s)
	const callers = 3
	for range callers {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := door.shutForGood(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("who comes later: %v", err)
	}
	for range callers {
		conn, err := door.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		b := make([]byte, 1)
		if _, err := io.ReadFull(conn, b); err != nil || b[0] != 'x' {
			t.Errorf("%q, %v", b, err)
		}
	}
	if _, err := door.Accept(); err == nil {
		t.Error("one more was let in")
	}
	if err := door.Close(); err != nil {
		t.Error(err)
	}
}
