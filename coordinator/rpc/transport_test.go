package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/antientropy"
	"starling/coordinator"
	"starling/coordinator/rpc/internal/wire"
	"starling/gossip/state"
	"starling/ring"
	"starling/store/object"
)

var testCluster = [16]byte{0xc1}

// fakeNode is all of a node's services, as functions.
type fakeNode struct {
	read      func(context.Context, coordinator.ReadRequest) (coordinator.ReadReply, error)
	replicate func(context.Context, coordinator.ReplicateRequest) error
	forward   func(context.Context, coordinator.ForwardRequest) (coordinator.PutResult, error)
	confirm   func(context.Context, []antientropy.Claim) ([]antientropy.Claim, error)
	pull      func(context.Context, antientropy.PullRequest) (antientropy.PullPage, error)
	exchange  func(context.Context, state.Map) (state.Map, error)
}

func (n *fakeNode) HandleRead(ctx context.Context, q coordinator.ReadRequest) (coordinator.ReadReply, error) {
	return n.read(ctx, q)
}

func (n *fakeNode) HandleReplicate(ctx context.Context, q coordinator.ReplicateRequest) error {
	return n.replicate(ctx, q)
}

func (n *fakeNode) HandleForward(ctx context.Context, q coordinator.ForwardRequest) (coordinator.PutResult, error) {
	return n.forward(ctx, q)
}

func (n *fakeNode) HandleConfirm(ctx context.Context, q []antientropy.Claim) ([]antientropy.Claim, error) {
	return n.confirm(ctx, q)
}

func (n *fakeNode) HandlePull(ctx context.Context, q antientropy.PullRequest) (antientropy.PullPage, error) {
	return n.pull(ctx, q)
}

func (n *fakeNode) services() Services {
	return Services{Replica: n, Source: n, Exchange: n.exchange}
}

// cluster is some transports that know each other's addresses.
type cluster struct {
	t     *testing.T
	mu    sync.Mutex
	addrs map[ring.NodeID]string
}

func newCluster(t *testing.T) *cluster { return &cluster{t: t, addrs: map[ring.NodeID]string{}} }

func (c *cluster) resolve(id ring.NodeID) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	addr, ok := c.addrs[id]
	return addr, ok
}

func (c *cluster) locate(id ring.NodeID, addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addrs[id] = addr
}

func (c *cluster) options(id ring.NodeID) Options {
	return Options{Node: id, Cluster: testCluster, Resolve: c.resolve, Logger: slog.New(slog.DiscardHandler)}
}

