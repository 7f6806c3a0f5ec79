package rpc

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/antientropy"
	"starling/antientropy/merkle"
)

// Compare: the root of each partition, some 27 bytes, and its sketch, some 66
// more, if it has one. The reply has a byte for each partition, the digests of
// those that differ, nothing where they were not asked for, and the leaves of
// those that are listed, each like a page of keys.
const (
	compareFrom   protowire.Number = 1
	compareInner  protowire.Number = 2
	compareSalt   protowire.Number = 3
	compareRoot   protowire.Number = 4
	compareSketch protowire.Number = 5

	rootSum  protowire.Number = 3 // 1 and 2 are the claim
	rootKeys protowire.Number = 4

	comparisonVerdicts protowire.Number = 1
	comparisonInner    protowire.Number = 2
	comparisonLeaves   protowire.Number = 3

	innerBytes  = 4 * merkle.Fanout
	sketchBytes = 4 * len(merkle.Sketch{})
	maxSketches = 4 * antientropy.MaxSketches
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
	for i := range q.Sketches {
		dst = appendPacked32(dst, compareSketch, q.Sketches[i][:])
	}
	return dst
}

// compareBytes is more than a compare takes.
func compareBytes(q antientropy.CompareRequest) int {
	return 32 + 36*len(q.Roots) + (sketchBytes+4)*len(q.Sketches)
}

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
		case compareSketch:
			q.Sketches = append(q.Sketches, decodeSketch(&f, len(q.Sketches)))
		}
	}
	if n := len(q.Sketches); n > 0 && n != len(q.Roots) {
		f.fail(malformed("%d sketches of %d trees", n, len(q.Roots)))
	}
	return q, f.err
}

func decodeSketch(f *fields, have int) (s merkle.Sketch) {
	b := f.element(have, maxSketches)
	if f.err == nil && len(b) != sketchBytes {
		f.fail(malformed("field %d has %d bytes, want %d", f.num, len(b), sketchBytes))
	}
	if f.err == nil {
		fill32(s[:], b)
	}
	return s
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
var noInner [merkle.Fanout]merkle.Digest

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
	for _, c := range a {
		if c.Verdict == antientropy.VerdictListed {
			dst = appendNested(dst, comparisonLeaves, func(b []byte) []byte {
				return appendKeysPage(b, antientropy.KeysPage{Leaves: c.Leaves})
			})
		}
	}
	return dst
}

// comparisonsBytes is more than the comparisons take.
func comparisonsBytes(a []antientropy.Comparison) int {
	n := 16 + len(a)
	for _, c := range a {
		switch c.Verdict {
		case antientropy.VerdictDiffers:
			n += innerBytes + 4
		case antientropy.VerdictListed:
			n += keysPageBytes(antientropy.KeysPage{Leaves: c.Leaves})
		}
	}
	return n
}

// decodeComparisons makes much of little where partitions are equal: 160 bytes
// of one, for at most maxRoots.
func decodeComparisons(b []byte) (a []antientropy.Comparison, err error) {
	var differ, listed []*antientropy.Comparison // what differs in them is yet to come
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case comparisonVerdicts:
			a, differ, listed = f.verdicts()
		case comparisonInner:
			if len(differ) == 0 {
				f.fail(malformed("digests of a tree that does not differ"))
				break
			}
			f.inner(differ[0])
			differ = differ[1:]
		case comparisonLeaves:
			if len(listed) == 0 {
				f.fail(malformed("leaves of a tree that is not listed"))
				break
			}
			listed[0].Leaves = f.leaves()
			listed = listed[1:]
		}
	}
	if len(differ) > 0 || len(listed) > 0 {
		f.fail(malformed("no digests of the last %d trees that differ, no leaves of the last %d listed", len(differ), len(listed)))
	}
	return a, f.err
}

// leaves decodes those of a comparison, of which there are few.
func (f *fields) leaves() []antientropy.LeafKeys {
	page, err := decodeKeysPage(f.element(0, 1))
	switch {
	case err != nil:
		f.fail(err)
	case page.More || len(page.Leaves) > merkle.SketchLeaves:
		f.fail(malformed("%d leaves listed, more of them is %v", len(page.Leaves), page.More))
	}
	return page.Leaves
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

// verdicts decodes them, and says which of the comparisons are to have digests,
// and which leaves.
func (f *fields) verdicts() (a []antientropy.Comparison, differ, listed []*antientropy.Comparison) {
	b := f.raw(maxRoots)
	if f.err != nil {
		return nil, nil, nil
	}
	a = make([]antientropy.Comparison, len(b))
	for i, v := range b {
		switch a[i].Verdict = antientropy.Verdict(v); a[i].Verdict {
		case antientropy.VerdictRefused, antientropy.VerdictEqual, antientropy.VerdictBusy:
		case antientropy.VerdictDiffers:
			differ = append(differ, &a[i])
		case antientropy.VerdictListed:
			listed = append(listed, &a[i])
		default:
			f.fail(malformed("verdict %d, at most %d", v, antientropy.VerdictListed))
		}
	}
	return a, differ, listed
}
