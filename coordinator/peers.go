package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"starling/coordinator/health"
	"starling/ring"
)

// Pings go to peers that a breaker keeps requests from.
const (
	pingTick    = 50 * time.Millisecond // how often due pings are looked for
	pingTimeout = time.Second
	// fullPause is how long puts that need a hint are refused outright after
	// nobody had room for one.
	fullPause = 500 * time.Millisecond
)

// peer is what the coordinator knows of another member.
type peer struct {
	*peerMetrics
	mu sync.Mutex
	// health is guarded by mu.
	health *health.Peer
	// fullUntil: nobody had room for this member's hints; guarded by mu.
	fullUntil time.Time
}

// peer finds a member's record. The records are as many as the members that
// this process ever met.
func (c *Coordinator) peer(id ring.NodeID) *peer {
	if p, ok := c.peers.Load(id); ok {
		return p.(*peer)
	}
	p := &peer{peerMetrics: c.metrics.peer(id), health: health.New(health.Config{})}
	actual, _ := c.peers.LoadOrStore(id, p)
	return actual.(*peer)
}

// outcomeOf says what an error of a call tells about the peer.
func outcomeOf(ctx context.Context, err error) health.Outcome {
	var q *QuorumError
	switch {
	case err == nil, errors.As(err, &q): // other nodes failed the peer
		return health.OK
	case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return health.Expired
	case errors.Is(err, ErrUnreachable):
		return health.Unreachable
	case errors.Is(err, ErrOverloaded):
		return health.Busy
	case errors.Is(err, ErrUnknown):
		return health.Lost
	default:
		return health.OK // a refusal is an answer
	}
}

// Messages of batches are no reads here: how long many keys take must not move
// the percentile by which single reads are hedged.
var classOf = [numOps]health.Class{opRead: health.Read, opReplicate: health.Write, opForward: health.Write, opList: health.List,
	opReadBatch: health.Write, opReplicateBatch: health.Write, opForwardBatch: health.Write}

// timed runs one request to a peer, counts it, and lets the peer's health
// learn from it. That of an operation of a batch is part of a message, for which
// that is done.
func (c *Coordinator) timed(ctx context.Context, to ring.NodeID, op int, call func() error) error {
	if batchOf(ctx) != nil {
		return call()
	}
	return c.timedAs(ctx, to, op, call)
}

// timedAs is timed for what is a message of its own.
func (c *Coordinator) timedAs(ctx context.Context, to ring.NodeID, op int, call func() error) error {
	p := c.peer(to)
	start := time.Now()
	p.mu.Lock()
	p.health.Begin(start)
	p.mu.Unlock()
	err := call()
	end := time.Now()
	took := end.Sub(start)
	p.mu.Lock()
	before := p.health.Breaker()
	p.health.End(end, classOf[op], took, outcomeOf(ctx, err))
	after := p.health.Breaker()
	p.mu.Unlock()
	if after != before {
		c.breakerMoved(to, before, after, err)
	}
	p.duration[op].Observe(took.Seconds())
	p.results[op][resultOf(err)].Inc()
	return err
}

func (c *Coordinator) breakerMoved(id ring.NodeID, before, after health.State, err error) {
	p := c.peer(id)
	p.breaker.Set(float64(after))
	if after == health.Open {
		p.opened.Inc()
	}
	level := slog.LevelDebug
	if after == health.Open || after == health.Closed {
		level = slog.LevelInfo
	}
	c.opts.Logger.Log(context.Background(), level, "coordinator: breaker of a peer", "peer", c.opts.PeerName(id),
		"from", before.String(), "to", after.String(), "err", err)
}

