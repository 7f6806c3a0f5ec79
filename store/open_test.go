package store

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

func TestIdentity(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, small(fs))
	first := s.Identity()
	if first.ID == ([16]byte{}) || first.Boot != 1 || !first.Created || first.Clean || first.Cluster != ([16]byte{}) {
		t.Fatalf("new store is %+v", first)
	}
	wantError(t, s.SetCluster([16]byte{}), ErrInvalid)
	cluster := [16]byte{1, 2}
	for range 2 { // once more changes nothing
		if err := s.SetCluster(cluster); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, s.SetCluster([16]byte{9}), ErrClusterSet)
	mustClose(t, s)
	for boot := uint64(2); boot < 5; boot++ {
		s := mustOpen(t, small(fs))
		want := Identity{ID: first.ID, Boot: boot, Cluster: cluster, Clean: true}
		if got := s.Identity(); got != want {
			t.Errorf("store is %+v, want %+v", got, want)
		}
		wantError(t, s.SetCluster([16]byte{9}), ErrClusterSet)
		mustClose(t, s)
	}
	other := openFor(t, small(vfs.NewMem()))
	if other.Identity().ID == first.ID {
		t.Error("two stores have one ID")
	}
}

func TestMeta(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, small(fs))
	if b, err := s.LoadMeta("map"); b != nil || err != nil {
		t.Errorf("a record never saved is %q, %v", b, err)
	}
	save := func(name, value string) {
		t.Helper()
		if err := s.SaveMeta(name, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	save("map", "one")
	save("map", "two")
	save("empty", "")
	save(metaBoot, "not the boot counter")
	wantError(t, s.SaveMeta("", nil), ErrInvalid)
	wantError(t, s.SaveMeta(strings.Repeat("n", MaxMetaNameBytes+1), nil), ErrInvalid)
	// Durable when it returns, whatever the durability of puts.
	crashed := openFor(t, small(crash(fs, 0, 1)))
	for name, want := range map[string]string{"map": "two", "empty": "", metaBoot: "not the boot counter"} {
		if b, err := crashed.LoadMeta(name); err != nil || b == nil || string(b) != want {
			t.Errorf("record %s is %q, %v", name, b, err)
		}
	}
	if got := crashed.Identity(); got.Boot != 2 || got.Clean {
		t.Errorf("after a crash the store is %+v", got)
	}
	mustClose(t, s)
}

func TestClosed(t *testing.T) {
	s := mustOpen(t, small(vfs.NewMem()))
	w, err := s.Put(testRef(1, "k"), version.Context{}, object.Sibling{Value: []byte("v")})
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Merge(testRef(1, "k"), w.Object)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	mustClose(t, s) // the same again
	// Closing made both durable.
	if err := errors.Join(w.Wait(), again.Wait()); err != nil {
		t.Error(err)
	}
	_, err = s.Get(testRef(1, "k"))
	wantError(t, err, ErrClosed)
	_, err = s.Put(testRef(1, "k"), version.Context{}, object.Sibling{})
	wantError(t, err, ErrClosed)
	_, err = s.Merge(testRef(1, "k"), object.Object{})
	wantError(t, err, ErrClosed)
	_, err = s.Leaves(1)
	wantError(t, err, ErrClosed)
	_, err = s.LoadMeta("m")
	wantError(t, err, ErrClosed)
	for _, err := range []error{s.SaveMeta("m", nil), s.SetCluster([16]byte{1}), s.DropPartition(1), s.Checkpoint("c")} {
		wantError(t, err, ErrClosed)
	}
	seen := false
	for _, err := range s.Scan(1, object.Ref{}) {
		seen = true
		wantError(t, err, ErrClosed)
	}
	if !seen {
		t.Error("a scan of a closed store looks empty")
	}
}

// TestCloseWaits closes a store under a scan that writes: its writes are
// refused, but it comes to its end, and only then does Close.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, small(vfs.NewMem()))
		for i := range 10 {
			mustPut(t, s, testRef(1, key(i)), version.Context{}, "v")
		}
		closed := make(chan error, 1)
		n := 0
		for _, err := range s.Scan(1, object.Ref{}) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n > 1 {
				continue
			}
			go func() { closed <- s.Close() }()
			synctest.Wait()
			_, err := s.Put(testRef(1, "new"), version.Context{}, object.Sibling{})
			wantError(t, err, ErrClosed)
			if len(closed) > 0 {
				t.Errorf("closed under a scan: %v", <-closed)
			}
		}
		if err := <-closed; err != nil || n != 10 {
			t.Errorf("scan of %d rows, close: %v", n, err)
		}
	})
}

// TestOneCluster sets the cluster from many goroutines: one wins.
func TestOneCluster(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	var wg sync.WaitGroup
	var won atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			switch err := s.SetCluster([16]byte{byte(i + 1)}); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, ErrClusterSet):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d clusters were set", won.Load())
	}
}

func TestLocked(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, small(fs))
	_, err := Open(small(fs))
	wantError(t, err, ErrLocked)
	mustPut(t, s, testRef(1, "k"), version.Context{}, "still works")
	mustClose(t, s)
	mustClose(t, mustOpen(t, small(fs)))
}

