package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

func wantHolds(t *testing.T, s *Store, partition uint32, want bool) {
	t.Helper()
	held, err := s.Holds(partition)
	if err != nil || held != want {
		t.Errorf("partition %d is held: %v, %v; want %v", partition, held, err, want)
	}
}

func TestHolds(t *testing.T) {
	s := openFor(t, hinting(vfs.NewMem()))
	wantHolds(t, s, 1, false)
	mustPut(t, s, testRef(1, "k"), version.Context{}, "v")
	mustPut(t, s, testRef(MaxPartitions-1, "k"), version.Context{}, "v")
	for p, want := range map[uint32]bool{0: false, 1: true, 2: false, MaxPartitions - 2: false, MaxPartitions - 1: true} {
		wantHolds(t, s, p, want)
	}
	mustPutHint(t, s, hintName{testTarget(1), testRef(2, "k")}, version.Context{}, object.Sibling{})
	wantHolds(t, s, 2, false) // a hint is another node's
	gone := mustDelete(t, s, testRef(1, "k"), 1)
	wantHolds(t, s, 1, true) // a tombstone is something
	mustPurge(t, s, testRef(1, "k"), gone.Object)
	wantHolds(t, s, 1, true) // and so are the counts of what was purged
	for _, p := range []uint32{1, MaxPartitions - 1} {
		if err := s.DropPartition(p); err != nil {
			t.Fatal(err)
		}
		wantHolds(t, s, p, false)
	}
	if _, err := s.Holds(MaxPartitions); !errors.Is(err, ErrInvalid) {
		t.Errorf("a partition beyond the last: %v", err)
	}
}

// Every kind of row counts, so that none is left behind.
func TestHoldsFindsEveryKindOfRow(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	for i, kind := range partitionKinds {
		p := uint32(10 + i)
		b := s.db.NewBatch()
		_ = b.Set(append(appendPrefix(nil, kind, p), 1, 2, 3), nil, nil)
		s.saveRows(b)
		wantHolds(t, s, p, true)
		wantHolds(t, s, p+1, false)
	}
}

// bytesOf adds up what PartitionBytes estimates.
func bytesOf(t *testing.T, s *Store, partition uint32) (n int64) {
	t.Helper()
	for e, err := range s.Scan(partition, object.Ref{}) {
		if err != nil {
			t.Fatal(err)
		}
		n += int64(e.Object.Size() + len(e.Ref.Bucket) + 1 + len(e.Ref.Key))
	}
	return n
}

// putBytes puts a value of so many bytes, and does not wait for the disk.
func putBytes(t *testing.T, s *Store, ref object.Ref, bytes int) {
	t.Helper()
	if _, err := s.Put(ref, version.Context{}, object.Sibling{Value: make([]byte, bytes)}); err != nil {
		t.Fatal(err)
	}
}

func wantBytes(t *testing.T, s *Store, partition uint32, factor float64) {
	t.Helper()
	want := float64(bytesOf(t, s, partition))
	got, err := s.PartitionBytes(partition)
	if err != nil || float64(got) > want*factor || float64(got) < want/factor {
		t.Errorf("partition %d: %d bytes, %v; want %.0f or nearly", partition, got, err, want)
	}
}

func TestPartitionBytes(t *testing.T) {
	o := small(vfs.NewMem())
	o.Durability = None
	s := openFor(t, o)
	rng := rand.New(rand.NewPCG(1, 2))
	wantBytes(t, s, 1, 1) // nothing
	put := func(p uint32, bucket string, n, bytes int) {
		for i := range n {
			putBytes(t, s, object.Ref{Partition: p, Bucket: bucket, Key: fmt.Sprintf("key-%05d", i)}, bytes)
		}
	}
	put(1, "b", sampleKeys, 100)
	wantBytes(t, s, 1, 1) // so few are all looked at
	put(2, "b", 1000, 1024)
	wantBytes(t, s, 2, 1.01)
	put(3, "small", 200, 10) // two buckets of the same number of keys, of which one has all the bytes
	put(3, "tall", 200, 4000)
	wantBytes(t, s, 3, 2)
	for i := range 300 {
		putBytes(t, s, testRef(4, fmt.Sprint(i)), rng.IntN(3000))
	}
	wantBytes(t, s, 4, 2)
	put(4, "b", 300, 0) // beside those
	wantBytes(t, s, 4, 2)
	if err := s.DropPartition(4); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, s, 4, 1)
	if _, err := s.PartitionBytes(MaxPartitions); !errors.Is(err, ErrInvalid) {
		t.Errorf("a partition beyond the last: %v", err)
	}
}

// Where a leaf has many keys all of it is looked at: its first keys are those of
// the first bucket.
func TestPartitionBytesLooksAtWholeLeaves(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	n, dataKey := 0, []byte(nil)
	for i := 0; n < 2*sampleKeys; i++ {
		bucket, bytes := "small", 10
		if n >= sampleKeys {
			bucket, bytes = "tall", 4000
		}
		ref := object.Ref{Partition: 1, Bucket: bucket, Key: strconv.Itoa(i)}
		if dataKey = appendDataKey(dataKey[:0], ref); leafOf(nameHash(dataKey)) != 0 {
			continue
		}
		n++
		putBytes(t, s, ref, bytes)
	}
	wantBytes(t, s, 1, 1)
}

// What cannot be read is an error, not nothing.
func TestSizesOfDamagedRows(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	mustPut(t, s, testRef(1, "k"), version.Context{}, "v")
	b := s.db.NewBatch()
	_ = b.Set(append(appendPrefix(nil, kindIndex, 1), 0), nil, nil) // cut short
	s.saveRows(b)
	if _, err := s.PartitionBytes(1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	mustClose(t, s)
	if _, err := s.Holds(1); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if _, err := s.PartitionBytes(1); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}
