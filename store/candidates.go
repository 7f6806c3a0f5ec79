package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"starling/store/object"
	"starling/store/version"
)

const (
	// pruneEntries is how many entries a vector may have before its key is a
	// candidate. N replicas and a few of their restarts fit.
	pruneEntries = 8
	// never is the time of what does not come.
	never = math.MaxInt64
)

// Candidate is a key of which something could be purged, once it is proven
// that nothing older is left anywhere.
type Candidate struct {
	Ref object.Ref
	// Hash and Vector are those of the object.
	Hash   uint64
	Vector version.Vector
	// Delete: nothing in the object can be live, so the row could go. Else its
	// vector has many entries, and those of retired actors could.
	Delete bool
}

// standing is what a purge could make of an object.
type standing struct {
	// tombstones: the object holds tombstones alone, and is not absent.
	tombstones bool
	// deleteMS is from when on nothing in the object is live, Unix
	// milliseconds: its last delete or expiry; or never.
	deleteMS int64
	// pruneMS is from when on the object was as it is, if its vector has many
	// entries; else never.
	pruneMS int64
}

// dueMS is when the object becomes a candidate: as the tombstone is made or the
// value expires, not before; never if it is none.
func (s standing) dueMS() int64 { return min(s.deleteMS, s.pruneMS) }

func (s standing) candidate() bool { return s.dueMS() != never }

// standingOf looks at an object. An object without siblings is taken for one
// with tombstones: there is nothing else in it.
func standingOf(o object.Object) standing {
	if o.Absent() {
		return standing{deleteMS: never, pruneMS: never}
	}
	st := standing{tombstones: true, pruneMS: never}
	lastMS := int64(0)
	for i := range o.Siblings {
		sib := &o.Siblings[i]
		lastMS = max(lastMS, sib.ModifiedMS)
		switch {
		case sib.Tombstone:
			st.deleteMS = max(st.deleteMS, sib.ModifiedMS)
		case sib.ExpiresMS != 0:
			st.deleteMS = max(st.deleteMS, sib.ExpiresMS)
			st.tombstones = false
		default:
			st.deleteMS = never
			st.tombstones = false
		}
	}
	if len(o.Vector) > pruneEntries {
		st.pruneMS = lastMS
	}
	return st
}

// purgeCounts counts the keys of a partition that a purge is about.
type purgeCounts struct {
	tombstones int64 // objects that hold tombstones alone
	candidates int64 // rows of kindCandidate
}

// countsOf reads the counts of a partition.
func (s *Store) countsOf(partition uint32) (purgeCounts, error) {
	if !s.gate.enter() {
		return purgeCounts{}, ErrClosed
	}
	defer s.gate.leave()
	l, err := s.readLeaf(appendPrefix(nil, kindCounts, partition))
	return purgeCounts{int64(l.Sum), int64(l.Keys)}, s.lost(partition, err)
}

// value is the value of a row of counts. It has the form of a leaf's, so that
// the same merge operator adds it.
func (c purgeCounts) value(dst []byte) []byte {
	return Leaf{Sum: uint64(c.tombstones), Keys: uint64(c.candidates)}.append(dst)
}

func (s standing) counts() (c purgeCounts) {
	if s.tombstones {
		c.tombstones = 1
	}
	if s.candidate() {
		c.candidates = 1
	}
	return c
}

// countStanding adds to the batch what keeps a key's candidate row and its
// partition's counts true: nothing while the key is no candidate.
func countStanding(b *pebble.Batch, r *row, next object.Object) {
	before, after := standingOf(r.old.Object), standingOf(next)
	if before.dueMS() != after.dueMS() {
		setCandidate(b, r.key, after)
	}
	c, d := after.counts(), before.counts()
	if c == d {
		return
	}
	c = purgeCounts{c.tombstones - d.tombstones, c.candidates - d.candidates}
	op := b.MergeDeferred(partitionBytes, leafValueBytes)
	appendPrefix(op.Key[:0], kindCounts, r.ref.Partition)
	filled(op, c.value(op.Value[:0]), leafValueBytes)
}

// setCandidate writes or deletes the candidate row of a key, which is named as
// its data row is.
func setCandidate(b *pebble.Batch, dataKey []byte, st standing) {
	var op *pebble.DeferredBatchOp
	if st.candidate() {
		op = b.SetDeferred(len(dataKey), dueBytes)
		binary.BigEndian.PutUint64(op.Value, uint64(st.dueMS()))
	} else {
		op = b.DeleteDeferred(len(dataKey))
	}
	copy(op.Key, dataKey)
	op.Key[0] = kindCandidate
	_ = op.Finish() // fails for indexed batches alone
}

