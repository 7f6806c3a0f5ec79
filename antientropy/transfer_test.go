package antientropy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// settlesWithEverything fails the test if a partition is settled while an owner
// holds what the newcomer does not know.
func (w *world) settlesWithEverything() {
	w.onSettle = func(parts []int) {
		for _, p := range parts {
			if refs := w.lacks(uint32(p)); len(refs) > 0 {
				w.t.Errorf("partition %d is settled without %d keys, such as %v", p, len(refs), refs[0])
			}
		}
	}
}

// load gives the owners of all partitions so many keys, and adds up those of the
// partitions that the newcomer is to get.
func (w *world) load(keys, bytes int) (refs []object.Ref, sum int) {
	pending := w.current().PendingFor(w.self())
	for k := range keys {
		ref := w.everywhere(fmt.Sprintf("key-%05d", k), bytes, version.Dot{Actor: 1, Seq: uint64(k + 1)})
		if slices.Contains(pending, int(ref.Partition)) {
			refs = append(refs, ref)
			sum += sizeOf(ref, w.owners(ref.Partition)[0].get(ref))
		}
	}
	return refs, sum
}

// Owners that are equal send every object once: by snapshot, from one owner, all
// owners about alike. That the others have nothing else takes a root.
func TestASnapshotComesFromOneOwner(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		refs, _ := w.load(400, 500)
		w.settlesWithEverything()
		w.fill(1)
		if n := w.pending(); n != 0 {
			t.Fatalf("%d partitions are pending", n)
		}
		for _, ref := range refs {
			if w.seen.streamed[ref] != 1 {
				t.Fatalf("%v was streamed %d times", ref, w.seen.streamed[ref])
			}
		}
		if c := w.seen.calls; c["keys"]+c["fetch"]+c["push"] > 0 {
			t.Errorf("%v though the owners were equal", c)
		}
		for _, id := range w.ids[:3] {
			if pages := w.seen.from[id]; pages < w.seen.calls["pull"]/4 {
				t.Errorf("%d of %d pages came from %v", pages, w.seen.calls["pull"], id)
			}
		}
	})
}

// An empty cluster grows by few messages.
func TestEmptyPartitionsShareMessages(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		w.fill(1)
		if c := w.seen.calls; w.pending() != 0 || c["pull"] > 2*3 || c["compare"] > 4*3 || c["keys"] > 0 || len(w.seen.settles) > 2 {
			t.Errorf("%d partitions are pending after %v, %d settles", w.pending(), c, len(w.seen.settles))
		}
	})
}

// Whatever breaks a transfer off, the next one does not send what is here again,
// and nothing is settled without all.
func TestATransferThatBreaksOffGoesOn(t *testing.T) {
	type run struct {
		w    *world
		f    *Filler
		stop func()
	}
	for name, interrupt := range map[string]func(r *run){
		"the node that is filled is killed": func(r *run) {
			r.stop()
			r.f = r.w.filler()
			r.stop = r.w.run(r.f)
		},
		"an owner dies": func(r *run) {
			r.w.count(func(*worldSeen) { r.w.dead[r.w.ids[1]] = true })
		},
		"an owner fails and comes back": func(r *run) {
			r.w.count(func(*worldSeen) { r.w.broken[r.w.ids[1]] = errors.New("connection reset") })
			time.Sleep(time.Second)
			r.w.count(func(*worldSeen) { delete(r.w.broken, r.w.ids[1]) })
		},
		"the fence is raised": func(r *run) { r.w.raise() },
		"the fence is raised at an owner": func(r *run) {
			r.w.count(func(*worldSeen) { r.w.fence++ })
			r.w.views[1].set(r.w.current()) // the others learn of it when they are refused
		},
		"a disk is full for a while": func(r *run) {
			s := r.w.newcomer()
			fail := func(err error) { s.mu.Lock(); s.fail = err; s.mu.Unlock() }
			fail(errors.New("disk full"))
			time.Sleep(time.Second)
			fail(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 4, func(t *testing.T, w *world) {
				refs, _ := w.load(700, 1000)
				w.delay = 20 * time.Millisecond
				w.settlesWithEverything()
				r := &run{w: w, f: w.filler()}
				r.stop = w.run(r.f)
				streamed := func() (n int) {
					w.count(func(s *worldSeen) { n = len(s.streamed) })
					return n
				}
				for streamed() < len(refs)/2 { // half-way
					time.Sleep(10 * time.Millisecond)
				}
				if w.pending() == 0 {
					t.Fatal("the transfer is over before it was broken off")
				}
				interrupt(r)
				w.await(time.Minute)
				r.stop()
				again := 0
				for _, ref := range refs {
					if n := w.seen.streamed[ref] + w.seen.fetched[ref]; n == 0 {
						t.Fatalf("%v was never sent", ref)
					} else {
						again += n - 1
					}
				}
				// At most the page that was under way in each stream, and what is
				// too little to matter.
				if most := DefaultStreams*(MinPageBytes/1000+1) + len(refs)/hereShare; again > most {
					t.Errorf("%d of %d objects were sent again, at most %d expected", again, len(refs), most)
				}
				t.Logf("%d of %d objects were sent again", again, len(refs))
			})
		})
	}
}

