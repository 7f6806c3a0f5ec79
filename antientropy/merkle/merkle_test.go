package merkle

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// twin is the same partition, told plainly: what is in which leaf.
type twin map[uint16][]uint64

func (w twin) tree(t testing.TB) *Tree {
	t.Helper()
	leaves := make([]Node, Leaves)
	for leaf, hashes := range w {
		for _, h := range hashes {
			leaves[leaf] = leaves[leaf].Plus(Node{Sum: h, Keys: 1})
		}
	}
	tree, err := Build(leaves)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func (w twin) clone() twin {
	c := twin{}
	for leaf, hashes := range w {
		c[leaf] = slices.Clone(hashes)
	}
	return c
}

// differ are the leaves with unequal contents.
func (w twin) differ(o twin) []uint16 {
	var leaves []uint16
	for leaf := range uint16(Leaves) {
		a, b := slices.Sorted(slices.Values(w[leaf])), slices.Sorted(slices.Values(o[leaf]))
		if !slices.Equal(a, b) {
			leaves = append(leaves, leaf)
		}
	}
	return leaves
}

func random(rng *rand.Rand, keys int) twin {
	w := twin{}
	for range keys {
		leaf := uint16(rng.IntN(Leaves))
		w[leaf] = append(w[leaf], rng.Uint64())
	}
	return w
}

// change adds, drops or changes some keys.
func (w twin) change(rng *rand.Rand, times int) {
	for range times {
		leaf := uint16(rng.IntN(Leaves))
		switch have := w[leaf]; {
		case len(have) > 0 && rng.IntN(3) == 0:
			w[leaf] = have[1:]
		case len(have) > 0 && rng.IntN(2) == 0:
			have[0] = rng.Uint64()
		default:
			w[leaf] = append(have, rng.Uint64())
		}
	}
}

func TestTwoTreesFindWhatDiffersAsTheTwinDoes(t *testing.T) {
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, 0))
	found := 0
	for n := range 60 {
		a := random(rng, rng.IntN(3000))
		b := a.clone()
		b.change(rng, []int{0, 1, 2, 40, 2000}[n%5])
		ta, tb := a.tree(t), b.tree(t)
		want := a.differ(b)
		if equal := ta.Root() == tb.Root(); equal != (len(want) == 0) {
			t.Fatalf("seed %d, case %d: roots equal is %v with %d leaves that differ", seed, n, equal, len(want))
		}
		salt := rng.Uint64()
		theirs := tb.InnerDigests(salt)
		inner := ta.DiffInner(salt, &theirs)
		var wantInner uint32
		for _, leaf := range want {
			wantInner |= 1 << (leaf / Fanout)
		}
		if inner != wantInner {
			t.Fatalf("seed %d, case %d: inner nodes %032b differ, want %032b", seed, n, inner, wantInner)
		}
		got, err := tb.DiffLeaves(salt, inner, ta.LeafDigests(salt, inner))
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("seed %d, case %d: leaves %v differ (%v), want %v", seed, n, got, err, want)
		}
		found += len(got)
	}
	if found < 2_000 {
		t.Fatalf("only %d leaves ever differed: the test is empty", found)
	}
}

func TestNodesAreSumsOfTheirLeaves(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 0))
	w := random(rng, 5000)
	tree := w.tree(t)
	var root Node
	for i := range Fanout {
		var inner Node
		for j := range Fanout {
			leaf := tree.Leaf(i*Fanout + j)
			if leaf.Keys != uint64(len(w[uint16(i*Fanout+j)])) {
				t.Fatalf("leaf %d counts %d keys", i*Fanout+j, leaf.Keys)
			}
			inner = inner.Plus(leaf)
		}
		if tree.Inner(i) != inner {
			t.Fatalf("inner node %d is %+v, want %+v", i, tree.Inner(i), inner)
		}
		root = root.Plus(inner)
	}
	if tree.Root() != root || root.Keys != 5000 {
		t.Fatalf("root %+v, want %+v", tree.Root(), root)
	}
}

