package rpc

import (
	"math"
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/antientropy"
	"starling/antientropy/merkle"
	"starling/store/object"
	"starling/store/version"
)

// The bounds of an exchange's messages, several times what a node asks for.
const (
	maxRoots = 4 * antientropy.MaxRoots
	maxKeys  = 4 * antientropy.MaxKeysPage
	maxRefs  = 4 * antientropy.MaxRefs
)

// Keys. The reply names the partition of every key, like any other reference.
const (
	keysSalt   protowire.Number = 3 // 1 and 2 are the claim
	keysInner  protowire.Number = 4
	keysLeaves protowire.Number = 5
	keysAfter  protowire.Number = 6
	keysMax    protowire.Number = 7

	positionLeaf protowire.Number = 4 // 1 to 3 are the reference

	keysPageLeaf protowire.Number = 1
	keysPageMore protowire.Number = 2

	leafNumber protowire.Number = 1
	leafKey    protowire.Number = 2

	digestHash   protowire.Number = 4 // 1 to 3 are the reference
	digestVector protowire.Number = 5
)

func appendKeysRequest(dst []byte, q antientropy.KeysRequest) []byte {
	dst = appendFixed(appendClaim(dst, q.Claim), keysSalt, q.Salt)
	dst = appendUint(dst, keysInner, uint64(q.Inner))
	dst = appendPacked32(dst, keysLeaves, q.Leaves)
	if q.After != (antientropy.KeyPosition{}) {
		dst = appendNested(dst, keysAfter, func(b []byte) []byte {
			return appendUint(appendRef(b, q.After.Ref), positionLeaf, uint64(q.After.Leaf))
		})
	}
	return appendUint(dst, keysMax, uint64(q.MaxKeys))
}

// keysRequestBytes is more than the request takes.
func keysRequestBytes(q antientropy.KeysRequest) int {
	return 64 + 4*len(q.Leaves) + refBytes(q.After.Ref)
}

func decodeKeysRequest(b []byte) (q antientropy.KeysRequest, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case keysSalt:
			q.Salt = f.fixed()
		case keysInner:
			q.Inner = uint32(f.uint(math.MaxUint32))
		case keysLeaves:
			q.Leaves = packed32[merkle.Digest](&f, merkle.Leaves)
		case keysAfter:
			q.After = decodePosition(&f)
		case keysMax:
			q.MaxKeys = uint32(f.uint(maxKeys))
		default:
			decodeClaimed(&f, &q.Claim)
		}
	}
	if want := merkle.Fanout * bits.OnesCount32(q.Inner); len(q.Leaves) != want {
		f.fail(malformed("digests of %d leaves, want %d", len(q.Leaves), want))
	}
	return q, f.err
}

func decodePosition(f *fields) (p antientropy.KeyPosition) {
	e := fields{b: f.raw(math.MaxInt)}
	for e.next() {
		if e.num == positionLeaf {
			p.Leaf = uint16(e.uint(merkle.Leaves - 1))
			continue
		}
		decodeRef(&e, &p.Ref)
	}
	f.fail(e.err)
	return p
}

func appendKeysPage(dst []byte, a antientropy.KeysPage) []byte {
	for _, leaf := range a.Leaves {
		dst = appendNested(dst, keysPageLeaf, func(b []byte) []byte {
			b = appendUint(b, leafNumber, uint64(leaf.Leaf))
			for _, k := range leaf.Keys {
				b = appendNested(b, leafKey, func(b []byte) []byte { return appendKeyDigest(b, k) })
			}
			return b
		})
	}
	return appendFlag(dst, keysPageMore, a.More)
}

func appendKeyDigest(dst []byte, k antientropy.KeyDigest) []byte {
	dst = appendFixed(appendRef(dst, k.Ref), digestHash, k.Hash)
	return appendVector(dst, digestVector, k.Vector)
}

// keysPageBytes is more than a page, and little else, takes.
func keysPageBytes(a antientropy.KeysPage) int {
	n := 16 + 8*len(a.Leaves)
	for _, leaf := range a.Leaves {
		for _, k := range leaf.Keys {
			n += refBytes(k.Ref) + version.SizeVector(k.Vector) + 16
		}
	}
	return n
}