// A restarted node that has half of a partition does not have it streamed.
func TestWhatIsHereIsNotStreamedAgain(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		refs, _ := w.load(500, 300)
		lacking := map[object.Ref]bool{}
		for i, ref := range refs {
			if i%2 == 0 {
				_, _ = w.newcomer().merge(ref, w.owners(ref.Partition)[0].get(ref))
			} else {
				lacking[ref] = true
			}
		}
		w.settlesWithEverything()
		w.fill(2)
		if w.pending() != 0 || w.seen.calls["pull"] != 0 || len(w.seen.fetched) != len(lacking) {
			t.Fatalf("%d pending, %d pulls, %d of %d objects fetched", w.pending(), w.seen.calls["pull"], len(w.seen.fetched), len(lacking))
		}
		for ref, n := range w.seen.fetched {
			if !lacking[ref] || n != 1 {
				t.Errorf("%v was fetched %d times; it was lacking: %v", ref, n, lacking[ref])
			}
		}
	})
}

// What was proven under one placement is proven anew under another: in between
// writes may have passed the newcomer by.
func TestProofsEndWithTheirStamp(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		w.load(100, 100)
		p := uint32(w.current().PendingFor(w.self())[0])
		owners := w.owners(p)
		w.settlesWithEverything()
		w.fail = func(to ring.NodeID, method string) error {
			if to == owners[2].id && method != "confirm" && method != "pull" {
				return errLost
			}
			return nil
		}
		f := w.filler()
		_, _ = f.round(t.Context())
		if got := f.fill.of(p); w.settled[int(p)] || got.caughtUp[owners[2].id] || !got.caughtUp[owners[0].id] || !got.caughtUp[owners[1].id] {
			t.Fatalf("settled %v, caught up with %v", w.settled[int(p)], got.caughtUp)
		}
		changed := owners[0].entries(p)[0]
		for _, r := range owners[:2] {
			_, _ = r.merge(changed.Ref, written(t, 5, version.Dot{Actor: 2, Seq: 1}))
		}
		w.raise()
		w.fail = nil
		_, _ = f.round(t.Context())
		if got := w.newcomer().get(changed.Ref); w.pending() != 0 || len(got.Siblings) != 2 {
			t.Errorf("%d pending, %d siblings", w.pending(), len(got.Siblings))
		}
	})
}

// A copy that is dropped between two rounds is filled from the beginning,
// whatever was proven of it.
func TestADroppedCopyIsFilledAnew(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		w.load(100, 100)
		p := uint32(w.current().PendingFor(w.self())[0])
		w.settlesWithEverything()
		last := w.owners(p)[2].id
		only := w.owners(p)[0] // has what the last one lacks
		if _, err := only.merge(only.entries(p)[0].Ref, written(t, 5, version.Dot{Actor: 2, Seq: 1})); err != nil {
			t.Fatal(err)
		}
		w.fail = func(to ring.NodeID, method string) error {
			if to == last && method != "confirm" && method != "pull" {
				return errLost
			}
			return nil
		}
		var dropped []uint32
		f := w.filler(func(o *FillerOptions) {
			o.Prepare = func(context.Context) (leave, anew []uint32) { return nil, dropped }
		})
		_, _ = f.round(t.Context())
		if got := f.fill.of(p); w.settled[int(p)] || len(got.caughtUp) != 2 {
			t.Fatalf("settled %v, caught up with %v", w.settled[int(p)], got.caughtUp)
		}
		for _, e := range w.newcomer().entries(p) {
			w.newcomer().remove(e.Ref)
		}
		dropped, w.fail = []uint32{p}, nil
		_, _ = f.round(t.Context())
		if lacks := w.lacks(p); w.pending() != 0 || len(lacks) > 0 {
			t.Errorf("%d pending, %d keys lacking", w.pending(), len(lacks))
		}
	})
}

// A few writes that come before the snapshot do not turn it into an exchange.
func TestFewWritesBeforeTheSnapshot(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		refs, _ := w.load(800, 300)
		for i := 0; i < len(refs); i += 40 {
			_, _ = w.newcomer().merge(refs[i], written(t, 10, version.Dot{Actor: 9, Seq: uint64(i + 1)}))
		}
		w.fill(1)
		if w.pending() != 0 || len(w.seen.streamed) < len(refs)*9/10 {
			t.Errorf("%d pending, %d of %d objects streamed", w.pending(), len(w.seen.streamed), len(refs))
		}
	})
}

