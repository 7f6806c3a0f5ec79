package health

import (
	"math/rand/v2"
	"testing"
	"time"
)

// life is a random history of one peer, and next to it a record of what was
// told and answered, kept apart from the model.
type life struct {
	t     *testing.T
	seed  uint64
	rand  *rand.Rand
	peer  *Peer
	now   time.Time
	calls []call
	probe time.Time // of the probe under way; zero: none

	halfOpened, opened time.Time
	gone               bool // as it was said last
	waited             int  // trials that expired one after the other
}

type call struct {
	began time.Time
	class Class
	state State // of the breaker when it began
}

func newLife(t *testing.T, seed uint64) *life {
	return &life{t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), peer: New(Config{}), now: epoch}
}

func (l *life) state() State { return l.peer.Breaker() }

func (l *life) check(ok bool, what string) {
	l.t.Helper()
	if !ok {
		l.t.Fatalf("seed %d after %v: %s", l.seed, l.now.Sub(epoch), what)
	}
}

func (l *life) begin() {
	l.calls = append(l.calls, call{l.now, Class(l.rand.IntN(int(numClasses))), l.state()})
	l.peer.Begin(l.now)
}

// end ends a call and holds the step of the breaker against the rules.
func (l *life) end(i int, o Outcome) {
	c := l.calls[i]
	l.calls[i] = l.calls[len(l.calls)-1]
	l.calls = l.calls[:len(l.calls)-1]
	before := l.state()
	l.peer.End(l.now, c.class, l.now.Sub(c.began), o)
	after := l.state()
	news := !c.began.Before(l.halfOpened)
	switch {
	case o == OK || o == Busy:
		l.check(after == before || before == HalfOpen && after == Closed, "an answer led from "+before.String()+" to "+after.String())
		l.check(after != HalfOpen, "still half open after an answer")
	case o == Expired && before == HalfOpen:
		if news && l.now.Sub(c.began) >= l.peer.cfg.Patience {
			l.waited++
		}
		l.check((after == Open) == (l.waited == l.peer.cfg.ExpiredTrials), "wrong after trials that expired: "+after.String())
	case o == Expired:
		l.check(after == before, "a wait that was given up led to "+after.String())
	case news:
		l.check(after == Open, "a failure left the breaker "+after.String())
	default:
		l.check(after == before, "an old failure led from "+before.String()+" to "+after.String())
	}
	l.note(before)
}

func (l *life) note(before State) {
	after := l.state()
	if before == after {
		return
	}
	l.waited = 0
	switch after {
	case Open:
		l.opened = l.now
	case HalfOpen:
		l.halfOpened = l.now
	}
}

func (l *life) askProbe(alive bool) {
	vouched := l.peer.Usable(l.now, alive)
	back := alive && l.gone
	l.gone = !alive
	if !l.peer.ProbeDue(l.now, alive) {
		return
	}
	l.check(l.probe.IsZero(), "a second probe")
	l.check(l.state() != HalfOpen, "a probe of a half-open peer")
	l.check(!vouched, "a probe of a usable peer")
	l.check(l.state() == Closed || back || l.now.Sub(l.opened) >= l.peer.cfg.FirstProbe, "a probe too early")
	l.probe = l.now
}

func (l *life) probed(ok bool) {
	before := l.state()
	l.peer.Probed(l.now, l.now.Sub(l.probe), ok)
	old := before == Open && l.probe.Before(l.opened)
	l.probe = time.Time{}
	want := before
	switch {
	case ok && before == Open && !old:
		want = HalfOpen
	case !ok && before == Closed:
		want = Open
	}
	l.check(l.state() == want, "a probe led from "+before.String()+" to "+l.state().String())
	l.note(before)
}

func (l *life) askUsable(alive bool) {
	usable := l.peer.Usable(l.now, alive)
	switch l.state() {
	case Open:
		l.check(!usable, "usable while open")
	case HalfOpen:
		trials := 0
		for _, c := range l.calls {
			if !c.began.Before(l.halfOpened) && c.state == HalfOpen {
				trials++
			}
		}
		l.check(usable == (trials == 0), "usable or not with trials under way")
	case Closed:
		l.check(usable || !alive, "closed and alive, but not usable")
	}
	if usable && l.rand.IntN(2) == 0 {
		l.begin()
	}
}

func (l *life) step() {
	l.now = l.now.Add(time.Duration(l.rand.ExpFloat64() * float64(20*time.Millisecond)))
	if l.rand.IntN(50) == 0 {
		l.now = l.now.Add(time.Duration(l.rand.IntN(4)) * time.Second)
	}
	alive := l.rand.IntN(3) > 0
	switch r := l.rand.IntN(10); {
	case r < 3:
		l.askUsable(alive)
	case r < 4 && l.rand.IntN(3) == 0:
		l.begin() // though it may be open
	case r < 8 && len(l.calls) > 0:
		l.end(l.rand.IntN(len(l.calls)), Outcome(l.rand.IntN(int(Expired)+1)))
	case r == 8 && !l.probe.IsZero():
		l.probed(l.rand.IntN(2) == 0)
	default:
		l.askProbe(alive)
	}
	s := l.peer.Snapshot(l.now)
	l.check(s.InFlight == len(l.calls), "wrong count of calls under way")
	l.check(l.peer.Cost(l.now, Read) >= 0 && l.peer.Cost(l.now, Write) >= 0, "a cost below zero")
}

