package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"starling/store/object"
)

// The key space, format 1. It is frozen: the golden keys in
// testdata/keys.golden must not change without a new format version.
//
//	'c' partition                        count of tombstones, count of 'g' rows
//	'd' partition bucket 00 key          the encoded object
//	'g' partition bucket 00 key          when the key is due for a purge: a candidate
//	'h' target partition bucket 00 key   the encoded object, kept for the target
//	'i' partition leaf bucket 00 key     empty: the key lies in that leaf
//	'm' partition leaf                   sum of object hashes, count of keys
//	't' target                           bytes of the target's 'h' rows, their count
//	'x' 's' name                         the store's own records, see meta.go
//	'x' 'u' name                         records of SaveMeta
//
// A partition is 4 bytes and a leaf 2, both big end first, so the rows of a
// partition of one kind lie together, in the order of bucket, then key. No
// bucket holds a zero byte. A target is the 16 bytes of a store's ID. The value
// of a 'c', 'm' or 't' row is two numbers of 8 bytes, big end first, that the
// merge operator adds modulo 2^64. That of a 'g' row is a time, Unix
// milliseconds in 8 bytes, big end first.
const (
	kindCounts    byte = 'c'
	kindData      byte = 'd'
	kindCandidate byte = 'g'
	kindHint      byte = 'h'
	kindIndex     byte = 'i'
	kindLeaf      byte = 'm'
	kindTotals    byte = 't'
	kindMeta      byte = 'x'

	scopeStore byte = 's'
	scopeUser  byte = 'u'
)

// keyKinds are the kinds of rows that every partition with a key has.
var keyKinds = [...]byte{kindData, kindIndex, kindLeaf}

// partitionKinds are the kinds of rows that belong to a partition. Hints do
// not: they are other nodes'.
var partitionKinds = [...]byte{kindCounts, kindData, kindCandidate, kindIndex, kindLeaf}

const (
	partitionBytes = 1 + 4              // kind, partition
	leafBytes      = partitionBytes + 2 // kind, partition, leaf
	targetBytes    = 16
)

// Bounds of the names that a store takes.
const (
	// MaxPartitions bounds the number of a partition.
	MaxPartitions = 65536
	// MaxBucketBytes is the longest name of a bucket. A bucket has at least
	// one byte and none that is zero.
	MaxBucketBytes = 255
	// MaxKeyBytes is the longest key. A key has at least one byte.
	MaxKeyBytes = 4096
)

// appendPrefix appends what all rows of one kind and partition start with.
func appendPrefix(dst []byte, kind byte, partition uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, kind), partition)
}

// appendName appends bucket, a zero byte and key.
func appendName(dst []byte, bucket, key string) []byte {
	return append(append(append(dst, bucket...), 0), key...)
}

func appendDataKey(dst []byte, ref object.Ref) []byte {
	return appendName(appendPrefix(dst, kindData, ref.Partition), ref.Bucket, ref.Key)
}

// appendHintPrefix appends what all hints for a target of one partition start with.
func appendHintPrefix(dst []byte, target [targetBytes]byte, partition uint32) []byte {
	return binary.BigEndian.AppendUint32(append(append(dst, kindHint), target[:]...), partition)
}

func appendHintKey(dst []byte, target [targetBytes]byte, ref object.Ref) []byte {
	return appendName(appendHintPrefix(dst, target, ref.Partition), ref.Bucket, ref.Key)
}

func totalsKey(target [targetBytes]byte) []byte { return append([]byte{kindTotals}, target[:]...) }

func appendIndexKey(dst []byte, partition uint32, leaf uint16, bucket, key string) []byte {
	return appendName(appendIndexPrefix(dst, partition, leaf), bucket, key)
}

func appendIndexPrefix(dst []byte, partition uint32, leaf uint16) []byte {
	return binary.BigEndian.AppendUint16(appendPrefix(dst, kindIndex, partition), leaf)
}

func appendLeafKey(dst []byte, partition uint32, leaf uint16) []byte {
	return binary.BigEndian.AppendUint16(appendPrefix(dst, kindLeaf, partition), leaf)
}

func metaKey(scope byte, name string) []byte {
	return append([]byte{kindMeta, scope}, name...)
}

// partitionRange is the range of all rows of one kind and partition.
func partitionRange(kind byte, partition uint32) (start, end []byte) {
	return appendPrefix(nil, kind, partition), appendPrefix(nil, kind, partition+1)
}

// rangeBehind is the range of the rows of one kind and partition that are named
// as data rows are and come behind a key, all of them for the zero Ref.
func rangeBehind(kind byte, partition uint32, after object.Ref) (start, end []byte) {
	start, end = partitionRange(kind, partition)
	if after != (object.Ref{}) {
		start = append(appendName(start, after.Bucket, after.Key), 0) // the first key that is greater
	}
	return start, end
}

// nameHash is the hash of the bucket and key at the end of a data key: XXH64
// (seed 0) of bucket, a zero byte, key. The ring takes the partition from its
// top bits.
func nameHash(dataKey []byte) uint64 { return xxhash.Sum64(dataKey[partitionBytes:]) }

// parseDataKey is the inverse of appendDataKey.
func parseDataKey(k []byte) (object.Ref, error) {
	if len(k) < partitionBytes || k[0] != kindData {
		return object.Ref{}, fmt.Errorf("%w: data key %x", ErrCorrupt, k)
	}
	return parseName(k, partitionBytes)
}

// parseHintKey is the inverse of appendHintKey.
func parseHintKey(k []byte) (target [targetBytes]byte, ref object.Ref, err error) {
	if len(k) < targetBytes+partitionBytes || k[0] != kindHint {
		return target, ref, fmt.Errorf("%w: hint key %x", ErrCorrupt, k)
	}
	ref, err = parseName(k[targetBytes:], partitionBytes)
	return [targetBytes]byte(k[1:]), ref, err
}

// parseIndexKey gives the name in an index row.
func parseIndexKey(k []byte) (object.Ref, error) {
	if len(k) < leafBytes || k[0] != kindIndex {
		return object.Ref{}, fmt.Errorf("%w: index key %x", ErrCorrupt, k)
	}
	return parseName(k, leafBytes)
}

// parseName reads the name that starts at an offset of a row's key.
func parseName(k []byte, at int) (object.Ref, error) {
	bucket, key, ok := bytes.Cut(k[at:], []byte{0})
	if !ok {
		return object.Ref{}, fmt.Errorf("%w: key %x without a bucket", ErrCorrupt, k)
	}
	return object.Ref{Partition: partitionOf(k), Bucket: string(bucket), Key: string(key)}, nil
}

// partitionOf is the partition of a row's key, which has partitionBytes or more.
func partitionOf(k []byte) uint32 { return binary.BigEndian.Uint32(k[1:]) }
