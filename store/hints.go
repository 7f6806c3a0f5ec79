package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"starling/store/object"
	"starling/store/version"
)

// PutHint is [Store.Put] into the hint for a target, the ID of a node that
// should have taken the write: for a coordinator that reaches no replica of the
// key at all. The dot is that of an actor of this hint alone. A put that is
// tried again gets the same dot as long as the hint knows of it.
//
// The errors are those of Put, and [ErrHintsFull] if the hint has to grow and
// there is no room. After an error nothing has been written.
func (s *Store) PutHint(target [16]byte, ref object.Ref, c version.Context, sib object.Sibling) (object.Written, error) {
	r, err := s.lockHint(target, ref)
	if err != nil {
		return object.Written{}, err
	}
	defer s.release(r)
	return s.put(r, c, sib)
}

// MergeHint is [Store.Merge] into the hint for a target, the ID of a node that
// should have taken the object. A key has at most one hint for each target,
// however often it is written.
//
// The errors are those of Merge, and [ErrHintsFull] if the hint has to grow and
// there is no room. After an error nothing has been written.
func (s *Store) MergeHint(target [16]byte, ref object.Ref, o object.Object) (object.Written, error) {
	r, err := s.lockHint(target, ref)
	if err != nil {
		return object.Written{}, err
	}
	defer s.release(r)
	return s.merge(r, o)
}

// Hinted is what the hints hold of one key, in the order of their targets. A
// hint that cannot be read is [ErrCorrupt] or another error, never left out.
// It costs next to nothing while the store has no hints.
func (s *Store) Hinted(ref object.Ref) ([]object.Hint, error) {
	targets := s.hints.targets()
	if len(targets) == 0 {
		return nil, nil
	}
	if !s.gate.enter() {
		return nil, ErrClosed
	}
	defer s.gate.leave()
	r := rows.Get().(*row)
	defer r.free()
	var hints []object.Hint
	for _, target := range targets {
		r.key = appendHintKey(r.key[:0], target, ref)
		if err := s.checkRef(ref, nameHash(r.key[targetBytes:])); err != nil {
			return nil, err
		}
		o, found, err := s.read(r.key)
		if err != nil {
			return nil, err
		}
		if found {
			hints = append(hints, object.Hint{Target: target, Ref: ref, Object: o})
		}
	}
	return hints, nil
}

// DropHint deletes the hint for a target whose object still has that
// [object.Object.Hash], and reports whether it did. If the hint is gone or has
// changed, nothing happens. The target's node need not be a member any more.
//
// The deletion gets to the disk with the next write that is synced: after a
// crash before that the hint is there again, to be delivered once more. A hint
// that cannot be read is [ErrCorrupt] and stays. Like [Store.SaveMeta] it works
// on most full disks.
func (s *Store) DropHint(target [16]byte, ref object.Ref, hash uint64) (bool, error) {
	if err := s.stuck(); err != nil {
		return false, err
	}
	r, err := s.lockHint(target, ref)
	if err != nil {
		return false, err
	}
	defer s.release(r)
	if r.old.size == 0 || r.old.Hash(ref.Bucket, ref.Key) != hash {
		return false, nil
	}
	freed := hintTotals{hints: -1, bytes: -int64(len(r.key) + r.old.size)}
	b := s.db.NewBatch()
	_ = b.Delete(r.key, nil) // fails for indexed batches alone
	countHints(b, target, freed)
	s.actors.dropHint(r.key)
	s.applyLazily(b)
	s.hints.add(target, freed) // now, when the room is free
	s.counts.hintsDeleted.Add(1)
	return true, nil
}

// HintWrites counts the hints for keys of a partition that were written since
// the store was opened, whatever became of them: each that changed something
// counts once, before its writer gets the answer and before DropHint can delete
// it. So if two numbers are equal, the first read before a look at [Store.Hinted]
// and the second after another, and neither look found a hint of a key, then the
// key had none in between.
func (s *Store) HintWrites(partition uint32) uint64 {
	if partition >= MaxPartitions {
		return 0
	}
	p := s.states.of(partition)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hintWrites
}

// countHint adds to the batch what keeps the totals of a hint row's target
// true, when the row's value gets that size, and takes the room for it.
func (s *Store) countHint(b *pebble.Batch, r *row, size int) error {
	d := hintTotals{bytes: int64(size - r.old.size)}
	if r.old.size == 0 {
		d = hintTotals{hints: 1, bytes: int64(len(r.key) + size)}
	}
	if err := s.hints.reserve(r.target, d); err != nil {
		s.counts.hintsRefused.Add(1)
		return fmt.Errorf("%w: %d more bytes for %x", err, d.bytes, r.target)
	}
	countHints(b, r.target, d)
	s.counts.hintsStored.Add(1)
	return nil
}
