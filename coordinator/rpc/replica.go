package rpc

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/coordinator"
	"starling/ring"
	"starling/store/object"
)

// Bounds of the decoders. They are wider than what a node lets in, so that
// raising a limit there does not change the protocol.
const (
	maxNameBytes     = 4 << 10 // a bucket, a key
	maxTextBytes     = 64 << 10
	maxReplicas      = 1 << 10 // any count of replicas
	maxPartitionCode = ring.MaxPartitions - 1
)

// Field numbers of a reference, with which the requests for a key begin, and of
// the stamp, which follows in those that are placed by a ring.
const (
	refPartition protowire.Number = 1
	refBucket    protowire.Number = 2
	refKey       protowire.Number = 3
	placedStamp  protowire.Number = 4
)

func appendRef(dst []byte, r object.Ref) []byte {
	dst = appendUint(dst, refPartition, uint64(r.Partition))
	dst = appendText(dst, refBucket, r.Bucket)
	return appendText(dst, refKey, r.Key)
}

// decodeRef takes the field if it belongs to a reference.
func decodeRef(f *fields, r *object.Ref) {
	switch f.num {
	case refPartition:
		r.Partition = uint32(f.uint(maxPartitionCode))
	case refBucket:
		r.Bucket = f.text(maxNameBytes)
	case refKey:
		r.Key = f.text(maxNameBytes)
	}
}

// ref decodes a reference that is a field of its own.
func (f *fields) ref() (r object.Ref) {
	e := fields{b: f.raw(math.MaxInt)}
	for e.next() {
		decodeRef(&e, &r)
	}
	f.fail(e.err)
	return r
}

func appendPlaced(dst []byte, r object.Ref, stamp uint64) []byte {
	return appendFixed(appendRef(dst, r), placedStamp, stamp)
}

// decodePlaced takes the field if it belongs to a reference or is the stamp.
func decodePlaced(f *fields, r *object.Ref, stamp *uint64) {
	if f.num == placedStamp {
		*stamp = f.fixed()
		return
	}
	decodeRef(f, r)
}

// refBytes is more than a reference takes.
func refBytes(r object.Ref) int { return len(r.Bucket) + len(r.Key) + 16 }

// appendObject leaves an absent object out.
func appendObject(dst []byte, num protowire.Number, o object.Object) []byte {
	if o.Absent() {
		return dst
	}
	return o.Append(appendHead(dst, num, o.Size()))
}

// object decodes an object, which shares memory with the message.
func (f *fields) object() object.Object {
	b := f.raw(math.MaxInt)
	if f.err != nil {
		return object.Object{}
	}
	o, err := object.Decode(b)
	switch {
	case err != nil:
		f.fail(malformed("field %d: %v", f.num, err))
	case o.Absent():
		f.fail(malformed("zero value of field %d written out", f.num))
	}
	return o
}

// Read.
const (
	readHave  protowire.Number = 5
	readHints protowire.Number = 6

	readReplyObject protowire.Number = 1
	readReplySame   protowire.Number = 2
)

func appendReadRequest(dst []byte, q coordinator.ReadRequest) []byte {
	dst = appendPlaced(dst, q.Ref, q.Stamp)
	dst = appendFixed(dst, readHave, q.Have)
	return appendFlag(dst, readHints, q.Hints)
}

func decodeReadRequest(b []byte) (q coordinator.ReadRequest, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case readHave:
			q.Have = f.fixed()
		case readHints:
			q.Hints = f.flag()
		default:
			decodePlaced(&f, &q.Ref, &q.Stamp)
		}
	}
	return q, f.err
}

func appendReadReply(dst []byte, a coordinator.ReadReply) []byte {
	dst = appendObject(dst, readReplyObject, a.Object)
	return appendFlag(dst, readReplySame, a.Same)
}

func decodeReadReply(b []byte) (a coordinator.ReadReply, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case readReplyObject:
			a.Object = f.object()
		case readReplySame:
			a.Same = f.flag()
		}
	}
	return a, f.err
}

// Replicate. The reply is empty. A node that does not know replicateFor does
// not take a hint for its own copy: it refuses, since it is no replica.
const (
	replicateObject protowire.Number = 5
	replicateFor    protowire.Number = 6
)

func appendReplicateRequest(dst []byte, q coordinator.ReplicateRequest) []byte {
	dst = appendPlaced(dst, q.Ref, q.Stamp)
	dst = appendObject(dst, replicateObject, q.Object)
	return appendID(dst, replicateFor, q.For)
}

// replicateBytes is more than a replicate takes.
func replicateBytes(q coordinator.ReplicateRequest) int {
	return refBytes(q.Ref) + q.Object.Size() + 48
}

func decodeReplicateRequest(b []byte) (q coordinator.ReplicateRequest, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case replicateObject:
			q.Object = f.object()
		case replicateFor:
			q.For = f.id()
		default:
			decodePlaced(&f, &q.Ref, &q.Stamp)
		}
	}
	return q, f.err
}
