package object_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"starling/store/object"
	"starling/store/version"
)

// The traps are the known ways in which stores of this kind lose writes or
// drown in siblings.

func put(t *testing.T, o object.Object, c version.Context, s object.Sibling) object.Object {
	t.Helper()
	p, err := o.Update(c, s, object.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func dot(actor version.Actor, seq uint64) version.Dot { return version.Dot{Actor: actor, Seq: seq} }

func valued(d version.Dot, value string) object.Sibling {
	return object.Sibling{Dot: d, Value: []byte(value)}
}

func values(o object.Object) []string {
	var out []string
	for _, s := range o.Live(0) {
		out = append(out, string(s.Value))
	}
	return out
}

func expect(t *testing.T, what string, o object.Object, want ...string) {
	t.Helper()
	if got := values(o); !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// writer puts again and again with the context of its own last reply.
type writer struct {
	name  string
	reply version.Context
}

func (w *writer) put(t *testing.T, o object.Object, d version.Dot) object.Object {
	o = put(t, o, w.reply, valued(d, w.name))
	w.reply = o.Reply(w.reply, d)
	return o
}

// Plain version vectors with one entry a replica either lose one writer's
// value here or add a sibling in every round.
func TestTwoInterleavedWritersNeverExplode(t *testing.T) {
	const rounds = 1000

	t.Run("one replica", func(t *testing.T) {
		var o object.Object
		writers := []*writer{{name: "left"}, {name: "right"}}
		for round := range uint64(rounds) {
			for i, w := range writers {
				o = w.put(t, o, dot(1, 2*round+uint64(i)+1))
				if round > 0 {
					names := values(o)
					slices.Sort(names)
					if !slices.Equal(names, []string{"left", "right"}) {
						t.Fatalf("round %d: siblings %q", round, names)
					}
				}
			}
		}
	})

	// Each put goes to a random replica. It first takes what it lacks of the
	// writer's context from the others.
	t.Run("three replicas that know the context", func(t *testing.T) {
		interleave(t, rounds, true, func(round uint64, o object.Object) {
			if n := len(o.Siblings); n > 2 {
				t.Fatalf("round %d: %d siblings, the writers have 2", round, n)
			}
		})
	})

	// Here it does not. A value of a writer's own may then stay beside its
	// next one, but at most one for each replica that stamps.
	t.Run("three replicas that lag", func(t *testing.T) {
		most := 0
		interleave(t, rounds, false, func(round uint64, o object.Object) {
			if n := len(o.Siblings); n > 2*3 {
				t.Fatalf("round %d: %d siblings, the writers have 2 and the replicas are 3", round, n)
			}
			most = max(most, len(o.Siblings))
		})
		if most <= 2 {
			t.Errorf("never more than %d siblings: the replicas did not lag", most)
		}
	})
}

// interleave lets two writers put in turn at random ones of three replicas,
// which hear of each other at random, then lets the replicas converge.
func interleave(t *testing.T, rounds uint64, fresh bool, check func(round uint64, o object.Object)) {
	t.Helper()
	seed := rand.Uint64()
	if *seedFlag != 0 {
		seed = *seedFlag
	}
	t.Logf("replay with -seed=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var replicas [3]object.Object
	var counters [3]uint64
	stamp := func(w *writer, i int) {
		counters[i]++
		replicas[i] = w.put(t, replicas[i], dot(version.Actor(i+1), counters[i]))
	}
	writers := [2]writer{{name: "left"}, {name: "right"}}
	for round := range rounds {
		for w := range writers {
			i := r.IntN(3)
			for j := 0; fresh && !replicas[i].Vector.Descends(writers[w].reply.Vector); j++ {
				replicas[i] = object.Merge(replicas[i], replicas[j])
			}
			stamp(&writers[w], i)
			check(round, replicas[i])
			to, from := r.IntN(3), r.IntN(3)
			replicas[to] = object.Merge(replicas[to], replicas[from])
			check(round, replicas[to])
		}
	}
	replicas[0] = object.Merge(object.Merge(replicas[0], replicas[1]), replicas[2])
	check(rounds, replicas[0])
	stamp(&writers[0], 0)
	stamp(&writers[1], 0)
	expect(t, "after one more put of each", replicas[0], "left", "right")
}

// A replica that lost writes of its own actor, wiped, restored from an old
// copy, or stopped uncleanly, must mint by a fresh actor. Each case is run in
// both ways: what the fresh actor keeps, the old one destroys.
func TestForgetfulActorDestroysNothing(t *testing.T) {
	const forgetful, other, fresh = 1, 2, 3
	// The forgetful replica acknowledged three writes of clients that had
	// read nothing, and the other replica has them.
	var full [4]object.Object
	for n := uint64(1); n <= 3; n++ {
		full[n] = put(t, full[n-1], version.Context{}, valued(dot(forgetful, n), string(rune('a'+n-1))))
	}
	peer := put(t, full[3], version.Context{}, valued(dot(other, 1), "peer"))

	cases := []struct {
		name   string
		kept   object.Object
		next   uint64 // what the old actor would count on with
		losses int    // of acknowledged values, should it do so
	}{
		{"wiped, counter too", full[0], 1, 1},
		{"wiped, counter kept", full[0], 4, 3},
		{"restored from an old copy", full[1], 2, 1},
		{"unclean restart, counter in reserved blocks", full[2], 100, 1},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			write := func(d version.Dot) []string {
				back := put(t, tt.kept, version.Context{}, valued(d, "new"))
				return values(object.Merge(back, peer))
			}
			acknowledged := []string{"a", "b", "c", "peer", "new"}
			lost := func(have []string) int {
				n := 0
				for _, v := range acknowledged {
					if !slices.Contains(have, v) {
						n++
					}
				}
				return n
			}
			if have := write(dot(fresh, 1)); lost(have) != 0 {
				t.Errorf("with a fresh actor only %q are left of %q", have, acknowledged)
			}
			if have := write(dot(forgetful, tt.next)); lost(have) != tt.losses {
				t.Errorf("with the old actor %q are left: the trap does not bite", have)
			}
		})
	}

	t.Run("known to the replica", func(t *testing.T) {
		_, err := peer.Update(version.Context{}, valued(dot(forgetful, 3), "new"), object.Limits{})
		expectError(t, err, object.ErrDotReused)
	})
	t.Run("known to the client", func(t *testing.T) {
		_, err := full[1].Update(peer.Context(), valued(dot(forgetful, 2), "new"), object.Limits{})
		expectError(t, err, object.ErrDotReused)
	})
}

func TestRetryIsNotASecondSibling(t *testing.T) {
	op := object.OpID{1}
	stamp := func(d version.Dot, op object.OpID) object.Sibling {
		return object.Sibling{Dot: d, Op: op, Value: []byte("value"), ModifiedMS: int64(d.Actor)}
	}
	x := put(t, object.Object{}, version.Context{}, stamp(dot(1, 1), op))
	y := put(t, object.Object{}, version.Context{}, stamp(dot(2, 1), op))
	both := object.Merge(x, y)

	t.Run("one is shown, both are kept and covered", func(t *testing.T) {
		if len(both.Siblings) != 2 {
			t.Fatalf("%d siblings kept, want both stampings", len(both.Siblings))
		}
		if live := both.Live(0); len(live) != 1 || live[0].Dot != dot(1, 1) {
			t.Errorf("shown: %v", live)
		}
		next := put(t, both, both.Context(), valued(dot(1, 2), "next"))
		expect(t, "put with the context of a read", next, "next")
	})

	t.Run("the reply to one covers the other", func(t *testing.T) {
		reply := both.Reply(version.Context{}, dot(2, 1))
		expect(t, "next put of the same client", put(t, both, reply, valued(dot(1, 2), "next")), "next")
	})

	t.Run("other puts stay siblings", func(t *testing.T) {
		z := put(t, both, version.Context{}, stamp(dot(1, 2), object.OpID{2}))
		expect(t, "another operation", z, "value", "value")
		reply := z.Reply(version.Context{}, dot(1, 2))
		if reply.Covers(dot(1, 1)) || reply.Covers(dot(2, 1)) {
			t.Errorf("the reply %v covers another put", reply)
		}
		var anonymous object.Object
		for n := uint64(1); n <= 2; n++ {
			anonymous = put(t, anonymous, version.Context{}, stamp(dot(1, n), object.OpID{}))
		}
		expect(t, "two puts without an operation", anonymous, "value", "value")
		if reply := anonymous.Reply(version.Context{}, dot(1, 2)); reply.Covers(dot(1, 1)) {
			t.Errorf("the reply %v covers another put", reply)
		}
	})

	// A third write that has seen x alone. Had a merge of x and y dropped
	// one of the two, y would survive or not depending on who met first.
	t.Run("a third write that supersedes one of them", func(t *testing.T) {
		z := put(t, x, x.Context(), valued(dot(3, 1), "third"))
		left := object.Merge(object.Merge(x, y), z)
		right := object.Merge(x, object.Merge(y, z))
		if !left.Equal(right) {
			t.Errorf("the order of merges matters: %v and %v", dotsOf(left), dotsOf(right))
		}
		expect(t, "all three", left, "value", "third")
	})

	t.Run("an expired or deleted stamping hides no other", func(t *testing.T) {
		early := stamp(dot(1, 1), op)
		early.ExpiresMS = 10
		o := object.Merge(put(t, object.Object{}, version.Context{}, early), y)
		if live := o.Live(10); len(live) != 1 || live[0].Dot != dot(2, 1) {
			t.Errorf("shown: %v", live)
		}
	})
}

// Two clients that have read nothing put through one actor. Were the answer
// the object's vector, the second client's next put would supersede the first
// one's value, which it never saw.
func TestContextlessReplyCoversOnlyItsOwn(t *testing.T) {
	o := put(t, object.Object{}, version.Context{}, valued(dot(1, 1), "first"))
	first := o.Reply(version.Context{}, dot(1, 1))
	o = put(t, o, version.Context{}, valued(dot(1, 2), "second"))
	second := o.Reply(version.Context{}, dot(1, 2))

	if second.Covers(dot(1, 1)) || !second.Covers(dot(1, 2)) {
		t.Errorf("the second client has seen %v", second)
	}
	expect(t, "put of the second client", put(t, o, second, valued(dot(1, 3), "third")), "first", "third")
	expect(t, "put of the first client", put(t, o, first, valued(dot(1, 3), "third")), "second", "third")
	expect(t, "the trap", put(t, o, o.Context(), valued(dot(1, 3), "third")), "third")

	// The same at another replica, which has heard of neither: it must not
	// claim the first client's value and kill it when the two merge.
	elsewhere := put(t, object.Object{}, second, valued(dot(2, 1), "third"))
	if elsewhere.Vector.Covers(dot(1, 1)) {
		t.Errorf("the other replica claims a value that it never had: %v", dotsOf(elsewhere))
	}
	merged := object.Merge(elsewhere, o)
	// "second" stays although its writer superseded it: see the package
	// documentation, "A sibling too many".
	expect(t, "after the merge", merged, "first", "second", "third")
	reply := elsewhere.Reply(second, dot(2, 1))
	expect(t, "next put of the second client", put(t, merged, reply, valued(dot(2, 2), "fourth")), "first", "fourth")
}
