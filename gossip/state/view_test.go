package state

import (
	"errors"
	"slices"
	"testing"

	"starling/ring"
)

func TestViewFollowsStates(t *testing.T) {
	m := Map{Settings: settings()}
	for n, s := range []Lifecycle{Joining, Active, Leaving, Removed} {
		r := member(byte(n + 1))
		r.State = s
		if s != Joining && s != Removed {
			r.Settled = FullBits(16)
		}
		m = m.With(r)
	}
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	if got := len(v.Ring().Members()); got != 3 {
		t.Fatalf("%d members ranked, want the three that are not removed", got)
	}
	for p := range 16 {
		pl := v.Placement(p)
		targets := v.Ring().Targets(p)
		if len(targets) != 2 || slices.Contains(targets, id(3)) {
			t.Fatalf("partition %d: targets %v, want the joining and the active member", p, targets)
		}
		if !slices.Equal(pl.Pending, []ring.NodeID{id(1)}) || len(pl.Owners) != 2 || !slices.Contains(pl.Owners, id(3)) {
			t.Fatalf("partition %d: owners %v, pending %v", p, pl.Owners, pl.Pending)
		}
	}
}

func TestViewFromReusesTheRing(t *testing.T) {
	m := Map{Settings: settings()}.With(member(1)).With(member(2))
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	r := member(1)
	r.Settled = FullBits(16)
	bits := m.With(r)
	v2, err := bits.ViewFrom(v)
	if err != nil {
		t.Fatal(err)
	}
	if v2.Ring() != v.Ring() || !m.SameRing(bits) {
		t.Error("settled bits alone made a new ring")
	}
	if len(v2.Placement(0).Owners) != 1 {
		t.Errorf("settled bits not seen: %+v", v2.Placement(0))
	}
	for what, changed := range map[string]Map{
		"weight": m.With(func() Member { r := member(1); r.Weight = 50; return r }()),
		"zone":   m.With(func() Member { r := member(1); r.Zone = "z"; return r }()),
		"state":  m.With(func() Member { r := member(1); r.State = Leaving; return r }()),
		"member": m.With(member(3)),
		"seat":   m.With(replacedBy(3, 1)),
		"N":      {Settings: func() Settings { s := settings(); s.Replicas = 2; return s }(), Members: m.Members},
	} {
		v2, err := changed.ViewFrom(v)
		if err != nil {
			t.Fatal(err)
		}
		if v2.Ring() == v.Ring() || m.SameRing(changed) {
			t.Errorf("%s changed, the ring did not", what)
		}
	}
}

func TestViewNeedsACluster(t *testing.T) {
	if _, err := (Map{}).View(); !errors.Is(err, ErrSettings) {
		t.Fatalf("got %v", err)
	}
	m := Map{Settings: settings()}
	m.Settings.HashVersion = 2
	if _, err := m.View(); !errors.Is(err, ErrSettings) {
		t.Fatalf("unknown hash version: %v", err)
	}
}
