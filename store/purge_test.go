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

// reborn is a store that goes through restarts, and every object that its key
// ever had.
type reborn struct {
	t     *testing.T
	fs    *vfs.MemFS
	o     Options
	s     *Store
	ref   object.Ref
	dots  ledger
	dead  []object.Object
	actor version.Actor
}

func newReborn(t *testing.T) *reborn {
	r := &reborn{t: t, fs: vfs.NewCrashableMem(), ref: testRef(1, "k"), dots: ledger{}}
	r.o = small(r.fs)
	r.o.Rand = newRand(1)
	r.s = mustOpen(t, r.o)
	t.Cleanup(func() { mustClose(t, r.s) })
	return r
}

// restart ends the store and opens it again.
func (r *reborn) restart(clean, vouch bool) {
	r.t.Helper()
	after := r.fs
	if !clean {
		after = copyFS(r.fs)
	}
	mustClose(r.t, r.s)
	r.fs, r.o.FS = after, after
	r.s = mustOpen(r.t, r.o)
	if vouch {
		r.s.Vouch()
	}
}

// put puts a value, which none of the objects that were purged may be able to
// destroy, in whatever order they are merged. It reports whether the actor is
// that of the last put.
func (r *reborn) put(c version.Context) (sameActor bool) {
	r.t.Helper()
	w := r.dots.put(r.t, r.s, r.ref, c)
	for _, dead := range r.dead {
		if dead.Vector.Covers(w.Dot) {
			r.t.Errorf("the dot %v is taken for one of %v", w.Dot, dead.Vector)
		}
		for _, o := range []object.Object{object.Merge(dead, w.Object), object.Merge(w.Object, dead)} {
			if !hasDot(o, w.Dot) {
				r.t.Errorf("merged with %v the new value is lost", dead.Vector)
			}
		}
	}
	sameActor = r.actor == w.Dot.Actor
	r.actor = w.Dot.Actor
	return sameActor
}

// purge deletes the key, twice as a busy one, and purges it.
func (r *reborn) purge() {
	r.t.Helper()
	o := mustDelete(r.t, r.s, r.ref, 1).Object
	r.actor = o.Siblings[0].Dot.Actor
	mustPurge(r.t, r.s, r.ref, o)
	r.dead = append(r.dead, o)
}

func (r *reborn) lastDead() object.Object { return r.dead[len(r.dead)-1] }

// TestActorsAfterPurge purges a key and puts it again, after all that may
// happen in between: a new dot must never be taken for an old one. Where the
// store remembers the purge, the actor is kept too.
func TestActorsAfterPurge(t *testing.T) {
	between := map[string]func(r *reborn){
		"nothing":                      func(*reborn) {},
		"clean restart":                func(r *reborn) { r.restart(true, true) },
		"clean restart, not vouched":   func(r *reborn) { r.restart(true, false) },
		"unclean restart":              func(r *reborn) { r.restart(false, true) },
		"clean, then unclean restart":  func(r *reborn) { r.restart(true, true); r.restart(false, true) },
		"another key written":          func(r *reborn) { r.dots.put(r.t, r.s, testRef(1, "other"), version.Context{}) },
		"partition dropped and filled": func(r *reborn) { r.drop() },
	}
	keeps := map[string]bool{"nothing": true, "another key written": true}
	again := map[string]func(r *reborn) bool{
		"put":            func(r *reborn) bool { return r.put(version.Context{}) },
		"put as deleted": func(r *reborn) bool { return r.put(r.lastDead().Context()) },
		"tombstone back, put": func(r *reborn) bool {
			mustMerge(r.t, r.s, r.ref, r.lastDead())
			return r.put(version.Context{})
		},
		"put, tombstone back, put": func(r *reborn) bool {
			same := r.put(version.Context{})
			mustMerge(r.t, r.s, r.ref, r.lastDead())
			return r.put(version.Context{}) && same
		},
		"tombstone back, purged again, put": func(r *reborn) bool {
			mustMerge(r.t, r.s, r.ref, r.lastDead())
			mustPurge(r.t, r.s, r.ref, r.lastDead())
			return r.put(version.Context{})
		},
		"first tombstone back, put as deleted": func(r *reborn) bool {
			mustMerge(r.t, r.s, r.ref, r.dead[0])
			mustPurge(r.t, r.s, r.ref, r.dead[0])
			return r.put(r.lastDead().Context())
		},
	}
	for name, between := range between {
		for what, again := range again {
			t.Run(name+"/"+what, func(t *testing.T) {
				r := newReborn(t)
				r.put(version.Context{})
				r.purge()
				r.put(version.Context{})
				r.purge()
				between(r)
				if same := again(r); keeps[name] && !same {
					t.Error("the actor was given up though it forgot nothing")
				}
				checkPartition(t, r.s, 1)
			})
		}
	}
}

