package antientropy

import (
	"context"
	"fmt"

	"starling/store/object"
)

// keyReader reads the keys of some leaves, one leaf after another, until the
// bounds are reached.
type keyReader struct {
	store             ReplicaStore
	partition         uint32
	maxKeys, maxBytes int
}

// full: the bounds are reached, with the last key that was read.
func (r *keyReader) full() bool { return r.maxKeys <= 0 || r.maxBytes <= 0 }

// leaves reads those that are not before a position, until the bounds are
// reached.
func (r *keyReader) leaves(ctx context.Context, numbers []uint16, after KeyPosition) (leaves []LeafKeys, err error) {
	for _, leaf := range numbers {
		switch {
		case leaf < after.Leaf:
			continue
		case r.full():
			return leaves, nil
		}
		keys, err := r.read(ctx, leaf, after)
		if err != nil {
			return nil, err
		}
		leaves = append(leaves, LeafKeys{Leaf: leaf, Keys: keys})
	}
	return leaves, nil
}

// read gives the keys of a leaf that are behind a position, as many as the
// bounds allow.
func (r *keyReader) read(ctx context.Context, leaf uint16, after KeyPosition) ([]KeyDigest, error) {
	var from object.Ref
	if leaf == after.Leaf {
		from = after.Ref
	}
	var keys []KeyDigest
	for k, err := range r.store.KeyDigests(r.partition, leaf, from) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("antientropy: partition %d, leaf %d: %w", r.partition, leaf, err)
		}
		keys = append(keys, k)
		r.maxKeys--
		r.maxBytes -= digestBytes(&k)
		if r.full() {
			break
		}
	}
	return keys, nil
}

// digestBytes is about what a digest takes in a message.
func digestBytes(k *KeyDigest) int {
	const fixed, dot = 24, 18
	return fixed + len(k.Ref.Bucket) + len(k.Ref.Key) + dot*len(k.Vector)
}
