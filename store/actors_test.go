package store

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

// ledger holds the dots that all stores of a test minted: none twice.
type ledger map[version.Dot]bool

func (l ledger) put(t testing.TB, s *Store, ref object.Ref, c version.Context) object.Written {
	t.Helper()
	w := mustPut(t, s, ref, c, "v")
	if l[w.Dot] {
		t.Errorf("dot %v was minted twice", w.Dot)
	}
	l[w.Dot] = true
	return w
}

// fill puts to some partitions and gives the actors by partition.
func (l ledger) fill(t testing.TB, s *Store) [4]version.Actor {
	t.Helper()
	var actors [4]version.Actor
	for p := range actors {
		for i := range 3 {
			w := l.put(t, s, testRef(uint32(p), key(i)), version.Context{})
			if i > 0 && w.Dot.Actor != actors[p] {
				t.Errorf("partition %d changed its actor while it was open", p)
			}
			actors[p] = w.Dot.Actor
		}
	}
	return actors
}

// wantNew fails if an actor of one list is in the other.
func wantNew(t testing.TB, now, before [4]version.Actor) {
	t.Helper()
	for _, a := range now {
		for _, b := range before {
			if a == b {
				t.Errorf("actor %v was used again", a)
			}
		}
	}
}

func TestActorsOverCleanStops(t *testing.T) {
	fs, rand := vfs.NewMem(), newRand(1)
	o := small(fs)
	o.Rand = rand
	l := ledger{}
	boot := func(vouch bool) [4]version.Actor {
		s := mustOpen(t, o)
		defer mustClose(t, s)
		if vouch {
			s.Vouch()
		}
		return l.fill(t, s)
	}
	first := boot(false)
	for p, a := range first {
		for q, b := range first {
			if p != q && a == b {
				t.Error("two partitions share an actor")
			}
		}
	}
	if kept := boot(true); kept != first {
		t.Error("actors were not kept over a clean stop")
	}
	second := boot(false)
	wantNew(t, second, first)
	if boot(true) != second {
		t.Error("actors that were minted before Vouch were not kept")
	}
	// Actors that were inherited and never vouched for are gone at the next
	// boot, used or not: another copy of the directory may have them.
	s := mustOpen(t, o)
	one := l.put(t, s, testRef(0, "k"), version.Context{})
	mustClose(t, s)
	s = openFor(t, o)
	s.Vouch()
	third := l.fill(t, s)
	wantNew(t, [4]version.Actor(append([]version.Actor{one.Dot.Actor}, third[1:]...)), second)
	if third[0] != one.Dot.Actor {
		t.Error("the one actor that could be kept was not")
	}
}

// TestVouchLate vouches for a store that has minted already.
func TestVouchLate(t *testing.T) {
	o := small(vfs.NewMem())
	o.Rand = newRand(2)
	l := ledger{}
	s := mustOpen(t, o)
	first := l.fill(t, s)
	mustClose(t, s)
	s = openFor(t, o)
	early := l.put(t, s, testRef(0, "k"), version.Context{})
	s.Vouch()
	now := l.fill(t, s)
	if early.Dot.Actor == first[0] || now[0] != early.Dot.Actor {
		t.Error("partition 0 must stay with the actor that it took before Vouch")
	}
	for p := 1; p < 4; p++ {
		if now[p] != first[p] {
			t.Errorf("partition %d did not take its kept actor after Vouch", p)
		}
	}
}

func TestActorsAfterCrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := small(fs)
	o.Rand = newRand(3)
	l := ledger{}
	s := mustOpen(t, o)
	first := l.fill(t, s)
	o.FS = copyFS(fs) // nothing is lost, but who knows
	mustClose(t, s)
	s = openFor(t, o)
	if s.Identity().Clean {
		t.Fatal("a crash looks like a clean stop")
	}
	s.Vouch()
	wantNew(t, l.fill(t, s), first)
}

// TestRestoredCopy opens a copy of the directory of a clean stop beside the
// original that went on.
func TestRestoredCopy(t *testing.T) {
	fs := vfs.NewCrashableMem()
	rand := newRand(4)
	l := ledger{}
	open := func(fs *vfs.MemFS) *Store {
		o := small(fs)
		o.Rand = rand
		return mustOpen(t, o)
	}
	s := open(fs)
	l.fill(t, s)
	mustClose(t, s)
	backup := copyFS(fs)

	s = open(fs)
	s.Vouch()
	l.fill(t, s)
	mustClose(t, s)

	// The copy serves without anyone's word, then restarts and gets it.
	s = open(backup)
	if got := s.Identity(); !got.Clean || got.Boot != 2 {
		t.Fatalf("the copy is %+v", got)
	}
	l.fill(t, s)
	mustClose(t, s)
	s = open(backup)
	s.Vouch()
	l.fill(t, s)
	mustClose(t, s)

	// A checkpoint of a running store is no clean stop either.
	s = open(fs)
	s.Vouch()
	before := l.fill(t, s)
	if err := s.Checkpoint("checkpoint"); err != nil {
		t.Fatal(err)
	}
	l.fill(t, s)
	o := small(fs)
	o.Dir, o.Rand = "checkpoint", rand
	c := mustOpen(t, o)
	if a, b := c.Identity(), s.Identity(); a.ID != b.ID || a.Clean {
		t.Errorf("the checkpoint is %+v of %+v", a, b)
	}
	c.Vouch()
	wantNew(t, l.fill(t, c), before)
	for p := range uint32(4) {
		checkPartition(t, c, p)
	}
	mustClose(t, c)
	mustClose(t, s)
}