// usable says whether requests go to a node now. This node always is.
func (c *Coordinator) usable(id ring.NodeID) bool {
	if id == c.opts.Self {
		return true
	}
	alive := c.opts.Membership.Alive(id)
	p := c.peer(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.health.Usable(time.Now(), alive)
}

// tried says whether a node's breaker is half open: it has answered a ping, and
// the first request to it is under way or may be sent.
func (c *Coordinator) tried(id ring.NodeID) bool {
	p := c.peer(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.health.Breaker() == health.HalfOpen
}

// cost orders peers for requests of a class: the cheapest first.
func (c *Coordinator) cost(id ring.NodeID, class health.Class) time.Duration {
	if id == c.opts.Self {
		return -1
	}
	p := c.peer(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.health.Cost(time.Now(), class)
}

// readP95 is the 95th percentile of a peer's answers to reads; 0: not known.
func (c *Coordinator) readP95(id ring.NodeID) time.Duration {
	p := c.peer(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.health.P95(time.Now(), health.Read)
}

// preferred orders nodes, given by number, for requests of a class: this node,
// then the usable ones by cost, equals taking turns, then the others. usable is
// how many come before the others.
func (c *Coordinator) preferred(nodes []ring.NodeID, class health.Class) (order []int, usable int) {
	type choice struct {
		node   int
		usable bool
		cost   time.Duration
	}
	choices := make([]choice, len(nodes))
	turn := int(c.turn.Add(1))
	for k := range nodes {
		i := (turn + k) % len(nodes)
		ch := choice{node: i, usable: c.usable(nodes[i])}
		if ch.usable {
			ch.cost = c.cost(nodes[i], class)
			usable++
		}
		choices[k] = ch
	}
	slices.SortStableFunc(choices, func(a, b choice) int {
		switch {
		case a.usable != b.usable && a.usable:
			return -1
		case a.usable != b.usable:
			return 1
		case a.cost < b.cost:
			return -1
		case a.cost > b.cost:
			return 1
		default:
			return 0
		}
	})
	order = make([]int, len(nodes))
	for k, ch := range choices {
		order[k] = ch.node
	}
	return order, usable
}

// pingLoop pings the members that breakers, or the failure detector, keep
// requests from, so that they are used again without a request at stake.
func (c *Coordinator) pingLoop(ctx context.Context) {
	tick := time.NewTicker(pingTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		v := c.View()
		if v == nil || c.opts.Probes == nil {
			continue
		}
		for _, m := range v.Ring().Members() {
			if m.ID != c.opts.Self && c.pingDue(m.ID) && c.tasks.start(1) {
				go c.ping(ctx, m.ID)
			}
		}
	}
}

func (c *Coordinator) pingDue(id ring.NodeID) bool {
	alive := c.opts.Membership.Alive(id)
	p := c.peer(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.health.ProbeDue(time.Now(), alive)
}

func (c *Coordinator) ping(ctx context.Context, id ring.NodeID) {
	defer c.tasks.done(1)
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	start := time.Now()
	err := c.opts.Probes.Ping(ctx, id)
	p := c.peer(id)
	p.mu.Lock()
	before := p.health.Breaker()
	p.health.Probed(time.Now(), time.Since(start), err == nil)
	after := p.health.Breaker()
	p.mu.Unlock()
	if after != before {
		c.breakerMoved(id, before, after, err)
	}
}

// roomForHints says whether a hint for a node is worth trying.
func (c *Coordinator) roomForHints(id ring.NodeID) bool {
	p := c.peer(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	return !time.Now().Before(p.fullUntil)
}

// hintsFull notes that nobody had room for a hint for this node.
func (c *Coordinator) hintsFull(id ring.NodeID) {
	p := c.peer(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fullUntil = time.Now().Add(fullPause)
}

// Peers is how the other members look from here, in the order of the ring's
// member list.
func (c *Coordinator) Peers() []PeerStatus {
	v := c.View()
	if v == nil {
		return nil
	}
	var peers []PeerStatus
	for _, m := range v.Ring().Members() {
		if m.ID == c.opts.Self {
			continue
		}
		alive := c.opts.Membership.Alive(m.ID)
		p, now := c.peer(m.ID), time.Now()
		p.mu.Lock()
		s := p.health.Snapshot(now)
		usable := p.health.Usable(now, alive)
		p.mu.Unlock()
		peers = append(peers, PeerStatus{Node: m.ID, Usable: usable, Breaker: s.Breaker, InFlight: s.InFlight,
			ReadP95: s.ReadP95, WriteP95: s.WriteP95})
	}
	return peers
}

// hedges is the budget of hedged reads.
type hedges struct {
	mu     *sync.Mutex
	budget *health.Budget
}

// hedgeBurst is how many hedges may come at once.
const hedgeBurst = 16

func newHedges(perMille int) hedges {
	return hedges{mu: new(sync.Mutex), budget: health.NewBudget(perMille, hedgeBurst)}
}

func (h hedges) earn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.budget.Earn()
}

func (h hedges) spend() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.budget.Spend()
}