func TestWrongNumbersOfNodesAreRefused(t *testing.T) {
	if _, err := Build(make([]Node, Leaves-1)); !errors.Is(err, ErrShape) {
		t.Errorf("a leaf short: %v", err)
	}
	tree := twin{}.tree(t)
	for name, digests := range map[string]int{"none": 0, "one short": 2*Fanout - 1, "one too many": 2*Fanout + 1} {
		if _, err := tree.DiffLeaves(1, 1<<31|1, make([]Digest, digests)); !errors.Is(err, ErrShape) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Nodes that differ little, or in a way that keeps their sum, are told apart,
// and those that one salt takes for equal the next does not.
func TestDigestsSpread(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 0))
	for _, n := range []Node{{}, {Sum: 1}, {Keys: 1}, {Sum: math.MaxUint64, Keys: 5}, {Sum: rng.Uint64(), Keys: 1}} {
		for _, o := range []Node{{n.Sum + 1, n.Keys}, {n.Sum, n.Keys + 1}, {n.Sum + 1, n.Keys - 1}, {n.Keys, n.Sum + 1}, {n.Sum ^ 1<<63, n.Keys}} {
			if n == o {
				continue
			}
			same, flipped := 0, 0
			const salts = 1000
			for salt := range uint64(salts) {
				a, b := n.Digest(salt), o.Digest(salt)
				if a == b {
					same++
				}
				flipped += bits.OnesCount32(uint32(a ^ b))
			}
			if mean := float64(flipped) / salts; same > 0 || mean < 15 || mean > 17 {
				t.Errorf("%+v and %+v: %d of %d digests are the same, on average %.1f of 32 bits differ", n, o, same, salts, mean)
			}
		}
	}
}

// Collisions come as often as with random numbers: 300,000 digests have
// about 10 pairs of equals, under every salt other ones.
func TestDigestsCollideAsSeldomAsRandomNumbers(t *testing.T) {
	const nodes = 300_000
	colliding := func(salt uint64) (pairs int, firsts map[uint64]bool) {
		type numbered struct {
			digest Digest
			node   uint32
		}
		all := make([]numbered, nodes)
		for i := range all {
			all[i] = numbered{Node{Sum: uint64(i) * 3, Keys: uint64(i % 7)}.Digest(salt), uint32(i)}
		}
		slices.SortFunc(all, func(a, b numbered) int { return int(int64(a.digest) - int64(b.digest)) })
		firsts = map[uint64]bool{}
		for i := 1; i < nodes; i++ {
			if all[i].digest == all[i-1].digest {
				pairs++
				lo, hi := min(all[i].node, all[i-1].node), max(all[i].node, all[i-1].node)
				firsts[uint64(lo)<<32|uint64(hi)] = true
			}
		}
		return pairs, firsts
	}
	n1, first := colliding(1)
	n2, second := colliding(2)
	for _, n := range []int{n1, n2} {
		if n < 1 || n > 30 {
			t.Errorf("%d pairs collide, want about 10", n)
		}
	}
	for pair := range second {
		if first[pair] {
			t.Errorf("nodes %d and %d collide under both salts", pair>>32, pair&math.MaxUint32)
		}
	}
}

func TestGoldenDigests(t *testing.T) {
	var b strings.Builder
	for _, n := range []Node{{}, {Sum: 1}, {Keys: 1}, {Sum: 0x0123456789abcdef, Keys: 42}, {Sum: math.MaxUint64, Keys: math.MaxUint64}} {
		for _, salt := range []uint64{0, 1, 0xfedcba9876543210, math.MaxUint64} {
			fmt.Fprintf(&b, "sum %016x keys %016x salt %016x digest %08x\n", n.Sum, n.Keys, salt, n.Digest(salt))
		}
	}
	golden(t, "digest.golden", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has changed: got\n%swant\n%s", path, got, want)
	}
}

func BenchmarkBuild(b *testing.B) {
	leaves := make([]Node, Leaves)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Build(leaves); err != nil {
			b.Fatal(err)
		}
	}
}

// One comparison of two trees that differ in one leaf, both sides.
func BenchmarkDiffOneLeaf(b *testing.B) {
	w := random(rand.New(rand.NewPCG(14, 0)), 4*Leaves)
	mine := w.tree(b)
	w[500] = append(w[500], 1)
	theirs := w.tree(b)
	b.ReportAllocs()
	for b.Loop() {
		digests := theirs.InnerDigests(7)
		inner := mine.DiffInner(7, &digests)
		if leaves, err := theirs.DiffLeaves(7, inner, mine.LeafDigests(7, inner)); err != nil || len(leaves) != 1 {
			b.Fatal(leaves, err)
		}
	}
}
