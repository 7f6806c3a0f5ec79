package wire

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestQueueBoundRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.opts.QueueBytes = 1000
		fakePeer(r, func(net.Conn) { time.Sleep(5 * time.Second) })
		conn := r.get(t.Context())
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { callConn(t.Context(), conn, strings.Repeat("x", 400)) })
		}
		synctest.Wait()
		_, err := callConn(t.Context(), conn, strings.Repeat("x", 400))
		wantErr(t, err, ErrOverloaded)
		certain(t, err)
		wg.Wait()
	})
}

func TestPendingBoundRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		r := newRig(t, func(context.Context, uint8, []byte, *Buffer) error {
			<-gate
			return nil
		})
		r.opts.MaxPending = 3
		r.start()
		conn := r.get(t.Context())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := callConn(t.Context(), conn, ""); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		_, err := callConn(t.Context(), conn, "")
		wantErr(t, err, ErrOverloaded)
		certain(t, err)
		close(gate)
		wg.Wait()
		if _, err = callConn(t.Context(), conn, ""); err != nil {
			t.Fatalf("after the others: %v", err)
		}
	})
}

func TestInFlightBoundsRefuse(t *testing.T) {
	for _, c := range []struct {
		name  string
		bound func(o *Options)
	}{
		{"requests", func(o *Options) { o.MaxInFlight = 3 }},
		{"bytes", func(o *Options) { o.MaxInFlightBytes = 3500 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				gate := make(chan struct{})
				r := newRig(t, func(context.Context, uint8, []byte, *Buffer) error {
					<-gate
					return nil
				})
				c.bound(&r.srv)
				r.start()
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						if _, err := r.call(t.Context(), strings.Repeat("x", 1000)); err != nil {
							t.Error(err)
						}
					})
				}
				synctest.Wait()
				_, err := r.call(t.Context(), strings.Repeat("x", 1000))
				if got := remoteText(t, err); !strings.HasPrefix(got, ErrOverloaded.Error()) {
					t.Fatalf("refused with %q", got)
				}
				close(gate)
				wg.Wait()
				if _, err := r.call(t.Context(), strings.Repeat("x", 10_000)); err != nil {
					t.Fatalf("a large request alone: %v", err)
				}
			})
		})
	}
}

// A client that does not read its replies gets an error for those that do not
// fit, and what it makes the server hold stays bounded.
func TestReplyQueueBound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, _ uint8, _ []byte, reply *Buffer) error {
			reply.B = append(reply.B, make([]byte, 1000)...)
			return nil
		})
		r.srv.QueueBytes = 2500
		r.start()
		nc, err := r.net.dial(t.Context(), "srv")
		if err != nil {
			t.Fatal(err)
		}
		nc.Write(AppendPreface(nil, Preface{Versions: Versions{MinVersion, MaxVersion}, Cluster: testCluster}))
		if _, err := ReadPreface(nc); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(5) {
			nc.Write(frame(header{id: i + 1, kind: kindRequest, method: 1}, ""))
			synctest.Wait()
		}
		kinds := map[kind]int{}
		in := newFrameReader(nc, MaxPayload)
		for range 5 {
			h, _, err := in.next()
			if err != nil {
				t.Fatal(err)
			}
			kinds[h.kind]++
		}
		if kinds[kindResponse] != 2 || kinds[kindError] != 3 {
			t.Fatalf("got %v", kinds)
		}
		nc.Close()
	})
}

// crowd is connections to one server, each with requests that run until the
// gate opens.
type crowd struct {
	r    *rig
	open func() // the gate
	wg   sync.WaitGroup
	ran  atomic.Int64
}

func newCrowd(t *testing.T, bound func(o *Options)) *crowd {
	gate := make(chan struct{})
	c := &crowd{open: sync.OnceFunc(func() { close(gate) })}
	c.r = newRig(t, func(context.Context, uint8, []byte, *Buffer) error {
		c.ran.Add(1)
		<-gate
		return nil
	})
	bound(&c.r.srv)
	c.r.start()
	t.Cleanup(c.open)
	return c
}

// conn is a connection of its own.
func (c *crowd) conn() *Conn {
	c.r.t.Helper()
	pool, err := NewPool(c.r.opts)
	if err != nil {
		c.r.t.Fatal(err)
	}
	c.r.t.Cleanup(pool.Close)
	conn, err := pool.Get(c.r.t.Context(), "srv", anyone, Interactive)
	if err != nil {
		c.r.t.Fatal(err)
	}
	return conn
}

// add makes calls one after the other, which all must get in.
func (c *crowd) add(conn *Conn, calls, size int) {
	c.r.t.Helper()
	before := c.ran.Load()
	for range calls {
		c.wg.Go(func() {
			if _, err := callConn(c.r.t.Context(), conn, strings.Repeat("x", size)); err != nil {
				c.r.t.Error(err)
			}
		})
		synctest.Wait()
	}
	if ran := c.ran.Load() - before; ran != int64(calls) {
		c.r.t.Fatalf("%d of %d run", ran, calls)
	}
}

// refused makes a call that must not get in.
func (c *crowd) refused(conn *Conn, size int) {
	c.r.t.Helper()
	before := c.ran.Load()
	ctx, cancel := within(time.Second)
	defer cancel()
	_, err := callConn(ctx, conn, strings.Repeat("x", size))
	if got := remoteText(c.r.t, err); !strings.HasPrefix(got, ErrOverloaded.Error()) || !strings.Contains(got, "all peers") {
		c.r.t.Fatalf("refused with %q", got)
	}
	if c.ran.Load() != before {
		c.r.t.Fatal("it ran all the same")
	}
}

// end lets all of it finish, after which nothing is booked any more.
func (c *crowd) end() {
	c.r.t.Helper()
	c.open()
	c.wg.Wait()
	synctest.Wait()
	l := &c.r.server.load
	if requests, bytes := l.requests.Load(), l.bytes.Load(); requests != 0 || bytes != 0 {
		c.r.t.Fatalf("%d requests of %d bytes are still booked", requests, bytes)
	}
}

// One connection takes all that the server has; what the others are sure of is
// left to them, and no more.
func TestServerBoundOfRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const each = 3
		c := newCrowd(t, func(o *Options) { o.MaxServerInFlight = each * shares })
		greedy := c.conn()
		c.add(greedy, each*shares, 1)
		c.refused(greedy, 1)
		for range 3 {
			modest := c.conn()
			c.add(modest, each, 1)
			c.refused(modest, 1)
		}
		c.end()
	})
}

func TestServerBoundOfBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const part = 1000
		c := newCrowd(t, func(o *Options) { o.MaxServerInFlightBytes = part * shares })
		a, b := c.conn(), c.conn()
		c.add(a, 8, part*shares/16)
		c.add(b, 8, part*shares/16)
		c.refused(a, 1)
		modest := c.conn()
		c.add(modest, 10, part/10)
		c.refused(modest, 1)
		large := c.conn()
		c.add(large, 1, 50*part) // a connection that runs nothing takes any
		c.refused(large, 1)
		c.end()
	})
}

// A bound of less than one request for each connection still lets each run one.
func TestSmallServerBound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCrowd(t, func(o *Options) { o.MaxServerInFlight, o.MaxServerInFlightBytes = 2, 10 })
		a, b := c.conn(), c.conn()
		c.add(a, 2, 5)
		c.refused(a, 5)
		c.add(b, 1, 5)
		c.refused(b, 5)
		c.add(c.conn(), 1, 100)
		c.end()
	})
}