func (c *cluster) transport(o Options) *Transport {
	c.t.Helper()
	tr, err := New(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(tr.Close)
	return tr
}

// serve serves tr on ln until stop or the end of the test.
func (c *cluster) serve(tr *Transport, ln net.Listener) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := tr.Serve(ctx, ln); err != nil {
			c.t.Errorf("Serve: %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	c.t.Cleanup(stop)
	c.locate(tr.opts.Node, ln.Addr().String())
	return stop
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// pair is a caller and a node with services.
func pair(t *testing.T, n *fakeNode) (caller, node *Transport, c *cluster) {
	t.Helper()
	c = newCluster(t)
	node = c.transport(c.options(nodeB))
	if n != nil {
		node.SetServices(n.services())
	}
	c.serve(node, listen(t, "127.0.0.1:0"))
	return c.transport(c.options(nodeA)), node, c
}

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func wantErr(t *testing.T, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Fatalf("got %v, want %v", err, w)
		}
	}
}

func certain(t *testing.T, err error) {
	t.Helper()
	if err == nil || errors.Is(err, coordinator.ErrUnknown) {
		t.Fatalf("got %v, want an error after which nothing happened", err)
	}
}

// same stores what a handler got and fails the test if it is not what was sent.
func same[T any](t *testing.T, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestEveryMethod(t *testing.T) {
	read := coordinator.ReadRequest{Ref: testRef, Stamp: 5, Have: 6}
	replicate := coordinator.ReplicateRequest{Ref: testRef, Stamp: 5, Object: testObject}
	caller, _, _ := pair(t, &fakeNode{
		read: func(_ context.Context, q coordinator.ReadRequest) (coordinator.ReadReply, error) {
			same(t, q, read)
			return coordinator.ReadReply{Object: testObject, Same: true}, nil
		},
		replicate: func(_ context.Context, q coordinator.ReplicateRequest) error {
			same(t, q, replicate)
			return nil
		},
		forward: func(_ context.Context, q coordinator.ForwardRequest) (coordinator.PutResult, error) {
			same(t, q, testForward())
			return testResult(), nil
		},
		confirm: func(_ context.Context, q []antientropy.Claim) ([]antientropy.Claim, error) {
			same(t, q, testClaims)
			return q[1:], nil
		},
		pull: func(_ context.Context, q antientropy.PullRequest) (antientropy.PullPage, error) {
			same(t, q, testPull())
			return testPage(), nil
		},
		exchange: func(_ context.Context, m state.Map) (state.Map, error) {
			same(t, m, state.Map{})
			return testMap(), nil
		},
	})
	ctx := short(t)
	reply, err := caller.Read(ctx, nodeB, read)
	wantErr(t, err, nil)
	same(t, reply, coordinator.ReadReply{Object: testObject, Same: true})
	wantErr(t, caller.Replicate(ctx, nodeB, replicate), nil)
	result, err := caller.Forward(ctx, nodeB, testForward())
	wantErr(t, err, nil)
	same(t, result, testResult())
	agreed, err := caller.Confirm(ctx, nodeB, testClaims)
	wantErr(t, err, nil)
	same(t, agreed, testClaims[1:])
	page, err := caller.Pull(ctx, nodeB, testPull())
	wantErr(t, err, nil)
	same(t, page, testPage())
	addr, _ := caller.opts.Resolve(nodeB)
	theirs, err := caller.Exchange(ctx, addr, state.Map{})
	wantErr(t, err, nil)
	same(t, theirs, testMap())
	wantErr(t, caller.Ping(ctx, nodeB), nil)
}

func TestHandlerErrorReachesCaller(t *testing.T) {
	caller, _, _ := pair(t, &fakeNode{
		read: func(context.Context, coordinator.ReadRequest) (coordinator.ReadReply, error) {
			return coordinator.ReadReply{}, fmt.Errorf("%w: partition 3", coordinator.ErrStaleRing)
		},
		forward: func(context.Context, coordinator.ForwardRequest) (coordinator.PutResult, error) {
			return coordinator.PutResult{}, testQuorumError()
		},
		replicate: func(context.Context, coordinator.ReplicateRequest) error { return errors.New("disk on fire") },
	})
	_, err := caller.Read(short(t), nodeB, coordinator.ReadRequest{})
	wantErr(t, err, coordinator.ErrStaleRing)
	certain(t, err)
	_, err = caller.Forward(short(t), nodeB, testForward())
	var q *coordinator.QuorumError
	if !errors.As(err, &q) || q.Received != 1 || !q.MaybeApplied {
		t.Errorf("got %v", err)
	}
	err = caller.Replicate(short(t), nodeB, coordinator.ReplicateRequest{})
	wantErr(t, err, coordinator.ErrUnknown)
	if !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("got %v", err)
	}
}

// A node listens before it can serve.
func TestServicesComeLater(t *testing.T) {
	caller, node, c := pair(t, nil)
	addr, _ := c.resolve(nodeB)
	calls := map[string]func() error{
		"read":      func() error { _, err := caller.Read(short(t), nodeB, coordinator.ReadRequest{}); return err },
		"replicate": func() error { return caller.Replicate(short(t), nodeB, coordinator.ReplicateRequest{}) },
		"forward":   func() error { _, err := caller.Forward(short(t), nodeB, testForward()); return err },
		"confirm":   func() error { _, err := caller.Confirm(short(t), nodeB, nil); return err },
		"pull":      func() error { _, err := caller.Pull(short(t), nodeB, antientropy.PullRequest{}); return err },
		"exchange":  func() error { _, err := caller.Exchange(short(t), addr, state.Map{}); return err },
	}
	for name, call := range calls {
		err := call()
		wantErr(t, err, coordinator.ErrNotReady)
		certain(t, err)
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
	node.SetServices(Services{Exchange: func(_ context.Context, m state.Map) (state.Map, error) { return m, nil }})
	wantErr(t, calls["exchange"](), nil)
	wantErr(t, calls["read"](), coordinator.ErrNotReady)
	node.SetServices((&fakeNode{
		read: func(context.Context, coordinator.ReadRequest) (coordinator.ReadReply, error) {
			return coordinator.ReadReply{}, nil
		},
	}).services())
	wantErr(t, calls["read"](), nil)
}

// A node that has not joined may exchange maps and nothing else; once it has,
// all is open without a restart.
func TestJoining(t *testing.T) {
	n := &fakeNode{
		read: func(context.Context, coordinator.ReadRequest) (coordinator.ReadReply, error) {
			return coordinator.ReadReply{}, nil
		},
		exchange: func(_ context.Context, m state.Map) (state.Map, error) { return m, nil },
	}
	for _, newcomer := range []string{"caller", "node"} {
		t.Run(newcomer, func(t *testing.T) {
			c := newCluster(t)
			oa, ob := c.options(nodeA), c.options(nodeB)
			if newcomer == "caller" {
				oa.Cluster = [16]byte{}
			} else {
				ob.Cluster = [16]byte{}
			}
			caller, node := c.transport(oa), c.transport(ob)
			node.SetServices(n.services())
			c.serve(node, listen(t, "127.0.0.1:0"))
			addr, _ := c.resolve(nodeB)

			_, err := caller.Read(short(t), nodeB, coordinator.ReadRequest{})
			wantErr(t, err, coordinator.ErrNotReady)
			certain(t, err)
			_, err = caller.Exchange(short(t), addr, state.Map{})
			wantErr(t, err, nil)
			caller.SetCluster(testCluster)
			node.SetCluster(testCluster)
			_, err = caller.Read(short(t), nodeB, coordinator.ReadRequest{})
			wantErr(t, err, nil)
		})
	}
}

func TestOtherCluster(t *testing.T) {
	_, _, c := pair(t, nil)
	o := c.options(nodeA)
	o.Cluster = [16]byte{0xc2}
	stranger := c.transport(o)
	addr, _ := c.resolve(nodeB)
	_, err := stranger.Exchange(short(t), addr, state.Map{})
	wantErr(t, err, ErrWrongCluster, state.ErrForeignCluster, coordinator.ErrUnreachable)
	certain(t, err)
	var wrong *WrongClusterError
	if !errors.As(err, &wrong) || wrong.Ours != o.Cluster || wrong.Theirs != testCluster {
		t.Errorf("got %v", err)
	}
}

// An address that another node has taken over is not that node.
func TestAddressOfAnotherNode(t *testing.T) {
	n := &fakeNode{exchange: func(_ context.Context, m state.Map) (state.Map, error) { return m, nil }}
	caller, _, c := pair(t, n)
	addr, _ := c.resolve(nodeB)
	gone := ring.NodeID{0xdd}
	c.locate(gone, addr)
	err := caller.Ping(short(t), gone)
	wantErr(t, err, coordinator.ErrUnreachable)
	for _, id := range []ring.NodeID{gone, nodeB} {
		if !strings.Contains(err.Error(), id.String()) {
			t.Errorf("%q does not name %s", err, id)
		}
	}
	wantErr(t, caller.Ping(short(t), nodeB), nil)
	_, err = caller.Exchange(short(t), addr, state.Map{})
	wantErr(t, err, nil)
	wantErr(t, caller.Ping(short(t), ring.NodeID{0xee}), coordinator.ErrUnreachable)
}

func TestRestartOnTheSameAddress(t *testing.T) {
	c := newCluster(t)
	first := c.transport(c.options(nodeB))
	ln := listen(t, "127.0.0.1:0")
	stop := c.serve(first, ln)
	caller := c.transport(c.options(nodeA))
	wantErr(t, caller.Ping(short(t), nodeB), nil)
	stop()
	start := time.Now()
	err := caller.Ping(short(t), nodeB)
	wantErr(t, err, coordinator.ErrUnreachable)
	certain(t, err)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("a refused connection took %v", took)
	}
	c.serve(c.transport(c.options(nodeB)), listen(t, ln.Addr().String()))
	ctx := short(t)
	for caller.Ping(ctx, nodeB) != nil {
		if ctx.Err() != nil {
			t.Fatal("no connection to the restarted node")
		}
	}
}

func TestPanicIsInternal(t *testing.T) {
	var logged bytes.Buffer
	c := newCluster(t)
	o := c.options(nodeB)
	o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	node := c.transport(o)
	node.SetServices((&fakeNode{
		replicate: func(context.Context, coordinator.ReplicateRequest) error { panic("feathers everywhere") },
	}).services())
	stop := c.serve(node, listen(t, "127.0.0.1:0"))
	caller := c.transport(c.options(nodeA))
	err := caller.Replicate(short(t), nodeB, coordinator.ReplicateRequest{})
	var remote *RemoteError
	if !errors.As(err, &remote) || !remote.MaybeApplied || remote.Retryable || !strings.Contains(err.Error(), "feathers") {
		t.Errorf("got %v", err)
	}
	wantErr(t, err, coordinator.ErrUnknown)
	wantErr(t, caller.Ping(short(t), nodeB), nil)
	caller.Close()
	stop()
	if !strings.Contains(logged.String(), "feathers") || !strings.Contains(logged.String(), "transport_test.go") {
		t.Errorf("the log has no stack: %s", logged.String())
	}
}

// raw sends bytes that are no message.
func raw(t *testing.T, tr *Transport, m uint8, payload string) error {
	t.Helper()
	conn, err := tr.connect(short(t), targetOf(t, tr), methodPing)
	if err != nil {
		t.Fatal(err)
	}
	b := wire.NewBuffer(len(payload))
	b.B = append(b.B, payload...)
	if _, err = conn.Call(short(t), m, b); err != nil {
		err = outcome(context.Background(), target{}, err)
	}
	return err
}

func targetOf(t *testing.T, tr *Transport) target {
	t.Helper()
	addr, ok := tr.opts.Resolve(nodeB)
	if !ok {
		t.Fatal("no address")
	}
	return target{addr, nodeB}
}

func TestGarbageIsRefused(t *testing.T) {
	n := &fakeNode{exchange: func(_ context.Context, m state.Map) (state.Map, error) { return m, nil }}
	caller, _, _ := pair(t, n)
	for m := methodPing; m < methods; m++ {
		err := raw(t, caller, uint8(m), "\x02\x00")
		wantErr(t, err, coordinator.ErrInvalid)
		certain(t, err)
	}
	for _, m := range []uint8{0, uint8(methods), 255} {
		err := raw(t, caller, m, "")
		wantErr(t, err, ErrMethod)
		certain(t, err)
	}
}

// A reply that cannot be read leaves the outcome open.
func TestGarbageInReply(t *testing.T) {
	c := newCluster(t)
	metrics, err := wire.NewMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := wire.NewServer(wire.ServerOptions{
		Options: wire.Options{
			Node: nodeB, Cluster: func() [16]byte { return testCluster },
			Metrics: metrics, Logger: slog.New(slog.DiscardHandler),
		},
		Handle: func(_ context.Context, m uint8, _ []byte, reply *wire.Buffer) error {
			if method(m) == methodPing {
				return errors.New("x")
			}
			reply.B = append(reply.B, 0x02, 0x00)
			return nil
		},
		EncodeError: func(dst []byte, _ error) []byte { return append(dst, 0x02, 0x00) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	c.locate(nodeB, ln.Addr().String())
	caller := c.transport(c.options(nodeA))
	_, err = caller.Forward(short(t), nodeB, testForward())
	wantErr(t, err, coordinator.ErrUnknown, ErrMalformed)
	wantErr(t, caller.Ping(short(t), nodeB), coordinator.ErrUnknown, ErrMalformed)
	caller.Close()
	cancel()
	wantErr(t, <-done, nil)
}

func TestReplyDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 300 * time.Millisecond
		c := newCluster(t)
		o := c.options(nodeB)
		o.ReplyDelay = delay
		node := c.transport(o)
		node.SetServices((&fakeNode{
			read: func(context.Context, coordinator.ReadRequest) (coordinator.ReadReply, error) {
				return coordinator.ReadReply{}, nil
			},
			replicate: func(context.Context, coordinator.ReplicateRequest) error { return coordinator.ErrStaleRing },
			confirm: func(context.Context, []antientropy.Claim) ([]antientropy.Claim, error) {
				return nil, nil
			},
		}).services())
		ln := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		c.serve(node, ln)
		oa := c.options(nodeA)
		oa.Dial = ln.dial
		var observed atomic.Int64
		oa.Observe = func(to ring.NodeID, m string, took time.Duration, err error) {
			if to != nodeB || m != "read" || err != nil {
				t.Errorf("observed %v %s %v", to, m, err)
			}
			observed.Store(int64(took))
		}
		caller := c.transport(oa)
		start := time.Now()
		_, err := caller.Read(t.Context(), nodeB, coordinator.ReadRequest{})
		wantErr(t, err, nil)
		if took := time.Since(start); took != delay || observed.Load() != int64(delay) {
			t.Errorf("read took %v, observed %v", took, time.Duration(observed.Load()))
		}
		caller.opts.Observe = nil
		start = time.Now()
		wantErr(t, caller.Replicate(t.Context(), nodeB, coordinator.ReplicateRequest{}), coordinator.ErrStaleRing)
		if took := time.Since(start); took != delay {
			t.Errorf("replicate took %v", took)
		}
		start = time.Now()
		_, err = caller.Confirm(t.Context(), nodeB, nil)
		wantErr(t, err, nil)
		if took := time.Since(start); took != 0 {
			t.Errorf("confirm took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), delay/3)
		defer cancel()
		start = time.Now()
		// The deadline ends the delay too, so the answer and the end of the
		// call come at the same instant, and either may win.
		if _, err = caller.Read(ctx, nodeB, coordinator.ReadRequest{}); err != nil {
			wantErr(t, err, coordinator.ErrUnknown, context.DeadlineExceeded)
		}
		if took := time.Since(start); took != delay/3 {
			t.Errorf("a read with a deadline took %v", took)
		}
	})
}

// pipeListener is a network of one address, in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (l *pipeListener) dial(ctx context.Context, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Many callers at once: every answer belongs to its question, and what was
// decoded is not written over by later frames.
func TestManyCallers(t *testing.T) {
	value := func(n int) []byte { return bytes.Repeat([]byte{byte(n)}, 100+n*37%5000) }
	caller, _, _ := pair(t, &fakeNode{
		read: func(_ context.Context, q coordinator.ReadRequest) (coordinator.ReadReply, error) {
			o := testObject
			o.Siblings = append([]object.Sibling(nil), o.Siblings...)
			o.Siblings[0].Value = value(int(q.Stamp))
			return coordinator.ReadReply{Object: o}, nil
		},
	})
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			kept := map[int][]byte{}
			for i := range 100 {
				n := g*1000 + i
				reply, err := caller.Read(short(t), nodeB, coordinator.ReadRequest{Stamp: uint64(n)})
				if err != nil {
					t.Error(err)
					return
				}
				kept[n] = reply.Object.Siblings[0].Value
			}
			for n, got := range kept {
				if !bytes.Equal(got, value(n)) {
					t.Errorf("reply %d was written over", n)
				}
			}
		})
	}
	wg.Wait()
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := newCluster(t)
	o := c.options(nodeB)
	o.Metrics = reg
	tr := c.transport(o) // calls itself: both sides count in one registry
	tr.SetServices((&fakeNode{
		read: func(context.Context, coordinator.ReadRequest) (coordinator.ReadReply, error) {
			return coordinator.ReadReply{}, nil
		},
		forward: func(context.Context, coordinator.ForwardRequest) (coordinator.PutResult, error) { panic("boom") },
	}).services())
	c.serve(tr, listen(t, "127.0.0.1:0"))
	for range 3 {
		_, err := tr.Read(short(t), nodeB, coordinator.ReadRequest{})
		wantErr(t, err, nil)
	}
	_, err := tr.Forward(short(t), nodeB, testForward())
	wantErr(t, err, coordinator.ErrUnknown)
	_, err = tr.Confirm(short(t), ring.NodeID{0xdd}, nil)
	wantErr(t, err, coordinator.ErrUnreachable)
	got := gather(t, reg)
	for ctx := short(t); got["starling_rpc_frames_total direction=out"] < 8 && ctx.Err() == nil; {
		got = gather(t, reg) // a flush is counted after it was written
	}
	for name, want := range map[string]float64{
		"starling_rpc_requests_total method=read result=ok side=client":             3,
		"starling_rpc_requests_total method=read result=ok side=server":             3,
		"starling_rpc_requests_total method=forward result=error side=client":       1,
		"starling_rpc_requests_total method=forward result=panic side=server":       1,
		"starling_rpc_requests_total method=confirm result=unreachable side=client": 1,
		"starling_rpc_connections side=client":                                      1,
		"starling_rpc_connections side=server":                                      1,
		"starling_rpc_in_flight_requests side=client":                               0,
		"starling_rpc_frames_total direction=in":                                    8,
		"starling_rpc_frames_total direction=out":                                   8,
		"starling_rpc_dial_failures_total":                                          0,
		"starling_rpc_refused_total side=server":                                    0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v, %v; want %v", name, v, ok, want)
		}
	}
	if in, out := got["starling_rpc_bytes_total direction=in"], got["starling_rpc_bytes_total direction=out"]; in == 0 || in != out {
		t.Errorf("%v bytes in, %v out", in, out)
	}
	if _, err := New(o); err == nil {
		t.Error("a second transport in the same registry")
	}
}

func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

func TestOptionsAreChecked(t *testing.T) {
	c := newCluster(t)
	for name, breakIt := range map[string]func(o *Options){
		"Resolve":     func(o *Options) { o.Resolve = nil },
		"Logger":      func(o *Options) { o.Logger = nil },
		"MaxInFlight": func(o *Options) { o.MaxInFlight = -1 },
	} {
		o := c.options(nodeA)
		breakIt(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
