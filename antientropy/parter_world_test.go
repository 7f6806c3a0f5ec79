package antientropy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// parted is a world in which the first node kept partitions once that five nodes
// keep now, everybody settled where the ring wants it.
type parted struct {
	*world
	old  *replica
	away []int // the partitions that it is not to keep any more
	reg  *prometheus.Registry
	p    *Parter
}

func (w *world) restingView(fence uint64) *ring.View {
	r := w.ringOf(len(w.ids))
	return ring.NewFencedView(r, fence, func(id ring.NodeID, p int) bool { return slices.Contains(r.Targets(p), id) })
}

func inParted(t *testing.T, change func(*ParterOptions), test func(t *testing.T, w *parted)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &parted{world: newWorld(t, 5), reg: prometheus.NewRegistry()}
		w.everybody(w.restingView(0))
		w.old = w.stores[0]
		for p := range partitions {
			if !contains(w.views[0].View().Placement(p).Owners, w.old.id) {
				w.away = append(w.away, p)
			}
		}
		if len(w.away) < 3 {
			t.Fatal("the node keeps nearly everything: the test is empty")
		}
		o := ParterOptions{Self: w.old.id, Streams: 1, Views: w.old.view, Peers: w, Store: w.old, Copies: w.old, Dropper: w.old,
			PageBytes: MinPageBytes, Metrics: w.reg}
		if change != nil {
			change(&o)
		}
		var err error
		if w.p, err = NewParter(o); err != nil {
			t.Fatal(err)
		}
		test(t, w)
	})
}

func (w *parted) everybody(v *ring.View) {
	for _, view := range w.views {
		view.set(v)
	}
}

// ownersNow are the nodes that own a partition in the view of the first node.
func (w *parted) ownersNow(p uint32) []*replica { return w.ownersIn(w.old.view.View(), p) }

func (w *parted) ownersIn(v *ring.View, p uint32) (owners []*replica) {
	for _, id := range v.Placement(int(p)).Owners {
		owners = append(owners, w.stores[w.index(id)])
	}
	return owners
}

// scatter gives the old node and the owners some version of some keys each, from
// histories with forks.
func (w *parted) scatter(rng *rand.Rand, keys int) {
	for k := range keys {
		name := fmt.Sprintf("key-%04d", k)
		ref := object.Ref{Partition: uint32(ring.Partition("b", name, partitions)), Bucket: "b", Key: name}
		nodes := append(w.ownersNow(ref.Partition), w.old)
		for seq := range 1 + rng.IntN(3) {
			from := nodes[rng.IntN(len(nodes))]
			old := from.get(ref)
			var c version.Context
			if rng.IntN(2) == 0 {
				c = old.Context()
			}
			dot := version.Dot{Actor: version.Actor(from.id[0]) + 1, Seq: uint64(10*k + seq + 1)}
			o, err := old.Update(c, object.Sibling{Dot: dot, Value: make([]byte, rng.IntN(300))}, object.Limits{})
			if err != nil {
				w.t.Fatal(err)
			}
			for _, to := range nodes {
				if to == from || rng.IntN(2) == 0 {
					_, _ = to.merge(ref, o)
				}
			}
		}
	}
}

// nothingIsLost fails the test if a copy is dropped that has what an owner lacks.
func (w *parted) nothingIsLost() {
	w.old.dropping = func(p uint32) {
		for _, e := range w.old.entries(p) {
			for _, owner := range w.ownersIn(w.old.view.v, p) { // whose lock is the gate
				if !owner.get(e.Ref).Vector.Descends(e.Object.Vector) {
					w.t.Errorf("%v is dropped with %v, and %v has %v", e.Ref, e.Object.Vector, owner.id, owner.get(e.Ref).Vector)
				}
			}
		}
	}
}

func (w *parted) left() (parts []int) {
	for _, p := range w.away {
		if held, _ := w.old.Holds(uint32(p)); held {
			parts = append(parts, p)
		}
	}
	return parts
}

// run runs the parter for a while.
func (w *parted) run(d time.Duration) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.p.Run(ctx) }()
	time.Sleep(d)
	cancel()
	if err := <-done; err != nil {
		w.t.Errorf("Run: %v", err)
	}
}

func (w *parted) kept(reason waiting) int {
	return int(testutil.ToFloat64(w.p.metrics.kept[reason]))
}
