package object

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/store/version"
)

// Bounds of the decoder.
const (
	// MaxSiblings is the most siblings of an object that can be read.
	MaxSiblings = 65536
	// MaxFields is the most metadata fields of one sibling.
	MaxFields = 1024
)

// ErrMalformed is wrapped by every error of [Decode].
var ErrMalformed = errors.New("object: malformed encoding")

// Decode is the inverse of [Object.Append]. It refuses whatever Append would
// not have written, except fields with numbers that it does not know: it
// skips those, so encoding the result again loses them. The values of the
// siblings share memory with b. Decode allocates a small multiple of len(b)
// at most.
func Decode(b []byte) (Object, error) {
	if len(b) == 0 {
		return Object{}, malformed("empty")
	}
	if b[0] != formatVersion {
		return Object{}, malformed("format %d, want %d", b[0], formatVersion)
	}
	b = b[1:]
	var o Object
	var f field
	var err error
	for len(b) > 0 {
		if f, b, err = objectFields.next(f.num, b); err != nil {
			return Object{}, err
		}
		switch f.num {
		case objectVector:
			o.Vector, err = decodeVector(f.bytes)
		case objectSibling:
			if o.Siblings == nil {
				o.Siblings = make([]Sibling, 0, 1+countSiblings(b))
			}
			err = o.decodeSibling(f.bytes)
		}
		if err != nil {
			return Object{}, err
		}
	}
	return o, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

func decodeVector(b []byte) (version.Vector, error) {
	v, rest, err := version.DecodeVector(b)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	case len(rest) > 0:
		return nil, malformed("%d bytes after the vector", len(rest))
	case len(v) == 0:
		return nil, malformed("empty vector written out")
	}
	return v, nil
}

// minSiblingBytes is the size of a sibling that holds nothing but its dot.
const minSiblingBytes = tagBytes + 8 + tagBytes + 1

// countSiblings is how many siblings stand at the start of b. It bounds what
// is allocated for them by their share of b.
func countSiblings(b []byte) int {
	n := 0
	for len(b) > 0 && n < MaxSiblings {
		num, typ, head := protowire.ConsumeTag(b)
		if head < 0 || num != objectSibling || typ != protowire.BytesType {
			break
		}
		body, size := protowire.ConsumeBytes(b[head:])
		if size < 0 || len(body) < minSiblingBytes {
			break
		}
		b = b[head+size:]
		n++
	}
	return n
}

// decodeSibling adds the sibling in b to o.
func (o *Object) decodeSibling(b []byte) error {
	s, err := decodeSibling(b)
	if err != nil {
		return err
	}
	n := len(o.Siblings)
	switch {
	case n == MaxSiblings:
		return malformed("more than %d siblings", MaxSiblings)
	case n > 0 && o.Siblings[n-1].Dot.Compare(s.Dot) >= 0:
		return malformed("sibling %s out of order", s.Dot)
	case !o.Vector.Covers(s.Dot):
		return malformed("sibling %s is not covered by the vector", s.Dot)
	}
	o.Siblings = append(o.Siblings, s)
	return nil
}

func decodeSibling(b []byte) (Sibling, error) {
	var s Sibling
	var f field
	var err error
	actor := false
	for len(b) > 0 {
		if f, b, err = siblingFields.next(f.num, b); err != nil {
			return Sibling{}, err
		}
		switch f.num {
		case siblingActor:
			s.Dot.Actor, actor = version.Actor(f.int), true
		case siblingSeq:
			s.Dot.Seq = f.int
		case siblingOp:
			if len(f.bytes) != len(s.Op) {
				return Sibling{}, malformed("operation ID of %d bytes", len(f.bytes))
			}
			s.Op = OpID(f.bytes)
		case siblingTombstone:
			if s.Tombstone = f.int == 1; !s.Tombstone {
				return Sibling{}, malformed("tombstone mark %d", f.int)
			}
		case siblingContentType:
			s.ContentType = string(f.bytes)
		case siblingMeta:
			if err := s.decodeMeta(f.bytes); err != nil {
				return Sibling{}, err
			}
		case siblingModified:
			s.ModifiedMS = int64(f.int)
		case siblingExpires:
			s.ExpiresMS = int64(f.int)
		case siblingValue:
			s.Value = slices.Clip(f.bytes)
		}
	}
	if !actor || s.Dot.Seq == 0 {
		return Sibling{}, malformed("sibling without a dot")
	}
	return s, nil
}

// decodeMeta adds the metadata field in b to s.
func (s *Sibling) decodeMeta(b []byte) error {
	var item Field
	var f field
	var err error
	for len(b) > 0 {
		if f, b, err = metaFields.next(f.num, b); err != nil {
			return err
		}
		switch f.num {
		case metaName:
			item.Name = string(f.bytes)
		case metaValue:
			item.Value = string(f.bytes)
		}
	}
	n := len(s.Meta)
	switch {
	case n == MaxFields:
		return malformed("more than %d metadata fields", MaxFields)
	case n > 0 && s.Meta[n-1].Name > item.Name:
		return malformed("metadata %q out of order", item.Name)
	}
	s.Meta = append(s.Meta, item)
	return nil
}
