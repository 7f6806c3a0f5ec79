package quorum

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"starling/store/object"
	"starling/store/version"
)

// TestPutMatchesDumbTwin drives the core with random reports and compares
// every verdict with one computed from scratch from the list of reports.
func TestPutMatchesDumbTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[Verdict]int{}
	for round := range 20000 {
		cfg := PutConfig{Owners: 1 + rng.IntN(5), Extra: rng.IntN(3)}
		cfg.W, cfg.PW = 1+rng.IntN(cfg.Owners+1), rng.IntN(cfg.Owners+2)
		cfg.Self = rng.IntN(cfg.Owners)
		n := cfg.Owners + cfg.Extra
		p := NewPut(cfg)
		first := make([]int, n) // 0 nothing, 1 ack, 2 fail: the first report counts
		last := Waiting
		for step := 0; step <= 2*n; step++ {
			want := dumbPut(cfg, first)
			if got := p.Verdict(); got != want {
				t.Fatalf("round %d: %+v after %v: verdict %v, want %v", round, cfg, first, got, want)
			}
			if last != Waiting && want != last {
				t.Fatalf("round %d: %+v: verdict changed from %v to %v", round, cfg, last, want)
			}
			last = want
			seen[want]++
			i, ok := rng.IntN(n), rng.IntN(3) > 0
			if ok {
				p.Ack(i)
			} else {
				p.Fail(i)
			}
			if first[i] == 0 {
				first[i] = map[bool]int{true: 1, false: 2}[ok]
			}
		}
	}
	if seen[Done] < 1000 || seen[Impossible] < 1000 || seen[Waiting] < 1000 {
		t.Fatalf("the rounds do not reach every verdict: %v", seen)
	}
}

func dumbPut(cfg PutConfig, first []int) Verdict {
	var acks, ownerAcks, open, ownerOpen int
	for i, r := range first {
		owner := i < cfg.Owners
		switch {
		case r == 1 && owner:
			acks, ownerAcks = acks+1, ownerAcks+1
		case r == 1:
			acks++
		case r == 0 && owner:
			open, ownerOpen = open+1, ownerOpen+1
		case r == 0:
			open++
		}
	}
	need := cfg.W + cfg.Extra
	if first[cfg.Self] == 2 || acks+open < need || ownerAcks+ownerOpen < cfg.PW {
		return Impossible
	}
	if first[cfg.Self] == 1 && acks >= need && ownerAcks >= cfg.PW {
		return Done
	}
	return Waiting
}

// TestAnyReadQuorumMeetsAnyWriteQuorum is the arithmetic behind Majority.
func TestAnyReadQuorumMeetsAnyWriteQuorum(t *testing.T) {
	for n := 1; n <= 9; n++ {
		if m := Majority(n); 2*m <= n || 2*(m-1) > n {
			t.Errorf("Majority(%d) = %d: not the smallest that always meets itself", n, m)
		}
	}
}

func obj(a version.Actor, seq uint64) object.Object {
	d := version.Dot{Actor: a, Seq: seq}
	o, err := object.Object{}.Update(version.Context{}, object.Sibling{Dot: d, Value: []byte("v")}, object.Limits{})
	if err != nil {
		panic(err)
	}
	return o
}

func askAll(g *Get) []int {
	var who []int
	for i, ok := g.Ask(); ok; i, ok = g.Ask() {
		who = append(who, i)
	}
	return who
}

func wantAsked(t *testing.T, g *Get, want ...int) {
	t.Helper()
	if got := askAll(g); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("asked %v, want %v", got, want)
	}
}

func wantVerdict(t *testing.T, g *Get, want Verdict) {
	t.Helper()
	if got := g.Verdict(); got != want {
		t.Fatalf("verdict %v, want %v", got, want)
	}
}

// The conversations below read top to bottom as a get goes on.

func TestGetAsksNoMoreThanItNeeds(t *testing.T) {
	g := NewGet(GetConfig{Order: []int{2, 0, 1}, R: 2})
	wantAsked(t, g, 2, 0)
	wantVerdict(t, g, Waiting)
	g.Reply(2, obj(7, 1))
	wantAsked(t, g)
	wantVerdict(t, g, Waiting)
	g.Reply(0, obj(7, 1))
	wantVerdict(t, g, Done)
	wantAsked(t, g)
	if s := g.Stale(); len(s) != 0 {
		t.Fatalf("stale %v, want none", s)
	}
}

