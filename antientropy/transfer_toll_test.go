package antientropy

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"starling/store/version"
)

// An owner with clients sends what its toll allows, however many ask; one
// without sends at once.
func TestOwnersWithClientsTakeToll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pressure := 0.0
		toll := newToll(always(64<<20), func() float64 { return pressure })
		began := time.Now()
		for range 100 {
			if err := toll.pay(t.Context(), 64<<20); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("an owner without clients let wait for %v", took)
		}
		pressure = 0.1
		paid, began := 0, time.Now()
		for time.Since(began) < 10*time.Second {
			if err := toll.pay(t.Context(), toll.limit()); err != nil {
				t.Fatal(err)
			}
			paid += toll.limit()
		}
		if rate := float64(paid) / time.Since(began).Seconds(); rate > 1.05*tollShare*(64<<20) || rate < 0.9*tollShare*(64<<20) {
			t.Errorf("%.0f a second, wanted about %.0f", rate, tollShare*(64<<20))
		}
		idle := toll.rate()
		if pressure = 1; toll.rate() > idle || toll.rate() < leastToll*(64<<20) {
			t.Errorf("%.0f a second on a node that is full, %.0f on one that is not", toll.rate(), idle)
		}
	})
}

// Nobody waits longer than maxToll, and nobody whose request is over.
func TestTheWaitForAPageIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		toll := newToll(always(1000), func() float64 { return 1 })
		began := time.Now()
		for range 3 {
			if err := toll.pay(t.Context(), 1<<30); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > 3*maxToll {
			t.Errorf("three pages waited for %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), maxToll/2)
		defer cancel()
		if err := toll.pay(ctx, 1); err == nil {
			t.Error("a request that is over was answered")
		}
	})
}

// Small objects count for more than their bytes.
func TestObjectsCountForTheirWork(t *testing.T) {
	toll := newToll(always(64<<20), func() float64 { return 1 })
	if got, want := toll.of(1000, 10), 1000+10*objectToll/runtime.GOMAXPROCS(0); got != want {
		t.Errorf("ten objects count for %d, want %d", got, want)
	}
}

func TestBusyRateIsWhatTheTollLetsThrough(t *testing.T) {
	const rate, objects, size = 64 << 20, 100, 1000
	toll := newToll(always(rate), func() float64 { return 0.001 })
	seconds := float64(toll.of(objects*size, objects)) / toll.rate()
	got, want := float64(BusyRate(rate, size)), objects*size/seconds
	if got < want*0.99 || got > want*1.01 || got > rate/8 {
		t.Errorf("%.0f bytes a second, want %.0f", got, want)
	}
}

// A page of an owner with clients ends where its toll does, and has at least one
// object.
func TestPagesOfABusyOwnerAreSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		byPartition := map[uint32]int{}
		for i := range 40 {
			ref := w.stores[0].add(t, fmt.Sprint(i), 300, version.Dot{Actor: 1, Seq: uint64(i + 1)})
			byPartition[ref.Partition]++
		}
		for p, n := range byPartition {
			pl := w.views[0].View().Placement(int(p))
			if n < 2 || !contains(pl.Owners, w.ids[0]) {
				continue
			}
			for pressure, want := range map[float64]int{0: n, 1: 1} {
				s, err := NewServer(ServerOptions{Self: w.ids[0], Views: w.views[0], Store: w.stores[0], Copies: w.stores[0],
					Pressure: func() float64 { return pressure }, Pace: NewLimit(64 << 10)})
				if err != nil {
					t.Fatal(err)
				}
				page, err := s.HandlePull(t.Context(), PullRequest{Claims: []Claim{{p, pl.Stamp}}, MaxBytes: MaxPageBytes})
				if err != nil || len(page.Entries) != want {
					t.Errorf("pressure %v: %d objects of %d, %v; want %d", pressure, len(page.Entries), n, err, want)
				}
			}
			return
		}
		t.Fatal("no partition has two keys at the owner")
	})
}
