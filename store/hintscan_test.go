package store

import (
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
)

// place is an item of a range over hints, without the object.
type place struct {
	ref    object.Ref
	failed bool
}

// hintsFrom ranges over a target's hints. An error must be ErrCorrupt.
func hintsFrom(t testing.TB, s *Store, target [16]byte, after object.Ref) []place {
	t.Helper()
	var out []place
	for h, err := range s.Hints(target, after) {
		if err != nil {
			wantError(t, err, ErrCorrupt)
		}
		if h.Target != target || (err != nil) == (len(h.Object.Vector) > 0) {
			t.Errorf("hint %+v with error %v", h, err)
		}
		out = append(out, place{h.Ref, err != nil})
	}
	return out
}

// TestHintOrder ranges over hints from every place, between two other targets.
func TestHintOrder(t *testing.T) {
	s := openFor(t, hinting(vfs.NewMem()))
	var want []place
	for _, p := range []uint32{0, 1, 255, 256, MaxPartitions - 1} {
		for _, bucket := range []string{"a", "a.b", "ab", "b"} {
			for _, key := range []string{"\x00", "k", "k\x00", "kk", "\xff"} {
				want = append(want, place{ref: object.Ref{Partition: p, Bucket: bucket, Key: key}})
			}
		}
	}
	for _, i := range []int{3, 1, 2, 0} {
		for n := range want {
			w := want[(n*37+i)%len(want)]
			for _, target := range []int{1, 2, 3} {
				mustMergeHint(t, s, hintName{testTarget(target), w.ref}, foreign(7, uint64(n%4+1), "v"))
			}
		}
	}
	if got := hintsFrom(t, s, testTarget(2), object.Ref{}); !slices.Equal(got, want) {
		t.Errorf("hints are %v, want %v", got, want)
	}
	for n, w := range want {
		if got := hintsFrom(t, s, testTarget(2), w.ref); !slices.Equal(got, want[n+1:]) {
			t.Errorf("behind %v come %v", w.ref, got)
		}
		if got := hintsFrom(t, s, testTarget(2), object.Ref{Partition: w.ref.Partition}); !slices.Equal(got, want[n/20*20:]) {
			t.Errorf("from partition %d on come %v", w.ref.Partition, got)
		}
	}
	for _, after := range []object.Ref{{Partition: MaxPartitions}, {Partition: MaxPartitions - 1, Bucket: "z"}, {Partition: 1 << 31}} {
		if got := hintsFrom(t, s, testTarget(2), after); len(got) != 0 {
			t.Errorf("behind the end come %v", got)
		}
	}
	if got := hintsFrom(t, s, testTarget(4), object.Ref{}); len(got) != 0 {
		t.Errorf("a target without hints has %v", got)
	}
	n := 0
	for range s.Hints(testTarget(2), object.Ref{}) {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("%d hints until the loop was left", n)
	}
}

// TestHintPages ranges over more than a page, delivers on the way, and checks
// that the range holds nothing of the store: Close does not wait for it.
func TestHintPages(t *testing.T) {
	s := mustOpen(t, hinting(vfs.NewMem()))
	const n = 40
	value := func(i int) string { return strings.Repeat(key(i), hintPageBytes/80) }
	name := func(i int) hintName { return hintName{testTarget(1), testRef(uint32(i/7), key(i))} }
	for i := range n {
		mustMergeHint(t, s, name(i), foreign(7, 1, value(i)))
	}
	if err := s.flush(); err != nil { // so that blocks are read, and their memory is used again
		t.Fatal(err)
	}
	var came []object.Hint
	for h, err := range s.Hints(testTarget(1), object.Ref{}) {
		if err != nil {
			t.Fatal(err)
		}
		if len(came)%2 == 0 {
			mustDropHint(t, s, hintName{h.Target, h.Ref}, h.Object)
		}
		came = append(came, h)
	}
	for i, h := range came {
		if h.Ref != name(i).ref || !slices.Equal(values(h.Object), []string{value(i)}) {
			t.Errorf("hint %d is %v with %.20q", i, h.Ref, values(h.Object))
		}
	}
	if left := len(checkHints(t, s)); len(came) != n || left != n/2 {
		t.Errorf("%d hints, %d are left", len(came), left)
	}
	i := 0
	var last error
	for _, err := range s.Hints(testTarget(1), object.Ref{}) {
		if i++; i == 1 {
			mustClose(t, s)
		}
		last = err
	}
	wantError(t, last, ErrClosed)
	if i == 1 || i > n/2 {
		t.Errorf("the range over a store that was closed came to %d", i)
	}
}

// TestUndecodableHint stores bytes that are no object as a hint.
func TestUndecodableHint(t *testing.T) {
	o := hinting(vfs.NewMem())
	o.OnAmnesia = func(p uint32, reason error) { t.Errorf("partition %d lost its memory to a hint: %v", p, reason) }
	s := openFor(t, o)
	var want []place
	for i := range 5 {
		name := hintName{testTarget(1), testRef(3, key(i))}
		mustMergeHint(t, s, name, foreign(7, 1, "v"))
		want = append(want, place{name.ref, i == 2})
	}
	bad := hintName{testTarget(1), want[2].ref}
	b := s.db.NewBatch()
	_ = b.Set(appendHintKey(nil, bad.target, bad.ref), []byte("nonsense"), nil)
	s.saveRows(b)
	if got := hintsFrom(t, s, bad.target, object.Ref{}); !slices.Equal(got, want) {
		t.Errorf("hints are %v, want %v", got, want)
	}
	if got := hintsFrom(t, s, bad.target, bad.ref); !slices.Equal(got, want[3:]) {
		t.Errorf("behind the bad hint come %v", got)
	}
	wantCorruptHint(t, s, bad)
	if _, err := s.Hinted(want[1].ref); err != nil {
		t.Errorf("a hint beside the bad one: %v", err)
	}
}

