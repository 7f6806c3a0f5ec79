package ring

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestNegLog2(t *testing.T) {
	for shift := range 64 {
		if got, want := negLog2(1<<shift), uint64(64-shift)<<logBits; got != want {
			t.Errorf("-log2(2^%d/2^64) is %#x, want %#x", shift, got, want)
		}
	}
	if got := negLog2(0); got != maxLog {
		t.Errorf("-log2(0) is %#x", got)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		x := rng.Uint64() >> rng.IntN(64)
		if x == 0 {
			continue
		}
		got, want := float64(negLog2(x))/(1<<logBits), 64-math.Log2(float64(x))
		if math.Abs(got-want) > 1e-11 {
			t.Errorf("-log2(%d/2^64) is %.15f, want %.15f", x, got, want)
		}
	}
}

// TestRankings: every member ranks all partitions, so members of equal weight have the same scores in another order.
func TestRankings(t *testing.T) {
	members := equals(3, 4)
	rates := []uint64{1 << 40, 1 << 40, 1 << 40, 1 << 41}
	rows := rank(64, members, rates)
	scores := make([][]uint64, len(members))
	for p := range 64 {
		row := rows[p*4 : (p+1)*4]
		if !slices.IsSortedFunc(row, candidate.compare) {
			t.Errorf("partition %d is not sorted: %+v", p, row)
		}
		for _, c := range row {
			scores[c.member] = append(scores[c.member], c.score)
		}
	}
	for i := range scores {
		slices.Sort(scores[i])
		if len(slices.Compact(slices.Clone(scores[i]))) != 64 {
			t.Errorf("member %d has equal scores: %v", i, scores[i])
		}
	}
	if !slices.Equal(scores[0], scores[1]) || !slices.Equal(scores[0], scores[2]) {
		t.Errorf("members of equal rates have different scores: %v", scores[:3])
	}
	for at, score := range scores[3] {
		if half := scores[0][at] / 2; score != half {
			t.Errorf("score %d at twice the rate is %d, want %d", at, score, half)
		}
	}
}

// TestTakeIsGreedy compares take with a twin that sorts all pairs of the ring.
func TestTakeIsGreedy(t *testing.T) {
	eachCluster(t, func(t *testing.T, _ *rand.Rand, cfg Config, members []Member) {
		r := mustNew(t, cfg, members)
		if r.width == 0 {
			return
		}
		p := newPlacer(cfg.Partitions, r.width, r.members)
		type pair struct {
			candidate
			partition int
		}
		var pairs []pair
		for partition := range cfg.Partitions {
			for _, c := range p.row(partition) {
				pairs = append(pairs, pair{c, partition})
			}
		}
		slices.SortFunc(pairs, func(a, b pair) int {
			if order := a.compare(b.candidate); order != 0 {
				return order
			}
			return a.partition - b.partition
		})
		sets, load := make([][]uint16, cfg.Partitions), make([]int, len(members))
		for _, c := range pairs {
			set := sets[c.partition]
			if len(set) < r.width && load[c.member] < p.quotas[c.member].ceiling && p.zones.allows(set, c.member) {
				sets[c.partition] = append(set, c.member)
				load[c.member]++
			}
		}
		p.take()
		for partition, set := range sets {
			if !slices.Equal(set, p.targets[partition]) {
				t.Errorf("partition %d: took %v, want %v", partition, p.targets[partition], set)
			}
		}
	})
}

// TestOverload: where the bounds cannot be kept at all, partitions are complete all the same.
func TestOverload(t *testing.T) {
	members := equals(1, 6)
	members[0].Draining = true
	p := newPlacer(32, 3, mustNew(t, Config{32, 3}, members).members)
	for i := range p.quotas {
		p.quotas[i].ceiling = min(p.quotas[i].ceiling, 10)
	}
	p.take()
	p.complete()
	over := 0
	for partition, set := range p.targets {
		if len(slices.Compact(slices.Sorted(slices.Values(set)))) != 3 {
			t.Errorf("partition %d: targets %v", partition, set)
		}
	}
	for i, load := range p.load {
		if p.zones.zone[i] < 0 && load > 0 {
			t.Errorf("the draining member has %d partitions", load)
		}
		over += max(load-10, 0)
	}
	if over != 3*32-5*10 {
		t.Errorf("%d replicas above the bounds, want %d", over, 3*32-5*10)
	}
}

