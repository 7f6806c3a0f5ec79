package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed: bytes are not the encoding of a registry.
var ErrMalformed = errors.New("bucket: malformed registry")

// The encoding is protobuf fields in ascending order, zero values left out. It
// is a wire and disk format, frozen by testdata/registry.golden. New fields of a
// record get higher numbers, which older builds keep.
//
// A new mode or level, or a wider bound, is no new field: builds without it
// refuse the whole registry. It must be known to every node of a cluster before
// one may be set.
const (
	registryRecord = 1 // message, repeated, ascending by name

	recordName          = 1  // string
	recordIncarnation   = 2  // varint
	recordDeclared      = 3  // varint, 1
	recordVersion       = 4  // varint
	recordWriter        = 5  // 16 bytes
	recordMode          = 6  // varint
	recordLevel         = 7  // string
	recordR             = 8  // varint
	recordW             = 9  // varint
	recordTTL           = 10 // varint, nanoseconds
	recordMaxSiblings   = 11 // varint
	recordMaxValueBytes = 12 // varint
	recordLast          = recordMaxValueBytes
)

// Append appends the registry's encoding to dst: nothing for an empty one.
func (g Registry) Append(dst []byte) []byte {
	var scratch []byte
	for _, r := range g {
		scratch = r.append(scratch[:0])
		dst = protowire.AppendBytes(protowire.AppendTag(dst, registryRecord, protowire.BytesType), scratch)
	}
	return dst
}

func (r Record) append(dst []byte) []byte {
	p := r.Properties
	dst = appendText(dst, recordName, r.Name)
	dst = appendNumber(dst, recordIncarnation, r.Incarnation)
	dst = appendNumber(dst, recordDeclared, protowire.EncodeBool(r.Declared))
	dst = appendNumber(dst, recordVersion, r.Version)
	dst = protowire.AppendBytes(protowire.AppendTag(dst, recordWriter, protowire.BytesType), r.Writer[:])
	dst = appendNumber(dst, recordMode, uint64(p.Mode))
	dst = appendText(dst, recordLevel, p.Level)
	dst = appendNumber(dst, recordR, uint64(p.R))
	dst = appendNumber(dst, recordW, uint64(p.W))
	dst = appendNumber(dst, recordTTL, uint64(p.TTL))
	dst = appendNumber(dst, recordMaxSiblings, uint64(p.MaxSiblings))
	dst = appendNumber(dst, recordMaxValueBytes, p.MaxValueBytes)
	return append(dst, r.extra...)
}

func appendText(dst []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, field, protowire.BytesType), s)
}

func appendNumber(dst []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), n)
}

// Decode is the inverse of [Registry.Append]. Bytes that Append would not write,
// and registries beyond their bounds, are ErrMalformed, wrapped. The registry
// does not alias b, and is nil if b is empty.
func Decode(b []byte) (Registry, error) {
	g, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return g, nil
}

func decode(b []byte) (Registry, error) {
	var g Registry
	_, err := eachField(b, registryRecord, func(f field) error {
		var r Record
		if err := r.decode(f.bytes); err != nil {
			return fmt.Errorf("record %d: %w", len(g), err)
		}
		g = append(g, r)
		return nil
	})
	if err == nil {
		err = g.Validate()
	}
	// Writing it again finds fields out of order, doubled, zero or padded, of
	// another type, or with numbers that do not fit: all that has two encodings.
	// It finds unknown fields of the whole registry too. They cannot be kept
	// unread: nobody would know how they merge.
	if err == nil && !bytes.Equal(g.Append(make([]byte, 0, len(b))), b) {
		err = fmt.Errorf("not the canonical encoding")
	}
	return g, err
}

func (r *Record) decode(b []byte) (err error) {
	p := &r.Properties
	r.extra, err = eachField(b, recordLast, func(f field) error {
		switch f.number {
		case recordName:
			r.Name = string(f.bytes)
		case recordIncarnation:
			r.Incarnation = f.value
		case recordDeclared:
			r.Declared = f.value != 0
		case recordVersion:
			r.Version = f.value
		case recordWriter:
			copy(r.Writer[:], f.bytes)
		case recordMode:
			p.Mode = Mode(f.value)
		case recordLevel:
			p.Level = string(f.bytes)
		case recordR:
			p.R = uint32(f.value)
		case recordW:
			p.W = uint32(f.value)
		case recordTTL:
			p.TTL = time.Duration(f.value)
		case recordMaxSiblings:
			p.MaxSiblings = uint32(f.value)
		case recordMaxValueBytes:
			p.MaxValueBytes = f.value
		}
		return nil
	})
	return err
}

// field is one field of a message: a number in value, or bytes, by its kind.
type field struct {
	number protowire.Number
	value  uint64
	bytes  []byte
}

// eachField calls known for the fields up to the last known number and returns
// the others as they are.
func eachField(b []byte, last protowire.Number, known func(field) error) (extra string, err error) {
	var unknown strings.Builder
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return "", protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(number, kind, b[n:])
		if size < 0 {
			return "", protowire.ParseError(size)
		}
		f := field{number: number}
		switch kind {
		case protowire.VarintType:
			f.value, _ = protowire.ConsumeVarint(b[n:])
		case protowire.BytesType:
			f.bytes, _ = protowire.ConsumeBytes(b[n:])
		}
		if number > last {
			unknown.Write(b[:n+size])
		} else if err := known(f); err != nil {
			return "", err
		}
		b = b[n+size:]
	}
	return unknown.String(), nil
}
