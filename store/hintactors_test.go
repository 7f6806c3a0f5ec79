package store

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

// TestHintActorAfterDelivery is the reason of invariant 7: a hint is put,
// delivered, deleted, and put again by a client that saw nothing. The owner
// must end up with both values.
func TestHintActorAfterDelivery(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("merged back %v", late), func(t *testing.T) {
			holder, owner := openFor(t, hinting(vfs.NewMem())), openFor(t, small(vfs.NewMem()))
			name := hintName{owner.Identity().ID, testRef(1, "k")}
			deliver := func() {
				t.Helper()
				o := hintOf(t, holder, name)
				mustMerge(t, owner, name.ref, o)
				mustDropHint(t, holder, name, o)
			}
			var want []string
			for i := range 4 {
				if late && i == 3 {
					// The hint begins with less than the actor minted.
					first := mustGet(t, owner, name.ref).Siblings[0]
					mustMergeHint(t, holder, name, object.Object{Vector: version.Vector{first.Dot}, Siblings: []object.Sibling{first}})
				}
				for j := range 2 {
					value := fmt.Sprintf("value %d-%d", i, j)
					mustPutHint(t, holder, name, version.Context{}, object.Sibling{Value: []byte(value)})
					want = append(want, value)
				}
				deliver()
				wantValues(t, mustGet(t, owner, name.ref), want...)
			}
		})
	}
}

// TestHintActors follows the actor of one hint through what may and may not
// change it.
func TestHintActors(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := hinting(fs)
	o.Rand = newRand(1)
	s := mustOpen(t, o)
	s.Vouch()
	ref := testRef(1, "k")
	name := hintName{testTarget(1), ref}
	seen := make(map[version.Actor]string)
	put := func(name hintName, c version.Context) version.Dot {
		t.Helper()
		return mustPutHint(t, s, name, c, object.Sibling{Value: []byte("v")}).Dot
	}
	last := version.Dot{}
	fresh := func(why string, d version.Dot) {
		t.Helper()
		if was, ok := seen[d.Actor]; ok {
			t.Errorf("%s: actor %v is that of %q", why, d.Actor, was)
		}
		seen[d.Actor], last = why, d
	}
	goesOn := func(why string, d version.Dot) {
		t.Helper()
		if d.Actor != last.Actor || d.Seq <= last.Seq {
			t.Errorf("%s: dot %v after %v", why, d, last)
		}
		last = d
	}
	fresh("data", mustPut(t, s, ref, version.Context{}, "v").Dot)
	fresh("another target", put(hintName{testTarget(2), ref}, version.Context{}))
	fresh("another key", put(hintName{testTarget(1), testRef(1, "l")}, version.Context{}))
	fresh("a hint", put(name, version.Context{}))
	goesOn("again", put(name, version.Context{}))
	goesOn("a context of its own", put(name, hintOf(t, s, name).Context()))
	mustMergeHint(t, s, name, foreign(7, 1, "other"))
	mustMergeHint(t, s, name, hintOf(t, s, name))
	goesOn("another's object", put(name, version.Context{}))
	if dropped, err := s.DropHint(name.target, ref, 1); dropped || err != nil {
		t.Fatal(dropped, err)
	}
	goesOn("a drop that did nothing", put(name, version.Context{}))

	ahead := func() object.Object { return foreign(last.Actor, last.Seq+1, "lost") }
	mustMergeHint(t, s, name, ahead())
	fresh("an object that knows more", put(name, version.Context{}))
	fresh("a context that knows more", put(name, ahead().Context()))
	goesOn("again", put(name, version.Context{}))
	whole := hintOf(t, s, name)
	mustDropHint(t, s, name, whole)
	fresh("after the drop", put(name, version.Context{}))
	for range 2 {
		whole = hintOf(t, s, name)
		mustDropHint(t, s, name, whole)
		mustMergeHint(t, s, name, whole)
		fresh("the dropped object comes back", put(name, version.Context{}))
	}

	mustClose(t, s)
	s = mustOpen(t, o)
	s.Vouch()
	fresh("a clean restart", put(name, version.Context{}))
	o.FS = copyFS(fs)
	mustClose(t, s)
	s = mustOpen(t, o)
	fresh("a crash", put(name, version.Context{}))
	goesOn("again", put(name, version.Context{}))
	mustClose(t, s)
}

