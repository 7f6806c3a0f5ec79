package ring

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// eachView runs check on many rings with random settled bits.
func eachView(t *testing.T, check func(t *testing.T, v *View, settled func(NodeID, int) bool)) {
	eachCluster(t, func(t *testing.T, rng *rand.Rand, cfg Config, members []Member) {
		r := mustNew(t, cfg, members)
		type at struct {
			id NodeID
			p  int
		}
		bits, percent := map[at]bool{}, rng.IntN(101)
		for _, m := range members {
			for p := range cfg.Partitions {
				bits[at{m.ID, p}] = rng.IntN(100) < percent
			}
		}
		settled := func(id NodeID, p int) bool { return bits[at{id, p}] }
		check(t, NewView(r, settled), settled)
	})
}

func TestPlacementLists(t *testing.T) {
	eachView(t, func(t *testing.T, v *View, settled func(NodeID, int) bool) {
		r := v.Ring()
		for p := range r.Config().Partitions {
			voters := naiveVoters(r, p, settled)
			var owners, pending, displaced, fallbacks []NodeID
			for id := range r.Order(p) {
				switch {
				case settled(id, p) && len(owners) < voters:
					owners = append(owners, id)
					continue
				case settled(id, p):
					displaced = append(displaced, id)
				case slices.Contains(r.Targets(p), id):
					pending = append(pending, id)
					continue
				}
				fallbacks = append(fallbacks, id)
			}
			pl := v.Placement(p)
			if pl.Partition != p || !slices.Equal(pl.Owners, owners) || !slices.Equal(pl.Pending, pending) || !slices.Equal(pl.Displaced, displaced) {
				t.Errorf("placement %+v, want owners %v, pending %v, displaced %v", pl, owners, pending, displaced)
			}
			_, _, _ = append(pl.Owners, NodeID{}), append(pl.Pending, NodeID{}), append(pl.Displaced, NodeID{}) // must not write into v
			if again := v.Placement(p); !slices.Equal(again.Pending, pending) || !slices.Equal(again.Displaced, displaced) {
				t.Errorf("partition %d: appending to a list changed another", p)
			}
			if pl.Stamp == 0 || pl.Stamp != stamp(0, owners, pending, displaced) {
				t.Errorf("partition %d: stamp %#x", p, pl.Stamp)
			}
			if got := slices.Collect(v.Fallbacks(p)); !slices.Equal(got, fallbacks) {
				t.Errorf("partition %d: fallbacks %v, want %v", p, got, fallbacks)
			}
			if writers := pl.AppendWriters(nil); !slices.Equal(writers, slices.Concat(owners, pending, displaced)) || pl.Extra() != len(pending)+len(displaced) {
				t.Errorf("partition %d: writers %v, %d extra", p, writers, pl.Extra())
			}
		}
	})
}

// naiveVoters is the number of owners as the documentation of Placement has it.
func naiveVoters(r *Ring, p int, settled func(NodeID, int) bool) int {
	whole := slices.DeleteFunc(slices.Collect(r.Order(p)), func(id NodeID) bool { return !settled(id, p) })
	voters, targets := min(len(whole), r.Config().Replicas), r.Targets(p)
	for _, id := range targets {
		if !slices.Contains(whole, id) {
			return voters
		}
	}
	if len(targets) > 0 && len(targets) < voters {
		voters--
	}
	return voters
}

