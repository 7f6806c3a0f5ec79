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

// Field numbers of a reference, which the messages below begin with.
const (
	refPartition protowire.Number = 1
	refBucket    protowire.Number = 2
	refKey       protowire.Number = 3
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
	readStamp protowire.Number = 4
	readHave  protowire.Number = 5

	readReplyObject protowire.Number = 1
	readReplySame   protowire.Number = 2
)

func appendReadRequest(dst []byte, q coordinator.ReadRequest) []byte {
	dst = appendRef(dst, q.Ref)
	dst = appendFixed(dst, readStamp, q.Stamp)
	return appendFixed(dst, readHave, q.Have)
}

func decodeReadRequest(b []byte) (q coordinator.ReadRequest, err error) {
	f := fields{b: b}
	for f.next() {
		decodeRef(&f, &q.Ref)
		switch f.num {
		case readStamp:
			q.Stamp = f.fixed()
		case readHave:
			q.Have = f.fixed()
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

// Replicate. The reply is empty.
const (
	replicateStamp  protowire.Number = 4
	replicateObject protowire.Number = 5
)

func appendReplicateRequest(dst []byte, q coordinator.ReplicateRequest) []byte {
	dst = appendRef(dst, q.Ref)
	dst = appendFixed(dst, replicateStamp, q.Stamp)
	return appendObject(dst, replicateObject, q.Object)
}

func decodeReplicateRequest(b []byte) (q coordinator.ReplicateRequest, err error) {
	f := fields{b: b}
	for f.next() {
		decodeRef(&f, &q.Ref)
		switch f.num {
		case replicateStamp:
			q.Stamp = f.fixed()
		case replicateObject:
			q.Object = f.object()
		}
	}
	return q, f.err
}
