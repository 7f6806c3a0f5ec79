package topology

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"starling/gossip/state"
	"starling/ring"
)

// size is a made-up size of a partition.
func size(p int) int64 { return int64(1000 + 7*p) }

// dumbNode counts one member's part partition by partition.
func dumbNode(before, after *ring.View, was state.Member, n NodePlan) NodePlan {
	want := NodePlan{ID: n.ID, Name: n.Name, State: n.State, Down: n.Down, BytesSent: n.BytesSent}
	for p := range before.Ring().Config().Partitions {
		if slices.Contains(before.Ring().Targets(p), n.ID) {
			want.PartitionsBefore++
		}
		target := slices.Contains(after.Ring().Targets(p), n.ID)
		if target {
			want.PartitionsAfter++
		}
		switch has := was.Settled.Get(p); {
		case target && !has:
			want.In++
			want.BytesIn += size(p)
		case !target && has:
			want.Out++
			want.BytesOut += size(p)
		}
	}
	return want
}

// Where fewer than N are left, owners give up their votes one at a time; the plan looks at the end of that.
func TestPlanShrinkInZones(t *testing.T) {
	members := make([]state.Member, 5)
	for i, zone := range []string{"a", "a", "a", "b", "c"} {
		members[i] = member(i + 1)
		members[i].Zone = zone
	}
	m := cluster(t, 5, members...)
	p := planOf(t, m, apply(t, m, Change{Leave: []ring.NodeID{id(2), id(3)}}), Facts{})
	if was, will := (Failures{2, 0}), (Failures{1, 1}); p.SurvivesBefore != was || p.SurvivesAfter != will {
		t.Errorf("survives %+v, then %+v; want %+v, then %+v", p.SurvivesBefore, p.SurvivesAfter, was, will)
	}
}

// dumbNodes are all who are a member before or after.
func dumbNodes(before, after state.Map) map[ring.NodeID]bool {
	ids := map[ring.NodeID]bool{}
	for _, r := range append(present(before), present(after)...) {
		ids[r.ID] = true
	}
	return ids
}

// dumbVerdict counts copies partition by partition.
func dumbVerdict(before, after state.Map, up func(ring.NodeID) bool) (v Verdict) {
	for p := range int(before.Settings.Partitions) {
		had, has, reachable := 0, 0, 0
		for _, r := range before.Members {
			if r.Settled.Get(p) {
				had++
			}
		}
		for _, r := range after.Members {
			if r.Settled.Get(p) {
				has++
				if up(r.ID) {
					reachable++
				}
			}
		}
		switch {
		case has == had:
		case has == 0:
			v.Lost = append(v.Lost, p)
		case has < int(before.Settings.Replicas)/2+1:
			v.AtRisk = append(v.AtRisk, p)
		case reachable == 0:
			v.Unreachable = append(v.Unreachable, p)
		}
	}
	return v
}

// TestPlanTwin compares plans of random changes of random clusters with ones that are counted in the plainest way.
func TestPlanTwin(t *testing.T) {
	planned, refused := 0, 0
	each(t, func(t *testing.T, r *rand.Rand) {
		before := randomMap(r)
		if r.IntN(2) == 0 {
			before = settle(t, before)
		}
		up := randomAlive(r, before)
		after, err := Apply(before, randomChange(r, before))
		if err != nil {
			if !errors.Is(err, ErrChange) {
				t.Errorf("Apply: %v", err)
			}
			refused++
			return
		}
		planned++
		f := Facts{Bytes: size, Alive: up, BytesPerSecond: 1000}
		plan := planOf(t, before, after, f)
		checkPlan(t, before, after, up, plan)
		if again := planOf(t, before, after, f); !reflect.DeepEqual(plan, again) {
			t.Errorf("another plan of the same change:\n%+v\n%+v", plan, again)
		}
	})
	if planned < 60 || refused == 0 {
		t.Errorf("%d plans and %d refusals: the random changes are no good", planned, refused)
	}
}

