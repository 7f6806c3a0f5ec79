package store

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// LeafCount is the number of Merkle leaves of a partition.
const LeafCount = 1024

// leafShift leaves the 16 top bits of the hash to the partition, so that a
// key's leaf does not depend on how many partitions there are.
const leafShift = 64 - 16 - 10

// leafOf is the leaf of a key with that hash. It is part of the wire format:
// replicas compare leaves by number.
func leafOf(nameHash uint64) uint16 { return uint16(nameHash >> leafShift % LeafCount) }

// Leaf sums up the keys of one Merkle leaf. Two replicas whose leaves are
// equal hold, but for a chance of 2^-64, equal objects under equal keys.
type Leaf struct {
	// Sum adds the hashes of the objects modulo 2^64.
	Sum uint64
	// Keys counts them, those that hold tombstones alone included.
	Keys uint64
}

// plus adds modulo 2^64, so that a difference can be added too.
func (l Leaf) plus(o Leaf) Leaf { return Leaf{Sum: l.Sum + o.Sum, Keys: l.Keys + o.Keys} }

func (l Leaf) minus(o Leaf) Leaf { return Leaf{Sum: l.Sum - o.Sum, Keys: l.Keys - o.Keys} }

// leafValueBytes is the size of the value of a leaf row.
const leafValueBytes = 16

func (l Leaf) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, l.Sum), l.Keys)
}

func decodeLeaf(b []byte) (Leaf, error) {
	if len(b) != leafValueBytes {
		return Leaf{}, fmt.Errorf("%w: leaf of %d bytes", ErrCorrupt, len(b))
	}
	return Leaf{Sum: binary.BigEndian.Uint64(b), Keys: binary.BigEndian.Uint64(b[8:])}, nil
}

// leafMerger adds leaf rows. Adding is associative and commutative, so the
// engine may combine updates in any grouping. The name is stored on disk.
var leafMerger = &pebble.Merger{
	Name: "starling.leaf.1",
	Merge: func(_, value []byte) (pebble.ValueMerger, error) {
		l, err := decodeLeaf(value)
		return &leafSum{l}, err
	},
}

// leafSum is the engine's accumulator of one leaf row.
type leafSum struct{ Leaf }

// MergeNewer adds an operand.
func (s *leafSum) MergeNewer(value []byte) error {
	l, err := decodeLeaf(value)
	s.Leaf = s.plus(l)
	return err
}

// MergeOlder adds an operand; the order does not matter.
func (s *leafSum) MergeOlder(value []byte) error { return s.MergeNewer(value) }

// Finish gives the sum.
func (s *leafSum) Finish(bool) ([]byte, io.Closer, error) {
	return s.append(make([]byte, 0, leafValueBytes)), nil, nil
}
