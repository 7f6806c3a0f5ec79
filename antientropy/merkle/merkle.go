package merkle

import (
	"errors"
	"fmt"
	"math/bits"
)

// The shape of a tree: a root over Fanout inner nodes over Fanout leaves each.
// Inner node i is over the leaves from i*Fanout up to, without, (i+1)*Fanout.
const (
	Fanout = 32
	Leaves = Fanout * Fanout
)

// ErrShape: there are not as many leaves or digests as there have to be.
var ErrShape = errors.New("merkle: wrong number of nodes")

// Node sums up the keys below it.
type Node struct {
	// Sum adds the hashes of their objects modulo 2^64.
	Sum uint64
	// Keys counts them.
	Keys uint64
}

// Plus adds two nodes modulo 2^64.
func (n Node) Plus(o Node) Node { return Node{Sum: n.Sum + o.Sum, Keys: n.Keys + o.Keys} }

// Tree is over the leaves of one partition. It does not change.
type Tree struct {
	root   Node
	inner  [Fanout]Node
	leaves []Node
}

// Build makes the tree over exactly [Leaves] leaves, else it fails with
// [ErrShape]. It keeps the slice, which must not change any more.
func Build(leaves []Node) (*Tree, error) {
	if len(leaves) != Leaves {
		return nil, fmt.Errorf("%w: %d leaves, want %d", ErrShape, len(leaves), Leaves)
	}
	t := &Tree{leaves: leaves}
	for i := range t.inner {
		for _, leaf := range t.under(i) {
			t.inner[i] = t.inner[i].Plus(leaf)
		}
		t.root = t.root.Plus(t.inner[i])
	}
	return t, nil
}

// under are the leaves of an inner node.
func (t *Tree) under(inner int) []Node { return t.leaves[inner*Fanout : (inner+1)*Fanout] }

// Root sums up all leaves.
func (t *Tree) Root() Node { return t.root }

// Inner is inner node i (0..Fanout-1).
func (t *Tree) Inner(i int) Node { return t.inner[i] }

// Leaf is leaf i (0..Leaves-1).
func (t *Tree) Leaf(i int) Node { return t.leaves[i] }

// Digest is a node's short form under a salt. Two nodes that differ have the
// same digest with a chance of 2^-32, and hardly under the next salt too.
type Digest uint32

// Digest is the node's digest under a salt.
func (n Node) Digest(salt uint64) Digest {
	// The salt goes in on both sides of a mixing step: whether two nodes
	// collide depends on it.
	h := mix(n.Sum + mix(salt+1))
	h = mix(h ^ (n.Keys + bits.RotateLeft64(salt, 32)))
	return Digest(h >> 32)
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014): a
// bijection in which every bit of the input changes each of the output with a
// chance of about one half.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// InnerDigests are those of all inner nodes.
func (t *Tree) InnerDigests(salt uint64) (digests [Fanout]Digest) {
	for i := range digests {
		digests[i] = t.inner[i].Digest(salt)
	}
	return digests
}

// DiffInner has bit i set for each inner node whose digest differs from the
// other side's.
func (t *Tree) DiffInner(salt uint64, theirs *[Fanout]Digest) (inner uint32) {
	for i := range theirs {
		if t.inner[i].Digest(salt) != theirs[i] {
			inner |= 1 << i
		}
	}
	return inner
}

// LeafDigests are those of the leaves under the inner nodes whose bits are
// set, in order: Fanout for each bit.
func (t *Tree) LeafDigests(salt uint64, inner uint32) []Digest {
	digests := make([]Digest, 0, bits.OnesCount32(inner)*Fanout)
	for ; inner != 0; inner &= inner - 1 {
		for _, leaf := range t.under(bits.TrailingZeros32(inner)) {
			digests = append(digests, leaf.Digest(salt))
		}
	}
	return digests
}

// DiffLeaves are the numbers, ascending, of the leaves under these inner nodes
// whose digests differ from the other side's, which are as [Tree.LeafDigests]
// gives them; else it fails with [ErrShape].
func (t *Tree) DiffLeaves(salt uint64, inner uint32, theirs []Digest) ([]uint16, error) {
	if want := bits.OnesCount32(inner) * Fanout; len(theirs) != want {
		return nil, fmt.Errorf("%w: %d leaf digests, want %d", ErrShape, len(theirs), want)
	}
	var differ []uint16
	for ; inner != 0; inner &= inner - 1 {
		i := bits.TrailingZeros32(inner)
		for j, leaf := range t.under(i) {
			if leaf.Digest(salt) != theirs[j] {
				differ = append(differ, uint16(i*Fanout+j))
			}
		}
		theirs = theirs[Fanout:]
	}
	return differ, nil
}
