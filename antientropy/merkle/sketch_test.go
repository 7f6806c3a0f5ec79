package merkle

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Sketches tell exactly the leaves that the twin tells, up to their bound, and
// say so beyond it.
func TestSketchesFindWhatDiffersAsTheTwinDoes(t *testing.T) {
	const seed = 21
	rng := rand.New(rand.NewPCG(seed, 0))
	found, many := 0, 0
	for n := range 140 {
		a := random(rng, rng.IntN(1500))
		b := a.clone()
		b.change(rng, []int{0, 1, 2, rng.IntN(12), 8, 9, 300}[n%7])
		salt := rng.Uint64()
		sa, sb := a.tree(t).Sketch(salt), b.tree(t).Sketch(salt)
		want := a.differ(b)
		got, ok := sa.Differ(&sb)
		if few := len(want) <= SketchLeaves; ok != few || few && !slices.Equal(got, want) {
			t.Fatalf("seed %d, case %d: leaves %v differ (%v), want %v", seed, n, got, ok, want)
		}
		again, ok2 := sb.Differ(&sa)
		if ok2 != ok || !slices.Equal(again, got) {
			t.Fatalf("seed %d, case %d: asked the other way: %v (%v), want %v", seed, n, again, ok2, got)
		}
		if found += len(got); !ok {
			many++
		}
	}
	if found < 100 || many < 20 {
		t.Fatalf("%d leaves were found and %d times there were too many: the test is empty", found, many)
	}
}

// The first and the last leaf, and leaves side by side, are like any others.
func TestSketchesFindEveryLeaf(t *testing.T) {
	empty := Sketch{}
	for leaf := range uint16(Leaves) {
		w := twin{leaf: {7}}
		want := []uint16{leaf}
		for n := uint16(1); n < SketchLeaves && leaf+n < Leaves; n++ {
			w[leaf+n] = []uint64{1 << n}
			want = append(want, leaf+n)
		}
		s := w.tree(t).Sketch(uint64(leaf))
		if got, ok := s.Differ(&empty); !ok || !slices.Equal(got, want) {
			t.Fatalf("leaves %v (%v), want %v", got, ok, want)
		}
	}
}

// A sketch that comes from outside may be anything: what is made of it is in
// bounds.
func TestAnySketchIsTaken(t *testing.T) {
	rng := rand.New(rand.NewPCG(22, 0))
	mine := random(rng, 200).tree(t).Sketch(1)
	var last Sketch
	for k := range last {
		last[k] = math.MaxUint32
	}
	for _, o := range []Sketch{{}, {1}, {2*SketchLeaves - 1: 1}, last} {
		for _, s := range []Sketch{{}, mine} {
			if leaves, ok := s.Differ(&o); ok && len(leaves) > SketchLeaves {
				t.Errorf("%v: %v", o, leaves)
			}
		}
	}
	if _, ok := mine.Differ(&last); ok {
		t.Error("nonsense was taken for a few leaves")
	}
}

func TestGoldenSketches(t *testing.T) {
	var b strings.Builder
	rng := rand.New(rand.NewPCG(23, 0))
	for _, keys := range []int{0, 1, 300} {
		tree := random(rng, keys).tree(t)
		for _, salt := range []uint64{0, math.MaxUint64} {
			fmt.Fprintf(&b, "keys %d salt %016x sketch %08x\n", keys, salt, tree.Sketch(salt))
		}
	}
	golden(t, "sketch.golden", b.String())
}

func BenchmarkSketch(b *testing.B) {
	for _, keys := range []int{200, 4 * Leaves} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			tree := random(rand.New(rand.NewPCG(14, 0)), keys).tree(b)
			for b.Loop() {
				tree.Sketch(7)
			}
		})
	}
}

func BenchmarkDiffer(b *testing.B) {
	rng := rand.New(rand.NewPCG(14, 0))
	w := random(rng, 200)
	mine := w.tree(b).Sketch(7)
	for n := range SketchLeaves {
		w[uint16(100*n)] = append(w[uint16(100*n)], 1)
	}
	theirs := w.tree(b).Sketch(7)
	for b.Loop() {
		if leaves, ok := mine.Differ(&theirs); !ok || len(leaves) != SketchLeaves {
			b.Fatal(leaves)
		}
	}
}