// TestAugment: the only member below its bound is a target of the short partition already, so another must make room.
func TestAugment(t *testing.T) {
	p := newPlacer(2, 2, mustNew(t, Config{2, 2}, equals(1, 3)).members)
	for i, ceiling := range []int{2, 1, 1} {
		p.quotas[i].ceiling = ceiling
	}
	p.add(0, 1)
	p.add(0, 2)
	p.add(1, 0)
	p.complete()
	for partition, set := range p.targets {
		if len(set) != 2 || !slices.Contains(set, 0) {
			t.Errorf("partition %d: targets %v, want member 0 and another", partition, set)
		}
	}
	if !slices.Equal(p.load, []int{2, 1, 1}) {
		t.Errorf("loads %v", p.load)
	}
}

func TestLift(t *testing.T) {
	p := newPlacer(16, 1, mustNew(t, Config{16, 1}, equals(1, 4)).members)
	for partition := range 16 {
		p.add(partition, uint16(partition%3)) // member 3 has nothing
	}
	p.lift()
	if want := p.quotas[3].floor; p.load[3] != want || want != 3 {
		t.Errorf("loads %v, want %d for the last", p.load, want)
	}
	for i, load := range p.load[:3] {
		if load < 4 {
			t.Errorf("member %d gave below its fair share: loads %v", i, p.load)
		}
	}
}

// TestExchangeChoosesByRank: the member enters the best partition of its ranking that has a target to spare, for the worst
// ranked of these.
func TestExchangeChoosesByRank(t *testing.T) {
	p := newPlacer(64, 3, mustNew(t, Config{64, 3}, equals(1, 7)).members)
	for partition := range 64 {
		for i := range uint16(3) {
			p.add(partition, (i+uint16(partition%4))%6) // member 6 has nothing; members 0 and 5 have least
		}
	}
	const spare = 40
	var want struct {
		candidate
		partition int
		leaver    uint16
	}
	for partition := range 64 {
		row := p.row(partition)
		leaver := -1
		for _, c := range row {
			if slices.Contains(p.targets[partition], c.member) && p.load[c.member] >= spare {
				leaver = int(c.member)
			}
		}
		own := row[slices.IndexFunc(row, func(c candidate) bool { return c.member == 6 })]
		if leaver >= 0 && (want.score == 0 || own.compare(want.candidate) < 0) {
			want.candidate, want.partition, want.leaver = own, partition, uint16(leaver)
		}
	}
	before := slices.Clone(p.targets[want.partition])
	if !p.exchange(6, func(quota) int { return spare }) || want.score == 0 {
		t.Fatalf("no exchange, loads %v", p.load)
	}
	after := p.targets[want.partition]
	if !slices.Contains(after, 6) || slices.Contains(after, want.leaver) || !slices.Contains(before, want.leaver) {
		t.Errorf("partition %d: %v became %v, want %d to leave for 6", want.partition, before, after, want.leaver)
	}
}

func TestLeads(t *testing.T) {
	steps := []step{{partition: 4, prev: -1}, {partition: 7, prev: 0}, {partition: 9, prev: 0}, {partition: 2, prev: 1}}
	for partition, want := range map[int]bool{2: true, 7: true, 4: true, 9: false, 0: false} {
		if leads(steps, 3, partition) != want {
			t.Errorf("the chain up to partition 2 touches %d: %v", partition, !want)
		}
	}
}

func TestDivide(t *testing.T) {
	for _, c := range []struct {
		total   fraction
		parties []party
		want    []float64
	}{
		{fraction{3, 1}, []party{{1, 0, 3}, {1, 0, 3}, {2, 0, 3}}, []float64{.75, .75, 1.5}},
		{fraction{3, 1}, []party{{1, 0, 1}, {1, 0, 1}, {8, 0, 1}}, []float64{1, 1, 1}},
		{fraction{2, 1}, []party{{1, 0, 1}, {2, 0, 1}, {9, 0, 1}}, []float64{1. / 3, 2. / 3, 1}},
		{fraction{5, 1}, []party{{1, 2, 3}, {9, 2, 3}}, []float64{2, 3}},
		{fraction{4, 1}, []party{{1, 1, 2}, {1, 1, 2}, {18, 1, 2}}, []float64{1, 1, 2}},
		{fraction{5, 2}, []party{{1, 0, 1}, {1, 0, 1}, {6, 0, 1}}, []float64{.75, .75, 1}},
	} {
		got := divide(c.total, c.parties)
		for i, f := range got {
			if math.Abs(float64(f.num)/float64(f.den)-c.want[i]) > 1e-12 {
				t.Errorf("divide %v by %v: got %v, want %v", c.total, c.parties, got, c.want)
				break
			}
		}
	}
}
