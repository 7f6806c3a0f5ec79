package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

func TestPutAndGet(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	ref := testRef(1, "k")
	if o := mustGet(t, s, ref); !o.Absent() {
		t.Fatalf("a key never written is %+v", o)
	}
	first := mustPut(t, s, ref, version.Context{}, "one")
	mustPut(t, s, ref, version.Context{}, "two") // has seen nothing: a sibling
	o := mustGet(t, s, ref)
	wantValues(t, o, "one", "two")
	if first.Dot.Seq == 0 || !o.Vector.Covers(first.Dot) || !first.Changed {
		t.Errorf("first put was %+v", first)
	}
	w := mustPut(t, s, ref, o.Context(), "three")
	wantValues(t, w.Object, "three")
	wantValues(t, mustGet(t, s, ref), "three")
	w, err := s.Put(ref, w.Object.Context(), object.Sibling{Tombstone: true, ModifiedMS: 5, Meta: []object.Field{{Name: "a", Value: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	if o := mustGet(t, s, ref); !o.Siblings[0].Tombstone || o.Siblings[0].ModifiedMS != 5 || o.Siblings[0].Meta[0].Value != "b" {
		t.Errorf("tombstone came back as %+v", o)
	}
	if err := w.Wait(); err != nil {
		t.Error(err)
	}
	checkPartition(t, s, 1)
}

// TestObjectsAreOwn checks that an object stays as it was when the engine's
// memory under it changes.
func TestObjectsAreOwn(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	ref := testRef(1, "k")
	var kept []object.Object
	for i := range 8 {
		w := mustPut(t, s, ref, version.Context{}, strings.Repeat(fmt.Sprint(i), 2000))
		kept = append(kept, w.Object)
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		m := mustMerge(t, s, ref, foreign(9, uint64(i+1), "f"))
		retry := mustMerge(t, s, ref, object.Object{})
		kept = append(kept, m.Object, retry.Object, mustGet(t, s, ref))
	}
	for _, o := range kept {
		for _, sib := range o.Siblings {
			v := string(sib.Value)
			if v != "f" && v != strings.Repeat(v[:1], 2000) {
				t.Fatalf("a value changed under its reader: %.20q", v)
			}
		}
	}
}

func TestBounds(t *testing.T) {
	o := small(vfs.NewMem())
	o.Partitions = 16
	o.Limits = object.Limits{Siblings: 2, Bytes: 1000}
	s := openFor(t, o)
	name := appendDataKey(nil, testRef(0, "k"))
	right := uint32(nameHash(name) >> 60)
	for _, bad := range []object.Ref{
		{Partition: right ^ 1, Bucket: "b", Key: "k"},
		{Partition: 16, Bucket: "b", Key: "k"},
		{Partition: MaxPartitions, Bucket: "b", Key: "k"},
		{Bucket: "", Key: "k"},
		{Bucket: "b", Key: ""},
		{Bucket: "a\x00b", Key: "k"},
		{Bucket: strings.Repeat("b", MaxBucketBytes+1), Key: "k"},
		{Bucket: "b", Key: strings.Repeat("k", MaxKeyBytes+1)},
	} {
		_, err := s.Put(bad, version.Context{}, object.Sibling{})
		wantError(t, err, ErrInvalid)
		_, err = s.Get(bad)
		wantError(t, err, ErrInvalid)
		_, err = s.Merge(bad, foreign(1, 1, "v"))
		wantError(t, err, ErrInvalid)
	}
	ref := testRef(right, "k")
	mustPut(t, s, ref, version.Context{}, "1")
	mustPut(t, s, ref, version.Context{}, "2")
	_, err := s.Put(ref, version.Context{}, object.Sibling{})
	wantError(t, err, object.ErrTooManySiblings)
	_, err = s.Put(ref, mustGet(t, s, ref).Context(), object.Sibling{Value: make([]byte, 2000)})
	wantError(t, err, object.ErrTooLarge)
	// A merge never refuses what another replica acknowledged.
	mustMerge(t, s, ref, foreign(1, 1, strings.Repeat("m", 2000)))
	if n := len(mustGet(t, s, ref).Siblings); n != 3 {
		t.Errorf("%d siblings after the merge, want 3", n)
	}
	checkPartition(t, s, right)
}

// TestRetries tries puts again, with the sibling still there and superseded.
func TestRetries(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, small(fs))
	ref, other := testRef(1, "k"), testRef(1, "other")
	put := func(ref object.Ref, c version.Context, n int) object.Written {
		t.Helper()
		w, err := s.Put(ref, c, object.Sibling{Op: op(n), Value: []byte(fmt.Sprint(n))})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Wait(); err != nil {
			t.Fatal(err)
		}
		return w
	}
	same := func(w, first object.Written) {
		t.Helper()
		if w.Changed || w.Dot != first.Dot {
			t.Errorf("retry is %v changed %v, want %v", w.Dot, w.Changed, first.Dot)
		}
	}
	first := put(ref, version.Context{}, 1)
	same(put(ref, version.Context{}, 1), first)
	if w := put(other, version.Context{}, 1); !w.Changed || w.Dot == first.Dot {
		t.Error("the same operation on another key was taken for a retry")
	}
	second := put(ref, first.Object.Context(), 2)
	same(put(ref, version.Context{}, 1), first) // superseded, but remembered
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
	same(put(ref, version.Context{}, 2), second)
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
		r.add(id(i), version.Dot{Actor: 1, Seq: uint64(i + 1)})
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

// TestHotKey writes to one key from many goroutines: every write must end up
// as a sibling or be covered by the merge that it is in.
func TestHotKey(t *testing.T) {
	const writers, each = 8, 25
	o := small(vfs.NewMem())
	o.Limits.Siblings = -1
	s := openFor(t, o)
	ref := testRef(1, "hot")
	var wg sync.WaitGroup
	var mu sync.Mutex
	want := []string{}
	dots := make(map[version.Dot]bool)
	for g := range writers {
		wg.Go(func() {
			for i := range each {
				v := fmt.Sprintf("%d-%d", g, i)
				var w object.Written
				var err error
				if i%2 == 0 {
					w, err = s.Put(ref, version.Context{}, object.Sibling{Value: []byte(v), Op: op(g*1000 + i)})
				} else {
					w, err = s.Merge(ref, foreign(version.Actor(100+g), uint64(i), v))
				}
				if err == nil {
					err = w.Wait()
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if i%2 == 0 && dots[w.Dot] {
					t.Errorf("dot %v twice", w.Dot)
				}
				dots[w.Dot] = true
				// A foreign actor's next object supersedes its last here, as
				// its vector covers it.
				if i%2 == 0 || i+2 >= each {
					want = append(want, v)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(want)
	got := mustGet(t, s, ref)
	wantValues(t, got, want...)
	checkPartition(t, s, 1)
}

// TestAgainstModel runs random puts and merges and holds the store to the pure
// functions of package object after each.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 1))
		o := small(vfs.NewMem())
		o.MemtableBytes = MinMemtableBytes
		s := mustOpen(t, o)
		model := make(map[object.Ref]object.Object)
		remote := make(map[object.Ref]object.Object) // another replica, that sometimes hears from us
		for step := range 300 {
			ref := testRef(uint32(rng.IntN(3)), key(rng.IntN(12)))
			value := fmt.Sprintf("%d-%s", step, strings.Repeat("x", rng.IntN(1500)))
			switch rng.IntN(5) {
			case 0, 1:
				c := randomContext(rng, model[ref])
				w := mustPut(t, s, ref, c, value)
				want, err := model[ref].Update(c, object.Sibling{Dot: w.Dot, Value: []byte(value)}, object.Limits{})
				if err != nil {
					t.Fatal(err)
				}
				model[ref] = want
				same(t, w.Object, want)
			case 2:
				next, err := remote[ref].Update(randomContext(rng, remote[ref]),
					object.Sibling{Dot: version.Dot{Actor: 5, Seq: uint64(step + 1)}, Value: []byte(value)}, object.Limits{})
				if err != nil {
					t.Fatal(err)
				}
				remote[ref] = next
			case 3:
				w := mustMerge(t, s, ref, remote[ref])
				want := object.Merge(model[ref], remote[ref])
				if w.Changed == want.Equal(model[ref]) {
					t.Fatalf("merge says changed %v", w.Changed)
				}
				model[ref] = want
				same(t, w.Object, want)
			default:
				remote[ref] = object.Merge(remote[ref], model[ref])
			}
			same(t, mustGet(t, s, ref), model[ref])
		}
		for p := range uint32(3) {
			got := checkPartition(t, s, p)
			for ref, want := range model {
				if ref.Partition == p {
					same(t, got[ref], want)
					delete(got, ref)
				}
			}
			if len(got) > 0 {
				t.Errorf("objects out of nowhere: %v", got)
			}
		}
		mustClose(t, s)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func randomContext(rng *rand.Rand, o object.Object) version.Context {
	switch rng.IntN(3) {
	case 0:
		return version.Context{}
	case 1:
		return o.Context()
	}
	var unseen []version.Dot
	for _, s := range o.Siblings {
		if rng.IntN(2) == 0 {
			unseen = append(unseen, s.Dot)
		}
	}
	return version.Without(o.Vector, unseen)
}

// same fails unless two objects are equal in all that they hold.
func same(t *testing.T, got, want object.Object) {
	t.Helper()
	if !got.Equal(want) || string(encode(got)) != string(encode(want)) {
		t.Fatalf("object is %+v, want %+v", got, want)
	}
}

func encode(o object.Object) []byte { return o.Append(nil) }

// TestMergeOrder gives the same objects to stores in different orders, some
// twice: all must end up equal.
func TestMergeOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	ref := testRef(1, "k")
	var all []object.Object
	var replicas [3]object.Object
	for i := range 30 {
		n := rng.IntN(3)
		r := &replicas[n]
		if rng.IntN(3) == 0 {
			*r = object.Merge(*r, replicas[rng.IntN(3)])
		}
		next, err := r.Update(randomContext(rng, *r), object.Sibling{
			Dot: version.Dot{Actor: version.Actor(n + 1), Seq: uint64(i + 1)}, Value: []byte(fmt.Sprint(i)),
		}, object.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		*r = next
		all = append(all, next)
	}
	var want object.Object
	for _, o := range all {
		want = object.Merge(want, o)
	}
	var hashes []Leaf
	for range 4 {
		s := openFor(t, small(vfs.NewMem()))
		twice := append(slices.Clone(all), all[:10]...)
		rng.Shuffle(len(twice), func(i, j int) { twice[i], twice[j] = twice[j], twice[i] })
		for _, o := range twice {
			mustMerge(t, s, ref, o)
		}
		same(t, mustGet(t, s, ref), want)
		leaves, err := s.Leaves(1)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, leaves...)
	}
	for i := LeafCount; i < len(hashes); i++ {
		if hashes[i] != hashes[i%LeafCount] {
			t.Fatal("equal stores have different leaves")
		}
	}
}
