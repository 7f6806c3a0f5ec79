package store

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"starling/store/object"
	"starling/store/version"
)

// heldSyncs is a file system whose log syncs wait while it is held.
type heldSyncs struct {
	*vfs.MemFS
	mu    sync.Mutex
	held  bool
	cond  *sync.Cond
	syncs atomic.Int64
}

func newHeldSyncs() *heldSyncs {
	h := &heldSyncs{MemFS: vfs.NewCrashableMem()}
	h.cond = sync.NewCond(&h.mu)
	return h
}

func (h *heldSyncs) fs() vfs.FS {
	return errorfs.Wrap(h.MemFS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if isSync(op.Kind) && strings.HasSuffix(op.Path, ".log") {
			h.mu.Lock()
			defer h.mu.Unlock()
			for h.held {
				h.cond.Wait()
			}
			h.syncs.Add(1)
		}
		return nil
	}))
}

func isSync(k errorfs.OpKind) bool {
	return k == errorfs.OpFileSync || k == errorfs.OpFileSyncData || k == errorfs.OpFileSyncTo
}

func (h *heldSyncs) hold(held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = held
	h.cond.Broadcast()
}

// TestWaitOfAWriteThatIsThere holds up the disk, writes, and writes the same
// again as a retry, a merge, and a merge of less: each Wait must not return
// before the first write is on disk, though its writer never waits.
func TestWaitOfAWriteThatIsThere(t *testing.T) {
	ref := testRef(1, "k")
	again := map[string]func(s *Store, first object.Written) (object.Written, error){
		"retry": func(s *Store, _ object.Written) (object.Written, error) {
			return s.Put(ref, version.Context{}, object.Sibling{Op: op(1), Value: []byte("v")})
		},
		"merge": func(s *Store, first object.Written) (object.Written, error) { return s.Merge(ref, first.Object) },
		"less":  func(s *Store, _ object.Written) (object.Written, error) { return s.Merge(ref, object.Object{}) },
	}
	for name, f := range again {
		t.Run(name, func(t *testing.T) {
			h := newHeldSyncs()
			s := openFor(t, small(h.fs()))
			h.hold(true)
			first, err := s.Put(ref, version.Context{}, object.Sibling{Op: op(1), Value: []byte("v")})
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
			wantValues(t, mustGet(t, openFor(t, small(after)), ref), "v")
			if n := s.pacer.writers.Load(); n != 0 {
				t.Errorf("%d writers are left", n)
			}
		})
	}
}

// TestWaitNeedsNoSync checks that what is known to be on disk is not synced
// again: with the disk held up for good, Wait returns.
func TestWaitNeedsNoSync(t *testing.T) {
	ref := testRef(1, "k")
	h := newHeldSyncs()
	s := openFor(t, small(h.fs()))
	first := mustPut(t, s, ref, version.Context{}, "v")
	h.hold(true)
	defer h.hold(false)
	w, err := s.Merge(ref, first.Object)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Wait(); err != nil {
		t.Error(err)
	}
}

// TestLargeBatch writes an object that is too large for a memtable, which the
// engine logs in another way.
func TestLargeBatch(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := small(fs)
	o.MemtableBytes = MinMemtableBytes
	s := openFor(t, o)
	ref := testRef(1, "k")
	big := strings.Repeat("big", MinMemtableBytes)
	w, err := s.Put(ref, version.Context{}, object.Sibling{Value: []byte(big), Op: op(1)})
	if err != nil {
		t.Fatal(err)
	}
	retry, err := s.Put(ref, version.Context{}, object.Sibling{Value: []byte(big), Op: op(1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := retry.Wait(); err != nil {
		t.Fatal(err)
	}
	wantValues(t, mustGet(t, openFor(t, small(crash(fs, 0, 1))), ref), big)
	if err := w.Wait(); err != nil {
		t.Error(err)
	}
	checkPartition(t, s, 1)
}

func TestHorizonOnlyRises(t *testing.T) {
	var h horizon
	h.raise(5)
	h.raise(3)
	if !h.reaches(5) || !h.reaches(4) || h.reaches(6) {
		t.Errorf("horizon is at %d, want 5", h.seq.Load())
	}
}

// TestPacer checks that only company makes a writer wait.
func TestPacer(t *testing.T) {
	var p pacer
	for n := 1; n <= 4; n++ {
		p.begin()
		if waits := p.interval() > 0; waits != (n > lonely) {
			t.Errorf("%d writers wait: %v", n, waits)
		}
	}
	for range 4 {
		p.end()
	}
	if p.interval() != 0 {
		t.Error("the pacer does not forget")
	}
}

// TestWritersAreCounted checks that whoever puts or waits is counted, and is
// no longer when done, also when it failed.
func TestWritersAreCounted(t *testing.T) {
	h := newHeldSyncs()
	s := openFor(t, small(h.fs()))
	h.hold(true)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() { mustPut(t, s, testRef(1, key(i)), version.Context{}, "v") })
	}
	eventually(t, "three writers wait", func() bool { return s.pacer.interval() > 0 })
	h.hold(false)
	wg.Wait()
	_, err := s.Put(testRef(MaxPartitions, "k"), version.Context{}, object.Sibling{})
	wantError(t, err, ErrInvalid)
	if n := s.pacer.writers.Load(); n != 0 {
		t.Errorf("%d writers are left", n)
	}
}

func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		o := small(fs)
		o.Durability, o.SyncEvery = Interval, 50*time.Millisecond
		s := mustOpen(t, o)
		ref := testRef(1, "k")
		mustPut(t, s, ref, version.Context{}, "v")
		lost := crash(fs, 0, 1)
		time.Sleep(o.SyncEvery)
		synctest.Wait()
		kept := crash(fs, 0, 1)
		mustClose(t, s)
		o.FS = lost
		s = mustOpen(t, o)
		if o := mustGet(t, s, ref); !o.Absent() {
			t.Errorf("a write was synced at once: %+v", o)
		}
		mustClose(t, s)
		o.FS = kept
		s = mustOpen(t, o)
		wantValues(t, mustGet(t, s, ref), "v")
		mustClose(t, s)
	})
}

// TestNone checks that without syncs a clean stop still loses nothing, and
// that what a crash loses stays consistent and is never minted again.
func TestNone(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := small(fs)
	o.Durability, o.MemtableBytes = None, MinMemtableBytes
	s := mustOpen(t, o)
	l := ledger{}
	for i := range 300 {
		w := l.put(t, s, testRef(1, key(i%50)), version.Context{})
		if w = mustMerge(t, s, testRef(1, key(i%50)), w.Object); w.Changed {
			t.Fatal("its own object was news")
		}
	}
	lost := crash(fs, 30, 1)
	mustClose(t, s)
	s = openFor(t, o)
	if n := len(checkPartition(t, s, 1)); n != 50 {
		t.Errorf("%d keys after a clean stop, want 50", n)
	}
	o.FS = lost
	s = openFor(t, o)
	checkPartition(t, s, 1)
	l.fill(t, s)
}
