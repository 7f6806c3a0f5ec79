package quorum

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"starling/store/object"
	"starling/store/version"
)

// dumbReplica is all that was reported of one replica; the first report counts.
type dumbReplica struct {
	own     byte // 0, 'a'ck or 'f'ail
	hint    byte // 0, 'c'ounted, 'k'ept or 'n'one
	excused bool
}

// TestPutMatchesDumbTwin drives the core with random reports and compares
// every verdict with one computed from scratch from the list of reports.
func TestPutMatchesDumbTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[Verdict]int{}
	for round := range 40000 {
		cfg := PutConfig{Owners: 1 + rng.IntN(5), Extra: rng.IntN(3)}
		cfg.W, cfg.PW = 1+rng.IntN(cfg.Owners+1), rng.IntN(cfg.Owners+2)
		cfg.Self = rng.IntN(cfg.Owners)
		cfg.Hints = rng.IntN(4) > 0
		cfg.Sloppy = cfg.Hints && rng.IntN(3) > 0
		cfg.StandIn = cfg.Sloppy && rng.IntN(4) == 0
		n := cfg.Owners + cfg.Extra
		p := NewPut(cfg)
		told := make([]dumbReplica, n)
		want := Waiting
		for step := 0; step <= 4*n; step++ {
			if want == Waiting {
				want = dumbPut(cfg, told)
			}
			if got := p.Verdict(); got != want {
				t.Fatalf("round %d: %+v after %+v: verdict %v, want %v", round, cfg, told, got, want)
			}
			if got := p.Received(); got != dumbVotes(cfg, told) {
				t.Fatalf("round %d: %+v after %+v: received %d", round, cfg, told, got)
			}
			seen[want]++
			report(p, told, rng.IntN(n), rng.IntN(12))
		}
	}
	if seen[Done] < 1000 || seen[Impossible] < 1000 || seen[Waiting] < 1000 {
		t.Fatalf("the rounds do not reach every verdict: %v", seen)
	}
}

// report tells the core and the twin the same.
func report(p *Put, told []dumbReplica, i, what int) {
	first := func(at *byte, v byte) {
		if *at == 0 {
			*at = v
		}
	}
	switch what {
	case 0, 1, 2, 3, 4:
		p.Ack(i)
		first(&told[i].own, 'a')
	case 5, 6, 7:
		p.Fail(i)
		first(&told[i].own, 'f')
	case 8, 9:
		p.Hint(i)
		first(&told[i].hint, 'c')
	case 10:
		p.Keep(i)
		first(&told[i].hint, 'k')
	default:
		p.NoHint(i)
		first(&told[i].hint, 'n')
	}
}

func dumbVotes(cfg PutConfig, told []dumbReplica) int {
	votes := 0
	for _, r := range told {
		if r.own == 'a' || (cfg.Sloppy && r.hint == 'c') {
			votes++
		}
	}
	return votes
}

func dumbPut(cfg PutConfig, told []dumbReplica) Verdict {
	votes, open, ownerAcks, ownerOpen := dumbVotes(cfg, told), 0, 0, 0
	owed, ungiven := false, false
	for i, r := range told {
		mayBeHinted := cfg.Hints && cfg.Sloppy && r.hint == 0 && !r.excused
		if hasVote := r.own == 'a' || (cfg.Sloppy && r.hint == 'c'); !hasVote && (r.own == 0 || mayBeHinted) {
			open++
		}
		if i < cfg.Owners && r.own == 'a' {
			ownerAcks++
		}
		if i < cfg.Owners && r.own == 0 {
			ownerOpen++
		}
		if cfg.Hints && r.own == 'f' && !r.excused {
			owed = owed || r.hint == 0
			ungiven = ungiven || r.hint == 'n'
		}
	}
	self := told[cfg.Self]
	selfDone, selfFailed := self.own == 'a', self.own == 'f'
	if cfg.StandIn {
		selfDone, selfFailed = self.hint == 'c', self.hint == 'n'
	}
	need := cfg.W + cfg.Extra
	switch {
	case selfFailed, votes+open < need, ownerAcks+ownerOpen < cfg.PW, ungiven:
		return Impossible
	case selfDone && votes >= need && ownerAcks >= cfg.PW && !owed:
		return Done
	default:
		return Waiting
	}
}

