package ring

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestConfigValidate(t *testing.T) {
	for _, c := range []struct {
		cfg Config
		ok  bool
	}{
		{Config{1, 1}, true}, {Config{1024, 3}, true}, {Config{65536, 7}, true},
		{Config{}, false}, {Config{0, 3}, false}, {Config{-8, 3}, false}, {Config{1000, 3}, false},
		{Config{131072, 3}, false}, {Config{1024, 0}, false}, {Config{1024, 8}, false}, {Config{1024, -1}, false},
	} {
		if err := c.cfg.Validate(); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	cfg := Config{8, 3}
	twice := equals(1, 3)
	twice[2].ID = twice[0].ID
	light, heavy := equals(1, 3), equals(1, 3)
	light[1].Weight, heavy[1].Weight = 0, MaxWeight+1
	seats, seated := equals(1, 3), equals(1, 3)
	seats[0].Seat, seats[1].Seat = names(2, 1)[0], names(2, 1)[0]
	seated[2].Seat = seated[0].ID
	apart := equals(1, 3)
	apart[2].ID, apart[2].Seat = apart[0].ID, apart[2].ID
	for name, members := range map[string][]Member{
		"one seat": seats, "another's own seat": seated, "twice on different seats": apart,
		"twice": twice, "zero ID": {{Weight: 100}}, "no weight": light, "too heavy": heavy, "too many": equals(1, MaxMembers+1),
	} {
		if _, err := New(cfg, members); !errors.Is(err, ErrMember) {
			t.Errorf("%s: error %v, want ErrMember", name, err)
		}
	}
	if _, err := New(Config{3, 3}, equals(1, 3)); !errors.Is(err, ErrConfig) {
		t.Errorf("3 partitions: error %v, want ErrConfig", err)
	}
}

// TestShape checks what holds for every ring whatever its members: invariants 1 to 3.
func TestShape(t *testing.T) {
	eachCluster(t, func(t *testing.T, _ *rand.Rand, cfg Config, members []Member) {
		r := mustNew(t, cfg, members)
		byID, zones, eligible := map[NodeID]Member{}, map[string]int{}, 0
		for _, m := range members {
			byID[m.ID] = m
			if !m.Draining {
				zones[m.Zone]++
				eligible++
			}
		}
		sum := map[NodeID]int{}
		for p := range cfg.Partitions {
			targets, order := r.Targets(p), slices.Collect(r.Order(p))
			if len(targets) != min(cfg.Replicas, eligible) || !slices.Equal(order[:len(targets)], targets) {
				t.Errorf("partition %d: targets %v, order %v", p, targets, order)
			}
			seen := map[NodeID]bool{}
			for _, id := range order {
				if _, known := byID[id]; !known || seen[id] {
					t.Errorf("partition %d: %v is in the order twice, or a stranger", p, id)
				}
				seen[id] = true
			}
			if len(order) != len(members) {
				t.Errorf("partition %d: %d nodes in the order, want %d", p, len(order), len(members))
			}
			inZone := map[string]int{}
			for _, id := range targets {
				sum[id]++
				inZone[byID[id].Zone]++
				if byID[id].Draining {
					t.Errorf("partition %d: draining %v is a target", p, id)
				}
			}
			checkZones(t, p, inZone, zones, len(targets))
		}
		for _, m := range members {
			if r.Load(m.ID) != sum[m.ID] {
				t.Errorf("load of %v is %d, counted %d", m.ID, r.Load(m.ID), sum[m.ID])
			}
		}
	})
}

// checkZones wants the targets in as many zones as possible, and no zone to have two more than another that had a node
// left.
func checkZones(t *testing.T, p int, inZone, zones map[string]int, width int) {
	t.Helper()
	if len(inZone) != min(width, len(zones)) {
		t.Errorf("partition %d: %d zones of %d for %d targets", p, len(inZone), len(zones), width)
	}
	for low, size := range zones {
		for high := range zones {
			if inZone[high] > inZone[low]+1 && inZone[low] < size {
				t.Errorf("partition %d: %d targets in zone %q, %d in %q", p, inZone[high], high, inZone[low], low)
			}
		}
	}
}

func sameRing(a, b *Ring) bool {
	return slices.Equal(a.members, b.members) && slices.Equal(a.order, b.order) && slices.Equal(a.targets, b.targets) &&
		slices.Equal(a.load, b.load)
}

func TestMembersInAnyOrder(t *testing.T) {
	eachCluster(t, func(t *testing.T, rng *rand.Rand, cfg Config, members []Member) {
		shuffled := slices.Clone(members)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if !sameRing(mustNew(t, cfg, members), mustNew(t, cfg, shuffled)) {
			t.Error("another order of the members made another ring")
		}
	})
}

func TestDrainingIsLikeLeaving(t *testing.T) {
	eachCluster(t, func(t *testing.T, _ *rand.Rand, cfg Config, members []Member) {
		stay := slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return m.Draining })
		with, without := mustNew(t, cfg, members), mustNew(t, cfg, stay)
		if moves := Diff(with, without); len(moves) > 0 {
			t.Errorf("taking the draining members out moves %+v", moves)
		}
	})
}

