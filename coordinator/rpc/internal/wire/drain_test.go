package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

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

// Callers go on calling while the server stops: whatever ran is answered, and
// the rest is refused; nobody is left in doubt.
func TestStopUnderLoad(t *testing.T) {
	for range 5 {
		stopUnderLoad(t)
	}
}

func stopUnderLoad(t *testing.T) {
	var ran, answered, refused atomic.Int64
	r := newRig(t, func(ctx context.Context, m uint8, payload []byte, reply *Buffer) error {
		time.Sleep(time.Duration(ran.Add(1)%4) * time.Millisecond)
		return echo(ctx, m, payload, reply)
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.opts.Dial = nil
	r.serveOn(ln)
	r.newPool()
	defer r.pool.Close()
	stopping := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for left := 3; left > 0; {
				conn, err := r.pool.Get(context.Background(), ln.Addr().String(), anyone, Class(i%2))
				if err == nil {
					_, err = callConn(context.Background(), conn, numbered(i))
				}
				var remote *RemoteError
				switch {
				case err == nil:
					if answered.Add(1) == 500 {
						close(stopping)
					}
					continue
				case errors.As(err, &remote) && string(remote.Payload) == ErrGoingAway.Error():
				case !errors.Is(err, ErrDown) || errors.Is(err, ErrLost):
					t.Errorf("got %v", err)
				}
				refused.Add(1)
				left--
			}
		})
	}
	<-stopping
	r.stop()
	wg.Wait()
	if ran.Load() != answered.Load() || refused.Load() != 3*64 {
		t.Fatalf("%d ran, %d were answered, %d refused", ran.Load(), answered.Load(), refused.Load())
	}
}