func TestGetReplacesAFailedOwner(t *testing.T) {
	g := NewGet(GetConfig{Order: []int{0, 1, 2}, R: 2})
	wantAsked(t, g, 0, 1)
	g.Fail(1)
	wantAsked(t, g, 2)
	g.Reply(0, obj(7, 1))
	wantVerdict(t, g, Waiting)
	g.Fail(2)
	wantVerdict(t, g, Impossible)
	if g.Received() != 1 {
		t.Fatalf("received %d, want 1", g.Received())
	}
}

func TestGetAsksBesideASlowOwner(t *testing.T) {
	g := NewGet(GetConfig{Order: []int{0, 1, 2}, R: 2})
	wantAsked(t, g, 0, 1)
	g.Reply(0, obj(7, 1))
	g.Slow()
	wantAsked(t, g, 2)
	g.Slow()
	wantAsked(t, g) // nobody left
	g.Reply(2, obj(8, 1))
	wantVerdict(t, g, Done)
	g.Reply(1, obj(9, 1)) // late: merged all the same, and not counted twice
	g.Reply(1, obj(9, 2))
	if g.Received() != 3 {
		t.Fatalf("received %d, want 3", g.Received())
	}
}

func TestGetListsStaleOwners(t *testing.T) {
	old, fresh := obj(7, 1), obj(8, 5)
	both := object.Merge(old, fresh)
	g := NewGet(GetConfig{Order: []int{0, 1, 2}, R: 3})
	wantAsked(t, g, 0, 1, 2)
	g.Reply(1, both)
	g.Reply(0, old)
	g.Reply(2, object.Object{})
	wantVerdict(t, g, Done)
	if got := fmt.Sprint(g.Stale()); got != "[0 2]" {
		t.Fatalf("stale %v, want [0 2]", got)
	}
	if !g.Merged().Equal(both) {
		t.Fatalf("merged %v, want %v", g.Merged(), both)
	}
}

func TestGetKeepsASessionsPromise(t *testing.T) {
	old, fresh := obj(7, 1), obj(7, 2)
	g := NewGet(GetConfig{Order: []int{0, 1, 2}, R: 1, Session: fresh.Vector})
	wantAsked(t, g, 0)
	g.Reply(0, old)
	wantVerdict(t, g, Waiting)
	wantAsked(t, g, 1)
	g.Fail(1)
	wantAsked(t, g, 2)
	g.Reply(2, fresh)
	wantVerdict(t, g, Done)

	g = NewGet(GetConfig{Order: []int{0, 1}, R: 1, Session: fresh.Vector})
	wantAsked(t, g, 0)
	g.Reply(0, old)
	wantAsked(t, g, 1)
	g.Reply(1, object.Object{})
	wantVerdict(t, g, NotVisible)
}

func TestGetWithTooFewOwnersIsImpossible(t *testing.T) {
	wantVerdict(t, NewGet(GetConfig{R: 1}), Impossible)
	wantVerdict(t, NewGet(GetConfig{Order: []int{0, 1}, R: 3}), Impossible)
}

// TestGetAlwaysEnds feeds random reports: the core must reach a verdict once
// every owner it asked has answered, and never before it could.
func TestGetAlwaysEnds(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 20000 {
		n := 1 + rng.IntN(5)
		cfg := GetConfig{Order: rng.Perm(n), R: 1 + rng.IntN(n+1)}
		if rng.IntN(3) == 0 {
			cfg.Session = obj(7, uint64(1+rng.IntN(3))).Vector
		}
		g := NewGet(cfg)
		var open []int
		replies := 0
		for {
			open = append(open, askAll(g)...)
			if len(open) == 0 {
				break
			}
			if rng.IntN(8) == 0 {
				g.Slow()
				continue
			}
			k := rng.IntN(len(open))
			i := open[k]
			open = append(open[:k], open[k+1:]...)
			if rng.IntN(4) == 0 {
				g.Fail(i)
			} else {
				replies++
				g.Reply(i, obj(7, uint64(1+rng.IntN(3))))
			}
		}
		v := g.Verdict()
		if v == Waiting {
			t.Fatalf("round %d: %+v: nobody is asked any more and the verdict is still waiting", round, cfg)
		}
		if (v == Impossible) != (replies < cfg.R) {
			t.Fatalf("round %d: %+v: %v after %d replies", round, cfg, v, replies)
		}
		if v == Done && !g.Merged().Vector.Descends(cfg.Session) {
			t.Fatalf("round %d: %+v: done without what the session saw", round, cfg)
		}
	}
}
