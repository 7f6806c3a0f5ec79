package store

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"starling/store/object"
	"starling/store/version"
)

var crashSeeds = flag.Int("store.crashseeds", 4, "random histories of TestCrashes")

const (
	crashPartitions = 3
	crashTargets    = 2
	crashKeys       = 8
	crashWriters    = 4
	crashSteps      = 30 // of each writer
)

// attempt is a write that a store took, acknowledged or not.
type attempt struct {
	name    hintName // without a target for data
	value   string
	context version.Context // what it superseded
	behind  []reaped        // what a purge had been tried for when it began
}

// history knows every write that was tried on one directory, over all its
// crashes. It is the oracle of the crash tests. Data and the hints of each
// target are worlds of their own.
type history struct {
	mu        sync.Mutex
	writes    map[version.Dot]attempt
	byName    map[hintName][]version.Dot
	acked     map[version.Dot]bool
	delivered map[hintName]object.Object // what the hints' targets hold
	reaped    map[hintName][]reaped      // what a purge was tried for
	remote    uint64                     // foreign writes so far
}

// reaped is an object that a purge was tried for: if it is not there, what it
// superseded is known to be so, and where the row was to go its siblings are
// dead.
type reaped struct {
	object.Object
	deleted bool
}

func newHistory() *history {
	return &history{
		writes: map[version.Dot]attempt{}, byName: map[hintName][]version.Dot{}, acked: map[version.Dot]bool{},
		delivered: map[hintName]object.Object{}, reaped: map[hintName][]reaped{},
	}
}

// past is what a crash must not undo.
type past struct {
	acked     map[version.Dot]bool
	delivered map[hintName]object.Object
}

// crash cuts the power. What is acknowledged is taken down before, and what is
// delivered after, as a hint may be deleted in between.
func (h *history) crash(cut func() *vfs.MemFS) (*vfs.MemFS, past) {
	p := h.past()
	fs := cut()
	p.delivered = h.past().delivered
	return fs, p
}

// past is what a clean stop must not undo.
func (h *history) past() past {
	h.mu.Lock()
	defer h.mu.Unlock()
	return past{maps.Clone(h.acked), maps.Clone(h.delivered)}
}

// tried records a write under a dot that must be new, and that no object which
// was purged before may be able to destroy. What a store minted after its power was cut
// is on no disk any more, but may have reached a replica.
func (h *history) tried(t testing.TB, d version.Dot, a attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.writes[d]; ok {
		t.Errorf("dot %v was minted twice", d)
	}
	for _, o := range a.behind {
		if o.Vector.Covers(d) {
			t.Errorf("dot %v of %v is taken for one of the purged %v", d, a.name, o.Vector)
		}
	}
	h.writes[d] = a
	h.byName[a.name] = append(h.byName[a.name], d)
}

func (h *history) acknowledge(dots ...version.Dot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range dots {
		h.acked[d] = true
	}
}

// nextRemote makes an object that a replica elsewhere wrote blindly, under an
// actor that wrote nothing else.
func (h *history) nextRemote(t testing.TB, name hintName, value string) object.Object {
	h.mu.Lock()
	h.remote++
	o := foreign(version.Actor(h.remote), 1, value)
	h.mu.Unlock()
	h.tried(t, o.Siblings[0].Dot, attempt{name: name, value: value})
	return o
}

// deliver merges a hint into what its target holds.
func (h *history) deliver(name hintName, o object.Object) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.delivered[name] = object.Merge(h.delivered[name], o)
}

// reap deletes, purges or prunes the data of a key, or brings back what was
// purged. There is no proof that the purge is right, but nobody else has the key.
func (h *history) reap(t testing.TB, s *Store, rng *rand.Rand, ref object.Ref) {
	name := hintName{ref: ref}
	behind := h.reapedOf(name)
	old, err := s.Get(ref)
	if err != nil {
		t.Error(err)
		return
	}
	dead, wait := len(twinDue(object.Object{Siblings: old.Siblings})) > 0, durable
	switch n := rng.IntN(8); {
	case n == 0:
		if len(behind) > 0 {
			_, err = s.Merge(ref, behind[rng.IntN(len(behind))].Object)
		}
	case n == 1 && !dead: // all but what its siblings need
		var v version.Vector
		for _, sib := range old.Siblings {
			v = v.With(version.Dot{Actor: sib.Dot.Actor, Seq: old.Vector.Max(sib.Dot.Actor)})
		}
		h.reaping(name, reaped{old, false})
		_, wait, err = s.Prune(ref, old.Hash(ref.Bucket, ref.Key), v)
	case n < 6 && dead && !old.Absent():
		h.reaping(name, reaped{old, true})
		_, wait, err = s.Purge(ref, old.Hash(ref.Bucket, ref.Key))
	default:
		sib := object.Sibling{Tombstone: n > 3, ModifiedMS: rng.Int64N(100), ExpiresMS: 1 + rng.Int64N(100)}
		var w object.Written
		if w, err = s.Put(ref, old.Context(), sib); err == nil {
			h.tried(t, w.Dot, attempt{name: name, context: old.Context(), behind: behind})
			wait = w.Wait
			defer h.acknowledge(w.Dot)
		}
	}
	if err == nil {
		err = wait()
	}
	if err != nil {
		t.Error(err)
	}
}

