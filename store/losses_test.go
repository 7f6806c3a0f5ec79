package store

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

const (
	lossPartitions = 8
	lossKeys       = 40
)

func lossValue(p uint32, i int) string {
	return strings.Repeat(string(rune('a'+i%26)), 1200) + string(rune('0'+p)) + key(i)
}

// damagedStore gives a file system with a store of which one table is damaged
// at some places, given as parts of its length.
func damagedStore(t *testing.T, parts ...float64) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, small(fs))
	for p := range uint32(lossPartitions) {
		for i := range lossKeys {
			mustPut(t, s, testRef(p, key(i)), version.Context{}, lossValue(p, i))
		}
	}
	mustClose(t, s)
	fs = copyFS(fs)
	table := slices.MaxFunc(filesWith(t, fs, ".sst"), func(a, b string) int { return int(size(t, fs, a) - size(t, fs, b)) })
	for _, part := range parts {
		damage(t, fs, table, int64(part*float64(size(t, fs, table))))
	}
	return fs
}

// reported collects what a store tells of lost partitions.
type reported struct {
	mu    sync.Mutex
	times map[uint32]int
}

func (r *reported) add(p uint32, reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.times == nil {
		r.times = make(map[uint32]int)
	}
	if errors.Is(reason, ErrCorrupt) {
		r.times[p]++
	}
}

func (r *reported) get() map[uint32]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.times)
}

// readAll gets every key: each answer must be right or ErrCorrupt. It returns
// how many keys of each partition could not be read.
func readAll(t *testing.T, s *Store) map[uint32]int {
	t.Helper()
	lost := make(map[uint32]int)
	for p := range uint32(lossPartitions) {
		for i := range lossKeys {
			o, err := s.Get(testRef(p, key(i)))
			if err != nil {
				wantError(t, err, ErrCorrupt)
				lost[p]++
				continue
			}
			wantValues(t, o, lossValue(p, i))
		}
	}
	return lost
}

func TestDamagedTable(t *testing.T) {
	fs := damagedStore(t, 0.005)
	var r reported
	o := small(fs)
	o.OnAmnesia = r.add
	s := openFor(t, o)
	s.Vouch()
	lost := readAll(t, s)
	if len(lost) != 1 || lost[0] == 0 || lost[0] == lossKeys {
		t.Fatalf("one damaged block lost %v", lost)
	}
	// Nothing writes over what cannot be read.
	bad := 0
	for i := range lossKeys {
		ref := testRef(0, key(i))
		_, getErr := s.Get(ref)
		_, err := s.Put(ref, version.Context{}, object.Sibling{Value: []byte("over")})
		_, err2 := s.Merge(ref, foreign(9, 1, "over"))
		if getErr != nil {
			bad++
			wantError(t, err, ErrCorrupt)
			wantError(t, err2, ErrCorrupt)
		} else if err := errors.Join(err, err2); err != nil {
			t.Error(err)
		}
	}
	if bad != lost[0] {
		t.Errorf("%d keys are lost, then %d", lost[0], bad)
	}
	seen := false
	for _, err := range s.Scan(0, object.Ref{}) {
		if err != nil {
			wantError(t, err, ErrCorrupt)
			seen = true
		}
	}
	if !seen {
		t.Error("a scan went over a damaged block")
	}
	eventually(t, "the loss is told", func() bool { return len(r.get()) > 0 })
	if got := r.get(); got[0] != 1 || len(got) != 1 {
		t.Errorf("told of %v, want partition 0 once", got)
	}
	if s.counts.corruptions.Load() == 0 {
		t.Error("no corruption was counted")
	}

	// The partition can be dropped and filled again.
	if err := s.DropPartition(0); err != nil {
		t.Fatal(err)
	}
	if n := len(checkPartition(t, s, 0)); n != 0 {
		t.Errorf("%d keys after the drop", n)
	}
	for i := range lossKeys {
		mustMerge(t, s, testRef(0, key(i)), foreign(9, uint64(i+1), lossValue(0, i)))
	}
	if lost := readAll(t, s); len(lost) > 0 {
		t.Errorf("lost after refilling: %v", lost)
	}
	checkPartition(t, s, 0)
}

