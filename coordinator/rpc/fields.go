package rpc

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed is wrapped by every error of a decoder in this package.
var ErrMalformed = errors.New("rpc: malformed message")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// The append functions leave a zero value out.

func appendUint(dst []byte, num protowire.Number, x uint64) []byte {
	if x == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), x)
}

func appendFlag(dst []byte, num protowire.Number, x bool) []byte {
	return appendUint(dst, num, protowire.EncodeBool(x))
}

func appendFixed(dst []byte, num protowire.Number, x uint64) []byte {
	if x == 0 {
		return dst
	}
	return protowire.AppendFixed64(protowire.AppendTag(dst, num, protowire.Fixed64Type), x)
}

func appendText[T string | []byte](dst []byte, num protowire.Number, x T) []byte {
	if len(x) == 0 {
		return dst
	}
	return append(appendHead(dst, num, len(x)), x...)
}

func appendID(dst []byte, num protowire.Number, x [16]byte) []byte {
	if x == [16]byte{} {
		return dst
	}
	return append(appendHead(dst, num, len(x)), x[:]...)
}

// appendHead is the tag and length of n bytes that follow.
func appendHead(dst []byte, num protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.BytesType), uint64(n))
}

// appendNested appends what put appends as one field, even when that is
// nothing. It moves the bytes once, so it is for small messages.
func appendNested(dst []byte, num protowire.Number, put func([]byte) []byte) []byte {
	start := len(dst)
	dst = put(dst)
	body := dst[start:]
	var head [16]byte
	return slices.Insert(dst, start, appendHead(head[:0], num, len(body))...)
}

// fields walks the fields of a message:
//
//	for f.next() {
//		switch f.num { case 1: x = f.uint(max) ... }
//	}
//	err = f.err
//
// A field that no accessor asks for is skipped. The first error stays.
type fields struct {
	b     []byte
	num   protowire.Number
	err   error
	typ   protowire.Type
	again bool // num is that of the field before
	int   uint64
	bytes []byte
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// next decodes the next field.
func (f *fields) next() bool {
	if f.err != nil || len(f.b) == 0 {
		return false
	}
	num, typ, n := protowire.ConsumeTag(f.b)
	if n < 0 || n != protowire.SizeTag(num) {
		f.fail(malformed("bad tag after field %d", f.num))
		return false
	}
	if num < f.num {
		f.fail(malformed("field %d after field %d", num, f.num))
		return false
	}
	f.again = num == f.num
	f.num, f.typ, f.b = num, typ, f.b[n:]
	f.consume()
	return f.err == nil
}

// consume decodes a field's value, in its shortest form.
func (f *fields) consume() {
	n := -1
	f.int, f.bytes = 0, nil
	switch f.typ {
	case protowire.VarintType:
		if f.int, n = protowire.ConsumeVarint(f.b); n != protowire.SizeVarint(f.int) {
			n = -1
		}
	case protowire.Fixed64Type:
		f.int, n = protowire.ConsumeFixed64(f.b)
	case protowire.Fixed32Type:
		_, n = protowire.ConsumeFixed32(f.b)
	case protowire.BytesType:
		if f.bytes, n = protowire.ConsumeBytes(f.b); n != protowire.SizeBytes(len(f.bytes)) {
			n = -1
		}
	}
	if n < 0 {
		f.fail(malformed("bad value of field %d", f.num))
		return
	}
	f.b = f.b[n:]
}

// single checks the type of a field that occurs once and is not zero.
func (f *fields) single(typ protowire.Type) bool {
	switch {
	case f.typ != typ:
		f.fail(malformed("field %d of wire type %d", f.num, f.typ))
	case f.again:
		f.fail(malformed("field %d twice", f.num))
	case f.int == 0 && len(f.bytes) == 0:
		f.fail(malformed("zero value of field %d written out", f.num))
	}
	return f.err == nil
}

func (f *fields) uint(limit uint64) uint64 {
	if f.single(protowire.VarintType) && f.int > limit {
		f.fail(malformed("field %d is %d, at most %d", f.num, f.int, limit))
	}
	return f.int
}

func (f *fields) flag() bool { return f.uint(1) == 1 }

func (f *fields) fixed() uint64 {
	f.single(protowire.Fixed64Type)
	return f.int
}

// raw shares memory with the message.
func (f *fields) raw(limit int) []byte {
	if f.single(protowire.BytesType) && len(f.bytes) > limit {
		f.fail(malformed("field %d has %d bytes, at most %d", f.num, len(f.bytes), limit))
	}
	return f.bytes
}

func (f *fields) text(limit int) string {
	if b := f.raw(limit); f.err == nil {
		return string(b)
	}
	return ""
}

func (f *fields) id() (id [16]byte) {
	if b := f.raw(len(id)); len(b) != len(id) {
		f.fail(malformed("field %d has %d bytes, want %d", f.num, len(b), len(id)))
	}
	copy(id[:], f.bytes)
	if id == [16]byte{} {
		f.fail(malformed("zero value of field %d written out", f.num))
	}
	return id
}

// element is one of a repeated field's values, of which there were have so far.
func (f *fields) element(have, limit int) []byte {
	switch {
	case f.typ != protowire.BytesType:
		f.fail(malformed("field %d of wire type %d", f.num, f.typ))
	case have >= limit:
		f.fail(malformed("field %d more than %d times", f.num, limit))
	}
	return f.bytes
}
