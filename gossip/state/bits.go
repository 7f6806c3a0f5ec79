package state

import (
	"bytes"
	"math/bits"
)

// Bits is a set of partition numbers, one bit each, the lowest bit of the first byte being partition 0. It has no
// trailing zero bytes and is nil when empty, so equal sets have equal bytes. It is immutable: With and Without copy.
type Bits []byte

// FullBits is the set of the first n partitions.
func FullBits(n int) Bits {
	if n <= 0 {
		return nil
	}
	b := Bits(bytes.Repeat([]byte{0xff}, (n+7)/8))
	if rest := n % 8; rest != 0 {
		b[len(b)-1] = 1<<rest - 1
	}
	return b
}

// Get says whether partition i is in the set.
func (b Bits) Get(i int) bool {
	return i >= 0 && i/8 < len(b) && b[i/8]>>(i%8)&1 != 0
}

// With is the set and the partitions given, each at least 0.
func (b Bits) With(partitions ...int) Bits {
	size := len(b)
	for _, p := range partitions {
		size = max(size, p/8+1)
	}
	c := make(Bits, size)
	copy(c, b)
	for _, p := range partitions {
		c[p/8] |= 1 << (p % 8)
	}
	return c.trim()
}

// Without is the set minus the partitions given.
func (b Bits) Without(partitions ...int) Bits {
	c := Bits(bytes.Clone(b))
	for _, p := range partitions {
		if c.Get(p) {
			c[p/8] &^= 1 << (p % 8)
		}
	}
	return c.trim()
}

// Count is the size of the set.
func (b Bits) Count() int {
	n := 0
	for _, x := range b {
		n += bits.OnesCount8(x)
	}
	return n
}

// end is one more than the largest partition of the set, 0 if it is empty.
func (b Bits) end() int {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0 {
			return i*8 + bits.Len8(b[i])
		}
	}
	return 0
}

// trim drops trailing zero bytes.
func (b Bits) trim() Bits {
	end := (b.end() + 7) / 8
	if end == 0 {
		return nil
	}
	return b[:end]
}