// TestActorAfterLoss checks that the actor of a partition that lost rows is
// given up, and that of another is kept.
func TestActorAfterLoss(t *testing.T) {
	s := openFor(t, small(damagedStore(t, 0.005)))
	s.Vouch()
	actor := func(p uint32) version.Actor {
		return mustPut(t, s, testRef(p, "new key"), version.Context{}, "v").Dot.Actor
	}
	kept := func(p uint32) version.Actor {
		return mustGet(t, s, testRef(p, key(lossKeys-1))).Siblings[0].Dot.Actor
	}
	if lost := readAll(t, s); lost[0] == 0 || len(lost) != 1 {
		t.Fatalf("lost %v", lost)
	}
	if actor(5) != kept(5) {
		t.Error("a whole partition changed its actor")
	}
	now := actor(0)
	if now == kept(0) {
		t.Error("a partition that lost rows kept its actor")
	}
	readAll(t, s)
	if actor(0) != now {
		t.Error("one loss is taken for many")
	}
}

// TestSearch damages two blocks and touches one: the search must find all the
// partitions that lost rows.
func TestSearch(t *testing.T) {
	parts := []float64{0.005, 0.4}
	probe := openFor(t, small(damagedStore(t, parts...)))
	want := make(map[uint32]int)
	for p := range uint32(lossPartitions) {
		for _, kind := range keyKinds {
			start, end := partitionRange(kind, p)
			probe.scan(p, start, end, func(_, _ []byte) error { return nil }, func(error) { want[p] = 1 })
		}
	}
	if len(want) < 2 || len(want) == lossPartitions {
		t.Fatalf("the damage hit %v", want)
	}
	var r reported
	o := small(damagedStore(t, parts...))
	o.OnAmnesia = r.add
	s := openFor(t, o)
	if _, err := s.Get(testRef(0, key(0))); err == nil {
		t.Fatal("the first key was not hit")
	}
	eventually(t, "the search is done", func() bool { return len(r.get()) >= len(want) })
	if got := r.get(); !maps.Equal(got, want) {
		t.Errorf("told of %v, want %v", got, want)
	}
}

// TestDropFromTheCallback repairs a partition from the callback itself, as a
// node may.
func TestDropFromTheCallback(t *testing.T) {
	o := small(damagedStore(t, 0.005))
	var s *Store
	ready, dropped := make(chan struct{}), make(chan error, 1)
	o.OnAmnesia = func(p uint32, _ error) {
		<-ready
		dropped <- s.DropPartition(p)
	}
	s = openFor(t, o)
	_, err := s.Get(testRef(0, key(0)))
	wantError(t, err, ErrCorrupt)
	close(ready)
	if err := <-dropped; err != nil {
		t.Fatal(err)
	}
	if o := mustGet(t, s, testRef(0, key(0))); !o.Absent() {
		t.Errorf("after the drop there is %v", values(o))
	}
}

// TestUndecodableRow stores bytes that are no object.
func TestUndecodableRow(t *testing.T) {
	var r reported
	o := small(vfs.NewMem())
	o.OnAmnesia = r.add
	s := openFor(t, o)
	b := s.db.NewBatch()
	_ = b.Set(appendDataKey(nil, testRef(2, "k")), []byte("nonsense"), nil)
	_ = b.Set(appendLeafKey(nil, 3, 7), []byte("nonsense"), nil)
	_ = b.Set(appendLeafKey(nil, 4, LeafCount), Leaf{}.append(nil), nil)
	_ = b.Set(append(appendIndexPrefix(nil, 5, 7), "no bucket"...), nil, nil)
	s.saveRows(b)
	_, err := s.Get(testRef(2, "k"))
	wantError(t, err, ErrCorrupt)
	for p := uint32(3); p <= 4; p++ {
		_, err = s.Leaves(p)
		wantError(t, err, ErrCorrupt)
	}
	err = nil
	for _, err = range s.LeafKeys(5, 7) {
	}
	wantError(t, err, ErrCorrupt)
	eventually(t, "four losses are told", func() bool { return len(r.get()) == 4 })

	// A partition that was dropped can lose rows again.
	if err := s.DropPartition(2); err != nil {
		t.Fatal(err)
	}
	b = s.db.NewBatch()
	_ = b.Set(appendDataKey(nil, testRef(2, "k")), []byte("nonsense"), nil)
	s.saveRows(b)
	_, err = s.Get(testRef(2, "k"))
	wantError(t, err, ErrCorrupt)
	eventually(t, "the second loss is told", func() bool { return r.get()[2] == 2 })
}

