package state

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"starling/ring"
)

// replacedBy is the record of a removed member with an heir; none if that is 0.
func replacedBy(n, heir byte) Member {
	r := member(n)
	r.State, r.Heir = Removed, id(heir)
	return r
}

func TestSeats(t *testing.T) {
	for _, tc := range []struct {
		what string
		gone [][2]byte // member and heir
		want map[byte]byte
	}{
		{"nobody replaced", nil, map[byte]byte{1: 0, 2: 0}},
		{"removed without an heir", [][2]byte{{3, 0}}, map[byte]byte{1: 0, 2: 0}},
		{"one replaced", [][2]byte{{3, 1}}, map[byte]byte{1: 3, 2: 0}},
		{"two replaced", [][2]byte{{3, 2}, {4, 1}}, map[byte]byte{1: 4, 2: 3}},
		{"the heir replaced in its turn", [][2]byte{{5, 3}, {3, 4}, {4, 1}}, map[byte]byte{1: 5, 2: 0}},
		{"two with one heir", [][2]byte{{4, 1}, {3, 1}}, map[byte]byte{1: 3, 2: 0}},
		{"two with one heir, one of them an heir", [][2]byte{{4, 1}, {3, 1}, {5, 3}}, map[byte]byte{1: 5, 2: 0}},
		{"in a circle", [][2]byte{{3, 4}, {4, 5}, {5, 3}}, map[byte]byte{1: 0, 2: 0}},
		{"into a circle", [][2]byte{{3, 4}, {4, 3}, {5, 3}}, map[byte]byte{1: 0, 2: 0}},
		{"an heir unknown here", [][2]byte{{3, 9}}, map[byte]byte{1: 0, 2: 0}},
	} {
		m := Map{Settings: settings()}.With(member(1)).With(member(2))
		for _, g := range tc.gone {
			m = m.With(replacedBy(g[0], g[1]))
		}
		got := map[byte]byte{}
		for _, r := range m.ringMembers() {
			got[r.ID[15]] = r.Seat[15]
		}
		for n, seat := range tc.want {
			if s, ok := got[n]; !ok || s != seat || len(got) != len(tc.want) {
				t.Errorf("%s: seats %v, want %v", tc.what, got, tc.want)
				break
			}
		}
	}
}

// TestSeatsAreDifferent: however records were replaced and merged, every map makes a ring.
func TestSeatsAreDifferent(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	shared := 0
	for range 3000 {
		m := Map{Settings: settings()}
		for n := range byte(7) {
			x := member(n + 1)
			if heir := byte(1 + r.IntN(7)); r.IntN(3) > 0 && heir != n+1 {
				x = replacedBy(n+1, heir)
			}
			m = m.With(x)
		}
		v, err := m.View()
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		if slices.ContainsFunc(v.Ring().Members(), func(r ring.Member) bool { return !r.Seat.IsZero() }) {
			shared++
		}
	}
	if shared < 1000 {
		t.Errorf("%d maps with seats only", shared)
	}
}

// TestReplaceMovesOnePlace: what the dead was a target of, its heir is, and all else stays.
func TestReplaceMovesOnePlace(t *testing.T) {
	m := Map{Settings: settings()}
	for n := range byte(5) {
		m = m.With(member(n + 1))
	}
	fresh := member(9)
	fresh.State = Joining
	after, err := m.With(fresh).Replace(id(3), id(9))
	if err != nil {
		t.Fatal(err)
	}
	from, to := mustView(t, m).Ring(), mustView(t, after).Ring()
	for p := range 16 {
		want := slices.Clone(from.Targets(p))
		if at := slices.Index(want, id(3)); at >= 0 {
			want[at] = id(9)
		}
		if !slices.Equal(to.Targets(p), want) {
			t.Errorf("partition %d: targets %v, want %v", p, to.Targets(p), want)
		}
	}
	if from.Load(id(3)) == 0 || to.Load(id(9)) != from.Load(id(3)) {
		t.Errorf("the heir has %d partitions, the dead had %d", to.Load(id(9)), from.Load(id(3)))
	}
	if again, err := after.Replace(id(3), id(9)); err != nil || again.Hash() != after.Hash() {
		t.Errorf("again: %v", err)
	}
}

func mustView(t *testing.T, m Map) *ring.View {
	t.Helper()
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestReplaceRefuses(t *testing.T) {
	leaving := member(3)
	leaving.State = Leaving
	m := Map{Settings: settings()}.With(member(1)).With(member(2)).With(leaving).With(replacedBy(4, 1)).With(replacedBy(5, 0))
	for _, tc := range []struct {
		what       string
		dead, heir byte
		want       error
	}{
		{"an active one", 1, 2, nil},
		{"a leaving one", 3, 2, nil},
		{"a removed one without an heir", 5, 2, nil},
		{"one that has this heir", 4, 1, nil},
		{"one that has another heir", 4, 2, ErrInvalid},
		{"by an heir", 2, 1, ErrInvalid},
		{"by one that leaves", 1, 3, ErrInvalid},
		{"by one that is removed", 1, 5, ErrInvalid},
		{"by itself", 2, 2, ErrInvalid},
		{"a stranger", 9, 2, ErrUnknownMember},
		{"by a stranger", 2, 9, ErrUnknownMember},
	} {
		after, err := m.Replace(id(tc.dead), id(tc.heir))
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.what, err, tc.want)
		}
		if r, _ := after.Member(id(tc.dead)); err == nil && (r.State != Removed || r.Heir != id(tc.heir)) {
			t.Errorf("%s: %+v", tc.what, r)
		}
	}
}

func TestFind(t *testing.T) {
	named := func(n byte, name string, s Lifecycle) Member {
		r := member(n)
		r.Name, r.State = name, s
		return r
	}
	m := Map{Settings: settings()}.With(named(1, "n1", Active)).With(named(2, "n2", Leaving)).With(named(3, "n1", Removed)).
		With(named(4, "old", Removed)).With(named(5, "old2", Removed)).With(named(6, "old2", Removed)).
		With(named(7, "twin", Active)).With(named(8, "twin", Joining)).With(named(9, id(2).String(), Active))
	for text, want := range map[string]byte{
		"n1": 1, "n2": 2, "old": 4, id(3).String(): 3, strings.ToUpper(id(10).String()): 0, id(2).String(): 2, id(9).String(): 9,
		"": 0, "n7": 0, "twin": 0, "old2": 0,
	} {
		r, err := m.Find(text)
		if (err == nil) != (want > 0) || want > 0 && r.ID != id(want) || want == 0 && !errors.Is(err, ErrUnknownMember) {
			t.Errorf("%q: %v (%v), want member %d", text, r.ID, err, want)
		}
	}
	_, err := m.Find("n7")
	for _, says := range []string{`"n7"`, "n1 (" + id(1).String() + ", active)", "n2 (" + id(2).String() + ", leaving)"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%q does not say %q", err, says)
		}
	}
	if strings.Contains(err.Error(), "old") {
		t.Errorf("%q lists removed members", err)
	}
	_, err = m.Find("twin")
	for _, says := range []string{id(7).String(), id(8).String(), "give the ID"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%q does not say %q", err, says)
		}
	}
	if _, err := (Map{}).Find("n1"); !errors.Is(err, ErrUnknownMember) || !strings.Contains(err.Error(), "none") {
		t.Errorf("an empty map: %v", err)
	}
	var many Map
	for n := range byte(maxListed + 5) {
		many = many.With(member(n + 1))
	}
	if _, err := many.Find("x"); !strings.Contains(err.Error(), "and 5 more") {
		t.Errorf("%q", err)
	}
}
