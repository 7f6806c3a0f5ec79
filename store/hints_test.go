package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

func TestHints(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, hinting(fs))
	ref := testRef(1, "k")
	one, two := hintName{testTarget(1), ref}, hintName{testTarget(2), ref}
	if hints, err := s.Hinted(ref); err != nil || len(hints) != 0 || len(s.HintTotals()) != 0 {
		t.Fatalf("a new store has hints: %v, %v", hints, err)
	}
	sent := foreign(7, 1, "sent")
	mustMergeHint(t, s, two, sent)
	w := mustPutHint(t, s, one, version.Context{}, object.Sibling{Value: []byte("put")})
	if !w.Changed || !hasDot(w.Object, w.Dot) {
		t.Errorf("put %+v", w)
	}
	more := mustMergeHint(t, s, one, sent)
	wantValues(t, more.Object, "put", "sent")
	// A hint is no data, and data is no hint.
	if o := mustGet(t, s, ref); !o.Absent() || len(checkPartition(t, s, 1)) != 0 {
		t.Errorf("the hint shows as data: %+v", o)
	}
	mustPut(t, s, ref, version.Context{}, "data")
	if err := s.DropPartition(1); err != nil {
		t.Fatal(err)
	}
	hints, err := s.Hinted(ref)
	if err != nil || len(hints) != 2 || hints[0].Target != one.target || hints[1].Target != two.target || hints[0].Ref != ref {
		t.Fatalf("hinted are %+v, %v", hints, err)
	}
	wantValues(t, hints[0].Object, "put", "sent")
	wantValues(t, hints[1].Object, "sent")
	if n := len(checkHints(t, s)); n != 2 {
		t.Errorf("%d hints, want 2", n)
	}
	// Nothing new changes nothing, and needs no room.
	s.hints.max = 0
	for _, o := range []object.Object{sent, more.Object, {}} {
		if w := mustMergeHint(t, s, one, o); w.Changed || !w.Object.Equal(more.Object) {
			t.Errorf("merging what is there changed %v to %+v", w.Changed, w.Object)
		}
	}
	if w := mustMergeHint(t, s, hintName{testTarget(3), ref}, object.Object{}); w.Changed {
		t.Error("nothing became a hint")
	}
	// Only the object that was delivered is dropped, and once.
	for _, hash := range []uint64{0, w.Object.Hash("b", "k")} {
		if dropped, err := s.DropHint(one.target, ref, hash); dropped || err != nil {
			t.Errorf("a hint that changed was dropped: %v, %v", dropped, err)
		}
	}
	mustClose(t, s)
	s = openFor(t, hinting(fs))
	if n := len(checkHints(t, s)); n != 2 {
		t.Errorf("%d hints after a restart, want 2", n)
	}
	mustDropHint(t, s, one, more.Object)
	if dropped, err := s.DropHint(one.target, ref, more.Object.Hash("b", "k")); dropped || err != nil {
		t.Errorf("a hint was dropped twice: %v, %v", dropped, err)
	}
	mustDropHint(t, s, two, sent)
	if n := len(checkHints(t, s)); n != 0 || s.hints.total() != (hintTotals{}) {
		t.Errorf("%d hints are left, %+v", n, s.hints.total())
	}
}

// TestTotalsOfNothing checks that the totals of targets without hints are
// deleted by the next boot, and only those.
func TestTotalsOfNothing(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, hinting(fs))
	totals := func() (n int) {
		visitKind(t, s, kindTotals, func(_, _ []byte) { n++ })
		return n
	}
	for n := range 3 {
		mustMergeHint(t, s, hintName{testTarget(n), testRef(1, "k")}, foreign(7, 1, "v"))
	}
	mustDropHint(t, s, hintName{testTarget(1), testRef(1, "k")}, foreign(7, 1, "v"))
	if n := totals(); n != 3 {
		t.Errorf("%d totals, want 3", n)
	}
	mustClose(t, s)
	s = openFor(t, hinting(fs))
	if n := totals(); n != 2 {
		t.Errorf("%d totals after a restart, want 2", n)
	}
	mustMergeHint(t, s, hintName{testTarget(1), testRef(1, "k")}, foreign(7, 1, "v"))
	checkHints(t, s)
}

