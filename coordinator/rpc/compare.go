package rpc

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/antientropy"
	"starling/antientropy/merkle"
)

// Compare: the root of each partition, some 27 bytes. The reply has a byte for
// each partition, and the digests of those that differ, nothing where they were
// not asked for.
const (
	compareFrom  protowire.Number = 1
	compareInner protowire.Number = 2
	compareSalt  protowire.Number = 3
	compareRoot  protowire.Number = 4

	rootSum  protowire.Number = 3 // 1 and 2 are the claim
	rootKeys protowire.Number = 4

	comparisonVerdicts protowire.Number = 1
	comparisonInner    protowire.Number = 2

	innerBytes = 4 * merkle.Fanout
)

func appendCompareRequest(dst []byte, q antientropy.CompareRequest) []byte {
	dst = appendFlag(appendID(dst, compareFrom, q.From), compareInner, q.Inner)
	dst = appendFixed(dst, compareSalt, q.Salt)
	for _, r := range q.Roots {
		dst = appendNested(dst, compareRoot, func(b []byte) []byte {
			b = appendFixed(appendClaim(b, r.Claim), rootSum, r.Root.Sum)
			return appendUint(b, rootKeys, r.Root.Keys)
		})
	}
	return dst
}

// compareBytes is more than a compare takes.
func compareBytes(q antientropy.CompareRequest) int { return 32 + 36*len(q.Roots) }

func decodeCompareRequest(b []byte) (q antientropy.CompareRequest, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case compareFrom:
			q.From = f.id()
		case compareInner:
			q.Inner = f.flag()
		case compareSalt:
			q.Salt = f.fixed()
		case compareRoot:
			q.Roots = append(q.Roots, decodeRoot(&f, len(q.Roots)))
		}
	}
	return q, f.err
}

func decodeRoot(f *fields, have int) (r antientropy.RootClaim) {
	e := fields{b: f.element(have, maxRoots)}
	for e.next() {
		switch e.num {
		case rootSum:
			r.Root.Sum = e.fixed()
		case rootKeys:
			r.Root.Keys = e.uint(math.MaxUint64)
		default:
			decodeClaimed(&e, &r.Claim)
		}
	}
	f.fail(e.err)
	return r
}

// noInner are the digests of a comparison without.
var noInner = antientropy.Comparison{}.Inner

func appendComparisons(dst []byte, a []antientropy.Comparison) []byte {
	if len(a) == 0 {
		return dst
	}
	dst = appendHead(dst, comparisonVerdicts, len(a))
	for _, c := range a {
		dst = append(dst, byte(c.Verdict))
	}
	for _, c := range a {
		if c.Verdict != antientropy.VerdictDiffers {
			continue
		}
		if c.Inner == noInner {
			dst = appendHead(dst, comparisonInner, 0)
			continue
		}
		dst = appendPacked32(dst, comparisonInner, c.Inner[:])
	}
	return dst
}

// comparisonsBytes is more than the comparisons take.
func comparisonsBytes(a []antientropy.Comparison) int {
	n := 16 + len(a)
	for _, c := range a {
		if c.Verdict == antientropy.VerdictDiffers {
			n += innerBytes + 4
		}
	}
	return n
}

// decodeComparisons makes much of little where partitions are equal: 132 bytes
// of one, for at most maxRoots.
func decodeComparisons(b []byte) (a []antientropy.Comparison, err error) {
	var differ []*antientropy.Comparison // whose digests are yet to come
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case comparisonVerdicts:
			a, differ = f.verdicts()
		case comparisonInner:
			if len(differ) == 0 {
				f.fail(malformed("digests of a tree that does not differ"))
				break
			}
			f.inner(differ[0])
			differ = differ[1:]
		}
	}
	if len(differ) > 0 {
		f.fail(malformed("no digests of the last %d trees that differ", len(differ)))
	}
	return a, f.err
}

// inner decodes the digests of a comparison, if there are any.
func (f *fields) inner(c *antientropy.Comparison) {
	b := f.element(0, 1)
	switch {
	case f.err != nil || len(b) == 0:
		return
	case len(b) != innerBytes:
		f.fail(malformed("field %d has %d bytes, want %d", f.num, len(b), innerBytes))
		return
	}
	if fill32(c.Inner[:], b); c.Inner == noInner {
		f.fail(malformed("zero value of field %d written out", f.num))
	}
}

// verdicts decodes them, and says which of the comparisons are to have digests.
func (f *fields) verdicts() (a []antientropy.Comparison, differ []*antientropy.Comparison) {
	b := f.raw(maxRoots)
	if f.err != nil {
		return nil, nil
	}
	a = make([]antientropy.Comparison, len(b))
	for i, v := range b {
		switch a[i].Verdict = antientropy.Verdict(v); {
		case a[i].Verdict > antientropy.VerdictDiffers:
			f.fail(malformed("verdict %d, at most %d", v, antientropy.VerdictDiffers))
		case a[i].Verdict == antientropy.VerdictDiffers:
			differ = append(differ, &a[i])
		}
	}
	return a, differ
}
