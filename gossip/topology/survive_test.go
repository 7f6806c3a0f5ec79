package topology

import (
	"math/rand/v2"
	"slices"
	"testing"

	"starling/gossip/state"
	"starling/ring"
)

// hasQuorum is the rule of package ring, word for word: a majority of the owners to read, and that and one for every
// pending and displaced node to write.
func hasQuorum(pl ring.Placement, up func(ring.NodeID) bool) bool {
	count := func(ids []ring.NodeID) (n int) {
		for _, id := range ids {
			if up(id) {
				n++
			}
		}
		return n
	}
	w := len(pl.Owners)/2 + 1
	return count(pl.Owners) >= w && count(pl.AppendWriters(nil)) >= w+len(pl.Pending)+len(pl.Displaced)
}

// bears tries all ways in which n of the things fail, and says whether all partitions have a quorum in each.
func bears(v *ring.View, things []string, of func(ring.NodeID) string, up func(ring.NodeID) bool, n int) bool {
	var failed []string
	var try func(from int) bool
	try = func(from int) bool {
		if len(failed) == n {
			left := func(id ring.NodeID) bool { return up(id) && !slices.Contains(failed, of(id)) }
			for p := range v.Ring().Config().Partitions {
				if !hasQuorum(v.Placement(p), left) {
					return false
				}
			}
			return true
		}
		for i := from; i < len(things); i++ {
			failed = append(failed, things[i])
			ok := try(i + 1)
			failed = failed[:len(failed)-1]
			if !ok {
				return false
			}
		}
		return true
	}
	return try(0)
}

// most is the largest number of failures that the view bears.
func most(v *ring.View, things []string, of func(ring.NodeID) string, up func(ring.NodeID) bool) int {
	for n := range len(things) + 1 {
		if !bears(v, things, of, up, n) {
			return n - 1
		}
	}
	return len(things)
}

// dumbSurvives tries everything.
func dumbSurvives(v *ring.View, up func(ring.NodeID) bool) Failures {
	zone := map[ring.NodeID]string{}
	var nodes, zones []string
	for _, m := range v.Ring().Members() {
		zone[m.ID] = m.Zone
		if up(m.ID) {
			nodes = append(nodes, m.ID.String())
			if !slices.Contains(zones, m.Zone) {
				zones = append(zones, m.Zone)
			}
		}
	}
	return Failures{
		Nodes: most(v, nodes, ring.NodeID.String, up),
		Zones: most(v, zones, func(id ring.NodeID) string { return zone[id] }, up),
	}
}

func TestSurvivesTwin(t *testing.T) {
	seen := map[Failures]int{}
	each(t, func(t *testing.T, r *rand.Rand) {
		m := randomMap(r)
		if r.IntN(2) == 0 {
			m = settle(t, m) // else hardly any cluster bears anything
		}
		v, up := view(t, m), randomAlive(r, m)
		if r.IntN(2) == 0 {
			up = but()
		}
		got, want := survives(v, up), dumbSurvives(v, up)
		if got != want {
			t.Errorf("survives %+v, want %+v", got, want)
		}
		seen[got]++
	})
	for _, f := range []Failures{{-1, -1}, {0, 0}, {1, 0}, {1, 1}} {
		if seen[f] == 0 {
			t.Errorf("no cluster bears %+v: %v", f, seen)
		}
	}
}

func TestSurvives(t *testing.T) {
	inZone := func(n int, zone string) (r state.Member) {
		r = member(n)
		r.Zone = zone
		return r
	}
	for _, tc := range []struct {
		name     string
		replicas int
		members  []state.Member
		down     []int
		want     Failures
	}{
		{"five of three", 3, []state.Member{member(1), member(2), member(3), member(4), member(5)}, nil, Failures{1, 0}},
		{"five of five", 5, []state.Member{member(1), member(2), member(3), member(4), member(5)}, nil, Failures{2, 0}},
		{"one down", 3, []state.Member{member(1), member(2), member(3), member(4), member(5)}, []int{4}, Failures{0, 0}},
		{"two down", 3, []state.Member{member(1), member(2), member(3), member(4), member(5)}, []int{4, 1}, Failures{-1, -1}},
		{"one copy", 1, []state.Member{member(1), member(2)}, nil, Failures{0, 0}},
		{"two copies", 2, []state.Member{member(1), member(2), member(3)}, nil, Failures{0, 0}},
		{"alone", 3, []state.Member{member(1)}, nil, Failures{0, 0}},
		{"two zones", 3, []state.Member{inZone(1, "a"), inZone(2, "a"), inZone(3, "b"), inZone(4, "b")}, nil, Failures{1, 0}},
		{"three zones", 3, []state.Member{inZone(1, "a"), inZone(2, "b"), inZone(3, "c"), inZone(4, "c")}, nil, Failures{1, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := survives(view(t, cluster(t, tc.replicas, tc.members...)), but(tc.down...)); got != tc.want {
				t.Errorf("survives %+v, want %+v", got, tc.want)
			}
		})
	}
}