// TestDrainingRanksLikeItsEquals: whoever drains is not pushed to the end of the order, nor to its front.
func TestDrainingRanksLikeItsEquals(t *testing.T) {
	members := equals(4, 11)
	members[6].Draining = true
	r := mustNew(t, Config{1024, 3}, members)
	first := 0
	for p := range 1024 {
		if slices.Collect(r.Order(p))[3] == members[6].ID {
			first++
		}
	}
	// It is first wherever it ranks among the first four of eleven: in 372 partitions or so.
	if first < 250 || first > 450 {
		t.Errorf("the draining node is first after the targets of %d partitions in 1024", first)
	}
}

func TestNoMembers(t *testing.T) {
	r := mustNew(t, Config{4, 3}, nil)
	if got := r.Targets(3); len(got) != 0 {
		t.Errorf("targets of an empty ring: %v", got)
	}
	for id := range r.Order(0) {
		t.Errorf("order of an empty ring has %v", id)
	}
	if n := r.Load(names(1, 1)[0]); n != 0 {
		t.Errorf("load of a stranger: %d", n)
	}
}

func TestOrderStops(t *testing.T) {
	r := mustNew(t, Config{4, 3}, equals(1, 5))
	for range r.Order(1) {
		break // a walk that ignored this would panic
	}
}

func TestMembersIsACopy(t *testing.T) {
	members := equals(1, 5)
	r := mustNew(t, Config{4, 3}, members)
	members[0].Weight = 7
	r.Members()[1].Weight = 8
	for _, m := range r.Members() {
		if m.Weight != 100 {
			t.Errorf("the weight of %v became %d", m.ID, m.Weight)
		}
	}
}

func TestDiff(t *testing.T) {
	members := equals(1, 6)
	from, to := mustNew(t, Config{64, 3}, members[:5]), mustNew(t, Config{64, 3}, members)
	moves := Diff(from, to)
	if !slices.IsSortedFunc(moves, func(a, b Move) int { return a.Partition - b.Partition }) || len(moves) == 0 {
		t.Fatalf("moves: %+v", moves)
	}
	for p := range 64 {
		i := slices.IndexFunc(moves, func(m Move) bool { return m.Partition == p })
		var m Move
		if i >= 0 {
			m = moves[i]
		}
		kept := slices.DeleteFunc(slices.Clone(from.Targets(p)), func(id NodeID) bool { return slices.Contains(m.Lose, id) })
		after := append(kept, m.Gain...)
		if len(after) != 3 || !sameSet(after, to.Targets(p)) || i >= 0 && len(m.Gain) == 0 {
			t.Errorf("partition %d: %v and move %+v do not make %v", p, from.Targets(p), m, to.Targets(p))
		}
	}
	if moves := Diff(from, from); moves != nil {
		t.Errorf("a ring differs from itself: %+v", moves)
	}
	if moves := Diff(from, mustNew(t, Config{32, 3}, members)); moves != nil {
		t.Errorf("rings of 64 and 32 partitions differ by %+v", moves)
	}
}

