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