// TestOwnersLeaveOneByOne: three nodes of three, two of which leave at once.
func TestOwnersLeaveOneByOne(t *testing.T) {
	members := equals(1, 3)
	members[1].Draining, members[2].Draining = true, true
	r := mustNew(t, Config{8, 3}, members)
	for p := range 8 {
		order := slices.Collect(r.Order(p))
		for _, c := range []struct{ settled, owners, displaced int }{{3, 2, 1}, {2, 1, 1}, {1, 1, 0}} {
			v := NewView(r, func(id NodeID, _ int) bool { return slices.Contains(order[:c.settled], id) })
			pl := v.Placement(p)
			if !slices.Equal(pl.Owners, order[:c.owners]) || !slices.Equal(pl.Displaced, order[c.owners:c.settled]) || len(pl.Displaced) != c.displaced {
				t.Errorf("partition %d, %d settled: %+v of %v", p, c.settled, pl, order)
			}
			if !v.Short(p) {
				t.Errorf("partition %d, %d owners of 3: not short", p, c.owners)
			}
		}
		// Nobody goes while the one that stays is not settled, or if nobody stays.
		v := NewView(r, func(id NodeID, _ int) bool { return id != members[0].ID })
		if pl := v.Placement(p); len(pl.Owners) != 2 || !slices.Equal(pl.Pending, []NodeID{members[0].ID}) {
			t.Errorf("partition %d: %+v", p, pl)
		}
	}
	members[0].Draining = true
	v := NewView(mustNew(t, Config{8, 3}, members), func(NodeID, int) bool { return true })
	for p := range 8 {
		if pl := v.Placement(p); len(pl.Owners) != 3 || v.Short(p) {
			t.Errorf("partition %d of a cluster that leaves as a whole: %+v", p, pl)
		}
	}
}

func TestTurns(t *testing.T) {
	eachView(t, func(t *testing.T, v *View, _ func(NodeID, int) bool) {
		for p := range v.Ring().Config().Partitions {
			pl := v.Placement(p)
			if short := len(pl.Owners) < v.Ring().Config().Replicas; v.Short(p) != short {
				t.Errorf("partition %d: short %v, want %v", p, v.Short(p), short)
			}
			for _, m := range v.Ring().Members() {
				at := slices.Index(pl.Pending, m.ID)
				if want := at == 0 || at > 0 && !v.Short(p); v.Turn(m.ID, p) != want {
					t.Errorf("partition %d: turn of %v is %v in %+v", p, m.ID, !want, pl)
				}
			}
		}
	})
}

func TestDraining(t *testing.T) {
	eachView(t, func(t *testing.T, v *View, _ func(NodeID, int) bool) {
		for _, m := range v.Ring().Members() {
			if v.Draining(m.ID) != m.Draining {
				t.Errorf("%v: draining %v", m.ID, !m.Draining)
			}
		}
		if v.Draining(names(1<<30, 1)[0]) {
			t.Error("a stranger is draining")
		}
	})
}

func TestPartitionsOfANode(t *testing.T) {
	eachView(t, func(t *testing.T, v *View, _ func(NodeID, int) bool) {
		for _, m := range append(v.Ring().Members(), Member{ID: names(1<<30, 1)[0]}) {
			var owned int
			var pending, displaced []int
			for p := range v.Ring().Config().Partitions {
				pl := v.Placement(p)
				if slices.Contains(pl.Owners, m.ID) {
					owned++
				}
				if slices.Contains(pl.Pending, m.ID) {
					pending = append(pending, p)
				}
				if slices.Contains(pl.Displaced, m.ID) {
					displaced = append(displaced, p)
				}
			}
			if v.OwnedBy(m.ID) != owned || !slices.Equal(v.PendingFor(m.ID), pending) || !slices.Equal(v.Displaced(m.ID), displaced) {
				t.Errorf("%v: owns %d, pending for %v, displaced from %v; want %d, %v, %v",
					m.ID, v.OwnedBy(m.ID), v.PendingFor(m.ID), v.Displaced(m.ID), owned, pending, displaced)
			}
		}
	})
}

func TestFallbacksStop(t *testing.T) {
	v := NewView(mustNew(t, Config{4, 3}, equals(1, 6)), func(NodeID, int) bool { return false })
	for range v.Fallbacks(1) {
		break // a walk that ignored this would panic
	}
}

// TestStampsTellPlacementsApart: moving a node from one list to another changes the stamp.
func TestStampsTellPlacementsApart(t *testing.T) {
	ids := names(1, 4)
	seen := map[uint64]string{}
	for owners := range len(ids) + 1 {
		for pending := owners; pending <= len(ids); pending++ {
			for displaced := pending; displaced <= len(ids); displaced++ {
				name := fmt.Sprint(owners, pending, displaced)
				s := stamp(0, ids[:owners], ids[owners:pending], ids[pending:displaced])
				if other, taken := seen[s]; taken {
					t.Errorf("%s and %s have the same stamp", name, other)
				}
				seen[s] = name
			}
		}
	}
	if stamp(0, ids[:2], nil, nil) == stamp(0, []NodeID{ids[1], ids[0]}, nil, nil) {
		t.Error("the order of the owners is not in the stamp")
	}
}

