package antientropy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"starling/antientropy/merkle"
	"starling/store/object"
	"starling/store/version"
)

// Where few leaves differ the answer to a sketch lists all their keys; where
// many do, or the keys take too much room, it has digests.
func TestCompareListsWhatDiffersIfThatIsLittle(t *testing.T) {
	for _, keyBytes := range []int{10, 1000} {
		s, n, _, claim := answering(t)
		empty, _ := merkle.Build(make([]merkle.Node, merkle.Leaves))
		req := CompareRequest{From: n.c.owners(0)[1].id, Inner: true, Salt: 9, Roots: []RootClaim{{Claim: claim}}, Sketches: []merkle.Sketch{empty.Sketch(9)}}
		leaves := map[uint16]bool{}
		keys, listed, bytes := 0, 0, 0
		for i := 0; len(leaves) <= merkle.SketchLeaves; i++ {
			ref := object.Ref{Partition: 0, Bucket: "b", Key: fmt.Sprintf("%0*d", keyBytes, i)}
			if len(leaves) == 4 && keys < 40 && !leaves[exLeaf(ref)] {
				continue // many keys in few leaves
			}
			n.store.set(ref, object.Object{}, exPut(t, object.Object{}, 1, 1, 10))
			leaves[exLeaf(ref)] = true
			keys++
			answers, err := s.HandleCompare(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			a := answers[0]
			l, err := (&KeysRequest{Claim: claim, Inner: allInner}).list(&KeysPage{Leaves: a.Leaves})
			if err != nil {
				t.Fatal(err)
			}
			tree, _ := readTree(n.store, 0)
			bytes += digestBytes(&KeyDigest{Ref: ref, Vector: version.Vector{{}}})
			few := len(leaves) <= merkle.SketchLeaves && bytes < MaxListedBytes
			switch {
			case few && (a.Verdict != VerdictListed || len(a.Leaves) != len(leaves) || len(l.keys) != keys || a.Inner != [merkle.Fanout]merkle.Digest{}):
				t.Fatalf("%d keys of %d bytes in %d leaves: verdict %d, %d keys in %d leaves", keys, bytes, len(leaves), a.Verdict, len(l.keys), len(a.Leaves))
			case !few && (a.Verdict != VerdictDiffers || len(a.Leaves) != 0 || a.Inner != tree.InnerDigests(9)):
				t.Fatalf("%d keys of %d bytes in %d leaves: verdict %d, %d keys in %d leaves", keys, bytes, len(leaves), a.Verdict, len(l.keys), len(a.Leaves))
			case few:
				listed++
			}
		}
		if listed < 20 || keyBytes > 10 && bytes < MaxListedBytes {
			t.Fatalf("listed %d times, in the end %d bytes: the test is empty", listed, bytes)
		}
	}
}

// The room for keys is that of all partitions of an answer together.
func TestListsShareTheirRoom(t *testing.T) {
	s, n, _, claim := answering(t)
	long := strings.Repeat("k", MaxListedBytes*2/5)
	n.store.set(object.Ref{Partition: 0, Bucket: "b", Key: long}, object.Object{}, exPut(t, object.Object{}, 1, 1, 10))
	req := CompareRequest{From: n.c.owners(0)[1].id, Inner: true, Roots: make([]RootClaim, 4), Sketches: make([]merkle.Sketch, 4)}
	for i := range req.Roots {
		req.Roots[i].Claim = claim
	}
	answers, err := s.HandleCompare(t.Context(), req)
	var verdicts []Verdict
	for _, a := range answers {
		verdicts = append(verdicts, a.Verdict)
	}
	if want := []Verdict{VerdictListed, VerdictListed, VerdictDiffers, VerdictDiffers}; err != nil || !slices.Equal(verdicts, want) {
		t.Errorf("verdicts %v, %v; want %v", verdicts, err, want)
	}
	req.Sketches = req.Sketches[:3]
	if _, err := s.HandleCompare(t.Context(), req); !errors.Is(err, ErrTooMuch) {
		t.Errorf("a sketch missing: %v", err)
	}
	req.Roots, req.Sketches = make([]RootClaim, MaxSketches+1), make([]merkle.Sketch, MaxSketches+1)
	if _, err := s.HandleCompare(t.Context(), req); !errors.Is(err, ErrTooMuch) {
		t.Errorf("too many sketches: %v", err)
	}
}
