package rpc

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"reflect"
	"sync"
	"testing"
	"time"

	"starling/antientropy"
	"starling/coordinator"
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
	sizes     func(context.Context, antientropy.SizesRequest) (antientropy.SizesReply, error)
	exchange  func(context.Context, state.Map) (state.Map, error)
	inspect   func(context.Context, object.Ref) (coordinator.InspectReply, error)
	status    func(context.Context) (coordinator.NodeStatus, error)
	list      func(context.Context, coordinator.ScanRequest) (coordinator.ScanReply, error)

	compare    func(context.Context, antientropy.CompareRequest) ([]antientropy.Comparison, error)
	keys       func(context.Context, antientropy.KeysRequest) (antientropy.KeysPage, error)
	fetch      func(context.Context, antientropy.FetchRequest) (antientropy.FetchPage, error)
	push       func(context.Context, antientropy.PushRequest) (uint32, error)
	report     func(context.Context) (antientropy.Report, error)
	candidates func(context.Context, antientropy.CandidatesRequest) (antientropy.CandidatesPage, error)
	verify     func(context.Context, antientropy.VerifyRequest) (antientropy.VerifyReply, error)
	purge      func(context.Context, antientropy.PurgeRequest) (uint32, error)
	repair     func(context.Context, *antientropy.RepairRequest) (antientropy.RepairStatus, error)
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

func (n *fakeNode) HandleSizes(ctx context.Context, q antientropy.SizesRequest) (antientropy.SizesReply, error) {
	return n.sizes(ctx, q)
}

func (n *fakeNode) HandleInspect(ctx context.Context, ref object.Ref) (coordinator.InspectReply, error) {
	return n.inspect(ctx, ref)
}

func (n *fakeNode) HandleStatus(ctx context.Context) (coordinator.NodeStatus, error) {
	return n.status(ctx)
}

func (n *fakeNode) HandleCompare(ctx context.Context, q antientropy.CompareRequest) ([]antientropy.Comparison, error) {
	return n.compare(ctx, q)
}

func (n *fakeNode) HandleKeys(ctx context.Context, q antientropy.KeysRequest) (antientropy.KeysPage, error) {
	return n.keys(ctx, q)
}

func (n *fakeNode) HandleFetch(ctx context.Context, q antientropy.FetchRequest) (antientropy.FetchPage, error) {
	return n.fetch(ctx, q)
}

func (n *fakeNode) HandlePush(ctx context.Context, q antientropy.PushRequest) (uint32, error) {
	return n.push(ctx, q)
}

func (n *fakeNode) HandleReport(ctx context.Context) (antientropy.Report, error) {
	return n.report(ctx)
}

func (n *fakeNode) HandleCandidates(ctx context.Context, q antientropy.CandidatesRequest) (antientropy.CandidatesPage, error) {
	return n.candidates(ctx, q)
}

func (n *fakeNode) HandleVerify(ctx context.Context, q antientropy.VerifyRequest) (antientropy.VerifyReply, error) {
	return n.verify(ctx, q)
}

func (n *fakeNode) HandlePurge(ctx context.Context, q antientropy.PurgeRequest) (uint32, error) {
	return n.purge(ctx, q)
}

func (n *fakeNode) HandleRepair(ctx context.Context, start *antientropy.RepairRequest) (antientropy.RepairStatus, error) {
	return n.repair(ctx, start)
}

func (n *fakeNode) services() Services {
	return Services{
		Replica: n, Batch: n, List: n, Diagnosis: n, Source: n, Exchange: n.exchange,
		Convergence: n, Repair: n, Reap: n, Mend: n,
	}
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

// pipePair is pair in memory, for tests in virtual time. set changes the
// options of both.
func pipePair(t *testing.T, n *fakeNode, set func(caller, node *Options)) (caller, node *Transport, c *cluster) {
	t.Helper()
	c = newCluster(t)
	oa, ob := c.options(nodeA), c.options(nodeB)
	set(&oa, &ob)
	ln := newPipeListener()
	oa.Dial = ln.dial
	node = c.transport(ob)
	node.SetServices(n.services())
	c.serve(node, ln)
	return c.transport(oa), node, c
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

// pipeListener is a network of one address, in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
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
