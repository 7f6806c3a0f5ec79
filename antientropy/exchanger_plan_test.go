package antientropy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"starling/antientropy/merkle"
	"starling/store/object"
	"starling/store/version"
)

// someListing is a random replica of a few keys, and each with a vector that is
// equal to, above, below or beside that of the same key in another listing.
func someListing(rng *rand.Rand) []listedKey {
	var keys []listedKey
	for leaf := range uint16(3) {
		for k := range 6 {
			if rng.IntN(3) == 0 {
				continue
			}
			ref := object.Ref{Partition: 7, Bucket: fmt.Sprint("b", k%2), Key: fmt.Sprintf("%d-%d", 9-leaf, k)}
			var v version.Vector
			for actor := range 2 {
				v = v.With(version.Dot{Actor: version.Actor(actor), Seq: uint64(rng.IntN(3))})
			}
			hash := uint64(1)
			for _, d := range v {
				hash = hash*31 + uint64(d.Actor)*7 + d.Seq
			}
			if rng.IntN(8) == 0 {
				hash++ // the same vector, other siblings
			}
			keys = append(keys, listedKey{leaf, KeyDigest{Ref: ref, Hash: hash, Vector: v}})
		}
	}
	slices.SortFunc(keys, func(a, b listedKey) int { return a.position().Compare(b.position()) })
	return keys
}

// naivePlan says the same without any order: each key by itself.
func naivePlan(mine, theirs []listedKey) map[object.Ref]string {
	plan := map[object.Ref]string{}
	find := func(keys []listedKey, k listedKey) *listedKey {
		for i := range keys {
			if keys[i].leaf == k.leaf && keys[i].Ref == k.Ref {
				return &keys[i]
			}
		}
		return nil
	}
	knows := func(a, b version.Vector) bool { // a knows all that b knows
		for _, d := range b {
			if a.Max(d.Actor) < d.Seq {
				return false
			}
		}
		return true
	}
	for _, k := range mine {
		if find(theirs, k) == nil {
			plan[k.Ref] = "push"
		}
	}
	for _, k := range theirs {
		m := find(mine, k)
		switch {
		case m == nil:
			plan[k.Ref] = "fetch"
		case m.Hash == k.Hash:
		case knows(k.Vector, m.Vector) && !knows(m.Vector, k.Vector):
			plan[k.Ref] = "fetch"
		case knows(m.Vector, k.Vector) && !knows(k.Vector, m.Vector):
			plan[k.Ref] = "push"
		default:
			plan[k.Ref] = "both"
		}
	}
	return plan
}

// page is a listing from behind a position, of so many keys at most, as the
// two sides get theirs.
func page(keys []listedKey, after KeyPosition, most int) listing {
	from := slices.IndexFunc(keys, func(k listedKey) bool { return k.position().Compare(after) > 0 })
	if from < 0 {
		return listing{}
	}
	rest := keys[from:]
	n := min(most, len(rest))
	return listing{keys: rest[:n], more: n == most}
}

func TestPlansInPagesAreThoseOfTheNaiveTwin(t *testing.T) {
	const seed = 21
	rng := rand.New(rand.NewPCG(seed, 0))
	seen := map[string]int{}
	for n := range 600 {
		mine, theirs := someListing(rng), someListing(rng)
		want := naivePlan(mine, theirs)
		got := map[object.Ref]string{}
		myPage, theirPage := 1+rng.IntN(8), 1+rng.IntN(8)
		var after KeyPosition
		for pages := 0; ; pages++ {
			if pages > 100 {
				t.Fatalf("seed %d, case %d: the plan does not end", seed, n)
			}
			p := planKeys(page(mine, after, myPage), page(theirs, after, theirPage))
			for what, refs := range map[string][]object.Ref{"fetch": p.fetch, "push": p.push, "both": p.both} {
				for _, ref := range refs {
					if got[ref] != "" {
						t.Fatalf("seed %d, case %d: %v is planned twice", seed, n, ref)
					}
					got[ref] = what
					seen[what]++
				}
			}
			if !p.more {
				break
			}
			if p.upTo.Compare(after) <= 0 {
				t.Fatalf("seed %d, case %d: no progress", seed, n)
			}
			after = p.upTo
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("seed %d, case %d:\ngot  %v\nwant %v", seed, n, got, want)
		}
	}
	if len(seen) != 3 || min(seen["fetch"], seen["push"], seen["both"]) < 150 {
		t.Fatalf("planned %v: the test is empty", seen)
	}
}

