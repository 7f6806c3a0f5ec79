package store

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

// putOp puts a value under an operation.
func putOp(t *testing.T, s *Store, ref object.Ref, c version.Context, n int) object.Written {
	t.Helper()
	w, err := s.Put(ref, c, object.Sibling{Op: op(n), Value: []byte(fmt.Sprint(n))})
	if err == nil {
		err = w.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// wantRetry fails unless w answers the same put as first and changed nothing.
func wantRetry(t *testing.T, w, first object.Written) {
	t.Helper()
	if w.Changed || w.Dot != first.Dot {
		t.Errorf("retry is %v, changed %v, want %v", w.Dot, w.Changed, first.Dot)
	}
}

// TestRetries tries puts again, with the sibling still there and superseded.
func TestRetries(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, small(fs))
	ref, other := testRef(1, "k"), testRef(1, "other")
	put := func(ref object.Ref, c version.Context, n int) object.Written {
		t.Helper()
		return putOp(t, s, ref, c, n)
	}
	first := put(ref, version.Context{}, 1)
	wantRetry(t, put(ref, version.Context{}, 1), first)
	if w := put(other, version.Context{}, 1); !w.Changed || w.Dot == first.Dot {
		t.Error("the same operation on another key was taken for a retry")
	}
	second := put(ref, first.Object.Context(), 2)
	wantRetry(t, put(ref, version.Context{}, 1), first) // superseded, but remembered
	wantValues(t, mustGet(t, s, ref), "2")

	// A stamping by another replica that was merged answers too.
	sent := foreign(77, 3, "3")
	sent.Siblings[0].Op = op(3)
	mustMerge(t, s, ref, sent)
	if w := put(ref, version.Context{}, 3); w.Changed || w.Dot != sent.Siblings[0].Dot {
		t.Errorf("retry of a put that another replica stamped: %+v", w)
	}
	// After a restart the sibling still answers; the table is gone.
	mustClose(t, s)
	s = openFor(t, small(fs))
	wantRetry(t, put(ref, version.Context{}, 2), second)
	if w := put(ref, version.Context{}, 1); !w.Changed {
		t.Error("a put that nothing knows of any more was taken for a retry")
	}
	if got := s.counts.retries.Load(); got != 1 {
		t.Errorf("%d retries counted, want 1", got)
	}
	// No operation is no retry.
	mustPut(t, s, other, version.Context{}, "x")
	if w := mustPut(t, s, other, version.Context{}, "x"); !w.Changed {
		t.Error("a put without an operation was taken for a retry")
	}
}

func TestRecentIsBounded(t *testing.T) {
	r := newRecent()
	id := func(n int) putID { return r.id(object.OpID{byte(n), byte(n >> 8), byte(n >> 16)}, []byte("k")) }
	for i := range recentPuts + 10 {
		r.add(id(i), version.Dot{Actor: 1, Seq: uint64(i + 1)}, nil)
	}
	if len(r.dots) != recentPuts || len(r.ring) != recentPuts {
		t.Errorf("%d dots and %d places, want %d", len(r.dots), len(r.ring), recentPuts)
	}
	if _, ok := r.find(id(9)); ok {
		t.Error("the oldest puts are still there")
	}
	for _, n := range []int{10, recentPuts + 9} {
		if d, ok := r.find(id(n)); !ok || d.Seq != uint64(n+1) {
			t.Errorf("put %d is %v %v", n, d, ok)
		}
	}
}

// TestRetryAtAnotherReplica puts at one replica, supersedes the value at
// another, and tries the put again there, with the context that it had.
func TestRetryAtAnotherReplica(t *testing.T) {
	ref := testRef(1, "k")
	old := version.Context{}
	// Each way brings the first put and one that supersedes it to b.
	ways := map[string]func(a, b *Store) (first object.Written){
		"merged, then superseded by a put": func(a, b *Store) object.Written {
			first := putOp(t, a, ref, old, 1)
			mustMerge(t, b, ref, first.Object)
			putOp(t, b, ref, first.Object.Context(), 2)
			return first
		},
		"merged, then superseded by a merge": func(a, b *Store) object.Written {
			first := putOp(t, a, ref, old, 1)
			mustMerge(t, b, ref, first.Object)
			mustMerge(t, b, ref, putOp(t, a, ref, first.Object.Context(), 2).Object)
			return first
		},
		"merged too late": func(a, b *Store) object.Written {
			first := putOp(t, a, ref, old, 1)
			mustMerge(t, b, ref, putOp(t, a, ref, first.Object.Context(), 2).Object)
			if w := mustMerge(t, b, ref, first.Object); w.Changed {
				t.Error("a superseded put changed something")
			}
			return first
		},
		"merged too late, beside something new": func(a, b *Store) object.Written {
			first := putOp(t, a, ref, old, 1)
			mustMerge(t, b, ref, putOp(t, a, ref, first.Object.Context(), 2).Object)
			w := mustMerge(t, b, ref, object.Merge(first.Object, foreign(7, 1, "3")))
			mustPut(t, b, ref, w.Object.Context(), "2")
			return first
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			a, b := openFor(t, small(vfs.NewMem())), openFor(t, small(vfs.NewMem()))
			first := way(a, b)
			before := mustGet(t, b, ref)
			wantValues(t, before, "2")
			wantRetry(t, putOp(t, b, ref, old, 1), first)
			same(t, mustGet(t, b, ref), before)
			checkPartition(t, b, 1)
			if w := putOp(t, b, testRef(1, "other"), old, 1); !w.Changed {
				t.Error("the same operation on another key was taken for a retry")
			}
		})
	}
}

