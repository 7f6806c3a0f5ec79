package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// sampleKeys is how many keys of a partition are looked at, at least, for the
// mean size of its objects.
const sampleKeys = 12

// Holds reports whether the store has rows of a partition: those of objects,
// tombstones included, or what counts them, which stays when all are purged.
// After [Store.DropPartition] it is false. Hints for keys of the partition are
// other nodes' and do not count. The errors are [ErrInvalid], [ErrCorrupt] and
// [ErrClosed].
func (s *Store) Holds(partition uint32) (held bool, err error) {
	if err := checkPartitionNumber(partition); err != nil {
		return false, err
	}
	for _, kind := range partitionKinds {
		start, end := partitionRange(kind, partition)
		s.scan(partition, start, end, func(_, _ []byte) error {
			held = true
			return errStop
		}, func(failure error) { err = failure })
		if held || err != nil {
			break
		}
	}
	return held, err
}

// PartitionBytes estimates the bytes of a partition's objects, encoded and with
// their names, which is what a copy of them takes to send: the number of keys,
// which is exact, times the mean size of some. These are the keys of the first
// leaves, 12 at least and as many leaves as it takes. The leaf comes from the
// hash of the name, so neither age nor name nor bucket decides who is among
// them. Up to 12 keys the figure is exact. It is far off where few objects hold
// most of the bytes. The errors are [ErrInvalid], [ErrCorrupt] and [ErrClosed].
func (s *Store) PartitionBytes(partition uint32) (int64, error) {
	root, err := s.Root(partition)
	if err != nil || root.Keys == 0 {
		return 0, err
	}
	var seen sizing
	start, end := partitionRange(kindIndex, partition)
	s.scan(partition, start, end, func(key, _ []byte) error { return seen.take(s, key) },
		func(failure error) { err = failure })
	if err != nil || seen.keys == 0 {
		return 0, err
	}
	return int64(float64(seen.bytes) / float64(seen.keys) * float64(root.Keys)), nil
}

// sizing adds up the data rows of some keys.
type sizing struct {
	keys, bytes int64
	leaf        uint16 // of the last key
	dataKey     []byte
}

// take adds the data row that an index row names, and ends the scan with the
// leaf in which the sample became large enough.
func (p *sizing) take(s *Store, indexKey []byte) error {
	if len(indexKey) < leafBytes {
		return fmt.Errorf("%w: index key %x", ErrCorrupt, indexKey)
	}
	leaf := binary.BigEndian.Uint16(indexKey[partitionBytes:])
	if p.keys >= sampleKeys && leaf != p.leaf {
		return errStop
	}
	p.leaf = leaf
	p.dataKey = append(appendPrefix(p.dataKey[:0], kindData, partitionOf(indexKey)), indexKey[leafBytes:]...)
	value, closer, err := s.db.Get(p.dataKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil // purged since the scan began
	}
	if err != nil {
		return err
	}
	p.keys++
	p.bytes += int64(len(value) + len(indexKey) - leafBytes)
	return closer.Close()
}
