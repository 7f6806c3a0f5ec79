package store

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

// TestPurgeLeavesNoTrace purges one of two keys, after calls that must do
// nothing.
func TestPurgeLeavesNoTrace(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := openFor(t, small(fs))
	ref, other := testRef(1, "k"), testRef(1, "other")
	mustPut(t, s, other, version.Context{}, "v")
	before := mustRoot(t, s, 1)
	mustPut(t, s, ref, version.Context{}, "v")
	stale := mustGet(t, s, ref)
	o := mustDelete(t, s, ref, 1).Object
	nothing := func(ref object.Ref, hash uint64) {
		t.Helper()
		was := mustGet(t, s, ref)
		purged, wait, err := s.Purge(ref, hash)
		if err == nil {
			err = wait()
		}
		if purged || err != nil || !mustGet(t, s, ref).Equal(was) {
			t.Errorf("purged %v, %v", purged, err)
		}
	}
	nothing(ref, 0)
	nothing(ref, stale.Hash("b", "k"))
	nothing(testRef(1, "never heard of"), 0)
	nothing(testRef(2, "k"), o.Hash("b", "k"))
	mustPurge(t, s, ref, o)
	nothing(ref, o.Hash("b", "k"))
	nothing(ref, 0)
	for _, s := range []*Store{s, openFor(t, small(crash(fs, 0, 1)))} {
		if !mustGet(t, s, ref).Absent() || mustRoot(t, s, 1) != before {
			t.Error("the key is still there")
		}
		for _, kind := range []byte{kindData, kindIndex, kindCandidate} {
			want := map[byte]int{kindData: 1, kindIndex: 1}[kind]
			if n := rowCount(t, s, kind, 1); n != want {
				t.Errorf("%d rows of kind %c, want %d", n, kind, want)
			}
		}
		wantTombstones(t, s, 0)
		checkPartition(t, s, 1)
	}
}

// TestPurgeAndCrash cuts the power behind a purge, under every durability. One
// that was not waited for is whole, or did not happen. One that was is on disk,
// and so is one that only another, which found nothing, was waited for.
func TestPurgeAndCrash(t *testing.T) {
	for d := range None + 1 {
		for _, waits := range []string{"none", "own", "later"} {
			for seed := range uint64(2) {
				fs := vfs.NewCrashableMem()
				o := small(fs)
				o.Durability, o.SyncEvery = d, time.Hour
				s := openFor(t, o)
				ref := testRef(1, "k")
				hash := mustDelete(t, s, ref, 1).Object.Hash("b", "k")
				s.syncLog()
				purged, wait, err := s.Purge(ref, hash)
				if waits == "later" {
					_, wait, err = s.Purge(ref, hash)
				}
				if waits != "none" {
					err = errors.Join(err, wait())
				}
				if !purged || err != nil {
					t.Fatal(purged, err)
				}
				crashed := openFor(t, small(crash(fs, 50*int(seed%2), seed)))
				n := len(checkPartition(t, crashed, 1))
				if wantTombstones(t, crashed, int64(n)); n > 0 && waits != "none" {
					t.Errorf("%v: a purge came undone, wait %s", d, waits)
				}
			}
		}
	}
}

// TestPurgeRacesPut purges a key while it is put: the value survives, and the
// purge reports what it found.
func TestPurgeRacesPut(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	purges := 0
	for i := range 300 {
		ref := testRef(1, key(i%3))
		dead := mustDelete(t, s, ref, 1).Object
		c := version.Context{}
		if i%2 == 0 {
			c = dead.Context()
		}
		var purged bool
		var err error
		var w object.Written
		var both sync.WaitGroup
		both.Go(func() { purged, _, err = s.Purge(ref, dead.Hash(ref.Bucket, ref.Key)) })
		both.Go(func() { w = mustPut(t, s, ref, c, "v") })
		both.Wait()
		if err != nil {
			t.Fatal(err)
		}
		o := mustGet(t, s, ref)
		if !hasDot(o, w.Dot) {
			t.Fatalf("the value is lost; purged %v", purged)
		}
		if purged {
			purges++
		}
		// Without the context the tombstone is there unless it was purged.
		if kept := hasDot(o, dead.Siblings[0].Dot); i%2 == 1 && kept == purged {
			t.Fatalf("purged %v, and the tombstone is there %v", purged, kept)
		}
	}
	t.Logf("%d purges came first", purges)
	checkPartition(t, s, 1)
}

