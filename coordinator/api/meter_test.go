package api

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"starling/antientropy"
	"starling/gossip/state"
	"starling/ring"
)

// said is what a member says of a pair: an age below zero is no proof.
func said(partition uint32, peer byte, age time.Duration, holds bool) antientropy.Pair {
	return antientropy.Pair{Partition: partition, Peer: nodeID(peer), Proven: age >= 0, Age: max(0, age), Holds: holds}
}

// trio is a cluster of three members that all own its one partition.
func trio(t *testing.T) (state.Map, *ring.View) {
	t.Helper()
	m := state.Map{Settings: state.Settings{Cluster: [16]byte{0xc1}, Partitions: 1, Replicas: 3, HashVersion: state.HashVersion}}
	for n := byte(1); n <= 3; n++ {
		mem, _ := testMap().Member(nodeID(n))
		mem.Settled = state.FullBits(1)
		m = m.With(mem)
	}
	view, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	return m, view
}

// wellReports are those of the trio when all is well.
func wellReports() map[byte]*antientropy.Report {
	return map[byte]*antientropy.Report{
		1: {Pairs: []antientropy.Pair{said(0, 2, 4*time.Second, true), said(0, 3, 9*time.Second, true)}},
		2: {Pairs: []antientropy.Pair{said(0, 1, 5*time.Second, true), said(0, 3, 7*time.Second, true)}},
		3: {Pairs: []antientropy.Pair{said(0, 1, 8*time.Second, true), said(0, 2, 6*time.Second, true)}},
	}
}

// pairText is a short form of what is listed: the names, the age, and ! where
// the pair does not hold.
func pairText(pairs []pairDoc) (text []string) {
	for _, p := range pairs {
		s := p.A + p.B
		if p.Proven != nil {
			s += " " + time.Duration(*p.Proven*float64(time.Second)).String()
		}
		if !p.Holds {
			s += " !"
		}
		text = append(text, s)
	}
	return text
}

