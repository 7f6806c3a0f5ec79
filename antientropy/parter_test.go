package antientropy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/ring"
	"starling/store/object"
)

// Copies go when every owner has what is in them, over a network that fails and
// while placements change; what is to be kept stays.
func TestOldCopiesGoWhenNobodyLacksThem(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inParted(t, nil, func(t *testing.T, w *parted) {
				rng := rand.New(rand.NewPCG(seed, 3))
				w.scatter(rng, 400)
				w.nothingIsLost()
				kept := map[int]int{}
				for p := range partitions {
					if !slices.Contains(w.away, p) {
						kept[p] = len(w.old.entries(uint32(p)))
					}
				}
				if n := w.p.Remaining(); n != len(w.away) {
					t.Errorf("%d copies remain, want %d", n, len(w.away))
				}
				w.delay = time.Millisecond
				// Not the parter's alone: what happens in a request is by chance.
				w.before = func(to ring.NodeID, _ string) {
					w.mu.Lock()
					defer w.mu.Unlock()
					switch rng.IntN(60) {
					case 0:
						w.broken[to] = errLost
					case 1:
						w.fence++
						w.views[rng.IntN(5)].set(w.restingView(w.fence))
					default:
						delete(w.broken, to)
					}
				}
				for range 20 { // the others learn of a fence a while later
					w.run(3 * time.Second)
					w.mu.Lock()
					w.everybody(w.restingView(w.fence))
					w.mu.Unlock()
				}
				w.before = nil
				clear(w.broken)
				w.run(time.Minute)
				if parts := w.left(); len(parts) > 0 || w.p.Remaining() != 0 {
					t.Errorf("copies of %v are left, %d remain", parts, w.p.Remaining())
				}
				for p, n := range kept {
					if got := len(w.old.entries(uint32(p))); got < n {
						t.Errorf("%d of %d keys are left of partition %d, which is to be kept", got, n, p)
					}
				}
				if n := int(testutil.ToFloat64(w.p.metrics.dropped)); n != len(w.away) || len(w.seen.pushed) == 0 {
					t.Errorf("%d of %d copies dropped, %d keys pushed", n, len(w.away), len(w.seen.pushed))
				}
			})
		})
	}
}

// Digests of all leaves that are equal by chance do not hide what an owner
// lacks.
func TestNothingIsOverlookedByChance(t *testing.T) {
	inParted(t, nil, func(t *testing.T, w *parted) {
		w.scatter(rand.New(rand.NewPCG(1, 1)), 100)
		w.nothingIsLost()
		times := map[ring.NodeID]int{}
		w.forgeKeys = func(to ring.NodeID, page *KeysPage) {
			if times[to]++; times[to]%2 == 1 {
				*page = KeysPage{}
			}
		}
		w.run(time.Minute)
		if parts := w.left(); len(parts) > 0 && w.kept(waitFailed) != len(parts) {
			t.Errorf("copies of %v are left", parts)
		}
	})
}

func TestAnOwnerThatIsAwayKeepsTheCopy(t *testing.T) {
	for name, fail := range map[string]func(w *parted, id ring.NodeID){
		"down": func(w *parted, id ring.NodeID) { w.dead[id] = true },
		"hung": func(w *parted, id ring.NodeID) { w.hang[id] = true },
	} {
		t.Run(name, func(t *testing.T) {
			inParted(t, func(o *ParterOptions) { o.CallTimeout = time.Second }, func(t *testing.T, w *parted) {
				w.scatter(rand.New(rand.NewPCG(1, 2)), 200)
				w.nothingIsLost()
				away := w.ids[4]
				var stays []int
				for _, p := range w.away {
					if contains(w.old.view.View().Placement(p).Owners, away) {
						stays = append(stays, p)
					}
				}
				fail(w, away)
				w.run(30 * time.Second)
				if left := w.left(); !slices.Equal(left, stays) || len(stays) == 0 || len(stays) == len(w.away) {
					t.Errorf("copies of %v are left of %v, want %v", left, w.away, stays)
				}
				if n := w.kept(waitUnreachable); n != len(stays) {
					t.Errorf("%d copies wait for an owner, want %d", n, len(stays))
				}
				// It hangs for one call a look, not for one a copy.
				if looks := 10; w.seen.calls["keys"] > 100+looks*len(stays) {
					t.Errorf("%d calls", w.seen.calls["keys"])
				}
				clear(w.dead)
				clear(w.hang)
				w.run(10 * time.Second)
				if left := w.left(); len(left) > 0 {
					t.Errorf("copies of %v are left", left)
				}
			})
		})
	}
}

