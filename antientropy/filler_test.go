package antientropy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

func TestFillGetsWhatAnySingleOwnerHolds(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		targets := w.current().PendingFor(w.self())
		if len(targets) < partitions/2 {
			t.Fatalf("the newcomer is pending in %d partitions only", len(targets))
		}
		var refs []object.Ref
		for k := range 400 { // far more than a page holds
			key := fmt.Sprintf("key-%03d", k)
			holder := k % 3
			refs = append(refs, w.stores[holder].add(t, key, 2000, version.Dot{Actor: version.Actor(holder + 1), Seq: uint64(k + 1)}))
		}
		w.fill(1)
		if n := w.pending(); n != 0 {
			t.Fatalf("%d partitions are still pending", n)
		}
		for ref, n := range w.seen.streamed {
			if n+w.seen.fetched[ref] > 1 {
				t.Errorf("%v was sent %d times", ref, n+w.seen.fetched[ref])
			}
		}
		want := 0
		for _, ref := range refs {
			if !slices.Contains(targets, int(ref.Partition)) {
				continue
			}
			// Only what an owner of that partition held can be asked for.
			holder := w.ids[(int(ref.Key[6]-'0')+10*int(ref.Key[5]-'0')+100*int(ref.Key[4]-'0'))%3]
			if !contains(ring.NewView(w.ringOf(3), func(ring.NodeID, int) bool { return true }).Placement(int(ref.Partition)).Owners, holder) {
				continue
			}
			want++
			if w.newcomer().get(ref).Absent() {
				t.Errorf("%v was not pulled from its only holder", ref)
			}
		}
		if c := w.seen.calls; want < 100 || c["pull"] < 6 || c["fetch"] < 6 {
			t.Fatalf("%d objects, %v: the transfer was not put to the test", want, c)
		}
	})
}

func TestADeadOwnerDoesNotHinderAMajority(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		w.dead[w.ids[0]] = true
		w.fill(1)
		if n := w.pending(); n != 0 {
			t.Fatalf("%d partitions are still pending", n)
		}
	})
}

func TestAMinorityFillsNothing(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		before := w.pending()
		w.dead[w.ids[0]], w.dead[w.ids[1]] = true, true
		w.fill(3)
		if n := w.pending(); n != before {
			t.Fatalf("%d of %d partitions settled with one owner of three", before-n, before)
		}
	})
}

// A live owner whose ring is older still takes writes that pass the newcomer
// by: nothing settles before it was brought up to date.
func TestAnOldRingIsRefreshedBeforeAnythingSettles(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		before := w.pending()
		old := ring.NewView(w.ringOf(3), func(ring.NodeID, int) bool { return true })
		w.views[1].set(old)
		w.fill(1)
		if w.seen.calls["pull"] != 0 && w.pending() < before {
			for p := range w.settled {
				if contains(old.Placement(p).Owners, w.ids[1]) {
					t.Fatalf("partition %d settled past an owner with an old ring", p)
				}
			}
		}
		if w.refresh == 0 {
			t.Fatal("the old ring was not refreshed")
		}
		w.fill(1)
		if n := w.pending(); n != 0 {
			t.Fatalf("%d partitions are still pending", n)
		}
	})
}

func TestABrokenPullSettlesNothingOfIt(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		w.broken[w.ids[1]] = errors.New("connection lost")
		w.fill(2)
		for p := range w.settled {
			if contains(w.current().Placement(p).Owners, w.ids[1]) {
				t.Fatalf("partition %d settled without one of its owners' pages", p)
			}
		}
		delete(w.broken, w.ids[1])
		w.stores[3].fail = errors.New("disk full")
		w.stores[0].add(t, "k", 1, version.Dot{Actor: 1, Seq: 1})
		w.fill(1)
		if p := ring.Partition("b", "k", partitions); w.settled[p] && contains(w.current().Placement(p).Owners, w.ids[0]) {
			t.Fatal("a partition settled though its objects could not be stored")
		}
		w.stores[3].fail = nil
		w.fill(1)
		if n := w.pending(); n != 0 {
			t.Fatalf("%d partitions are still pending", n)
		}
	})
}

// A partition that stopped being pending while it was pulled is not settled.
func TestOnlyPendingPartitionsSettle(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		without := ring.NewView(w.ringOf(3), func(ring.NodeID, int) bool { return true })
		w.forge = func(*PullPage) { w.views[3].set(without) } // the ring forgets the newcomer meanwhile
		w.fill(1)
		if len(w.settled) > 0 {
			t.Fatalf("%d partitions settled that were no longer pending", len(w.settled))
		}
	})
}

func TestAPullWithoutProgressEnds(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		for name, forge := range map[string]func(*PullPage){
			"empty page":          func(p *PullPage) { *p = PullPage{} },
			"more done than left": func(p *PullPage) { p.Done = 1 << 30 },
		} {
			w.forge = forge
			w.fill(1)
			if len(w.settled) > 0 {
				t.Fatalf("%s: partitions settled", name)
			}
		}
	})
}

