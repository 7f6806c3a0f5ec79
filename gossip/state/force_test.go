package state

import (
	"reflect"
	"testing"
)

// held is a map of three members, of which the first holds the first eight partitions, the second the other eight.
func held() Map {
	m := Map{Settings: settings()}
	for n := range byte(3) {
		r := member(n + 1)
		switch n {
		case 0:
			r.Settled = FullBits(8)
		case 1:
			r.Settled = FullBits(16).Without(0, 1, 2, 3, 4, 5, 6, 7)
		}
		m = m.With(r)
	}
	return m
}

// remove moves members to the last state.
func remove(m Map, members ...byte) Map {
	for _, n := range members {
		r, _ := m.Member(id(n))
		r.State = Removed
		m = m.With(r)
	}
	return m
}

func TestForceMarksWhatLosesPartitions(t *testing.T) {
	for _, tc := range []struct {
		what   string
		m      Map
		force  byte
		lost   []int
		marked bool
	}{
		{"all are there", held(), 1, nil, false},
		{"not removed", remove(held(), 2), 1, []int{8, 9, 10, 11, 12, 13, 14, 15}, false},
		{"removed with the last copies", remove(held(), 1), 1, []int{0, 1, 2, 3, 4, 5, 6, 7}, true},
		{"removed with nothing", remove(held(), 3), 3, nil, false},
		{"removed with nothing after the last copies went", remove(held(), 1, 3), 3, []int{0, 1, 2, 3, 4, 5, 6, 7}, true},
		{"a stranger", remove(held(), 1), 9, []int{0, 1, 2, 3, 4, 5, 6, 7}, false},
	} {
		if got := tc.m.Lost(); !reflect.DeepEqual(got, tc.lost) {
			t.Errorf("%s: lost %v, want %v", tc.what, got, tc.lost)
		}
		after := tc.m.Force(id(tc.force))
		if after.GivenUp() != tc.marked || tc.m.GivenUp() {
			t.Errorf("%s: given up %v, want %v", tc.what, after.GivenUp(), tc.marked)
		}
		if !tc.marked && after.Hash() != tc.m.Hash() {
			t.Errorf("%s: the map changed", tc.what)
		}
		if again := after.Force(id(tc.force)); again.Hash() != after.Hash() {
			t.Errorf("%s: a second time changes the map again", tc.what)
		}
	}
}

// The mark stays whatever else is merged in: an older record of the member, a removal without force, or an heir.
func TestTheMarkStays(t *testing.T) {
	marked := remove(held(), 1).Force(id(1))
	replaced, err := held().Replace(id(1), id(3))
	if err != nil {
		t.Fatal(err)
	}
	newer, _ := held().Member(id(1))
	newer.Version++
	for what, other := range map[string]Map{
		"the member as it was":   held(),
		"a removal alone":        remove(held(), 1),
		"a replacement":          replaced,
		"a record that is newer": held().With(newer),
	} {
		if m := mustMerge(t, marked, other); !m.GivenUp() || m.Hash() != mustMerge(t, other, marked).Hash() {
			t.Errorf("%s: the mark is gone, or depends on the order", what)
		}
	}
}