// wantCorruptHint fails if anything can be done with a hint.
func wantCorruptHint(t *testing.T, s *Store, name hintName) {
	t.Helper()
	before := s.HintTotals()
	_, err1 := s.Hinted(name.ref)
	_, err2 := s.MergeHint(name.target, name.ref, foreign(8, 1, "over"))
	_, err3 := s.PutHint(name.target, name.ref, object.Object{}.Context(), object.Sibling{})
	dropped, err4 := s.DropHint(name.target, name.ref, 0)
	for _, err := range []error{err1, err2, err3, err4} {
		wantError(t, err, ErrCorrupt)
	}
	if dropped || !slices.Equal(s.HintTotals(), before) {
		t.Errorf("dropped %v, totals are %v, before %v", dropped, s.HintTotals(), before)
	}
}

// TestUnparsableHint stores a hint whose key names no key of the store.
func TestUnparsableHint(t *testing.T) {
	s := openFor(t, hinting(vfs.NewMem()))
	target := testTarget(1)
	for _, p := range []uint32{1, 3} {
		mustMergeHint(t, s, hintName{target, testRef(p, "k")}, foreign(7, 1, "v"))
	}
	b := s.db.NewBatch()
	_ = b.Set(append(appendHintPrefix(nil, target, 2), "no bucket"...), encode(foreign(7, 1, "v")), nil)
	s.saveRows(b)
	got := hintsFrom(t, s, target, object.Ref{})
	if len(got) != 3 || got[0].failed || !got[1].failed || got[2] != (place{ref: testRef(3, "k")}) {
		t.Errorf("hints are %v", got)
	}
}

// TestDamagedHints damages blocks of a table that holds hints: those of other
// blocks must come, by going on and by starting again behind the error.
func TestDamagedHints(t *testing.T) {
	const partitions, keys = 8, 40
	target := testTarget(2)
	value := func(i int) string { return strings.Repeat(string(rune('a'+i%26)), 1200) + key(i) }
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, hinting(fs))
	var all []object.Ref
	for p := range uint32(partitions) {
		for i := range keys {
			all = append(all, testRef(p, key(i)))
			mustMergeHint(t, s, hintName{target, testRef(p, key(i))}, foreign(7, 1, value(i)))
		}
	}
	for i := range keys {
		mustMergeHint(t, s, hintName{testTarget(3), testRef(partitions, key(i))}, foreign(7, 1, value(i)))
	}
	mustClose(t, s)

	for name, parts := range map[string][]float64{"two": {0.005, 0.6}, "last": {0.76}} {
		t.Run(name, func(t *testing.T) {
			fs := copyFS(fs)
			tables := filesWith(t, fs, ".sst")
			table := slices.MaxFunc(tables, func(a, b string) int { return int(size(t, fs, a) - size(t, fs, b)) })
			for _, part := range parts {
				damage(t, fs, table, int64(part*float64(size(t, fs, table))))
			}
			o := hinting(fs)
			o.OnAmnesia = func(p uint32, reason error) { t.Errorf("partition %d lost its memory to hints: %v", p, reason) }
			s := openFor(t, o)
			lost := make(map[object.Ref]bool)
			for _, ref := range all {
				if _, _, err := s.read(appendHintKey(nil, target, ref)); err != nil {
					wantError(t, err, ErrCorrupt)
					lost[ref] = true
				}
			}
			if len(lost) == 0 || name == "two" && !lost[all[0]] || name == "last" && !lost[all[len(all)-1]] {
				t.Fatalf("%d hints are damaged, but not those of case %q", len(lost), name)
			}
			got := hintsFrom(t, s, target, object.Ref{})
			wantAround(t, got, all, lost)
			// Whoever gives up at every error gets on as well.
			var again []place
			for after := (object.Ref{}); ; {
				failed := false
				for h, err := range s.Hints(target, after) {
					again = append(again, place{h.Ref, err != nil})
					if after = h.Ref; err != nil {
						failed = true
						break
					}
				}
				if !failed {
					break
				}
			}
			if !slices.Equal(again, got) {
				t.Errorf("with new starts the hints are %v, want %v", again, got)
			}
			for ref := range lost {
				wantCorruptHint(t, s, hintName{target, ref})
				break
			}
		})
	}
}

// wantAround holds a range over damaged hints to what can be read: all hints
// but at most one behind each run of lost ones, and one error for each run.
func wantAround(t *testing.T, got []place, all []object.Ref, lost map[object.Ref]bool) {
	t.Helper()
	var want []place
	next, errs := 0, 0
	for _, p := range got {
		if p.failed {
			errs++
			continue
		}
		at := slices.Index(all, p.ref)
		if at < next || lost[p.ref] {
			t.Fatalf("hint %v comes behind %v", p.ref, all[next])
		}
		for _, skipped := range all[next:at] {
			if !lost[skipped] {
				want = append(want, place{ref: skipped})
			}
		}
		next = at + 1
	}
	runs := 0
	for i, ref := range all {
		if lost[ref] && (i == 0 || !lost[all[i-1]]) {
			runs++
		}
	}
	if errs != runs || len(want) > runs || lost[all[len(all)-1]] != (next < len(all)) {
		t.Errorf("%d runs of hints are lost: %d errors, and %v did not come", runs, errs, want)
	}
}
