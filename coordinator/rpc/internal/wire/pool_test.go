package wire

import (
	"context"
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
		b, err := r.pool.Get(t.Context(), "srv", anyone, Bulk)
		if err != nil || a == b {
			t.Fatalf("same connection %v, %v", a == b, err)
		}
		if again := r.get(t.Context()); again != a {
			t.Fatal("another interactive connection")
		}
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

// Who hears that a connection has ended, and tries again, gets another one.
func TestPoolHearsOfAnEndFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.start()
		conn := r.get(t.Context())
		w := conn.newCall()
		if _, err := conn.register(w); err != nil {
			t.Fatal(err)
		}
		drop, dropped := conn.onRetire, false
		conn.onRetire = func(reason error) {
			if len(w.done) > 0 {
				t.Error("the call heard first")
			}
			dropped = true
			drop(reason)
		}
		conn.fail(ErrDead)
		if <-w.done; !dropped {
			t.Error("the pool was not told")
		}
	})
}

func TestPoolForgetsDeadPeers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.opts.MaxConns = 10
		r.start()
		r.get(t.Context())
		for i := range 9 {
			r.pool.Get(t.Context(), numbered(i), anyone, Interactive)
		}
		_, err := r.pool.Get(t.Context(), "one more", anyone, Interactive)
		wantErr(t, err, ErrDown)
		if !strings.Contains(err.Error(), "10 peers") {
			t.Fatalf("got %v", err)
		}
		time.Sleep(time.Second)
		_, err = r.pool.Get(t.Context(), "one more", anyone, Interactive)
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
