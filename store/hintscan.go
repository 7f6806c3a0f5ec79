package store

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"starling/store/object"
)

// hintPageBytes of hints are read at a time. A hint may be larger.
const hintPageBytes = 1 << 20

// Hints ranges over the hints for a target in the order of partition, bucket
// and key, starting behind after; after may be any place, and one without a
// bucket is that before its partition's first hint, so that the zero Ref is
// the start. It reads ahead by about a megabyte and holds nothing of the store
// while the loop's body runs, which may take its time: what is written in the
// meantime may be in the range or not.
//
// A hint that cannot be read does not end the range. It comes as an error,
// with the target and the Ref up to which the range has come: a loop that goes
// on, and another that starts behind that Ref, go on with the hints that can be
// read. The hints of a damaged block and the one behind it are a single error,
// and so is all between two such blocks in one partition. Only a closed store,
// and an engine that does not begin to read, end the range with their error.
func (s *Store) Hints(target [16]byte, after object.Ref) iter.Seq2[object.Hint, error] {
	return func(yield func(object.Hint, error) bool) {
		here := object.Hint{Target: target, Ref: after}
		var damage error // found, and to be told with the place behind it
		start, end := append(appendHintKey(nil, target, after), 0), appendHintPrefix(nil, target, MaxPartitions)
		for bytes.Compare(start, end) < 0 {
			p := s.hintPage(start, end)
			for _, h := range p.hints {
				here.Ref = h.Ref
				if !yield(h.Hint, h.err) || damage != nil && !yield(here, damage) {
					return
				}
				damage = nil
			}
			if p.end != nil {
				yield(here, p.end)
				return
			}
			if damage == nil {
				damage = p.damage
			}
			start = p.next
		}
		if damage != nil {
			here.Ref = object.Ref{Partition: MaxPartitions} // nothing is behind it
			yield(here, damage)
		}
	}
}

// hintPage is a part of the range over a target's hints.
type hintPage struct {
	hints  []readHint
	next   []byte // the key where the range goes on
	damage error  // rows between the last of hints and next cannot be read
	end    error  // the range cannot go on
}

// readHint is a hint, or its name with the error of decoding it.
type readHint struct {
	object.Hint
	err error
}

// hintPage reads a page of a target's hints from start on. end is behind all
// hints of the target.
func (s *Store) hintPage(start, end []byte) (p hintPage) {
	p.next = end
	if !s.gate.enter() {
		return hintPage{end: ErrClosed}
	}
	defer s.gate.leave()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	if err != nil {
		return hintPage{end: wrap("reading hints", err)}
	}
	defer func() { _ = it.Close() }() // its errors are those of the reads
	last, size := bytes.Clone(start), 0
	for ok := it.First(); ok; ok = it.Next() {
		if size >= hintPageBytes {
			p.next = bytes.Clone(it.Key())
			return p
		}
		value, err := it.ValueAndErr()
		if err != nil {
			break // it.Error has it too
		}
		last = append(last[:0], it.Key()...)
		size += len(last) + len(value)
		p.hints = append(p.hints, decodeHint(last, value))
	}
	if err := it.Error(); err != nil {
		p.damage = wrap("reading hints", err)
		p.next = behind(it, last, end)
	}
	return p
}

func decodeHint(key, value []byte) readHint {
	target, ref, err := parseHintKey(key)
	h := readHint{object.Hint{Target: target, Ref: ref}, err}
	if err == nil {
		h.Object, h.err = decode(cloneValue(value))
	}
	if h.err != nil {
		h.err = fmt.Errorf("hint for partition %d, bucket %q, key %q: %w", ref.Partition, ref.Bucket, ref.Key, h.err)
	}
	return h
}

// behind finds where a target's hints can be read again behind the row last, end
// if nowhere: it looks for the first such partition, and walks back from there
// to the damage, for a block may hold a part of a partition or many. The engine
// takes its time over every read of a damaged block, so there are few of them.
func behind(it *pebble.Iterator, last, end []byte) []byte {
	target, from := [targetBytes]byte(last[1:]), partitionOf(last[targetBytes:])
	first := from + 1 + damaged(MaxPartitions-1-from, func(n uint32) bool {
		it.SetBounds(appendHintPrefix(nil, target, from+n), end)
		it.First()
		return it.Error() == nil
	})
	found := appendHintPrefix(nil, target, first)
	it.SetBounds(append(bytes.Clone(last), 0), found)
	for ok := it.Last(); ok; ok = it.Prev() {
		if _, err := it.ValueAndErr(); err != nil {
			break
		}
		found = bytes.Clone(it.Key())
	}
	return found
}
