package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

func buckets(t testing.TB, s *Store, partition uint32) (names []string) {
	t.Helper()
	for name, err := range s.Buckets(partition) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

func mustDropBucket(t testing.TB, s *Store, partition uint32, bucket string) (dropped int) {
	t.Helper()
	err := s.DropBucket(partition, bucket, func(keys int) error { dropped += keys; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return dropped
}

// randomObject is a value, a value that expires, a tombstone, or an object with a
// long vector: what has rows of every kind.
func randomObject(rng *rand.Rand, i int) object.Object {
	o := foreign(version.Actor(1+rng.IntN(5)), uint64(i+1), fmt.Sprint("value ", i))
	switch rng.IntN(4) {
	case 0:
		o.Siblings[0].ExpiresMS = 1 + rng.Int64N(1000)
	case 1:
		o.Siblings[0] = object.Sibling{Dot: o.Siblings[0].Dot, Tombstone: true, ModifiedMS: rng.Int64N(1000)}
	case 2:
		o = wide(9, object.Sibling{Value: []byte("v")})
	}
	return o
}

// A store of many buckets, some of which are dropped: what is left is what was
// not dropped, and all that is counted is that of what is left, then, after a
// power loss at any batch, and after the drop went on.
func TestDropBucket(t *testing.T) {
	names := []string{"a", "b", "b-", "ba", "b~1", "b~2", "c"}
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewCrashableMem()
		o := hinting(fs)
		o.Durability = Durability(rng.IntN(2)) // as a drop is none of it
		s := openFor(t, o)
		const partitions = 3
		want := [partitions]map[object.Ref]object.Object{}
		for p := range uint32(partitions) {
			want[p] = map[object.Ref]object.Object{}
			keys := 60
			if p == 1 {
				keys = 1500
			}
			for i := range keys {
				ref := object.Ref{Partition: p, Bucket: names[rng.IntN(len(names))], Key: key(rng.IntN(1000))}
				w := mustMergeLazily(t, s, ref, randomObject(rng, i))
				want[p][ref] = w
			}
		}
		hinted := hintName{testTarget(1), object.Ref{Partition: 1, Bucket: "b", Key: "k"}}
		mustMergeHint(t, s, hinted, foreign(1, 1, "v"))
		if rng.IntN(2) == 0 {
			mustRoot(t, s, 1) // in memory from now on
		}
		gone := map[string]bool{"b": true, names[rng.IntN(len(names))]: true, "b~1": true}
		batches, crashAt := 0, 1+rng.IntN(4)
		var crashed *vfs.MemFS
		for name := range gone {
			err := s.DropBucket(1, name, func(int) error {
				if batches++; batches == crashAt {
					checkPartition(t, s, 1)
					crashed = crash(fs, rng.IntN(101), seed)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		dropFrom(want[1], gone)
		for p := range uint32(partitions) {
			if got := checkPartition(t, s, p); !maps.EqualFunc(got, want[p], object.Object.Equal) {
				t.Errorf("seed %d: partition %d holds %d keys, want %d", seed, p, len(got), len(want[p]))
			}
		}
		left := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return gone[n] })
		if got := buckets(t, s, 1); !slices.Equal(got, left) {
			t.Errorf("seed %d: the buckets are %q, want %q", seed, got, left)
		}
		if got := buckets(t, s, 2); !slices.Equal(got, names) {
			t.Errorf("seed %d: another partition's are %q, want %q", seed, got, names)
		}
		if hints, err := s.Hinted(hinted.ref); err != nil || len(hints) != 1 {
			t.Errorf("seed %d: hints %v, %v", seed, hints, err)
		}
		s = openFor(t, small(crashed))
		checkPartition(t, s, 1)
		for name := range gone {
			mustDropBucket(t, s, 1, name)
		}
		for ref := range checkPartition(t, s, 1) {
			if gone[ref.Bucket] {
				t.Fatalf("seed %d: %v is there after a crash and another drop", seed, ref)
			}
		}
	}
}

func dropFrom(objects map[object.Ref]object.Object, gone map[string]bool) {
	maps.DeleteFunc(objects, func(ref object.Ref, _ object.Object) bool { return gone[ref.Bucket] })
}

// mustMergeLazily merges without waiting for the disk.
func mustMergeLazily(t testing.TB, s *Store, ref object.Ref, o object.Object) object.Object {
	t.Helper()
	w, err := s.Merge(ref, o)
	if err != nil {
		t.Fatal(err)
	}
	return w.Object
}

// Writers of other buckets go on, and one root is asked for the first time.
func TestDropBucketUnderWrites(t *testing.T) {
	o := small(vfs.NewMem())
	o.Durability = None
	s := openFor(t, o)
	const keys = 3000
	for i := range keys {
		mustMergeLazily(t, s, object.Ref{Partition: 1, Bucket: "gone", Key: key(i)}, foreign(1, 1, "v"))
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var busy sync.WaitGroup
	for w := range 3 {
		busy.Go(func() {
			for i := range 500 {
				ref := object.Ref{Partition: 1, Bucket: fmt.Sprint("b", w), Key: key(i % 40)}
				mustMergeLazily(t, s, ref, foreign(version.Actor(w+2), uint64(i+1), "v"))
			}
		})
	}
	batches := 0
	err := s.DropBucket(1, "gone", func(n int) error {
		if n < 1 || n > dropRows {
			t.Errorf("%d keys at once", n)
		}
		if batches++; batches == 5 {
			_, err := s.Root(1)
			return err
		}
		if rng.IntN(4) == 0 { // what is counted is that of what is there, at any moment
			mustMergeLazily(t, s, object.Ref{Partition: 1, Bucket: "mine", Key: key(batches)}, foreign(9, 1, "v"))
		}
		return nil
	})
	busy.Wait()
	if err != nil || batches < keys/dropRows {
		t.Fatalf("%d batches: %v", batches, err)
	}
	checkPartition(t, s, 1)
	if got := buckets(t, s, 1); slices.Contains(got, "gone") {
		t.Errorf("buckets %q", got)
	}
}

// Writes of the very keys should not be, and must not leave rows that do not fit
// together if they are.
func TestDropBucketUnderItsOwnWrites(t *testing.T) {
	o := small(vfs.NewMem())
	o.Durability = None
	s := openFor(t, o)
	stop := make(chan struct{})
	var writing sync.WaitGroup
	for w := range 2 {
		writing.Go(func() {
			for i := uint64(1); ; i++ {
				select {
				case <-stop:
					return
				default:
					mustMergeLazily(t, s, testRef(1, key(int(i*7)%200)), foreign(version.Actor(w+1), i, "v"))
				}
			}
		})
	}
	for range 200 {
		mustDropBucket(t, s, 1, "b")
	}
	close(stop)
	writing.Wait()
	checkPartition(t, s, 1)
}

// Large values make small batches, and an error ends the drop after one.
func TestDropBucketIsBounded(t *testing.T) {
	o := small(vfs.NewMem())
	o.Durability = None
	s := openFor(t, o)
	const values, size = 20, 256 << 10
	for i := range values {
		mustMergeLazily(t, s, testRef(1, key(i)), foreign(1, 1, string(make([]byte, size))))
	}
	enough := errors.New("enough")
	var batches []int
	err := s.DropBucket(1, "b", func(n int) error {
		batches = append(batches, n)
		if len(batches) == 2 {
			return enough
		}
		return nil
	})
	wantError(t, err, enough)
	for _, n := range batches {
		if n > dropBytes/size+1 {
			t.Errorf("%d values of %d bytes at once", n, size)
		}
	}
	if left := len(checkPartition(t, s, 1)); left != values-batches[0]-batches[1] {
		t.Errorf("%d keys are left after %v", left, batches)
	}
	if n := mustDropBucket(t, s, 1, "b"); n != values-batches[0]-batches[1] {
		t.Errorf("then %d were dropped", n)
	}
	if n := mustDropBucket(t, s, 1, "b"); n != 0 {
		t.Errorf("then another %d", n)
	}
}

func TestDropBucketRefuses(t *testing.T) {
	s := mustOpen(t, small(vfs.NewMem()))
	none := func(int) error { return nil }
	wantError(t, s.DropBucket(MaxPartitions, "b", none), ErrInvalid)
	wantError(t, s.DropBucket(1, "", none), ErrInvalid)
	wantError(t, s.DropBucket(1, "a\x00b", none), ErrInvalid)
	for _, err := range s.Buckets(MaxPartitions) {
		wantError(t, err, ErrInvalid)
	}
	mustClose(t, s)
	wantError(t, s.DropBucket(1, "b", none), ErrClosed)
	for _, err := range s.Buckets(1) {
		wantError(t, err, ErrClosed)
	}
}
