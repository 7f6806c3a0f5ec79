package rpc

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/antientropy"
	"starling/gossip/state"
	"starling/ring"
	"starling/store/object"
)

// maxEntries bounds the objects of a page.
const maxEntries = 1 << 20

// The empty message: the request and reply of a ping, the reply of a
// replicate. Fields that a later version adds are skipped.
func decodeEmpty(b []byte) (struct{}, error) {
	f := fields{b: b}
	for f.next() {
		continue
	}
	return struct{}{}, f.err
}

// Exchange: a cluster map, both ways.
const exchangeMap protowire.Number = 1

func appendMap(dst []byte, m state.Map) []byte {
	return appendText(dst, exchangeMap, m.Append(nil))
}

func decodeMap(b []byte) (m state.Map, err error) {
	f := fields{b: b}
	found := false
	for f.next() {
		if f.num != exchangeMap {
			continue
		}
		found = true
		if raw := f.raw(state.MaxMapBytes); f.err == nil {
			if m, err = state.Decode(raw); err != nil {
				f.fail(malformed("%v", err))
			}
		}
	}
	if !found {
		f.fail(malformed("no map"))
	}
	return m, f.err
}

// Claims: the request and the reply of Confirm, and part of Pull.
const (
	claimsClaim protowire.Number = 1

	claimPartition protowire.Number = 1
	claimStamp     protowire.Number = 2
)

func appendClaims(dst []byte, claims []antientropy.Claim) []byte {
	for _, c := range claims {
		dst = appendNested(dst, claimsClaim, func(b []byte) []byte { return appendClaim(b, c) })
	}
	return dst
}

func appendClaim(dst []byte, c antientropy.Claim) []byte {
	return appendFixed(appendUint(dst, claimPartition, uint64(c.Partition)), claimStamp, c.Stamp)
}

func decodeClaims(b []byte) (claims []antientropy.Claim, err error) {
	f := fields{b: b}
	for f.next() {
		if f.num == claimsClaim {
			claims = append(claims, decodeClaim(&f, len(claims)))
		}
	}
	return claims, f.err
}

func decodeClaim(f *fields, have int) (c antientropy.Claim) {
	e := fields{b: f.element(have, ring.MaxPartitions)}
	for e.next() {
		decodeClaimed(&e, &c)
	}
	f.fail(e.err)
	return c
}

// decodeClaimed takes the field if it belongs to a claim.
func decodeClaimed(f *fields, c *antientropy.Claim) {
	switch f.num {
	case claimPartition:
		c.Partition = uint32(f.uint(maxPartitionCode))
	case claimStamp:
		c.Stamp = f.fixed()
	}
}

// Pull.
const (
	pullAfter    protowire.Number = 2 // 1 is claimsClaim
	pullMaxBytes protowire.Number = 3

	pageEntry protowire.Number = 1
	pageDone  protowire.Number = 2

	entryObject protowire.Number = 4 // 1 to 3 are the reference
)

func appendPullRequest(dst []byte, q antientropy.PullRequest) []byte {
	dst = appendClaims(dst, q.Claims)
	if q.After != (object.Ref{}) {
		dst = appendNested(dst, pullAfter, func(b []byte) []byte { return appendRef(b, q.After) })
	}
	return appendUint(dst, pullMaxBytes, uint64(q.MaxBytes))
}

func decodePullRequest(b []byte) (q antientropy.PullRequest, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case claimsClaim:
			q.Claims = append(q.Claims, decodeClaim(&f, len(q.Claims)))
		case pullAfter:
			q.After = f.ref()
		case pullMaxBytes:
			q.MaxBytes = uint32(f.uint(math.MaxUint32))
		}
	}
	return q, f.err
}

func appendPullPage(dst []byte, a antientropy.PullPage) []byte {
	dst = appendEntries(dst, pageEntry, a.Entries)
	return appendUint(dst, pageDone, uint64(a.Done))
}

func appendEntries(dst []byte, num protowire.Number, entries []object.Entry) []byte {
	for _, e := range entries {
		dst = appendHead(dst, num, sizeEntry(e))
		dst = appendObject(appendRef(dst, e.Ref), entryObject, e.Object)
	}
	return dst
}

// sizeEntry is the size of an entry, exactly.
func sizeEntry(e object.Entry) int {
	var b [maxNameBytes]byte
	n := len(appendRef(b[:0], e.Ref))
	if !e.Object.Absent() {
		n += protowire.SizeTag(entryObject) + protowire.SizeBytes(e.Object.Size())
	}
	return n
}

// entriesBytes is more than a message of these entries, and little else, takes.
func entriesBytes(entries []object.Entry) int {
	n := 32
	for _, e := range entries {
		n += refBytes(e.Ref) + e.Object.Size() + 16
	}
	return n
}

func decodePullPage(b []byte) (a antientropy.PullPage, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case pageEntry:
			a.Entries = append(a.Entries, decodeEntry(&f, len(a.Entries)))
		case pageDone:
			a.Done = uint32(f.uint(ring.MaxPartitions))
		}
	}
	return a, f.err
}

func decodeEntry(f *fields, have int) (e object.Entry) {
	in := fields{b: f.element(have, maxEntries)}
	for in.next() {
		decodeRef(&in, &e.Ref)
		if in.num == entryObject {
			e.Object = in.object()
		}
	}
	if in.err == nil && e.Object.Absent() {
		in.fail(malformed("entry without an object"))
	}
	f.fail(in.err)
	return e
}
