package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestCallRoundTrip(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, method uint8, payload []byte, reply *Buffer) error {
			if method == 2 {
				return errors.New("said no to " + string(payload))
			}
			return echo(ctx, method, payload, reply)
		})
		r.start()
		for _, body := range []string{"", "small", strings.Repeat("x", 3<<20)} {
			got, err := r.call(t.Context(), body)
			if err != nil || got != body {
				t.Fatalf("%d bytes: got %d, %v", len(body), len(got), err)
			}
		}
		_, err := r.get(t.Context()).Call(t.Context(), 2, message("me"))
		if got := remoteText(t, err); got != "said no to me" {
			t.Fatalf("got %q", got)
		}
		if r.net.dialled() != 1 {
			t.Fatalf("%d dials for one peer", r.net.dialled())
		}
	})
}

func TestRepliesOutOfOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gates := [3]chan struct{}{make(chan struct{}), make(chan struct{}), make(chan struct{})}
		r := newRig(t, func(ctx context.Context, m uint8, payload []byte, reply *Buffer) error {
			<-gates[payload[0]]
			return echo(ctx, m, payload, reply)
		})
		r.start()
		ended := make(chan byte, 3)
		var wg sync.WaitGroup
		for i := range byte(3) {
			wg.Go(func() {
				got, err := r.call(t.Context(), string(rune(i)))
				if err != nil || got != string(rune(i)) {
					t.Errorf("call %d: %q, %v", i, got, err)
				}
				ended <- i
			})
		}
		for _, i := range []byte{2, 0, 1} {
			synctest.Wait()
			close(gates[i])
			if got := <-ended; got != i {
				t.Fatalf("call %d ended, want %d", got, i)
			}
		}
		wg.Wait()
	})
}

func TestDeadlineReachesHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		left, ended := make(chan time.Duration, 1), make(chan time.Time, 1)
		r := newRig(t, func(ctx context.Context, _ uint8, _ []byte, _ *Buffer) error {
			d, ok := ctx.Deadline()
			if !ok {
				return errors.New("no deadline")
			}
			left <- time.Until(d)
			<-ctx.Done()
			ended <- time.Now()
			time.Sleep(time.Second) // let the caller be the first to notice
			return ctx.Err()
		})
		r.start()
		ctx, cancel := within(3 * time.Second)
		defer cancel()
		start := time.Now()
		_, err := r.call(ctx, "")
		wantErr(t, err, context.DeadlineExceeded)
		wantErr(t, err, ErrLost)
		if got := <-left; got != 3*time.Second {
			t.Errorf("the handler had %v left", got)
		}
		if got := (<-ended).Sub(start); got != 3*time.Second {
			t.Errorf("the handler's context ended after %v", got)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("the caller waited %v", took)
		}
	})
}

func TestNoDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, _ uint8, _ []byte, reply *Buffer) error {
			if _, ok := ctx.Deadline(); ok || ctx.Err() != nil {
				return errors.New("a deadline that nobody set")
			}
			return nil
		})
		r.start()
		if _, err := r.call(context.Background(), ""); err != nil {
			t.Fatal(err)
		}
	})
}

// A request that arrives too late, or waits too long for its turn, does not run.
func TestExpiredRequestDoesNotRun(t *testing.T) {
	ran := false
	r := newRig(t, func(context.Context, uint8, []byte, *Buffer) error {
		ran = true
		return nil
	})
	srv, err := NewServer(ServerOptions{
		Options: r.srv, Handle: r.handle,
		EncodeError: func(dst []byte, err error) []byte { return append(dst, err.Error()...) },
	})
	if err != nil {
		t.Fatal(err)
	}
	socket := newGatedSocket()
	close(socket.gate)
	c := &serverConn{srv: srv, running: map[uint64]*task{}}
	near, far := net.Pipe()
	defer near.Close()
	c.init(srv.opts, far, c.failed)
	c.out.out = socket
	late := &task{conn: c, id: 7, method: 1}
	late.ctx.deadline = time.Now().Add(-time.Microsecond)
	if err := c.enter(late); err != nil {
		t.Fatal(err)
	}
	late.run()
	c.wg.Wait()
	if ran {
		t.Fatal("ran")
	}
	if got := socket.bodies(t); len(got) != 1 || got[0] != ErrExpired.Error() {
		t.Fatalf("answered %q", got)
	}
	if len(c.running) != 0 {
		t.Fatal("still booked as running")
	}
}

func TestContextEndedBeforeTheCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.start()
		conn := r.get(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := callConn(ctx, conn, "")
		wantErr(t, err, context.Canceled)
		certain(t, err)
	})
}

func TestCancelReachesHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		running, ended := make(chan struct{}), make(chan error, 1)
		r := newRig(t, func(ctx context.Context, _ uint8, _ []byte, _ *Buffer) error {
			derived, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			close(running)
			<-derived.Done()
			ended <- derived.Err()
			return derived.Err()
		})
		r.start()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-running
			cancel()
		}()
		_, err := r.call(ctx, "")
		wantErr(t, err, context.Canceled)
		wantErr(t, err, ErrLost)
		wantErr(t, <-ended, context.Canceled)
		synctest.Wait()
		if n := len(r.get(t.Context()).pending); n != 0 {
			t.Fatalf("%d calls left in the table", n)
		}
	})
}

func TestConnectionLossCancelsHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ended := make(chan error, 1)
		r := newRig(t, func(ctx context.Context, _ uint8, _ []byte, _ *Buffer) error {
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		})
		r.start()
		conn := r.get(t.Context())
		go func() {
			time.Sleep(time.Second)
			conn.fail(io.ErrClosedPipe)
		}()
		_, err := callConn(t.Context(), conn, "")
		wantErr(t, err, ErrLost)
		wantErr(t, <-ended, context.Canceled)
	})
}

// What a failed call leaves open, for every way in which it can fail.
func TestOutcomeClassification(t *testing.T) {
	half := func() (context.Context, context.CancelFunc) { return within(time.Second / 2) }
	for _, c := range []struct {
		name string
		peer func(nc net.Conn)
		ctx  func() (context.Context, context.CancelFunc)
		want []error
	}{
		{"request read, connection closed", func(nc net.Conn) {
			newFrameReader(nc, MaxPayload).next()
		}, half, []error{ErrLost, io.EOF}},
		{"request read, no answer", func(nc net.Conn) {
			frames(nc, nil)
		}, half, []error{ErrLost, context.DeadlineExceeded}},
		{"half of the request read, connection closed", func(nc net.Conn) {
			io.ReadFull(nc, make([]byte, 10))
		}, half, []error{ErrLost}},
		{"nothing read, no answer", func(nc net.Conn) {
			time.Sleep(time.Minute)
		}, half, []error{ErrLost, context.DeadlineExceeded}},
		{"answer with a bad checksum", func(nc net.Conn) {
			h, _, _ := newFrameReader(nc, MaxPayload).next()
			bad := frame(header{id: h.id, kind: kindResponse}, "answer")
			bad[HeaderBytes] ^= 1
			nc.Write(bad)
			frames(nc, nil)
		}, half, []error{ErrLost, ErrCorrupt}},
		{"answer too large", func(nc net.Conn) {
			h, _, _ := newFrameReader(nc, MaxPayload).next()
			bad := frame(header{id: h.id, kind: kindResponse}, "")
			bad[4], bad[5], bad[6], bad[7] = 0xff, 0xff, 0xff, 0x7f
			nc.Write(bad)
			frames(nc, nil)
		}, half, []error{ErrLost, ErrCorrupt}},
		{"answer to another call", func(nc net.Conn) {
			h, _, _ := newFrameReader(nc, MaxPayload).next()
			nc.Write(frame(header{id: h.id + 1, kind: kindResponse}, ""))
			frames(nc, nil)
		}, half, []error{ErrLost, context.DeadlineExceeded}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil)
				fakePeer(r, c.peer)
				ctx, cancel := c.ctx()
				defer cancel()
				_, err := r.call(ctx, "request")
				for _, want := range c.want {
					wantErr(t, err, want)
				}
			})
		})
	}
}

// A call behind one that the socket does not take was never sent.
func TestQueuedCallIsCertain(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("connection lost %v", lost), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil)
				fakePeer(r, func(net.Conn) { // reads nothing
					time.Sleep(5 * time.Second)
				})
				conn := r.get(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() {
					_, err := callConn(t.Context(), conn, "stuck in the socket")
					wantErr(t, err, ErrLost)
				})
				synctest.Wait()
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				want := error(ErrDown)
				if !lost {
					ctx, cancel = within(time.Second / 2)
					want = context.DeadlineExceeded
				}
				defer cancel()
				_, err := callConn(ctx, conn, "behind it")
				wantErr(t, err, want)
				certain(t, err)
				wg.Wait()
			})
		})
	}
}

func TestPanicIsOneFailedCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, m uint8, payload []byte, reply *Buffer) error {
			if string(payload) == "bad" {
				panic("boom")
			}
			return echo(ctx, m, payload, reply)
		})
		r.start()
		_, err := r.call(t.Context(), "bad")
		if got := remoteText(t, err); !strings.Contains(got, "boom") {
			t.Fatalf("got %q", got)
		}
		if got, err := r.call(t.Context(), "good"); got != "good" || err != nil {
			t.Fatalf("after it: %q, %v", got, err)
		}
		if r.net.dialled() != 1 {
			t.Fatal("the connection did not survive")
		}
	})
}

func TestMessagesTooLarge(t *testing.T) {
	const bound = 1 << 20
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, _ uint8, _ []byte, reply *Buffer) error {
			reply.B = append(reply.B, make([]byte, bound+1)...)
			return nil
		})
		r.opts.maxPayload, r.srv.maxPayload = bound, bound
		r.start()
		_, err := r.call(t.Context(), "")
		if got := remoteText(t, err); !strings.HasPrefix(got, ErrReplyDropped.Error()) {
			t.Fatalf("reply: %q", got)
		}
		_, err = r.call(t.Context(), strings.Repeat("x", bound+1))
		wantErr(t, err, ErrTooLarge)
		certain(t, err)
	})
}

func TestDuplicateRequestIDEndsConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, _ uint8, _ []byte, _ *Buffer) error {
			<-ctx.Done()
			return nil
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
		for range 2 {
			nc.Write(frame(header{id: 1, kind: kindRequest, method: 1}, ""))
		}
		if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("got %v", err)
		}
	})
}
