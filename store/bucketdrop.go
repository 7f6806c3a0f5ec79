package store

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"starling/store/object"
)

// Bounds of what DropBucket deletes at a time, while writers of some keys wait.
const (
	dropRows  = 128
	dropBytes = 1 << 20 // of values; an object may be larger
)

// DropBucket deletes what the store holds of the keys of a bucket in a partition:
// all that is there when it is called. It goes on from batch to batch, each of so
// many keys that a write of another key hardly waits, and calls each after every
// one, holding nothing of the store: with an error of each it ends, and answers
// that. Hints of the bucket's keys stay. After a crash some keys may be there
// again.
//
// Nothing may be written under the bucket's name any more, here or at another
// replica: a key that is written again would claim to know what was dropped.
//
// The errors are [ErrInvalid], [ErrDiskFull], [ErrCorrupt] and [ErrClosed]; what
// came before them is done. Like [Store.Purge] it works on most full disks.
func (s *Store) DropBucket(partition uint32, bucket string, each func(keys int) error) error {
	if err := checkPartitionNumber(partition); err != nil {
		return err
	}
	if err := checkBucketName(bucket); err != nil {
		return err
	}
	start, end := bucketRange(partition, bucket)
	for {
		dropped, last, err := s.dropBatch(partition, start, end)
		if err == nil && dropped > 0 {
			err = each(dropped)
		}
		if err != nil || last == nil {
			return err
		}
		start = append(last, 0) // the first key that is greater: those before are deleted, and long to pass
	}
}

// bucketRange is the range of a bucket's data rows in a partition.
func bucketRange(partition uint32, bucket string) (start, end []byte) {
	name := append(appendPrefix(nil, kindData, partition), bucket...)
	return append(slices.Clip(name), 0), append(slices.Clip(name), 1)
}

func checkBucketName(bucket string) error {
	if bucket == "" || len(bucket) > MaxBucketBytes || strings.IndexByte(bucket, 0) >= 0 {
		return fmt.Errorf("%w: bucket of %d bytes: 1 to %d, none zero", ErrInvalid, len(bucket), MaxBucketBytes)
	}
	return nil
}

// dropBatch deletes the first keys of a range of data rows. last is the key of
// the last row that was looked at, nil if there is none behind it.
func (s *Store) dropBatch(partition uint32, start, end []byte) (dropped int, last []byte, err error) {
	if !s.gate.enter() {
		return 0, nil, ErrClosed
	}
	defer s.gate.leave()
	if err := s.stuck(); err != nil {
		return 0, nil, err
	}
	keys, err := s.firstKeys(start, end)
	if err != nil {
		return 0, nil, s.failed("looking for a bucket's keys", partition, err)
	}
	if len(keys) == 0 {
		return 0, nil, nil
	}
	defer s.lockStripes(keys)()
	b := s.db.NewBatch()
	change, seen, err := s.deleteRows(b, keys)
	if err != nil {
		_ = b.Close() // it only gives back memory
		return 0, nil, s.lost(partition, err)
	}
	dropped = int(-int64(change.Keys))
	if dropped == 0 {
		_ = b.Close() // it only gives back memory
		return 0, keys[seen-1], nil
	}
	p := s.states.of(partition)
	p.begin()
	s.applyLazily(b)
	p.end(change, 0)
	return dropped, keys[seen-1], nil
}

// firstKeys gives the keys of the first rows of a range, dropRows at most.
func (s *Store) firstKeys(start, end []byte) (keys [][]byte, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok && len(keys) < dropRows; ok = len(keys) < dropRows && it.Next() {
		keys = append(keys, bytes.Clone(it.Key()))
	}
	return keys, wrap("reading keys", it.Close())
}

// lockStripes takes the locks of the keys of data rows, in the order in which
// DropPartition takes all; nobody else takes more than one. It returns what gives
// them back.
func (s *Store) lockStripes(keys [][]byte) (unlock func()) {
	held := make([]uint64, len(keys))
	for i, k := range keys {
		held[i] = nameHash(k) % stripeCount
	}
	slices.Sort(held)
	held = slices.Compact(held)
	for _, n := range held {
		s.stripes[n].mu.Lock()
	}
	return func() {
		for _, n := range held {
			s.stripes[n].mu.Unlock()
		}
	}
}

// deleteRows adds to the batch the deletion of the rows under leading ones of the
// keys, whose locks are held: as many as dropBytes has room for, and one at
// least. change is what it does to the sum of the leaves.
func (s *Store) deleteRows(b *pebble.Batch, keys [][]byte) (change Leaf, seen int, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: keys[0], UpperBound: append(slices.Clip(keys[len(keys)-1]), 0)})
	if err != nil {
		return change, 0, wrap("reading a bucket", err)
	}
	seen, size := len(keys), 0
	next := keys
	err = visitAll(it, func(key, value []byte) error {
		for len(next) > 0 && bytes.Compare(next[0], key) < 0 {
			next = next[1:] // gone since it was seen
		}
		if len(next) == 0 || !bytes.Equal(next[0], key) {
			return nil // come since, and not locked
		}
		if size > dropBytes {
			seen = len(keys) - len(next)
			return errStop
		}
		size += len(value)
		d, err := deleteRow(b, next[0], value)
		change, next = change.plus(d), next[1:]
		return err
	})
	if err == errStop {
		err = nil
	}
	return change, seen, wrap("reading a bucket", err)
}

// deleteRow adds to the batch the deletion of a data row, and what follows from
// it.
func deleteRow(b *pebble.Batch, key, value []byte) (change Leaf, err error) {
	ref, err := parseDataKey(key)
	if err != nil {
		return change, err
	}
	o, err := decode(value)
	if err != nil {
		return change, err
	}
	r := row{ref: ref, key: key, hash: nameHash(key), old: stored{Object: o, size: len(value)}}
	change = countData(b, &r, object.Object{})
	_ = b.Delete(key, nil) // fails for indexed batches alone
	return change, nil
}

// Buckets ranges over the names of the buckets of which the store has keys in a
// partition, in byte order and as it was when the loop began. It reads one row
// of each. The first error ends it: [ErrInvalid], [ErrCorrupt] or [ErrClosed].
func (s *Store) Buckets(partition uint32) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := s.eachBucket(partition, func(name string) bool { return yield(name, nil) }); err != nil {
			yield("", err)
		}
	}
}

func (s *Store) eachBucket(partition uint32, visit func(name string) bool) error {
	if err := checkPartitionNumber(partition); err != nil {
		return err
	}
	if !s.gate.enter() {
		return ErrClosed
	}
	defer s.gate.leave()
	start, end := partitionRange(kindData, partition)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	if err != nil {
		return s.failed("looking for buckets", partition, err)
	}
	for ok := it.First(); ok; {
		ref, err := parseDataKey(it.Key())
		if err != nil {
			_ = it.Close() // the first error counts
			return s.lost(partition, err)
		}
		if !visit(ref.Bucket) {
			break
		}
		_, behind := bucketRange(partition, ref.Bucket)
		ok = it.SeekGE(behind)
	}
	return s.failed("looking for buckets", partition, it.Close())
}
