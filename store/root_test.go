package store

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"starling/store/object"
	"starling/store/version"
)

// TestRootFollowsWrites changes a leaf behind the store's back: the root knows
// nothing of it, for it is added up once.
func TestRootFollowsWrites(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, hinting(fs))
	ref := testRef(1, "k")
	old := mustPut(t, s, ref, version.Context{}, "v").Object
	want := mustRoot(t, s, 1)
	if err := s.db.Merge(appendLeafKey(nil, 1, 3), Leaf{Sum: 5}.append(nil), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		if got, err := s.Root(1); err != nil || got != want {
			t.Errorf("%s: the root is %+v, %v, want %+v", what, got, err, want)
		}
	}
	mustPut(t, s, testRef(2, "k"), version.Context{}, "v")
	mustMerge(t, s, ref, old)
	mustMergeHint(t, s, hintName{testTarget(1), ref}, old)
	check("nothing")
	next := mustPut(t, s, ref, version.Context{}, "v").Object
	want.Sum += next.Hash("b", "k") - old.Hash("b", "k")
	check("a put")
	mustMerge(t, s, testRef(1, "other"), old)
	want = want.plus(Leaf{Sum: old.Hash("b", "other"), Keys: 1})
	check("a new key")
	mustPurge(t, s, ref, next)
	want = want.minus(Leaf{Sum: next.Hash("b", "k"), Keys: 1})
	check("a purge")
	mustClose(t, s)
	s = openFor(t, small(fs))
	want.Sum += 5
	check("a restart")
	mustRoot(t, s, 1)
}

// TestRootUnderWrites has a few writers, each in one partition after another, and
// readers who add up its root at any moment of that. After each write the root
// must have it.
func TestRootUnderWrites(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	const pairs, rounds, steps = 2, 16, 6
	for w := range uint32(pairs) {
		var at atomic.Uint32 // the partition that is written to
		at.Store(w)
		var done atomic.Bool
		var both sync.WaitGroup
		both.Go(func() {
			for !done.Load() {
				if _, err := s.Root(at.Load()); err != nil {
					t.Error(err)
					return
				}
			}
		})
		both.Go(func() {
			defer done.Store(true)
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for range rounds {
				p := at.Add(pairs)
				for i := range uint64(steps) {
					changePartition(t, s, rng, testRef(p, key(rng.IntN(3))), i+1)
				}
				mustRoot(t, s, p)
			}
		})
		defer both.Wait()
	}
}

// TestRootAddedUpByMany has several ask for a root for the first time at once,
// while the partition is written to or dropped.
func TestRootAddedUpByMany(t *testing.T) {
	const partitions, keys = 50, 15
	o := small(vfs.NewMem())
	o.Durability = None
	s := mustOpen(t, o)
	put := func(p uint32, i int) {
		if _, err := s.Put(testRef(p, key(i)), version.Context{}, object.Sibling{}); err != nil {
			t.Error(err)
		}
	}
	for i := range partitions * keys {
		put(uint32(i/keys), i%keys)
	}
	mustClose(t, s)
	s = openFor(t, o) // which knows nothing of what is there
	for p := range uint32(partitions) {
		start := make(chan struct{})
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				<-start
				if _, err := s.Root(p); err != nil {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			<-start
			if p%3 > 0 {
				put(p, keys)
				put(p, 0)
			} else if err := s.DropPartition(p); err != nil {
				t.Error(err)
			}
		})
		close(start)
		all.Wait()
		mustRoot(t, s, p)
	}
}

// TestRootOfAnUntoldWrite asks for the root between the moment when a write can
// be read and that when its partition is told.
func TestRootOfAnUntoldWrite(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	change := Leaf{Sum: 5, Keys: 1}
	s.states.of(1).begin()
	if err := s.db.Merge(appendLeafKey(nil, 1, 3), change.append(nil), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	mustRoot(t, s, 1)
	s.states.of(1).end(change, 0)
	mustRoot(t, s, 1)
	mustRoot(t, s, 1)
}

// changePartition does one random write of any kind.
func changePartition(t *testing.T, s *Store, rng *rand.Rand, ref object.Ref, seq uint64) {
	old := mustGet(t, s, ref)
	switch rng.IntN(10) {
	case 0, 1:
		mustMerge(t, s, ref, foreign(9, seq, "m"))
	case 2, 3:
		mustDelete(t, s, ref, 1)
	case 4, 5:
		if _, _, err := s.Purge(ref, old.Hash(ref.Bucket, ref.Key)); err != nil {
			t.Error(err)
		}
	case 6:
		if rng.IntN(4) == 0 {
			if err := s.DropPartition(ref.Partition); err != nil {
				t.Error(err)
			}
		}
	default:
		mustPut(t, s, ref, old.Context(), "v")
	}
}

// TestRowsChangeTogether looks at a partition while it is written to: at every
// moment its rows must fit together, as they must after a crash at that moment.
func TestRowsChangeTogether(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		rng := rand.New(rand.NewPCG(2, 2))
		for i := range 400 {
			changePartition(t, s, rng, testRef(1, key(rng.IntN(8))), uint64(i+1))
		}
	}()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		now := s.db.NewSnapshot()
		rows := func(kind byte) (n uint64, sum Leaf) {
			start, end := partitionRange(kind, 1)
			it, err := now.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
			if err == nil {
				err = visitAll(it, func(_, value []byte) error {
					n++
					if l, err := decodeLeaf(value); err == nil {
						sum = sum.plus(l)
					}
					return nil
				})
			}
			if err != nil {
				t.Error(err)
			}
			return n, sum
		}
		data, _ := rows(kindData)
		index, _ := rows(kindIndex)
		due, _ := rows(kindCandidate)
		_, leaves := rows(kindLeaf)
		_, counts := rows(kindCounts)
		if index != data || leaves.Keys != data || counts.Keys != due || counts.Sum > due {
			t.Errorf("%d keys, %d in the index, %d in the leaves; %d candidates, counted %+v", data, index, leaves.Keys, due, counts)
		}
		if err := now.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRootWhileAWriteHangs asks for the root while the engine holds up a write:
// what is added up then must not be kept as a root that has the write, nor the
// write be added to one that has it.
func TestRootWhileAWriteHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flushed := make(chan struct{})
		o := small(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if onTable(op) && op.Kind == errorfs.OpCreate {
				<-flushed
			}
			return nil
		})))
		o.MemtableBytes = MinMemtableBytes
		s := mustOpen(t, o)
		var stop atomic.Bool
		done := make(chan error)
		go func() {
			for i := 0; !stop.Load(); i++ {
				if _, err := s.Put(testRef(1, key(i)), version.Context{}, object.Sibling{Value: make([]byte, 2000)}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		synctest.Wait()
		if !s.counts.stalling() {
			t.Fatal("the writer is not held up")
		}
		before := mustRoot(t, s, 1)
		stop.Store(true)
		close(flushed)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if after := mustRoot(t, s, 1); after.Keys != before.Keys+1 {
			t.Errorf("%d keys, then %d: no write was held up", before.Keys, after.Keys)
		}
		mustClose(t, s)
	})
}