// TestHintActorsAreBounded mints for more hints than the store remembers.
func TestHintActorsAreBounded(t *testing.T) {
	a := actors{
		rand: newRand(1), minted: func() {}, reserve: func(uint64) {}, next: 1, limit: 1 << 40,
		hinted: make(map[uint64]version.Dot), seed: maphash.MakeSeed(),
	}
	mint := func(n int, held version.Vector) version.Dot {
		t.Helper()
		row := appendHintKey(nil, testTarget(1), testRef(1, fmt.Sprint(n)))
		d, err := a.mintHint(row, 1, held, nil)
		if err != nil {
			t.Fatal(err)
		}
		a.keep(row, d)
		return d
	}
	const more = 1000
	dots := make([]version.Dot, maxHintActors+more)
	for n := range dots {
		dots[n] = mint(n, nil)
	}
	if len(a.hinted) != maxHintActors {
		t.Errorf("%d hints are remembered, want %d", len(a.hinted), maxHintActors)
	}
	kept := 0
	for n, d := range dots {
		if a.hinted[a.rowID(appendHintKey(nil, testTarget(1), testRef(1, fmt.Sprint(n))))] == d {
			kept++
		}
	}
	if kept != maxHintActors {
		t.Errorf("%d hints are remembered rightly, want %d", kept, maxHintActors)
	}
	d := mint(len(dots)-1, version.Vector{dots[len(dots)-1]}) // the newest is most likely there, and it does not matter
	if again := mint(len(dots)-1, version.Vector{d}); again.Actor != d.Actor {
		t.Error("the last hint is forgotten")
	}
}

// TestHintIDsThatCollide lets two rows of one key stand for each other: the
// actor moves on only to a row that shows all that it minted.
func TestHintIDsThatCollide(t *testing.T) {
	a := actors{
		rand: newRand(2), minted: func() {}, reserve: func(uint64) {}, next: 1, limit: 1 << 40,
		hinted: make(map[uint64]version.Dot), seed: maphash.MakeSeed(),
	}
	row := []byte("both")
	var one, two version.Vector
	mint := func(v *version.Vector) version.Actor {
		t.Helper()
		d, err := a.mintHint(row, 1, *v, nil)
		if err != nil {
			t.Fatal(err)
		}
		a.keep(row, d)
		*v = v.With(d)
		return d.Actor
	}
	first := mint(&one)
	if mint(&one) != first {
		t.Error("a row lost its actor")
	}
	if mint(&two) == first {
		t.Error("two rows share an actor")
	}
	if mint(&one) == first {
		t.Error("a row took back the actor that it had lost")
	}
}

// TestHintActorFromABadSource draws the partition's actor and one that the
// key knows for a hint.
func TestHintActorFromABadSource(t *testing.T) {
	source := bytes.NewReader([]byte{7: 9, 15: 5, 23: 10})
	a := actors{
		rand: source, minted: func() {}, held: map[uint32]tenancy{1: {actor: 5}}, next: 1, limit: 2,
		hinted: make(map[uint64]version.Dot), seed: maphash.MakeSeed(),
	}
	d, err := a.mintHint([]byte("row"), 1, version.Vector{{Actor: 9, Seq: 3}}, nil)
	if err != nil || d.Actor != 10 {
		t.Errorf("minted %v, %v, want actor 10", d, err)
	}
	if _, err := a.mintHint([]byte("row"), 1, nil, nil); err == nil {
		t.Error("an actor out of an empty source")
	}
}