func decodeKeysPage(b []byte) (a antientropy.KeysPage, err error) {
	f := fields{b: b}
	keys := 0
	for f.next() {
		switch f.num {
		case keysPageLeaf:
			leaf := decodeLeafKeys(&f, len(a.Leaves), keys)
			if n := len(a.Leaves); n > 0 && leaf.Leaf <= a.Leaves[n-1].Leaf {
				f.fail(malformed("leaf %d out of order", leaf.Leaf))
			}
			keys += len(leaf.Keys)
			a.Leaves = append(a.Leaves, leaf)
		case keysPageMore:
			a.More = f.flag()
		}
	}
	return a, f.err
}

// decodeLeafKeys decodes a leaf of a page, of which there were so many leaves
// and keys so far.
func decodeLeafKeys(f *fields, leaves, keys int) (leaf antientropy.LeafKeys) {
	e := fields{b: f.element(leaves, merkle.Leaves)}
	for e.next() {
		switch e.num {
		case leafNumber:
			leaf.Leaf = uint16(e.uint(merkle.Leaves - 1))
		case leafKey:
			leaf.Keys = append(leaf.Keys, decodeKeyDigest(&e, keys+len(leaf.Keys)))
		}
	}
	f.fail(e.err)
	return leaf
}

// decodeKeyDigest insists on the vector, which every object has: without one,
// a few bytes of a message would become many in memory.
func decodeKeyDigest(f *fields, have int) (k antientropy.KeyDigest) {
	e := fields{b: f.element(have, maxKeys)}
	for e.next() {
		switch e.num {
		case digestHash:
			k.Hash = e.fixed()
		case digestVector:
			k.Vector = e.vector()
		default:
			decodeRef(&e, &k.Ref)
		}
	}
	if len(k.Vector) == 0 {
		e.fail(malformed("key without a vector"))
	}
	f.fail(e.err)
	return k
}

// Fetch. The reply has the fields of a pull's page.
const (
	fetchRef      protowire.Number = 3 // 1 and 2 are the claim
	fetchMaxBytes protowire.Number = 4
)

func appendFetchRequest(dst []byte, q antientropy.FetchRequest) []byte {
	dst = appendClaim(dst, q.Claim)
	for _, r := range q.Refs {
		dst = appendNested(dst, fetchRef, func(b []byte) []byte { return appendRef(b, r) })
	}
	return appendUint(dst, fetchMaxBytes, uint64(q.MaxBytes))
}

// fetchBytes is more than a fetch takes.
func fetchBytes(q antientropy.FetchRequest) int {
	n := 32
	for _, r := range q.Refs {
		n += refBytes(r)
	}
	return n
}

func decodeFetchRequest(b []byte) (q antientropy.FetchRequest, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case fetchRef:
			q.Refs = append(q.Refs, decodeWanted(&f, len(q.Refs)))
		case fetchMaxBytes:
			q.MaxBytes = uint32(f.uint(math.MaxUint32))
		default:
			decodeClaimed(&f, &q.Claim)
		}
	}
	return q, f.err
}

// decodeWanted insists on a key, see decodeKeyDigest.
func decodeWanted(f *fields, have int) (r object.Ref) {
	e := fields{b: f.element(have, maxRefs)}
	for e.next() {
		decodeRef(&e, &r)
	}
	if r.Key == "" {
		e.fail(malformed("reference without a key"))
	}
	f.fail(e.err)
	return r
}

func appendFetchPage(dst []byte, a antientropy.FetchPage) []byte {
	return appendPullPage(dst, antientropy.PullPage(a))
}

func decodeFetchPage(b []byte) (antientropy.FetchPage, error) {
	a, err := decodePullPage(b)
	return antientropy.FetchPage(a), err
}

// Push.
const pushEntry protowire.Number = 3 // 1 and 2 are the claim

func appendPushRequest(dst []byte, q antientropy.PushRequest) []byte {
	return appendEntries(appendClaim(dst, q.Claim), pushEntry, q.Entries)
}

func decodePushRequest(b []byte) (q antientropy.PushRequest, err error) {
	f := fields{b: b}
	for f.next() {
		if f.num == pushEntry {
			q.Entries = append(q.Entries, decodeEntry(&f, len(q.Entries)))
			continue
		}
		decodeClaimed(&f, &q.Claim)
	}
	return q, f.err
}

// A count: the reply of a push and of a purge.
const countCount protowire.Number = 1

func appendCount(dst []byte, n uint32) []byte { return appendUint(dst, countCount, uint64(n)) }

func decodeCount(b []byte) (n uint32, err error) {
	f := fields{b: b}
	for f.next() {
		if f.num == countCount {
			n = uint32(f.uint(math.MaxUint32))
		}
	}
	return n, f.err
}