func TestRootOfPartitions(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	all := []uint32{0, 1, statePage - 1, statePage, MaxPartitions - 1}
	for i, p := range all {
		if root := mustRoot(t, s, p); root != (Leaf{}) {
			t.Errorf("the empty partition %d has the root %+v", p, root)
		}
		for k := range i + 1 {
			mustPut(t, s, testRef(p, key(k)), version.Context{}, "v")
		}
	}
	for i, p := range all {
		if root := mustRoot(t, s, p); root.Keys != uint64(i+1) {
			t.Errorf("partition %d has the root %+v", p, root)
		}
	}
	_, err := s.Root(MaxPartitions)
	wantError(t, err, ErrInvalid)
	wantError(t, s.DropPartition(MaxPartitions), ErrInvalid)
	if n := s.HintWrites(MaxPartitions); n != 0 {
		t.Errorf("%d hints of no partition", n)
	}
}

func TestLeafOf(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	for i := range 50 {
		ref := testRef(1, key(i))
		before, l, err := s.LeafOf(ref)
		if err != nil {
			t.Fatal(err)
		}
		mustPut(t, s, ref, version.Context{}, "v")
		leaf, after, err := s.LeafOf(ref)
		if err != nil || leaf != before || after.Keys != l.Keys+1 {
			t.Errorf("leaf %d %+v became %d %+v, %v", before, l, leaf, after, err)
		}
		leaves, err := s.Leaves(1)
		if err != nil || leaves[leaf] != after {
			t.Errorf("leaf %d is %+v, %v, want %+v", leaf, leaves[leaf], err, after)
		}
		if refs := leafKeys(t, s, 1, uint16(leaf)); !slices.Contains(refs, ref) {
			t.Errorf("leaf %d has %v, not %v", leaf, refs, ref)
		}
	}
	_, _, err := s.LeafOf(object.Ref{Partition: 1, Bucket: "b"})
	wantError(t, err, ErrInvalid)
}

// TestKeyDigests ranges over a leaf of many keys from every place in it.
func TestKeyDigests(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	const leaf = 7
	var refs []object.Ref
	for i := 0; len(refs) < 12; i++ {
		ref := testRef(1, key(i))
		if leafOf(nameHash(appendDataKey(nil, ref))) == leaf {
			mustPut(t, s, ref, version.Context{}, "v")
			mustPut(t, s, testRef(2, key(i)), version.Context{}, "v")
			refs = append(refs, ref)
		}
	}
	digests := func(after object.Ref) (list []object.Digest) {
		t.Helper()
		for d, err := range s.KeyDigests(1, leaf, after) {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, d)
		}
		return list
	}
	for i := range len(refs) + 1 {
		after := object.Ref{}
		if i > 0 {
			after = refs[i-1]
		}
		got := digests(after)
		if len(got) != len(refs)-i {
			t.Fatalf("%d keys behind %v, want %d", len(got), after, len(refs)-i)
		}
		for j, d := range got {
			o := mustGet(t, s, d.Ref)
			if d.Ref != refs[i+j] || d.Hash != o.Hash(d.Ref.Bucket, d.Ref.Key) || !d.Vector.Equal(o.Vector) {
				t.Errorf("digest %+v of %v %+v", d, refs[i+j], o)
			}
		}
	}
	// A key that goes while the loop runs is left out.
	n := 0
	for d, err := range s.KeyDigests(1, leaf, object.Ref{}) {
		if err != nil || d.Ref == refs[5] {
			t.Errorf("%+v, %v", d, err)
		}
		if n++; n == 1 {
			mustPurge(t, s, refs[5], mustGet(t, s, refs[5]))
		}
	}
	if n != len(refs)-1 {
		t.Errorf("%d keys, want %d", n, len(refs)-1)
	}
}
