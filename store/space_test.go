package store

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"starling/store/object"
	"starling/store/version"
)

// TestFloor lowers and raises the free space around the floor.
func TestFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const floor = 1 << 30
		fs := vfs.NewMem()
		free := func(bytes uint64) {
			fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: bytes, TotalBytes: 10 * floor})
			time.Sleep(spaceEvery)
			synctest.Wait()
		}
		free(2 * floor)
		o := small(fs)
		o.FreeFloorBytes = floor
		s := mustOpen(t, o)
		defer mustClose(t, s)
		ref := testRef(1, "k")
		mustMerge(t, s, testRef(1, "wide"), wide(9, object.Sibling{}))
		first, err := s.Put(ref, version.Context{}, object.Sibling{Value: []byte("v"), Op: op(1)})
		if err != nil {
			t.Fatal(err)
		}
		refused := func() bool {
			t.Helper()
			_, err := s.Put(ref, version.Context{}, object.Sibling{Value: []byte("new")})
			_, err2 := s.Merge(testRef(1, "other"), foreign(9, uint64(time.Now().Unix()), "m"))
			if errors.Is(err, ErrDiskFull) != errors.Is(err2, ErrDiskFull) {
				t.Errorf("a put says %v and a merge %v", err, err2)
			}
			return errors.Is(err, ErrDiskFull)
		}
		for _, step := range []struct {
			bytes uint64
			full  bool
		}{
			{floor, false}, {floor - 1, true}, {floor + floor/8, true}, {floor + floor/4, false},
			{floor + floor/8, false}, {0, true}, {5 * floor, false},
		} {
			free(step.bytes)
			if got := refused(); got != step.full {
				t.Errorf("at %d bytes full is %v", step.bytes, got)
			}
		}
		free(floor / 2)
		// What adds nothing goes on, and so does what makes room.
		if _, err := s.Get(ref); err != nil {
			t.Error(err)
		}
		if w, err := s.Put(ref, version.Context{}, object.Sibling{Op: op(1)}); err != nil || w.Dot != first.Dot {
			t.Errorf("a retry got %v, %v", w.Dot, err)
		}
		if _, err := s.Merge(ref, first.Object); err != nil {
			t.Error(err)
		}
		many := wide(9, object.Sibling{})
		if _, _, err := s.Prune(testRef(1, "wide"), many.Hash("b", "wide"), many.Vector); err != nil {
			t.Error(err)
		}
		_, _, err = s.Prune(testRef(1, "wide"), many.Hash("b", "wide"), many.Vector[1:])
		wantError(t, err, ErrDiskFull)
		if purged, _, err := s.Purge(ref, mustGet(t, s, ref).Hash("b", "k")); !purged || err != nil {
			t.Errorf("purged %v, %v", purged, err)
		}
		if err := errors.Join(s.SaveMeta("map", []byte("m")), s.DropPartition(1)); err != nil {
			t.Error(err)
		}
		free(2 * floor)
	})
}

// TestFloorBetweenTicks writes much between two ticks of the clock: the space
// is measured all the same.
func TestFloorBetweenTicks(t *testing.T) {
	const floor = 1 << 30
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 2 * floor, TotalBytes: 10 * floor})
	s := newSpace(Options{FS: fs, Dir: "/", FreeFloorBytes: floor, Logger: Options{}.mustDefaults(t).Logger}, nil)
	for i, asks := range []bool{false, true, false, true} {
		s.wrote(spaceBytes / 2)
		asked := false
		select {
		case <-s.kick:
			asked = true
		default:
		}
		if asked != asks {
			t.Errorf("after %d writes a measurement is asked for: %v", i+1, asked)
		}
	}
	s.wrote(spaceBytes)
	s.wrote(spaceBytes) // nobody listens, nobody waits
}

// TestFullStaysFull measures right after a write met a full disk: neither an
// unknown nor an ample free space may take writes at once.
func TestFullStaysFull(t *testing.T) {
	for _, avail := range []uint64{0, 1 << 40} { // 0: the file system does not know
		synctest.Test(t, func(t *testing.T) {
			fs := vfs.NewMem()
			fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: avail})
			s := newSpace(Options{FS: fs, Dir: "/", Logger: Options{}.mustDefaults(t).Logger}, nil)
			s.note(ErrDiskFull)
			for range 3 {
				s.measure()
				wantError(t, s.check(), ErrDiskFull)
				time.Sleep(spaceQuiet / 4)
			}
			time.Sleep(spaceQuiet / 4)
			s.measure()
			if err := s.check(); err != nil {
				t.Errorf("quiet for long enough, but %v", err)
			}
		})
	}
}

