package antientropy

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/ring"
	"starling/store/object"
)

// inReapWorld runs a test with a reaper under way at the first node. The test
// has the world's lock but in afterRounds.
func inReapWorld(t *testing.T, nodes int, change func(*ReaperOptions), test func(w *reapWorld, r *Reaper)) {
	synctest.Test(t, func(t *testing.T) {
		w := newReapWorld(t, nodes)
		r := w.reaper(change)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		w.locked(func() { test(w, r) })
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// afterRounds waits until so many intervals are over and nothing is under way.
func (w *reapWorld) afterRounds(n int) {
	w.mu.Unlock()
	time.Sleep(time.Duration(n)*DefaultReapInterval + DefaultReapInterval/2)
	synctest.Wait()
	w.mu.Lock()
}

func TestDeletedKeysGoWithoutATrace(t *testing.T) {
	reg := prometheus.NewRegistry()
	inReapWorld(t, 5, func(o *ReaperOptions) { o.Metrics = reg }, func(w *reapWorld, r *Reaper) {
		var gone, kept []object.Ref
		for n := range 40 {
			ref := reapRef(n)
			gone = append(gone, ref)
			w.deleted(ref)
			if _, others := w.owners(ref); n%3 == 0 {
				others[n%2].set(ref, reapWritten(t, reapValue(1, 1))) // left from another ring
			}
		}
		for n := 40; n < 50; n++ {
			ref := reapRef(n)
			kept = append(kept, ref)
			owners, _ := w.owners(ref)
			for _, x := range owners {
				x.set(ref, reapWritten(t, reapValue(1, 1)))
			}
		}
		w.afterRounds(1)
		for _, ref := range gone {
			if n := w.traces(ref); n != 0 {
				t.Errorf("%v is still at %d nodes", ref, n)
			}
		}
		for _, ref := range kept {
			if n := w.traces(ref); n != 3 {
				t.Errorf("%v, which lives, is at %d nodes", ref, n)
			}
		}
		steps := slices.Compact(slices.Clone(w.calls))
		if got := strings.Join(steps, " "); got != "candidates verify purge" {
			t.Errorf("asked for %s", got)
		}
		if len(w.held) == 0 || len(w.heldByLeader) == 0 {
			t.Error("exchanges went on during the deletions")
		}
		if b := r.Blockers(); len(b) != 0 {
			t.Errorf("blockers %v", b)
		}
		w.afterRounds(5)
		if w.raised != 1 {
			t.Errorf("the fence was raised %d times for one purge", w.raised)
		}
		want := `
# HELP starling_purge_keys_total Keys that all owners deleted, or pruned the vector of, in rounds that this node led.
# TYPE starling_purge_keys_total counter
starling_purge_keys_total{done="deleted"} 40
starling_purge_keys_total{done="pruned"} 0
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "starling_purge_keys_total"); err != nil {
			t.Error(err)
		}
	})
}

func TestVectorsLoseRetiredActors(t *testing.T) {
	inReapWorld(t, 4, nil, func(w *reapWorld, _ *Reaper) {
		ref := reapRef(0)
		o := reapWritten(t, reapValue(1, 1), reapValue(2, 2), reapValue(3, 3))
		owners, others := w.owners(ref)
		for _, x := range owners {
			x.set(ref, o)
			x.setActors(1)
		}
		others[0].set(ref, reapWritten(t, reapValue(1, 1), reapValue(2, 2)))
		w.afterRounds(1)
		for _, x := range owners {
			if got := x.get(ref); len(got.Vector) != 2 || got.Vector.Max(2) != 0 || len(got.Siblings) != 1 {
				t.Errorf("pruned to %v", got)
			}
		}
		if !others[0].get(ref).Absent() {
			t.Error("a stale copy with the retired actor is left")
		}
		w.afterRounds(3)
		if w.raised != 1 {
			t.Errorf("the fence was raised %d times", w.raised)
		}
	})
}

func TestAMemberThatIsDownBlocksAndIsNamed(t *testing.T) {
	for name, fail := range map[string]func(w *reapWorld){
		"down": func(w *reapWorld) { w.down[w.ids[3]] = true },
		"hung": func(w *reapWorld) { w.hang[w.ids[3]] = true },
	} {
		t.Run(name, func(t *testing.T) {
			inReapWorld(t, 5, nil, func(w *reapWorld, r *Reaper) {
				fail(w)
				ref := reapRef(1)
				w.deleted(ref)
				w.afterRounds(3)
				if n := w.traces(ref); n != 3 || w.raised > 0 {
					t.Errorf("%d copies are left, the fence was raised %d times", n, w.raised)
				}
				b := r.Blockers()
				if len(b) != 1 || b[0].Node != w.ids[3] || !strings.Contains(b[0].Reason, "could not be asked") {
					t.Errorf("blockers %+v", b)
				}
				clear(w.down)
				clear(w.hang)
				w.afterRounds(1)
				if n := w.traces(ref); n != 0 || len(r.Blockers()) != 0 {
					t.Errorf("%d copies are left, blockers %v", n, r.Blockers())
				}
			})
		})
	}
}

func TestNobodyIsBlamedWhenNothingWaits(t *testing.T) {
	inReapWorld(t, 4, nil, func(w *reapWorld, r *Reaper) {
		w.down[w.ids[2]] = true
		w.afterRounds(2)
		if b := r.Blockers(); len(b) != 0 || len(w.calls) == 0 {
			t.Errorf("blockers %v after %d calls", b, len(w.calls))
		}
	})
}

func TestOnlyTheLeaderPurges(t *testing.T) {
	inReapWorld(t, 4, nil, func(w *reapWorld, r *Reaper) {
		ref := reapRef(0)
		w.deleted(ref)
		w.down[w.ids[2]] = true
		w.afterRounds(2)
		if len(r.Blockers()) != 1 {
			t.Errorf("blockers %v", r.Blockers())
		}
		w.leader, w.calls = w.ids[1], nil
		w.afterRounds(3)
		if len(w.calls) > 0 || len(r.Blockers()) != 0 {
			t.Errorf("%d calls, blockers %v at a node that does not lead", len(w.calls), r.Blockers())
		}
	})
}

func TestFenceThatDoesNotReachAll(t *testing.T) {
	inReapWorld(t, 5, nil, func(w *reapWorld, r *Reaper) {
		ref := reapRef(0)
		w.deleted(ref)
		w.onRaise = func() { w.down[w.ids[4]] = true }
		w.afterRounds(1)
		b := r.Blockers()
		if w.traces(ref) != 3 || w.raised != 1 || len(b) != 1 || b[0].Node != w.ids[4] || !strings.Contains(b[0].Reason, "fence") {
			t.Errorf("%d copies, raised %d times, blockers %+v", w.traces(ref), w.raised, b)
		}
	})
}

// While any partition moves no fence is raised, and who is filled, or gives up
// what it has, is named; if something waits for it.
func TestNoFenceWhileDataMoves(t *testing.T) {
	for name, settled := range map[string]func(owner bool, id ring.NodeID, p int) bool{
		"filled":   func(owner bool, _ ring.NodeID, p int) bool { return owner && p != 3 },
		"given up": func(owner bool, _ ring.NodeID, p int) bool { return owner || p == 3 },
	} {
		t.Run(name, func(t *testing.T) {
			inReapWorld(t, 5, nil, func(w *reapWorld, r *Reaper) {
				v := w.nodes[w.ids[0]].view.View()
				moving := ring.NewFencedView(v.Ring(), v.Fence(), func(id ring.NodeID, p int) bool {
					return settled(contains(v.Placement(p).Owners, id), id, p)
				})
				for _, x := range w.nodes {
					x.view.set(moving)
				}
				w.afterRounds(2)
				if b := r.Blockers(); len(b) > 0 {
					t.Errorf("blockers %v though nothing waits", b)
				}
				ref := reapRef(0)
				for n := 1; ref.Partition == 3; n++ {
					ref = reapRef(n)
				}
				w.deleted(ref)
				w.afterRounds(2)
				pl := moving.Placement(3)
				want := len(pl.Pending) + len(pl.Displaced)
				b := r.Blockers()
				if w.traces(ref) != 3 || w.raised > 0 || len(b) != want || want == 0 || !strings.Contains(b[0].Reason, "data moves") {
					t.Errorf("%d copies, the fence was raised %d times, blockers %+v of %d", w.traces(ref), w.raised, b, want)
				}
				for _, x := range w.nodes {
					x.view.set(v)
				}
				w.afterRounds(1)
				if n := w.traces(ref); n != 0 || len(r.Blockers()) != 0 {
					t.Errorf("%d copies are left, blockers %v", n, r.Blockers())
				}
			})
		})
	}
}

func TestAFenceThatThisNodeDoesNotGoBy(t *testing.T) {
	inReapWorld(t, 4, nil, func(w *reapWorld, r *Reaper) {
		ref := reapRef(0)
		w.deleted(ref)
		w.stuck = true
		w.afterRounds(1)
		b := r.Blockers()
		if w.traces(ref) != 3 || len(b) != 1 || b[0].Node != w.ids[0] || !strings.Contains(b[0].Reason, "fence") {
			t.Errorf("%d copies, blockers %+v", w.traces(ref), b)
		}
	})
}

func TestAHintInBetweenBlocks(t *testing.T) {
	inReapWorld(t, 5, nil, func(w *reapWorld, r *Reaper) {
		ref := reapRef(0)
		w.deleted(ref)
		_, others := w.owners(ref)
		w.onRaise = func() { others[0].wroteHint(ref.Partition) } // and it is delivered already
		w.afterRounds(1)
		if b := r.Blockers(); w.traces(ref) != 3 || len(b) != 1 || !strings.Contains(b[0].Reason, "wrote hints") {
			t.Errorf("%d copies, blockers %+v", w.traces(ref), b)
		}
		w.onRaise = nil
		w.afterRounds(1)
		if n := w.traces(ref); n != 0 {
			t.Errorf("%d copies are left", n)
		}
	})
}

func TestManyKeysGoInRounds(t *testing.T) {
	inReapWorld(t, 20, nil, func(w *reapWorld, _ *Reaper) {
		const keys = 676
		for n := range keys {
			w.deleted(reapRef(n))
		}
		w.page = 40
		w.afterRounds(4) // a pause that is shorter while there is more
		left := 0
		for n := range keys {
			left += w.traces(reapRef(n))
		}
		if left > 0 || w.raised < 3 {
			t.Errorf("%d copies are left after %d rounds", left, w.raised)
		}
		if w.most > reapCalls {
			t.Errorf("%d calls at a time", w.most)
		}
	})
}

// What blocks one part of the keys stays named while others are looked at.
func TestBlockersOfASweepAreKept(t *testing.T) {
	inReapWorld(t, 4, nil, func(w *reapWorld, r *Reaper) {
		for n := range 60 {
			ref := reapRef(n)
			w.deleted(ref)
			blocker := w.nodes[w.ids[1]]
			if ref.Partition >= partitions/2 {
				blocker = w.nodes[w.ids[2]]
			}
			blocker.keepHint(ref, 1)
		}
		w.page = 5
		w.afterRounds(30)
		for range 30 {
			b := r.Blockers()
			if len(b) != 2 || b[0].Node != w.ids[1] || b[1].Node != w.ids[2] {
				t.Fatalf("blockers %v", b)
			}
			w.afterRounds(1)
		}
		for n := range 60 {
			w.nodes[w.ids[1]].keepHint(reapRef(n), 0)
		}
		w.afterRounds(60)
		if b := r.Blockers(); len(b) != 1 || b[0].Node != w.ids[2] {
			t.Errorf("blockers %v", b)
		}
	})
}

func TestReaperStopsInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newReapWorld(t, 4)
		w.deleted(reapRef(0))
		w.hang[w.ids[3]] = true
		r := w.reaper(func(o *ReaperOptions) { o.CallTimeout = time.Hour })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(DefaultReapInterval + time.Second)
		start := time.Now()
		cancel()
		if err := <-done; err != nil || time.Since(start) > time.Second {
			t.Errorf("Run ended with %v after %v", err, time.Since(start))
		}
		if b := r.Blockers(); len(b) != 0 {
			t.Errorf("the end of this node is blamed on %v", b)
		}
	})
}

func TestReaperOptions(t *testing.T) {
	w := newReapWorld(t, 1)
	good := w.reaper(nil).opts
	for name, spoil := range map[string]func(*ReaperOptions){
		"no roster":         func(o *ReaperOptions) { o.Roster = nil },
		"no local part":     func(o *ReaperOptions) { o.Local = nil },
		"negative interval": func(o *ReaperOptions) { o.Interval = -1 },
	} {
		o := good
		spoil(&o)
		if _, err := NewReaper(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
