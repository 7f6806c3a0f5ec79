package quorum

import "slices"

// PutConfig describes one put. The zero value of PW asks for nothing.
type PutConfig struct {
	// Owners and Extra count the replicas that the put is sent to; Extra are
	// those that a change of the ring may make owners, or has just unmade.
	Owners, Extra int
	// W and PW are the acknowledgements asked for: W from all replicas
	// together (Extra is added to it), PW from owners alone.
	W, PW int
	// Hints: a replica that fails is owed a hint. Sloppy: a hint that another
	// node keeps counts towards W.
	Hints, Sloppy bool
	// Self numbers the replica whose copy the coordinator writes: its own,
	// or, where StandIn is set, that of the replica it keeps a hint for.
	Self    int
	StandIn bool
}

// Put decides when a put is acknowledged. Make it with [NewPut].
type Put struct {
	cfg      PutConfig
	state    []answer
	hints    []hintState
	acks     int // of all replicas
	hinted   int // replicas that did not acknowledge and have a hint that counts
	ownerOut int // owners that failed
	ownerAck int
	excused  []bool
	verdict  Verdict
}

// hintState is what is known of the hint for one replica.
type hintState uint8

const (
	noHint   hintState = iota // none was reported
	counted                   // kept by a node that holds no other copy of the put
	kept                      // kept by a node whose copy counts already
	hintless                  // nobody took it
)

// NewPut starts a put that all its replicas are asked for at once.
func NewPut(cfg PutConfig) *Put {
	n := cfg.Owners + cfg.Extra
	p := &Put{cfg: cfg, state: make([]answer, n), hints: make([]hintState, n), excused: make([]bool, n)}
	for i := range p.state {
		p.state[i] = asked
	}
	p.decide()
	return p
}

// Required is the number of acknowledgements that make the put done:
// W and one for every extra replica.
func (p *Put) Required() int { return p.cfg.W + p.cfg.Extra }

// Received is the number of votes so far: acknowledgements, and hints where
// they count.
func (p *Put) Received() int {
	if p.cfg.Sloppy {
		return p.acks + p.hinted
	}
	return p.acks
}

// Lacking says what an unfinished put waited for: how many votes, and how many of
// them are there. Where there are votes enough it is about those of owners.
func (p *Put) Lacking() (required, received int) {
	if p.Received() >= p.Required() && p.ownerAck < p.cfg.PW {
		return p.cfg.PW, p.ownerAck
	}
	return p.Required(), p.Received()
}

// Acked reports whether replica i acknowledged, Failed whether it failed,
// Hinted whether a hint for it is kept and it did not acknowledge.
func (p *Put) Acked(i int) bool { return p.state[i] == acked }

// Failed reports whether replica i was reported as failed.
func (p *Put) Failed(i int) bool { return p.state[i] == failed }

// Hinted reports whether a hint is kept for replica i, which has not
// acknowledged.
func (p *Put) Hinted(i int) bool {
	return p.state[i] != acked && (p.hints[i] == counted || p.hints[i] == kept)
}

// Ack says that replica i holds the write durably.
func (p *Put) Ack(i int) {
	if p.state[i] != asked {
		return
	}
	p.state[i] = acked
	p.acks++
	if p.hints[i] == counted {
		p.hinted--
	}
	if p.isOwner(i) {
		p.ownerAck++
	}
	p.decide()
}

// Fail says that replica i will not acknowledge.
func (p *Put) Fail(i int) {
	if p.state[i] != asked {
		return
	}
	p.state[i] = failed
	if p.isOwner(i) {
		p.ownerOut++
	}
	p.decide()
}

// Excuse says that replica i, which failed, is owed no hint and gets none that
// counts: it knows another ring.
func (p *Put) Excuse(i int) {
	p.excused[i] = true
	p.decide()
}

// Hint says that a hint for replica i is durable at a node of its own: one
// that holds no other copy of this put.
func (p *Put) Hint(i int) {
	if p.hints[i] != noHint {
		return
	}
	p.hints[i] = counted
	if p.state[i] != acked {
		p.hinted++
	}
	p.decide()
}

// Keep says that a hint for replica i is durable at a node whose copy, or whose
// other hint, counts already.
func (p *Put) Keep(i int) {
	if p.hints[i] == noHint {
		p.hints[i] = kept
	}
	p.decide()
}

// NoHint says that nobody keeps a hint for replica i.
func (p *Put) NoHint(i int) {
	if p.hints[i] == noHint {
		p.hints[i] = hintless
	}
	p.decide()
}

// Verdict is Done, Impossible, or Waiting for more answers.
func (p *Put) Verdict() Verdict { return p.verdict }

// Unheard reports whether a replica has not been reported on, or a failed one's
// hint has not.
func (p *Put) Unheard() bool {
	return slices.Contains(p.state, asked) || p.owes(noHint)
}

// decide comes to a verdict if there is none yet. Reports that come after it
// are only recorded.
func (p *Put) decide() {
	switch {
	case p.verdict != Waiting:
	case p.selfFailed(), p.possible() < p.Required(), p.cfg.Owners-p.ownerOut < p.cfg.PW, p.owes(hintless):
		p.verdict = Impossible
	case p.selfDone() && p.Received() >= p.Required() && p.ownerAck >= p.cfg.PW && !p.owes(noHint):
		p.verdict = Done
	}
}

// possible counts the votes that are there or may still come.
func (p *Put) possible() int {
	n := 0
	for i, s := range p.state {
		mayHint := p.cfg.Hints && p.cfg.Sloppy && !p.excused[i] && p.hints[i] <= counted
		if s == acked || s == asked || mayHint {
			n++
		}
	}
	return n
}

// owes reports whether a failed replica's hint is in the state h.
func (p *Put) owes(h hintState) bool {
	if !p.cfg.Hints {
		return false
	}
	for i, s := range p.state {
		if s == failed && p.hints[i] == h && !p.excused[i] {
			return true
		}
	}
	return false
}

func (p *Put) selfDone() bool {
	if p.cfg.StandIn {
		return p.hints[p.cfg.Self] == counted
	}
	return p.state[p.cfg.Self] == acked
}

func (p *Put) selfFailed() bool {
	if p.cfg.StandIn {
		return p.hints[p.cfg.Self] == hintless
	}
	return p.state[p.cfg.Self] == failed
}

func (p *Put) isOwner(i int) bool { return i < p.cfg.Owners }