func checkPlan(t *testing.T, before, after state.Map, up func(ring.NodeID) bool, plan Plan) {
	vb, va := view(t, before), view(t, after)
	if want := len(dumbNodes(before, after)); len(plan.Nodes) != want {
		t.Errorf("%d nodes, want %d", len(plan.Nodes), want)
	}
	sum, sent := Plan{}, int64(0)
	for _, n := range plan.Nodes {
		was, known := before.Member(n.ID)
		if known && was.State == state.Removed {
			t.Errorf("%s was removed before", n.Name)
		}
		if want := dumbNode(vb, va, was, n); n != want {
			t.Errorf("node %+v\nwant %+v", n, want)
		}
		if n.Down && n.BytesSent > 0 {
			t.Errorf("%s is down and sends %d bytes", n.Name, n.BytesSent)
		}
		sum.Replicas += n.In
		sum.Bytes += n.BytesIn
		sent += n.BytesSent
	}
	if sum.Replicas != plan.Replicas || sum.Bytes != plan.Bytes {
		t.Errorf("%d copies of %d bytes, but the members get %d of %d", plan.Replicas, plan.Bytes, sum.Replicas, sum.Bytes)
	}
	if want := dumbSent(va, before, up); sent != want {
		t.Errorf("%d bytes are sent, want %d", sent, want)
	}
	v := Verdict{plan.Lost, plan.AtRisk, plan.Unreachable}
	if want := dumbVerdict(before, after, up); !reflect.DeepEqual(v, want) {
		t.Errorf("verdict %+v, want %+v", v, want)
	}
	if want := dumbSurvives(vb, up); want != plan.SurvivesBefore {
		t.Errorf("survives %+v before, want %+v", plan.SurvivesBefore, want)
	}
	isUp := newUp(before, up)
	if want := dumbSurvives(view(t, played(t, after, isUp)), isUp); want != plan.SurvivesAfter {
		t.Errorf("survives %+v after, want %+v", plan.SurvivesAfter, want)
	}
}

// newUp is the opinion up with all newcomers alive.
func newUp(before state.Map, up func(ring.NodeID) bool) func(ring.NodeID) bool {
	return func(id ring.NodeID) bool {
		_, known := before.Member(id)
		return !known || up(id)
	}
}

// played lets the members that are up do one step of a transfer at a time, until there is none left to do.
func played(t *testing.T, m state.Map, up func(ring.NodeID) bool) state.Map {
	for {
		next, ok := step(view(t, m), m, up)
		if !ok {
			return m
		}
		m = next
	}
}

// step is the map after one pending node has settled, or one displaced node has cleared its bit.
func step(v *ring.View, m state.Map, up func(ring.NodeID) bool) (state.Map, bool) {
	for p := range v.Ring().Config().Partitions {
		pl := v.Placement(p)
		confirmed := 0
		for _, id := range pl.Owners {
			if up(id) {
				confirmed++
			}
		}
		for _, id := range pl.Pending {
			again := len(pl.Owners) == 0 && m.GivenUp() && !slices.ContainsFunc(pl.Pending, func(id ring.NodeID) bool { return !up(id) })
			if up(id) && (confirmed > len(pl.Owners)/2 || again) {
				r, _ := m.Member(id)
				r.Settled = r.Settled.With(p)
				return m.With(r), true
			}
		}
		for _, id := range pl.Displaced {
			if up(id) && confirmed == len(pl.Owners) {
				r, _ := m.Member(id)
				r.Settled = r.Settled.Without(p)
				return m.With(r), true
			}
		}
	}
	return m, false
}

// dumbSent is the size of the copies that can be made now.
func dumbSent(after *ring.View, before state.Map, up func(ring.NodeID) bool) (bytes int64) {
	isUp := newUp(before, up)
	for p := range after.Ring().Config().Partitions {
		pl := after.Placement(p)
		owners := 0
		for _, id := range pl.Owners {
			if isUp(id) {
				owners++
			}
		}
		for _, id := range pl.Pending {
			if isUp(id) && owners > len(pl.Owners)/2 {
				bytes += size(p)
			}
		}
	}
	return bytes
}

