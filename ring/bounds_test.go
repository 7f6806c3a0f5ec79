package ring

import (
	"flag"
	"fmt"
	"math"
	"testing"
)

var sweepSets = flag.Int("ring.sweep", 0, "measure the placement of all cluster sizes over this many name sets")

// least is the smallest number of partitions that the bounds are promised for.
func least(nodes int) int {
	q := 1
	for q < 12*nodes {
		q *= 2
	}
	return q
}

// loads are the highest and the lowest load of a ring of equal members, as multiples of the fair share.
func loads(r *Ring) (highest, lowest float64) {
	fair := fairShare(r)
	highest, lowest = 0, math.Inf(1)
	for _, m := range r.Members() {
		highest = max(highest, float64(r.Load(m.ID))/fair)
		lowest = min(lowest, float64(r.Load(m.ID))/fair)
	}
	return highest, lowest
}

func fairShare(r *Ring) float64 {
	nodes := len(r.members)
	return float64(r.cfg.Partitions*min(r.cfg.Replicas, nodes)) / float64(nodes)
}

// gained is the number of copies that nodes must fetch when the ring changes.
func gained(from, to *Ring) int {
	copies := 0
	for _, m := range Diff(from, to) {
		copies += len(m.Gain)
	}
	return copies
}

func checkLoads(t *testing.T, r *Ring) {
	t.Helper()
	fair := fairShare(r)
	highest, lowest := loads(r)
	if most := max(1.10, math.Ceil(fair)/fair); highest > most {
		t.Errorf("%+v, %d nodes: the highest load is %.4f of the fair share, want at most %.4f", r.cfg, len(r.members), highest, most)
	}
	if lowest < 0.7 {
		t.Errorf("%+v, %d nodes: the lowest load is %.4f of the fair share, want at least 0.7", r.cfg, len(r.members), lowest)
	}
}

// TestLoadBounds holds invariant 4 for cluster sizes up to 200, mostly at the fewest partitions that it is promised for.
func TestLoadBounds(t *testing.T) {
	for nodes := 1; nodes <= 60; nodes += 1 + nodes/12 {
		for set := range max(1, 12/nodes) {
			checkLoads(t, mustNew(t, Config{least(nodes), 3}, equals(1000*nodes+set, nodes)))
		}
	}
	for _, replicas := range []int{1, 2, 5, 7} {
		for nodes := 1; nodes <= 42; nodes += 1 + nodes/3 {
			checkLoads(t, mustNew(t, Config{least(nodes), replicas}, equals(nodes, nodes)))
		}
	}
	for _, c := range []struct{ partitions, nodes int }{
		{1024, 9}, {4096, 5}, {1024, 77}, {1024, 84}, {1024, 85}, {2048, 86}, {2048, 128}, {2048, 170}, {4096, 200},
	} {
		checkLoads(t, mustNew(t, Config{c.partitions, 3}, equals(c.nodes, c.nodes)))
	}
}

// ratios are what a join to nodes members and a leave down to nodes members move on average over the name sets, as
// multiples of the least possible: what the newcomer gets, what the leaver had.
func ratios(t *testing.T, cfg Config, nodes, sets int) (join, leave float64) {
	var joinMoved, joinLeast, leaveMoved, leaveLeast int
	for set := range sets {
		members := equals(1000*nodes+set, nodes+1)
		large := mustNew(t, cfg, members)
		before := mustNew(t, cfg, members[:nodes])
		after := mustNew(t, cfg, members[1:])
		joinMoved += gained(before, large)
		joinLeast += large.Load(members[nodes].ID)
		leaveMoved += gained(large, after)
		leaveLeast += large.Load(members[0].ID)
	}
	return float64(joinMoved) / float64(joinLeast), float64(leaveMoved) / float64(leaveLeast)
}

// TestMoves holds invariant 5. The numbers are means of few name sets; the limits leave room for that.
func TestMoves(t *testing.T) {
	for _, c := range []struct {
		nodes, sets int
		limit       float64
	}{{3, 4, 1.01}, {10, 4, 1.02}, {20, 3, 1.03}, {21, 8, 1.15}, {35, 3, 1.20}, {41, 4, 1.40}} {
		join, leave := ratios(t, Config{512, 3}, c.nodes, c.sets)
		if join > c.limit || leave > c.limit {
			t.Errorf("512 partitions, %d nodes: a join moves %.3f and a leave %.3f of the least possible, want at most %.2f",
				c.nodes, join, leave, c.limit)
		}
	}
}

// TestMovesByWeight: nodes of different weights are no reason to move much more.
func TestMovesByWeight(t *testing.T) {
	weigh := func(members []Member) []Member {
		for i := range members {
			members[i].Weight = []uint32{100, 100, 400}[i%3]
		}
		return members
	}
	moved, least := 0, 0
	for set := range 8 {
		members := weigh(equals(set, 9))
		large := mustNew(t, Config{512, 3}, members)
		moved += gained(mustNew(t, Config{512, 3}, members[:8]), large)
		least += large.Load(members[8].ID)
	}
	if ratio := float64(moved) / float64(least); ratio > 1.15 {
		t.Errorf("a join of a heavy node moves %.3f of the least possible", ratio)
	}
}

// TestSweep prints the table of doc.go. It runs for minutes.
func TestSweep(t *testing.T) {
	if *sweepSets == 0 {
		t.Skip("run with -ring.sweep=40")
	}
	fmt.Println("    Q  N nodes  max/fair  min/fair   join  leave")
	for _, c := range []struct{ q, replicas, from, to, step int }{
		{1024, 3, 1, 10, 1}, {1024, 3, 15, 70, 5}, {1024, 3, 72, 84, 1},
		{2048, 3, 90, 150, 10}, {2048, 3, 160, 169, 1},
		{4096, 3, 170, 200, 5},
		{1024, 1, 4, 84, 10}, {1024, 2, 4, 84, 10}, {1024, 5, 4, 84, 20}, {1024, 7, 14, 84, 35},
		{64, 3, 2, 4, 1}, {128, 3, 5, 9, 2}, {256, 3, 12, 20, 4}, {512, 3, 25, 41, 4},
	} {
		for nodes := c.from; nodes <= c.to; nodes += c.step {
			cfg := Config{c.q, c.replicas}
			highest, lowest := 0.0, math.Inf(1)
			for set := range *sweepSets {
				r := mustNew(t, cfg, equals(1000*nodes+set, nodes))
				checkLoads(t, r)
				high, low := loads(r)
				highest, lowest = max(highest, high), min(lowest, low)
			}
			join, leave := ratios(t, cfg, nodes, *sweepSets)
			fmt.Printf("%5d  %d %5d  %8.3f  %8.3f  %5.3f  %5.3f\n", c.q, c.replicas, nodes, highest, lowest, join, leave)
		}
	}
}
