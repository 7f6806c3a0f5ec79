package store

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

// reborn is a store that goes through restarts, and every object that its key
// ever had.
type reborn struct {
	t     *testing.T
	fs    *vfs.MemFS
	o     Options
	s     *Store
	ref   object.Ref
	dots  ledger
	dead  []object.Object
	actor version.Actor
}

func newReborn(t *testing.T) *reborn {
	r := &reborn{t: t, fs: vfs.NewCrashableMem(), ref: testRef(1, "k"), dots: ledger{}}
	r.o = small(r.fs)
	r.o.Rand = newRand(1)
	r.s = mustOpen(t, r.o)
	t.Cleanup(func() { mustClose(t, r.s) })
	return r
}

// restart ends the store and opens it again.
func (r *reborn) restart(clean, vouch bool) {
	r.t.Helper()
	after := r.fs
	if !clean {
		after = copyFS(r.fs)
	}
	mustClose(r.t, r.s)
	r.fs, r.o.FS = after, after
	r.s = mustOpen(r.t, r.o)
	if vouch {
		r.s.Vouch()
	}
}

// put puts a value, which none of the objects that were purged may be able to
// destroy, in whatever order they are merged. It reports whether the actor is
// that of the last put.
func (r *reborn) put(c version.Context) (sameActor bool) {
	r.t.Helper()
	w := r.dots.put(r.t, r.s, r.ref, c)
	for _, dead := range r.dead {
		if dead.Vector.Covers(w.Dot) {
			r.t.Errorf("the dot %v is taken for one of %v", w.Dot, dead.Vector)
		}
		for _, o := range []object.Object{object.Merge(dead, w.Object), object.Merge(w.Object, dead)} {
			if !hasDot(o, w.Dot) {
				r.t.Errorf("merged with %v the new value is lost", dead.Vector)
			}
		}
	}
	sameActor = r.actor == w.Dot.Actor
	r.actor = w.Dot.Actor
	return sameActor
}

// purge deletes the key, twice as a busy one, and purges it.
func (r *reborn) purge() {
	r.t.Helper()
	o := mustDelete(r.t, r.s, r.ref, 1).Object
	r.actor = o.Siblings[0].Dot.Actor
	mustPurge(r.t, r.s, r.ref, o)
	r.dead = append(r.dead, o)
}

func (r *reborn) lastDead() object.Object { return r.dead[len(r.dead)-1] }

// TestActorsAfterPurge purges a key and puts it again, after all that may
// happen in between: a new dot must never be taken for an old one. Where the
// store remembers the purge, the actor is kept too.
func TestActorsAfterPurge(t *testing.T) {
	between := map[string]func(r *reborn){
		"nothing":                      func(*reborn) {},
		"clean restart":                func(r *reborn) { r.restart(true, true) },
		"clean restart, not vouched":   func(r *reborn) { r.restart(true, false) },
		"unclean restart":              func(r *reborn) { r.restart(false, true) },
		"clean, then unclean restart":  func(r *reborn) { r.restart(true, true); r.restart(false, true) },
		"another key written":          func(r *reborn) { r.dots.put(r.t, r.s, testRef(1, "other"), version.Context{}) },
		"partition dropped and filled": func(r *reborn) { r.drop() },
	}
	keeps := map[string]bool{"nothing": true, "another key written": true}
	again := map[string]func(r *reborn) bool{
		"put":            func(r *reborn) bool { return r.put(version.Context{}) },
		"put as deleted": func(r *reborn) bool { return r.put(r.lastDead().Context()) },
		"tombstone back, put": func(r *reborn) bool {
			mustMerge(r.t, r.s, r.ref, r.lastDead())
			return r.put(version.Context{})
		},
		"put, tombstone back, put": func(r *reborn) bool {
			same := r.put(version.Context{})
			mustMerge(r.t, r.s, r.ref, r.lastDead())
			return r.put(version.Context{}) && same
		},
		"tombstone back, purged again, put": func(r *reborn) bool {
			mustMerge(r.t, r.s, r.ref, r.lastDead())
			mustPurge(r.t, r.s, r.ref, r.lastDead())
			return r.put(version.Context{})
		},
		"first tombstone back, put as deleted": func(r *reborn) bool {
			mustMerge(r.t, r.s, r.ref, r.dead[0])
			mustPurge(r.t, r.s, r.ref, r.dead[0])
			return r.put(r.lastDead().Context())
		},
	}
	for name, between := range between {
		for what, again := range again {
			t.Run(name+"/"+what, func(t *testing.T) {
				r := newReborn(t)
				r.put(version.Context{})
				r.purge()
				r.put(version.Context{})
				r.purge()
				between(r)
				if same := again(r); keeps[name] && !same {
					t.Error("the actor was given up though it forgot nothing")
				}
				checkPartition(t, r.s, 1)
			})
		}
	}
}