func TestSpanPartitions(t *testing.T) {
	d := func(kind byte, p uint32) []byte { return append(appendPrefix(nil, kind, p), "b\x00k"...) }
	for _, c := range []struct {
		start, end  []byte
		kind        byte
		first, last uint32
		ok          bool
	}{
		{d('d', 3), d('d', 5), 'd', 3, 5, true},
		{d('d', 3), d('d', 5), 'i', 0, 0, false},
		{d('d', 3), d('m', 9), 'd', 3, MaxPartitions - 1, true},
		{d('d', 3), d('m', 9), 'i', 0, MaxPartitions - 1, true},
		{d('d', 3), d('m', 9), 'm', 0, 9, true},
		{d('i', 3), d('m', 9), 'd', 0, 0, false},
		{[]byte("xsid"), []byte("xum"), 'm', 0, 0, false},
		{[]byte("a"), []byte("xum"), 'm', 0, MaxPartitions - 1, true},
	} {
		first, last, ok := span{start: c.start, end: c.end}.partitions(c.kind)
		if first != c.first || last != c.last || ok != c.ok {
			t.Errorf("%x to %x has %c of %d to %d %v", c.start, c.end, c.kind, first, last, ok)
		}
	}
}

// TestHeld damages the leaves of all partitions: the search must still find
// the partitions, by their other rows. The table is made of small blocks, for
// the engine takes its time over a damaged one.
func TestHeld(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, small(fs))
	b := s.db.NewBatch()
	sum := Leaf{Sum: 0x9e3779b97f4a7c15, Keys: 1}.append(nil) // not to be compressed
	for p := range uint32(lossPartitions) {
		_ = b.Set(appendIndexKey(nil, p, 7, "b", "k"), nil, nil)
		_ = b.Set(appendLeafKey(nil, p, 7), sum, nil)
	}
	for _, k := range []string{"j", "n"} { // a block of its own between the kinds
		_ = b.Set([]byte(k), make([]byte, 30_000), nil)
	}
	s.saveRows(b)
	mustClose(t, s)
	fs = copyFS(fs)
	for _, table := range filesWith(t, fs, ".sst") {
		if at := bytes.Index(content(t, fs, table), sum[:8]); at >= 0 {
			damage(t, fs, table, int64(at))
		}
	}
	s = openFor(t, small(fs))
	_, err := s.Leaves(lossPartitions - 1)
	wantError(t, err, ErrCorrupt)
	it, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	sp := span{start: appendPrefix(nil, kindData, 0), end: []byte{kindMeta}}
	held := sp.held(t.Context(), it, MaxPartitions)
	_ = it.Close() // has the error of the damaged block
	if want := []uint32{0, 1, 2, 3, 4, 5, 6, 7}; !slices.Equal(held, want) {
		t.Errorf("found partitions %v, want %v", held, want)
	}
}

func content(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDamagedLeaps(t *testing.T) {
	for far := range uint32(40) {
		for bad := range far + 1 { // distances 1 to bad cannot be read
			probes := 0
			n := damaged(far, func(n uint32) bool {
				if probes++; n > far {
					t.Errorf("looked at %d of %d", n, far)
				}
				return n > bad
			})
			if n != bad || probes > 14 {
				t.Errorf("leaps over %d of %d in %d probes, want %d", n, far, probes, bad)
			}
		}
	}
}
