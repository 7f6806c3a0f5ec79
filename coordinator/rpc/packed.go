package rpc

import (
	"encoding/binary"
	"iter"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Lists of numbers are one field each. An empty list is left out.

// appendPacked appends numbers as one field of varints.
func appendPacked[T ~uint64](dst []byte, num protowire.Number, xs []T) []byte {
	if len(xs) == 0 {
		return dst
	}
	dst = appendHead(dst, num, sizePacked(xs))
	for _, x := range xs {
		dst = protowire.AppendVarint(dst, uint64(x))
	}
	return dst
}

// sizePacked is the size of the numbers without the field's head.
func sizePacked[T ~uint64](xs []T) (n int) {
	for _, x := range xs {
		n += protowire.SizeVarint(uint64(x))
	}
	return n
}

// appendPacked32 appends numbers as one field of 4 bytes each.
func appendPacked32[T ~uint32](dst []byte, num protowire.Number, xs []T) []byte {
	if len(xs) == 0 {
		return dst
	}
	dst = appendHead(dst, num, 4*len(xs))
	for _, x := range xs {
		dst = protowire.AppendFixed32(dst, uint32(x))
	}
	return dst
}

// appendPacked64 appends numbers as one field of 8 bytes each.
func appendPacked64[T ~uint64](dst []byte, num protowire.Number, xs []T) []byte {
	if len(xs) == 0 {
		return dst
	}
	dst = appendHead(dst, num, 8*len(xs))
	for _, x := range xs {
		dst = protowire.AppendFixed64(dst, uint64(x))
	}
	return dst
}

// packed walks the varints of a field, at most limit of them.
func (f *fields) packed(limit int) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		b := f.raw(math.MaxInt)
		for n := 0; f.err == nil && len(b) > 0; n++ {
			x, size := protowire.ConsumeVarint(b)
			switch {
			case size != protowire.SizeVarint(x):
				f.fail(malformed("bad number in field %d", f.num))
				return
			case n == limit:
				f.fail(malformed("field %d has more than %d numbers", f.num, limit))
				return
			}
			if b = b[size:]; !yield(x) {
				return
			}
		}
	}
}

// packed32 decodes a field of numbers of 4 bytes, at most limit of them.
func packed32[T ~uint32](f *fields, limit int) []T {
	b := f.whole(4, limit)
	xs := make([]T, len(b)/4)
	fill32(xs, b)
	return xs
}

// fill32 takes from b, which has 4 bytes for each of xs.
func fill32[T ~uint32](xs []T, b []byte) {
	for i := range xs {
		xs[i] = T(binary.LittleEndian.Uint32(b[4*i:]))
	}
}

// packed64 decodes a field of numbers of 8 bytes, at most limit of them.
func packed64[T ~uint64](f *fields, limit int) []T {
	b := f.whole(8, limit)
	xs := make([]T, len(b)/8)
	for i := range xs {
		xs[i] = T(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return xs
}

// whole is the bytes of at most limit items of so many bytes each, or nothing.
func (f *fields) whole(size, limit int) []byte {
	b := f.raw(size * limit)
	if len(b)%size != 0 {
		f.fail(malformed("field %d has %d bytes, not a multiple of %d", f.num, len(b), size))
	}
	if f.err != nil {
		return nil
	}
	return b
}