// TestLockedByProcess opens a directory on disk in this process and in another.
func TestLockedByProcess(t *testing.T) {
	const env = "STARLING_STORE_TEST_DIR"
	if dir := os.Getenv(env); dir != "" {
		_, err := Open(Options{Dir: dir, FreeFloorBytes: -1})
		if !errors.Is(err, ErrLocked) {
			t.Fatalf("error %v, want %v", err, ErrLocked)
		}
		return
	}
	dir := t.TempDir() + "/deep/data"
	s := mustOpen(t, Options{Dir: dir, FreeFloorBytes: -1})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestLockedByProcess$")
	cmd.Env = append(os.Environ(), env+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("in the other process: %v\n%s", err, out)
	}
	t.Chdir(dir) // the same directory by another name
	_, err = Open(Options{Dir: ".", FreeFloorBytes: -1})
	wantError(t, err, ErrLocked)
	mustClose(t, s)
	s = mustOpen(t, Options{Dir: dir, FreeFloorBytes: -1})
	mustClose(t, s)
}

func TestUnknownFormat(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, small(fs))
	b := s.db.NewBatch()
	setMeta(b, metaFormat, binary.BigEndian.AppendUint32(nil, formatVersion+1))
	s.saveRows(b)
	mustClose(t, s)
	_, err := Open(small(fs))
	wantError(t, err, ErrFormat)
	if !strings.Contains(err.Error(), "version 2") {
		t.Errorf("the message does not name the version: %v", err)
	}

	// A database of another program.
	fs = vfs.NewMem()
	db, err := pebble.Open(testDir, &pebble.Options{FS: fs, FormatMajorVersion: engineFormat, Merger: leafMerger, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("foreign"), []byte("row"), pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = Open(small(fs))
	wantError(t, err, ErrFormat)

	// A database that a newer engine wrote.
	fs = vfs.NewMem()
	mustClose(t, mustOpen(t, small(fs)))
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if stem, ok := strings.CutPrefix(name, "marker.format-version."); ok {
			from, to := fs.PathJoin(testDir, name), fs.PathJoin(testDir, "marker.format-version."+stem[:6]+".999")
			if err := fs.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err = Open(small(fs))
	wantError(t, err, ErrFormat)
}

// quiet is an engine's logger for databases that are no store yet.
var quiet = engineLogger{&Store{log: slog.New(slog.DiscardHandler)}}

// TestDamagedLog flips a byte in the middle of the first log of a store. The
// rows behind it were told to be durable: opening must not lose them silently.
func TestDamagedLog(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, small(fs))
	checkDamagedLog(t, s, fs)
	mustClose(t, s)
}

// TestOldEngineFormat is the same with a store that was written before the
// engine's file formats of today.
func TestOldEngineFormat(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := pebble.Open(testDir, &pebble.Options{
		FS: fs, FormatMajorVersion: pebble.FormatMinSupported, Merger: leafMerger, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	old := Store{db: db, opts: Options{Rand: newRand(1)}}
	if err := errors.Join(old.create(), db.Close()); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, small(fs))
	checkDamagedLog(t, s, fs)
	mustClose(t, s)
}

func checkDamagedLog(t *testing.T, s *Store, fs *vfs.MemFS) {
	t.Helper()
	for i := range 150 {
		mustPut(t, s, testRef(1, key(i)), version.Context{}, strings.Repeat("v", 1000))
	}
	after := crash(fs, 0, 1)
	var log string
	for _, name := range filesWith(t, after, ".log") {
		if log == "" || size(t, after, name) > size(t, after, log) {
			log = name
		}
	}
	if size(t, after, log) < 150_000 {
		t.Fatalf("the log has only %d bytes", size(t, after, log))
	}
	intact := crash(after, 0, 1)
	damage(t, after, log, 70_000)
	_, err := Open(small(after))
	wantError(t, err, ErrCorrupt)
	if err != nil && !strings.Contains(err.Error(), testDir) {
		t.Errorf("the message does not say where: %v", err)
	}
	if n := len(checkPartition(t, openFor(t, small(intact)), 1)); n != 150 {
		t.Errorf("the intact log had %d rows", n)
	}
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{
		{},
		{Dir: "d", Partitions: 3},
		{Dir: "d", Partitions: 2 * MaxPartitions},
		{Dir: "d", Partitions: -1},
		{Dir: "d", Durability: None + 1},
		{Dir: "d", CacheBytes: -1},
		{Dir: "d", MemtableBytes: 1},
		{Dir: "d", MemtableBytes: MaxMemtableBytes + 1},
		{Dir: "d", SyncEvery: -1},
	} {
		o.FS = vfs.NewMem()
		_, err := Open(o)
		wantError(t, err, ErrInvalid)
	}
	for d := range None + 1 {
		if got, err := ParseDurability(d.String()); err != nil || got != d {
			t.Errorf("%v parses as %v, %v", d, got, err)
		}
	}
	_, err := ParseDurability("fast")
	wantError(t, err, ErrInvalid)
}

// Memtables are taken from the cache: they must leave room for blocks.
func TestMemtablesLeaveRoomForBlocks(t *testing.T) {
	for _, c := range []struct{ cache, want int64 }{
		{1, MinMemtableBytes}, {64 << 20, 8 << 20}, {DefaultCacheBytes, 32 << 20}, {4 << 30, DefaultMemtableBytes},
	} {
		o, err := Options{Dir: testDir, CacheBytes: c.cache}.withDefaults()
		if err != nil || o.MemtableBytes != c.want {
			t.Errorf("cache of %d: memtables of %d, %v; want %d", c.cache, o.MemtableBytes, err, c.want)
		}
	}
}
