package store

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

// increment makes a value that is one more than the sum of those that are
// stored, and supersedes them.
func increment(o object.Object, _ version.Dot) (version.Context, object.Sibling, error) {
	sum := 1
	for _, s := range o.Siblings {
		n, err := strconv.Atoi(string(s.Value))
		if err != nil {
			return version.Context{}, object.Sibling{}, err
		}
		sum += n
	}
	return o.Context(), object.Sibling{Value: strconv.AppendInt(nil, int64(sum), 10)}, nil
}

func mustUpdate(t *testing.T, s *Store, ref object.Ref, op object.OpID, make Maker) object.Written {
	t.Helper()
	w, err := s.Update(ref, op, make)
	if err == nil {
		err = w.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestUpdate(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	ref := testRef(1, "k")
	var given version.Dot
	w := mustUpdate(t, s, ref, op(1), func(o object.Object, d version.Dot) (version.Context, object.Sibling, error) {
		given = d
		c, sib, err := increment(o, d)
		sib.Dot, sib.Op = version.Dot{Actor: 9, Seq: 9}, op(9) // the store's to set
		return c, sib, err
	})
	if got := w.Object.Siblings[0]; w.Dot != given || got.Dot != given || got.Op != op(1) || !w.Changed {
		t.Errorf("%+v was given the dot %v", w, given)
	}
	mustMerge(t, s, ref, foreign(7, 1, "10"))
	w = mustUpdate(t, s, ref, object.OpID{}, increment)
	wantValues(t, w.Object, "12")
	same(t, mustGet(t, s, ref), w.Object)
	checkPartition(t, s, 1)
}

func TestUpdateRefused(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	ref := testRef(1, "k")
	refusal := errors.New("unfit")
	refuse := func(object.Object, version.Dot) (version.Context, object.Sibling, error) {
		return version.Context{}, object.Sibling{Value: []byte("v")}, refusal
	}
	_, err := s.Update(ref, op(1), refuse)
	wantError(t, err, refusal)
	if o := mustGet(t, s, ref); !o.Absent() || rowCount(t, s, kindData, 1) != 0 {
		t.Errorf("a refused update left %+v", o)
	}
	first := mustUpdate(t, s, ref, op(1), increment)
	_, err = s.Update(ref, op(2), refuse)
	wantError(t, err, refusal)
	same(t, mustGet(t, s, ref), first.Object)
	// It was not taken note of either: the same operation is carried out later.
	if w := mustUpdate(t, s, ref, op(2), increment); !w.Changed {
		t.Error("a refused operation counts as done")
	}
	wantValues(t, mustGet(t, s, ref), "2")
	// The bounds are those of a put.
	_, err = s.Update(testRef(1, ""), op(3), increment)
	wantError(t, err, ErrInvalid)
	checkPartition(t, s, 1)
}

func TestUpdateRetried(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	ref := testRef(1, "k")
	unwanted := func(object.Object, version.Dot) (version.Context, object.Sibling, error) {
		t.Error("make was called for a retry")
		return version.Context{}, object.Sibling{}, nil
	}
	first := mustUpdate(t, s, ref, op(1), increment)
	wantRetry(t, mustUpdate(t, s, ref, op(1), unwanted), first)
	mustUpdate(t, s, ref, op(2), increment) // supersedes it
	w := mustUpdate(t, s, ref, op(1), unwanted)
	if w.Dot != first.Dot || w.Changed {
		t.Errorf("the retry is %v, changed %v, want %v", w.Dot, w.Changed, first.Dot)
	}
	wantValues(t, w.Object, "2")
	// A put and an update of one operation are the same.
	if w := putOp(t, s, ref, version.Context{}, 2); w.Changed {
		t.Error("a put was carried out as well")
	}
}

// TestUpdateIsAtomic updates a key from many goroutines, while values come in
// from elsewhere: nothing is counted twice, and nothing lost.
func TestUpdateIsAtomic(t *testing.T) {
	const writers, each = 8, 25
	s := openFor(t, small(vfs.NewMem()))
	ref := testRef(1, "hot")
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			for i := range each {
				w, err := s.Update(ref, op(g*1000+i), increment)
				if err == nil && i == 0 {
					_, err = s.Merge(ref, foreign(version.Actor(100+g), 1, "1000"))
				}
				if err == nil {
					err = w.Wait()
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	mustUpdate(t, s, ref, object.OpID{}, increment)
	wantValues(t, mustGet(t, s, ref), fmt.Sprint(writers*(each+1000)+1))
	checkPartition(t, s, 1)
}

// TestUpdateByWhoForgot makes a context that knows more of the actor than the
// row does: the dot must come from another, and be the one that make is given.
func TestUpdateByWhoForgot(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	mustPut(t, s, testRef(1, "other"), version.Context{}, "v")
	ref := testRef(1, "k")
	var given []version.Dot
	var claimed version.Dot
	w := mustUpdate(t, s, ref, op(1), func(_ object.Object, d version.Dot) (version.Context, object.Sibling, error) {
		given = append(given, d)
		if len(given) == 1 {
			claimed = version.Dot{Actor: d.Actor, Seq: d.Seq + 5}
		}
		return version.Context{Vector: version.Vector{claimed}}, object.Sibling{}, nil
	})
	if len(given) != 2 || given[1].Actor == claimed.Actor || w.Dot != given[1] {
		t.Errorf("make was given %v, the update has %v", given, w.Dot)
	}
	if next := mustPut(t, s, ref, version.Context{}, "v"); next.Dot.Actor != w.Dot.Actor {
		t.Error("the new actor did not stay")
	}
	if slices.Contains(s.actors.able(1), claimed.Actor) {
		t.Error("the old actor mints on")
	}
}
