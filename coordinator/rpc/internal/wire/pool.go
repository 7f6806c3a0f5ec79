package wire

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// The wait after the first failed dial, and the longest. Short: a node
	// that comes back on its address is to be found at once, and a refused
	// dial is cheap.
	minBackoff = 20 * time.Millisecond
	maxBackoff = 250 * time.Millisecond
	// slowDial is how long a failing dial may take before calls stop waiting
	// for the next one: a black hole must not cost every call its deadline.
	slowDial = 250 * time.Millisecond
)

// Class keeps traffic apart that must not delay each other.
type Class uint8

// The classes of connections to a peer.
const (
	Interactive Class = iota
	Bulk
)

// Pool holds at most one connection for each address and class, opened on
// demand by one dial that all calls share.
type Pool struct {
	opts   *Options
	ctx    context.Context // of dials
	cancel context.CancelFunc
	wg     sync.WaitGroup // dials and connections

	mu     sync.Mutex
	closed bool
	peers  map[peerKey]*peer
	conns  map[*Conn]struct{} // all that have not ended, retired ones too
}

type peerKey struct {
	addr  string
	class Class
}

type peer struct {
	conn     *Conn // for new calls; nil: none
	dial     *dial // in progress; nil: none
	failures int   // in a row
	retryAt  time.Time
	vain     [16]byte // the node that could not be reached last; zero: anyone
	lastErr  error
	slow     bool // calls do not wait for a dial: the last one failed slowly, or the peer fell silent
}

// dial is one attempt; the rest is set before done is closed.
type dial struct {
	node [16]byte // for whose sake it was begun
	done chan struct{}
	conn *Conn
	err  error
}

