package health

import "time"

// Peer is the model of one peer. Make it with [New]. It is not safe for
// concurrent use.
type Peer struct {
	cfg      Config
	breaker  breaker
	inFlight int
	latency  [numClasses]latency
	// busy is the penalty for Busy answers at the time of the last one.
	busy   float64
	busyAt time.Time
}

// New is a peer of which nothing is known: its breaker is closed, its cost 0.
func New(cfg Config) *Peer {
	p := &Peer{cfg: cfg.withDefaults()}
	p.breaker.cfg = &p.cfg
	for c := range p.latency {
		p.latency[c].cfg = &p.cfg
	}
	return p
}

// Begin says that a call is being sent. In a half-open breaker it is the trial.
func (p *Peer) Begin(time.Time) {
	p.inFlight++
	p.breaker.begin()
}

// End says how a call ended that began the time took ago.
func (p *Peer) End(now time.Time, c Class, took time.Duration, o Outcome) {
	took = max(took, 0)
	p.inFlight = max(p.inFlight-1, 0)
	p.breaker.end(now, now.Add(-took), o, p.inFlight)
	switch o {
	case OK:
		p.latency[c].sample(now, took)
	case Busy:
		p.latency[c].refused(now, took)
		p.busy = min(p.penalty(now)+p.cfg.BusyPenalty, p.cfg.MaxBusy)
		p.busyAt = now
	case Expired:
		p.latency[c].atLeast(now, took)
	}
}

// Breaker is the state of the peer's breaker.
func (p *Peer) Breaker() State { return p.breaker.state }

// Usable says whether to send the peer a call now. alive is the failure
// detector's opinion. A closed breaker lets calls through if the detector or
// an answer within [Config.Fresh] vouches for the peer; a half-open one, one
// at a time; an open one none.
func (p *Peer) Usable(now time.Time, alive bool) bool { return p.breaker.usable(now, alive) }

// ProbeDue says whether to ping the peer now: if its breaker is open and the
// pause over, or the failure detector has just seen it come back, or closed with nobody to vouch for the peer. The ping counts as
// sent, and no other is due before [Peer.Probed].
func (p *Peer) ProbeDue(now time.Time, alive bool) bool { return p.breaker.probeDue(now, alive) }

// Probed says how a ping ended that was sent the time took ago; ok is that it
// was answered.
func (p *Peer) Probed(now time.Time, took time.Duration, ok bool) {
	p.breaker.probed(now, now.Add(-max(took, 0)), ok)
}

// Cost is for ordering peers, the cheapest first: the estimate of the class's
// latency times one more than the calls under way, Busy answers counting as
// some calls more. It is 0 for a peer that no call of the class is known of,
// and falls towards 0 while there is no news.
func (p *Peer) Cost(now time.Time, c Class) time.Duration {
	load := 1 + float64(p.inFlight) + p.penalty(now)
	return time.Duration(p.latency[c].estimate(now) * load * float64(time.Second))
}

func (p *Peer) penalty(now time.Time) float64 {
	return p.busy * halved(now.Sub(p.busyAt), p.cfg.BusyHalving)
}

// P95 is the time within which 95 of 100 recent calls of the class were
// answered, less than 10 % off. It is 0 while too few are known.
func (p *Peer) P95(now time.Time, c Class) time.Duration {
	h := &p.latency[c].hist
	if h.total(now, p.cfg.SampleHalving) < p.cfg.MinSamples {
		return 0
	}
	return h.quantile(0.95)
}

// Snapshot is what a status page shows of a peer.
type Snapshot struct {
	Breaker State
	// InFlight counts the calls under way.
	InFlight int
	// ReadP95 and WriteP95 are those of [Peer.P95].
	ReadP95, WriteP95 time.Duration
}

// Snapshot is the peer at this time.
func (p *Peer) Snapshot(now time.Time) Snapshot {
	return Snapshot{
		Breaker: p.breaker.state, InFlight: p.inFlight,
		ReadP95: p.P95(now, Read), WriteP95: p.P95(now, Write),
	}
}
