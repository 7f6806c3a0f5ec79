package object_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"starling/store/object"
	"starling/store/version"
)

var (
	seedFlag = flag.Uint64("seed", 0, "first seed of the random tests; 0 draws one")
	runsFlag = flag.Uint64("runs", 500, "schedules that are run; tests of single operations make four times as many")
)

// forSeeds calls check with so many seeds, and says how to see a failure again.
func forSeeds(t *testing.T, runs uint64, check func(seed uint64) error) {
	t.Helper()
	first := *seedFlag
	if first == 0 {
		first = rand.Uint64()>>1 + 1
	}
	t.Logf("first seed %d", first)
	for seed := first; seed < first+runs; seed++ {
		if err := check(seed); err != nil {
			t.Fatalf("replay with -run '^%s$' -seed=%d -runs=1\n%v", t.Name(), seed, err)
		}
	}
}

// The siblings of every replica at every step are those of the naive model of
// causal histories; see model_test.go.
func TestSiblingsFollowCausalHistories(t *testing.T) {
	exact, lowered := 0, 0
	forSeeds(t, *runsFlag, func(seed uint64) error {
		r, err := playSeed(seed)
		if err != nil {
			return err
		}
		if len(r.lowerings) == 0 {
			exact++
		} else {
			lowered++
		}
		return r.converge()
	})
	t.Logf("%d runs exact, %d with a lowered entry", exact, lowered)
	if *runsFlag >= 400 && (exact < 20 || lowered < 20) {
		t.Errorf("the schedules are lopsided: %d exact, %d with a lowered entry", exact, lowered)
	}
}

// converge gives every replica everything, in different orders. Then all must
// be equal, hold all that nobody superseded, even counting only what clients
// were shown, and be resolved by one put.
func (r *run) converge() error {
	all := r.replicas
	var merged []state
	for range all {
		var s state
		for _, i := range r.rand.Perm(len(all)) {
			s = s.merge(all[i])
		}
		merged = append(merged, s)
	}
	for _, s := range merged {
		if !s.object.Equal(merged[0].object) || s.object.Hash("b", "k") != merged[0].object.Hash("b", "k") {
			return fmt.Errorf("replicas differ: %v and %v", dotsOf(s.object), dotsOf(merged[0].object))
		}
	}
	s := merged[0]
	if err := r.compare(s, r.strict.alive(s.heard)); err != nil {
		return fmt.Errorf("in the end: %w", err)
	}
	decoded, err := object.Decode(s.object.Append(nil))
	if err != nil || !identical(decoded, s.object) {
		return fmt.Errorf("%v comes back from its encoding as %v, error %v", dotsOf(s.object), dotsOf(decoded), err)
	}
	d := version.Dot{Actor: 1, Seq: r.counters[0] + 1}
	o, err := s.object.Update(s.object.Context(), object.Sibling{Dot: d}, object.Limits{})
	if err != nil || len(o.Siblings) != 1 || o.Siblings[0].Dot != d {
		return fmt.Errorf("a put with the context of a read leaves %v, error %v", dotsOf(o), err)
	}
	return nil
}

// randomObject is any valid object in a world small enough that dots meet,
// and in different states. Now and then a dot has another content, which
// must not happen, but if it does replicas must still agree.
func randomObject(r *rand.Rand) object.Object {
	var o object.Object
	for a := version.Actor(1); a <= 3; a++ {
		top := r.Uint64N(4)
		if top > 0 {
			o.Vector = append(o.Vector, version.Dot{Actor: a, Seq: top})
		}
		for seq := uint64(1); seq <= top; seq++ {
			if r.IntN(2) == 0 {
				d := version.Dot{Actor: a, Seq: seq}
				s := object.Sibling{Dot: d, Value: []byte(d.String())}
				switch r.IntN(8) {
				case 0:
					s.Value = []byte("other")
				case 1:
					s.Value = []byte("third")
				case 2:
					s.ModifiedMS = 1
				}
				o.Siblings = append(o.Siblings, s)
			}
		}
	}
	return o
}

