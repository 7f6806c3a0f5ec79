package hint

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

func nodeID(n int) ring.NodeID { return ring.NodeID{0: byte(n), 15: 1} }

func refOf(n int) object.Ref {
	return object.Ref{Partition: uint32(n % 7), Bucket: "b", Key: fmt.Sprintf("key-%05d", n)}
}

func compareRefs(a, b object.Ref) int {
	return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Key, b.Key))
}

// valued is an object with one value of so many bytes.
func valued(t testing.TB, seq uint64, bytes int) object.Object {
	t.Helper()
	s := object.Sibling{Dot: version.Dot{Actor: 1, Seq: seq}, Value: make([]byte, bytes)}
	o, err := object.Object{}.Update(version.Context{}, s, object.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// name names a hint.
type name struct {
	target ring.NodeID
	ref    object.Ref
}

func compareNames(a, b name) int {
	return cmp.Or(a.target.Compare(b.target), compareRefs(a.ref, b.ref))
}

// sent is one call of Deliver.
type sent struct {
	name
	at, end time.Duration // since the world began
	bytes   int64
	flying  int // with this one
	err     error
}

// cluster is a deliverer, and the copies of all its nodes.
type cluster struct {
	// took is how long a delivery takes with that many under way to the
	// target, err how it goes; for the n-th call, from 0. during runs in a
	// delivery before the target merges it. Each may be nil, and runs alone:
	// what else touches their variables does it in change.
	took   func(n, flying int) time.Duration
	err    func(n int) error
	during func(n int, at name)
	hooks  sync.Mutex
	// stubborn deliveries do not end with their context.
	stubborn bool

	mu       sync.Mutex
	began    time.Time
	down     map[ring.NodeID]bool
	pressure float64
	flying   map[ring.NodeID]int
	copies   map[name]object.Object
	sent     []sent
}

func newCluster() *cluster {
	return &cluster{
		began: time.Now(), down: make(map[ring.NodeID]bool),
		flying: make(map[ring.NodeID]int), copies: make(map[name]object.Object),
	}
}

func (c *cluster) Usable(id ring.NodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.down[id]
}

func (c *cluster) setDown(id ring.NodeID, down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down[id] = down
}

func (c *cluster) Pressure() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pressure
}

func (c *cluster) setPressure(p float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pressure = p
}

func (c *cluster) Deliver(ctx context.Context, target ring.NodeID, ref object.Ref, o object.Object) error {
	at := name{target, ref}
	c.mu.Lock()
	n := len(c.sent)
	c.flying[target]++
	flying := c.flying[target]
	c.sent = append(c.sent, sent{name: at, at: time.Since(c.began), flying: flying,
		bytes: sizeOf(object.Hint{Ref: ref, Object: o})})
	c.mu.Unlock()
	err := c.carryOut(ctx, n, flying, at)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flying[target]--
	c.sent[n].end, c.sent[n].err = time.Since(c.began), err
	if err == nil {
		c.copies[at] = object.Merge(c.copies[at], o)
	}
	return err
}

func (c *cluster) carryOut(ctx context.Context, n, flying int, at name) error {
	took := time.Millisecond
	if c.took != nil {
		c.change(func() { took = c.took(n, flying) })
	}
	timer := time.NewTimer(took)
	defer timer.Stop()
	ended := ctx.Done()
	if c.stubborn {
		ended = nil
	}
	select {
	case <-timer.C:
	case <-ended:
		return ctx.Err()
	}
	c.hooks.Lock()
	defer c.hooks.Unlock()
	if c.during != nil {
		c.during(n, at)
	}
	if c.err != nil {
		return c.err(n)
	}
	return nil
}

// change is for what the hooks use.
func (c *cluster) change(f func()) {
	c.hooks.Lock()
	defer c.hooks.Unlock()
	f()
}

func (c *cluster) deliveries() []sent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sent)
}

func (c *cluster) copyAt(n name) object.Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.copies[n]
}

// world is a drainer between a store and a cluster, in a bubble of virtual time.
type world struct {
	t       *testing.T
	store   *memory
	cluster *cluster
	opts    Options
	drainer *Drainer
	log     *strings.Builder
	reg     *prometheus.Registry
	// stop ends Run and waits for it.
	stop func()
	// wrote is the merge of all that was ever hinted.
	mu    sync.Mutex
	wrote map[name]object.Object
}

func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, store: newMemory(), cluster: newCluster(), log: &strings.Builder{}, wrote: make(map[name]object.Object)}
		w.opts = Options{PeerName: func(id ring.NodeID) string { return fmt.Sprintf("node-%d", id[0]) },
			Logger: slog.New(slog.NewTextHandler(w.log, nil))}
		f(w)
		if w.stop != nil {
			w.stop()
		}
	})
}

// start runs a new drainer on the store.
func (w *world) start() {
	w.t.Helper()
	w.reg = prometheus.NewRegistry()
	o := w.opts
	o.Store, o.Deliverer, o.Metrics = w.store, w.cluster, w.reg
	d, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.drainer = d
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	w.stop = func() {
		w.t.Helper()
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		w.stop = nil
	}
}

func (w *world) hint(target ring.NodeID, n int, o object.Object) {
	at := name{target, refOf(n)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrote[at] = object.Merge(w.wrote[at], o)
	w.store.add(target, refOf(n), o)
}

// hints adds many for one target, of so many bytes each.
func (w *world) hints(target ring.NodeID, count, bytes int) {
	w.t.Helper()
	for n := range count {
		w.hint(target, n, valued(w.t, uint64(n)+1, bytes))
	}
}

// drained waits until no hints are left and every delivery is over, and holds
// the copies to all that was hinted. It answers how long that took.
func (w *world) drained(within time.Duration) time.Duration {
	w.t.Helper()
	start := time.Now()
	for w.store.left() > 0 {
		if time.Since(start) > within {
			w.t.Fatalf("%d hints are left after %v of %d deliveries", w.store.left(), within, len(w.cluster.deliveries()))
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(start)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, want := range w.wrote {
		if got := w.cluster.copyAt(at); !got.Equal(want) {
			w.t.Errorf("%s has %+v of %s, want %+v", at.target, got, at.ref.Key, want)
		}
	}
	return took
}

// target is what the drainer reports of a node.
func (w *world) target(id ring.NodeID) Target {
	w.t.Helper()
	for _, t := range w.drainer.Targets() {
		if t.Node == id {
			return t
		}
	}
	w.t.Fatalf("no report of %s", id)
	return Target{}
}

// metric is the sum of a metric's samples that have that label value, "" for all.
func (w *world) metric(metricName, label string) float64 {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			has := label == ""
			for _, l := range m.GetLabel() {
				has = has || l.GetValue() == label
			}
			if f.GetName() == metricName && has {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
