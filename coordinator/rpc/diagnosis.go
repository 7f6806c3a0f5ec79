package rpc

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/coordinator"
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// Inspect: the request is a reference.
const (
	inspectCopy     protowire.Number = 1
	inspectHint     protowire.Number = 2
	inspectLeaf     protowire.Number = 3
	inspectLeafSum  protowire.Number = 4
	inspectLeafKeys protowire.Number = 5

	hintFor  protowire.Number = 1
	hintCopy protowire.Number = 2

	copyVector  protowire.Number = 1
	copyHash    protowire.Number = 2
	copySibling protowire.Number = 3

	siblingDot       protowire.Number = 1
	siblingBytes     protowire.Number = 2
	siblingModified  protowire.Number = 3
	siblingExpires   protowire.Number = 4
	siblingTombstone protowire.Number = 5
)

func decodeInspectRequest(b []byte) (r object.Ref, err error) {
	f := fields{b: b}
	for f.next() {
		decodeRef(&f, &r)
	}
	return r, f.err
}

func appendInspectReply(dst []byte, a coordinator.InspectReply) []byte {
	dst = appendCopy(dst, inspectCopy, a.Copy)
	for _, h := range a.Hints {
		dst = appendNested(dst, inspectHint, func(b []byte) []byte {
			return appendCopy(appendID(b, hintFor, h.For), hintCopy, h.Copy)
		})
	}
	dst = appendUint(dst, inspectLeaf, uint64(a.Leaf))
	dst = appendFixed(dst, inspectLeafSum, a.LeafSum)
	return appendUint(dst, inspectLeafKeys, a.LeafKeys)
}

// appendCopy leaves a copy of nothing out.
func appendCopy(dst []byte, num protowire.Number, c coordinator.Copy) []byte {
	if len(c.Vector) == 0 && c.Hash == 0 && len(c.Siblings) == 0 {
		return dst
	}
	return appendNested(dst, num, func(b []byte) []byte {
		b = appendVector(b, copyVector, c.Vector)
		b = appendFixed(b, copyHash, c.Hash)
		for _, s := range c.Siblings {
			b = appendNested(b, copySibling, func(b []byte) []byte { return appendSiblingInfo(b, s) })
		}
		return b
	})
}

func appendSiblingInfo(dst []byte, s coordinator.SiblingInfo) []byte {
	dst = appendDot(dst, siblingDot, s.Dot)
	dst = appendUint(dst, siblingBytes, uint64(s.Bytes))
	dst = appendUint(dst, siblingModified, uint64(s.ModifiedMS))
	dst = appendUint(dst, siblingExpires, uint64(s.ExpiresMS))
	return appendFlag(dst, siblingTombstone, s.Tombstone)
}

func decodeInspectReply(b []byte) (a coordinator.InspectReply, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case inspectCopy:
			a.Copy = f.copy()
		case inspectHint:
			a.Hints = append(a.Hints, decodeHintCopy(&f, len(a.Hints)))
		case inspectLeaf:
			a.Leaf = int(f.uint(math.MaxUint16))
		case inspectLeafSum:
			a.LeafSum = f.fixed()
		case inspectLeafKeys:
			a.LeafKeys = f.uint(math.MaxUint64)
		}
	}
	return a, f.err
}

func decodeHintCopy(f *fields, have int) (h coordinator.HintCopy) {
	e := fields{b: f.element(have, maxReplicas)}
	for e.next() {
		switch e.num {
		case hintFor:
			h.For = e.id()
		case hintCopy:
			h.Copy = e.copy()
		}
	}
	f.fail(e.err)
	return h
}

// copy decodes a copy, which is never of nothing.
func (f *fields) copy() (c coordinator.Copy) {
	e := fields{b: f.raw(math.MaxInt)}
	for e.next() {
		switch e.num {
		case copyVector:
			c.Vector = e.vector()
		case copyHash:
			c.Hash = e.fixed()
		case copySibling:
			c.Siblings = append(c.Siblings, decodeSiblingInfo(&e, len(c.Siblings)))
		}
	}
	f.fail(e.err)
	return c
}

// decodeSiblingInfo insists on the dot: without one, a few bytes of a message
// would become many in memory.
func decodeSiblingInfo(f *fields, have int) (s coordinator.SiblingInfo) {
	e := fields{b: f.element(have, object.MaxSiblings)}
	for e.next() {
		switch e.num {
		case siblingDot:
			s.Dot = e.dot()
		case siblingBytes:
			s.Bytes = int(e.uint(math.MaxInt32))
		case siblingModified:
			s.ModifiedMS = int64(e.uint(math.MaxUint64))
		case siblingExpires:
			s.ExpiresMS = int64(e.uint(math.MaxUint64))
		case siblingTombstone:
			s.Tombstone = e.flag()
		}
	}
	if e.err == nil && s.Dot == (version.Dot{}) {
		e.fail(malformed("sibling without a dot"))
	}
	f.fail(e.err)
	return s
}

func appendVector(dst []byte, num protowire.Number, v version.Vector) []byte {
	if len(v) == 0 {
		return dst
	}
	return version.AppendVector(appendHead(dst, num, version.SizeVector(v)), v)
}

func (f *fields) vector() version.Vector {
	b := f.raw(math.MaxInt)
	if f.err != nil {
		return nil
	}
	v, rest, err := version.DecodeVector(b)
	switch {
	case err != nil:
		f.fail(malformed("field %d: %v", f.num, err))
	case len(rest) > 0:
		f.fail(malformed("field %d: %d bytes after the vector", f.num, len(rest)))
	case len(v) == 0:
		f.fail(malformed("zero value of field %d written out", f.num))
	}
	return v
}

// Status: the request is empty.
const (
	statusHints     protowire.Number = 1
	statusHintBytes protowire.Number = 2
	statusDraining  protowire.Number = 3
	statusPending   protowire.Number = 4
	statusDone      protowire.Number = 5
	statusTotal     protowire.Number = 6
	statusLeaving   protowire.Number = 7
)

func appendNodeStatus(dst []byte, a coordinator.NodeStatus) []byte {
	dst = appendUint(dst, statusHints, uint64(a.Hints))
	dst = appendUint(dst, statusHintBytes, uint64(a.HintBytes))
	dst = appendFlag(dst, statusDraining, a.Draining)
	dst = appendUint(dst, statusPending, uint64(max(a.Pending, 0)))
	dst = appendUint(dst, statusDone, uint64(max(a.TransferDone, 0)))
	dst = appendUint(dst, statusTotal, uint64(max(a.TransferTotal, 0)))
	return appendText(dst, statusLeaving, cut(a.Leaving))
}

func decodeNodeStatus(b []byte) (a coordinator.NodeStatus, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case statusHints:
			a.Hints = int64(f.uint(math.MaxInt64))
		case statusHintBytes:
			a.HintBytes = int64(f.uint(math.MaxInt64))
		case statusDraining:
			a.Draining = f.flag()
		case statusPending:
			a.Pending = int(f.uint(ring.MaxPartitions))
		case statusDone:
			a.TransferDone = int64(f.uint(math.MaxInt64))
		case statusTotal:
			a.TransferTotal = int64(f.uint(math.MaxInt64))
		case statusLeaving:
			a.Leaving = f.text(maxMessageBytes)
		}
	}
	return a, f.err
}
