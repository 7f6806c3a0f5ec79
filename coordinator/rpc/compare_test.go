package rpc

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/antientropy"
	"starling/antientropy/merkle"
)

func testCompare() antientropy.CompareRequest {
	q := antientropy.CompareRequest{From: nodeA, Inner: true, Salt: 0x1112131415161718, Roots: []antientropy.RootClaim{
		{Claim: testClaim, Root: merkle.Node{Sum: 1 << 60, Keys: 300}},
		{Claim: testClaims[1], Root: merkle.Node{Sum: math.MaxUint64, Keys: math.MaxUint64}},
	}}
	for i := range q.Roots {
		var s merkle.Sketch
		for k := range s {
			s[k] = math.MaxUint32 - uint32(i<<8|k)
		}
		q.Sketches = append(q.Sketches, s)
	}
	return q
}

// testComparison is a comparison with other digests for every seed.
func testComparison(seed uint32) antientropy.Comparison {
	c := antientropy.Comparison{Verdict: antientropy.VerdictDiffers}
	for i := range c.Inner {
		c.Inner[i] = merkle.Digest(seed<<16 | uint32(i))
	}
	return c
}

func testListed() antientropy.Comparison {
	return antientropy.Comparison{Verdict: antientropy.VerdictListed, Leaves: append(testKeysPage().Leaves[:1:1], antientropy.LeafKeys{Leaf: 9})}
}

// testComparisons have digests and leaves as the verdicts want them, so that no
// one comparison has every field.
func testComparisons() []antientropy.Comparison {
	return []antientropy.Comparison{
		{Verdict: antientropy.VerdictEqual}, testComparison(1), {Verdict: antientropy.VerdictRefused}, testListed(),
		{Verdict: antientropy.VerdictDiffers}, testComparison(2), {Verdict: antientropy.VerdictBusy}, {Verdict: antientropy.VerdictListed},
	}
}

// Digests come for the partitions that differ alone, if they were asked for,
// and leaves for those that are listed.
func TestMixedComparisons(t *testing.T) {
	b := appendComparisons(nil, testComparisons())
	golden(t, "compare-reply-mixed", b)
	got, err := decodeComparisons(b)
	wantErr(t, err, nil)
	same(t, got, testComparisons())
	b = protowire.AppendString(protowire.AppendTag(b, 103, protowire.BytesType), "new")
	got, err = decodeComparisons(b)
	wantErr(t, err, nil)
	same(t, got, testComparisons())
}

// A comparison of roots alone is the same as before there were sketches.
func TestCompareWithoutSketches(t *testing.T) {
	q := testCompare()
	q.Sketches = nil
	b := appendCompareRequest(nil, q)
	golden(t, "compare-request", b)
	got, err := decodeCompareRequest(b)
	wantErr(t, err, nil)
	same(t, got, q)
	replies := []antientropy.Comparison{testComparison(1), testComparison(2)}
	b = appendComparisons(nil, replies)
	golden(t, "compare-reply", b)
	answers, err := decodeComparisons(b)
	wantErr(t, err, nil)
	same(t, answers, replies)
}

// FuzzComparisons does what FuzzMessages does.
func FuzzComparisons(f *testing.F) {
	f.Add(appendComparisons(nil, testComparisons()))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeComparisons(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v is not ErrMalformed", err)
			}
			return
		}
		again := appendComparisons(nil, got)
		if len(again) > len(b) || len(again) == len(b) && !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
		twice, err := decodeComparisons(again)
		if err != nil || !reflect.DeepEqual(twice, got) {
			t.Fatalf("%+v became %+v, %v", got, twice, err)
		}
	})
}