func TestHintRefusals(t *testing.T) {
	o := hinting(vfs.NewMem())
	o.Partitions = 16
	o.Limits = object.Limits{Siblings: 2}
	s := openFor(t, o)
	ref := testRef(uint32(nameHash(appendDataKey(nil, testRef(0, "k")))>>60), "k")
	name := hintName{testTarget(1), ref}
	mustPutHint(t, s, name, version.Context{}, object.Sibling{})
	for _, bad := range []hintName{
		{[16]byte{}, ref}, {name.target, testRef(ref.Partition^1, "k")}, {name.target, object.Ref{Partition: ref.Partition, Bucket: "b"}},
	} {
		_, err1 := s.PutHint(bad.target, bad.ref, version.Context{}, object.Sibling{})
		_, err2 := s.MergeHint(bad.target, bad.ref, foreign(1, 1, "v"))
		_, err3 := s.DropHint(bad.target, bad.ref, 1)
		for _, err := range []error{err1, err2, err3} {
			wantError(t, err, ErrInvalid)
		}
	}
	_, err := s.Hinted(testRef(ref.Partition^1, "k"))
	wantError(t, err, ErrInvalid)
	mustPutHint(t, s, name, version.Context{}, object.Sibling{})
	_, err = s.PutHint(name.target, ref, version.Context{}, object.Sibling{})
	wantError(t, err, object.ErrTooManySiblings)
	mustMergeHint(t, s, name, foreign(1, 1, "v")) // never refuses what another replica took
	if n := len(hintOf(t, s, name).Siblings); n != 3 {
		t.Errorf("%d siblings, want 3", n)
	}
	// A put that was refused costs no actor.
	resolved := mustPutHint(t, s, name, hintOf(t, s, name).Context(), object.Sibling{})
	if n := len(resolved.Object.Vector); n != 2 {
		t.Errorf("the vector is %v", resolved.Object.Vector)
	}
	for _, o := range []Options{{Dir: "d", HintsMaxBytes: -1}, {Dir: "d", HintsMaxTargetBytes: -1}} {
		_, err := o.withDefaults()
		wantError(t, err, ErrInvalid)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err1 := s.PutHint(name.target, ref, version.Context{}, object.Sibling{})
	_, err2 := s.MergeHint(name.target, ref, object.Object{})
	_, err3 := s.DropHint(name.target, ref, 1)
	_, err4 := s.Hinted(ref)
	for _, err := range []error{err1, err2, err3, err4} {
		wantError(t, err, ErrClosed)
	}
	n := 0
	for _, err := range s.Hints(name.target, object.Ref{}) {
		wantError(t, err, ErrClosed)
		n++
	}
	if n != 1 {
		t.Errorf("a closed store gives %d hints", n)
	}
}

// TestHintBounds fills the room for one target and for all to the last byte.
func TestHintBounds(t *testing.T) {
	ref := func(i int) object.Ref { return testRef(1, key(i)) }
	sized := func(bytes int) object.Object { return foreign(7, 1, strings.Repeat("v", bytes)) }
	row := int64(len(appendHintKey(nil, testTarget(1), ref(0))) + sized(100).Size())
	o := hinting(vfs.NewMem())
	o.HintsMaxBytes, o.HintsMaxTargetBytes = 5*row, 3*row
	s := openFor(t, o)
	full := func(target, i, bytes int) {
		t.Helper()
		before := s.HintTotals()
		_, err1 := s.MergeHint(testTarget(target), ref(i), foreign(8, 1, strings.Repeat("v", bytes)))
		_, err2 := s.PutHint(testTarget(target), ref(i), version.Context{}, object.Sibling{Value: make([]byte, bytes)})
		wantError(t, err1, ErrHintsFull)
		wantError(t, err2, ErrHintsFull)
		if !slices.Equal(s.HintTotals(), before) {
			t.Errorf("totals are %v, before the refusal %v", s.HintTotals(), before)
		}
	}
	merge := func(target, i int) {
		t.Helper()
		mustMergeHint(t, s, hintName{testTarget(target), ref(i)}, sized(100))
	}
	merge(1, 0)
	merge(1, 1)
	full(1, 2, 150)
	merge(1, 2)
	full(1, 3, 1)
	full(1, 0, 150) // one that is there and grows
	merge(2, 0)
	full(3, 0, 150)
	merge(3, 0)
	full(2, 1, 1)
	full(3, 1, 1)
	merge(1, 1) // nothing new
	// What does not grow goes on, a retry and a smaller value.
	fits := mustPutHint(t, s, hintName{testTarget(1), ref(0)}, sized(100).Context(), object.Sibling{Value: []byte("v"), Op: op(1)})
	if w := mustPutHint(t, s, hintName{testTarget(1), ref(0)}, version.Context{}, object.Sibling{Value: []byte("v"), Op: op(1)}); w.Dot != fits.Dot {
		t.Errorf("a retry got %v, want %v", w.Dot, fits.Dot)
	}
	full(4, 0, 100)
	// Room comes back with a deletion.
	mustDropHint(t, s, hintName{testTarget(1), ref(1)}, sized(100))
	merge(4, 0)
	if n := len(checkHints(t, s)); n != 5 {
		t.Errorf("%d hints, want 5", n)
	}
	if s.counts.hintsRefused.Load() != 14 || s.counts.hintsDeleted.Load() != 1 {
		t.Errorf("%d refused and %d deleted are counted", s.counts.hintsRefused.Load(), s.counts.hintsDeleted.Load())
	}

	// Without room there are no hints, and a store that lost its room keeps them.
	for _, o := range []Options{{HintsMaxBytes: 1 << 30}, {HintsMaxTargetBytes: 1 << 30}, {}} {
		small := small(vfs.NewMem())
		small.HintsMaxBytes, small.HintsMaxTargetBytes = o.HintsMaxBytes, o.HintsMaxTargetBytes
		s = openFor(t, small)
		full(1, 0, 1)
	}
}

// TestHintsUnderLessRoom opens a store with less room than its hints take.
func TestHintsUnderLessRoom(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, hinting(fs))
	name := hintName{testTarget(1), testRef(1, "k")}
	w := mustPutHint(t, s, name, version.Context{}, object.Sibling{Value: make([]byte, 1000)})
	mustClose(t, s)
	s = openFor(t, small(fs))
	checkHints(t, s)
	_, err := s.MergeHint(name.target, name.ref, foreign(7, 1, ""))
	wantError(t, err, ErrHintsFull)
	w = mustPutHint(t, s, name, w.Object.Context(), object.Sibling{Value: make([]byte, 500)})
	mustDropHint(t, s, name, w.Object)
	checkHints(t, s)
}

