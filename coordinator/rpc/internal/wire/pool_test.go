package wire

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneDialForAllCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.opts.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			time.Sleep(100 * time.Millisecond)
			return r.net.dial(ctx, addr)
		}
		r.start()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if got, err := r.call(t.Context(), "x"); got != "x" || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		wg.Wait()
		if got := r.net.dialled(); got != 1 {
			t.Fatalf("%d dials", got)
		}
	})
}

func TestClassesHaveTheirOwnConnections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.start()
		a := r.get(t.Context())
		b, err := r.pool.Get(t.Context(), "srv", Bulk)
		if err != nil || a == b {
			t.Fatalf("same connection %v, %v", a == b, err)
		}
		if again := r.get(t.Context()); again != a {
			t.Fatal("another interactive connection")
		}
	})
}

func TestRefusedDialFailsAtOnceAndBacksOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.newPool()
		r.t.Cleanup(r.pool.Close)
		start := time.Now()
		deadline := start.Add(10 * time.Second)
		for time.Now().Before(deadline) {
			_, err := r.call(t.Context(), "")
			wantErr(t, err, ErrDown)
			wantErr(t, err, syscall.ECONNREFUSED)
			certain(t, err)
			time.Sleep(time.Millisecond)
		}
		// 20, 40, ... 320, then every 500 ms.
		if got := r.net.dialled(); got < 20 || got > 26 {
			t.Fatalf("%d dials in 10 s", got)
		}
	})
}

func TestCallerWaitsForDialWithinItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.opts.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
			<-ctx.Done() // a black hole
			return nil, ctx.Err()
		}
		r.newPool()
		r.t.Cleanup(r.pool.Close)
		ctx, cancel := within(time.Second)
		defer cancel()
		start := time.Now()
		_, err := r.call(ctx, "")
		wantErr(t, err, ErrDown)
		wantErr(t, err, context.DeadlineExceeded)
		certain(t, err)
		if took := time.Since(start); took != time.Second {
			t.Fatalf("waited %v", took)
		}
		time.Sleep(DefaultDialTimeout)
		// Now it is known to be slow: nobody waits for it any more.
		for range 100 {
			start = time.Now()
			_, err = r.call(t.Context(), "")
			wantErr(t, err, ErrDown)
			if took := time.Since(start); took != 0 {
				t.Fatalf("waited %v", took)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

func TestReconnectAfterRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.start()
		r.get(t.Context())
		r.stop()
		synctest.Wait()
		_, err := r.call(t.Context(), "")
		wantErr(t, err, ErrDown)
		r.serve()
		start := time.Now()
		for {
			if got, err := r.call(t.Context(), "back"); err == nil && got == "back" {
				break
			}
			if time.Since(start) > maxBackoff {
				t.Fatal("no connection after the backoff")
			}
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(start); took > minBackoff {
			t.Fatalf("took %v after one failure, want %v", took, minBackoff)
		}
	})
}

func TestDialErrorsNameTheReason(t *testing.T) {
	other := [16]byte{0xc2}
	for _, c := range []struct {
		name string
		set  func(r *rig)
		want error
		text string
	}{
		{"another cluster", func(r *rig) { r.srv.Cluster = func() [16]byte { return other } }, ErrWrongCluster, "c2"},
		{"newer", func(r *rig) { r.srv.Versions = Versions{7, 9} }, ErrVersion, "7 to 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, echo)
				c.set(r)
				r.start()
				_, err := r.call(t.Context(), "")
				wantErr(t, err, c.want)
				wantErr(t, err, ErrDown)
				if !strings.Contains(err.Error(), c.text) {
					t.Errorf("%q does not say %q", err, c.text)
				}
			})
		})
	}
}

