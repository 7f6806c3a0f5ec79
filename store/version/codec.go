package version

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxDecoded is the most entries or exceptions that the decoders accept. It
// is above [MaxEntries] because a merge never refuses or drops: two vectors
// that are both within the bound of a put can merge to one that is not, and
// such an object must still be readable.
const MaxDecoded = 64 * MaxEntries

// minDotBytes is the shortest encoding of a dot: the actor and one byte.
const minDotBytes = 8 + 1

// ErrMalformed is wrapped by every error of a decoder in this package.
var ErrMalformed = errors.New("version: malformed encoding")

// AppendVector appends the canonical encoding of v: the number of entries as
// an unsigned varint, then for each the actor in 8 bytes, big end first, and
// the sequence as an unsigned varint. It is the same for equal vectors, and
// different for different ones.
func AppendVector(dst []byte, v Vector) []byte { return appendDots(dst, v) }

// SizeVector is the length of the encoding of v, in bytes.
func SizeVector(v Vector) int { return sizeDots(v) }

// DecodeVector decodes a vector at the start of b and returns what follows
// it. It accepts nothing but the canonical encoding of a valid vector of up
// to [MaxDecoded] entries, and allocates no more than b can fill.
func DecodeVector(b []byte) (v Vector, rest []byte, err error) {
	dots, rest, err := decodeDots(b, MaxDecoded)
	if err != nil {
		return nil, nil, err
	}
	for i := 1; i < len(dots); i++ {
		if dots[i-1].Actor == dots[i].Actor {
			return nil, nil, fmt.Errorf("%w: actor %s twice in a vector", ErrMalformed, dots[i].Actor)
		}
	}
	return dots, rest, nil
}

// AppendContext appends the encoding of c: its vector, and its exceptions
// coded in the same way. It is for messages between nodes; a client gets
// [Seal].
func AppendContext(dst []byte, c Context) []byte {
	return appendDots(appendDots(dst, c.Vector), c.Except)
}

// SizeContext is the length of the encoding of c, in bytes.
func SizeContext(c Context) int { return sizeDots(c.Vector) + sizeDots(c.Except) }

// DecodeContext decodes a context at the start of b and returns what follows
// it, as strictly as [DecodeVector].
func DecodeContext(b []byte) (c Context, rest []byte, err error) {
	c.Vector, rest, err = DecodeVector(b)
	if err != nil {
		return Context{}, nil, err
	}
	c.Except, rest, err = decodeDots(rest, MaxDecoded)
	if err != nil {
		return Context{}, nil, err
	}
	for _, e := range c.Except {
		if !c.Vector.Covers(e) {
			return Context{}, nil, fmt.Errorf("%w: exception %s is not covered by its vector", ErrMalformed, e)
		}
	}
	return c, rest, nil
}

func appendDots(dst []byte, dots []Dot) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(dots)))
	for _, d := range dots {
		dst = AppendDot(dst, d)
	}
	return dst
}

// AppendDot appends the encoding of one dot, as it stands in a vector.
func AppendDot(dst []byte, d Dot) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(d.Actor))
	return binary.AppendUvarint(dst, d.Seq)
}

func sizeDots(dots []Dot) int {
	n := sizeUvarint(uint64(len(dots)))
	for _, d := range dots {
		n += 8 + sizeUvarint(d.Seq)
	}
	return n
}

func sizeUvarint(x uint64) int {
	n := 1
	for x >= 0x80 {
		x >>= 7
		n++
	}
	return n
}

// decodeDots decodes a strictly ascending list of at most limit dots. An
// empty list is nil.
func decodeDots(b []byte, limit uint64) (dots []Dot, rest []byte, err error) {
	n, b, err := uvarint(b)
	switch {
	case err != nil:
		return nil, nil, err
	case n > limit:
		return nil, nil, fmt.Errorf("%w: %d dots, more than %d", ErrMalformed, n, limit)
	case n > uint64(len(b)/minDotBytes):
		return nil, nil, fmt.Errorf("%w: %d dots do not fit into %d bytes", ErrMalformed, n, len(b))
	case n == 0:
		return nil, b, nil
	}
	dots = make([]Dot, n)
	for i := range dots {
		if dots[i], b, err = DecodeDot(b); err != nil {
			return nil, nil, err
		}
		if i > 0 && dots[i-1].Compare(dots[i]) >= 0 {
			return nil, nil, fmt.Errorf("%w: dot %s out of order", ErrMalformed, dots[i])
		}
	}
	return dots, b, nil
}

// DecodeDot decodes one dot at the start of b and returns what follows it.
// The sequence of the dot is at least 1.
func DecodeDot(b []byte) (d Dot, rest []byte, err error) {
	if len(b) < minDotBytes {
		return Dot{}, nil, fmt.Errorf("%w: a dot does not fit into %d bytes", ErrMalformed, len(b))
	}
	seq, rest, err := uvarint(b[8:])
	if err != nil {
		return Dot{}, nil, err
	}
	if seq == 0 {
		return Dot{}, nil, fmt.Errorf("%w: sequence 0", ErrMalformed)
	}
	return Dot{Actor: Actor(binary.BigEndian.Uint64(b)), Seq: seq}, rest, nil
}

// uvarint decodes a varint that has no needless bytes.
func uvarint(b []byte) (x uint64, rest []byte, err error) {
	x, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, nil, fmt.Errorf("%w: bad varint", ErrMalformed)
	}
	return x, b[n:], nil
}