// TestHintBoundsTogether writes and drops hints from many goroutines under
// bounds that are nearly always reached: no moment may see them broken.
func TestHintBoundsTogether(t *testing.T) {
	const writers, steps, targets = 8, 150, 3
	o := hinting(vfs.NewMem())
	o.HintsMaxBytes, o.HintsMaxTargetBytes = 6000, 3000
	s := openFor(t, o)
	var left atomic.Int64
	left.Store(writers)
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			defer left.Add(-1)
			rng := rand.New(rand.NewPCG(1, uint64(g)))
			for i := range steps {
				name := hintName{testTarget(rng.IntN(targets)), testRef(1, key(rng.IntN(5)))}
				var err error
				switch rng.IntN(3) {
				case 0:
					_, err = s.MergeHint(name.target, name.ref, foreign(version.Actor(100+g), uint64(i+1), strings.Repeat("v", rng.IntN(1000))))
				case 1:
					_, err = s.PutHint(name.target, name.ref, version.Context{}, object.Sibling{Value: make([]byte, rng.IntN(1000))})
				default:
					o := hintOf(t, s, name)
					_, err = s.DropHint(name.target, name.ref, o.Hash(name.ref.Bucket, name.ref.Key))
				}
				if err != nil && !errors.Is(err, ErrHintsFull) {
					t.Error(err)
				}
			}
		})
	}
	for left.Load() > 0 {
		all := int64(0)
		for _, total := range s.HintTotals() {
			if all += total.Bytes; total.Hints <= 0 || total.Bytes <= 0 || total.Bytes > o.HintsMaxTargetBytes {
				t.Errorf("target has %+v", total)
			}
		}
		if all > o.HintsMaxBytes {
			t.Errorf("%d bytes of hints", all)
		}
	}
	wg.Wait()
	if s.counts.hintsRefused.Load() == 0 || s.counts.hintsDeleted.Load() == 0 {
		t.Error("nothing was refused, or nothing was dropped")
	}
	checkHints(t, s)
}