func TestMeter(t *testing.T) {
	const second = time.Second
	well := []string{"n1n2 4s", "n1n3 8s", "n2n3 6s"}
	type reports = map[byte]*antientropy.Report
	for name, tc := range map[string]struct {
		change  func(r reports)
		missing []ring.NodeID
		pairs   []string
		want    convergenceDoc // without what is the same in all
	}{
		"all is well": {func(reports) {}, nil, well, convergenceDoc{Converged: true}},
		"the younger proof counts": {func(r reports) { r[1].Pairs[0].Age = time.Hour }, nil,
			[]string{"n1n2 5s", "n1n3 8s", "n2n3 6s"}, convergenceDoc{Converged: true}},
		"one side does not vouch": {func(r reports) { r[1].Pairs[0].Holds = false }, nil,
			[]string{"n1n2 4s !", "n1n3 8s", "n2n3 6s"}, convergenceDoc{Stale: 1}},
		"one side has no proof": {func(r reports) { r[1].Pairs[0] = said(0, 2, -1, true) }, nil,
			[]string{"n1n2 5s !", "n1n3 8s", "n2n3 6s"}, convergenceDoc{Stale: 1}},
		"neither has": {func(r reports) { r[1].Pairs[0], r[2].Pairs[0] = said(0, 2, -1, false), said(0, 1, -1, false) }, nil,
			[]string{"n1n2 !", "n1n3 8s", "n2n3 6s"}, convergenceDoc{Stale: 1, Unproven: 1}},
		"one side does not know the pair": {func(r reports) { r[1].Pairs = r[1].Pairs[1:] }, nil,
			[]string{"n1n2 5s !", "n1n3 8s", "n2n3 6s"}, convergenceDoc{Stale: 1}},
		"a member is silent": {func(r reports) { delete(r, 3) }, []ring.NodeID{nodeID(3)},
			[]string{"n1n2 4s", "n1n3 9s !", "n2n3 7s !"}, convergenceDoc{Stale: 2, Unreachable: []string{"n3"}}},
		"a member is silent and nobody says so": {func(r reports) { delete(r, 3) }, nil,
			[]string{"n1n2 4s", "n1n3 9s !", "n2n3 7s !"}, convergenceDoc{Stale: 2, Unreachable: []string{"n3"}}},
		"an unknown member is silent": {func(reports) {}, []ring.NodeID{nodeID(9)}, well, convergenceDoc{Unreachable: []string{nodeID(9).String()}}},
		"hints wait":                  {func(r reports) { r[1].Hints, r[2].Hints = 2, 3 }, nil, well, convergenceDoc{Hints: 5}},
		"partitions are being filled": {func(r reports) { r[1].Filling, r[3].Filling = 1, 1 }, nil, well, convergenceDoc{Filling: 2}},
		"deletes are no obstacle": {func(r reports) {
			for _, report := range r {
				report.Tombstones = 7
			}
			r[2].Blockers = []antientropy.Blocker{{Node: nodeID(3), Reason: "y"}, {Node: nodeID(3), Reason: "rpc: peer unreachable: " + nodeID(1).String()}, {Node: nodeID(1), Reason: "z"}}
			r[3].Blockers = []antientropy.Blocker{{Node: nodeID(3), Reason: "y"}}
		}, nil, well, convergenceDoc{Converged: true, Tombstones: 21, Blockers: []blockedBy{{"n1", "z"}, {"n3", "peer unreachable: n1"}, {"n3", "y"}}}},
		"pairs that are none here": {func(r reports) {
			r[1].Pairs = append(r[1].Pairs, said(1, 2, -1, false), said(1<<32-1, 2, -1, false), said(0, 9, -1, false), said(0, 1, -1, false))
			r[9] = &antientropy.Report{Pairs: []antientropy.Pair{said(0, 1, second, false)}}
		}, nil, well, convergenceDoc{Converged: true}},
		"a clock that went back": {func(r reports) { r[1].Pairs[0].Age = -second }, nil,
			[]string{"n1n2 0s", "n1n3 8s", "n2n3 6s"}, convergenceDoc{Converged: true}},
	} {
		members, view := trio(t)
		r := wellReports()
		tc.change(r)
		m := newMeter(view)
		for n, report := range r {
			m.add(nodeID(n), report)
		}
		got := newConvergenceDoc(m, members, tc.missing, pairsListed{})
		if text := pairText(got.Pairs); !slices.Equal(text, tc.pairs) {
			t.Errorf("%s: pairs %q, want %q", name, text, tc.pairs)
		}
		oldest := time.Duration(0)
		for _, p := range got.Pairs {
			if p.Proven != nil {
				oldest = max(oldest, time.Duration(*p.Proven*float64(second)))
			}
		}
		if (got.OldestProof == nil) != (tc.want.Unproven > 0) || got.OldestProof != nil && *got.OldestProof != oldest.Seconds() {
			t.Errorf("%s: oldest proof %v, want %v", name, got.OldestProof, oldest)
		}
		want := tc.want
		want.Partitions, want.PairsTotal, want.Pairs, want.OldestProof = 1, 3, got.Pairs, got.OldestProof
		if want.Unreachable == nil {
			want.Unreachable = []string{}
		}
		if want.Blockers == nil {
			want.Blockers = []blockedBy{}
		}
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got\n%+v\nwant\n%+v", name, *got, want)
		}
	}
}

// A member that has left for good is not asked for.
func TestMeterWithoutTheRemoved(t *testing.T) {
	members := testMap()
	gone, _ := members.Member(nodeID(5))
	gone.State = state.Removed
	members = members.With(gone)
	view, err := members.View()
	if err != nil {
		t.Fatal(err)
	}
	doc := newConvergenceDoc(newMeter(view), members, []ring.NodeID{nodeID(5)}, pairsListed{})
	if want := []string{"n1", "n2", "n3", "n4"}; !slices.Equal(doc.Unreachable, want) {
		t.Errorf("unreachable are %v, want %v", doc.Unreachable, want)
	}
}