// TestRetryOfTwoStampings merges two stampings of one put: the first one known
// answers, for as long as the row knows it.
func TestRetryOfTwoStampings(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	ref := testRef(1, "k")
	stamped := func(actor version.Actor) object.Object {
		o := foreign(actor, 1, "v")
		o.Siblings[0].Op = op(1)
		return o
	}
	for _, actor := range []version.Actor{8, 7} {
		w := mustMerge(t, s, ref, stamped(actor))
		mustPut(t, s, ref, w.Object.Context(), "next")
	}
	if w := putOp(t, s, ref, version.Context{}, 1); w.Changed || w.Dot.Actor != 8 {
		t.Errorf("retry is %v, changed %v", w.Dot, w.Changed)
	}
	if err := s.DropPartition(1); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, ref, mustMerge(t, s, ref, stamped(7)).Object.Context(), "next")
	if w := putOp(t, s, ref, version.Context{}, 1); w.Changed || w.Dot.Actor != 7 {
		t.Errorf("retry after the partition was filled again is %v, changed %v", w.Dot, w.Changed)
	}
}

// TestRetriesOfHints tries puts into hints again: while the hint knows of
// them, and when it was delivered and deleted.
func TestRetriesOfHints(t *testing.T) {
	s := openFor(t, hinting(vfs.NewMem()))
	ref := testRef(1, "k")
	name := hintName{testTarget(1), ref}
	put := func(c version.Context, n int) object.Written {
		t.Helper()
		return mustPutHint(t, s, name, c, object.Sibling{Op: op(n), Value: []byte(fmt.Sprint(n))})
	}
	first := put(version.Context{}, 1)
	wantRetry(t, put(version.Context{}, 1), first)
	second := put(first.Object.Context(), 2)
	wantRetry(t, put(version.Context{}, 1), first)
	wantRetry(t, put(first.Object.Context(), 2), second)
	if n := s.counts.retries.Load(); n != 3 {
		t.Errorf("%d retries counted, want 3", n)
	}
	// What the hint answered, the data row and another target's hint do not hold.
	if w := putOp(t, s, ref, version.Context{}, 1); !w.Changed {
		t.Error("a hint answered for the data")
	}
	if w := mustPutHint(t, s, hintName{testTarget(2), ref}, version.Context{}, object.Sibling{Op: op(1)}); !w.Changed {
		t.Error("a hint answered for another")
	}
	// A hint that took the put by a merge answers as well.
	other := openFor(t, hinting(vfs.NewMem()))
	mustMergeHint(t, other, name, first.Object)
	mustMergeHint(t, other, name, second.Object)
	wantRetry(t, mustPutHint(t, other, name, version.Context{}, object.Sibling{Op: op(1)}), first)

	// A deleted hint holds nothing: a retry must store its value again, or its
	// acknowledgement would speak of a copy that is not there.
	mustDropHint(t, s, name, hintOf(t, s, name))
	again := put(version.Context{}, 1)
	if !again.Changed || again.Dot.Actor == first.Dot.Actor {
		t.Errorf("a retry after the hint was deleted is %v, changed %v", again.Dot, again.Changed)
	}
	wantValues(t, hintOf(t, s, name), "1")
}

// TestFillingForgetsNothing merges more objects than the table has room for,
// as the filling of a partition does: only superseded puts take room.
func TestFillingForgetsNothing(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	ref := testRef(1, "k")
	first := putOp(t, s, ref, version.Context{}, 1)
	putOp(t, s, ref, first.Object.Context(), 2)
	for i := range 100 {
		o := foreign(7, 1, "v")
		o.Siblings[0].Op = op(i + 10)
		mustMerge(t, s, testRef(2, key(i)), o)
	}
	if n := len(s.recent.dots); n != 1 {
		t.Errorf("%d puts are remembered, want 1", n)
	}
	wantRetry(t, putOp(t, s, ref, version.Context{}, 1), first)
}
