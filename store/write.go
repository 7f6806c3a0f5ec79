package store

import (
	"errors"
	"fmt"
	"io"
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

// row is a key under its lock, with the object that it holds.
type row struct {
	ref    object.Ref
	key    []byte // of the data row
	hash   uint64
	stripe *stripe

	old    object.Object // values share memory with the engine until release
	closer io.Closer
}

var rows = sync.Pool{New: func() any { return new(row) }}

// lock takes the key's lock and reads its object. It must be released unless
// there is an error.
func (s *Store) lock(ref object.Ref) (*row, error) {
	if !s.gate.enter() {
		return nil, ErrClosed
	}
	s.pacer.begin()
	r := rows.Get().(*row)
	r.ref, r.key = ref, appendDataKey(r.key[:0], ref)
	r.hash = nameHash(r.key)
	r.stripe = &s.stripes[r.hash%stripeCount]
	r.stripe.mu.Lock()
	err := s.checkRef(ref, r.hash)
	if err == nil {
		r.old, r.closer, err = s.load(ref.Partition, r.key)
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
	if r.closer != nil {
		_ = r.closer.Close() // it only gives back memory
	}
	*r = row{key: r.key}
	rows.Put(r)
	s.pacer.end()
	s.gate.leave()
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
// c covers. If the operation of the sibling is stored already, or was stored
// lately, nothing changes and the answer bears the dot of the first time.
//
// The errors of [object.Object.Update] come through; others are [ErrInvalid],
// [ErrDiskFull], [ErrCorrupt] and [ErrClosed]. After an error nothing has been
// written. Section 4.4 of the Dynamo paper, with dotted version vectors.
func (s *Store) Put(ref object.Ref, c version.Context, sib object.Sibling) (object.Written, error) {
	r, err := s.lock(ref)
	if err != nil {
		return object.Written{}, err
	}
	defer s.release(r)
	var id putID
	if !sib.Op.IsZero() {
		id = s.recent.id(sib.Op, r.key)
		if d, ok := s.answered(r, id); ok {
			s.counts.retries.Add(1)
			return s.unchanged(r, d), nil
		}
	}
	if err := s.space.check(); err != nil {
		return object.Written{}, err
	}
	if sib.Dot, err = s.actors.mint(ref.Partition, r.old.Vector, c.Vector); err != nil {
		return object.Written{}, err
	}
	next, err := r.old.Update(c, sib, s.opts.Limits)
	if err != nil {
		if errors.Is(err, object.ErrDotReused) {
			s.actors.drop(ref.Partition)
		}
		return object.Written{}, err
	}
	wait := s.commit(r, next)
	if !sib.Op.IsZero() {
		s.recent.add(id, sib.Dot)
	}
	return object.Written{Object: r.own(next), Dot: sib.Dot, Changed: true, Wait: wait}, nil
}

// answered looks for an earlier run of the same put: what this store answered
// then, or a stamping that reached it from another replica.
func (s *Store) answered(r *row, id putID) (version.Dot, bool) {
	if d, ok := s.recent.find(id); ok {
		return d, true
	}
	for i := range r.old.Siblings {
		if r.old.Siblings[i].Op == id.op {
			return r.old.Siblings[i].Dot, true
		}
	}
	return version.Dot{}, false
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
	s.actors.observe(ref.Partition, r.old.Vector, obj.Vector)
	next := object.Merge(r.old, obj)
	switch {
	case obj.Equal(r.old): // no need to copy what the caller has
		return object.Written{Object: obj, Wait: s.waitFor(r.stripe.last)}, nil
	case next.Equal(r.old):
		return s.unchanged(r, version.Dot{}), nil
	}
	if err := s.space.check(); err != nil {
		return object.Written{}, err
	}
	wait := s.commit(r, next)
	return object.Written{Object: r.own(next), Changed: true, Wait: wait}, nil
}

// unchanged is the answer to a write that the key holds already.
func (s *Store) unchanged(r *row, d version.Dot) object.Written {
	return object.Written{Object: r.own(r.old), Dot: d, Wait: s.waitFor(r.stripe.last)}
}

// commit stores the new object of a row, with the rows that follow from it, in
// one batch.
func (s *Store) commit(r *row, next object.Object) func() error {
	b := s.db.NewBatch()
	partition, leaf := r.ref.Partition, leafOf(r.hash)
	size := next.Size()
	op := b.SetDeferred(len(r.key), size)
	copy(op.Key, r.key)
	filled(op, next.Append(op.Value[:0]), size)

	delta := Leaf{Sum: next.Hash(r.ref.Bucket, r.ref.Key) - r.old.Hash(r.ref.Bucket, r.ref.Key)}
	if r.old.Absent() {
		delta.Keys = 1
		op = b.SetDeferred(len(r.key)+leafBytes-partitionBytes, 0)
		filled(op, appendIndexKey(op.Key[:0], partition, leaf, r.ref.Bucket, r.ref.Key), len(op.Key))
	}
	op = b.MergeDeferred(leafBytes, leafValueBytes)
	appendLeafKey(op.Key[:0], partition, leaf)
	filled(op, delta.append(op.Value[:0]), leafValueBytes)

	seq, wait := s.apply(b)
	if seq > 0 {
		r.stripe.last = seq
	}
	return wait
}

// filled finishes a record of a batch whose bytes were written in place, and
// so must be as many as was said.
func filled(op *pebble.DeferredBatchOp, written []byte, size int) {
	if len(written) != size {
		panic(fmt.Errorf("store: encoding of %d bytes where %d were counted", len(written), size))
	}
	_ = op.Finish() // fails for indexed batches alone
}
