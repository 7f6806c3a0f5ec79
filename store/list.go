package store

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"starling/store/object"
)

// KeyList reads the keys of one bucket as they were when it was opened,
// partition by partition, with one iterator that is moved from one to the next.
// It is for one goroutine, and must be closed: an open one holds up
// [Store.Close].
type KeyList struct {
	store *Store
	it    *pebble.Iterator
	// base is how the names of all keys with the prefix begin, end the first name
	// behind them.
	base, end []byte
	// lower and upper are the bounds of one read, for use again.
	lower, upper []byte
}

// List opens the keys of a bucket that have a prefix, which may be empty.
func (s *Store) List(bucket, prefix string) (*KeyList, error) {
	if bucket == "" || len(bucket) > MaxBucketBytes || strings.IndexByte(bucket, 0) >= 0 {
		return nil, fmt.Errorf("%w: bucket of %d bytes: 1 to %d, none zero", ErrInvalid, len(bucket), MaxBucketBytes)
	}
	if !s.gate.enter() {
		return nil, ErrClosed
	}
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{kindData}, UpperBound: []byte{kindData + 1}, KeyTypes: pebble.IterKeyTypePointsOnly,
	})
	if err != nil {
		s.gate.leave()
		return nil, wrap("opening a list of keys", err)
	}
	base := appendName(nil, bucket, prefix)
	return &KeyList{store: s, it: it, base: base, end: behindPrefix(base)}, nil
}

// behindPrefix is the least name that is greater than all that begin with
// prefix, which has a byte that is not 0xff.
func behindPrefix(prefix []byte) []byte {
	end := bytes.Clone(bytes.TrimRight(prefix, "\xff"))
	end[len(end)-1]++
	return end
}

// Close gives the iterator back. Reads have reported its errors.
func (l *KeyList) Close() error {
	defer l.store.gate.leave()
	return wrap("closing a list of keys", l.it.Close())
}

// Read gives the first keys of a partition behind after, in byte order and at
// most limit: as many as there are, if it gives fewer. Their objects have the
// vector and the siblings, but of a sibling only what says whether it is there:
// its dot, its operation, its times and whether it is a tombstone.
func (l *KeyList) Read(partition uint32, after string, limit int) ([]object.Entry, error) {
	if err := checkPartitionNumber(partition); err != nil {
		return nil, err
	}
	bucket := l.base[:bytes.IndexByte(l.base, 0)]
	l.lower = append(appendPrefix(l.lower[:0], kindData, partition), l.base...)
	l.upper = append(appendPrefix(l.upper[:0], kindData, partition), l.end...)
	if prefix := l.base[len(bucket)+1:]; after >= string(prefix) && after != "" {
		l.lower = append(append(l.lower[:partitionBytes+len(bucket)+1], after...), 0) // the first key that is greater
	}
	if limit <= 0 || bytes.Compare(l.lower, l.upper) >= 0 {
		return nil, nil
	}
	entries := make([]object.Entry, 0, min(limit, 16))
	l.it.SetBounds(l.lower, l.upper)
	for ok := l.it.First(); ok && len(entries) < limit; ok = len(entries) < limit && l.it.Next() {
		e, err := l.entry(partition, string(bucket))
		if err != nil {
			return nil, l.store.failed("listing", partition, err)
		}
		entries = append(entries, e)
	}
	return entries, l.store.failed("listing", partition, l.it.Error())
}

// entry is the row under the iterator.
func (l *KeyList) entry(partition uint32, bucket string) (object.Entry, error) {
	value, err := l.it.ValueAndErr()
	if err != nil {
		return object.Entry{}, err
	}
	o, err := decode(value)
	if err != nil {
		return object.Entry{}, err
	}
	for i := range o.Siblings {
		s := &o.Siblings[i]
		*s = object.Sibling{Dot: s.Dot, Op: s.Op, Tombstone: s.Tombstone, ModifiedMS: s.ModifiedMS, ExpiresMS: s.ExpiresMS}
	}
	key := l.it.Key()
	if len(key) <= partitionBytes+len(bucket)+1 {
		return object.Entry{}, fmt.Errorf("%w: data key %x", ErrCorrupt, key)
	}
	return object.Entry{
		Ref:    object.Ref{Partition: partition, Bucket: bucket, Key: string(key[partitionBytes+len(bucket)+1:])},
		Object: o,
	}, nil
}