// TestHintModel runs random writes and drops of hints, restarts and crashes,
// and holds the store to a map of objects.
func TestHintModel(t *testing.T) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 5))
		o := hinting(vfs.NewCrashableMem())
		o.MemtableBytes, o.Rand = MinMemtableBytes, newRand(seed)
		o.HintsMaxBytes, o.HintsMaxTargetBytes = 40_000, 20_000
		s := mustOpen(t, o)
		model := make(map[hintName]object.Object)
		refused := 0
		for step := range 300 {
			name := hintName{testTarget(rng.IntN(3)), testRef(uint32(rng.IntN(3)), key(rng.IntN(5)))}
			value := fmt.Sprintf("%d-%s", step, strings.Repeat("x", rng.IntN(1500)))
			old := model[name]
			switch n := rng.IntN(12); {
			case n < 4:
				c := randomContext(rng, old)
				w, err := s.PutHint(name.target, name.ref, c, object.Sibling{Value: []byte(value)})
				if errors.Is(err, ErrHintsFull) {
					refused++
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				want, err := old.Update(c, object.Sibling{Dot: w.Dot, Value: []byte(value)}, object.Limits{})
				if err != nil {
					t.Fatal(err)
				}
				same(t, w.Object, want)
				model[name] = want
			case n < 8:
				sent := foreign(version.Actor(rng.IntN(4)+1), uint64(step+1), value)
				w, err := s.MergeHint(name.target, name.ref, sent)
				if errors.Is(err, ErrHintsFull) {
					refused++
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				want := object.Merge(old, sent)
				same(t, w.Object, want)
				model[name] = want
			case n < 10:
				hash, stale := old.Hash(name.ref.Bucket, name.ref.Key), rng.IntN(4) == 0
				if stale {
					hash ^= 1
				}
				dropped, err := s.DropHint(name.target, name.ref, hash)
				if err != nil || dropped != (!stale && !old.Absent()) {
					t.Fatalf("dropped %v, %v", dropped, err)
				}
				if dropped {
					delete(model, name)
				}
			case n == 10 && rng.IntN(4) == 0:
				mustClose(t, s)
				s = mustOpen(t, o)
			case n == 11 && rng.IntN(4) == 0:
				// What is synced is left, and here that is all.
				if err := s.SaveMeta("sync", nil); err != nil {
					t.Fatal(err)
				}
				after := crash(o.FS.(*vfs.MemFS), 0, seed)
				mustClose(t, s)
				o.FS = after
				s = mustOpen(t, o)
			}
			same(t, hintOf(t, s, name), model[name])
			if step%50 == 0 {
				checkModel(t, s, model)
			}
		}
		checkModel(t, s, model)
		mustClose(t, s)
		if refused == 0 {
			t.Error("the bounds were never reached")
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func checkModel(t *testing.T, s *Store, model map[hintName]object.Object) {
	t.Helper()
	got := checkHints(t, s)
	for name, want := range model {
		same(t, got[name], want)
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("hints out of nowhere: %v", got)
	}
}

// TestHintWaits checks that a write to a hint that changes nothing waits for
// the durability of what is there.
func TestHintWaits(t *testing.T) {
	name := hintName{testTarget(1), testRef(1, "k")}
	again := map[string]func(s *Store, first object.Written) (object.Written, error){
		"retry": func(s *Store, _ object.Written) (object.Written, error) {
			return s.PutHint(name.target, name.ref, version.Context{}, object.Sibling{Op: op(1), Value: []byte("v")})
		},
		"merge": func(s *Store, first object.Written) (object.Written, error) {
			return s.MergeHint(name.target, name.ref, first.Object)
		},
		"less": func(s *Store, _ object.Written) (object.Written, error) {
			return s.MergeHint(name.target, name.ref, object.Object{})
		},
	}
	for what, f := range again {
		t.Run(what, func(t *testing.T) {
			h := newHeldSyncs()
			s := openFor(t, hinting(h.fs()))
			h.hold(true)
			first, err := s.PutHint(name.target, name.ref, version.Context{}, object.Sibling{Op: op(1), Value: []byte("v")})
			if err != nil {
				t.Fatal(err)
			}
			second, err := f(s, first)
			if err != nil {
				t.Fatal(err)
			}
			if second.Changed {
				t.Fatalf("the second write is new: %+v", second)
			}
			release := time.AfterFunc(50*time.Millisecond, func() { h.hold(false) })
			defer release.Stop()
			err = second.Wait()
			after := crash(h.MemFS, 0, 1)
			h.hold(false)
			if err != nil {
				t.Fatal(err)
			}
			wantValues(t, hintOf(t, openFor(t, hinting(after)), name), "v")
		})
	}
}

// TestHintsOnFullDisk takes the space away and gives it back.
func TestHintsOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const floor = 1 << 30
		fs := vfs.NewMem()
		free := func(bytes uint64) {
			fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: bytes, TotalBytes: 10 * floor})
			time.Sleep(spaceEvery)
			synctest.Wait()
		}
		free(2 * floor)
		o := hinting(fs)
		o.FreeFloorBytes = floor
		s := mustOpen(t, o)
		defer mustClose(t, s)
		name := hintName{testTarget(1), testRef(1, "k")}
		first := mustPutHint(t, s, name, version.Context{}, object.Sibling{Op: op(1)})
		free(floor / 2)
		_, err := s.PutHint(name.target, name.ref, version.Context{}, object.Sibling{})
		wantError(t, err, ErrDiskFull)
		_, err = s.MergeHint(name.target, name.ref, foreign(7, 1, "v"))
		wantError(t, err, ErrDiskFull)
		checkHints(t, s)
		// What adds nothing goes on, and so does what makes room.
		if w := mustPutHint(t, s, name, version.Context{}, object.Sibling{Op: op(1)}); w.Dot != first.Dot {
			t.Errorf("a retry got %v, want %v", w.Dot, first.Dot)
		}
		mustMergeHint(t, s, name, first.Object)
		mustDropHint(t, s, name, first.Object)
		free(2 * floor)
		mustPutHint(t, s, name, version.Context{}, object.Sibling{Op: op(1)})
		checkHints(t, s)
	})
}
