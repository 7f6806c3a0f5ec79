package store

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"starling/store/object"
	"starling/store/version"
)

// stripeCount is how many locks the keys of a store share.
const stripeCount = 1024

// stripe guards the read-merge-write of the keys that fall into it.
type stripe struct {
	mu sync.Mutex
	// last is the engine's sequence number of the last commit under mu.
	last uint64
	_    [48]byte // a cache line of its own
}

// row is a data row or a hint row under its key's lock, with the object that
// it holds.
type row struct {
	ref    object.Ref
	target [targetBytes]byte // of a hint row; zero for a data row
	key    []byte            // of the row
	hash   uint64            // of the name
	stripe *stripe
	old    stored
}

// hint reports whether r is a hint row.
func (r *row) hint() bool { return r.target != [targetBytes]byte{} }

var rows = sync.Pool{New: func() any { return new(row) }}

// lock takes the key's lock and reads the object of its data row. It must be
// released unless there is an error.
func (s *Store) lock(ref object.Ref) (*row, error) {
	r := rows.Get().(*row)
	r.ref, r.key = ref, appendDataKey(r.key[:0], ref)
	return s.lockRow(r, nameHash(r.key))
}

// lockHint does the same with the hint row of a key.
func (s *Store) lockHint(target [targetBytes]byte, ref object.Ref) (*row, error) {
	if target == ([targetBytes]byte{}) {
		return nil, fmt.Errorf("%w: hint for nobody", ErrInvalid)
	}
	r := rows.Get().(*row)
	r.ref, r.target, r.key = ref, target, appendHintKey(r.key[:0], target, ref)
	return s.lockRow(r, nameHash(r.key[targetBytes:]))
}

// lockRow does what lock does for a row whose key is set. All rows of a key
// share one lock.
func (s *Store) lockRow(r *row, hash uint64) (*row, error) {
	if !s.gate.enter() {
		r.free()
		return nil, ErrClosed
	}
	s.pacer.begin()
	r.hash, r.stripe = hash, &s.stripes[hash%stripeCount]
	r.stripe.mu.Lock()
	err := s.checkRef(r.ref, hash)
	if err == nil {
		r.old, err = s.load(r.key)
		if !r.hint() {
			err = s.lost(r.ref.Partition, err)
		}
	}
	if err != nil {
		s.release(r)
		return nil, err
	}
	return r, nil
}

// release gives back the key's lock and all that the row holds.
func (s *Store) release(r *row) {
	r.stripe.mu.Unlock()
	_ = r.old.close() // it only gives back memory
	r.free()
	s.pacer.end()
	s.gate.leave()
}

// free makes the row's memory fit for the next one.
func (r *row) free() {
	*r = row{key: r.key}
	rows.Put(r)
}

// own is o with every value that it has from the stored object copied out of
// the engine's memory.
func (r *row) own(o object.Object) object.Object {
	old := r.old.Siblings
	for i := range o.Siblings {
		sib := &o.Siblings[i]
		for len(old) > 0 && old[0].Dot.Compare(sib.Dot) < 0 {
			old = old[1:]
		}
		if len(old) > 0 && old[0].Dot == sib.Dot {
			sib.Value = cloneValue(sib.Value)
		}
	}
	return o
}

