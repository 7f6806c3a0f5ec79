package ring

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// Hash is the position of a key on the ring: XXH64 with seed 0 of the bucket's bytes, one zero byte, the key's bytes.
// It is a wire format: every node and every stored partition depends on it, and testdata/hash.golden freezes it. A
// bucket name holds no zero byte (the API refuses one), so two different pairs never hash the same text.
func Hash(bucket, key string) uint64 {
	var d xxhash.Digest
	d.Reset()
	// A Digest's writes never fail.
	_, _ = d.WriteString(bucket)
	_, _ = d.Write(separator[:])
	_, _ = d.WriteString(key)
	return d.Sum64()
}

var separator [1]byte

// Partition is the partition a key lies in, 0 <= p < partitions: the top bits of Hash. partitions is a power of two, as
// Config.Validate demands.
func Partition(bucket, key string, partitions int) int {
	// Shifting by 64 (one partition) gives 0 in Go.
	return int(Hash(bucket, key) >> (64 - bits.TrailingZeros(uint(partitions))))
}
