package wire

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A peer that takes all that is sent and says nothing is pinged, and given up
// soon, if a call waits for it.
func TestHungPeerIsNoticed(t *testing.T) {
	for _, c := range []struct {
		name  string
		reads bool
	}{{"it reads", true}, {"it does not read", false}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil)
				var pings atomic.Int64
				fakePeer(r, func(nc net.Conn) {
					if !c.reads {
						time.Sleep(time.Minute)
						return
					}
					frames(nc, func(h header, _ []byte) {
						if h.kind == kindPing {
							pings.Add(1)
						}
					})
				})
				r.get(t.Context())
				time.Sleep(700 * time.Millisecond) // amid two looks at an idle peer
				start := time.Now()
				_, err := r.call(t.Context(), "")
				wantErr(t, err, ErrLost)
				wantErr(t, err, ErrDead)
				if took := time.Since(start); took < DefaultBusyDeadAfter || took > DefaultBusyDeadAfter+DefaultBusyPingEvery/2 {
					t.Fatalf("noticed after %v", took)
				}
				if got := pings.Load(); c.reads && got != 3 {
					t.Fatalf("%d pings", got)
				}
			})
		})
	}
}

// A call that comes while the peer is watched already has its own time.
func TestLateCallIsGivenItsTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		fakePeer(r, func(nc net.Conn) {
			frames(nc, func(h header, _ []byte) {
				if h.id == 1 {
					time.Sleep(200 * time.Millisecond)
					nc.Write(frame(header{id: h.id, kind: kindResponse}, ""))
				}
			})
		})
		conn := r.get(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			if _, err := callConn(t.Context(), conn, ""); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(230 * time.Millisecond) // the answer is there, the look at it is not
		start := time.Now()
		_, err := callConn(t.Context(), conn, "")
		wantErr(t, err, ErrDead)
		if took := time.Since(start); took < DefaultBusyDeadAfter || took > DefaultBusyDeadAfter+DefaultBusyPingEvery/2 {
			t.Fatalf("noticed after %v", took)
		}
	})
}

// Callers that give up early do not keep a hung peer from being noticed.
func TestHungPeerIsNoticedByShortCalls(t *testing.T) {
	for _, calls := range []int{1, 30} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, nil)
			fakePeer(r, func(nc net.Conn) { frames(nc, nil) })
			conn := r.get(t.Context())
			start := time.Now()
			for range calls {
				ctx, cancel := within(40 * time.Millisecond)
				_, err := callConn(ctx, conn, "")
				cancel()
				if errors.Is(err, ErrDead) {
					break
				}
				wantErr(t, err, context.DeadlineExceeded)
			}
			<-conn.done
			if took := time.Since(start); took < DefaultBusyDeadAfter || took > DefaultBusyDeadAfter+DefaultBusyPingEvery/2 {
				t.Fatalf("%d calls: noticed after %v", calls, took)
			}
		})
	}
}

// Its reader answers pings, whatever its handlers do.
func TestSlowHandlerIsNotDead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, m uint8, payload []byte, reply *Buffer) error {
			time.Sleep(3 * time.Second)
			return echo(ctx, m, payload, reply)
		})
		r.start()
		conn := r.get(t.Context())
		got, err := callConn(t.Context(), conn, "slow")
		if got != "slow" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		if r.get(t.Context()) != conn || r.net.dialled() != 1 {
			t.Fatal("another connection")
		}
	})
}

// The peer is looked at often only while it owes something.
func TestIdleConnectionIsLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, m uint8, payload []byte, reply *Buffer) error {
			time.Sleep(time.Second)
			return echo(ctx, m, payload, reply)
		})
		r.start()
		conn := r.get(t.Context())
		watched := func() bool {
			synctest.Wait()
			conn.mu.Lock()
			defer conn.mu.Unlock()
			return conn.watched
		}
		for range 2 {
			if watched() {
				t.Fatal("watched before the call")
			}
			var wg sync.WaitGroup
			wg.Go(func() { callConn(t.Context(), conn, "") })
			for range 9 {
				time.Sleep(100 * time.Millisecond)
				if !watched() {
					t.Fatal("not watched during the call")
				}
			}
			wg.Wait()
			time.Sleep(DefaultBusyPingEvery)
		}
	})
}

// Without calls there is no hurry.
func TestSilentPeerIsNoticedWithoutCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		fakePeer(r, func(nc net.Conn) { frames(nc, nil) })
		start := time.Now()
		<-r.get(t.Context()).done
		if took := time.Since(start); took != DefaultDeadAfter {
			t.Fatalf("noticed after %v", took)
		}
	})
}

// A hung peer costs one call its time, or those that wait with it. After that
// calls fail at once, and it is reached again soon after it goes on.
func TestHungPeerComesBack(t *testing.T) {
	for _, every := range []time.Duration{250 * time.Millisecond, time.Second} {
		for _, atLeast := range []time.Duration{1200 * time.Millisecond, 20 * time.Second} {
			for more := time.Duration(0); more < 3*time.Second; more += 170 * time.Millisecond {
				bubble(t, func(t *testing.T) { testComeback(t, every, atLeast+more) })
			}
		}
	}
}

func testComeback(t *testing.T, every, hung time.Duration) {
	r := newRig(t, echo)
	r.hang = &hang{}
	r.start()
	if _, err := r.call(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	r.hang.stop()
	time.AfterFunc(hung, r.hang.goOn)
	start := time.Now()
	_, err := r.call(t.Context(), "")
	wantErr(t, err, ErrDead)
	for back := false; !back; {
		asked := time.Now()
		if asked.Before(start.Add(hung)) {
			_, err := r.call(t.Context(), "")
			certain(t, err)
		}
		if took := time.Since(asked); took != 0 {
			t.Fatalf("a call to a peer known to be hung took %v", took)
		}
		ctx, cancel := within(every)
		_, err := r.pool.Probe(ctx, "srv", anyone, Interactive)
		cancel()
		if back = err == nil; !back {
			time.Sleep(time.Until(asked.Add(every)))
		}
	}
	if late := time.Since(start) - hung; late < 0 || late > every {
		t.Fatalf("asked every %v, a peer that was hung for %v is back after another %v", every, hung, late)
	}
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
				time.Sleep(DefaultBusyDeadAfter / 2)
			}
		})
		ctx, cancel := within(time.Minute)
		defer cancel()
		start := time.Now()
		_, err := r.call(ctx, "")
		wantErr(t, err, ErrDead)
		if took := time.Since(start); took < DefaultDeadAfter || took > DefaultDeadAfter+DefaultPingEvery/4 {
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
				time.Sleep(DefaultBusyDeadAfter * 3 / 4)
				nc.Write([]byte{b})
			}
		})
		got, err := r.call(t.Context(), "")
		if got != "slow answer" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	})
}