func cloneValue(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// Put writes a sibling under a dot that it mints, superseding what the context
// c covers: it is [Store.Update] with a constant. If the operation of the sibling
// is stored already, or was stored lately, nothing changes and the answer bears
// the dot of the first time.
//
// The errors of [object.Object.Update] come through; others are [ErrInvalid],
// [ErrDiskFull], [ErrCorrupt] and [ErrClosed]. After an error nothing has been
// written. Section 4.4 of the Dynamo paper, with dotted version vectors.
func (s *Store) Put(ref object.Ref, c version.Context, sib object.Sibling) (object.Written, error) {
	return s.Update(ref, sib.Op, constant(c, sib))
}

// Maker makes what a put writes of the object that a replica holds and the dot
// that the put gets: the context that it supersedes by, and the sibling, of which
// the dot and the operation are set by the store. It runs under the key's lock, so
// it must be quick and call no method of the store. It may run more than once, with
// another dot each time; the last result counts. The object must not be changed,
// and neither it nor its values may be kept or be part of the sibling: their memory
// is the engine's. It is an alias, so that others can declare Update without this package.
type Maker = func(o object.Object, dot version.Dot) (version.Context, object.Sibling, error)

// constant makes the same of every object.
func constant(c version.Context, sib object.Sibling) Maker {
	return func(object.Object, version.Dot) (version.Context, object.Sibling, error) { return c, sib, nil }
}

// Update is a put of what make makes of the stored object, in one atomic step of
// the key. If the operation op, where it is not zero, is stored already, or was
// stored lately, nothing changes, make is not called, and the answer bears the dot
// of the first time. An error of make comes through as it is; the others are those
// of [Store.Put]. After an error nothing has been written.
func (s *Store) Update(ref object.Ref, op object.OpID, make Maker) (object.Written, error) {
	r, err := s.lock(ref)
	if err != nil {
		return object.Written{}, err
	}
	defer s.release(r)
	return s.update(r, op, make)
}

// put does what Put does with a row that is locked.
func (s *Store) put(r *row, c version.Context, sib object.Sibling) (object.Written, error) {
	return s.update(r, sib.Op, constant(c, sib))
}

// update does what Update does with a row that is locked.
func (s *Store) update(r *row, op object.OpID, make Maker) (object.Written, error) {
	if d, ok := s.answered(r, op); ok {
		s.counts.retries.Add(1)
		return s.unchanged(r, d), nil
	}
	if err := s.space.check(); err != nil {
		return object.Written{}, err
	}
	c, sib, err := s.made(r, make)
	if err != nil {
		return object.Written{}, err
	}
	sib.Op = op
	next, err := r.old.Update(c, sib, s.opts.Limits)
	if err != nil {
		if errors.Is(err, object.ErrDotReused) {
			s.forgetActor(r)
		}
		return object.Written{}, err
	}
	wait, err := s.commit(r, next)
	if err != nil {
		return object.Written{}, err
	}
	if r.hint() {
		s.actors.keep(r.key, sib.Dot)
	}
	return object.Written{Object: r.own(next), Dot: sib.Dot, Changed: true, Wait: wait}, nil
}

// made is what make makes of a locked row, with its dot. What the context claims
// of the key is known only then; if it is more of the dot's actor than the row
// shows, the dot has to come from one that has forgotten nothing.
func (s *Store) made(r *row, make Maker) (version.Context, object.Sibling, error) {
	var claimed version.Vector
	for {
		dot, err := s.mint(r, claimed)
		if err != nil {
			return version.Context{}, object.Sibling{}, err
		}
		c, sib, err := make(r.old.Object, dot)
		if err != nil {
			return version.Context{}, object.Sibling{}, err
		}
		sib.Dot = dot
		if most := c.Vector.Max(dot.Actor); most <= r.old.Vector.Max(dot.Actor) || most <= claimed.Max(dot.Actor) {
			return c, sib, nil
		}
		claimed = version.Merge(claimed, c.Vector)
	}
}

// mint makes a new dot for a row, by an actor that has forgotten nothing of it.
func (s *Store) mint(r *row, claimed version.Vector) (version.Dot, error) {
	if r.hint() {
		return s.actors.mintHint(r.key, r.ref.Partition, r.old.Vector, claimed)
	}
	return s.actors.mint(r.key, r.ref.Partition, r.old.Vector, claimed)
}

// forgetActor gives up the actor that would mint for a row.
func (s *Store) forgetActor(r *row) {
	if r.hint() {
		s.actors.dropHint(r.key)
	} else {
		s.actors.drop(r.ref.Partition)
	}
}

// answered looks for an earlier run of the same put in what the row knows: a
// sibling, stamped here or by another replica, or one that was superseded.
func (s *Store) answered(r *row, op object.OpID) (version.Dot, bool) {
	if op.IsZero() {
		return version.Dot{}, false
	}
	for i := range r.old.Siblings {
		if r.old.Siblings[i].Op == op {
			return r.old.Siblings[i].Dot, true
		}
	}
	d, ok := s.recent.find(s.recent.id(op, r.key))
	// A row that was dropped in between does not hold what was answered then.
	return d, ok && r.old.Vector.Covers(d)
}

// remember keeps the operations of those siblings of a row's object, or of one
// that was merged into it, that next no longer has. The siblings that it has
// answer for themselves, for as long as they are there.
func (s *Store) remember(r *row, from, next object.Object) {
	kept := next.Siblings
	for i := range from.Siblings {
		sib := &from.Siblings[i]
		for len(kept) > 0 && kept[0].Dot.Compare(sib.Dot) < 0 {
			kept = kept[1:]
		}
		if (len(kept) == 0 || kept[0].Dot != sib.Dot) && !sib.Op.IsZero() {
			s.recent.add(s.recent.id(sib.Op, r.key), sib.Dot, next.Vector)
		}
	}
}

// Merge takes in what another replica holds of a key. It is idempotent,
// commutative and associative, as [object.Merge] is, and has no limits: the
// errors are [ErrInvalid], [ErrDiskFull], [ErrCorrupt] and [ErrClosed], after
// which nothing has been written.
func (s *Store) Merge(ref object.Ref, obj object.Object) (object.Written, error) {
	r, err := s.lock(ref)
	if err != nil {
		return object.Written{}, err
	}
	defer s.release(r)
	s.actors.observe(r.key, ref.Partition, r.old.Vector, obj.Vector)
	return s.merge(r, obj)
}

// merge does what Merge does with a row that is locked.
func (s *Store) merge(r *row, obj object.Object) (object.Written, error) {
	if obj.Equal(r.old.Object) { // no need to copy what the caller has
		return object.Written{Object: obj, Wait: s.waitFor(r.stripe.last)}, nil
	}
	next := object.Merge(r.old.Object, obj)
	if next.Equal(r.old.Object) {
		s.remember(r, obj, next)
		return s.unchanged(r, version.Dot{}), nil
	}
	if err := s.space.check(); err != nil {
		return object.Written{}, err
	}
	wait, err := s.commit(r, next)
	if err != nil {
		return object.Written{}, err
	}
	s.remember(r, obj, next)
	return object.Written{Object: r.own(next), Changed: true, Wait: wait}, nil
}

// unchanged is the answer to a write that the key holds already.
func (s *Store) unchanged(r *row, d version.Dot) object.Written {
	return object.Written{Object: r.own(r.old.Object), Dot: d, Wait: s.waitFor(r.stripe.last)}
}

// commit stores the new object of a row, with the rows that follow from it, in
// one batch. The error is [ErrHintsFull]; then nothing was written.
func (s *Store) commit(r *row, next object.Object) (wait func() error, err error) {
	b := s.db.NewBatch()
	size := next.Size()
	var change Leaf
	if r.hint() {
		if err := s.countHint(b, r, size); err != nil {
			_ = b.Close() // it only gives back memory
			return nil, err
		}
	} else {
		change = countData(b, r, next)
	}
	op := b.SetDeferred(len(r.key), size)
	copy(op.Key, r.key)
	filled(op, next.Append(op.Value[:0]), size)
	s.states.of(r.ref.Partition).begin()
	seq, wait := s.apply(b)
	s.applied(r, seq, change)
	s.remember(r, r.old.Object, next)
	return wait, nil
}

// applied takes note that the batch which changes a row, announced to its
// partition before, can be read now. Were it told earlier, Root could take the
// leaves without the batch for those with it.
func (s *Store) applied(r *row, seq uint64, change Leaf) {
	if seq > 0 {
		r.stripe.last = seq
	}
	hintWrites := uint64(0)
	if r.hint() {
		hintWrites = 1
	}
	s.states.of(r.ref.Partition).end(change, hintWrites)
}

// countData adds to the batch what keeps a partition's leaves, index,
// candidates and counts true, and returns what it changes the leaf by. The row
// goes if next is absent.
func countData(b *pebble.Batch, r *row, next object.Object) (change Leaf) {
	partition, leaf := r.ref.Partition, leafOf(r.hash)
	change = Leaf{Sum: next.Hash(r.ref.Bucket, r.ref.Key) - r.old.Hash(r.ref.Bucket, r.ref.Key)}
	indexBytes := len(r.key) + leafBytes - partitionBytes
	switch {
	case next.Absent():
		change.Keys--
		op := b.DeleteDeferred(indexBytes)
		filled(op, appendIndexKey(op.Key[:0], partition, leaf, r.ref.Bucket, r.ref.Key), indexBytes)
	case r.old.Absent():
		change.Keys++
		op := b.SetDeferred(indexBytes, 0)
		filled(op, appendIndexKey(op.Key[:0], partition, leaf, r.ref.Bucket, r.ref.Key), indexBytes)
	}
	op := b.MergeDeferred(leafBytes, leafValueBytes)
	appendLeafKey(op.Key[:0], partition, leaf)
	filled(op, change.append(op.Value[:0]), leafValueBytes)
	countStanding(b, r, next)
	return change
}

// filled finishes a record of a batch whose bytes were written in place, and
// so must be as many as was said.
func filled(op *pebble.DeferredBatchOp, written []byte, size int) {
	if len(written) != size {
		panic(fmt.Errorf("store: encoding of %d bytes where %d were counted", len(written), size))
	}
	_ = op.Finish() // fails for indexed batches alone
}
