package client

import (
	"encoding/binary"
	"math/bits"
)

// The primes of XXH64.
const (
	xxh1 uint64 = 0x9E3779B185EBCA87
	xxh2 uint64 = 0xC2B2AE3D27D4EB4F
	xxh3 uint64 = 0x165667B19E3779F9
	xxh4 uint64 = 0x85EBCA77C2B2AE63
	xxh5 uint64 = 0x27D4EB2F165667C5
)

// keyHash is where a key lies on the ring: XXH64 with seed 0 of the bucket, a
// zero byte and the key.
func keyHash(bucket, key string) uint64 {
	var buf [256]byte
	b := append(buf[:0], bucket...)
	b = append(b, 0)
	return xxh64(append(b, key...))
}

// xxh64 is XXH64 with seed 0. The standard library has none, and this package
// imports nothing else.
func xxh64(b []byte) uint64 {
	n := uint64(len(b))
	h := xxh5
	if len(b) >= 32 {
		// Variables, for the constants' sum and negation overflow on purpose.
		p1, p2 := xxh1, xxh2
		v := [4]uint64{p1 + p2, p2, 0, -p1}
		for ; len(b) >= 32; b = b[32:] {
			for i := range v {
				v[i] = xxhRound(v[i], binary.LittleEndian.Uint64(b[8*i:]))
			}
		}
		h = bits.RotateLeft64(v[0], 1) + bits.RotateLeft64(v[1], 7) + bits.RotateLeft64(v[2], 12) + bits.RotateLeft64(v[3], 18)
		for _, lane := range v {
			h = (h^xxhRound(0, lane))*xxh1 + xxh4
		}
	}
	h += n
	for ; len(b) >= 8; b = b[8:] {
		h = bits.RotateLeft64(h^xxhRound(0, binary.LittleEndian.Uint64(b)), 27)*xxh1 + xxh4
	}
	if len(b) >= 4 {
		h = bits.RotateLeft64(h^uint64(binary.LittleEndian.Uint32(b))*xxh1, 23)*xxh2 + xxh3
		b = b[4:]
	}
	for _, c := range b {
		h = bits.RotateLeft64(h^uint64(c)*xxh5, 11) * xxh1
	}
	h = (h ^ h>>33) * xxh2
	h = (h ^ h>>29) * xxh3
	return h ^ h>>32
}

func xxhRound(acc, lane uint64) uint64 {
	return bits.RotateLeft64(acc+lane*xxh2, 31) * xxh1
}