// The conversations below read top to bottom as a put goes on.

func TestPutIsNotDoneWhileAHintIsOwed(t *testing.T) {
	p := NewPut(PutConfig{Owners: 3, W: 2, Hints: true, Sloppy: true})
	p.Ack(0)
	p.Fail(2)
	p.Ack(1)
	wantPut(t, p, Waiting)
	p.Hint(2)
	wantPut(t, p, Done)
	if !p.Hinted(2) || p.Hinted(1) || p.Received() != 3 {
		t.Fatalf("hinted %v %v, received %d", p.Hinted(2), p.Hinted(1), p.Received())
	}
}

func TestPutIsRefusedWhereNobodyKeepsTheHint(t *testing.T) {
	p := NewPut(PutConfig{Owners: 3, W: 2, Hints: true, Sloppy: true})
	p.Ack(0)
	p.Fail(2)
	p.NoHint(2)
	wantPut(t, p, Impossible)
	p.Ack(1)
	wantPut(t, p, Impossible) // a verdict stays
}

func TestHintsCountTowardsWOnly(t *testing.T) {
	sloppy := NewPut(PutConfig{Owners: 3, W: 2, Hints: true, Sloppy: true})
	strict := NewPut(PutConfig{Owners: 3, W: 2, Hints: true})
	primary := NewPut(PutConfig{Owners: 3, W: 2, PW: 2, Hints: true, Sloppy: true})
	for _, p := range []*Put{sloppy, strict, primary} {
		p.Ack(0)
		p.Fail(1)
		p.Hint(1)
		p.Fail(2)
		p.Hint(2)
	}
	wantPut(t, sloppy, Done)
	wantPut(t, strict, Impossible)
	wantPut(t, primary, Impossible)
}

func TestAHintKeptByAReplicaIsNoVote(t *testing.T) {
	p := NewPut(PutConfig{Owners: 3, W: 2, Hints: true, Sloppy: true})
	p.Ack(0)
	p.Fail(1)
	p.Keep(1)
	p.Fail(2)
	wantPut(t, p, Waiting)
	p.Keep(2)
	wantPut(t, p, Impossible)
}

func TestAFallbackCoordinatesOnItsHint(t *testing.T) {
	p := NewPut(PutConfig{Owners: 3, W: 1, Hints: true, Sloppy: true, StandIn: true})
	for i := range 3 {
		p.Fail(i)
	}
	wantPut(t, p, Waiting)
	p.Keep(1)
	p.Keep(2)
	wantPut(t, p, Waiting)
	p.Hint(0)
	wantPut(t, p, Done)
}

func TestAnExcusedReplicaOwesNothing(t *testing.T) {
	p := NewPut(PutConfig{Owners: 3, W: 2, Hints: true, Sloppy: true})
	p.Excuse(2)
	p.Fail(2)
	p.Ack(0)
	p.Ack(1)
	wantPut(t, p, Done)
}

func TestALateAckReplacesTheHint(t *testing.T) {
	p := NewPut(PutConfig{Owners: 3, W: 3, Hints: true, Sloppy: true})
	p.Ack(0)
	p.Hint(1)
	p.Ack(1)
	if p.Received() != 2 || p.Hinted(1) {
		t.Fatalf("one replica voted twice: received %d", p.Received())
	}
	wantPut(t, p, Waiting)
}

func wantPut(t *testing.T, p *Put, want Verdict) {
	t.Helper()
	if got := p.Verdict(); got != want {
		t.Fatalf("verdict %v, want %v", got, want)
	}
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
	g := NewGet(GetConfig{Owners: 3, Order: []int{2, 0, 1}, R: 2})
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
	g := NewGet(GetConfig{Owners: 3, Order: []int{0, 1, 2}, R: 2})
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
	g := NewGet(GetConfig{Owners: 3, Order: []int{0, 1, 2}, R: 2})
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
	g := NewGet(GetConfig{Owners: 3, Order: []int{0, 1, 2}, R: 3})
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
	g := NewGet(GetConfig{Owners: 3, Order: []int{0, 1, 2}, R: 1, Session: fresh.Vector})
	wantAsked(t, g, 0)
	g.Reply(0, old)
	wantVerdict(t, g, Waiting)
	wantAsked(t, g, 1)
	g.Fail(1)
	wantAsked(t, g, 2)
	g.Reply(2, fresh)
	wantVerdict(t, g, Done)

	g = NewGet(GetConfig{Owners: 2, Order: []int{0, 1}, R: 1, Session: fresh.Vector})
	wantAsked(t, g, 0)
	g.Reply(0, old)
	wantAsked(t, g, 1)
	g.Reply(1, object.Object{})
	wantVerdict(t, g, NotVisible)
}

