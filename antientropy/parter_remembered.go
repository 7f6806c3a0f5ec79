package antientropy

import (
	"iter"
	"slices"

	"starling/antientropy/merkle"
	"starling/store/object"
)

// maxRemembered is how many keys of a copy are remembered.
const maxRemembered = 1 << 16

// remembered is the store as it was when a copy was read first: each owner is
// compared with the same leaves and keys, under every salt, and they are read
// once. A copy that is given up gets no writes, and what a purge takes out of
// it meanwhile is seen when the object itself is read. It is for one goroutine,
// and one partition.
type remembered struct {
	ReplicaStore
	leaves []merkle.Node
	keys   map[uint16][]KeyDigest // of a whole leaf
	room   int
}

func newRemembered(s ReplicaStore) *remembered {
	return &remembered{ReplicaStore: s, keys: map[uint16][]KeyDigest{}, room: maxRemembered}
}

func (r *remembered) Leaves(partition uint32) ([]merkle.Node, error) {
	if r.leaves == nil {
		leaves, err := r.ReplicaStore.Leaves(partition)
		if err != nil {
			return nil, err
		}
		r.leaves = leaves
	}
	return slices.Clone(r.leaves), nil
}

func (r *remembered) KeyDigests(partition uint32, leaf uint16, after object.Ref) iter.Seq2[KeyDigest, error] {
	keys, known := r.keys[leaf]
	switch {
	case known:
		return behind(keys, KeyPosition{leaf, after})
	case after != object.Ref{} || r.room == 0:
		return r.ReplicaStore.KeyDigests(partition, leaf, after)
	}
	return func(yield func(KeyDigest, error) bool) {
		var keys []KeyDigest
		for k, err := range r.ReplicaStore.KeyDigests(partition, leaf, after) {
			if err == nil && len(keys) < r.room {
				keys = append(keys, k)
			} else {
				r.room = 0 // an error, or too many
			}
			if !yield(k, err) {
				return
			}
		}
		if r.room > 0 {
			r.keys[leaf] = keys
			r.room -= len(keys)
		}
	}
}

// behind ranges over the keys of a leaf that come after a position in it.
func behind(keys []KeyDigest, after KeyPosition) iter.Seq2[KeyDigest, error] {
	return func(yield func(KeyDigest, error) bool) {
		for _, k := range keys {
			if after.Compare(KeyPosition{after.Leaf, k.Ref}) < 0 && !yield(k, nil) {
				return
			}
		}
	}
}
