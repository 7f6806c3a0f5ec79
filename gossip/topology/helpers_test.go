package topology

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"starling/gossip/state"
	"starling/ring"
)

const partitions = 128

// id is the ID of member n.
func id(n int) ring.NodeID { return NewID(fmt.Sprintf("store of n%d", n)) }

func member(n int) state.Member {
	return state.Member{ID: id(n), Name: fmt.Sprintf("n%d", n), Weight: 100, State: state.Active}
}

func settings(replicas int) state.Settings {
	return state.Settings{Cluster: [16]byte{1}, Partitions: partitions, Replicas: uint32(replicas), HashVersion: state.HashVersion}
}

// cluster is a cluster at rest of the members.
func cluster(t testing.TB, replicas int, members ...state.Member) state.Map {
	t.Helper()
	m := state.Map{Settings: settings(replicas)}
	for _, r := range members {
		m = m.With(r)
	}
	return settle(t, m)
}

// healthy is a cluster at rest of members 1 to n.
func healthy(t testing.TB, replicas, n int) state.Map {
	t.Helper()
	members := make([]state.Member, n)
	for i := range members {
		members[i] = member(i + 1)
	}
	return cluster(t, replicas, members...)
}

// settle makes exactly the targets settled.
func settle(t testing.TB, m state.Map) state.Map {
	t.Helper()
	v := view(t, m)
	for _, r := range m.Members {
		r.Settled = nil
		for p := range v.Ring().Config().Partitions {
			if slices.Contains(v.Ring().Targets(p), r.ID) {
				r.Settled = r.Settled.With(p)
			}
		}
		m = m.With(r)
	}
	return m
}

func view(t testing.TB, m state.Map) *ring.View {
	t.Helper()
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func apply(t testing.TB, m state.Map, c Change) state.Map {
	t.Helper()
	after, err := Apply(m, c)
	if err != nil {
		t.Fatalf("Apply(%+v): %v", c, err)
	}
	return after
}

func planOf(t testing.TB, before, after state.Map, f Facts) Plan {
	t.Helper()
	p, err := PlanOf(before, after, f)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// node is the plan's entry of a name.
func node(t testing.TB, p Plan, name string) NodePlan {
	t.Helper()
	i := slices.IndexFunc(p.Nodes, func(n NodePlan) bool { return n.Name == name })
	if i < 0 {
		t.Fatalf("the plan has no node %s: %+v", name, p.Nodes)
	}
	return p.Nodes[i]
}

// but is an opinion: all alive but the members given.
func but(down ...int) func(ring.NodeID) bool {
	return func(of ring.NodeID) bool {
		return !slices.ContainsFunc(down, func(n int) bool { return id(n) == of })
	}
}

// noHints is what is known of a quiet cluster.
func noHints(ring.NodeID) (int64, bool) { return 0, true }

// wantText checks that some of the texts has each fragment, and that there is no text without one.
func wantText(t testing.TB, texts []string, fragments ...string) {
	t.Helper()
	for _, f := range fragments {
		if !slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, f) }) {
			t.Errorf("no sentence says %q:\n%s", f, strings.Join(texts, "\n"))
		}
	}
	for _, s := range texts {
		if !slices.ContainsFunc(fragments, func(f string) bool { return strings.Contains(s, f) }) {
			t.Errorf("nobody expects the sentence\n%s", s)
		}
	}
}

// randomMap draws a cluster with anything in it: states, zones, weights, bits, heirs.
func randomMap(r *rand.Rand) state.Map {
	m := state.Map{Settings: settings(1 + r.IntN(5))}
	m.Settings.Partitions = 8
	names := 1 + r.IntN(8)
	for n := range names {
		rec := member(n + 1)
		rec.State = state.Lifecycle(1 + r.IntN(4))
		rec.Zone = []string{"", "a", "b"}[r.IntN(3)]
		rec.Weight = uint32(50 + 50*r.IntN(3))
		for p := range 8 {
			if r.IntN(2) == 0 {
				rec.Settled = rec.Settled.With(p)
			}
		}
		if r.IntN(2) == 0 && rec.State == state.Removed {
			rec.Heir = id(1 + r.IntN(names))
		}
		m = m.With(rec)
	}
	return m
}

// randomChange draws a change, which may be impossible.
func randomChange(r *rand.Rand, m state.Map) (c Change) {
	c.Weights, c.Zones = map[ring.NodeID]uint32{}, map[ring.NodeID]string{}
	for _, rec := range m.Members {
		if rec.State == state.Removed {
			continue
		}
		switch r.IntN(9) {
		case 0:
			c.Leave = append(c.Leave, rec.ID)
		case 1, 2:
			c.Remove = append(c.Remove, rec.ID)
		case 3:
			c.Replace = append(c.Replace, Replacement{rec.ID, NewMember{Name: fmt.Sprint("for ", rec.Name)}})
		case 4:
			c.Weights[rec.ID] = 200
		case 5:
			c.Zones[rec.ID] = "c"
		}
	}
	for n := range r.IntN(3) {
		c.Join = append(c.Join, NewMember{Name: fmt.Sprint("new ", n), Zone: []string{"", "a"}[r.IntN(2)]})
	}
	return c
}

// randomAlive draws an opinion on the members. Strangers are dead to it, as to a failure detector.
func randomAlive(r *rand.Rand, m state.Map) func(ring.NodeID) bool {
	up := map[ring.NodeID]bool{}
	for _, rec := range m.Members {
		up[rec.ID] = r.IntN(4) > 0
	}
	return func(id ring.NodeID) bool { return up[id] }
}

// rare are seeds of cases that are seldom drawn.
var rare = []uint64{288}

// each runs check with many seeds.
func each(t *testing.T, check func(t *testing.T, r *rand.Rand)) {
	t.Helper()
	seeds := slices.Clone(rare)
	for seed := range uint64(200) {
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		check(t, rand.New(rand.NewPCG(seed, 5)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