func TestWrongPort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		ln := r.net.listen("srv")
		go func() {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			nc.Read(make([]byte, 100))
			nc.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			nc.Close()
		}()
		r.newPool()
		r.t.Cleanup(r.pool.Close)
		r.t.Cleanup(func() { ln.Close() })
		_, err := r.call(t.Context(), "")
		wantErr(t, err, ErrMagic)
		if !strings.Contains(err.Error(), "HTTP") {
			t.Errorf("%q does not help", err)
		}
	})
}

func TestPrefaceTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.opts.DialTimeout = time.Minute
		r.start()
		silent := r.net.listen("silent")
		go func() {
			nc, err := silent.Accept()
			for err == nil {
				_, err = nc.Read(make([]byte, 100))
			}
		}()
		start := time.Now()
		_, err := r.pool.Get(t.Context(), "silent", Interactive)
		wantErr(t, err, ErrDown)
		if took := time.Since(start); took != DefaultPrefaceTimeout {
			t.Errorf("a silent server was given %v", took)
		}
		silent.Close()

		nc, err := r.net.dial(t.Context(), "srv")
		if err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		nc.Read(make([]byte, 1))
		if took := time.Since(start); took != DefaultPrefaceTimeout {
			t.Errorf("a silent client was given %v", took)
		}
		nc.Close()
	})
}

// The next version talks to this one, and this one to the one before.
func TestNeighbouringVersions(t *testing.T) {
	for _, c := range []struct {
		client, server Versions
		want           uint16
	}{
		{Versions{1, 1}, Versions{1, 2}, 1},
		{Versions{1, 2}, Versions{1, 1}, 1},
		{Versions{1, 2}, Versions{2, 3}, 2},
		{Versions{1, 2}, Versions{1, 2}, 2},
	} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, echo)
			r.opts.Versions, r.srv.Versions = c.client, c.server
			r.opts.Features, r.srv.Features = 1, 6
			r.start()
			if got, err := r.call(t.Context(), "x"); got != "x" || err != nil {
				t.Fatalf("%v: %q, %v", c, got, err)
			}
			conn := r.get(t.Context())
			if conn.Version() != c.want || conn.Peer().Features != 6 || conn.Peer().Node != r.srv.Node {
				t.Fatalf("%v: version %d, peer %+v", c, conn.Version(), conn.Peer())
			}
		})
	}
}

func TestUnjoined(t *testing.T) {
	const open, closed = 1, 2
	var none [16]byte
	other := [16]byte{0xc2}
	for _, c := range []struct {
		name           string
		client, server [16]byte
		open, closed   string // the error frames; "": none
	}{
		{"joined", testCluster, testCluster, "", ""},
		{"new client", none, testCluster, "", ErrNotJoined.Error()},
		{"new server", testCluster, none, "", ErrNotJoined.Error()},
		{"both new", none, none, "", ErrNotJoined.Error()},
		{"server joined another cluster meanwhile", testCluster, other, ErrWrongCluster.Error(), ErrWrongCluster.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, echo)
				r.opts.Cluster = func() [16]byte { return c.client }
				var joined atomic.Bool
				r.srv.Cluster = func() [16]byte {
					if c.server == other && !joined.Load() {
						return none
					}
					return c.server
				}
				r.srv.Unjoined = func(m uint8) bool { return m == open }
				r.start()
				conn := r.get(t.Context())
				joined.Store(true)
				for m, want := range map[uint8]string{open: c.open, closed: c.closed} {
					_, err := conn.Call(t.Context(), m, message(""))
					if want == "" && err != nil {
						t.Errorf("method %d: %v", m, err)
					} else if want != "" && !strings.HasPrefix(remoteText(t, err), want) {
						t.Errorf("method %d: %s", m, remoteText(t, err))
					}
				}
			})
		})
	}
}

