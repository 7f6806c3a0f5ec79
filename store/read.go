package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"starling/store/object"
)

// checkRef refuses a ref that is out of bounds. hash is that of its name.
func (s *Store) checkRef(ref object.Ref, hash uint64) error {
	switch {
	case ref.Partition >= MaxPartitions:
		return fmt.Errorf("%w: partition %d", ErrInvalid, ref.Partition)
	case ref.Bucket == "" || len(ref.Bucket) > MaxBucketBytes || strings.IndexByte(ref.Bucket, 0) >= 0:
		return fmt.Errorf("%w: bucket of %d bytes: 1 to %d, none zero", ErrInvalid, len(ref.Bucket), MaxBucketBytes)
	case ref.Key == "" || len(ref.Key) > MaxKeyBytes:
		return fmt.Errorf("%w: key of %d bytes: 1 to %d", ErrInvalid, len(ref.Key), MaxKeyBytes)
	}
	if q := s.opts.Partitions; q > 0 {
		if p := uint32(hash >> (64 - bits.TrailingZeros(uint(q)))); p != ref.Partition {
			return fmt.Errorf("%w: key of partition %d sent to %d", ErrInvalid, p, ref.Partition)
		}
	}
	return nil
}

// stored is the object of one row.
type stored struct {
	object.Object           // values share memory with the engine until close
	size          int       // of the row's value; 0: there is no row
	closer        io.Closer // nil if there is no row
}

// close gives the engine its memory back.
func (o *stored) close() error {
	if o.closer == nil {
		return nil
	}
	return wrap("reading an object", o.closer.Close())
}

// load reads the object under a row's key. Its values share memory with the
// engine until it is closed.
func (s *Store) load(key []byte) (stored, error) {
	b, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return stored{}, nil
	}
	if err != nil {
		return stored{}, wrap("reading an object", err)
	}
	o, err := decode(b)
	if err != nil {
		return stored{}, errors.Join(err, closer.Close())
	}
	return stored{o, len(b), closer}, nil
}

// read reads the object under a row's key, with values of its own. found tells
// whether there is a row.
func (s *Store) read(key []byte) (o object.Object, found bool, err error) {
	r, err := s.load(key)
	if err != nil {
		return object.Object{}, false, err
	}
	for i := range r.Siblings {
		r.Siblings[i].Value = cloneValue(r.Siblings[i].Value)
	}
	return r.Object, r.size > 0, r.close()
}

// decode reads an object out of a row's value.
func decode(b []byte) (object.Object, error) {
	o, err := object.Decode(b)
	if err != nil {
		err = fmt.Errorf("%w: decoding an object: %w", ErrCorrupt, err)
	}
	return o, err
}

// Get reads the object of a key; that of a key never heard of is the zero
// object. Rows that cannot be read are [ErrCorrupt] or another error, never an
// absent object.
func (s *Store) Get(ref object.Ref) (object.Object, error) {
	if !s.gate.enter() {
		return object.Object{}, ErrClosed
	}
	defer s.gate.leave()
	r := rows.Get().(*row)
	defer rows.Put(r)
	r.key = appendDataKey(r.key[:0], ref)
	if err := s.checkRef(ref, nameHash(r.key)); err != nil {
		return object.Object{}, err
	}
	o, _, err := s.read(r.key)
	return o, s.lost(ref.Partition, err)
}

// Scan ranges over the objects of a partition in the order of bucket, then
// key, starting behind after, or with the first if after is the zero Ref. It
// sees the partition as it was when the loop began. The first error ends it.
func (s *Store) Scan(partition uint32, after object.Ref) iter.Seq2[object.Entry, error] {
	start, end := rangeBehind(kindData, partition, after)
	return func(yield func(object.Entry, error) bool) {
		s.scan(partition, start, end, func(key, value []byte) error {
			ref, err := parseDataKey(key)
			if err != nil {
				return err
			}
			o, err := decode(cloneValue(value))
			if err != nil {
				return err
			}
			if !yield(object.Entry{Ref: ref, Object: o}, nil) {
				return errStop
			}
			return nil
		}, func(err error) { yield(object.Entry{}, err) })
	}
}