func TestPlan(t *testing.T) {
	const mb = 1 << 20
	facts := func(down ...int) Facts {
		return Facts{Bytes: func(int) int64 { return 3 * mb }, Alive: but(down...), BytesPerSecond: mb}
	}
	five := healthy(t, 3, 5)
	for _, tc := range []struct {
		name          string
		before        state.Map
		change        Change
		down          []int
		moves         bool
		was, will     Failures
		lost, atRisk  bool
		wantFragments []string
	}{
		{name: "nothing", before: five, was: Failures{1, 0}, will: Failures{1, 0}},
		{name: "a join", before: five, change: Change{Join: []NewMember{{Name: "n6"}}}, moves: true,
			was: Failures{1, 0}, will: Failures{1, 0}, wantFragments: []string{"The numbers are an estimate: which partitions n6 gets depends on the ID that its store will mint."}},
		{name: "two joins", before: healthy(t, 3, 3), change: Change{Join: []NewMember{{Name: "n4"}, {Name: "n5"}}}, moves: true,
			was: Failures{1, 0}, will: Failures{1, 0}, wantFragments: []string{"which partitions n4 and n5 get depends on the IDs that their stores will mint."}},
		{name: "the second node", before: healthy(t, 3, 1), change: Change{Join: []NewMember{{Name: "n2"}}}, moves: true,
			wantFragments: []string{"2 members stay for 3 replicas: partitions have 2 copies until more join.", "estimate"}},
		{name: "the third node", before: healthy(t, 3, 2), change: Change{Join: []NewMember{{Name: "n3"}}}, moves: true,
			will: Failures{1, 0}, wantFragments: []string{"estimate"}},
		{name: "a leave", before: five, change: Change{Leave: []ring.NodeID{id(2)}}, moves: true, was: Failures{1, 0}, will: Failures{1, 0}},
		{name: "two leaves", before: five, change: Change{Leave: []ring.NodeID{id(2), id(5)}}, moves: true, was: Failures{1, 0}, will: Failures{1, 0}},
		{name: "a leave below N", before: healthy(t, 3, 3), change: Change{Leave: []ring.NodeID{id(2)}}, was: Failures{1, 0},
			wantFragments: []string{"2 members stay for 3 replicas", "Afterwards the cluster bears the failure of no member; now it bears 1."}},
		{name: "two leaves below N", before: healthy(t, 5, 5), change: Change{Leave: []ring.NodeID{id(2), id(4)}}, was: Failures{2, 0}, will: Failures{1, 0},
			wantFragments: []string{"3 members stay for 5 replicas", "Afterwards the cluster bears the failure of 1 member; now it bears 2."}},
		{name: "a leave of one that is down", before: five, change: Change{Leave: []ring.NodeID{id(2)}}, down: []int{2}, moves: true,
			wantFragments: []string{"n2 is down and cannot hand over anything: the leave waits until it is back."}},
		{name: "a removal", before: five, change: Change{Remove: []ring.NodeID{id(2)}}, down: []int{2}, moves: true, will: Failures{1, 0}},
		{name: "a removal of one that is up", before: five, change: Change{Remove: []ring.NodeID{id(2)}}, moves: true,
			was: Failures{1, 0}, will: Failures{1, 0},
			wantFragments: []string{"n2 is up: let it leave instead, to hand over what only it may have.", "bears the failure of no member; now it bears 1"}},
		{name: "two removals", before: five, change: Change{Remove: []ring.NodeID{id(2), id(5)}}, down: []int{2, 5}, moves: true, atRisk: true,
			was: Failures{-1, -1}, will: Failures{1, 0},
			wantFragments: []string{"fewer than 2 complete copies until filled again: writes that n2 and n5 alone acknowledged are lost"}},
		{name: "three removals", before: five, change: Change{Remove: []ring.NodeID{id(2), id(5), id(1)}}, down: []int{1, 2, 5}, moves: true,
			atRisk: true, lost: true, was: Failures{-1, -1},
			wantFragments: []string{"with n1, n2 and n5: the data is lost but for what hints and partial copies have (partitions ",
				"fewer than 2 complete copies", "2 members stay"}},
		{name: "a removal while another is down", before: five, change: Change{Remove: []ring.NodeID{id(2)}}, down: []int{2, 3}, moves: true,
			was: Failures{-1, -1}, will: Failures{-1, -1},
			wantFragments: []string{"n3 is down: the ", "too few members answer to confirm and give the data: n3 is down.", "Afterwards some partitions still cannot"}},
		{name: "a join while one is down", before: five, change: Change{Join: []NewMember{{Name: "n6"}}}, down: []int{3}, moves: true,
			wantFragments: []string{"n3 is down and counted as failed in what the cluster bears.", "estimate"}},
		{name: "a replacement", before: five, change: Change{Replace: []Replacement{{id(2), NewMember{Name: "n2"}}}}, down: []int{2}, moves: true,
			will: Failures{1, 0}},
		{name: "a smaller heir", before: five, change: Change{Replace: []Replacement{{id(2), NewMember{Name: "n6", Weight: 50, Zone: "a"}}}},
			down: []int{2}, moves: true, will: Failures{1, 0},
			wantFragments: []string{`n6 (zone "a", weight 50) differs from n2 (zone "", weight 100): more moves than what n2 had.`}},
		{name: "an heir that has data", before: five, change: Change{Replace: []Replacement{{id(2), NewMember{Name: "n4"}}}}, down: []int{2}, moves: true,
			will: Failures{1, 0}, wantFragments: []string{"n4 is a target of "}},
		{name: "one copy", before: healthy(t, 1, 3), change: Change{Remove: []ring.NodeID{id(2)}}, down: []int{2}, moves: true, lost: true,
			was: Failures{-1, -1}, wantFragments: []string{"the data is lost"}},
		{name: "one copy, while one that is to have it is down", before: healthy(t, 1, 3), change: Change{Remove: []ring.NodeID{id(2)}},
			down: []int{2, 3}, moves: true, lost: true, was: Failures{-1, -1}, will: Failures{-1, -1},
			wantFragments: []string{"the data is lost", "n3 is down: the ", "1 copy cannot be made now", "Afterwards some partitions still cannot"}},
		{name: "two copies, while one that is to have them is down", before: healthy(t, 2, 4), change: Change{Remove: []ring.NodeID{id(1), id(2)}},
			down: []int{1, 2, 3}, moves: true, lost: true, atRisk: true, was: Failures{-1, -1}, will: Failures{-1, -1},
			wantFragments: []string{"the data is lost", "fewer than 2 complete copies", "n3 is down: the ",
				"too few members answer to confirm and give the data: n3 is down", "Afterwards some partitions still cannot"}},
		{name: "what was not given up", before: held(healthy(t, 1, 3), all()[1:], nil, nil), moves: true,
			was: Failures{-1, -1}, will: Failures{-1, -1},
			wantFragments: []string{"1 partition has no complete copy on any member now", "there is no complete copy, and none was given up",
				"copies that earlier changes still owe", "Afterwards some partitions still cannot"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := planOf(t, tc.before, apply(t, tc.before, tc.change), facts(tc.down...))
			if p.SurvivesBefore != tc.was || p.SurvivesAfter != tc.will {
				t.Errorf("survives %+v, then %+v; want %+v, then %+v", p.SurvivesBefore, p.SurvivesAfter, tc.was, tc.will)
			}
			if (len(p.Lost) > 0) != tc.lost || (len(p.AtRisk) > 0) != tc.atRisk {
				t.Errorf("lost %v, at risk %v; want any: %v, %v", p.Lost, p.AtRisk, tc.lost, tc.atRisk)
			}
			if (p.Replicas > 0) != tc.moves || (p.Partitions > 0) != tc.moves || (p.Bytes > 0) != tc.moves {
				t.Errorf("%d copies of %d partitions, %d bytes; want any: %v", p.Replicas, p.Partitions, p.Bytes, tc.moves)
			}
			wantText(t, p.Warnings, tc.wantFragments...)
		})
	}
}