// NewPool checks the options; it dials nothing yet.
func NewPool(o Options) (*Pool, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Pool{opts: opts, peers: map[peerKey]*peer{}, conns: map[*Conn]struct{}{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

// Get is the connection to an address. It waits for a dial within ctx, but
// fails at once during the backoff after a failed one, and while an address
// that last failed slowly, or whose connection fell silent, is dialled again.
// The node that is meant to be there, zero if any is, counts for that: a new one
// on the address of one that died is not to suffer for it. Who is there, the
// connection tells. Every error wraps ErrDown.
func (p *Pool) Get(ctx context.Context, addr string, node [16]byte, class Class) (*Conn, error) {
	return p.get(ctx, peerKey{addr, class}, node, false)
}

// Probe is Get for somebody who asks only whether the peer is back: it waits
// for the dial, however slow the last one was.
func (p *Pool) Probe(ctx context.Context, addr string, node [16]byte, class Class) (*Conn, error) {
	return p.get(ctx, peerKey{addr, class}, node, true)
}

func (p *Pool) get(ctx context.Context, key peerKey, node [16]byte, patient bool) (*Conn, error) {
	conn, d, err := p.find(key, node, patient)
	if d == nil {
		return conn, err
	}
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: still dialling %s: %w", ErrDown, key.addr, ctx.Err())
	}
}

// find is a connection, or a dial to wait for, or neither and why.
func (p *Pool) find(key peerKey, node [16]byte, patient bool) (*Conn, *dial, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, fmt.Errorf("%w: %w", ErrDown, ErrClosed)
	}
	pr := p.peers[key]
	if pr == nil {
		if !p.roomForPeer() {
			return nil, nil, fmt.Errorf("%w: connected to %d peers already", ErrDown, len(p.peers))
		}
		pr = &peer{}
		p.peers[key] = pr
	}
	if pr.conn != nil {
		return pr.conn, nil, nil
	}
	if pr.dial == nil {
		if pr.isNew(node) {
			pr.failures, pr.retryAt, pr.slow = 0, time.Time{}, false
		}
		if time.Now().Before(pr.retryAt) {
			return nil, nil, pr.lastErr
		}
		pr.dial = &dial{node: node, done: make(chan struct{})}
		p.wg.Add(1)
		go p.open(key, pr, pr.dial)
	}
	if pr.slow && !patient {
		return nil, nil, pr.lastErr
	}
	return nil, pr.dial, nil
}

// roomForPeer forgets peers that are of no more use when the table is full.
func (p *Pool) roomForPeer() bool {
	if len(p.peers) < p.opts.MaxConns {
		return true
	}
	now := time.Now()
	for key, pr := range p.peers {
		if pr.conn == nil && pr.dial == nil && now.After(pr.retryAt) {
			delete(p.peers, key)
		}
	}
	return len(p.peers) < p.opts.MaxConns
}

// open dials, publishes the outcome, and then runs the connection.
func (p *Pool) open(key peerKey, pr *peer, d *dial) {
	defer p.wg.Done()
	start := time.Now()
	conn, err := p.connect(key.addr)
	p.mu.Lock()
	switch {
	case err != nil:
	case p.closed:
		err = ErrClosed
	case conn.ours.Cluster != p.opts.Cluster():
		err = ErrNotJoined // joined meanwhile: this one says that we have not
	}
	pr.dial = nil
	if err == nil {
		p.adopt(key.addr, pr, conn)
		d.conn = conn
	} else {
		d.err = fmt.Errorf("%w: %s: %w", ErrDown, key.addr, err)
		pr.vain = d.node
		pr.failed(d.err, time.Since(start))
	}
	p.mu.Unlock()
	close(d.done)
	if err != nil {
		p.opts.Metrics.dialFailures.Inc()
		if conn != nil {
			conn.nc.Close()
		}
		return
	}
	conn.run()
	p.mu.Lock()
	delete(p.conns, conn)
	p.mu.Unlock()
}

// adopt makes conn the peer's connection; p.mu is held.
func (p *Pool) adopt(addr string, pr *peer, conn *Conn) {
	pr.conn, pr.failures, pr.slow, pr.lastErr = conn, 0, false, nil
	p.conns[conn] = struct{}{}
	conn.onRetire = func(reason error) { p.drop(addr, pr, conn, reason) }
}

// isNew says whether a node is known to be another than the one that could not
// be reached at the peer's address.
func (pr *peer) isNew(node [16]byte) bool {
	return node != [16]byte{} && pr.vain != [16]byte{} && node != pr.vain
}

// failed starts the backoff after a dial that took so long; the pool's lock is
// held.
func (pr *peer) failed(err error, took time.Duration) {
	pr.lastErr = err
	pr.slow = took > slowDial
	pr.retryAt = time.Now().Add(min(minBackoff<<min(pr.failures, 16), maxBackoff))
	pr.failures++
}

// connect opens a connection and exchanges prefaces.
func (p *Pool) connect(addr string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.opts.DialTimeout)
	defer cancel()
	nc, err := p.opts.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	c := &Conn{pending: map[uint64]*call{}}
	c.init(p.opts, nc, c.failed)
	if err := c.exchange(ctx, true); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// drop takes a connection out of use for new calls. A peer that fell silent
// most likely will not answer a dial either: calls do not wait for that.
func (p *Pool) drop(addr string, pr *peer, conn *Conn, reason error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pr.conn != conn {
		return
	}
	pr.conn = nil
	if errors.Is(reason, ErrDead) {
		pr.vain = conn.Peer().Node
		pr.slow, pr.lastErr = true, fmt.Errorf("%w: %s: %w", ErrDown, addr, reason)
	}
}

// Rejoin retires the connections that were opened when this node belonged to
// another cluster, or to none.
func (p *Pool) Rejoin() {
	cluster := p.opts.Cluster()
	for _, c := range p.live() {
		if c.ours.Cluster != cluster {
			c.retire(ErrNotJoined)
		}
	}
}

// Close ends all connections and dials and waits for everything to return.
// Calls that wait end as if the connection had been lost.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	for _, c := range p.live() {
		c.fail(ErrClosed)
	}
	p.wg.Wait()
}

// live are the connections that have not ended.
func (p *Pool) live() []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := make([]*Conn, 0, len(p.conns))
	for c := range p.conns {
		conns = append(conns, c)
	}
	return conns
}
