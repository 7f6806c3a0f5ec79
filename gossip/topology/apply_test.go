package topology

import (
	"errors"
	"strings"
	"testing"

	"starling/gossip/state"
	"starling/ring"
)

func TestApply(t *testing.T) {
	m := healthy(t, 3, 4)
	m.Members[0].State = state.Leaving
	leaving := m.Members[0]
	after := apply(t, m, Change{
		Leave:   []ring.NodeID{leaving.ID},
		Join:    []NewMember{{Name: "n7", Zone: "a", Weight: 200}},
		Weights: map[ring.NodeID]uint32{id(4): 50},
		Zones:   map[ring.NodeID]string{id(4): "b", id(3): "c"},
	})
	if r, _ := after.Member(leaving.ID); r.State != state.Leaving {
		t.Errorf("leaving again: %v", r.State)
	}
	r, ok := after.Member(NewID("n7"))
	if !ok || r.Name != "n7" || r.State != state.Joining || r.Zone != "a" || r.Weight != 200 || r.Settled.Count() != 0 {
		t.Errorf("the newcomer is %+v", r)
	}
	for _, want := range []state.Member{{ID: id(4), Zone: "b", Weight: 50}, {ID: id(3), Zone: "c", Weight: 100}} {
		if got, _ := after.Member(want.ID); got.Zone != want.Zone || got.Weight != want.Weight {
			t.Errorf("zone and weight are %q and %d, want %q and %d", got.Zone, got.Weight, want.Zone, want.Weight)
		}
	}
	if len(m.Members) != 4 || m.Members[0].Zone != "" {
		t.Error("the map before was changed")
	}
}

// A newcomer may have the name of the member that it replaces; it has its labels unless it brings others.
func TestApplyReplace(t *testing.T) {
	m := healthy(t, 3, 3)
	dead := m.Members[1]
	dead.Zone, dead.Weight = "a", 300
	m = m.With(dead)
	for _, tc := range []struct {
		heir       NewMember
		wantZone   string
		wantWeight uint32
	}{
		{NewMember{Name: dead.Name}, "a", 300},
		{NewMember{Name: "n9"}, "a", 300},
		{NewMember{Name: "n9", Zone: "b", Weight: 50}, "b", 50},
	} {
		after := apply(t, m, Change{Replace: []Replacement{{dead.ID, tc.heir}}})
		gone, _ := after.Member(dead.ID)
		if gone.State != state.Removed || gone.Heir != NewID(tc.heir.Name) || gone.Settled.Count() != 0 {
			t.Errorf("%+v: the dead member is %+v", tc.heir, gone)
		}
		if r, _ := after.Member(gone.Heir); r.State != state.Joining || r.Zone != tc.wantZone || r.Weight != tc.wantWeight {
			t.Errorf("%+v: the heir is %+v", tc.heir, r)
		}
	}
	m = m.With(member(9))
	gone, _ := apply(t, m, Change{Replace: []Replacement{{dead.ID, NewMember{Name: "n9"}}}}).Member(dead.ID)
	if gone.Heir != id(9) {
		t.Errorf("a member's heir is %v, want %v", gone.Heir, id(9))
	}
}

func TestApplyRefuses(t *testing.T) {
	m := healthy(t, 3, 4)
	removed := member(8)
	removed.State, removed.Settled, removed.Heir = state.Removed, nil, id(4)
	leaver := member(7)
	leaver.State = state.Leaving
	m = m.With(removed).With(leaver)
	lone := healthy(t, 3, 1)
	for _, tc := range []struct {
		name   string
		m      state.Map
		change Change
		want   string
	}{
		{"unknown", m, Change{Leave: []ring.NodeID{{1}}}, "no member has the ID 01000000"},
		{"removed already", m, Change{Remove: []ring.NodeID{id(8)}}, "n8 is removed already"},
		{"leave of a removed one", m, Change{Leave: []ring.NodeID{id(8)}}, "n8 is removed already"},
		{"weight of a removed one", m, Change{Weights: map[ring.NodeID]uint32{id(8): 1}}, "n8 is removed already"},
		{"replacing a removed one", m, Change{Replace: []Replacement{{id(8), NewMember{Name: "x"}}}}, "n8 is removed already"},
		{"leave and removal", m, Change{Leave: []ring.NodeID{id(1)}, Remove: []ring.NodeID{id(1)}}, "n1 is already removed by this change"},
		{"removal twice", m, Change{Remove: []ring.NodeID{id(1), id(1)}}, "n1 is already removed by this change"},
		{"name taken", m, Change{Join: []NewMember{{Name: "n2"}}}, `"n2" is the active member`},
		{"join twice", m, Change{Join: []NewMember{{Name: "x"}, {Name: "x"}}}, "x joins twice"},
		{"join without a name", m, Change{Join: []NewMember{{}}}, "a newcomer without a name"},
		{"weight too large", m, Change{Join: []NewMember{{Name: "x", Weight: 10001}}}, "weight 10001: want 1 to 10000"},
		{"weight zero", m, Change{Weights: map[ring.NodeID]uint32{id(1): 0}}, "weight 0: want 1 to 10000"},
		{"zone too long", m, Change{Zones: map[ring.NodeID]string{id(1): strings.Repeat("z", 200)}}, "zone has 200 bytes"},
		{"heir with labels", m, Change{Replace: []Replacement{{id(1), NewMember{Name: "n2", Weight: 100}}}}, "n2 is a member already"},
		{"leaving heir", m, Change{Replace: []Replacement{{id(1), NewMember{Name: "n7"}}}}, "n7 is leaving: it cannot take the place of n1"},
		{"heir of two", m, Change{Replace: []Replacement{{id(1), NewMember{Name: "n4"}}}}, "n4 has the place of n8 already: it cannot take that of n1 too"},
		{"newcomer for two", m, Change{Replace: []Replacement{{id(1), NewMember{Name: "x"}}, {id(2), NewMember{Name: "x"}}}}, "x has the place of n1 already"},
		{"the last leaves", lone, Change{Leave: []ring.NodeID{id(1)}}, "no member would be left to keep data"},
		{"the last is removed", lone, Change{Remove: []ring.NodeID{id(1)}}, "no member would be left to keep data"},
		{"no cluster", state.Map{}, Change{}, "create a cluster or join one"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Apply(tc.m, tc.change)
			if !errors.Is(err, ErrChange) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Apply: %v\nwant ErrChange and %q", err, tc.want)
			}
		})
	}
	if _, err := Apply(lone, Change{Leave: []ring.NodeID{id(1)}, Join: []NewMember{{Name: "n2"}}}); err != nil {
		t.Errorf("moving to another node: %v", err)
	}
}

func TestApplyBounds(t *testing.T) {
	m := state.Map{Settings: settings(3)}
	for n := range ring.MaxMembers {
		m.Members = append(m.Members, state.Member{ID: ring.NodeID{0, byte(n >> 8), byte(n), 1}, Name: string(rune(n + 1)), Weight: 100, State: state.Active})
	}
	if _, err := Apply(m, Change{Join: []NewMember{{Name: "one more"}}}); !errors.Is(err, state.ErrTooManyMembers) {
		t.Errorf("one member too many: %v", err)
	}
	if _, err := Apply(m, Change{Replace: []Replacement{{m.Members[0].ID, NewMember{Name: "one more"}}}}); err != nil {
		t.Errorf("one for another: %v", err)
	}
}
