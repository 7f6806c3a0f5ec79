package store

import (
	"fmt"

	"starling/store/object"
	"starling/store/version"
)

// Purge deletes what the store holds of a key, without a trace, if it is the
// object with that [object.Object.Hash], and reports whether it did. If the key
// is gone or has changed, nothing happens: a put either comes first, and the
// purge reports false, or finds the key absent. A retry of a put that was
// purged is a new put. The wait returns when the deletion is on disk, this one or
// an earlier one of the key, whatever the durability of puts: others may delete
// the object that supersedes this one then. It is nil only with an error, and may
// be called once.
//
// The caller has the proof that nothing in the object is live, or that all
// owners hold an object that supersedes it, and that no copy of a part of it
// that is not superseded is anywhere. The object itself may come back: it is a
// tombstone as before.
//
// The errors are [ErrInvalid], [ErrDiskFull], [ErrCorrupt] and [ErrClosed],
// after which nothing has happened. Like [Store.SaveMeta] it works on most full
// disks.
func (s *Store) Purge(ref object.Ref, hash uint64) (purged bool, wait func() error, err error) {
	if err := s.stuck(); err != nil {
		return false, nil, err
	}
	r, err := s.lock(ref)
	if err != nil {
		return false, nil, err
	}
	defer s.release(r)
	if !r.holds(hash) {
		return false, s.waitFor(r.stripe.last), nil
	}
	b := s.db.NewBatch()
	change := countData(b, r, object.Object{})
	_ = b.Delete(r.key, nil) // fails for indexed batches alone
	s.actors.purged(r.key, ref.Partition, r.old.Vector)
	s.states.of(ref.Partition).begin()
	seq, wait := s.applySynced(b)
	s.applied(r, seq, change)
	s.counts.purged.Add(1)
	return true, wait, nil
}

// Prune makes v the vector of a key's object, if it is the one with that
// [object.Object.Hash], and reports whether it did: the entries that v leaves
// out are forgotten. If the key is gone or has changed, or has that vector,
// nothing happens. The wait is [object.Written].Wait, nil only with an error.
//
// The caller has the proof that every owner holds this object, that no older
// one of the key is anywhere, and that the actors of the entries that go mint
// no more.
//
// The errors are those of Purge; [ErrInvalid] also means that v claims what the
// object's vector does not, or does not cover all its siblings.
func (s *Store) Prune(ref object.Ref, hash uint64, v version.Vector) (pruned bool, wait func() error, err error) {
	r, err := s.lock(ref)
	if err != nil {
		return false, nil, err
	}
	defer s.release(r)
	if !r.holds(hash) || v.Equal(r.old.Vector) {
		return false, s.waitFor(r.stripe.last), nil
	}
	if err := checkPruned(r.old.Object, v); err != nil {
		return false, nil, err
	}
	if err := s.space.check(); err != nil {
		return false, nil, err
	}
	wait, err = s.commit(r, object.Object{Vector: v, Siblings: r.old.Siblings})
	if err != nil {
		return false, nil, err
	}
	s.counts.pruned.Add(1)
	return true, wait, nil
}

// holds reports whether the row has an object with that hash.
func (r *row) holds(hash uint64) bool {
	return r.old.size > 0 && r.old.Hash(r.ref.Bucket, r.ref.Key) == hash
}

// checkPruned refuses a vector that an object could not be pruned to.
func checkPruned(o object.Object, v version.Vector) error {
	if len(v) == 0 || !o.Vector.Descends(v) {
		return fmt.Errorf("%w: a vector of %d entries that is no part of the object's", ErrInvalid, len(v))
	}
	for i := range o.Siblings {
		if d := o.Siblings[i].Dot; !v.Covers(d) {
			return fmt.Errorf("%w: a vector that does not cover the sibling %s", ErrInvalid, d)
		}
	}
	return nil
}