// After joining, a node shows its cluster: connections from before are
// replaced, and calls on them end in peace.
func TestRejoin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var cluster atomic.Pointer[[16]byte]
		cluster.Store(&[16]byte{})
		gate := make(chan struct{})
		r := newRig(t, func(_ context.Context, m uint8, _ []byte, _ *Buffer) error {
			if m == 9 {
				<-gate
			}
			return nil
		})
		r.opts.Cluster = func() [16]byte { return *cluster.Load() }
		r.srv.Unjoined = func(m uint8) bool { return m == 9 }
		r.start()
		old := r.get(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := old.Call(t.Context(), 9, message("")); err != nil {
				t.Errorf("a call that ran: %v", err)
			}
		})
		synctest.Wait()
		cluster.Store(&testCluster)
		r.pool.Rejoin()
		if _, err := r.call(t.Context(), ""); err != nil {
			t.Fatalf("after joining: %v", err)
		}
		_, err := callConn(t.Context(), old, "")
		wantErr(t, err, ErrDown)
		close(gate)
		wg.Wait()
		synctest.Wait()
		select {
		case <-old.done:
		default:
			t.Fatal("the old connection is still open")
		}
	})
}

// A connection that was being opened when the node joined says that it has not:
// it is not used, and the next call opens another.
func TestJoiningDuringADial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var cluster atomic.Pointer[[16]byte]
		cluster.Store(&[16]byte{})
		r := newRig(t, echo)
		r.opts.Cluster = func() [16]byte { return *cluster.Load() }
		r.opts.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			nc, err := r.net.dial(ctx, addr)
			return joinsOnWrite{nc, func() { cluster.Store(&testCluster) }}, err
		}
		r.start()
		_, err := r.call(t.Context(), "")
		wantErr(t, err, ErrDown)
		certain(t, err)
		time.Sleep(minBackoff)
		if _, err := r.call(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	})
}

type joinsOnWrite struct {
	net.Conn
	join func()
}

func (c joinsOnWrite) Write(p []byte) (int, error) {
	c.join()
	return c.Conn.Write(p)
}

func TestPoolForgetsDeadPeers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.opts.MaxConns = 10
		r.start()
		r.get(t.Context())
		for i := range 9 {
			r.pool.Get(t.Context(), numbered(i), Interactive)
		}
		_, err := r.pool.Get(t.Context(), "one more", Interactive)
		wantErr(t, err, ErrDown)
		if !strings.Contains(err.Error(), "10 peers") {
			t.Fatalf("got %v", err)
		}
		time.Sleep(time.Second)
		_, err = r.pool.Get(t.Context(), "one more", Interactive)
		wantErr(t, err, syscall.ECONNREFUSED)
		if n := len(r.pool.peers); n > 10 {
			t.Fatalf("%d peers", n)
		}
		if _, err := r.call(t.Context(), ""); err != nil {
			t.Fatalf("the live one was forgotten: %v", err)
		}
	})
}

func TestClosedPool(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, _ uint8, _ []byte, _ *Buffer) error {
			<-ctx.Done()
			return ctx.Err()
		})
		r.start()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := r.call(t.Context(), "")
			wantErr(t, err, ErrLost)
		})
		synctest.Wait()
		r.pool.Close()
		wg.Wait()
		_, err := r.call(t.Context(), "")
		wantErr(t, err, ErrClosed)
		certain(t, err)
	})
}

func TestCloseEndsADial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		ln := r.net.listen("srv")
		t.Cleanup(func() { ln.Close() })
		accepted := make(chan net.Conn, 1)
		go func() {
			if nc, err := ln.Accept(); err == nil {
				accepted <- nc
			}
		}()
		r.newPool()
		got := make(chan error)
		go func() {
			_, err := r.pool.Get(t.Context(), "srv", Interactive)
			got <- err
		}()
		(<-accepted).Read(make([]byte, 1)) // it is in the preface
		start := time.Now()
		r.pool.Close()
		if err := <-got; !errors.Is(err, ErrDown) {
			t.Fatalf("got %v", err)
		}
		if time.Since(start) != 0 {
			t.Fatal("Close waited for the preface")
		}
	})
}
