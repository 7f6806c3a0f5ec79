package topology

import (
	"math/rand/v2"
	"slices"
	"testing"

	"starling/gossip/state"
	"starling/ring"
)

func TestSafeToStop(t *testing.T) {
	five := healthy(t, 3, 5)
	joining := apply(t, healthy(t, 3, 3), Change{Join: []NewMember{{Name: "n4"}}})
	newcomer := NewID("n4")
	leaving := apply(t, five, Change{Leave: []ring.NodeID{id(2)}})
	removed := apply(t, five, Change{Remove: []ring.NodeID{id(2)}})
	hints := func(n int64, known bool) func(ring.NodeID) (int64, bool) {
		return func(ring.NodeID) (int64, bool) { return n, known }
	}
	aliveBut := func(down ring.NodeID) func(ring.NodeID) bool {
		return func(id ring.NodeID) bool { return id != down }
	}
	for _, tc := range []struct {
		name  string
		m     state.Map
		id    ring.NodeID
		alive func(ring.NodeID) bool
		hints func(ring.NodeID) (int64, bool)
		safe  bool
		kinds []string
		texts []string
	}{
		{"healthy", five, id(3), nil, noHints, true, nil, nil},
		{"a neighbour down", five, id(3), but(4), noHints, false, []string{KindQuorum},
			[]string{" partitions that need n3 could not be read and written at quorum without it, since n4 is down."}},
		{"two neighbours down", five, id(3), but(4, 5), noHints, false, []string{KindQuorum},
			[]string{"since n4 and n5 are down; 13 have no quorum as it is; for 13 no other owner would answer."}},
		{"it is down", five, id(3), but(3), hints(0, false), true, []string{KindDown},
			[]string{"n3 is down already: stopping it changes nothing."}},
		{"it and another are down", five, id(3), but(3, 4), hints(0, false), true, []string{KindDown},
			[]string{" of those it is needed for have no quorum now."}},
		{"two zones, one node down", zoned(t), id(1), but(4), noHints, false, []string{KindQuorum}, []string{"since n4 is down"}},
		{"two zones", zoned(t), id(1), nil, noHints, true, nil, nil},
		{"hints", five, id(3), nil, hints(12, true), false, []string{KindHints}, []string{"n3 keeps 12 hints that have not been delivered"}},
		{"a hint", five, id(3), nil, hints(1, true), false, []string{KindHints}, []string{"n3 keeps 1 hint that has not been delivered"}},
		{"no word of hints", five, id(3), nil, hints(0, false), false, []string{KindUnknown}, []string{"It is not known whether n3 keeps hints"}},
		{"nobody to ask for hints", five, id(3), nil, nil, false, []string{KindUnknown}, []string{"It is not known whether n3 keeps hints"}},
		{"one copy", healthy(t, 1, 3), id(3), nil, noHints, false, []string{KindQuorum}, []string{"without it, since each has 1 copy; for "}},
		{"two copies", healthy(t, 2, 3), id(3), nil, noHints, false, []string{KindQuorum}, []string{"since each has 2 copies and a majority of 2 is both."}},
		{"two nodes", healthy(t, 3, 2), id(1), nil, noHints, false, []string{KindQuorum}, []string{"128 of the 128 partitions that need n1 could not be read and written at quorum without it, since each has 2 copies"}},
		{"alone", healthy(t, 3, 1), id(1), nil, noHints, false, []string{KindQuorum}, []string{"n1 is the only member: without it nothing can be read or written."}},
		{"it joins", joining, newcomer, nil, noHints, false, []string{KindTransfer, KindTransfer},
			[]string{"n4 has 93 partitions still to fill.", "n4 is joining: "}},
		{"another joins", joining, id(1), nil, noHints, false, []string{KindTransfer}, []string{"93 partitions of n1 are being copied to n4."}},
		{"another joins and is down", joining, id(1), aliveBut(newcomer), noHints, false, []string{KindQuorum, KindTransfer},
			[]string{"since n4 is down", "being copied to n4 (n4 is down: bring it back or remove it)."}},
		{"it leaves", leaving, id(2), nil, noHints, false, []string{KindTransfer, KindTransfer},
			[]string{" partitions of n2 are being copied to n1, n3, n4 and n5.", "n2 is leaving: "}},
		{"it is removed", removed, id(2), nil, noHints, true, []string{KindDown}, []string{"n2 is removed: it has no part in anything."}},
		{"unknown", five, id(9), nil, noHints, false, []string{KindUnknown}, []string{"No member has the ID "}},
		{"no cluster", state.Map{Members: five.Members}, id(1), nil, noHints, false, []string{KindUnknown}, []string{"There is no ring to judge by"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := SafeToStop(tc.m, tc.id, Facts{Alive: tc.alive, Hints: tc.hints})
			var kinds, texts []string
			for _, r := range s.Reasons {
				kinds, texts = append(kinds, r.Kind), append(texts, r.Detail)
			}
			if s.Safe != tc.safe || !slices.Equal(kinds, tc.kinds) {
				t.Errorf("safe %v, kinds %q; want %v, %q", s.Safe, kinds, tc.safe, tc.kinds)
			}
			wantText(t, texts, tc.texts...)
		})
	}
}

