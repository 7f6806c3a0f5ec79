package version

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The dumb twin of a vector or a context: the set of dots that it covers, in
// a world of few actors and short sequences.
const (
	worldActors = 3
	worldSeqs   = 5
)

type twin map[Dot]bool

func world(yield func(Dot) bool) {
	for a := Actor(1); a <= worldActors; a++ {
		for seq := uint64(1); seq <= worldSeqs; seq++ {
			if !yield(Dot{a, seq}) {
				return
			}
		}
	}
}

func twinOf(covers func(Dot) bool) twin {
	t := twin{}
	for d := range world {
		if covers(d) {
			t[d] = true
		}
	}
	return t
}

func (t twin) union(o twin) twin {
	return twinOf(func(d Dot) bool { return t[d] || o[d] })
}

func (t twin) superset(o twin) bool {
	for d := range o {
		if !t[d] {
			return false
		}
	}
	return true
}

func (t twin) equal(o twin) bool { return t.superset(o) && o.superset(t) }

func randomVector(r *rand.Rand) Vector {
	var v Vector
	for a := Actor(1); a <= worldActors; a++ {
		if seq := r.Uint64N(worldSeqs + 1); seq > 0 {
			v = append(v, Dot{a, seq})
		}
	}
	return v
}

func randomContext(r *rand.Rand) Context {
	var unseen []Dot
	for d := range world {
		if r.IntN(4) == 0 {
			unseen = append(unseen, d)
		}
	}
	r.Shuffle(len(unseen), func(i, j int) { unseen[i], unseen[j] = unseen[j], unseen[i] })
	return Without(randomVector(r), unseen)
}

func checkVector(t *testing.T, v Vector) {
	t.Helper()
	for i, d := range v {
		if d.Seq == 0 || i > 0 && v[i-1].Actor >= d.Actor {
			t.Fatalf("invalid vector %v", v)
		}
	}
}

func checkContext(t *testing.T, c Context) {
	t.Helper()
	checkVector(t, c.Vector)
	for i, e := range c.Except {
		if !c.Vector.Covers(e) || i > 0 && c.Except[i-1].Compare(e) >= 0 {
			t.Fatalf("invalid context %v", c)
		}
	}
}

func forSeeds(t *testing.T, check func(t *testing.T, r *rand.Rand)) {
	t.Helper()
	for seed := range uint64(1000) {
		check(t, rand.New(rand.NewPCG(seed, 0)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestVectorIsItsSetOfDots(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		a, b := randomVector(r), randomVector(r)
		before := slices.Clone(a)
		ta, tb := twinOf(a.Covers), twinOf(b.Covers)

		m := Merge(a, b)
		checkVector(t, m)
		if !twinOf(m.Covers).equal(ta.union(tb)) {
			t.Errorf("merge of %v and %v is %v", a, b, m)
		}
		if !m.Equal(Merge(b, a)) {
			t.Errorf("merge of %v and %v depends on the order", a, b)
		}
		if a.Descends(b) != ta.superset(tb) {
			t.Errorf("%v descends %v: %v", a, b, a.Descends(b))
		}
		if a.Equal(b) != ta.equal(tb) {
			t.Errorf("%v equals %v: %v", a, b, a.Equal(b))
		}
		d := Dot{Actor(1 + r.IntN(worldActors)), r.Uint64N(worldSeqs + 1)}
		w := a.With(d)
		checkVector(t, w)
		upTo := twinOf(func(e Dot) bool { return e.Actor == d.Actor && e.Seq <= d.Seq })
		if !twinOf(w.Covers).equal(ta.union(upTo)) {
			t.Errorf("%v with %v is %v", a, d, w)
		}
		if !a.Equal(before) {
			t.Errorf("%v was changed to %v", before, a)
		}
	})
}

func TestContextIsItsSetOfDots(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		c, o := randomContext(r), randomContext(r)
		tc, to := twinOf(c.Covers), twinOf(o.Covers)
		u := c.Union(o)
		checkContext(t, c)
		checkContext(t, u)
		if !twinOf(u.Covers).equal(tc.union(to)) {
			t.Errorf("union of %v and %v is %v", c, o, u)
		}
		if c.Empty() != (len(tc) == 0) {
			t.Errorf("%v is empty: %v", c, c.Empty())
		}
	})
}

func TestWithoutCoversAllButTheUnseen(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		v := randomVector(r)
		unseen := twinOf(func(Dot) bool { return r.IntN(3) == 0 })
		var list []Dot
		for d := range unseen {
			list = append(list, d, d)
		}
		c := Without(v, list)
		checkContext(t, c)
		want := twinOf(func(d Dot) bool { return v.Covers(d) && !unseen[d] })
		if !twinOf(c.Covers).equal(want) {
			t.Errorf("%v without %v is %v", v, list, c)
		}
		for _, d := range c.Vector {
			if slices.Contains(c.Except, d) {
				t.Errorf("%v ends in its own exception", c)
			}
		}
	})
}

// A claim covers no unknown exception, nothing that the context's vector does
// not cover, and cannot be raised anywhere without breaking one of the two.
func TestClaimIsTheLargestHonestVector(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		c, known := randomContext(r), randomVector(r)
		honest := func(v Vector) bool {
			for _, e := range c.Except {
				if v.Covers(e) && !known.Covers(e) {
					return false
				}
			}
			return c.Vector.Descends(v)
		}
		claim := c.Claim(known)
		checkVector(t, claim)
		if !honest(claim) {
			t.Errorf("claim of %v at %v is %v", c, known, claim)
		}
		for a := Actor(1); a <= worldActors; a++ {
			if raised := claim.With(Dot{a, claim.Max(a) + 1}); honest(raised) {
				t.Errorf("claim of %v at %v is %v, could be %v", c, known, claim, raised)
			}
		}
	})
}

func TestZeroValuesCoverNothing(t *testing.T) {
	for d := range world {
		if (Vector)(nil).Covers(d) || (Context{}).Covers(d) {
			t.Errorf("empty covers %v", d)
		}
	}
	if (Vector{{1, 5}}).Covers(Dot{1, 0}) {
		t.Error("a dot without a sequence is covered")
	}
	if !(Vector{{1, 5}}).Descends(nil) || !(Vector)(nil).Descends(Vector{}) || (Vector)(nil).Descends(Vector{{1, 1}}) {
		t.Error("descent of the empty vector")
	}
}

func TestDotString(t *testing.T) {
	if got := (Dot{0xa1, 7}).String(); got != "00000000000000a1:7" {
		t.Errorf("got %s", got)
	}
}
