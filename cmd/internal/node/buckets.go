package node

import (
	"context"
	"errors"
	"iter"

	"starling/coordinator"
	"starling/ring"
	"starling/store"
	"starling/store/bucket"
	"starling/store/object"
)

// keptObjects is the store in the terms of the coordinator.
type keptObjects struct{ *store.Store }

func (k keptObjects) Update(ref object.Ref, op object.OpID, make coordinator.Make) (object.Written, error) {
	return k.Store.Update(ref, op, make)
}

// living is the store without the keys of buckets that were dropped, in the terms
// of the exchange and of transfers. Owners delete such keys each in its own time:
// until then they are nothing that one could lack. The leaves have them yet, so
// two owners are not found equal before both are done.
type living struct {
	leaves
	gone func(stored string) bool
}

func (n *Node) living() living { return living{leaves{n.store}, n.coord.Gone} }

func (l living) KeyDigests(partition uint32, leaf uint16, after object.Ref) iter.Seq2[object.Digest, error] {
	return without(l.gone, l.Store.KeyDigests(partition, leaf, after), func(d object.Digest) string { return d.Ref.Bucket })
}

func (l living) Scan(partition uint32, after object.Ref) iter.Seq2[object.Entry, error] {
	return without(l.gone, l.Store.Scan(partition, after), func(e object.Entry) string { return e.Ref.Bucket })
}

func (l living) Get(ref object.Ref) (object.Object, error) {
	if l.gone(ref.Bucket) {
		return object.Object{}, nil
	}
	return l.Store.Get(ref)
}

// without leaves out what is of buckets that are gone.
func without[T any](gone func(stored string) bool, all iter.Seq2[T, error], bucketOf func(T) string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for one, err := range all {
			if err == nil && gone(bucketOf(one)) {
				continue
			}
			if !yield(one, err) {
				return
			}
		}
	}
}

// orMerged takes an object of a bucket that is gone for merged: there is nothing
// left to do about it.
func orMerged(w object.Written, err error, o object.Object) (object.Written, error) {
	if errors.Is(err, coordinator.ErrGone) {
		return object.Written{Object: o, Wait: func() error { return nil }}, nil
	}
	return w, err
}

// partitions is how many there are; 0 before the node has a ring.
func (n *Node) partitions() int {
	if v := n.coord.View(); v != nil {
		return v.Ring().Config().Partitions
	}
	return 0
}

// bucketChanges makes changes of what the cluster knows of buckets.
type bucketChanges struct{ n *Node }

// ChangeBuckets implements [api.Buckets]. A member that exchanged maps with this
// node obeys the change. One that seems down is not asked: it learns of the
// change when it is back, before it serves.
func (b bucketChanges) ChangeBuckets(ctx context.Context, change func(bucket.Registry) (bucket.Registry, error)) (bucket.Registry, []ring.NodeID, error) {
	g := b.n.gossip.Load()
	if g == nil {
		return nil, nil, coordinator.ErrNotReady
	}
	next, err := g.UpdateBuckets(change)
	if err == nil {
		err = b.n.apply()
	}
	if err != nil {
		return nil, nil, err
	}
	_, pending := ask(ctx, b.n, func(ctx context.Context, id ring.NodeID) (struct{}, error) {
		switch m := (members)(b); {
		case id == b.n.id:
			return struct{}{}, nil
		case !m.Alive(id):
			return struct{}{}, coordinator.ErrUnreachable
		default:
			return struct{}{}, m.Refresh(ctx, id)
		}
	})
	return next, pending, nil
}
