package antientropy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/ring"
)

// leaverView is a placement in which the first node leaves. settled says who
// is, of the others and the first node.
func (w *parted) leaverView(fence uint64, settled func(targets []ring.NodeID, id ring.NodeID) bool) *ring.View {
	w.t.Helper()
	var members []ring.Member
	for _, id := range w.ids {
		members = append(members, ring.Member{ID: id, Weight: 100, Draining: id == w.old.id})
	}
	r, err := ring.New(ring.Config{Partitions: partitions, Replicas: 3}, members)
	if err != nil {
		w.t.Fatal(err)
	}
	return ring.NewFencedView(r, fence, func(id ring.NodeID, p int) bool { return settled(r.Targets(p), id) })
}

// inLeaving is inParted where the first node leaves, its votes gone, and others
// own everything.
func inLeaving(t *testing.T, change func(*ParterOptions), test func(t *testing.T, w *parted)) {
	t.Helper()
	inParted(t, change, func(t *testing.T, w *parted) {
		w.everybody(w.leaverView(0, slices.Contains[[]ring.NodeID]))
		w.old.dropping = func(p uint32) { t.Errorf("partition %d was dropped", p) }
		test(t, w)
	})
}

// wantGiven checks that no owner lacks anything of what counts as handed over.
func (w *parted) wantGiven() (given int) {
	w.t.Helper()
	for p := range uint32(partitions) {
		if !w.p.given.has(p) {
			continue
		}
		given++
		for _, e := range w.old.entries(p) {
			for _, owner := range w.ownersNow(p) {
				if !owner.get(e.Ref).Vector.Descends(e.Object.Vector) {
					w.t.Errorf("%v counts as handed over, and %v lacks it", e.Ref, owner.id)
				}
			}
		}
	}
	return given
}

// A node that leaves hands over all that it has, drops nothing, and does not do
// so again, over a network that fails and while fences go up.
func TestALeaverHandsOverAndDropsNothing(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inLeaving(t, nil, func(t *testing.T, w *parted) {
				rng := rand.New(rand.NewPCG(seed, 5))
				w.scatter(rng, 400)
				if n := w.p.Remaining(); n != partitions {
					t.Errorf("%d copies remain, want %d", n, partitions)
				}
				views := []*ring.View{w.old.view.View()}
				for fence := range uint64(8) {
					views = append(views, w.leaverView(fence+1, slices.Contains[[]ring.NodeID]))
				}
				w.delay = time.Millisecond
				w.before = func(to ring.NodeID, _ string) {
					w.mu.Lock()
					defer w.mu.Unlock()
					switch rng.IntN(30) {
					case 0:
						w.broken[to] = errLost
					case 1:
						w.views[rng.IntN(5)].set(views[rng.IntN(len(views))])
					default:
						delete(w.broken, to)
					}
				}
				for range 10 {
					w.run(400 * time.Millisecond)
					w.wantGiven()
					w.everybody(views[rng.IntN(len(views))])
				}
				w.before = nil
				clear(w.broken)
				w.run(10 * time.Second)
				if n := w.wantGiven(); n != partitions || w.p.Remaining() != 0 {
					t.Errorf("%d handed over, %d remain", n, w.p.Remaining())
				}
				if len(w.seen.pushed) == 0 || testutil.ToFloat64(w.p.metrics.due) != 0 {
					t.Errorf("%d keys pushed, %v copies due", len(w.seen.pushed), testutil.ToFloat64(w.p.metrics.due))
				}
				w.forget()
				w.everybody(w.leaverView(99, slices.Contains[[]ring.NodeID]))
				w.run(10 * time.Second)
				if len(w.seen.calls) > 0 || w.p.Remaining() != 0 {
					t.Errorf("it began again: %v", w.seen.calls)
				}
			})
		})
	}
}