// What only one owner knows is found, whichever it is, also when the digests of
// all leaves are equal by chance.
func TestWhatOneOwnerKnowsIsFound(t *testing.T) {
	for owner := range 3 {
		t.Run(fmt.Sprint("owner ", owner), func(t *testing.T) {
			inWorld(t, 4, func(t *testing.T, w *world) {
				w.load(100, 100)
				p := uint32(w.current().PendingFor(w.self())[0])
				holder := w.owners(p)[owner]
				changed := holder.entries(p)[0]
				if _, err := holder.merge(changed.Ref, written(t, 5, version.Dot{Actor: 2, Seq: 1})); err != nil { // a sibling
					t.Fatal(err)
				}
				chance := true
				w.forgeKeys = func(_ ring.NodeID, page *KeysPage) {
					if chance {
						*page = KeysPage{}
					}
					chance = !chance
				}
				w.settlesWithEverything()
				f := w.filler(func(o *FillerOptions) { o.Streams = 1 })
				if _, err := f.round(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := w.newcomer().get(changed.Ref); len(got.Siblings) != 2 || w.pending() != 0 {
					t.Errorf("%d siblings, %d pending", len(got.Siblings), w.pending())
				}
			})
		})
	}
}

// The node has one page for each stream in its hands at most.
func TestReceiverMemoryIsBounded(t *testing.T) {
	inWorld(t, 5, func(t *testing.T, w *world) {
		const streams, size = 3, 1000
		w.load(700, size)
		w.delay = 5 * time.Millisecond
		w.newcomer().applying = func(e object.Entry) {
			w.count(func(s *worldSeen) { s.held -= sizeOf(e.Ref, e.Object) })
		}
		f := w.filler(func(o *FillerOptions) { o.Streams = streams })
		stop := w.run(f)
		w.await(time.Minute)
		stop()
		s := w.seen
		most := MinPageBytes + 2*size
		if s.mostPulling != streams || s.largest > most || s.largest < size || s.mostHeld > streams*most {
			t.Errorf("%d pages under way at once, the largest of %d bytes; %d bytes were held", s.mostPulling, s.largest, s.mostHeld)
		}
	})
}

// The rate is kept, and under the highest pressure a tenth of it.
func TestTransfersKeepTheirPace(t *testing.T) {
	for _, c := range []struct{ rate, pressure, least, most float64 }{{50_000, 0, 0.8, 1.05}, {1_000_000, 1, 0.06, 0.105}} {
		t.Run(fmt.Sprint("pressure ", c.pressure), func(t *testing.T) {
			inWorld(t, 4, func(t *testing.T, w *world) {
				_, sum := w.load(500, 1000)
				f := w.filler(func(o *FillerOptions) {
					o.Pace, o.Pressure = NewLimit(int64(c.rate)), func() float64 { return c.pressure }
				})
				stop := w.run(f)
				took := w.await(5 * time.Minute)
				stop()
				slack := float64(DefaultStreams+1) * 2 * MinPageBytes
				share := float64(sum) / took.Seconds() / c.rate
				if share < c.least || share > c.most+slack/took.Seconds()/c.rate {
					t.Errorf("%d bytes in %v: %.3f of the rate", sum, took, share)
				}
			})
		})
	}
}

// Bits are published while the transfer goes on, and not many times a second.
func TestPartitionsSettleAsTheyAreReady(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		_, sum := w.load(1000, 1000)
		f := w.filler(func(o *FillerOptions) { o.Pace = NewLimit(100_000) })
		if p := f.Progress(); p != (Progress{}) {
			t.Errorf("progress before the start: %+v", p)
		}
		stop := w.run(f)
		start, targets := time.Now(), w.pending()
		var last Progress
		for w.pending() > 0 {
			time.Sleep(100 * time.Millisecond)
			p := f.Progress()
			if w.pending() == 0 {
				break
			}
			if p.Partitions != targets || p.BytesDone < last.BytesDone || p.Settled < last.Settled || !p.Since.Equal(start) {
				t.Fatalf("progress %+v after %+v", p, last)
			}
			last = p
		}
		took := time.Since(start)
		stop()
		if d := last.BytesTotal - int64(sum); d != 0 || last.BytesDone < int64(sum)*8/10 || last.Settled < targets/2 {
			t.Errorf("the last progress was %+v, of %d bytes and %d partitions", last, sum, targets)
		}
		if p := f.Progress(); p != (Progress{}) {
			t.Errorf("progress after the end: %+v", p)
		}
		settles := w.seen.settles
		if len(settles) < 4 || settles[0].Sub(start) > took/2 {
			t.Errorf("%d times settled, first after %v of %v", len(settles), settles[0].Sub(start), took)
		}
		for i := range settles[1:] {
			if pause := settles[i+1].Sub(settles[i]); pause < settlePause {
				t.Errorf("settled again after %v", pause)
			}
		}
	})
}

// An owner that hangs costs its own partitions time, and the filler stops at
// once when it is told to.
func TestAFillerStopsWhileAnOwnerHangs(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		w.load(100, 100)
		w.hang[w.ids[0]] = true
		var settled atomic.Bool
		f := w.filler(func(o *FillerOptions) { o.OnSettled = func() { settled.Store(true) } })
		stop := w.run(f)
		time.Sleep(time.Second)
		start := time.Now()
		stop()
		if took := time.Since(start); took > time.Second || settled.Load() {
			t.Errorf("it took %v to stop; settled %v", took, settled.Load())
		}
	})
}
