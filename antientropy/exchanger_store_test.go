package antientropy

import (
	"hash/fnv"
	"iter"
	"maps"
	"slices"
	"sync"

	"starling/antientropy/merkle"
	"starling/store/object"
)

// exStore is a replica in memory, with its tree.
type exStore struct {
	mu      sync.Mutex
	objects map[uint32]map[uint16]map[object.Ref]object.Object
	leaves  map[uint32][]merkle.Node
	roots   map[uint32]merkle.Node
	fail    error
	// reads are the most digests that one range gave.
	reads int
	// onGet runs before an object is read; may be nil.
	onGet func()
}

func newExStore() *exStore {
	return &exStore{objects: map[uint32]map[uint16]map[object.Ref]object.Object{}, leaves: map[uint32][]merkle.Node{}, roots: map[uint32]merkle.Node{}}
}

func exLeaf(ref object.Ref) uint16 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(ref.Bucket + "\x00" + ref.Key))
	return uint16(h.Sum32() % merkle.Leaves)
}

// merge is what the real store does under its locks.
func (s *exStore) merge(ref object.Ref, o object.Object) (object.Written, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return object.Written{}, s.fail
	}
	old := s.object(ref)
	merged := object.Merge(old, o)
	changed := !merged.Equal(old)
	if changed {
		s.set(ref, old, merged)
	}
	return object.Written{Object: merged, Changed: changed, Wait: func() error { return nil }}, nil
}

func (s *exStore) object(ref object.Ref) object.Object {
	return s.objects[ref.Partition][exLeaf(ref)][ref]
}

func (s *exStore) set(ref object.Ref, old, next object.Object) {
	p, leaf := ref.Partition, exLeaf(ref)
	if s.objects[p] == nil {
		s.objects[p] = map[uint16]map[object.Ref]object.Object{}
		s.leaves[p] = make([]merkle.Node, merkle.Leaves)
	}
	if s.objects[p][leaf] == nil {
		s.objects[p][leaf] = map[object.Ref]object.Object{}
	}
	change := merkle.Node{Sum: next.Hash(ref.Bucket, ref.Key) - old.Hash(ref.Bucket, ref.Key)}
	if old.Absent() {
		change.Keys = 1
	}
	if next.Absent() {
		change.Keys--
		delete(s.objects[p][leaf], ref)
	} else {
		s.objects[p][leaf][ref] = next
	}
	s.leaves[p][leaf] = s.leaves[p][leaf].Plus(change)
	s.roots[p] = s.roots[p].Plus(change)
}

// copyFrom makes an empty store hold what another holds.
func (s *exStore) copyFrom(o *exStore) {
	for p, leaves := range o.objects {
		s.objects[p] = map[uint16]map[object.Ref]object.Object{}
		for leaf, objects := range leaves {
			s.objects[p][leaf] = maps.Clone(objects)
		}
		s.leaves[p], s.roots[p] = slices.Clone(o.leaves[p]), o.roots[p]
	}
}

func (s *exStore) Root(p uint32) (merkle.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roots[p], s.fail
}

func (s *exStore) Leaves(p uint32) ([]merkle.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(make([]merkle.Node, 0, merkle.Leaves), append(slices.Clone(s.leaves[p]), make([]merkle.Node, merkle.Leaves)...)[:merkle.Leaves]...), s.fail
}

func (s *exStore) KeyDigests(p uint32, leaf uint16, after object.Ref) iter.Seq2[KeyDigest, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	fail := s.fail
	var keys []KeyDigest
	for ref, o := range s.objects[p][leaf] {
		if compareRefs(ref, after) > 0 {
			keys = append(keys, KeyDigest{Ref: ref, Hash: o.Hash(ref.Bucket, ref.Key), Vector: o.Vector})
		}
	}
	slices.SortFunc(keys, func(a, b KeyDigest) int { return compareRefs(a.Ref, b.Ref) })
	return func(yield func(KeyDigest, error) bool) {
		if fail != nil {
			yield(KeyDigest{}, fail)
			return
		}
		for i, k := range keys {
			s.mu.Lock()
			s.reads = max(s.reads, i+1)
			s.mu.Unlock()
			if !yield(k, nil) {
				return
			}
		}
	}
}

func (s *exStore) Get(ref object.Ref) (object.Object, error) {
	if s.onGet != nil {
		s.onGet()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.object(ref), s.fail
}

// all lists what the store holds.
func (s *exStore) all() map[object.Ref]object.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[object.Ref]object.Object{}
	for _, leaves := range s.objects {
		for _, objects := range leaves {
			maps.Copy(all, objects)
		}
	}
	return all
}