// identical compares content too.
func identical(a, b object.Object) bool { return bytes.Equal(a.Append(nil), b.Append(nil)) }

func TestMergeLaws(t *testing.T) {
	forSeeds(t, 4**runsFlag, func(seed uint64) error {
		r := rand.New(rand.NewPCG(seed, 0))
		a, b, c := randomObject(r), randomObject(r), randomObject(r)
		before := [][]byte{a.Append(nil), b.Append(nil)}
		ab := object.Merge(a, b)
		switch {
		case !identical(object.Merge(a, a), a):
			return fmt.Errorf("not idempotent: %v", dotsOf(a))
		case !identical(object.Merge(a, object.Object{}), a):
			return fmt.Errorf("the absent object adds to %v", dotsOf(a))
		case !identical(ab, object.Merge(b, a)):
			return fmt.Errorf("not commutative: %v and %v", dotsOf(a), dotsOf(b))
		case !identical(object.Merge(ab, b), ab) || !identical(object.Merge(a, ab), ab):
			return fmt.Errorf("no upper bound: %v and %v", dotsOf(a), dotsOf(b))
		case !identical(object.Merge(ab, c), object.Merge(a, object.Merge(b, c))):
			return fmt.Errorf("not associative: %v, %v and %v", dotsOf(a), dotsOf(b), dotsOf(c))
		case !bytes.Equal(a.Append(nil), before[0]) || !bytes.Equal(b.Append(nil), before[1]):
			return fmt.Errorf("merge changed its arguments: %v and %v", dotsOf(a), dotsOf(b))
		}
		return checkStates(a, b, ab)
	})
}

// checkStates holds a merge against the table in the package's documentation.
func checkStates(a, b, ab object.Object) error {
	for actor := version.Actor(1); actor <= 3; actor++ {
		for seq := uint64(1); seq <= 3; seq++ {
			d := version.Dot{Actor: actor, Seq: seq}
			if got, want := stateOf(ab, d), max(stateOf(a, d), stateOf(b, d)); got != want {
				return fmt.Errorf("%v is %d after the merge, want %d", d, got, want)
			}
		}
	}
	return nil
}

const (
	unknown = iota
	alive
	superseded
)

func stateOf(o object.Object, d version.Dot) int {
	switch {
	case slices.ContainsFunc(o.Siblings, func(s object.Sibling) bool { return s.Dot == d }):
		return alive
	case o.Vector.Covers(d):
		return superseded
	}
	return unknown
}

// A put raises states only, supersedes exactly what the context covers, and
// never makes the object claim an exception that it did not know.
func TestUpdateRaisesOnlyWhatTheContextCovers(t *testing.T) {
	forSeeds(t, 4**runsFlag, func(seed uint64) error {
		r := rand.New(rand.NewPCG(seed, 0))
		o, other := randomObject(r), randomObject(r)
		var unseen []version.Dot
		for _, s := range other.Siblings {
			unseen = append(unseen, s.Dot)
		}
		c := version.Without(other.Vector, unseen)
		if r.IntN(3) == 0 {
			c = c.Union(randomObject(r).Context())
		}
		d := version.Dot{Actor: version.Actor(3 + r.IntN(2)), Seq: 5}
		before := o.Append(nil)
		p, err := o.Update(c, object.Sibling{Dot: d}, object.Limits{})
		if err != nil {
			return err
		}
		if !bytes.Equal(o.Append(nil), before) {
			return fmt.Errorf("put changed %v", dotsOf(o))
		}
		if stateOf(p, d) != alive {
			return fmt.Errorf("%v is not in %v", d, dotsOf(p))
		}
		for actor := version.Actor(1); actor < d.Actor; actor++ {
			for seq := uint64(1); seq <= 3; seq++ {
				e := version.Dot{Actor: actor, Seq: seq}
				got, was := stateOf(p, e), stateOf(o, e)
				switch {
				case was == alive && c.Covers(e) && got != superseded,
					!c.Covers(e) && got != was,
					got < was:
					return fmt.Errorf("put with %v: %v went from %d to %d", c, e, was, got)
				}
			}
		}
		return nil
	})
}