// TestDiskFull fails the engine's table writes for want of space until writes
// are refused, then gives the space back: writes are taken without anyone's
// help, and nothing is lost.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var on atomic.Bool
		var failures atomic.Int64
		o := small(failing(vfs.NewMem(), &on, syscall.ENOSPC, func(op errorfs.Op) bool {
			full := onTable(op) && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFileWrite)
			if full && on.Load() {
				failures.Add(1)
			}
			return full
		}))
		o.MemtableBytes = MinMemtableBytes
		s := mustOpen(t, o)
		defer mustClose(t, s)
		put := func(i int) error {
			w, err := s.Put(testRef(1, key(i)), version.Context{}, object.Sibling{Value: make([]byte, 2000)})
			if err != nil {
				return err
			}
			return w.Wait()
		}
		on.Store(true)
		taken := 0
		for ; taken < 10_000; taken++ {
			if err := put(taken); err != nil {
				wantError(t, err, ErrDiskFull)
				break
			}
			synctest.Wait() // a flush that has begun gets to its failure
		}
		if taken == 0 || taken == 10_000 {
			t.Fatalf("%d writes were taken", taken)
		}
		before := failures.Load()
		const minute = 60
		time.Sleep(minute * time.Second)
		if n := failures.Load() - before; n == 0 || n > minute*40 {
			t.Errorf("the engine tried %d times in a minute: want some, but no hot loop", n)
		}
		wantError(t, put(taken), ErrDiskFull)
		for i := range taken {
			if o := mustGet(t, s, testRef(1, key(i))); o.Absent() {
				t.Errorf("key %d is gone", i)
			}
		}
		on.Store(false)
		time.Sleep(spaceQuiet + 2*spaceEvery)
		for i := range 100 {
			if err := put(taken + i); err != nil {
				t.Fatalf("after space came back: %v", err)
			}
		}
		if n := len(checkPartition(t, s, 1)); n != taken+100 {
			t.Errorf("%d keys, want %d", n, taken+100)
		}
	})
}

// TestCloseOnFullDisk closes a store that cannot flush: it must not hang, and
// the acknowledged writes are in the log.
func TestCloseOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var on atomic.Bool
		mem := vfs.NewMem()
		o := small(failing(mem, &on, syscall.ENOSPC, onTable))
		o.MemtableBytes = MinMemtableBytes
		s := mustOpen(t, o)
		on.Store(true)
		taken := 0
		for ; taken < 10_000; taken++ {
			w, err := s.Put(testRef(1, key(taken)), version.Context{}, object.Sibling{Value: make([]byte, 2000)})
			if err == nil {
				err = w.Wait()
			}
			if err != nil {
				wantError(t, err, ErrDiskFull)
				break
			}
			synctest.Wait() // a flush that has begun gets to its failure
		}
		mustClose(t, s)
		s = mustOpen(t, small(mem))
		if n := len(checkPartition(t, s, 1)); n != taken || s.Identity().Clean {
			t.Errorf("%d keys of %d, clean %v", n, taken, s.Identity().Clean)
		}
		mustClose(t, s)
	})
}

// TestStuck fills the memtables before the disk turns out to be full, so that
// a write hangs in the engine: nothing else may hang with it.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var on atomic.Bool
		reached := make(chan struct{})
		o := small(failing(vfs.NewMem(), &on, syscall.ENOSPC, func(op errorfs.Op) bool {
			if onTable(op) && op.Kind == errorfs.OpCreate {
				<-reached // the first flush is slow to learn of it
			}
			return onTable(op)
		}))
		o.MemtableBytes = MinMemtableBytes
		s := mustOpen(t, o)
		mustPut(t, s, testRef(2, "k"), version.Context{}, "v")
		on.Store(true)
		hung := make(chan error)
		go func() {
			for i := 0; ; i++ {
				w, err := s.Put(testRef(1, key(i)), version.Context{}, object.Sibling{Value: make([]byte, 2000)})
				if err == nil {
					err = w.Wait()
				}
				if err != nil {
					hung <- err
					return
				}
			}
		}()
		synctest.Wait()
		if !s.counts.stalling() {
			t.Fatal("the writer is not held up")
		}
		close(reached)
		synctest.Wait()
		wantValues(t, mustGet(t, s, testRef(2, "k")), "v")
		_, err := s.Put(testRef(2, "k"), version.Context{}, object.Sibling{})
		wantError(t, err, ErrDiskFull)
		_, _, err = s.Purge(testRef(2, "k"), mustGet(t, s, testRef(2, "k")).Hash("b", "k"))
		wantError(t, err, ErrDiskFull)
		for _, err := range []error{s.SaveMeta("m", nil), s.SetCluster([16]byte{1}), s.DropPartition(2), s.Close()} {
			wantError(t, err, ErrDiskFull)
		}
		on.Store(false) // the process would have ended; here its writer does
		wantError(t, <-hung, ErrClosed)
		if err := s.closeEngine(); err != nil {
			t.Error(err)
		}
	})
}

func TestOpenOnFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: spaceLeast - 1, TotalBytes: 1 << 40})
	_, err := Open(small(fs))
	wantError(t, err, ErrDiskFull)
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: spaceLeast, TotalBytes: 1 << 40})
	s := openFor(t, small(fs))
	_, err = s.Put(testRef(1, "k"), version.Context{}, object.Sibling{})
	wantError(t, err, ErrDiskFull) // below the default floor, but open
}
