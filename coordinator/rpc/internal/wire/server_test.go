package wire

import (
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A peer whose reads and writes vanish is noticed by both sides.
func TestHalfOpenPeerIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		var pings atomic.Int64
		fakePeer(r, func(nc net.Conn) {
			frames(nc, func(h header, _ []byte) {
				if h.kind == kindPing {
					pings.Add(1) // and says nothing
				}
			})
		})
		start := time.Now()
		_, err := r.call(t.Context(), "")
		wantErr(t, err, ErrLost)
		wantErr(t, err, ErrDead)
		if took := time.Since(start); took < DefaultPingEvery || took > DefaultDeadAfter+DefaultPingEvery/4 {
			t.Fatalf("noticed after %v", took)
		}
		if pings.Load() == 0 {
			t.Fatal("no ping")
		}
	})
}

// A peer that sends and never reads is noticed by the write that stands still.
func TestStalledWriteIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		fakePeer(r, func(nc net.Conn) {
			for {
				if _, err := nc.Write(frame(header{kind: kindPong}, "")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		start := time.Now()
		_, err := r.call(t.Context(), "")
		wantErr(t, err, ErrDead)
		if took := time.Since(start); took > DefaultDeadAfter+DefaultPingEvery {
			t.Fatalf("noticed after %v", took)
		}
	})
}

func TestDeadClientIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ended := make(chan error, 1)
		r := newRig(t, func(ctx context.Context, _ uint8, _ []byte, _ *Buffer) error {
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		})
		r.start()
		nc, err := r.net.dial(t.Context(), "srv")
		if err != nil {
			t.Fatal(err)
		}
		nc.Write(AppendPreface(nil, Preface{Versions: Versions{MinVersion, MaxVersion}, Cluster: testCluster}))
		if _, err := ReadPreface(nc); err != nil {
			t.Fatal(err)
		}
		nc.Write(frame(header{id: 1, kind: kindRequest, method: 1}, ""))
		start := time.Now()
		<-ended
		if took := time.Since(start); took > DefaultDeadAfter+DefaultPingEvery {
			t.Fatalf("noticed after %v", took)
		}
		nc.Close()
	})
}

func TestIdleConnectionStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.start()
		conn := r.get(t.Context())
		time.Sleep(time.Hour)
		if r.get(t.Context()) != conn || r.net.dialled() != 1 {
			t.Fatal("another connection")
		}
		if got, err := callConn(t.Context(), conn, "x"); got != "x" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	})
}

// A frame that trickles in is no dead peer.
func TestSlowFrameIsNotDead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		fakePeer(r, func(nc net.Conn) {
			in := newFrameReader(nc, MaxPayload)
			h, _, _ := in.next()
			go frames(nc, nil)
			for _, b := range frame(header{id: h.id, kind: kindResponse}, "slow answer") {
				time.Sleep(4 * time.Second)
				nc.Write([]byte{b})
			}
		})
		got, err := r.call(t.Context(), "")
		if got != "slow answer" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	})
}

func TestGoAwayDrains(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		r := newRig(t, func(ctx context.Context, m uint8, payload []byte, reply *Buffer) error {
			if string(payload) == "slow" {
				<-gate
			}
			return echo(ctx, m, payload, reply)
		})
		r.start()
		old := r.get(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if got, err := callConn(t.Context(), old, "slow"); got != "slow" || err != nil {
				t.Errorf("a request that ran: %q, %v", got, err)
			}
		})
		synctest.Wait()
		stopped := make(chan struct{})
		go func() {
			r.stop()
			close(stopped)
		}()
		synctest.Wait()
		select {
		case <-stopped:
			t.Fatal("stopped while a request ran")
		default:
		}
		_, err := callConn(t.Context(), old, "new")
		wantErr(t, err, ErrDown)
		wantErr(t, err, ErrGoingAway)
		_, err = r.call(t.Context(), "new")
		wantErr(t, err, ErrDown)
		start := time.Now()
		close(gate)
		<-stopped
		wg.Wait()
		if took := time.Since(start); took != 0 {
			t.Fatalf("the drain went on for %v", took)
		}
	})
}

func TestIdleConnectionsDoNotHoldTheDrain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.start()
		if _, err := r.call(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		r.stop()
		if took := time.Since(start); took != 0 {
			t.Fatalf("took %v", took)
		}
	})
}

// A request that crosses the goaway is refused, not lost.
func TestRequestAfterGoAwayIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.srv.DrainTimeout = 3 * time.Second // before the first ping
		r.start()
		nc, err := r.net.dial(t.Context(), "srv")
		if err != nil {
			t.Fatal(err)
		}
		nc.Write(AppendPreface(nil, Preface{Versions: Versions{MinVersion, MaxVersion}, Cluster: testCluster}))
		if _, err := ReadPreface(nc); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		go r.stop()
		in := newFrameReader(nc, MaxPayload)
		if h, _, err := in.next(); err != nil || h.kind != kindGoAway {
			t.Fatalf("%+v, %v", h, err)
		}
		nc.Write(frame(header{id: 1, kind: kindRequest, method: 1}, "x"))
		h, payload, err := in.next()
		if err != nil || h.kind != kindError || h.id != 1 || string(payload) != ErrGoingAway.Error() {
			t.Fatalf("%+v, %q, %v", h, payload, err)
		}
		start := time.Now()
		if _, _, err := in.next(); err != io.EOF {
			t.Fatalf("got %v", err)
		}
		if took := time.Since(start); took != r.srv.DrainTimeout {
			t.Fatalf("a client that stays was given %v", took)
		}
		nc.Close()
	})
}

func TestDrainTimeoutCancelsHandlers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, _ uint8, _ []byte, _ *Buffer) error {
			<-ctx.Done()
			return ctx.Err()
		})
		r.srv.DrainTimeout = time.Second
		r.start()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := r.call(t.Context(), "")
			wantErr(t, err, ErrLost)
		})
		synctest.Wait()
		start := time.Now()
		r.stop()
		if took := time.Since(start); took != time.Second {
			t.Fatalf("took %v", took)
		}
		wg.Wait()
	})
}

func TestStopDuringPreface(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.start()
		nc, err := r.net.dial(t.Context(), "srv")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		start := time.Now()
		r.stop()
		if took := time.Since(start); took != 0 {
			t.Fatalf("took %v", took)
		}
		if n, err := nc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("read %d bytes, %v", n, err)
		}
	})
}

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
		_, err = r.pool.Get(t.Context(), "srv", Bulk)
		wantErr(t, err, ErrDown)
		a.Close()
		synctest.Wait()
		time.Sleep(minBackoff)
		if _, err := r.pool.Get(t.Context(), "srv", Bulk); err != nil {
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
		"Cluster":      func(o *Options) { o.Cluster = nil },
		"MaxPending":   func(o *Options) { o.MaxPending = -1 },
		"DeadAfter":    func(o *Options) { o.PingEvery, o.DeadAfter = time.Second, 1999*time.Millisecond },
		"DrainTimeout": func(o *Options) { o.DrainTimeout = -1 },
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
			conn, err := pool.Get(context.Background(), ln.Addr().String(), Class(i%2))
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