// drop loses the partition, with a fresh copy of it taken elsewhere.
func (r *reborn) drop() {
	if err := r.s.DropPartition(1); err != nil {
		r.t.Fatal(err)
	}
	mustMerge(r.t, r.s, testRef(1, "other"), foreign(9, 1, "v"))
}

// TestAmnesiaAfterPurge shows a store more of its writes than it purged.
func TestAmnesiaAfterPurge(t *testing.T) {
	other := testRef(1, "other")
	for name, show := range map[string]func(r *reborn, d version.Dot){
		"of the key":            func(r *reborn, d version.Dot) { mustMerge(r.t, r.s, r.ref, foreign(d.Actor, d.Seq+1, "lost")) },
		"of the key, far ahead": func(r *reborn, d version.Dot) { mustMerge(r.t, r.s, r.ref, foreign(d.Actor, d.Seq+1<<40, "lost")) },
		"of another key":        func(r *reborn, d version.Dot) { mustMerge(r.t, r.s, other, foreign(d.Actor, d.Seq, "lost")) },
		"in a context":          func(r *reborn, d version.Dot) { mustPut(r.t, r.s, other, r.lastDead().Context(), "v") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newReborn(t)
			r.put(version.Context{})
			r.purge()
			show(r, r.lastDead().Siblings[0].Dot)
			if r.put(version.Context{}) {
				t.Error("an actor that forgot a write minted on")
			}
		})
	}
}

// TestReapedAreBounded purges more keys than the store remembers, some again.
func TestReapedAreBounded(t *testing.T) {
	a := actors{held: map[uint32]tenancy{1: {actor: 5}}, reaped: map[uint64]version.Dot{}, seed: newRecent().seed}
	for i := range maxReaped - 100 {
		a.reaped[uint64(i)] = version.Dot{Actor: 5, Seq: 3}
	}
	for i := range 200 {
		a.purged([]byte(key(i)), 1, version.Vector{{Actor: 5, Seq: 3}})
		a.purged([]byte(key(i)), 1, version.Vector{{Actor: 5, Seq: 2}}) // an older object came back
	}
	a.purged([]byte("foreign"), 1, version.Vector{{Actor: 6, Seq: 3}})
	a.purged([]byte("nobody's"), 2, version.Vector{{Actor: 5, Seq: 3}})
	if len(a.reaped) != maxReaped {
		t.Errorf("%d purged keys are remembered, want %d", len(a.reaped), maxReaped)
	}
	for _, d := range a.reaped {
		if d != (version.Dot{Actor: 5, Seq: 3}) {
			t.Fatalf("the last dot is %v", d)
		}
	}
}

// TestPruneOwnActor takes the entry of the actor itself out of an object that
// it goes on to write to.
func TestPruneOwnActor(t *testing.T) {
	r := newReborn(t)
	r.put(version.Context{})
	o := mustMerge(t, r.s, r.ref, object.Object{
		Vector:   mustGet(t, r.s, r.ref).Vector.With(version.Dot{Actor: 9, Seq: 1}),
		Siblings: []object.Sibling{{Dot: version.Dot{Actor: 9, Seq: 1}, Value: []byte("over it")}},
	}).Object
	pruned, _, err := r.s.Prune(r.ref, o.Hash("b", "k"), version.Vector{{Actor: 9, Seq: 1}})
	if !pruned || err != nil {
		t.Fatal(pruned, err)
	}
	r.dead = append(r.dead, o)
	if !r.put(version.Context{}) {
		t.Error("the actor was given up")
	}
	mustMerge(t, r.s, r.ref, o)
	r.put(version.Context{})
	wantValues(t, mustGet(t, r.s, r.ref), "over it", "v", "v")
}