// Nothing counts as handed over while this node has a vote, while others are
// still to be filled or to go, or while one owner does not answer.
func TestALeaverWaits(t *testing.T) {
	for name, settled := range map[string]func(w *parted, targets []ring.NodeID, id ring.NodeID) bool{
		"for its vote to go": func(w *parted, targets []ring.NodeID, id ring.NodeID) bool {
			return slices.Contains(targets, id) || id == w.old.id
		},
		"for owners to be filled": func(_ *parted, targets []ring.NodeID, id ring.NodeID) bool {
			return slices.Contains(targets[:2], id)
		},
		"for others to go": func(w *parted, _ []ring.NodeID, id ring.NodeID) bool { return id != w.old.id },
		"for an owner": func(w *parted, targets []ring.NodeID, id ring.NodeID) bool {
			w.dead[targets[2]] = true
			return slices.Contains(targets, id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inLeaving(t, nil, func(t *testing.T, w *parted) {
				w.scatter(rand.New(rand.NewPCG(1, 6)), 200)
				w.everybody(w.leaverView(0, func(targets []ring.NodeID, id ring.NodeID) bool { return settled(w, targets, id) }))
				w.run(10 * time.Second)
				if n := w.wantGiven(); n > 0 || w.p.Remaining() != partitions {
					t.Errorf("%d handed over, %d remain", n, w.p.Remaining())
				}
				clear(w.dead)
				w.everybody(w.leaverView(0, slices.Contains[[]ring.NodeID]))
				w.run(2 * leaveInterval)
				if n := w.wantGiven(); n != partitions || w.p.Remaining() != 0 {
					t.Errorf("in the end %d handed over, %d remain", n, w.p.Remaining())
				}
			})
		})
	}
}

// What a node handed over is not known after its restart: it does so again.
func TestALeaverBeginsAgainAfterARestart(t *testing.T) {
	inLeaving(t, nil, func(t *testing.T, w *parted) {
		w.scatter(rand.New(rand.NewPCG(1, 8)), 100)
		w.run(5 * time.Second)
		o := w.p.opts
		o.Metrics = nil
		var err error
		if w.p, err = NewParter(o); err != nil {
			t.Fatal(err)
		}
		if n := w.p.Remaining(); n != partitions {
			t.Errorf("%d remain after a restart, want %d", n, partitions)
		}
		w.forget()
		w.run(5 * time.Second)
		if w.p.Remaining() != 0 || len(w.seen.pushed) > 0 || w.seen.calls["keys"] == 0 {
			t.Errorf("%d remain, %d keys pushed, %v", w.p.Remaining(), len(w.seen.pushed), w.seen.calls)
		}
	})
}

// Before a vote is given up an empty copy is not compared with anybody's, and
// one that cannot be read keeps the vote.
func TestHandingOverAnEmptyCopy(t *testing.T) {
	inLeaving(t, nil, func(t *testing.T, w *parted) {
		p := uint32(3)
		pl := w.old.view.View().Placement(int(p))
		claim := Claim{Partition: p, Stamp: pl.Stamp}
		if err := w.p.HandOver(t.Context(), claim, pl.Owners); err != nil || len(w.seen.calls) > 0 {
			t.Errorf("an empty copy: %v, %v", err, w.seen.calls)
		}
		w.scatter(rand.New(rand.NewPCG(1, 9)), 100)
		if err := w.p.HandOver(t.Context(), claim, pl.Owners); err != nil || w.seen.calls["keys"] == 0 || len(w.seen.pushed) == 0 {
			t.Errorf("a copy: %v, %v", err, w.seen.calls)
		}
		w.p.opts.Copies = unreadable{w.old}
		if err := w.p.HandOver(t.Context(), claim, pl.Owners); err == nil {
			t.Error("an unreadable copy was handed over")
		}
	})
}

// unreadable copies may hold something.
type unreadable struct{ Copies }

func (unreadable) Holds(uint32) (bool, error) { return false, errLost }