// TestSequencesOnlyRise checks invariant 5 over blocks, clean stops and crashes.
func TestSequencesOnlyRise(t *testing.T) {
	fs := vfs.NewCrashableMem()
	last := uint64(0)
	for i := range 6 {
		s := mustOpen(t, small(fs))
		put := func() {
			t.Helper()
			w := mustPut(t, s, testRef(1, "k"), mustGet(t, s, testRef(1, "k")).Context(), "v")
			if w.Dot.Seq <= last {
				t.Errorf("boot %d: sequence %d after %d", i+1, w.Dot.Seq, last)
			}
			last = w.Dot.Seq
		}
		put()
		s.actors.next = s.actors.limit - 1 // go to the end of the block
		put()
		put()
		if i%2 == 0 {
			mustClose(t, s)
			continue
		}
		after := crash(fs, 0, uint64(i))
		mustClose(t, s)
		fs = after
	}
}

// TestAmnesia shows a store writes of its own that it does not hold. Its actor
// must not mint on: the new dots would be taken for ones that are superseded.
func TestAmnesia(t *testing.T) {
	ref := testRef(1, "k")
	claim := func(a version.Actor, seq uint64) object.Object { return foreign(a, seq, "lost") }
	show := map[string]func(s *Store, o object.Object) object.Written{
		"merge": func(s *Store, o object.Object) object.Written {
			mustMerge(t, s, ref, o)
			return mustPut(t, s, ref, version.Context{}, "new")
		},
		"context": func(s *Store, o object.Object) object.Written {
			return mustPut(t, s, ref, o.Context(), "new")
		},
	}
	for name, f := range show {
		t.Run(name, func(t *testing.T) {
			s := openFor(t, small(vfs.NewMem()))
			first := mustPut(t, s, ref, version.Context{}, "old")
			// Its own object coming back is no news.
			a := first.Dot.Actor
			if w := f(s, first.Object); w.Dot.Actor != a {
				t.Fatal("the actor was given up for nothing")
			}
			for _, ahead := range []uint64{1, 1 << 40} {
				lost := claim(a, mustGet(t, s, ref).Vector.Max(a)+ahead)
				w := f(s, lost)
				if w.Dot.Actor == a {
					t.Error("an actor that forgot a write minted on")
				}
				// Whoever holds the lost write keeps the new one.
				if o := object.Merge(lost, w.Object); !hasDot(o, w.Dot) {
					t.Error("the new write is lost in a merge")
				}
				a = w.Dot.Actor
			}
		})
	}
}

func hasDot(o object.Object, d version.Dot) bool {
	for _, s := range o.Siblings {
		if s.Dot == d {
			return true
		}
	}
	return false
}

// TestAmnesiaBeforeVouch shows that an inherited actor is given up as well.
func TestAmnesiaBeforeVouch(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, small(fs))
	first := mustPut(t, s, testRef(1, "k"), version.Context{}, "v")
	mustClose(t, s)
	s = openFor(t, small(fs))
	mustMerge(t, s, testRef(1, "k"), foreign(first.Dot.Actor, first.Dot.Seq+5, "lost"))
	s.Vouch()
	if w := mustPut(t, s, testRef(1, "other"), version.Context{}, "v"); w.Dot.Actor == first.Dot.Actor {
		t.Error("an inherited actor that forgot a write minted on")
	}
}

// TestActorFromABadSource draws zero, which is no actor, and one that the key
// knows already.
func TestActorFromABadSource(t *testing.T) {
	source := bytes.NewReader([]byte{7: 0, 15: 9, 23: 10})
	a := actors{rand: source, minted: func() {}, held: map[uint32]tenancy{}, next: 1, limit: 2}
	d, err := a.mint(nil, 1, version.Vector{{Actor: 9, Seq: 3}}, nil)
	if err != nil || d.Actor != 10 {
		t.Errorf("minted %v, %v, want actor 10", d, err)
	}
	if _, err := a.mint(nil, 2, nil, nil); err == nil {
		t.Error("an actor out of an empty source")
	}
}