func TestPrune(t *testing.T) {
	keep := version.Dot{Actor: 1011, Seq: 5}
	full := wide(12, living(1)) // its sibling is the last actor's
	for name, tt := range map[string]struct {
		hash   uint64
		vector version.Vector
		pruned bool
		err    error
	}{
		"to the sibling":     {vector: version.Vector{keep}, pruned: true},
		"by one":             {vector: full.Vector[1:], pruned: true},
		"by a part":          {vector: version.Vector{{Actor: 1000, Seq: 4}, keep}, pruned: true},
		"by nothing":         {vector: full.Vector},
		"another object":     {hash: 1, vector: version.Vector{keep}},
		"without sibling":    {vector: full.Vector[:11], err: ErrInvalid},
		"below the sibling":  {vector: version.Vector{{Actor: 1011, Seq: 4}}, err: ErrInvalid},
		"to nothing":         {err: ErrInvalid},
		"above the object":   {vector: version.Vector{{Actor: 1011, Seq: 6}}, err: ErrInvalid},
		"to an unheard-of":   {vector: version.Vector{keep, {Actor: 5000, Seq: 1}}, err: ErrInvalid},
		"another, to others": {hash: 1, vector: version.Vector{{Actor: 5000, Seq: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			s := openFor(t, small(fs))
			ref := testRef(1, "k")
			mustMerge(t, s, ref, full)
			if tt.hash == 0 {
				tt.hash = full.Hash("b", "k")
			}
			pruned, wait, err := s.Prune(ref, tt.hash, tt.vector)
			if wantError(t, err, tt.err); pruned != tt.pruned {
				t.Errorf("pruned %v", pruned)
			}
			if err == nil {
				if err := wait(); err != nil {
					t.Error(err)
				}
			}
			want := full
			if tt.pruned {
				want.Vector = tt.vector
			}
			for _, s := range []*Store{s, openFor(t, small(crash(fs, 0, 1)))} {
				if o := mustGet(t, s, ref); !o.Equal(want) {
					t.Errorf("it is %+v, want %+v", o, want)
				}
				checkPartition(t, s, 1)
			}
			// What another owner still holds is no news but for the entries.
			if o := mustMerge(t, s, ref, full).Object; !o.Equal(full) {
				t.Errorf("with the object as it was: %+v", o)
			}
			checkPartition(t, s, 1)
		})
	}
	s := openFor(t, small(vfs.NewMem()))
	if pruned, _, err := s.Prune(testRef(1, "absent"), 0, version.Vector{keep}); pruned || err != nil {
		t.Errorf("an absent key is pruned: %v, %v", pruned, err)
	}
}

// TestHintWrites counts the hints of a partition.
func TestHintWrites(t *testing.T) {
	o := hinting(vfs.NewMem())
	o.HintsMaxTargetBytes = 1000
	s := openFor(t, o)
	name := hintName{testTarget(1), testRef(1, "k")}
	want := uint64(0)
	check := func(what string, more uint64) {
		t.Helper()
		want += more
		if one, other := s.HintWrites(1), s.HintWrites(2); one != want || other != 0 {
			t.Errorf("%s: %d and %d, want %d and 0", what, one, other, want)
		}
	}
	check("nothing", 0)
	mustPut(t, s, name.ref, version.Context{}, "v")
	check("data", 0)
	w := mustPutHint(t, s, name, version.Context{}, object.Sibling{Op: op(1)})
	check("a put", 1)
	mustPutHint(t, s, name, version.Context{}, object.Sibling{Op: op(1)})
	check("the put again", 0)
	mustMergeHint(t, s, name, w.Object)
	check("a merge of what is there", 0)
	mustMergeHint(t, s, name, foreign(9, 1, "v"))
	check("a merge", 1)
	_, err := s.MergeHint(name.target, testRef(1, "large"), foreign(9, 1, string(make([]byte, 1000))))
	wantError(t, err, ErrHintsFull)
	check("a hint without room", 0)
	mustDropHint(t, s, name, hintOf(t, s, name))
	check("a drop", 0)
	mustMergeHint(t, s, name, foreign(9, 1, "v"))
	check("the hint again", 1)
	if err := s.DropPartition(1); err != nil {
		t.Fatal(err)
	}
	check("a drop of the partition", 0)
}

// TestActorsThatMayMint lists the actors of a partition over its lives.
func TestActorsThatMayMint(t *testing.T) {
	fs := vfs.NewMem()
	o := hinting(fs)
	s := mustOpen(t, o)
	check := func(what string, want ...version.Actor) {
		t.Helper()
		list := s.Actors(1)
		got := map[version.Actor]bool{}
		for _, a := range list {
			got[a] = true
		}
		for _, a := range want {
			if !got[a] {
				t.Errorf("%s: %v is not in %v", what, a, list)
			}
		}
		if len(list) != len(want) {
			t.Errorf("%s: %v, want %v", what, list, want)
		}
	}
	check("a new store")
	a := mustPut(t, s, testRef(1, "k"), version.Context{}, "v").Dot.Actor
	mustPut(t, s, testRef(2, "k"), version.Context{}, "v")
	check("a put", a)
	name := hintName{testTarget(1), testRef(1, "k")}
	hint := mustPutHint(t, s, name, version.Context{}, object.Sibling{})
	elsewhere := mustPutHint(t, s, hintName{testTarget(1), testRef(2, "k")}, version.Context{}, object.Sibling{})
	check("hints", a, hint.Dot.Actor, elsewhere.Dot.Actor)
	mustDropHint(t, s, name, hint.Object)
	check("one hint gone", a, elsewhere.Dot.Actor)
	mustClose(t, s)
	s = mustOpen(t, o)
	check("a clean restart", a)
	b := mustPut(t, s, testRef(1, "k"), version.Context{}, "v").Dot.Actor // not vouched for
	check("before it is vouched for", b)
	mustClose(t, s)
	s = openFor(t, o)
	check("another restart", b)
	if err := s.DropPartition(1); err != nil {
		t.Fatal(err)
	}
	check("a drop")
}

// TestReapingAClosedStore calls all that reaping needs of a closed store.
func TestReapingAClosedStore(t *testing.T) {
	s := mustOpen(t, small(vfs.NewMem()))
	ref := testRef(1, "k")
	o := mustDelete(t, s, ref, 1).Object
	mustRoot(t, s, 1)
	mustClose(t, s)
	hash := o.Hash("b", "k")
	for name, call := range map[string]func() error{
		"Root":       func() error { _, err := s.Root(1); return err },
		"LeafOf":     func() error { _, _, err := s.LeafOf(ref); return err },
		"Tombstones": func() error { _, err := s.Tombstones(); return err },
		"Purge":      func() error { _, _, err := s.Purge(ref, hash); return err },
		"Prune":      func() error { _, _, err := s.Prune(ref, hash, o.Vector); return err },
		"Candidates": func() (err error) {
			for _, err = range s.Candidates(1, object.Ref{}, never) {
			}
			return err
		},
		"KeyDigests": func() (err error) {
			for _, err = range s.KeyDigests(1, 1, object.Ref{}) {
			}
			return err
		},
	} {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