// drop loses the partition, with a fresh copy of it taken elsewhere.
func (r *reborn) drop() {
	if err := r.s.DropPartition(1); err != nil {
		r.t.Fatal(err)
	}
	mustMerge(r.t, r.s, testRef(1, "other"), foreign(9, 1, "v"))
}

// TestAmnesiaAfterPurge shows a store more of its writes than it purged.
func TestAmnesiaAfterPurge(t *testing.T) {
	other := testRef(1, "other")
	for name, show := range map[string]func(r *reborn, d version.Dot){
		"of the key":            func(r *reborn, d version.Dot) { mustMerge(r.t, r.s, r.ref, foreign(d.Actor, d.Seq+1, "lost")) },
		"of the key, far ahead": func(r *reborn, d version.Dot) { mustMerge(r.t, r.s, r.ref, foreign(d.Actor, d.Seq+1<<40, "lost")) },
		"of another key":        func(r *reborn, d version.Dot) { mustMerge(r.t, r.s, other, foreign(d.Actor, d.Seq, "lost")) },
		"in a context":          func(r *reborn, d version.Dot) { mustPut(r.t, r.s, other, r.lastDead().Context(), "v") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newReborn(t)
			r.put(version.Context{})
			r.purge()
			show(r, r.lastDead().Siblings[0].Dot)
			if r.put(version.Context{}) {
				t.Error("an actor that forgot a write minted on")
			}
		})
	}
}

// TestReapedAreBounded purges more keys than the store remembers, some again.
func TestReapedAreBounded(t *testing.T) {
	a := actors{held: map[uint32]tenancy{1: {actor: 5}}, reaped: map[uint64]version.Dot{}, seed: newRecent().seed}
	for i := range maxReaped - 100 {
		a.reaped[uint64(i)] = version.Dot{Actor: 5, Seq: 3}
	}
	for i := range 200 {
		a.purged([]byte(key(i)), 1, version.Vector{{Actor: 5, Seq: 3}})
		a.purged([]byte(key(i)), 1, version.Vector{{Actor: 5, Seq: 2}}) // an older object came back
	}
	a.purged([]byte("foreign"), 1, version.Vector{{Actor: 6, Seq: 3}})
	a.purged([]byte("nobody's"), 2, version.Vector{{Actor: 5, Seq: 3}})
	if len(a.reaped) != maxReaped {
		t.Errorf("%d purged keys are remembered, want %d", len(a.reaped), maxReaped)
	}
	for _, d := range a.reaped {
		if d != (version.Dot{Actor: 5, Seq: 3}) {
			t.Fatalf("the last dot is %v", d)
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

// TestPruneOwnActor takes the entry of the actor itself out of an object that
// it goes on to write to.
func TestPruneOwnActor(t *testing.T) {
	r := newReborn(t)
	r.put(version.Context{})
	o := mustMerge(t, r.s, r.ref, object.Object{
		Vector:   mustGet(t, r.s, r.ref).Vector.With(version.Dot{Actor: 9, Seq: 1}),
		Siblings: []object.Sibling{{Dot: version.Dot{Actor: 9, Seq: 1}, Value: []byte("over it")}},
	}).Object
	pruned, _, err := r.s.Prune(r.ref, o.Hash("b", "k"), version.Vector{{Actor: 9, Seq: 1}})
	if !pruned || err != nil {
		t.Fatal(pruned, err)
	}
	r.dead = append(r.dead, o)
	if !r.put(version.Context{}) {
		t.Error("the actor was given up")
	}
	mustMerge(t, r.s, r.ref, o)
	r.put(version.Context{})
	wantValues(t, mustGet(t, r.s, r.ref), "over it", "v", "v")
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