// A fence changes every stamp and nothing else.
func TestFencesTellViewsApart(t *testing.T) {
	r := mustNew(t, Config{64, 3}, equals(1, 5))
	settled := func(id NodeID, p int) bool { return (int(id[0])+p)%3 > 0 }
	seen := map[uint64]uint64{}
	for _, fence := range []uint64{0, 1, 2, 1 << 40} {
		v := NewFencedView(r, fence, settled)
		if v.Fence() != fence {
			t.Errorf("fence %d, want %d", v.Fence(), fence)
		}
		pl, plain := v.Placement(5), NewView(r, settled).Placement(5)
		if other, taken := seen[pl.Stamp]; taken {
			t.Errorf("fences %d and %d have the same stamp", fence, other)
		}
		seen[pl.Stamp] = fence
		pl.Stamp = plain.Stamp
		if !reflect.DeepEqual(pl, plain) {
			t.Errorf("fence %d: %+v, want %+v", fence, pl, plain)
		}
	}
}

func TestPlacementDoesNotAllocate(t *testing.T) {
	v := NewView(mustNew(t, Config{1024, 3}, equals(1, 20)), func(id NodeID, p int) bool { return (int(id[0])+p)%3 > 0 })
	p := 0
	if n := testing.AllocsPerRun(100, func() {
		p = (p + len(v.Placement(p).Owners) + 1) % 1024
	}); n != 0 {
		t.Errorf("Placement allocates %v times", n)
	}
}

func BenchmarkNewView(b *testing.B) {
	for _, c := range []struct{ q, n int }{{1024, 5}, {1024, 85}, {4096, 200}} {
		b.Run(fmt.Sprintf("partitions=%d/nodes=%d", c.q, c.n), func(b *testing.B) {
			r := mustNew(b, Config{c.q, 3}, equals(1, c.n))
			b.ReportAllocs()
			for b.Loop() {
				NewView(r, func(id NodeID, p int) bool { return slices.Contains(r.Targets(p), id) })
			}
		})
	}
}

func BenchmarkPlacement(b *testing.B) {
	v := NewView(mustNew(b, Config{1024, 3}, equals(1, 20)), func(NodeID, int) bool { return true })
	b.ReportAllocs()
	p := 0
	for b.Loop() {
		p = (p + len(v.Placement(p).Owners)) % 1024
	}
}

// TestNextIsWhatANewViewWouldBe walks through bits that change at random, and
// holds each view to one that is made from nothing.
func TestNextIsWhatANewViewWouldBe(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	r, other := mustNew(t, Config{64, 3}, equals(1, 6)), mustNew(t, Config{64, 3}, equals(1, 5))
	bits := map[NodeID]map[int]bool{}
	for _, id := range r.ids {
		bits[id] = map[int]bool{}
	}
	settled := func(id NodeID, p int) bool { return bits[id][p] }
	v, fence := NewView(r, settled), uint64(0)
	for step := range 300 {
		for range rng.IntN(8) {
			id, p := r.ids[rng.IntN(len(r.ids))], rng.IntN(64)
			bits[id][p] = !bits[id][p]
		}
		if step%50 == 49 {
			fence++
		}
		want, to := NewFencedView(r, fence, settled), v.Next(r, fence, settled)
		if !reflect.DeepEqual(to, want) {
			t.Fatalf("step %d: the next view is another one", step)
		}
		if to.Next(r, fence, settled) != to {
			t.Fatalf("step %d: nothing changed, the view did", step)
		}
		v = to
	}
	if to := v.Next(other, fence, settled); to.Ring() != other || !reflect.DeepEqual(to, NewFencedView(other, fence, settled)) {
		t.Error("the view of another ring is not what it would be")
	}
}