func sameSet(a, b []NodeID) bool {
	sort := func(ids []NodeID) []NodeID { return slices.SortedFunc(slices.Values(ids), NodeID.Compare) }
	return slices.Equal(sort(a), sort(b))
}

// TestCapacity checks loads of members of different weights against a fair share worked out naively.
func TestCapacity(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 1))
		members := equals(int(seed), 3+rng.IntN(18))
		for i := range members {
			members[i].Weight = []uint32{50, 100, 100, 200, 400}[rng.IntN(5)]
		}
		r := mustNew(t, Config{512, 3}, members)
		for i, share := range naiveShares(512, 3, members) {
			load := float64(r.Load(members[i].ID))
			if load > max(1.10*share, math.Ceil(share-1e-6)) || load < 0.7*share-1e-6 {
				t.Errorf("seed %d: %v of weight %d has %.0f partitions, fair are %.1f", seed, members[i].ID, members[i].Weight, load, share)
			}
		}
	}
}

// TestQuotasHold: zones and weights of any kind never force a load above its bound or below its floor.
func TestQuotasHold(t *testing.T) {
	eachCluster(t, func(t *testing.T, _ *rand.Rand, cfg Config, members []Member) {
		r := mustNew(t, cfg, members)
		quotas, _ := newZoning(r.members, r.width).quotas(cfg.Partitions, r.width, r.members)
		shares := 0.0
		for i, q := range quotas {
			shares += float64(q.share) / (1 << shareBits)
			if r.load[i] > q.ceiling || r.load[i] < q.floor {
				t.Errorf("%v has %d partitions, want %d to %d", r.ids[i], r.load[i], q.floor, q.ceiling)
			}
		}
		if want := float64(cfg.Partitions * r.width); math.Abs(shares-want) > 1e-3 {
			t.Errorf("the shares sum up to %f, want %f", shares, want)
		}
	})
}

// naiveShares pours the replicas over the members in small drops.
func naiveShares(partitions, replicas int, members []Member) []float64 {
	shares := make([]float64, len(members))
	for left := float64(partitions * min(replicas, len(members))); left > 1e-9; {
		weights := 0.0
		for i, m := range members {
			if shares[i] < float64(partitions) {
				weights += float64(m.Weight)
			}
		}
		drop := left
		for i, m := range members {
			if shares[i] < float64(partitions) {
				drop = min(drop, (float64(partitions)-shares[i])*weights/float64(m.Weight))
			}
		}
		for i, m := range members {
			if room := float64(partitions) - shares[i]; room > 0 {
				shares[i] += drop * float64(m.Weight) / weights
				if room-drop*float64(m.Weight)/weights < 1e-9 {
					shares[i] = float64(partitions)
				}
			}
		}
		left -= drop
	}
	return shares
}

// TestZonesGoFirst: with as many zones as replicas, a small zone carries as much as a large one, whatever its load bound
// by weight would be.
func TestZonesGoFirst(t *testing.T) {
	members := equals(1, 9)
	for i := range members {
		members[i].Zone = []string{"a", "b", "b", "c", "c", "c", "c", "c", "c"}[i]
	}
	r := mustNew(t, Config{256, 3}, members)
	inZone := map[string]int{}
	for _, m := range members {
		inZone[m.Zone] += r.Load(m.ID)
	}
	for zone, load := range inZone {
		if load != 256 {
			t.Errorf("zone %s has %d replicas, want 256", zone, load)
		}
	}
}

func TestEqualZonesKeepTheBounds(t *testing.T) {
	for zones := 3; zones <= 6; zones++ {
		members := equals(zones, 24)
		for i := range members {
			members[i].Zone = fmt.Sprint(i % zones)
		}
		checkLoads(t, mustNew(t, Config{512, 3}, members))
	}
}

func BenchmarkNew(b *testing.B) {
	for _, c := range []struct{ q, n int }{{1024, 5}, {1024, 85}, {4096, 200}} {
		b.Run(fmt.Sprintf("partitions=%d/nodes=%d", c.q, c.n), func(b *testing.B) {
			members := equals(1, c.n)
			for b.Loop() {
				mustNew(b, Config{c.q, 3}, members)
			}
		})
	}
}