// recover is silence, then a peer that answers all it is asked.
func (l *life) recover() {
	if !l.probe.IsZero() {
		l.probed(false)
	}
	for len(l.calls) > 0 {
		l.end(0, Lost)
	}
	l.now = l.now.Add(l.peer.cfg.MaxBackoff)
	if l.state() == Open {
		l.askProbe(true)
		l.check(!l.probe.IsZero(), "no probe of an open peer after the longest pause")
		l.probed(true)
	}
	l.check(l.peer.Usable(l.now, true), "not usable after an answered probe")
	l.begin()
	l.end(0, OK)
	l.check(l.state() == Closed, "not closed after an answered call")
	l.check(l.peer.Usable(l.now, false), "not usable although it has just answered")
}

func TestRandomLives(t *testing.T) {
	visits := map[State]int{}
	for seed := range uint64(300) {
		l := newLife(t, seed)
		for range 400 {
			l.step()
			visits[l.state()]++
		}
		l.recover()
	}
	for s := Closed; s <= Open; s++ {
		if visits[s] < 10_000 {
			t.Errorf("the histories were %s only %d times", s, visits[s])
		}
	}
}

// A peer whose connection comes up and whose pings are answered, but that
// loses every call: after the first second it costs one call a second.
func TestPeerThatOnlyAnswersPings(t *testing.T) {
	p, trials, late := New(Config{}), 0, 0
	for now := epoch; now.Before(epoch.Add(time.Minute)); now = now.Add(time.Millisecond) {
		if p.ProbeDue(now, true) {
			p.Probed(now, 0, true)
		}
		if !p.Usable(now, true) {
			continue
		}
		trials++
		if now.Sub(epoch) > 2*time.Second {
			late++
		}
		p.Begin(now)
		p.End(now, Read, 0, Lost)
	}
	if trials > 65 || late > 58 || late < 50 {
		t.Errorf("%d trials, %d of them after the first seconds", trials, late)
	}
}

// A caller that says a call took longer than it did must not leave a
// half-open peer unusable.
func TestWrongTimesDoNotJamATrial(t *testing.T) {
	p := New(Config{})
	p.Begin(epoch)
	p.End(epoch, Read, 0, Lost)
	at := epoch.Add(time.Second)
	p.ProbeDue(at, true)
	p.Probed(at, 0, true)
	p.Begin(at)
	p.End(at.Add(time.Millisecond), Read, time.Hour, Expired)
	if s := p.Snapshot(at).Breaker; s != HalfOpen || !p.Usable(at, true) {
		t.Errorf("%s, usable %v", s, p.Usable(at, true))
	}
}

func TestBudgetNeverExceedsItsShare(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		perMille, burst := r.IntN(1001), r.IntN(20)
		b := NewBudget(perMille, burst)
		reads, hedges := 0, 0
		for range 2000 {
			for range r.IntN(4) {
				b.Earn()
				reads++
			}
			if r.IntN(3) == 0 && b.Spend() {
				hedges++
			}
			if 1000*hedges > perMille*reads+1000*burst {
				t.Fatalf("seed %d: %d hedges for %d reads at %d per mille and %d before", seed, hedges, reads, perMille, burst)
			}
		}
	}
}

func TestBudgetGivesWhatItPromises(t *testing.T) {
	b := NewBudget(50, 3)
	spend := func() (n int) {
		for b.Spend() {
			n++
		}
		return n
	}
	earn := func(reads int) {
		for range reads {
			b.Earn()
		}
	}
	for _, step := range []struct{ reads, hedges int }{{0, 3}, {19, 0}, {1, 1}, {39, 1}, {1, 1}, {10_000, 3}} {
		earn(step.reads)
		if got := spend(); got != step.hedges {
			t.Errorf("after %d reads %d hedges, want %d", step.reads, got, step.hedges)
		}
	}
	// Without a burst, reads still add up to a hedge.
	b = NewBudget(50, 0)
	earn(100)
	if got := spend(); got != 1 {
		t.Errorf("%d hedges, want the one that may be saved", got)
	}
	if b = NewBudget(0, 0); b.Spend() {
		t.Error("a hedge out of nothing")
	}
	b = NewBudget(-1, -1)
	earn(10_000)
	if b.Spend() {
		t.Error("a hedge below nothing")
	}
	b = NewBudget(-1, 1)
	earn(10_000)
	if !b.Spend() {
		t.Error("reads took a hedge away")
	}
	b = NewBudget(9000, 5)
	spend()
	earn(1)
	if got := spend(); got != 1 {
		t.Errorf("%d hedges for a read", got)
	}
}
