package rpc

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/coordinator"
	"starling/store/object"
	"starling/store/version"
)

// Forward: a put request with its sibling spread out, the value last.
const (
	forwardBucket      protowire.Number = 2
	forwardKey         protowire.Number = 3
	forwardStamp       protowire.Number = 4
	forwardConsistency protowire.Number = 5
	forwardContext     protowire.Number = 6
	forwardReadFirst   protowire.Number = 7
	forwardOp          protowire.Number = 8
	forwardTombstone   protowire.Number = 9
	forwardContentType protowire.Number = 10
	forwardMeta        protowire.Number = 11
	forwardModified    protowire.Number = 12
	forwardExpires     protowire.Number = 13
	forwardDot         protowire.Number = 14
	forwardValue       protowire.Number = 15
	forwardIncrement   protowire.Number = 16
	forwardDelta       protowire.Number = 17

	metaName  protowire.Number = 1
	metaValue protowire.Number = 2
)

func appendForwardRequest(dst []byte, q coordinator.ForwardRequest) []byte {
	p, s := &q.Put, &q.Put.Sibling
	dst = appendText(dst, forwardBucket, p.Bucket)
	dst = appendText(dst, forwardKey, p.Key)
	dst = appendFixed(dst, forwardStamp, q.Stamp)
	if p.Consistency != (coordinator.Consistency{}) {
		dst = appendNested(dst, forwardConsistency, func(b []byte) []byte { return appendConsistency(b, p.Consistency) })
	}
	dst = appendContext(dst, forwardContext, p.Context)
	dst = appendFlag(dst, forwardReadFirst, p.ReadFirst)
	dst = appendID(dst, forwardOp, s.Op)
	dst = appendFlag(dst, forwardTombstone, s.Tombstone)
	dst = appendText(dst, forwardContentType, s.ContentType)
	for _, m := range s.Meta {
		dst = appendNested(dst, forwardMeta, func(b []byte) []byte {
			return appendText(appendText(b, metaName, m.Name), metaValue, m.Value)
		})
	}
	dst = appendUint(dst, forwardModified, uint64(s.ModifiedMS))
	dst = appendUint(dst, forwardExpires, uint64(s.ExpiresMS))
	dst = appendDot(dst, forwardDot, s.Dot)
	dst = appendText(dst, forwardValue, s.Value)
	dst = appendFlag(dst, forwardIncrement, p.Increment)
	return appendUint(dst, forwardDelta, protowire.EncodeZigZag(p.Delta))
}

// forwardBytes is about the size of a forward.
func forwardBytes(q coordinator.ForwardRequest) int {
	return 256 + len(q.Put.Bucket) + len(q.Put.Key) + version.SizeContext(q.Put.Context) + len(q.Put.Sibling.Value)
}

func decodeForwardRequest(b []byte) (q coordinator.ForwardRequest, err error) {
	f := fields{b: b}
	p := &q.Put
	for f.next() {
		switch f.num {
		case forwardBucket:
			p.Bucket = f.text(maxNameBytes)
		case forwardKey:
			p.Key = f.text(maxNameBytes)
		case forwardStamp:
			q.Stamp = f.fixed()
		case forwardConsistency:
			p.Consistency = decodeConsistency(&f)
		case forwardContext:
			p.Context = f.context()
		case forwardReadFirst:
			p.ReadFirst = f.flag()
		case forwardIncrement:
			p.Increment = f.flag()
		case forwardDelta:
			p.Delta = protowire.DecodeZigZag(f.uint(math.MaxUint64))
		default:
			decodeForwardSibling(&f, &p.Sibling)
		}
	}
	return q, f.err
}

func decodeForwardSibling(f *fields, s *object.Sibling) {
	switch f.num {
	case forwardOp:
		s.Op = f.id()
	case forwardTombstone:
		s.Tombstone = f.flag()
	case forwardContentType:
		s.ContentType = f.text(maxTextBytes)
	case forwardMeta:
		s.Meta = append(s.Meta, decodeMeta(f, len(s.Meta)))
	case forwardModified:
		s.ModifiedMS = int64(f.uint(math.MaxUint64))
	case forwardExpires:
		s.ExpiresMS = int64(f.uint(math.MaxUint64))
	case forwardDot:
		s.Dot = f.dot()
	case forwardValue:
		s.Value = f.raw(math.MaxInt)
	}
}

func decodeMeta(f *fields, have int) (m object.Field) {
	e := fields{b: f.element(have, object.MaxFields)}
	for e.next() {
		switch e.num {
		case metaName:
			m.Name = e.text(maxTextBytes)
		case metaValue:
			m.Value = e.text(maxTextBytes)
		}
	}
	f.fail(e.err)
	return m
}

// Consistency.
const (
	consistencyLevel  protowire.Number = 1
	consistencyR      protowire.Number = 2
	consistencyW      protowire.Number = 3
	consistencyPR     protowire.Number = 4
	consistencyPW     protowire.Number = 5
	consistencyStrict protowire.Number = 6
)

