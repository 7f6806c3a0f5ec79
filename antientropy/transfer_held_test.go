package antientropy

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"starling/store/version"
)

// What is held half-way stays where it is, and goes on by itself when the time
// is over.
func TestAHeldTransferGoesOnWhereItWas(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		_, sum := w.load(1000, 1000)
		parts := w.current().PendingFor(w.self())
		limit := NewLimit(100_000)
		f := w.filler(func(o *FillerOptions) { o.Pace = limit })
		stop := w.run(f)
		time.Sleep(time.Duration(float64(sum) / 100_000 / 2 * float64(time.Second)))
		hold := time.Hour
		limit.Change(0, time.Now().Add(hold))
		time.Sleep(5 * time.Second) // what was under way
		pending, calls := w.pending(), w.seen.calls["pull"]
		if pending == 0 || calls == 0 {
			t.Fatalf("%d partitions are pending after %d pages: the test is empty", pending, calls)
		}
		time.Sleep(hold - 10*time.Second)
		if w.pending() != pending || w.seen.calls["pull"] != calls {
			t.Errorf("%d partitions are pending after %d pages, which were %d and %d when it was held", w.pending(), w.seen.calls["pull"], pending, calls)
		}
		w.await(time.Minute)
		stop()
		if pages := w.seen.calls["pull"]; pages > 2*calls+pending {
			t.Errorf("%d pages in all, of which %d came before it was held: it began again", pages, calls)
		}
		for _, p := range parts {
			if lacks := w.lacks(uint32(p)); len(lacks) > 0 {
				t.Errorf("the newcomer lacks %d keys of partition %d, %v the first", len(lacks), p, lacks[0])
			}
		}
	})
}

func TestNothingIsBegunWhileTransfersAreHeld(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		w.load(100, 100)
		limit := NewLimit(100_000)
		limit.Change(0, time.Now().Add(time.Hour))
		stop := w.run(w.filler(func(o *FillerOptions) { o.Pace = limit }))
		time.Sleep(time.Minute)
		if len(w.seen.calls) > 0 {
			t.Errorf("calls: %v", w.seen.calls)
		}
		limit.Reset()
		w.await(time.Minute)
		stop()
	})
}

// An owner that is held gives next to nothing, whether it has clients or not.
func TestAHeldOwnerGivesOneObjectAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		byPartition := map[uint32]int{}
		for i := range uint64(40) {
			ref := w.stores[0].add(t, string(rune('a'+i)), 300, version.Dot{Actor: 1, Seq: i + 1})
			byPartition[ref.Partition]++
		}
		tried := false
		for p, n := range byPartition {
			pl := w.views[0].View().Placement(int(p))
			if n < 2 || !contains(pl.Owners, w.ids[0]) {
				continue
			}
			tried = true
			for _, pressure := range []float64{0, 1} {
				limit := NewLimit(1 << 30)
				limit.Change(0, time.Now().Add(time.Hour))
				s, err := NewServer(ServerOptions{Self: w.ids[0], Views: w.views[0], Store: w.stores[0], Copies: w.stores[0],
					Pressure: func() float64 { return pressure }, Pace: limit})
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				page, err := s.HandlePull(t.Context(), PullRequest{Claims: []Claim{{p, pl.Stamp}}, MaxBytes: MaxPageBytes})
				if took := time.Since(start); err != nil || len(page.Entries) != 1 || took != maxToll {
					t.Errorf("pressure %v: %d objects after %v, %v; want one after %v", pressure, len(page.Entries), took, err, maxToll)
				}
			}
		}
		if !tried {
			t.Fatal("no partition has two keys at the owner")
		}
	})
}

func TestOldCopiesStayWhileTransfersAreHeld(t *testing.T) {
	limit := NewLimit(1 << 20)
	inParted(t, func(o *ParterOptions) { o.Pace = limit }, func(t *testing.T, w *parted) {
		w.scatter(rand.New(rand.NewPCG(1, 2)), 200)
		w.nothingIsLost()
		all := len(w.left())
		limit.Change(0, time.Now().Add(time.Minute+time.Second))
		w.run(time.Minute)
		if n := len(w.left()); n != all || w.kept(waitHeld) != all || w.seen.calls["keys"] > 0 {
			t.Errorf("%d of %d copies are left, of which %d are held, after %d comparisons", n, all, w.kept(waitHeld), w.seen.calls["keys"])
		}
		w.run(time.Minute)
		if parts := w.left(); len(parts) > 0 {
			t.Errorf("copies of %v are left", parts)
		}
	})
}
