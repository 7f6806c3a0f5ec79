package ring

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// replace seats newcomers in the places of a random part of the members.
func replace(rng *rand.Rand, members []Member) (after []Member, heirs map[NodeID]NodeID) {
	after, heirs = slices.Clone(members), map[NodeID]NodeID{}
	for i, id := range names(rng.IntN(1<<30)+1<<30, len(members)) {
		if rng.IntN(3) == 0 {
			heirs[after[i].ID] = id
			after[i].ID, after[i].Seat = id, after[i].seat()
		}
	}
	rng.Shuffle(len(after), func(i, j int) { after[i], after[j] = after[j], after[i] })
	return after, heirs
}

// TestSeatsMoveNothingElse: the heirs are where those were that they replaced, in every order, target list and load, and
// whoever was not replaced stays where it was.
func TestSeatsMoveNothingElse(t *testing.T) {
	check := func(t *testing.T, rng *rand.Rand, cfg Config, members []Member) {
		before := mustNew(t, cfg, members)
		first, heirs := replace(rng, members)
		second, again := replace(rng, first) // heirs may be replaced in their turn
		after := mustNew(t, cfg, second)
		successor := func(id NodeID) NodeID {
			for _, step := range []map[NodeID]NodeID{heirs, again} {
				if heir, ok := step[id]; ok {
					id = heir
				}
			}
			return id
		}
		for p := range cfg.Partitions {
			var order []NodeID
			for id := range before.Order(p) {
				order = append(order, successor(id))
			}
			if got := slices.Collect(after.Order(p)); !slices.Equal(got, order) || !slices.Equal(after.Targets(p), order[:before.width]) {
				t.Errorf("partition %d: order %v, targets %v, want %v", p, got, after.Targets(p), order)
			}
		}
		for _, m := range members {
			if got := after.Load(successor(m.ID)); got != before.Load(m.ID) {
				t.Errorf("%v has %d partitions, %v had %d", successor(m.ID), got, m.ID, before.Load(m.ID))
			}
			if _, gone := heirs[m.ID]; gone && after.Has(m.ID) {
				t.Errorf("%v is a member still", m.ID)
			}
		}
	}
	eachCluster(t, check)
	check(t, rand.New(rand.NewPCG(1, 1)), Config{1024, 3}, equals(1, 45)) // at different load bounds
}

// TestMembersWithSeats: the members come back sorted by ID, whatever their seats, and are found by it.
func TestMembersWithSeats(t *testing.T) {
	members := equals(1, 9)
	for i, seat := range names(2, 5) {
		members[i].Seat = seat
	}
	r := mustNew(t, Config{64, 3}, members)
	if !slices.IsSortedFunc(r.members, func(a, b Member) int { return a.seat().Compare(b.seat()) }) {
		t.Error("members of equal scores are not ranked by their seats")
	}
	slices.SortFunc(members, func(a, b Member) int { return a.ID.Compare(b.ID) })
	if got := r.Members(); !slices.Equal(got, members) {
		t.Errorf("members %v, want %v", got, members)
	}
	sum := 0
	for _, m := range members {
		if !r.Has(m.ID) || !m.Seat.IsZero() && r.Has(m.Seat) {
			t.Errorf("%v is no member, or its seat is one", m)
		}
		sum += r.Load(m.ID)
	}
	if sum != 3*64 {
		t.Errorf("the loads sum up to %d", sum)
	}
}
