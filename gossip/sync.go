package gossip

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"starling/gossip/state"
	"starling/ring"
)

const (
	// maxExchanges bounds the exchanges in flight that nobody waits for.
	maxExchanges = 8
	// exchangePause is between two exchanges with one peer. Failed ones back off, doubling up to maxBackoff.
	exchangePause = 50 * time.Millisecond
	maxBackoff    = 10 * time.Second
)

// urgency says when an exchange with a peer is wanted.
type urgency uint8

const (
	never urgency = iota
	ifDifferent
	always
)

// syncer exchanges maps with peers: one goroutine for each peer that an exchange is wanted with, for as long as it is.
type syncer struct {
	g     *Gossip
	slots chan struct{}
	wg    sync.WaitGroup

	mu      sync.Mutex
	ctx     context.Context // nil unless Run runs
	flights map[ring.NodeID]*flight
}

// flight is what is wanted of one peer next.
type flight struct {
	want urgency
	next *result       // of the next exchange, if somebody waits for it
	rush chan struct{} // capacity 1: do not wait any longer
}

// result is filled in before done is closed.
type result struct {
	done chan struct{}
	err  error
}

func (r *result) finish(err error) {
	if r != nil {
		r.err = err
		close(r.done)
	}
}

func newSyncer(g *Gossip) *syncer {
	return &syncer{g: g, slots: make(chan struct{}, maxExchanges), flights: map[ring.NodeID]*flight{}}
}

func (s *syncer) start(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx = ctx
}

// stop waits for all flights; the context given to start must have ended.
func (s *syncer) stop() {
	s.mu.Lock()
	s.ctx = nil
	s.mu.Unlock()
	s.wg.Wait()
}

// ask wants an exchange with a peer after a delay, and nobody waits for it.
func (s *syncer) ask(id ring.NodeID, want urgency, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx != nil {
		s.flight(id, want, delay)
	}
}

// request is ask at once with a result to wait for. It cuts short what delays the peer's flight.
func (s *syncer) request(id ring.NodeID) (*result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		return nil, ErrStopped
	}
	f := s.flight(id, always, 0)
	if f.next == nil {
		f.next = &result{done: make(chan struct{})}
	}
	wake(f.rush)
	return f.next, nil
}

// flight is the peer's flight, started if there is none. The caller holds mu.
func (s *syncer) flight(id ring.NodeID, want urgency, delay time.Duration) *flight {
	f, ok := s.flights[id]
	if !ok {
		f = &flight{rush: make(chan struct{}, 1)}
		s.flights[id] = f
		ctx := s.ctx
		s.wg.Go(func() { s.fly(ctx, id, f, delay) })
	}
	f.want = max(f.want, want)
	return f
}

// fly exchanges with one peer until nothing more is wanted of it.
func (s *syncer) fly(ctx context.Context, id ring.NodeID, f *flight, delay time.Duration) {
	backoff := exchangePause
	for {
		wait(ctx, f.rush, delay)
		want, waiting, goOn := s.take(ctx, id, f)
		if !goOn {
			return
		}
		if want == ifDifferent && !s.differs(id) {
			continue
		}
		progress, err := s.exchange(ctx, id, f, waiting != nil)
		waiting.finish(err)
		if err != nil {
			s.g.logger.Debug("map exchange failed", "peer", s.g.name(id), "id", id, "error", err)
		}
		if delay = exchangePause; progress {
			backoff = exchangePause
		} else {
			backoff = min(2*backoff, maxBackoff)
			delay = jitter(backoff)
		}
		if s.differs(id) {
			s.again(f)
		}
	}
}

// wait is over after a delay, in a rush, or with ctx.
func wait(ctx context.Context, rush <-chan struct{}, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-rush:
	case <-timer.C:
	}
}

// take takes what is wanted of the peer now. If that is nothing, or Run ends, the flight is over.
func (s *syncer) take(ctx context.Context, id ring.NodeID, f *flight) (want urgency, waiting *result, goOn bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	want, waiting = f.want, f.next
	f.want, f.next = never, nil
	if ctx.Err() != nil {
		waiting.finish(ErrStopped)
		want = never
	}
	if want == never {
		delete(s.flights, id)
		return never, nil, false
	}
	return want, waiting, true
}

func (s *syncer) again(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.want = max(f.want, ifDifferent)
}

// differs says whether a live peer's map is another than this node's, as far as is known.
func (s *syncer) differs(id ring.NodeID) bool {
	p, ok := s.g.table.peer(id)
	return ok && p.MapHash != s.g.MapHash()
}

// exchange is one exchange of maps. It makes progress unless it fails or leaves both sides where they were.
func (s *syncer) exchange(ctx context.Context, id ring.NodeID, f *flight, awaited bool) (progress bool, err error) {
	addr, ok := s.g.rpcAddr(id)
	if !ok || addr == "" || addr == s.g.self.RPC {
		return false, fmt.Errorf("%w: no RPC address of %v", ErrUnknownMember, id)
	}
	if !awaited {
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		case <-f.rush:
			// Somebody began to wait for this peer.
		case <-ctx.Done():
			return false, ErrStopped
		}
	}
	before := s.g.MapHash()
	theirs, err := s.g.exchange(ctx, addr)
	if err != nil {
		return false, err
	}
	hash, after := theirs.Hash(), s.g.MapHash()
	s.g.table.learned(id, hash)
	s.g.vouch(id, theirs)
	return hash == after || before != after, nil
}

// exchange gives this node's map to whoever answers at addr, merges the answer and returns it.
func (g *Gossip) exchange(ctx context.Context, addr string) (theirs state.Map, err error) {
	ctx, cancel := context.WithTimeout(ctx, g.opt.ExchangeTimeout)
	defer cancel()
	theirs, err = g.opt.Exchanger.Exchange(ctx, addr, g.Map())
	if err != nil {
		if errors.Is(err, state.ErrForeignCluster) || errors.Is(err, state.ErrSettings) {
			g.metrics.exchangeRefused.Inc()
		} else {
			g.metrics.exchangeFailed.Inc()
		}
		return state.Map{}, fmt.Errorf("gossip: exchange maps with %s: %w", addr, err)
	}
	_, changed, err := g.merge(theirs)
	switch {
	case err != nil:
		g.metrics.exchangeRefused.Inc()
		return state.Map{}, fmt.Errorf("gossip: merge the map of %s: %w", addr, err)
	case changed:
		g.metrics.exchangeNews.Inc()
	default:
		g.metrics.exchangeSame.Inc()
	}
	return theirs, nil
}
