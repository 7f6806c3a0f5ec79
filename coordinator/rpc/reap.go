package rpc

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/antientropy"
	"starling/store/object"
	"starling/store/version"
)

// maxActors bounds the actors of a verify's reply.
const maxActors = 1 << 20

// What the messages of a purge say of a key: a candidate without its stamp, a
// key to verify, a key to purge.
const (
	reapHash   protowire.Number = 5 // 1 to 4 are the reference and the stamp
	reapReap   protowire.Number = 6
	reapVector protowire.Number = 7
)

// reapKey is a key in any of the three.
type reapKey = antientropy.VerifyKey

func appendReapKey(dst []byte, num protowire.Number, k reapKey) []byte {
	return appendNested(dst, num, func(b []byte) []byte {
		b = appendFixed(appendPlaced(b, k.Ref, k.Stamp), reapHash, k.Hash)
		return appendVector(appendUint(b, reapReap, uint64(k.Reap)), reapVector, k.Vector)
	})
}

// reapKeyBytes is more than a key takes.
func reapKeyBytes(r object.Ref, v version.Vector) int {
	return refBytes(r) + version.SizeVector(v) + 28
}

// decodeReapKey insists on what is to be done, and on the vector, which every
// object has: a key that lacks them must not be taken for one of few.
func decodeReapKey(f *fields, have int) (k reapKey) {
	e := fields{b: f.element(have, maxKeys)}
	for e.next() {
		switch e.num {
		case reapHash:
			k.Hash = e.fixed()
		case reapReap:
			k.Reap = antientropy.Reap(e.uint(uint64(antientropy.ReapPrune)))
		case reapVector:
			k.Vector = e.vector()
		default:
			decodePlaced(&e, &k.Ref, &k.Stamp)
		}
	}
	if k.Reap == 0 || len(k.Vector) == 0 {
		e.fail(malformed("key to reap without a vector, or what to do"))
	}
	f.fail(e.err)
	return k
}

// Candidates.
const (
	candidatesAfter protowire.Number = 1
	candidatesMax   protowire.Number = 2

	candidatesPageKey  protowire.Number = 1
	candidatesPageMore protowire.Number = 2
)

func appendCandidatesRequest(dst []byte, q antientropy.CandidatesRequest) []byte {
	if q.After != (object.Ref{}) {
		dst = appendNested(dst, candidatesAfter, func(b []byte) []byte { return appendRef(b, q.After) })
	}
	return appendUint(dst, candidatesMax, uint64(q.Max))
}

func decodeCandidatesRequest(b []byte) (q antientropy.CandidatesRequest, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case candidatesAfter:
			q.After = f.ref()
		case candidatesMax:
			q.Max = uint32(f.uint(maxKeys))
		}
	}
	return q, f.err
}

func appendCandidatesPage(dst []byte, a antientropy.CandidatesPage) []byte {
	for _, c := range a.Candidates {
		dst = appendReapKey(dst, candidatesPageKey, reapKey{Ref: c.Ref, Hash: c.Hash, Reap: c.Reap, Vector: c.Vector})
	}
	return appendFlag(dst, candidatesPageMore, a.More)
}

// candidatesPageBytes is more than a page, and little else, takes.
func candidatesPageBytes(a antientropy.CandidatesPage) int {
	n := 16
	for _, c := range a.Candidates {
		n += reapKeyBytes(c.Ref, c.Vector)
	}
	return n
}

func decodeCandidatesPage(b []byte) (a antientropy.CandidatesPage, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case candidatesPageKey:
			k := decodeReapKey(&f, len(a.Candidates))
			a.Candidates = append(a.Candidates, antientropy.Candidate{Ref: k.Ref, Hash: k.Hash, Reap: k.Reap, Vector: k.Vector})
		case candidatesPageMore:
			a.More = f.flag()
		}
	}
	return a, f.err
}

// Verify, and Purge, whose request has the same fields. The reply of Purge is
// a count.
const (
	reapFence protowire.Number = 1
	reapKeys  protowire.Number = 2

	verifyFence      protowire.Number = 1
	verifyBoot       protowire.Number = 2
	verifyStates     protowire.Number = 3
	verifyHintWrites protowire.Number = 4
	verifyActors     protowire.Number = 5
)

func appendReap[K reapKey | antientropy.PurgeKey](dst []byte, fence uint64, keys []K) []byte {
	dst = appendUint(dst, reapFence, fence)
	for _, k := range keys {
		dst = appendReapKey(dst, reapKeys, reapKey(k))
	}
	return dst
}

// reapBytes is more than the request, and little else, takes.
func reapBytes[K reapKey | antientropy.PurgeKey](keys []K) int {
	n := 16
	for _, k := range keys {
		n += reapKeyBytes(reapKey(k).Ref, reapKey(k).Vector)
	}
	return n
}

func decodeReap[K reapKey | antientropy.PurgeKey](b []byte) (fence uint64, keys []K, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case reapFence:
			fence = f.uint(math.MaxUint64)
		case reapKeys:
			keys = append(keys, K(decodeReapKey(&f, len(keys))))
		}
	}
	return fence, keys, f.err
}

func appendVerifyRequest(dst []byte, q antientropy.VerifyRequest) []byte {
	return appendReap(dst, q.Fence, q.Keys)
}

func decodeVerifyRequest(b []byte) (q antientropy.VerifyRequest, err error) {
	q.Fence, q.Keys, err = decodeReap[antientropy.VerifyKey](b)
	return q, err
}

func appendPurgeRequest(dst []byte, q antientropy.PurgeRequest) []byte {
	return appendReap(dst, q.Fence, q.Keys)
}

func decodePurgeRequest(b []byte) (q antientropy.PurgeRequest, err error) {
	q.Fence, q.Keys, err = decodeReap[antientropy.PurgeKey](b)
	return q, err
}

func appendVerifyReply(dst []byte, a antientropy.VerifyReply) []byte {
	dst = appendUint(dst, verifyFence, a.Fence)
	dst = appendUint(dst, verifyBoot, a.Boot)
	if len(a.States) > 0 {
		dst = appendHead(dst, verifyStates, len(a.States))
		for _, s := range a.States {
			dst = append(dst, byte(s))
		}
	}
	dst = appendPacked(dst, verifyHintWrites, a.HintWrites)
	return appendPacked64(dst, verifyActors, a.Actors)
}

// verifyReplyBytes is more than the reply takes.
func verifyReplyBytes(a antientropy.VerifyReply) int {
	return 48 + len(a.States) + sizePacked(a.HintWrites) + 8*len(a.Actors)
}

func decodeVerifyReply(b []byte) (a antientropy.VerifyReply, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case verifyFence:
			a.Fence = f.uint(math.MaxUint64)
		case verifyBoot:
			a.Boot = f.uint(math.MaxUint64)
		case verifyStates:
			a.States = f.states()
		case verifyHintWrites:
			for x := range f.packed(maxKeys) {
				a.HintWrites = append(a.HintWrites, x)
			}
		case verifyActors:
			a.Actors = packed64[version.Actor](&f, maxActors)
		}
	}
	return a, f.err
}

func (f *fields) states() []antientropy.KeyState {
	b := f.raw(maxKeys)
	if f.err != nil {
		return nil
	}
	states := make([]antientropy.KeyState, len(b))
	for i, x := range b {
		if states[i] = antientropy.KeyState(x); states[i] > antientropy.StateAgreed {
			f.fail(malformed("state %d of a key, at most %d", x, antientropy.StateAgreed))
		}
	}
	return states
}
