package topology

import (
	"errors"
	"reflect"
	"testing"

	"starling/gossip/state"
	"starling/ring"
)

// held sets which partitions the members 1, 2, … hold completely, and no others.
func held(m state.Map, parts ...[]int) state.Map {
	for i, of := range parts {
		r, _ := m.Member(id(i + 1))
		r.Settled = state.Bits(nil).With(of...)
		m = m.With(r)
	}
	return m
}

func TestRemoval(t *testing.T) {
	five := healthy(t, 3, 5)
	for _, tc := range []struct {
		name string
		m    state.Map
		dead int
		down []int
		want Verdict
	}{
		{"healthy", five, 3, []int{3}, Verdict{}},
		{"another is down", five, 3, []int{3, 4}, Verdict{}},
		{"one copy", held(healthy(t, 1, 3), []int{1, 3}, []int{0, 5}, []int{7}), 2, nil, Verdict{Lost: []int{0, 5}}},
		{"a copy of three left", held(five, []int{1, 2}, []int{1}, []int{1}, []int{2}, []int{2, 4}), 5, nil, Verdict{Lost: []int{4}}},
		{"a copy of two left", held(five, []int{1, 2}, []int{1}, []int{1}, []int{2}, []int{4}), 4, nil, Verdict{AtRisk: []int{2}}},
		{"the others are down", held(five, []int{1, 2}, []int{1, 2}, []int{1, 2}, nil, nil), 3, []int{1, 2}, Verdict{Unreachable: []int{1, 2}}},
		{"one other is down", held(five, []int{1, 2}, []int{1, 2}, []int{1, 2}, nil, nil), 3, []int{1}, Verdict{}},
		{"it holds nothing", held(five, nil, []int{1}, []int{1}, nil, nil), 1, nil, Verdict{}},
		{"alone", healthy(t, 3, 1), 1, nil, Verdict{Lost: all()}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Removal(tc.m, id(tc.dead), but(tc.down...))
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("Removal: %+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
	removed := apply(t, five, Change{Remove: []ring.NodeID{id(2)}})
	for _, dead := range []ring.NodeID{id(2), id(9)} {
		if _, err := Removal(removed, dead, nil); !errors.Is(err, ErrChange) {
			t.Errorf("removing %v: %v", dead, err)
		}
	}
}

func all() (parts []int) {
	for p := range partitions {
		parts = append(parts, p)
	}
	return parts
}

// A replacement moves what the dead member had to its heir, and nothing else; a removal and a join move more.
func TestReplaceMovesOnlyTheSeat(t *testing.T) {
	m := healthy(t, 3, 5)
	f := Facts{Bytes: size, Alive: but(2)}
	p := planOf(t, m, apply(t, m, Change{Replace: []Replacement{{id(2), NewMember{Name: "n6"}}}}), f)
	load := view(t, m).Ring().Load(id(2))
	if p.Partitions != load || p.Replicas != load {
		t.Errorf("%d copies of %d partitions, want %d of as many", p.Replicas, p.Partitions, load)
	}
	for _, n := range p.Nodes {
		want := [2]int{0, 0}
		switch n.Name {
		case "n6":
			want[0] = load
		case "n2":
			want[1] = load
		}
		if got := [2]int{n.In, n.Out}; got != want {
			t.Errorf("%s: in and out %v, want %v", n.Name, got, want)
		}
	}
	apart := planOf(t, m, apply(t, m, Change{Remove: []ring.NodeID{id(2)}, Join: []NewMember{{Name: "n6"}}}), f)
	if apart.Replicas <= p.Replicas {
		t.Errorf("a removal and a join make %d copies, a replacement %d: it should be fewer", apart.Replicas, p.Replicas)
	}
}

// What is read of a partition comes from the owners that are alive, in equal parts, and the busiest sets the time.
func TestSecondsAndSources(t *testing.T) {
	const mb = 1 << 20
	m := healthy(t, 3, 3)
	f := Facts{Bytes: func(int) int64 { return 6 * mb }, BytesPerSecond: 2 * mb, BusyBytesPerSecond: mb / 4}
	p := planOf(t, m, apply(t, m, Change{Join: []NewMember{{Name: "n4"}}}), f)
	newcomer := node(t, p, "n4")
	if want := float64(newcomer.BytesIn) / (2 * mb); p.Seconds != want || p.BusySeconds != 8*want {
		t.Errorf("%v s, %v s with clients, want %v and %v", p.Seconds, p.BusySeconds, want, 8*want)
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		if got, want := node(t, p, name).BytesSent, newcomer.BytesIn/3; got != want {
			t.Errorf("%s sends %d bytes, want %d", name, got, want)
		}
	}
	f.Alive = but(3)
	p = planOf(t, m, apply(t, m, Change{Join: []NewMember{{Name: "n4"}}}), f)
	if node(t, p, "n1").BytesSent != newcomer.BytesIn/2 || node(t, p, "n3").BytesSent != 0 {
		t.Errorf("with n3 down n1 sends %d bytes and n3 %d, want %d and none",
			node(t, p, "n1").BytesSent, node(t, p, "n3").BytesSent, newcomer.BytesIn/2)
	}
	f.BytesPerSecond, f.BusyBytesPerSecond = 0, 0
	if p := planOf(t, m, apply(t, m, Change{Join: []NewMember{{Name: "n4"}}}), f); p.Seconds != 0 || p.BusySeconds != 0 {
		t.Errorf("%v s and %v s at an unknown pace, want 0", p.Seconds, p.BusySeconds)
	}
}

// What an earlier change still owes is in the plan of the next, and in that of no change at all.
func TestPlanOfWhatIsOwed(t *testing.T) {
	joining := apply(t, healthy(t, 3, 3), Change{Join: []NewMember{{Name: "n4"}}})
	p := planOf(t, joining, joining, Facts{Bytes: size})
	if n := node(t, p, "n4"); n.In == 0 || n.In != p.Replicas || n.PartitionsBefore != n.In || n.State != state.Joining {
		t.Errorf("n4 %+v of %d copies", n, p.Replicas)
	}
	wantText(t, p.Warnings, "copies that earlier changes still owe are counted in.")
}

func TestPlanOfForeignMaps(t *testing.T) {
	a, b := healthy(t, 3, 3), healthy(t, 2, 3)
	if _, err := PlanOf(a, b, Facts{}); !errors.Is(err, ErrChange) {
		t.Errorf("maps of two clusters: %v", err)
	}
	if _, err := PlanOf(state.Map{}, state.Map{}, Facts{}); !errors.Is(err, state.ErrSettings) {
		t.Errorf("maps of no cluster: %v", err)
	}
}

// BenchmarkPlan is a plan for the most members that 1024 partitions are good for.
func BenchmarkPlan(b *testing.B) {
	m := state.Map{Settings: settings(3)}
	m.Settings.Partitions = 1024
	for n := range 85 {
		m = m.With(member(n + 1))
	}
	m = settle(b, m)
	for b.Loop() {
		after, err := Apply(m, Change{Leave: []ring.NodeID{id(3)}, Join: []NewMember{{Name: "x"}}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := PlanOf(m, after, Facts{Bytes: size, BytesPerSecond: 1}); err != nil {
			b.Fatal(err)
		}
	}
}
