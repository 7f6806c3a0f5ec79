package store

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
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
