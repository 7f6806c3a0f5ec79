package store

import (
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

// hinting are options for a store with room for hints.
func hinting(fs vfs.FS) Options {
	o := small(fs)
	o.HintsMaxBytes, o.HintsMaxTargetBytes = 1<<30, 1<<30
	return o
}

// testTarget is an ID that begins as the number of a partition does.
func testTarget(n int) [16]byte { return [16]byte{3: byte(n), 15: 0xff} }

// hintName names one hint row.
type hintName struct {
	target [16]byte
	ref    object.Ref
}

func mustPutHint(t testing.TB, s *Store, name hintName, c version.Context, sib object.Sibling) object.Written {
	t.Helper()
	w, err := s.PutHint(name.target, name.ref, c, sib)
	if err == nil {
		err = w.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func mustMergeHint(t testing.TB, s *Store, name hintName, o object.Object) object.Written {
	t.Helper()
	w, err := s.MergeHint(name.target, name.ref, o)
	if err == nil {
		err = w.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func mustDropHint(t testing.TB, s *Store, name hintName, o object.Object) {
	t.Helper()
	dropped, err := s.DropHint(name.target, name.ref, o.Hash(name.ref.Bucket, name.ref.Key))
	if err != nil || !dropped {
		t.Fatalf("dropped %v: %v", dropped, err)
	}
}

// hintOf is what a hint holds; the zero object if there is none.
func hintOf(t testing.TB, s *Store, name hintName) object.Object {
	t.Helper()
	hints, err := s.Hinted(name.ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hints {
		if h.Target == name.target {
			return h.Object
		}
	}
	return object.Object{}
}

// checkHints holds the totals in memory and on disk to a scan of all hint rows
// (invariant 8), and what Hints and Hinted say to the rows. It returns the hints.
func checkHints(t testing.TB, s *Store) map[hintName]object.Object {
	t.Helper()
	hints := make(map[hintName]object.Object)
	rows, onDisk, inMemory := map[[16]byte]hintTotals{}, map[[16]byte]hintTotals{}, map[[16]byte]hintTotals{}
	visitKind(t, s, kindHint, func(key, value []byte) {
		target, ref, err := parseHintKey(key)
		if err != nil {
			t.Fatal(err)
		}
		o, err := object.Decode(append([]byte{}, value...))
		if err != nil || o.Absent() {
			t.Fatalf("hint %x holds %v, %v", key, o, err)
		}
		rows[target] = rows[target].plus(hintTotals{1, int64(len(key) + len(value))})
		hints[hintName{target, ref}] = o
	})
	visitKind(t, s, kindTotals, func(key, value []byte) {
		sum, err := decodeLeaf(value)
		if err != nil {
			t.Fatal(err)
		}
		if sum != (Leaf{}) {
			onDisk[[16]byte(key[1:])] = hintTotals{int64(sum.Keys), int64(sum.Sum)}
		}
	})
	last := [16]byte{}
	for _, total := range s.HintTotals() {
		if string(total.Target[:]) <= string(last[:]) {
			t.Errorf("target %x comes behind %x", total.Target, last)
		}
		last = total.Target
		inMemory[total.Target] = hintTotals{total.Hints, total.Bytes}
	}
	all, ranged := hintTotals{}, 0
	for target, want := range rows {
		if onDisk[target] != want || inMemory[target] != want {
			t.Errorf("totals of %x are %+v on disk and %+v in memory, want %+v", target, onDisk[target], inMemory[target], want)
		}
		all = all.plus(want)
		for h, err := range s.Hints(target, object.Ref{}) {
			o, ok := hints[hintName{target, h.Ref}]
			if err != nil || h.Target != target || !ok || !o.Equal(h.Object) || !hintOf(t, s, hintName{target, h.Ref}).Equal(o) {
				t.Errorf("hint %+v of %x, %v, want %+v", h, target, err, o)
			}
			ranged++
		}
	}
	if len(onDisk) != len(rows) || len(inMemory) != len(rows) || s.hints.total() != all || ranged != len(hints) {
		t.Errorf("%d targets have hints, %d totals on disk, %d in memory; in all %+v, want %+v; ranged over %d, want %d",
			len(rows), len(onDisk), len(inMemory), s.hints.total(), all, ranged, len(hints))
	}
	return hints
}

// visitKind visits all rows of a kind.
func visitKind(t testing.TB, s *Store, kind byte, visit func(key, value []byte)) {
	t.Helper()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err == nil {
		err = visitAll(it, func(key, value []byte) error { visit(key, value); return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
}
