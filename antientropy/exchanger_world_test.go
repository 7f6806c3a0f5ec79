package antientropy

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// exNode is one node of the cluster.
type exNode struct {
	c     *exCluster
	id    ring.NodeID
	store *exStore
	// gate guards view as a coordinator's gate does.
	gate sync.RWMutex
	view *ring.View

	opts   ExchangerOptions
	server *ReplicaServer
	x      *Exchanger
	reg    *prometheus.Registry
	stop   func()
}

func (n *exNode) View() *ring.View {
	n.gate.RLock()
	defer n.gate.RUnlock()
	return n.view
}

func (n *exNode) setView(v *ring.View) {
	n.gate.Lock()
	n.view = v
	n.gate.Unlock()
	n.c.mu.Lock()
	x := n.x
	n.c.mu.Unlock()
	x.Kick()
}

// Apply is what a coordinator does for another owner.
func (n *exNode) Apply(ref object.Ref, stamp uint64, o object.Object) (object.Written, error) {
	n.gate.RLock()
	defer n.gate.RUnlock()
	if pl := n.view.Placement(int(ref.Partition)); pl.Stamp != stamp {
		return object.Written{}, ErrRefused
	}
	return n.store.merge(ref, o)
}

// start makes a new process on the node's store, and runs it.
func (n *exNode) start() {
	t := n.c.t
	t.Helper()
	n.reg = prometheus.NewRegistry()
	o := n.opts
	o.Self, o.Views, o.Peers, o.Store, o.Applier, o.Liveness, o.Metrics = n.id, n, exNet{n}, n.store, n, exNet{n}, n.reg
	x, err := NewExchanger(o)
	if err != nil {
		t.Fatal(err)
	}
	server, err := NewReplicaServer(ReplicaServerOptions{Self: n.id, Views: n, Store: n.store, Applier: n, Meter: x})
	if err != nil {
		t.Fatal(err)
	}
	n.c.change(func() { n.x, n.server = x, server })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	n.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		n.stop = nil
	}
}

// metric is the sum of a metric's samples that have that label value, "" for all.
func (n *exNode) metric(name, label string) int {
	families, err := n.reg.Gather()
	if err != nil {
		n.c.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return int(sum)
}

// exShipped is one object that passed the network.
type exShipped struct {
	from, to ring.NodeID
	ref      object.Ref
}

// exCluster is some nodes and the network between them.
type exCluster struct {
	t     *testing.T
	rng   *rand.Rand // guarded by mu
	nodes []*exNode
	parts int
	ring  *ring.Ring

	mu     sync.Mutex
	view   *ring.View // the newest
	down   map[ring.NodeID]bool
	boots  map[ring.NodeID]uint64
	flying map[ring.NodeID]map[ring.NodeID]int // from → to
	seen   exSeen
	// fault is asked for each request, under mu; it may lose the request, or
	// the answer after the request was carried out.
	fault func(from, to ring.NodeID, method string) (delay time.Duration, loseRequest, loseAnswer error)
	// before runs before the other side handles a request, without mu, and
	// forge changes its answer. Both are set before the start.
	before func(from, to ring.NodeID, method string)
	forge  func(answer any)
}

// exSeen is what passed the network.
type exSeen struct {
	shipped   []exShipped
	bytes     int
	calls     map[string]int // by method
	refreshes int
	// mostEach is the most requests under way from one node to one other,
	// mostAll to how many others.
	mostEach, mostAll int
}

var errLost = errors.New("connection lost")

func newExCluster(t *testing.T, nodes, parts, copies int, opts ExchangerOptions) *exCluster {
	c := &exCluster{t: t, parts: parts, rng: rand.New(rand.NewPCG(1, 2)), seen: exSeen{calls: map[string]int{}},
		down: map[ring.NodeID]bool{}, boots: map[ring.NodeID]uint64{}, flying: map[ring.NodeID]map[ring.NodeID]int{}}
	for i := range nodes {
		n := &exNode{c: c, id: nodeID(i), store: newExStore(), opts: opts}
		c.nodes = append(c.nodes, n)
		c.boots[n.id] = 1
		c.flying[n.id] = map[ring.NodeID]int{}
	}
	var members []ring.Member
	for _, n := range c.nodes {
		members = append(members, ring.Member{ID: n.id, Weight: 100})
	}
	var err error
	if c.ring, err = ring.New(ring.Config{Partitions: parts, Replicas: copies}, members); err != nil {
		t.Fatal(err)
	}
	c.view = ring.NewView(c.ring, settledEverywhere)
	for _, n := range c.nodes {
		n.view = c.view
	}
	return c
}

func settledEverywhere(ring.NodeID, int) bool { return true }

// newest is the placement of which nodes are told that have an older one.
func (c *exCluster) newest() *ring.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view
}