// LeafKeys ranges over the keys of one leaf of a partition, in the order of
// bucket, then key, as they were when the loop began. The first error ends it.
func (s *Store) LeafKeys(partition uint32, leaf uint16) iter.Seq2[object.Ref, error] {
	start, end := leafRange(partition, leaf, object.Ref{})
	return func(yield func(object.Ref, error) bool) {
		s.scan(partition, start, end, func(key, _ []byte) error {
			ref, err := parseIndexKey(key)
			if err != nil {
				return err
			}
			if !yield(ref, nil) {
				return errStop
			}
			return nil
		}, func(err error) { yield(object.Ref{}, err) })
	}
}

// leafRange is the range of the index rows of a leaf that come behind a key,
// all of them for the zero Ref.
func leafRange(partition uint32, leaf uint16, after object.Ref) (start, end []byte) {
	start = appendIndexPrefix(nil, partition, leaf)
	if after != (object.Ref{}) {
		start = append(appendName(start, after.Bucket, after.Key), 0) // the first key that is greater
	}
	_, end = partitionRange(kindIndex, partition)
	if leaf < LeafCount-1 {
		end = appendIndexPrefix(nil, partition, leaf+1)
	}
	return start, end
}

// KeyDigests ranges over the keys of one leaf of a partition, in the order of
// bucket, then key, starting behind after, or with the first if after is the
// zero Ref. Each comes as it is when its turn is; what is written in the
// meantime may be in the range or not. The first error ends it.
func (s *Store) KeyDigests(partition uint32, leaf uint16, after object.Ref) iter.Seq2[object.Digest, error] {
	start, end := leafRange(partition, leaf, after)
	return func(yield func(object.Digest, error) bool) {
		var dataKey []byte
		s.scan(partition, start, end, func(key, _ []byte) error {
			if len(key) < leafBytes {
				return fmt.Errorf("%w: index key %x", ErrCorrupt, key)
			}
			dataKey = append(appendPrefix(dataKey[:0], kindData, partition), key[leafBytes:]...)
			d, _, err := s.digest(dataKey)
			// A key that was purged since the loop began has no hash.
			if err == nil && d.Hash != 0 && !yield(d, nil) {
				return errStop
			}
			return err
		}, func(err error) { yield(object.Digest{}, err) })
	}
}

// Leaves gives the LeafCount leaves of a partition, by number. They are exact:
// every batch that changes an object changes its leaf.
func (s *Store) Leaves(partition uint32) ([]Leaf, error) {
	leaves := make([]Leaf, LeafCount)
	start, end := partitionRange(kindLeaf, partition)
	var failure error
	s.scan(partition, start, end, leafVisitor(func(n int, l Leaf) { leaves[n] = l }), func(err error) { failure = err })
	if failure != nil {
		return nil, failure
	}
	return leaves, nil
}

// leafVisitor visits the leaves of rows that hold some.
func leafVisitor(visit func(n int, l Leaf)) func(key, value []byte) error {
	return func(key, value []byte) error {
		l, err := decodeLeaf(value)
		if err != nil {
			return err
		}
		n := -1
		if len(key) == leafBytes {
			n = int(key[partitionBytes])<<8 | int(key[partitionBytes+1])
		}
		if n < 0 || n >= LeafCount {
			return fmt.Errorf("%w: leaf row %x", ErrCorrupt, key)
		}
		visit(n, l)
		return nil
	}
}

// errStop ends a scan without a failure.
var errStop = errors.New("store: stop")

// scan calls visit for every row in a range of a partition's rows, in order
// and as they are now, until it returns an error. It calls fail at most once.
func (s *Store) scan(partition uint32, start, end []byte, visit func(key, value []byte) error, fail func(error)) {
	if !s.gate.enter() {
		fail(ErrClosed)
		return
	}
	defer s.gate.leave()
	if bytes.Compare(start, end) >= 0 {
		return
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	if err == nil {
		err = visitAll(it, visit)
	}
	if err != nil && !errors.Is(err, errStop) {
		fail(s.failed("scanning", partition, err))
	}
}

// visitAll visits the rows of an iterator and closes it.
func visitAll(it *pebble.Iterator, visit func(key, value []byte) error) (err error) {
	defer func() {
		if e := it.Close(); err == nil {
			err = e
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if err := visit(it.Key(), value); err != nil {
			return err
		}
	}
	return it.Error()
}
