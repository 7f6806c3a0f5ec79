package quorum

// PutConfig describes one put. The zero value of PW asks for nothing.
type PutConfig struct {
	// Owners and Extra count the replicas that the put is sent to; Extra are
	// those that a change of the ring may make owners, or has just unmade.
	Owners, Extra int
	// W and PW are the acknowledgements asked for: W from all replicas
	// together (Extra is added to it), PW from owners alone.
	W, PW int
	// Self numbers the coordinating replica, whose copy must be durable.
	Self int
}

// Put decides when a put is acknowledged. Make it with [NewPut].
type Put struct {
	cfg                 PutConfig
	state               []answer
	acks, ownerAcks     int
	failed, ownerFailed int
}

// NewPut starts a put that all its replicas are asked for at once.
func NewPut(cfg PutConfig) *Put {
	p := &Put{cfg: cfg, state: make([]answer, cfg.Owners+cfg.Extra)}
	for i := range p.state {
		p.state[i] = asked
	}
	return p
}

// Required is the number of acknowledgements that make the put done:
// W and one for every extra replica.
func (p *Put) Required() int { return p.cfg.W + p.cfg.Extra }

// Received is the number of acknowledgements so far.
func (p *Put) Received() int { return p.acks }

// Acked reports whether replica i acknowledged, Failed whether it failed.
func (p *Put) Acked(i int) bool { return p.state[i] == acked }

// Failed reports whether replica i was reported as failed.
func (p *Put) Failed(i int) bool { return p.state[i] == failed }

// Ack says that replica i holds the write durably.
func (p *Put) Ack(i int) {
	if p.state[i] != asked {
		return
	}
	p.state[i] = acked
	p.acks++
	if p.isOwner(i) {
		p.ownerAcks++
	}
}

// Fail says that replica i will not acknowledge.
func (p *Put) Fail(i int) {
	if p.state[i] != asked {
		return
	}
	p.state[i] = failed
	p.failed++
	if p.isOwner(i) {
		p.ownerFailed++
	}
}

// Verdict is Done, Impossible, or Waiting for more answers.
func (p *Put) Verdict() Verdict {
	switch {
	case p.state[p.cfg.Self] == failed,
		len(p.state)-p.failed < p.Required(),
		p.cfg.Owners-p.ownerFailed < p.cfg.PW:
		return Impossible
	case p.state[p.cfg.Self] == acked && p.acks >= p.Required() && p.ownerAcks >= p.cfg.PW:
		return Done
	default:
		return Waiting
	}
}

func (p *Put) isOwner(i int) bool { return i < p.cfg.Owners }