// A copy stays while the partition has pending or displaced nodes, or no owner.
func TestNoCopyGoesWhileThePartitionMoves(t *testing.T) {
	for name, settled := range map[string]func(targets []ring.NodeID, id ring.NodeID) bool{
		"pending":   func(targets []ring.NodeID, id ring.NodeID) bool { return slices.Contains(targets[:2], id) },
		"displaced": func(_ []ring.NodeID, id ring.NodeID) bool { return id != nodeID(0) },
		"no owner":  func([]ring.NodeID, ring.NodeID) bool { return false },
	} {
		t.Run(name, func(t *testing.T) {
			inParted(t, nil, func(t *testing.T, w *parted) {
				w.scatter(rand.New(rand.NewPCG(1, 3)), 200)
				r := w.ringOf(5)
				w.everybody(ring.NewView(r, func(id ring.NodeID, p int) bool { return settled(r.Targets(p), id) }))
				w.run(10 * time.Second)
				if left := w.left(); len(left) != len(w.away) || len(w.seen.calls) != 0 {
					t.Errorf("%v left of %v, %v", left, w.away, w.seen.calls)
				}
				if n := w.kept(waitMoving); n != len(w.away) {
					t.Errorf("%d copies wait for the partition to come to rest, want %d", n, len(w.away))
				}
			})
		})
	}
}