func TestGetWithTooFewOwnersIsImpossible(t *testing.T) {
	wantVerdict(t, NewGet(GetConfig{R: 1}), Impossible)
	wantVerdict(t, NewGet(GetConfig{Owners: 2, Order: []int{0, 1}, R: 3}), Impossible)
}

func TestAFallbackVotesWithWhatItsHintsHold(t *testing.T) {
	g := NewGet(GetConfig{Owners: 3, Order: []int{0, 3, 4, 1, 2}, R: 2})
	wantAsked(t, g, 0, 3)
	g.Reply(0, object.Object{}) // an owner's emptiness is a vote
	g.Reply(3, object.Object{}) // a fallback's is none
	wantVerdict(t, g, Waiting)
	wantAsked(t, g, 4)
	g.Reply(4, obj(7, 1))
	wantVerdict(t, g, Done)
	if g.FromHints() != 1 || g.Received() != 2 {
		t.Fatalf("received %d, %d of them from hints", g.Received(), g.FromHints())
	}
	if got := fmt.Sprint(g.Stale()); got != "[0]" { // only owners are repaired
		t.Fatalf("stale %v, want [0]", got)
	}
}

func TestPRCountsOwnersAlone(t *testing.T) {
	g := NewGet(GetConfig{Owners: 3, Order: []int{0, 3, 1, 2}, R: 2, PR: 2})
	wantAsked(t, g, 0, 3)
	g.Reply(0, obj(7, 1))
	g.Reply(3, obj(7, 1))
	wantVerdict(t, g, Waiting)
	wantAsked(t, g, 1)
	g.Fail(1)
	wantVerdict(t, g, Waiting)
	wantAsked(t, g, 2)
	g.Fail(2)
	wantVerdict(t, g, Impossible)
}

// TestGetAlwaysEnds feeds random reports: the core must reach a verdict once
// everybody it asked has answered, and the right one.
func TestGetAlwaysEnds(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 40000 {
		owners, fallbacks := 1+rng.IntN(5), rng.IntN(3)
		cfg := GetConfig{Owners: owners, Order: rng.Perm(owners + fallbacks), R: 1 + rng.IntN(owners+1), PR: rng.IntN(owners + 2)}
		if rng.IntN(3) == 0 {
			cfg.Session = obj(7, uint64(1+rng.IntN(3))).Vector
		}
		g := NewGet(cfg)
		var open []int
		votes, ownerVotes := 0, 0
		for g.Verdict() == Waiting {
			open = append(open, askAll(g)...)
			if len(open) == 0 {
				t.Fatalf("round %d: %+v: nobody is asked any more and the verdict is still waiting", round, cfg)
			}
			if rng.IntN(8) == 0 {
				g.Slow()
				continue
			}
			k := rng.IntN(len(open))
			i := open[k]
			open = append(open[:k], open[k+1:]...)
			switch what := rng.IntN(5); {
			case what == 0:
				g.Fail(i)
			case what == 1 && i >= owners:
				g.Reply(i, object.Object{})
			default:
				votes++
				if i < owners {
					ownerVotes++
				}
				g.Reply(i, obj(7, uint64(1+rng.IntN(3))))
			}
		}
		v := g.Verdict()
		if enough := votes >= cfg.R && ownerVotes >= cfg.PR; (v == Impossible) == enough {
			t.Fatalf("round %d: %+v: %v after %d votes, %d of owners", round, cfg, v, votes, ownerVotes)
		}
		if v == Done && !g.Merged().Vector.Descends(cfg.Session) {
			t.Fatalf("round %d: %+v: done without what the session saw", round, cfg)
		}
	}
}