// Where objects are exchanged as planned, both sides hold the merge.
func TestAPlanCarriedOutMakesBothSidesEqual(t *testing.T) {
	const seed = 22
	rng := rand.New(rand.NewPCG(seed, 0))
	for n := range 500 {
		ref := object.Ref{Bucket: "b", Key: "k"}
		var sides [2]object.Object
		for seq := range uint64(rng.IntN(8)) {
			i := rng.IntN(2)
			if rng.IntN(3) == 0 {
				sides[i] = object.Merge(sides[0], sides[1])
			}
			s := object.Sibling{Dot: version.Dot{Actor: version.Actor(i + 1), Seq: seq + 1}}
			c := version.Context{}
			if rng.IntN(2) == 0 {
				c = sides[i].Context()
			}
			var err error
			if sides[i], err = sides[i].Update(c, s, object.Limits{}); err != nil {
				t.Fatal(err)
			}
		}
		list := func(o object.Object) (l listing) {
			if !o.Absent() {
				l.keys = []listedKey{{0, KeyDigest{Ref: ref, Hash: o.Hash("b", "k"), Vector: o.Vector}}}
			}
			return l
		}
		want := object.Merge(sides[0], sides[1])
		p := planKeys(list(sides[0]), list(sides[1]))
		if len(p.fetch)+len(p.both) > 0 {
			sides[0] = object.Merge(sides[0], sides[1])
		}
		if len(p.push)+len(p.both) > 0 {
			sides[1] = object.Merge(sides[1], sides[0])
		}
		if !sides[0].Equal(want) || !sides[1].Equal(want) || p.differences() > 1 {
			t.Fatalf("seed %d, case %d: %+v leaves %+v and %+v", seed, n, p, sides[0], sides[1])
		}
	}
}

func TestPagesAreCheckedAgainstTheirRequest(t *testing.T) {
	key := func(leaf uint16, name string) LeafKeys {
		return LeafKeys{Leaf: leaf, Keys: []KeyDigest{{Ref: object.Ref{Partition: 7, Bucket: "b", Key: name}, Hash: 1}}}
	}
	req := KeysRequest{Claim: Claim{Partition: 7}, Inner: 1 | 1<<31, After: KeyPosition{Leaf: 3, Ref: object.Ref{Partition: 7, Bucket: "b", Key: "k"}}}
	last := uint16(merkle.Leaves - 1)
	for name, leaves := range map[string][]LeafKeys{
		"leaf before":          {key(2, "z")},
		"leaf not asked for":   {key(40, "a")},
		"leaf beyond the last": {key(merkle.Leaves, "a")},
		"leaf twice":           {key(3, "l"), key(3, "m")},
		"key at the position":  {key(3, "k")},
		"absent key":           {{Leaf: 4, Keys: []KeyDigest{{Ref: object.Ref{Partition: 7, Bucket: "b", Key: "a"}}}}},
		"other partition":      {{Leaf: 4, Keys: []KeyDigest{{Ref: object.Ref{Partition: 8, Bucket: "b", Key: "a"}, Hash: 1}}}},
	} {
		if _, err := req.list(&KeysPage{Leaves: leaves}); !errors.Is(err, errPage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := KeysPage{Leaves: []LeafKeys{key(3, "l"), {Leaf: 5}, key(last, "a")}, More: true}
	l, err := req.list(&good)
	if err != nil || len(l.keys) != 2 || !l.more || l.keys[1].leaf != last {
		t.Errorf("a good page: %+v, %v", l, err)
	}
	many := KeysPage{Leaves: []LeafKeys{{Leaf: 4}}}
	for i := range MaxKeysPage + 1 {
		many.Leaves[0].Keys = append(many.Leaves[0].Keys, KeyDigest{Ref: object.Ref{Partition: 7, Bucket: "b", Key: fmt.Sprintf("%06d", i)}, Hash: 1})
	}
	if _, err := req.list(&many); !errors.Is(err, errPage) {
		t.Errorf("too many keys: %v", err)
	}
	if (KeyPosition{Leaf: 1, Ref: object.Ref{Bucket: "z"}}).Compare(KeyPosition{Leaf: 2}) >= 0 {
		t.Error("positions are not ordered by leaf first")
	}
}