// fence raises the fence; nobody knows of it yet.
func (c *exCluster) fence() *ring.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view = ring.NewFencedView(c.ring, c.view.Fence()+1, settledEverywhere)
	return c.view
}

func (c *exCluster) start() {
	for _, n := range c.nodes {
		n.start()
	}
	synctest.Wait() // until all run
}

func (c *exCluster) stop() {
	for _, n := range c.nodes {
		if n.stop != nil {
			n.stop()
		}
	}
}

// change is for what the network reads.
func (c *exCluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *exCluster) node(id ring.NodeID) *exNode {
	return c.nodes[slices.IndexFunc(c.nodes, func(n *exNode) bool { return n.id == id })]
}

func (c *exCluster) owners(p uint32) []*exNode {
	var owners []*exNode
	for _, id := range c.newest().Placement(int(p)).Owners {
		owners = append(owners, c.node(id))
	}
	return owners
}

func (c *exCluster) ref(key string) object.Ref {
	return object.Ref{Partition: uint32(ring.Partition("b", key, c.parts)), Bucket: "b", Key: key}
}

// kill ends a node's process; revive starts another on the same store.
func (c *exCluster) kill(n *exNode) {
	n.stop()
	c.change(func() { c.down[n.id] = true })
}

func (c *exCluster) revive(n *exNode) {
	n.start()
	c.change(func() { c.down[n.id] = false; c.boots[n.id]++ })
	for _, other := range c.nodes {
		other.x.Kick()
	}
}

// converged says whether all pairs of all nodes hold.
func (c *exCluster) converged() bool {
	for _, n := range c.nodes {
		r, err := n.x.HandleReport(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		for _, p := range r.Pairs {
			if !p.Holds || !p.Proven {
				return false
			}
		}
	}
	return true
}

// await waits until all pairs hold, and answers how long it took.
func (c *exCluster) await(within time.Duration) time.Duration {
	c.t.Helper()
	start := time.Now()
	for !c.converged() {
		if time.Since(start) > within {
			c.t.Fatalf("not converged after %v", within)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(start)
}

// converge is await, and holds the nodes to it: all owners have the same.
func (c *exCluster) converge(within time.Duration) time.Duration {
	c.t.Helper()
	took := c.await(within)
	c.equal()
	return took
}

// equal fails unless the owners of every partition hold the same.
func (c *exCluster) equal() {
	c.t.Helper()
	stores := map[ring.NodeID]map[object.Ref]object.Object{}
	for _, n := range c.nodes {
		stores[n.id] = n.store.all()
	}
	for _, n := range c.nodes {
		for ref, o := range stores[n.id] {
			for _, owner := range c.owners(ref.Partition) {
				if !stores[owner.id][ref].Equal(o) {
					c.t.Fatalf("%s: %s holds %v, %s %v", ref.Key, n.id, o.Vector, owner.id, stores[owner.id][ref].Vector)
				}
			}
		}
	}
}

// shippedTo counts, for each node, how often each object was shipped to it.
func (c *exCluster) shippedTo() map[ring.NodeID]map[object.Ref]int {
	to := map[ring.NodeID]map[object.Ref]int{}
	for _, s := range c.log().shipped {
		if to[s.to] == nil {
			to[s.to] = map[object.Ref]int{}
		}
		to[s.to][s.ref]++
	}
	return to
}

// log is what has passed the network since it was cleared.
func (c *exCluster) log() exSeen {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.seen
	s.shipped, s.calls = slices.Clone(s.shipped), maps.Clone(s.calls)
	return s
}

func (c *exCluster) clearLog() {
	c.change(func() { c.seen = exSeen{calls: map[string]int{}} })
}

// inExCluster runs a test in a bubble of virtual time.
func inExCluster(t *testing.T, nodes, parts, copies int, opts ExchangerOptions, f func(t *testing.T, c *exCluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newExCluster(t, nodes, parts, copies, opts)
		f(t, c)
		c.stop()
	})
}

// put writes a sibling on top of an object.
func exPut(t *testing.T, o object.Object, actor, seq uint64, bytes int) object.Object {
	t.Helper()
	s := object.Sibling{Dot: version.Dot{Actor: version.Actor(actor), Seq: seq}, Value: make([]byte, bytes)}
	next, err := o.Update(o.Context(), s, object.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// everywhere puts a new object at all owners.
func (c *exCluster) everywhere(key string, seq uint64, bytes int) object.Ref {
	ref := c.ref(key)
	o := exPut(c.t, object.Object{}, 1, seq, bytes)
	for _, n := range c.owners(ref.Partition) {
		_, _ = n.store.merge(ref, o)
	}
	return ref
}