// zoned is five nodes in two zones.
func zoned(t *testing.T) state.Map {
	members := make([]state.Member, 5)
	for i := range members {
		members[i] = member(i + 1)
		members[i].Zone = []string{"a", "b"}[i%2]
	}
	return cluster(t, 3, members...)
}

// An owner relieved of partitions still has a vote in them until all owners have confirmed that it has not.
func TestSafeToStopRelieved(t *testing.T) {
	m := apply(t, healthy(t, 3, 3), Change{Join: []NewMember{{Name: "n4"}}})
	m = fill(t, m, NewID("n4"))
	reasons := SafeToStop(m, id(1), Facts{Hints: noHints}).Reasons
	if len(reasons) != 1 || reasons[0].Kind != KindTransfer || reasons[0].Partitions != len(view(t, m).Displaced(id(1))) {
		t.Errorf("reasons %+v", reasons)
	}
}

// fill settles what the member has pending.
func fill(t *testing.T, m state.Map, id ring.NodeID) state.Map {
	r, _ := m.Member(id)
	r.Settled = r.Settled.With(view(t, m).PendingFor(id)...)
	return m.With(r)
}

// TestSafeToStopTwin stops members of random clusters and looks at what is left.
func TestSafeToStopTwin(t *testing.T) {
	safe, unsafe := 0, 0
	each(t, func(t *testing.T, r *rand.Rand) {
		m := randomMap(r)
		if r.IntN(3) > 0 {
			m = settle(t, m)
		}
		up := randomAlive(r, m)
		if r.IntN(2) == 0 {
			up = but()
		}
		for _, rec := range present(m) {
			if !up(rec.ID) {
				continue
			}
			s := SafeToStop(m, rec.ID, Facts{Alive: up, Hints: noHints})
			broken, moving := dumbStop(t, m, rec.ID, up)
			got := 0
			for _, reason := range s.Reasons {
				if reason.Kind == KindQuorum {
					got = reason.Partitions
				}
			}
			moving = moving || rec.State != state.Active
			if got != broken || s.Safe != (broken == 0 && !moving) {
				t.Errorf("%s: %+v; but %d partitions are without a quorum then, and data moves: %v", rec.Name, s, broken, moving)
			}
			if s.Safe {
				safe++
			} else {
				unsafe++
			}
		}
	})
	if safe < 20 || unsafe < 20 {
		t.Errorf("%d safe and %d unsafe: the random clusters are no good", safe, unsafe)
	}
}

// dumbStop counts the member's partitions without a quorum when it is stopped too, and says whether it is part of a
// transfer.
func dumbStop(t *testing.T, m state.Map, id ring.NodeID, up func(ring.NodeID) bool) (broken int, moving bool) {
	v := view(t, m)
	for p := range v.Ring().Config().Partitions {
		pl := v.Placement(p)
		if !slices.Contains(pl.AppendWriters(nil), id) {
			continue
		}
		moving = moving || len(pl.Pending) > 0 || slices.Contains(pl.Displaced, id)
		if !hasQuorum(pl, func(of ring.NodeID) bool { return of != id && up(of) }) {
			broken++
		}
	}
	if len(present(m)) == 1 {
		broken = v.Ring().Config().Partitions
	}
	return broken, moving
}