func appendConsistency(dst []byte, c coordinator.Consistency) []byte {
	dst = appendUint(dst, consistencyLevel, uint64(c.Level))
	dst = appendUint(dst, consistencyR, uint64(c.R))
	dst = appendUint(dst, consistencyW, uint64(c.W))
	dst = appendUint(dst, consistencyPR, uint64(c.PR))
	dst = appendUint(dst, consistencyPW, uint64(c.PW))
	return appendFlag(dst, consistencyStrict, c.Strict)
}

func decodeConsistency(outer *fields) (c coordinator.Consistency) {
	f := fields{b: outer.raw(maxTextBytes)}
	for f.next() {
		switch f.num {
		case consistencyLevel:
			c.Level = coordinator.Level(f.uint(uint64(coordinator.LevelAny)))
		case consistencyR:
			c.R = int(f.uint(maxReplicas))
		case consistencyW:
			c.W = int(f.uint(maxReplicas))
		case consistencyPR:
			c.PR = int(f.uint(maxReplicas))
		case consistencyPW:
			c.PW = int(f.uint(maxReplicas))
		case consistencyStrict:
			c.Strict = f.flag()
		}
	}
	outer.fail(f.err)
	return c
}

// Versions inside messages have the encodings of package version.

func appendContext(dst []byte, num protowire.Number, c version.Context) []byte {
	if c.Empty() {
		return dst
	}
	return version.AppendContext(appendHead(dst, num, version.SizeContext(c)), c)
}

func (f *fields) context() version.Context {
	b := f.raw(math.MaxInt)
	if f.err != nil {
		return version.Context{}
	}
	c, rest, err := version.DecodeContext(b)
	switch {
	case err != nil:
		f.fail(malformed("field %d: %v", f.num, err))
	case len(rest) > 0:
		f.fail(malformed("field %d: %d bytes after the context", f.num, len(rest)))
	case c.Empty():
		f.fail(malformed("zero value of field %d written out", f.num))
	}
	return c
}

func appendDot(dst []byte, num protowire.Number, d version.Dot) []byte {
	if d == (version.Dot{}) {
		return dst
	}
	var b [18]byte
	return appendText(dst, num, version.AppendDot(b[:0], d))
}

func (f *fields) dot() version.Dot {
	b := f.raw(math.MaxInt)
	if f.err != nil {
		return version.Dot{}
	}
	d, rest, err := version.DecodeDot(b)
	switch {
	case err != nil:
		f.fail(malformed("field %d: %v", f.num, err))
	case len(rest) > 0:
		f.fail(malformed("field %d: %d bytes after the dot", f.num, len(rest)))
	}
	return d
}

// The result of a forward.
const (
	resultContext     protowire.Number = 1
	resultDot         protowire.Number = 2
	resultModified    protowire.Number = 3
	resultAcked       protowire.Number = 4
	resultHinted      protowire.Number = 5
	resultRequired    protowire.Number = 6
	resultCoordinator protowire.Number = 7
	resultReceipt     protowire.Number = 8
	resultCount       protowire.Number = 9

	receiptNode    protowire.Number = 1
	receiptOutcome protowire.Number = 2
	receiptHolder  protowire.Number = 3
)

func appendPutResult(dst []byte, a coordinator.PutResult) []byte {
	dst = appendContext(dst, resultContext, a.Context)
	dst = appendDot(dst, resultDot, a.Dot)
	dst = appendUint(dst, resultModified, uint64(a.ModifiedMS))
	dst = appendUint(dst, resultAcked, uint64(a.Acked))
	dst = appendUint(dst, resultHinted, uint64(a.Hinted))
	dst = appendUint(dst, resultRequired, uint64(a.Required))
	dst = appendID(dst, resultCoordinator, a.Coordinator)
	for _, r := range a.Replicas {
		dst = appendNested(dst, resultReceipt, func(b []byte) []byte {
			b = appendUint(appendID(b, receiptNode, r.Node), receiptOutcome, uint64(r.Outcome))
			return appendID(b, receiptHolder, r.Holder)
		})
	}
	return appendUint(dst, resultCount, protowire.EncodeZigZag(a.Count))
}

func decodePutResult(b []byte) (a coordinator.PutResult, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case resultContext:
			a.Context = f.context()
		case resultDot:
			a.Dot = f.dot()
		case resultModified:
			a.ModifiedMS = int64(f.uint(math.MaxUint64))
		case resultAcked:
			a.Acked = int(f.uint(maxReplicas))
		case resultHinted:
			a.Hinted = int(f.uint(maxReplicas))
		case resultRequired:
			a.Required = int(f.uint(maxReplicas))
		case resultCoordinator:
			a.Coordinator = f.id()
		case resultReceipt:
			a.Replicas = append(a.Replicas, decodeReceipt(&f, len(a.Replicas)))
		case resultCount:
			a.Count = protowire.DecodeZigZag(f.uint(math.MaxUint64))
		}
	}
	return a, f.err
}

func decodeReceipt(f *fields, have int) (r coordinator.Receipt) {
	e := fields{b: f.element(have, maxReplicas)}
	for e.next() {
		switch e.num {
		case receiptNode:
			r.Node = e.id()
		case receiptOutcome:
			r.Outcome = coordinator.Outcome(e.uint(uint64(coordinator.OutcomeHinted)))
		case receiptHolder:
			r.Holder = e.id()
		}
	}
	f.fail(e.err)
	return r
}
