package store

import (
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"starling/store/object"
	"starling/store/version"
)

// mustDelete puts a tombstone made at that time over all that is there.
func mustDelete(t testing.TB, s *Store, ref object.Ref, modifiedMS int64) object.Written {
	t.Helper()
	w, err := s.Put(ref, mustGet(t, s, ref).Context(), object.Sibling{Tombstone: true, ModifiedMS: modifiedMS})
	if err == nil {
		err = w.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// mustPurge purges the key, which must hold that object, durably.
func mustPurge(t testing.TB, s *Store, ref object.Ref, o object.Object) {
	t.Helper()
	purged, wait, err := s.Purge(ref, o.Hash(ref.Bucket, ref.Key))
	if err == nil {
		err = wait()
	}
	if err != nil || !purged {
		t.Fatalf("purged %v: %v", purged, err)
	}
}

// wide is an object with so many entries in its vector, the last of them that
// of its only sibling.
func wide(entries int, sib object.Sibling) object.Object {
	o := object.Object{}
	for a := range entries {
		o.Vector = o.Vector.With(version.Dot{Actor: version.Actor(1000 + a), Seq: 5})
	}
	sib.Dot = o.Vector[entries-1]
	o.Siblings = []object.Sibling{sib}
	return o
}

// twinDue is the dumb twin of standingOf: when an object is due for deletion
// and for pruning. A time that does not come is left out.
func twinDue(o object.Object) (dueMS []int64) {
	var ends, writes []int64
	for _, sib := range o.Siblings {
		writes = append(writes, sib.ModifiedMS)
		if sib.Tombstone {
			ends = append(ends, sib.ModifiedMS)
		} else if sib.ExpiresMS > 0 {
			ends = append(ends, sib.ExpiresMS)
		}
	}
	if len(ends) == len(o.Siblings) {
		dueMS = append(dueMS, slices.Max(append(ends, 0)))
	}
	if len(o.Vector) > 8 {
		dueMS = append(dueMS, slices.Max(append(writes, 0)))
	}
	return dueMS
}

func onlyTombstones(o object.Object) bool {
	return !slices.ContainsFunc(o.Siblings, func(s object.Sibling) bool { return !s.Tombstone })
}

// checkReap holds the candidate rows and the counts of a partition to its
// objects, and the range of candidates to its rows.
func checkReap(t testing.TB, s *Store, partition uint32, objects map[object.Ref]object.Object) {
	t.Helper()
	rows, due := map[object.Ref]int64{}, map[object.Ref]int64{}
	var want purgeCounts
	for ref, o := range objects {
		if times := twinDue(o); len(times) > 0 {
			due[ref] = slices.Min(times)
			want.candidates++
		}
		if onlyTombstones(o) {
			want.tombstones++
		}
	}
	start, end := partitionRange(kindCandidate, partition)
	s.scan(partition, start, end, func(key, value []byte) error {
		ref, err := parseName(key, partitionBytes)
		rows[ref] = int64(binary.BigEndian.Uint64(value))
		return err
	}, func(err error) { t.Fatal(err) })
	if !maps.Equal(rows, due) {
		t.Errorf("partition %d: the candidate rows are %v, want %v", partition, rows, due)
	}
	if got, err := s.countsOf(partition); err != nil || got != want {
		t.Errorf("partition %d: the counts are %+v, %v, want %+v", partition, got, err, want)
	}
	for _, c := range candidates(t, s, partition, never) {
		o := objects[c.Ref]
		if _, ok := due[c.Ref]; !ok || c.Hash != o.Hash(c.Ref.Bucket, c.Ref.Key) || !c.Vector.Equal(o.Vector) {
			t.Errorf("partition %d: candidate %+v of %+v", partition, c, o)
		}
		delete(due, c.Ref)
	}
	if len(due) > 0 {
		t.Errorf("partition %d: the range lacks the candidates %v", partition, due)
	}
}

func candidates(t testing.TB, s *Store, partition uint32, dueBeforeMS int64) (list []Candidate) {
	t.Helper()
	for c, err := range s.Candidates(partition, object.Ref{}, dueBeforeMS) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

// mustRoot is the root of a partition, which must be the sum over its leaves.
// Nobody may write to the partition meanwhile.
func mustRoot(t testing.TB, s *Store, partition uint32) Leaf {
	t.Helper()
	root, err := s.Root(partition)
	if err != nil {
		t.Fatal(err)
	}
	leaves, err := s.Leaves(partition)
	if err != nil {
		t.Fatal(err)
	}
	var sum Leaf
	for _, l := range leaves {
		sum = sum.plus(l)
	}
	if root != sum {
		t.Errorf("partition %d: the root is %+v, the leaves add up to %+v", partition, root, sum)
	}
	return root
}
