package store

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

const testDir = "data"

// lockedReader is one random source for all stores of a test, so that no two
// draw the same actor.
type lockedReader struct {
	mu  sync.Mutex
	rng *rand.ChaCha8
}

func (r *lockedReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rng.Read(p)
}

func newRand(seed uint64) io.Reader {
	var b [32]byte
	b[0], b[1] = byte(seed), byte(seed>>8)
	return &lockedReader{rng: rand.NewChaCha8(b)}
}

// small are options for a store on a file system in memory. It flushes when it
// is told to: tests damage the tables and logs that they know.
func small(fs vfs.FS) Options {
	return Options{Dir: testDir, FS: fs, CacheBytes: 1 << 20, MemtableBytes: DefaultMemtableBytes}
}

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openFor opens a store that is closed when the test ends.
func openFor(t testing.TB, o Options) *Store {
	t.Helper()
	s := mustOpen(t, o)
	t.Cleanup(func() { mustClose(t, s) })
	return s
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func testRef(partition uint32, key string) object.Ref {
	return object.Ref{Partition: partition, Bucket: "b", Key: key}
}

func op(n int) object.OpID { return object.OpID{1, byte(n), byte(n >> 8), byte(n >> 16)} }

// mustPut puts a value durably.
func mustPut(t testing.TB, s *Store, ref object.Ref, c version.Context, value string) object.Written {
	t.Helper()
	w, err := s.Put(ref, c, object.Sibling{Value: []byte(value)})
	if err == nil {
		err = w.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func mustMerge(t testing.TB, s *Store, ref object.Ref, o object.Object) object.Written {
	t.Helper()
	w, err := s.Merge(ref, o)
	if err == nil {
		err = w.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func mustGet(t testing.TB, s *Store, ref object.Ref) object.Object {
	t.Helper()
	o, err := s.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// values are the values of an object's siblings, sorted.
func values(o object.Object) []string {
	out := make([]string, 0, len(o.Siblings))
	for _, s := range o.Siblings {
		out = append(out, string(s.Value))
	}
	slices.Sort(out)
	return out
}

func wantValues(t testing.TB, o object.Object, want ...string) {
	t.Helper()
	if got := values(o); !slices.Equal(got, want) {
		t.Errorf("values %q, want %q", got, want)
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

// foreign makes an object of another replica with one sibling.
func foreign(actor version.Actor, seq uint64, value string) object.Object {
	d := version.Dot{Actor: actor, Seq: seq}
	return object.Object{
		Vector:   version.Vector{d},
		Siblings: []object.Sibling{{Dot: d, Value: []byte(value)}},
	}
}

// checkPartition checks invariants 2, 11 and 12: the leaves of a partition, and
// its root, are the sums over its objects, its index rows name its keys, and its
// candidates and counts are those of its objects. It returns the objects.
func checkPartition(t testing.TB, s *Store, partition uint32) map[object.Ref]object.Object {
	t.Helper()
	objects := make(map[object.Ref]object.Object)
	want := make([]Leaf, LeafCount)
	keys := make(map[uint16][]object.Ref)
	for e, err := range s.Scan(partition, object.Ref{}) {
		if err != nil {
			t.Fatal(err)
		}
		objects[e.Ref] = e.Object
		leaf := leafOf(nameHash(appendDataKey(nil, e.Ref)))
		want[leaf] = want[leaf].plus(Leaf{Sum: e.Object.Hash(e.Ref.Bucket, e.Ref.Key), Keys: 1})
		keys[leaf] = append(keys[leaf], e.Ref)
	}
	got, err := s.Leaves(partition)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("partition %d: the leaves are not the sums over the objects", partition)
	}
	var sum Leaf
	for _, l := range want {
		sum = sum.plus(l)
	}
	if root, err := s.Root(partition); err != nil || root != sum {
		t.Errorf("partition %d: the root is %+v, %v, want %+v", partition, root, err, sum)
	}
	checkReap(t, s, partition, objects)
	indexed := 0
	for leaf := range uint16(LeafCount) {
		if want[leaf].Keys == 0 && got[leaf].Keys == 0 {
			continue
		}
		refs := leafKeys(t, s, partition, leaf)
		indexed += len(refs)
		if !slices.Equal(refs, keys[leaf]) {
			t.Errorf("partition %d leaf %d: index has %v, want %v", partition, leaf, refs, keys[leaf])
		}
	}
	if n := rowCount(t, s, kindIndex, partition); n != indexed {
		t.Errorf("partition %d: %d index rows, want %d", partition, n, indexed)
	}
	return objects
}

func leafKeys(t testing.TB, s *Store, partition uint32, leaf uint16) []object.Ref {
	t.Helper()
	var refs []object.Ref
	for ref, err := range s.LeafKeys(partition, leaf) {
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	return refs
}

func rowCount(t testing.TB, s *Store, kind byte, partition uint32) int {
	t.Helper()
	n := 0
	start, end := partitionRange(kind, partition)
	s.scan(partition, start, end, func(_, _ []byte) error { n++; return nil }, func(err error) { t.Fatal(err) })
	return n
}

// copyFS is the file system as a crash with nothing lost would leave it.
func copyFS(fs *vfs.MemFS) *vfs.MemFS { return crash(fs, 100, 1) }

// crash is the file system after a power loss that kept some of what was not
// synced. It keeps the order of a directory's entries as far as the engine
// counts on it, as journaling file systems do: no marker outlives the manifest
// that it names and that was created before.
func crash(fs *vfs.MemFS, keptPercent int, seed uint64) *vfs.MemFS {
	for ; ; seed++ {
		after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keptPercent, RNG: rand.New(rand.NewPCG(seed, 7))})
		names, err := after.List(testDir)
		dangles := func(name string) bool {
			_, manifest, ok := strings.Cut(name, ".MANIFEST-")
			return ok && !slices.Contains(names, "MANIFEST-"+manifest)
		}
		if err != nil || !slices.ContainsFunc(names, dangles) {
			return after
		}
	}
}

// filesWith lists the files of the data directory with a suffix.
func filesWith(t testing.TB, fs vfs.FS, suffix string) []string {
	t.Helper()
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range names {
		if len(name) > len(suffix) && name[len(name)-len(suffix):] == suffix {
			out = append(out, fs.PathJoin(testDir, name))
		}
	}
	slices.Sort(out)
	return out
}

// damage flips bits of one byte of a file.
func damage(t testing.TB, fs vfs.FS, name string, at int64) {
	t.Helper()
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x55
	_, err = f.WriteAt(b[:], at)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func size(t testing.TB, fs vfs.FS, name string) int64 {
	t.Helper()
	info, err := fs.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func key(i int) string { return fmt.Sprintf("key-%04d", i) }