// The placement changes after the last owner was compared: nothing is dropped,
// whether or not it is the old one again when it comes to that.
func TestThePlacementChangesBeforeTheDrop(t *testing.T) {
	for name, change := range map[string]func(w *parted){
		"another": func(w *parted) { w.old.view.set(w.restingView(1)) },
		"another and back": func(w *parted) {
			w.old.view.set(w.restingView(1))
			w.old.view.set(w.restingView(0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inParted(t, nil, func(t *testing.T, w *parted) {
				w.scatter(rand.New(rand.NewPCG(1, 4)), 200)
				p := uint32(w.away[0])
				last := w.old.view.View().Placement(int(p)).Owners[2]
				w.forgeKeys = func(to ring.NodeID, _ *KeysPage) {
					if to == last {
						change(w)
					}
				}
				w.old.dropping = func(uint32) { t.Error("it was dropped") }
				if err := w.p.part(t.Context(), p, newLeaveTaking(w.p)); !errors.Is(err, ErrRefused) {
					t.Errorf("part: %v", err)
				}
				w.forgeKeys, w.old.dropping = nil, nil
				w.everybody(w.restingView(2))
				w.run(10 * time.Second)
				if left := w.left(); len(left) > 0 {
					t.Errorf("copies of %v are left", left)
				}
			})
		})
	}
}

// A drop is refused by the gate if the placement changed between the last look
// at it and the drop.
type lateDropper struct {
	Dropper
	before func()
}

func (d lateDropper) Drop(p uint32, stamp uint64) error {
	d.before()
	return d.Dropper.Drop(p, stamp)
}

func TestTheGateRefusesALateDrop(t *testing.T) {
	inParted(t, nil, func(t *testing.T, w *parted) {
		w.scatter(rand.New(rand.NewPCG(1, 5)), 200)
		w.p.opts.Dropper = lateDropper{w.old, func() { w.old.view.set(w.restingView(1)) }}
		w.run(5 * time.Second)
		if left := w.left(); len(left) != len(w.away) || w.kept(waitPlacement) != len(w.away) {
			t.Errorf("%v left of %v, %d wait for the placement", left, w.away, w.kept(waitPlacement))
		}
	})
}

// A purge that comes in the middle: rows at former owners go before those of the
// owners do, and what has gone is not given back.
func TestAnOldCopyBringsNothingBackThatWasPurged(t *testing.T) {
	for _, when := range []string{"before the keys are listed", "after"} {
		t.Run(when, func(t *testing.T) {
			inParted(t, nil, func(t *testing.T, w *parted) {
				p := uint32(w.away[0])
				var ref object.Ref
				for k := 0; ref.Key == "" || ref.Partition != p; k++ {
					key := fmt.Sprint("k", k)
					ref = object.Ref{Partition: uint32(ring.Partition("b", key, partitions)), Bucket: "b", Key: key}
				}
				stale := reapWritten(t, reapValue(1, 1))
				_, _ = w.old.merge(ref, stale)
				for _, owner := range w.ownersNow(p) {
					_, _ = owner.merge(ref, reapWritten(t, reapValue(1, 1), reapTombstone(1, 2)))
				}
				purge := func() {
					w.old.remove(ref)
					for _, owner := range w.ownersNow(p) {
						owner.remove(ref)
					}
				}
				if when == "after" {
					w.forgeKeys = func(ring.NodeID, *KeysPage) { purge() }
				} else {
					w.before = func(_ ring.NodeID, method string) {
						if method == "keys" {
							purge()
						}
					}
				}
				_ = w.p.part(t.Context(), p, newLeaveTaking(w.p))
				for _, owner := range w.ownersNow(p) {
					if o := owner.get(ref); !o.Absent() {
						t.Errorf("%v has %v again", owner.id, o.Vector)
					}
				}
			})
		})
	}
}

// Drops keep a pause, and a longer one at a busy node.
func TestDropsArePaced(t *testing.T) {
	for pressure, within := range map[float64][2]time.Duration{
		0: {20 * time.Millisecond, 40 * time.Millisecond},
		1: {180 * time.Millisecond, 220 * time.Millisecond},
	} {
		t.Run(fmt.Sprint("pressure ", pressure), func(t *testing.T) {
			inParted(t, func(o *ParterOptions) { o.Pressure = func() float64 { return pressure } }, func(t *testing.T, w *parted) {
				w.scatter(rand.New(rand.NewPCG(1, 6)), 50)
				var drops []time.Time
				w.old.dropping = func(uint32) { drops = append(drops, time.Now()) }
				w.run(30 * time.Second)
				if len(drops) != len(w.away) {
					t.Fatalf("%d of %d copies dropped", len(drops), len(w.away))
				}
				for i := range drops[1:] {
					if pause := drops[i+1].Sub(drops[i]); pause < within[0] || pause > within[1] {
						t.Errorf("a pause of %v", pause)
					}
				}
			})
		})
	}
}

// An owner that says that everything is news to it, for ever, keeps the copy.
func TestAnOwnerThatKeepsNothing(t *testing.T) {
	inParted(t, nil, func(t *testing.T, w *parted) {
		w.scatter(rand.New(rand.NewPCG(1, 7)), 100)
		for _, r := range w.stores[1:] {
			for p := range uint32(partitions) {
				for _, e := range r.entries(p) {
					r.remove(e.Ref)
				}
			}
		}
		w.p.opts.Peers = forgetful{w}
		w.p.differ.peers = forgetful{w}
		w.run(10 * time.Second)
		if left := w.left(); len(left) != len(w.away) || w.kept(waitFailed) != len(w.away) {
			t.Errorf("%v left of %v, %d failed", left, w.away, w.kept(waitFailed))
		}
	})
}

// forgetful owners take what they are pushed and keep nothing.
type forgetful struct{ *parted }

func (f forgetful) Push(_ context.Context, _ ring.NodeID, req PushRequest) (uint32, error) {
	return uint32(len(req.Entries)), nil
}

func TestParterOptions(t *testing.T) {
	if _, err := NewParter(ParterOptions{}); err == nil {
		t.Error("no error without options")
	}
	inParted(t, nil, func(t *testing.T, w *parted) {
		o := w.p.opts
		o.Metrics = nil
		o.DropPause = -1
		if _, err := NewParter(o); err == nil {
			t.Error("no error for a pause below zero")
		}
	})
}

// Several copies are compared at once, and dropped one after the other.
func TestCopiesArePartedWithAtOnce(t *testing.T) {
	inParted(t, func(o *ParterOptions) { o.Streams = 3 }, func(t *testing.T, w *parted) {
		w.scatter(rand.New(rand.NewPCG(1, 9)), 300)
		w.nothingIsLost()
		w.run(30 * time.Second)
		if left := w.left(); len(left) > 0 {
			t.Errorf("copies of %v are left", left)
		}
	})
}