// dueBytes is the size of the value of a candidate row.
const dueBytes = 8

func decodeDue(b []byte) (dueMS int64, err error) {
	if len(b) != dueBytes {
		return 0, fmt.Errorf("%w: candidate row of %d bytes", ErrCorrupt, len(b))
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

// Candidates ranges over the keys of a partition that a purge could be tried
// for, in the order of bucket, then key, starting behind after, or with the
// first if after is the zero Ref. Those come whose last delete and last expiry
// are before dueBeforeMS, Unix milliseconds, and those whose vector has more
// than 8 entries and whose last write is before it. Each comes as it is when
// its turn is; what is written in the meantime may be in the range or not. The
// first error ends it.
func (s *Store) Candidates(partition uint32, after object.Ref, dueBeforeMS int64) iter.Seq2[Candidate, error] {
	start, end := rangeBehind(kindCandidate, partition, after)
	return func(yield func(Candidate, error) bool) {
		// Most partitions have none. To look for them nevertheless could meet
		// damage that is another's, and pass for a loss of this one.
		counts, err := s.countsOf(partition)
		if err != nil {
			yield(Candidate{}, err)
			return
		}
		if counts.candidates == 0 {
			return
		}
		var dataKey []byte
		s.scan(partition, start, end, func(key, value []byte) error {
			dueMS, err := decodeDue(value)
			if err != nil || dueMS >= dueBeforeMS {
				return err
			}
			dataKey = append(dataKey[:0], key...)
			dataKey[0] = kindData
			c, due, err := s.candidate(dataKey, dueBeforeMS)
			if err == nil && due && !yield(c, nil) {
				return errStop
			}
			return err
		}, func(err error) { yield(Candidate{}, err) })
	}
}

// candidate reads what is under the key of a data row, and whether it is a
// candidate that is due.
func (s *Store) candidate(dataKey []byte, dueBeforeMS int64) (c Candidate, due bool, err error) {
	d, st, err := s.digest(dataKey)
	c = Candidate{Ref: d.Ref, Hash: d.Hash, Vector: d.Vector, Delete: st.deleteMS < dueBeforeMS}
	return c, st.dueMS() < dueBeforeMS, err
}

// digest reads the digest and the standing of the object under the key of a
// data row. The hash of a row that is not there is 0, and it is no candidate.
func (s *Store) digest(dataKey []byte) (object.Digest, standing, error) {
	ref, err := parseDataKey(dataKey)
	if err != nil {
		return object.Digest{}, standing{}, err
	}
	o, err := s.load(dataKey)
	if err != nil {
		return object.Digest{}, standing{}, err
	}
	d := object.Digest{Ref: ref, Hash: o.Hash(ref.Bucket, ref.Key), Vector: o.Vector}
	return d, standingOf(o.Object), o.close()
}

// Tombstones counts the keys that hold tombstones alone, in all partitions. It is
// exact, and reads some rows for each partition. The errors are [ErrCorrupt] and
// [ErrClosed].
func (s *Store) Tombstones() (int64, error) {
	c, err := s.purgeCounts()
	return c.tombstones, err
}

// purgeCounts adds up the counts of all partitions. It reads them one by one, so
// that damage is that of the partitions whose counts it hit, and is gone with
// them.
func (s *Store) purgeCounts() (sum purgeCounts, err error) {
	if !s.gate.enter() {
		return sum, ErrClosed
	}
	defer s.gate.leave()
	held, err := s.heldPartitions()
	for p := range held {
		if err != nil {
			break
		}
		var c purgeCounts
		c, err = s.countsOf(p)
		sum.tombstones += c.tombstones
		sum.candidates += c.candidates
	}
	return sum, err
}

// heldPartitions finds the partitions that have leaves.
func (s *Store) heldPartitions() (map[uint32]bool, error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return nil, wrap("looking for partitions", err)
	}
	defer func() { _ = it.Close() }() // its errors are those of the reads
	held := make(map[uint32]bool)
	if !addHeld(context.Background(), it, kindLeaf, 0, MaxPartitions-1, held) {
		return nil, fmt.Errorf("%w: some partitions' leaves", ErrCorrupt)
	}
	return held, nil
}