// TestMeterOfOne: a node alone has no pairs, and nothing to differ from.
func TestMeterOfOne(t *testing.T) {
	m := state.Map{Settings: state.Settings{Cluster: [16]byte{0xc1}, Partitions: 4, Replicas: 3, HashVersion: state.HashVersion}}
	mem, _ := testMap().Member(nodeID(1))
	mem.Settled = state.FullBits(4)
	m = m.With(mem)
	view, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	meter := newMeter(view)
	meter.add(nodeID(1), &antientropy.Report{})
	doc := newConvergenceDoc(meter, m, nil, pairsListed{})
	if !doc.Converged || doc.OldestProof == nil || *doc.OldestProof != 0 || doc.Pairs == nil || len(doc.Pairs) != 0 || doc.Partitions != 4 {
		t.Errorf("%+v", doc)
	}
}

// randomReports are what five members may say, true or not.
func randomReports(rng *rand.Rand) map[ring.NodeID]*antientropy.Report {
	reports := make(map[ring.NodeID]*antientropy.Report)
	for n := byte(1); n <= 5; n++ {
		if rng.IntN(8) == 0 {
			continue
		}
		r := &antientropy.Report{Tombstones: rng.Int64N(3), Hints: rng.Int64N(2), Filling: rng.IntN(2)}
		for p := range uint32(testPartitions + 1) {
			for peer := byte(1); peer <= 5; peer++ {
				if rng.IntN(8) > 0 {
					r.Pairs = append(r.Pairs, said(p, peer, time.Duration(rng.IntN(6)-1)*time.Second, rng.IntN(4) > 0))
				}
			}
		}
		for range rng.IntN(3) {
			r.Blockers = append(r.Blockers, antientropy.Blocker{Node: nodeID(byte(1 + rng.IntN(5))), Reason: []string{"x", "y"}[rng.IntN(2)]})
		}
		reports[nodeID(n)] = r
	}
	return reports
}

// slowly says whether a pair holds, and how old its proof is, by looking
// through everything that was said.
func slowly(reports map[ring.NodeID]*antientropy.Report, partition int, a, b ring.NodeID) (holds bool, age time.Duration, proven bool) {
	says := 0
	holds = true
	for node, r := range reports {
		for _, p := range r.Pairs {
			if int(p.Partition) != partition || (node != a || p.Peer != b) && (node != b || p.Peer != a) {
				continue
			}
			says++
			holds = holds && p.Proven && p.Holds
			if p.Proven && (!proven || p.Age < age) {
				age, proven = p.Age, true
			}
		}
	}
	return holds && says == 2, age, proven
}

// TestMeterOrder: neither the order of the reports nor that of the pairs and
// reasons within them matters, and what comes out is what a look through
// everything finds.
func TestMeterOrder(t *testing.T) {
	members := testMap()
	view, err := members.View()
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		reports := randomReports(rng)
		nodes := slices.SortedFunc(func(yield func(ring.NodeID) bool) {
			for id := range reports {
				if !yield(id) {
					return
				}
			}
		}, ring.NodeID.Compare)
		var first *convergenceDoc
		for range 3 {
			m := newMeter(view)
			for _, id := range nodes {
				m.add(id, reports[id])
			}
			doc := newConvergenceDoc(m, members, nil, pairsListed{})
			if first == nil {
				first = doc
			} else if !reflect.DeepEqual(first, doc) {
				t.Fatalf("seed %d: another order, another answer:\n%+v\n%+v", seed, first, doc)
			}
			rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
			for _, r := range reports {
				rng.Shuffle(len(r.Pairs), func(i, j int) { r.Pairs[i], r.Pairs[j] = r.Pairs[j], r.Pairs[i] })
				rng.Shuffle(len(r.Blockers), func(i, j int) { r.Blockers[i], r.Blockers[j] = r.Blockers[j], r.Blockers[i] })
			}
		}
		if want := 3 * testPartitions; len(first.Pairs) != want {
			t.Fatalf("seed %d: %d pairs, want %d", seed, len(first.Pairs), want)
		}
		for _, p := range first.Pairs {
			holds, age, proven := slowly(reports, p.Partition, nodeID(p.A[1]-'0'), nodeID(p.B[1]-'0'))
			if holds {
				held++
			}
			if p.Holds != holds || (p.Proven != nil) != proven || proven && *p.Proven != age.Seconds() {
				t.Fatalf("seed %d: %+v, want %v, %v, %v", seed, p, holds, age, proven)
			}
		}
	}
	if held == 0 {
		t.Error("no pair held in any run")
	}
}
