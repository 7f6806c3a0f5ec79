package antientropy

import (
	"fmt"
	"testing"

	"starling/antientropy/merkle"
	"starling/store/object"
	"starling/store/version"
)

// countedStore counts what is read of a copy.
type countedStore struct {
	*exStore
	leafReads int
}

func (s *countedStore) Leaves(p uint32) ([]merkle.Node, error) {
	s.leafReads++
	return s.exStore.Leaves(p)
}

// fewLeaves puts keys until some leaves have several, and lists those.
func fewLeaves(t *testing.T, s *exStore) map[uint16]int {
	t.Helper()
	keys := map[uint16]int{}
	for i := range 3000 {
		ref := object.Ref{Partition: 1, Bucket: "b", Key: fmt.Sprint(i)}
		dot := version.Dot{Actor: 1, Seq: uint64(i + 1)}
		if _, err := s.merge(ref, object.Object{Vector: version.Vector{}.With(dot), Siblings: []object.Sibling{{Dot: dot}}}); err != nil {
			t.Fatal(err)
		}
		keys[exLeaf(ref)]++
	}
	return keys
}

// digestsOf reads a leaf from behind a key, at most so many.
func digestsOf(t *testing.T, s ReplicaStore, leaf uint16, after object.Ref, most int) (refs []object.Ref) {
	t.Helper()
	for k, err := range s.KeyDigests(1, leaf, after) {
		if err != nil {
			t.Fatal(err)
		}
		if refs = append(refs, k.Ref); len(refs) == most {
			break
		}
	}
	return refs
}

// What was read whole once is not read again, from the beginning or from behind
// a key; what was not is read from the store.
func TestACopyIsRememberedAsItWasFirstRead(t *testing.T) {
	store := &countedStore{exStore: newExStore()}
	keys := fewLeaves(t, store.exStore)
	r := newRemembered(store)
	for leaf, n := range keys {
		if n < 3 {
			continue
		}
		if part := digestsOf(t, r, leaf, object.Ref{}, 1); len(part) != 1 {
			t.Fatalf("%d keys of a page of one", len(part))
		}
		store.reads = 0
		all := digestsOf(t, r, leaf, object.Ref{}, n+1)
		if len(all) != n || store.reads != n {
			t.Fatalf("leaf %d: %d of %d keys, %d read: a page that was broken off is not a whole leaf", leaf, len(all), n, store.reads)
		}
		store.reads = 0
		again, rest := digestsOf(t, r, leaf, object.Ref{}, n+1), digestsOf(t, r, leaf, all[0], n+1)
		if len(again) != n || len(rest) != n-1 || rest[0] != all[1] || store.reads != 0 {
			t.Fatalf("leaf %d: %d of %d keys again, %d of %d behind the first, %d read", leaf, len(again), n, len(rest), n-1, store.reads)
		}
	}
	for range 3 {
		leaves, err := r.Leaves(1)
		if err != nil || leaves[0].Keys != uint64(keys[0]) {
			t.Fatalf("leaf 0 has %d keys, %v; want %d", leaves[0].Keys, err, keys[0])
		}
		leaves[0].Keys++ // the caller keeps them
	}
	if store.leafReads != 1 {
		t.Errorf("the leaves were read %d times", store.leafReads)
	}
}

// A copy with more keys than are remembered is read from the store again.
func TestMemoryOfACopyIsBounded(t *testing.T) {
	store := newExStore()
	keys := fewLeaves(t, store)
	r := newRemembered(store)
	r.room = 2
	for leaf, n := range keys {
		for range 2 {
			if got := len(digestsOf(t, r, leaf, object.Ref{}, n+1)); got != n {
				t.Fatalf("leaf %d: %d of %d keys", leaf, got, n)
			}
		}
	}
	held := 0
	for _, list := range r.keys {
		held += len(list)
	}
	if held > 2 {
		t.Errorf("%d keys are remembered, at most 2 are wanted", held)
	}
}