func TestADisplacedNodeClearsItsBit(t *testing.T) {
	inWorld(t, 5, func(t *testing.T, w *world) {
		self := w.ids[0]
		v := ring.NewView(w.ringOf(5), func(ring.NodeID, int) bool { return true })
		displaced := v.Displaced(self)
		if len(displaced) == 0 {
			t.Fatal("nobody is displaced: the test is empty")
		}
		for _, p := range displaced {
			w.settled[p] = true
		}
		w.views[0].set(v)
		f := w.filler(func(o *FillerOptions) {
			o.Self, o.Views, o.Store, o.Copies, o.Applier = self, w.views[0], w.stores[0], w.stores[0], w.stores[0]
		})
		// The others go by another ring: they may be about to give up their votes
		// too.
		other := ring.NewFencedView(w.ringOf(5), 9, func(ring.NodeID, int) bool { return true })
		for _, view := range w.views[1:] {
			view.set(other)
		}
		_, _ = f.round(t.Context())
		for _, p := range displaced {
			if !w.settled[p] {
				t.Fatalf("partition %d lost its bit though its owners had not confirmed", p)
			}
		}
		for _, view := range w.views {
			view.set(v)
		}
		if _, err := f.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, p := range displaced {
			if w.settled[p] {
				t.Fatalf("partition %d keeps its bit", p)
			}
		}
	})
}

func TestOnlyOwnersServePulls(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		p := w.current().PendingFor(w.self())[0]
		_, err := w.server(w.self()).HandlePull(t.Context(), PullRequest{Claims: []Claim{{Partition: uint32(p)}}})
		if err == nil {
			t.Fatal("a pending node served a pull")
		}
		mine := Claim{Partition: uint32(p), Stamp: w.current().Placement(p).Stamp}
		agreed, err := w.server(w.self()).HandleConfirm(t.Context(), []Claim{mine, {Partition: 1 << 30, Stamp: 1}})
		if err != nil || !slices.Equal(agreed, []Claim{mine}) {
			t.Fatalf("agreed %v, %v: want that a pending node confirms that it is one", agreed, err)
		}
	})
}

// A partition whose placement changes during a pull, at the owner or here, is
// not settled by it; the others are, and the next round does the rest.
func TestAPlacementThatChangesDuringAPull(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		pending := w.current().PendingFor(w.self())
		for k := range 400 {
			w.stores[k%3].add(t, fmt.Sprintf("key-%03d", k), 500, version.Dot{Actor: version.Actor(k%3 + 1), Seq: uint64(k + 1)})
		}
		moved, here := pending[0], pending[1]
		w.stores[3].refuse = map[uint32]int{uint32(here): 1}
		// After the owners have confirmed, one of them sees another placement.
		owner := w.current().Placement(moved).Owners[2]
		var once sync.Once
		w.before = func(_ ring.NodeID, method string) {
			if method != "pull" {
				return
			}
			once.Do(func() {
				w.views[w.index(owner)].set(ring.NewFencedView(w.ringOf(4), 7, func(id ring.NodeID, p int) bool { return id != w.self() || w.settled[p] }))
			})
		}
		f := w.filler()
		_, _ = f.round(t.Context())
		if w.settled[moved] || w.settled[here] {
			t.Errorf("settled under a placement that had changed: at the owner %v, here %v", w.settled[moved], w.settled[here])
		}
		w.spread()
		for range 3 {
			_, _ = f.round(t.Context())
		}
		if w.pending() != 0 {
			t.Errorf("%d partitions are never settled", w.pending())
		}
	})
}

// What Prepare names is left alone for that round.
func TestPrepareKeepsPartitionsFromBeingFilled(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		ill := w.current().PendingFor(w.self())[0]
		f, rounds := w.filler(), 0
		f.opts.Prepare = func(context.Context) (leave, anew []uint32) {
			if rounds++; rounds == 1 {
				return []uint32{uint32(ill)}, nil
			}
			return nil, nil
		}
		_, _ = f.round(t.Context())
		if w.settled[ill] || w.pending() != 1 {
			t.Errorf("settled %v with %d pending", w.settled[ill], w.pending())
		}
		_, _ = f.round(t.Context())
		if w.pending() != 0 {
			t.Error("it was never filled")
		}
	})
}

// Run starts a round when it is kicked and retries while something is pending.
func TestRunRetriesUntilNothingIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		for _, id := range w.ids[:3] {
			w.broken[id] = errors.New("not yet")
		}
		f := w.filler()
		settled := make(chan struct{}, 100)
		f.opts.OnSettled = func() { settled <- struct{}{} }
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		time.Sleep(time.Second) // virtual: several rounds fail
		synctest.Wait()
		if len(settled) > 0 || w.pending() == 0 {
			t.Fatal("settled though no owner could be pulled from")
		}
		w.count(func(*worldSeen) { clear(w.broken) })
		<-settled
		if w.pending() != 0 {
			t.Fatal("OnSettled came early")
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
