package store

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
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

// failing is a file system whose operations fail while fail says so.
func failing(fs vfs.FS, on *atomic.Bool, err error, which func(errorfs.Op) bool) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if on.Load() && which(op) {
			return err
		}
		return nil
	}))
}

func onLog(op errorfs.Op) bool   { return strings.HasSuffix(op.Path, ".log") }
func onTable(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".sst") }

// TestLogErrorIsFatal fails the log's writes, then its syncs: the fatal hook
// must be called, and no Wait may return nil for what is not on disk.
func TestLogErrorIsFatal(t *testing.T) {
	kinds := map[string]func(errorfs.Op) bool{
		"write": func(op errorfs.Op) bool { return onLog(op) && op.Kind == errorfs.OpFileWrite },
		"sync":  func(op errorfs.Op) bool { return onLog(op) && isSync(op.Kind) },
		"create": func(op errorfs.Op) bool {
			return onLog(op) && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite)
		},
		"dirsync": func(op errorfs.Op) bool { return op.Path == testDir && isSync(op.Kind) },
	}
	for name, which := range kinds {
		for d := range None + 1 {
			t.Run(name+"/"+d.String(), func(t *testing.T) {
				var on atomic.Bool
				fatal := make(chan error, 100)
				o := small(failing(vfs.NewMem(), &on, syscall.EIO, which))
				o.Durability, o.SyncEvery, o.MemtableBytes = d, time.Millisecond, MinMemtableBytes
				o.OnFatal = func(err error) {
					select {
					case fatal <- err:
					default:
					}
					select {} // the process would be gone
				}
				s := mustOpen(t, o) // and never closed: the process would be gone
				on.Store(true)
				var kept atomic.Int64
				go func() {
					for i := 0; ; i++ { // until a log is full without durability
						w, err := s.Put(testRef(1, key(i%100)), version.Context{}, object.Sibling{Value: make([]byte, 4000), Op: op(i + 1)})
						if err != nil {
							t.Error(err)
							return
						}
						if w.Wait() == nil {
							kept.Add(1)
						}
					}
				}()
				err := <-fatal
				wantError(t, err, syscall.EIO)
				if n := kept.Load(); d == Sync && (name == "write" || name == "sync") && n > 0 {
					t.Errorf("%d writes were told to be durable", n)
				}
			})
		}
	}
}

func TestFatalDoesNotReturn(t *testing.T) {
	s := &Store{log: Options{}.mustDefaults(t).Logger, opts: Options{OnFatal: func(error) {}}}
	defer func() {
		if recover() == nil {
			t.Error("fatal returned to a caller that may not go on")
		}
	}()
	s.fatal(errors.New("x"))
}

func (o Options) mustDefaults(t *testing.T) Options {
	t.Helper()
	o.Dir = "d"
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestReadErrors fails random reads of tables: an answer is an error or right,
// never absence.
func TestReadErrors(t *testing.T) {
	var on atomic.Bool
	rng := rand.New(&lockedSource{rng: rand.NewPCG(1, 1)})
	mem := vfs.NewMem()
	o := small(failing(mem, &on, syscall.EIO, func(op errorfs.Op) bool {
		return onTable(op) && op.Kind.ReadOrWrite() == errorfs.OpIsRead && rng.IntN(4) == 0
	}))
	o.MemtableBytes, o.CacheBytes = MinMemtableBytes, 1
	s := openFor(t, o)
	const n = 300
	for i := range n {
		mustPut(t, s, testRef(1, key(i)), version.Context{}, strings.Repeat("v", 500)+key(i))
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	on.Store(true)
	failed := 0
	count := func(err error) {
		if err != nil {
			failed++
			if errors.Is(err, ErrCorrupt) || !errors.Is(err, syscall.EIO) {
				t.Errorf("failed read became %v", err)
			}
		}
	}
	for i := range n {
		ref := testRef(1, key(i))
		o, err := s.Get(ref)
		count(err)
		if err == nil {
			wantValues(t, o, strings.Repeat("v", 500)+key(i))
		}
		w, err := s.Put(ref, o.Context(), object.Sibling{Value: []byte(strings.Repeat("v", 500) + key(i))})
		count(err)
		if err == nil && o.Absent() != (len(w.Object.Siblings) == 2) {
			t.Errorf("a put went over %d siblings that it could not read", len(o.Siblings))
		}
		if i%20 == 0 {
			keys := 0
			for e, err := range s.Scan(1, object.Ref{}) {
				count(err)
				if err == nil {
					if keys++; e.Ref.Key != key(keys-1) {
						t.Fatalf("scan gives %s as key %d", e.Ref.Key, keys)
					}
				} else {
					keys = n
				}
			}
			if keys != n {
				t.Errorf("a scan gave %d of %d keys and no error", keys, n)
			}
			if leaves, err := s.Leaves(1); err == nil {
				sum := Leaf{}
				for _, l := range leaves {
					sum = sum.plus(l)
				}
				if sum.Keys != n {
					t.Errorf("leaves of %d keys and no error, want %d", sum.Keys, n)
				}
			} else {
				count(err)
			}
		}
	}
	on.Store(false)
	if failed == 0 {
		t.Error("no read failed")
	}
	checkPartition(t, s, 1)
}

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
	}
	mustClose(t, s)
	s = openFor(t, small(mem))
	if n := len(checkPartition(t, s, 1)); n != taken || s.Identity().Clean {
		t.Errorf("%d keys of %d, clean %v", n, taken, s.Identity().Clean)
	}
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

// lockedSource makes a random source safe for the engine's goroutines.
type lockedSource struct {
	busy atomic.Bool
	rng  *rand.PCG
}

// Uint64 implements rand.Source.
func (l *lockedSource) Uint64() uint64 {
	for !l.busy.CompareAndSwap(false, true) {
		runtime.Gosched()
	}
	defer l.busy.Store(false)
	return l.rng.Uint64()
}
