package object

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// field is one decoded field: int for a number, bytes for anything with a length.
type field struct {
	num   protowire.Number
	int   uint64
	bytes []byte
}

// message lists the known fields of one kind of message.
type message struct {
	types    []protowire.Type // by field number
	repeated protowire.Number // the one field that may occur again; 0: none
	zero     protowire.Number // the one field that is written out when it is zero; 0: none
}

const unused protowire.Type = -1

var (
	objectFields = message{
		types:    []protowire.Type{unused, objectVector: protowire.BytesType, objectSibling: protowire.BytesType},
		repeated: objectSibling,
	}
	siblingFields = message{
		types: []protowire.Type{
			unused,
			siblingActor:       protowire.Fixed64Type,
			siblingSeq:         protowire.VarintType,
			siblingOp:          protowire.BytesType,
			siblingTombstone:   protowire.VarintType,
			siblingContentType: protowire.BytesType,
			siblingMeta:        protowire.BytesType,
			siblingModified:    protowire.VarintType,
			siblingExpires:     protowire.VarintType,
			siblingValue:       protowire.BytesType,
		},
		repeated: siblingMeta,
		zero:     siblingActor,
	}
	metaFields = message{types: []protowire.Type{unused, metaName: protowire.BytesType, metaValue: protowire.BytesType}}
)

// next decodes the field at the start of b, which follows one with the number
// last, and returns the rest of b.
func (m *message) next(last protowire.Number, b []byte) (f field, rest []byte, err error) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || n != protowire.SizeTag(num) {
		return f, nil, malformed("bad tag")
	}
	f.num, rest = num, b[n:]
	known := int(num) < len(m.types)
	switch {
	case num < last:
		return f, nil, malformed("field %d after field %d", num, last)
	case known && m.types[num] != typ:
		return f, nil, malformed("field %d of wire type %d", num, typ)
	case known && num == last && num != m.repeated:
		return f, nil, malformed("field %d twice", num)
	}
	rest, err = f.consume(typ, rest)
	if err != nil {
		return f, nil, err
	}
	if known && num != m.zero && f.int == 0 && len(f.bytes) == 0 && num != m.repeated {
		return f, nil, malformed("zero value of field %d written out", num)
	}
	return f, rest, nil
}

// consume decodes the value of a field and returns what follows it.
func (f *field) consume(typ protowire.Type, b []byte) (rest []byte, err error) {
	n := -1
	switch typ {
	case protowire.VarintType:
		f.int, n = protowire.ConsumeVarint(b)
		if n > 0 && n != protowire.SizeVarint(f.int) {
			n = -1
		}
	case protowire.Fixed64Type:
		f.int, n = protowire.ConsumeFixed64(b)
	case protowire.Fixed32Type:
		_, n = protowire.ConsumeFixed32(b)
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(b)
		if n > 0 && n != protowire.SizeBytes(len(f.bytes)) {
			n = -1
		}
	}
	if n < 0 {
		return nil, malformed("bad value of field %d", f.num)
	}
	return b[n:], nil
}