// reaping records that a purge is tried for an object.
func (h *history) reaping(name hintName, o reaped) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reaped[name] = append(h.reaped[name], o)
}

// reapedOf lists the objects of a key that a purge was tried for so far.
func (h *history) reapedOf(name hintName) []reaped {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reaped[name]
}

// dead reports whether an object that was purged held the write as one that is
// dead, or knew it to be superseded.
func (h *history) dead(d version.Dot) bool {
	return slices.ContainsFunc(h.reaped[h.writes[d].name], func(o reaped) bool {
		return o.deleted && hasDot(o.Object, d) || h.superseded(o.Object, d)
	})
}

// step does one random write to data or to a hint, and now and then does not
// wait for it.
func (h *history) step(t testing.TB, s *Store, rng *rand.Rand, ref object.Ref) {
	if rng.IntN(4) == 0 {
		h.reap(t, s, rng, ref)
		return
	}
	name, put, merge, read := hintName{ref: ref}, s.Put, s.Merge, s.Get
	if rng.IntN(2) == 0 {
		name.target = testTarget(1 + rng.IntN(crashTargets))
		put = func(ref object.Ref, c version.Context, sib object.Sibling) (object.Written, error) {
			return s.PutHint(name.target, ref, c, sib)
		}
		merge = func(ref object.Ref, o object.Object) (object.Written, error) { return s.MergeHint(name.target, ref, o) }
		read = func(ref object.Ref) (object.Object, error) { return hintOf(t, s, name), nil }
	}
	behind := h.reapedOf(name)
	value := fmt.Sprintf("%d-%s", rng.Uint32(), strings.Repeat("v", rng.IntN(3000)))
	var c version.Context
	old, err := read(ref)
	if err != nil {
		t.Error(err)
		return
	}
	var w object.Written
	switch n := rng.IntN(8); {
	case n < 2 && name.target != [16]byte{}:
		h.deliver(name, old)
		if _, err := s.DropHint(name.target, ref, old.Hash(ref.Bucket, ref.Key)); err != nil {
			t.Error(err)
		}
		return
	case n == 2: // what is there comes back from another replica
		w, err = merge(ref, old)
	case n == 3:
		w, err = merge(ref, h.nextRemote(t, name, value))
	default:
		if rng.IntN(3) > 0 || len(old.Siblings) > 5 {
			c = old.Context()
		}
		w, err = put(ref, c, object.Sibling{Value: []byte(value), Op: object.OpID{byte(rng.Uint32())}})
		if err == nil && w.Changed {
			h.tried(t, w.Dot, attempt{name: name, value: value, context: c, behind: behind})
		}
	}
	if err == nil && rng.IntN(4) > 0 {
		err = w.Wait()
		var dots []version.Dot
		for _, sib := range w.Object.Siblings {
			dots = append(dots, sib.Dot)
		}
		if err == nil {
			h.acknowledge(dots...) // the answer speaks of the whole object
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// check holds a recovered store to the writes that were acknowledged before
// the crash: each is there, or a write that superseded it, or it was purged as
// dead; those to hints may be with their targets instead.
func (h *history) check(t testing.TB, s *Store, p past) {
	t.Helper()
	objects := checkHints(t, s)
	tombstones := int64(0)
	for p := range uint32(crashPartitions) {
		for ref, o := range checkPartition(t, s, p) {
			objects[hintName{ref: ref}] = o
			if onlyTombstones(o) {
				tombstones++
			}
		}
	}
	wantTombstones(t, s, tombstones)
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, o := range objects {
		for _, sib := range o.Siblings {
			if a, ok := h.writes[sib.Dot]; !ok || a.name != name || a.value != string(sib.Value) {
				t.Errorf("%v holds %v with %.20q, which nobody wrote", name, sib.Dot, sib.Value)
			}
		}
	}
	for name, o := range p.delivered {
		objects[name] = object.Merge(o, objects[name])
	}
	for d := range p.acked {
		a := h.writes[d]
		if o := objects[a.name]; !hasDot(o, d) && !h.superseded(o, d) && !h.dead(d) {
			t.Errorf("acknowledged write %v to %v is lost", d, a.name)
		}
	}
}

// superseded reports whether the object covers d because of a put that had
// seen it, directly or over puts that were superseded themselves.
func (h *history) superseded(o object.Object, d version.Dot) bool {
	if !o.Vector.Covers(d) {
		return false
	}
	for _, e := range h.byName[h.writes[d].name] {
		if e != d && h.writes[e].context.Covers(d) && (hasDot(o, e) || h.superseded(o, e)) {
			return true
		}
	}
	return false
}

func randomRef(rng *rand.Rand) object.Ref {
	return testRef(uint32(rng.IntN(crashPartitions)), key(rng.IntN(crashKeys)))
}

// run writes from several goroutines at once, and cuts the power in between.
func (h *history) run(t testing.TB, s *Store, fs *vfs.MemFS, seed uint64) (after *vfs.MemFS, p past) {
	rng := rand.New(rand.NewPCG(seed, 0))
	cut := rng.IntN(crashWriters * crashSteps)
	kept := [...]int{0, 30, 70, 100}[rng.IntN(4)]
	power := func() *vfs.MemFS { return crash(fs, kept, seed) }
	var mu sync.Mutex
	done := 0
	for p := range uint32(crashPartitions) {
		mustRoot(t, s, p)
	}
	var wg sync.WaitGroup
	for g := range crashWriters {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(g+1)))
			for range crashSteps {
				h.step(t, s, rng, randomRef(rng))
				mu.Lock()
				if done++; done == cut {
					after, p = h.crash(power)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for p := range uint32(crashPartitions) {
		mustRoot(t, s, p)
	}
	if after == nil {
		after, p = h.crash(power)
	}
	return after, p
}

// TestCrashes runs random histories of writes, power losses and clean stops;
// -store.crashseeds makes it a search.
func TestCrashes(t *testing.T) {
	for seed := range uint64(*crashSeeds) {
		h := newHistory()
		source := newRand(seed)
		fs := vfs.NewCrashableMem()
		rng := rand.New(rand.NewPCG(seed, 99))
		for boot := range uint64(4) {
			o := hinting(fs)
			o.Rand, o.MemtableBytes, o.Limits.Siblings = source, MinMemtableBytes, -1
			o.Durability = [...]Durability{Sync, Sync, Interval, None}[seed%4]
			s := mustOpen(t, o)
			if got := s.Identity().Boot; got != boot+1 {
				t.Errorf("boot %d, want %d", got, boot+1)
			}
			if rng.IntN(2) == 0 {
				s.Vouch()
			}
			after, p := h.run(t, s, fs, seed*100+boot)
			mustClose(t, s)
			if rng.IntN(4) == 0 {
				after, p = fs, h.past() // a clean stop after all
			} else if o.Durability != Sync {
				p.acked = nil // nothing was promised, but what is there fits together
			}
			fs = after
			o.FS = copyFS(after)
			s = mustOpen(t, o)
			h.check(t, s, p)
			mustClose(t, s)
			h.acked, h.delivered = make(map[version.Dot]bool), p.delivered
			h.acknowledge(slices.Collect(maps.Keys(p.acked))...)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestCrashAtEveryWrite runs one script and cuts the power before each of its
// writes to the file system: from creating the directory to the last close.
func TestCrashAtEveryWrite(t *testing.T) {
	h := newHistory()
	mem := vfs.NewCrashableMem()
	type moment struct {
		fs   *vfs.MemFS
		past past
		what string
		boot uint64 // the last that Open returned
	}
	var mu sync.Mutex
	var moments []moment
	boot := uint64(0)
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
			mu.Lock()
			defer mu.Unlock()
			n := uint64(len(moments))
			after, p := h.crash(func() *vfs.MemFS { return crash(mem, [...]int{0, 50, 100}[n%3], n) })
			moments = append(moments, moment{after, p, fmt.Sprintf("op %d on %s", op.Kind, op.Path), boot})
		}
		return nil
	}))
	source := newRand(1)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2 {
		o := hinting(fs)
		o.Rand = source
		s := mustOpen(t, o)
		mu.Lock()
		boot = s.Identity().Boot
		mu.Unlock()
		for i := range 8 {
			h.step(t, s, rng, testRef(uint32(i%2), key(i%3)))
		}
		if err := s.SaveMeta("m", []byte("saved")); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
	}
	t.Logf("%d moments", len(moments))
	for i, m := range moments {
		o := small(m.fs)
		o.Rand = source
		s, err := Open(o)
		if err != nil {
			t.Fatalf("moment %d, before %s: %v", i, m.what, err)
		}
		if id := s.Identity(); id.Boot <= m.boot {
			t.Errorf("boot %d after boot %d was served", id.Boot, m.boot)
		}
		h.check(t, s, m.past)
		w := mustPut(t, s, testRef(0, "after"), version.Context{}, "v")
		h.tried(t, w.Dot, attempt{name: hintName{ref: testRef(0, "after")}, value: "v"})
		mustClose(t, s)
		if t.Failed() {
			t.Fatalf("moment %d, before %s", i, m.what)
		}
	}
}
