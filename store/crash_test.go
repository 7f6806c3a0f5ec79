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
	crashKeys       = 8
	crashWriters    = 4
	crashSteps      = 30 // of each writer
)

// attempt is a write that a store took, acknowledged or not.
type attempt struct {
	ref     object.Ref
	value   string
	context version.Context // what it superseded
}

// history knows every write that was tried on one directory, over all its
// crashes. It is the oracle of the crash tests.
type history struct {
	mu     sync.Mutex
	writes map[version.Dot]attempt
	byRef  map[object.Ref][]version.Dot
	acked  map[version.Dot]bool
	remote uint64 // foreign writes so far
}

func newHistory() *history {
	return &history{writes: map[version.Dot]attempt{}, byRef: map[object.Ref][]version.Dot{}, acked: map[version.Dot]bool{}}
}

// tried records a write under a dot that must be new. What a store minted after
// its power was cut is on no disk any more, but may have reached a replica.
func (h *history) tried(t testing.TB, d version.Dot, a attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.writes[d]; ok {
		t.Errorf("dot %v was minted twice", d)
	}
	h.writes[d] = a
	h.byRef[a.ref] = append(h.byRef[a.ref], d)
}

func (h *history) acknowledge(dots ...version.Dot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range dots {
		h.acked[d] = true
	}
}

// acknowledged is a copy of what was acknowledged up to now.
func (h *history) acknowledged() map[version.Dot]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[version.Dot]bool, len(h.acked))
	for d := range h.acked {
		out[d] = true
	}
	return out
}

// nextRemote makes an object that a replica elsewhere wrote blindly, under an
// actor that wrote nothing else.
func (h *history) nextRemote(t testing.TB, ref object.Ref, value string) object.Object {
	h.mu.Lock()
	h.remote++
	o := foreign(version.Actor(h.remote), 1, value)
	h.mu.Unlock()
	h.tried(t, o.Siblings[0].Dot, attempt{ref: ref, value: value})
	return o
}

// step does one random write, and now and then does not wait for it.
func (h *history) step(t testing.TB, s *Store, rng *rand.Rand, ref object.Ref) {
	value := fmt.Sprintf("%d-%s", rng.Uint32(), strings.Repeat("v", rng.IntN(3000)))
	var c version.Context
	old, err := s.Get(ref)
	if err != nil {
		t.Error(err)
		return
	}
	var w object.Written
	switch rng.IntN(6) {
	case 0: // what is there comes back from another replica
		w, err = s.Merge(ref, old)
	case 1:
		w, err = s.Merge(ref, h.nextRemote(t, ref, value))
	default:
		if rng.IntN(3) > 0 || len(old.Siblings) > 5 {
			c = old.Context()
		}
		w, err = s.Put(ref, c, object.Sibling{Value: []byte(value), Op: object.OpID{byte(rng.Uint32())}})
		if err == nil && w.Changed {
			h.tried(t, w.Dot, attempt{ref: ref, value: value, context: c})
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
// the crash: each is there, or a write that superseded it.
func (h *history) check(t testing.TB, s *Store, acked map[version.Dot]bool) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	objects := make(map[object.Ref]object.Object)
	for p := range uint32(crashPartitions) {
		for ref, o := range checkPartition(t, s, p) {
			objects[ref] = o
			for _, sib := range o.Siblings {
				if a, ok := h.writes[sib.Dot]; !ok || a.ref != ref || a.value != string(sib.Value) {
					t.Errorf("%v holds %v with %.20q, which nobody wrote", ref, sib.Dot, sib.Value)
				}
			}
		}
	}
	for d := range acked {
		a := h.writes[d]
		if o := objects[a.ref]; !hasDot(o, d) && !h.superseded(o, d) {
			t.Errorf("acknowledged write %v to %v is lost", d, a.ref)
		}
	}
}

// superseded reports whether the object covers d because of a put that had
// seen it, directly or over puts that were superseded themselves.
func (h *history) superseded(o object.Object, d version.Dot) bool {
	if !o.Vector.Covers(d) {
		return false
	}
	for _, e := range h.byRef[h.writes[d].ref] {
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
func (h *history) run(t testing.TB, s *Store, fs *vfs.MemFS, seed uint64) (after *vfs.MemFS, acked map[version.Dot]bool) {
	rng := rand.New(rand.NewPCG(seed, 0))
	cut := rng.IntN(crashWriters * crashSteps)
	kept := [...]int{0, 30, 70, 100}[rng.IntN(4)]
	var mu sync.Mutex
	done := 0
	var wg sync.WaitGroup
	for g := range crashWriters {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(g+1)))
			for range crashSteps {
				h.step(t, s, rng, randomRef(rng))
				mu.Lock()
				if done++; done == cut {
					acked = h.acknowledged()
					after = crash(fs, kept, seed)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if after == nil {
		acked = h.acknowledged()
		after = crash(fs, kept, seed)
	}
	return after, acked
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
			o := small(fs)
			o.Rand, o.MemtableBytes, o.Limits.Siblings = source, MinMemtableBytes, -1
			o.Durability = [...]Durability{Sync, Sync, Interval, None}[seed%4]
			s := mustOpen(t, o)
			if got := s.Identity().Boot; got != boot+1 {
				t.Errorf("boot %d, want %d", got, boot+1)
			}
			if rng.IntN(2) == 0 {
				s.Vouch()
			}
			after, acked := h.run(t, s, fs, seed*100+boot)
			mustClose(t, s)
			if rng.IntN(4) == 0 {
				after, acked = fs, h.acknowledged() // a clean stop after all
			} else if o.Durability != Sync {
				acked = nil // nothing was promised, but what is there fits together
			}
			fs = after
			o.FS = copyFS(after)
			s = mustOpen(t, o)
			h.check(t, s, acked)
			mustClose(t, s)
			h.acked = make(map[version.Dot]bool)
			h.acknowledge(slices.Collect(maps.Keys(acked))...)
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
		fs    *vfs.MemFS
		acked map[version.Dot]bool
		what  string
		boot  uint64 // the last that Open returned
	}
	var mu sync.Mutex
	var moments []moment
	boot := uint64(0)
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
			mu.Lock()
			defer mu.Unlock()
			n := uint64(len(moments))
			moments = append(moments, moment{crash(mem, [...]int{0, 50, 100}[n%3], n), h.acknowledged(), fmt.Sprintf("op %d on %s", op.Kind, op.Path), boot})
		}
		return nil
	}))
	source := newRand(1)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2 {
		o := small(fs)
		o.Rand = source
		s := mustOpen(t, o)
		mu.Lock()
		boot = s.Identity().Boot
		mu.Unlock()
		for i := range 5 {
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
		h.check(t, s, m.acked)
		w := mustPut(t, s, testRef(0, "after"), version.Context{}, "v")
		h.tried(t, w.Dot, attempt{ref: testRef(0, "after"), value: "v"})
		mustClose(t, s)
		if t.Failed() {
			t.Fatalf("moment %d, before %s", i, m.what)
		}
	}
}
