package load

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"
)

func TestScatterIsFNV1a(t *testing.T) {
	for _, rank := range []int{0, 1, 255, 256, 1 << 40, scrambledItems - 1} {
		h := fnv.New64a()
		_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(rank)))
		if got := scatter(rank); got != h.Sum64() {
			t.Errorf("scatter(%d) = %x, want %x", rank, got, h.Sum64())
		}
	}
}

// The drawn frequencies are those of the distribution: exactly for the two
// most popular ranks, and within a few percent for the first hundred.
func TestZipfianFrequencies(t *testing.T) {
	const n, draws = 1000, 500_000
	zeta := zetaSum(n)
	z := newZipfian(n, zeta)
	rng := rand.New(rand.NewPCG(7, 7))
	counts := make([]int, n)
	for range draws {
		counts[z.rank(rng.Float64())]++
	}
	share := func(from, to int) (got, want float64) {
		for i := from; i < to; i++ {
			got += float64(counts[i]) / draws
			want += 1 / math.Pow(float64(i+1), zipfExponent) / zeta
		}
		return got, want
	}
	for _, tc := range []struct {
		from, to  int
		tolerance float64
	}{{0, 1, 0.02}, {1, 2, 0.03}, {2, 100, 0.06}, {100, 1000, 0.06}} {
		got, want := share(tc.from, tc.to)
		if math.Abs(got-want) > tc.tolerance*want {
			t.Errorf("ranks %d to %d are drawn %.4f of the time, want %.4f", tc.from, tc.to, got, want)
		}
	}
}

func TestZipfianStaysInRange(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 1000} {
		z := newZipfian(n, zetaSum(n))
		for _, u := range []float64{0, 1e-12, 0.5, 0.9999999, math.Nextafter(1, 0)} {
			if r := z.rank(u); r < 0 || r >= n {
				t.Errorf("%d items: rank(%v) = %d", n, u, r)
			}
		}
	}
	z := newZipfian(scrambledItems, scrambledZeta)
	if r := z.rank(math.Nextafter(1, 0)); r < scrambledItems/2 || r >= scrambledItems {
		t.Errorf("the last rank is %d", r)
	}
}

func TestChooserDistributions(t *testing.T) {
	const n, draws = 100, 50_000
	top := func(d Distribution, z zipfian) (record, count int) {
		c := chooser{rng: rand.New(rand.NewPCG(1, 1)), distribution: d, zipf: z, inserted: newInsertCounter(n)}
		counts := make([]int, n)
		for range draws {
			counts[c.record()]++
		}
		for i, k := range counts {
			if k > count {
				record, count = i, k
			}
		}
		return record, count
	}
	if _, count := top(Uniform, zipfian{}); count > draws/n*14/10 {
		t.Errorf("uniform: a record is drawn %d times of %d", count, draws)
	}
	if record, count := top(Zipfian, newZipfian(scrambledItems, scrambledZeta)); record != int(scatter(0)%n) || count < draws/30 {
		t.Errorf("zipfian: the top record is %d, drawn %d times", record, count)
	}
	if record, count := top(Latest, newZipfian(n, zetaSum(n))); record != n-1 || count < draws/7 {
		t.Errorf("latest: the top record is %d, drawn %d times", record, count)
	}
}

func TestInsertCounterWaitsForTheFirst(t *testing.T) {
	c := newInsertCounter(10)
	a, b, d := c.begin(), c.begin(), c.begin()
	for _, step := range []struct{ end, known int }{{d, 10}, {b, 10}, {a, 13}} {
		c.end(step.end)
		if got := c.known(); got != step.known {
			t.Errorf("after the answer of %d: %d known, want %d", step.end, got, step.known)
		}
	}
	if len(c.early) != 0 || a != 10 || b != 11 || d != 12 {
		t.Errorf("left %v; numbers %d %d %d", c.early, a, b, d)
	}
}

func TestWorkloads(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for _, w := range append(append([]Workload{}, workloads...), Gets, Puts) {
		const draws = 50_000
		var counts [opCount]float64
		for range draws {
			counts[w.choose(rng.Float64())]++
		}
		for op, want := range w.Share {
			if math.Abs(counts[op]/draws-want) > 0.01 {
				t.Errorf("workload %s: %s is %.3f of it, want %.2f", w.Name, Op(op), counts[op]/draws, want)
			}
		}
		if got := w.choose(math.Nextafter(1, 0)); w.Share[got] == 0 {
			t.Errorf("workload %s ends in %s", w.Name, got)
		}
	}
	if w, err := ParseWorkload("F"); err != nil || w.Name != "f" {
		t.Errorf("F: %+v, %v", w, err)
	}
	if _, err := ParseWorkload("e"); err == nil {
		t.Error("workload e was found")
	}
}
