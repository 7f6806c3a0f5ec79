package object

import (
	"google.golang.org/protobuf/encoding/protowire"

	"starling/store/version"
)

// formatVersion is the first byte of every encoded object. It is raised by a
// change that an older reader must not ignore.
const formatVersion = 1

// Field numbers. They are part of the format and never change their meaning.
const (
	objectVector  protowire.Number = 1
	objectSibling protowire.Number = 2

	siblingActor       protowire.Number = 1
	siblingSeq         protowire.Number = 2
	siblingOp          protowire.Number = 3
	siblingTombstone   protowire.Number = 4
	siblingContentType protowire.Number = 5
	siblingMeta        protowire.Number = 6
	siblingModified    protowire.Number = 7
	siblingExpires     protowire.Number = 8
	siblingValue       protowire.Number = 9

	metaName  protowire.Number = 1
	metaValue protowire.Number = 2
)

// tagBytes is the size of a tag: every field number is below 16.
const tagBytes = 1

// Size is the length of the encoding in bytes.
func (o Object) Size() int {
	n := 1
	if len(o.Vector) > 0 {
		n += sizeBytes(version.SizeVector(o.Vector))
	}
	for i := range o.Siblings {
		n += sizeBytes(o.Siblings[i].size())
	}
	return n
}

// Append appends the encoding of o: the format byte, then protobuf fields in
// the order of their numbers, zero values left out. Equal content has equal
// bytes.
func (o Object) Append(dst []byte) []byte {
	dst = append(dst, formatVersion)
	if len(o.Vector) > 0 {
		dst = appendHead(dst, objectVector, version.SizeVector(o.Vector))
		dst = version.AppendVector(dst, o.Vector)
	}
	for i := range o.Siblings {
		s := &o.Siblings[i]
		dst = s.append(appendHead(dst, objectSibling, s.size()))
	}
	return dst
}

// size is the length of what append appends.
func (s *Sibling) size() int {
	n := tagBytes + protowire.SizeFixed64() + sizeInt(s.Dot.Seq)
	if !s.Op.IsZero() {
		n += sizeBytes(len(s.Op))
	}
	if s.Tombstone {
		n += sizeInt(1)
	}
	n += sizeNonEmpty(len(s.ContentType))
	for _, f := range s.Meta {
		n += sizeBytes(f.size())
	}
	if s.ModifiedMS != 0 {
		n += sizeInt(uint64(s.ModifiedMS))
	}
	if s.ExpiresMS != 0 {
		n += sizeInt(uint64(s.ExpiresMS))
	}
	return n + sizeNonEmpty(len(s.Value))
}

func (s *Sibling) append(dst []byte) []byte {
	dst = protowire.AppendTag(dst, siblingActor, protowire.Fixed64Type)
	dst = protowire.AppendFixed64(dst, uint64(s.Dot.Actor))
	dst = appendInt(dst, siblingSeq, s.Dot.Seq)
	if !s.Op.IsZero() {
		dst = append(appendHead(dst, siblingOp, len(s.Op)), s.Op[:]...)
	}
	if s.Tombstone {
		dst = appendInt(dst, siblingTombstone, 1)
	}
	if s.ContentType != "" {
		dst = append(appendHead(dst, siblingContentType, len(s.ContentType)), s.ContentType...)
	}
	for _, f := range s.Meta {
		dst = f.append(appendHead(dst, siblingMeta, f.size()))
	}
	if s.ModifiedMS != 0 {
		dst = appendInt(dst, siblingModified, uint64(s.ModifiedMS))
	}
	if s.ExpiresMS != 0 {
		dst = appendInt(dst, siblingExpires, uint64(s.ExpiresMS))
	}
	if len(s.Value) > 0 {
		dst = append(appendHead(dst, siblingValue, len(s.Value)), s.Value...)
	}
	return dst
}

func (f Field) size() int { return sizeNonEmpty(len(f.Name)) + sizeNonEmpty(len(f.Value)) }

func (f Field) append(dst []byte) []byte {
	if f.Name != "" {
		dst = append(appendHead(dst, metaName, len(f.Name)), f.Name...)
	}
	if f.Value != "" {
		dst = append(appendHead(dst, metaValue, len(f.Value)), f.Value...)
	}
	return dst
}

// appendHead appends the tag and length of a field of n bytes.
func appendHead(dst []byte, num protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.BytesType), uint64(n))
}

func appendInt(dst []byte, num protowire.Number, x uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), x)
}

func sizeInt(x uint64) int { return tagBytes + protowire.SizeVarint(x) }

func sizeBytes(n int) int { return tagBytes + protowire.SizeBytes(n) }

func sizeNonEmpty(n int) int {
	if n == 0 {
		return 0
	}
	return sizeBytes(n)
}
