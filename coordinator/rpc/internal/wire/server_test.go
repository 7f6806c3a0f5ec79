package wire

import (
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestServerBoundsItsConnections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.srv.MaxConns = 2
		r.start()
		a, err := r.net.dial(t.Context(), "srv")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.call(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		_, err = r.pool.Get(t.Context(), "srv", anyone, Bulk)
		wantErr(t, err, ErrDown)
		a.Close()
		synctest.Wait()
		time.Sleep(minBackoff)
		if _, err := r.pool.Get(t.Context(), "srv", anyone, Bulk); err != nil {
			t.Fatalf("after one has gone: %v", err)
		}
	})
}

func TestServerRefusesGarbage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.start()
		nc, err := r.net.dial(t.Context(), "srv")
		if err != nil {
			t.Fatal(err)
		}
		go nc.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		if n, err := nc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("answered %d bytes, %v", n, err)
		}
		nc.Close()
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for name, breakIt := range map[string]func(o *Options){
		"Cluster":           func(o *Options) { o.Cluster = nil },
		"MaxPending":        func(o *Options) { o.MaxPending = -1 },
		"DeadAfter":         func(o *Options) { o.PingEvery, o.DeadAfter = time.Second, 1999*time.Millisecond },
		"BusyDeadAfter":     func(o *Options) { o.BusyPingEvery, o.BusyDeadAfter = time.Second, 1999*time.Millisecond },
		"MaxServerInFlight": func(o *Options) { o.MaxServerInFlight = -1 },
		"DrainTimeout":      func(o *Options) { o.DrainTimeout = -1 },
	} {
		o := testOptions(t, &fabric{})
		if _, err := NewPool(o); err != nil {
			t.Fatal(err)
		}
		breakIt(&o)
		if _, err := NewPool(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// On real sockets too, nothing is left running.
func TestNoGoroutineLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opts := testOptions(t, nil)
	opts.Dial = nil
	srv, err := NewServer(ServerOptions{Options: opts, Handle: echo, EncodeError: func(dst []byte, err error) []byte { return dst }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln) }()
	pool, err := NewPool(opts)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			conn, err := pool.Get(context.Background(), ln.Addr().String(), anyone, Class(i%2))
			if err != nil {
				t.Error(err)
				return
			}
			for n := range 20 {
				if got, err := callConn(context.Background(), conn, numbered(n)); err != nil || got != numbered(n) {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	pool.Close()
	cancel()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
}
