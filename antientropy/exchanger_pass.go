package antientropy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"starling/ring"
)

// errPeer: a peer did not answer, or not what it was asked for.
var errPeer = errors.New("antientropy: peer")

// pass is a turn of exchanges with one peer. It belongs to one goroutine.
type pass struct {
	x    *Exchanger
	peer ring.NodeID
	// over is when others have their turn, counted from the first answer; zero
	// before. since is when the work began that was not rested after yet.
	over, since time.Time
	// refused: the two sides' maps seem to differ.
	refused bool
}

// pass exchanges with a peer until nothing is due or the turn is over.
func (x *Exchanger) pass(ctx context.Context, peer ring.NodeID) {
	defer func() {
		x.mu.Lock()
		x.ledger.end(x.now(), peer)
		x.mu.Unlock()
		x.Kick() // others may wait for their turn
	}()
	p := &pass{x: x, peer: peer, since: time.Now()}
	var due []uint32
	for !p.turnOver() {
		var epoch uint64
		if due, epoch = x.take(peer, due[:0]); len(due) == 0 {
			break
		}
		if err := p.compareAll(ctx, due, epoch); err != nil {
			x.failed(ctx, peer, err)
			break
		}
	}
	if p.refused && ctx.Err() == nil {
		p.refresh(ctx)
	}
}

func (p *pass) turnOver() bool { return !p.over.IsZero() && !time.Now().Before(p.over) }

func (x *Exchanger) take(peer ring.NodeID, dst []uint32) (due []uint32, epoch uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ledger.take(x.now(), peer, dst)
}

// failed leaves a peer alone for a while, unless the end has come.
func (x *Exchanger) failed(ctx context.Context, peer ring.NodeID, err error) {
	if ctx.Err() != nil {
		return
	}
	x.mu.Lock()
	x.ledger.failed(x.now(), peer)
	x.mu.Unlock()
	x.opts.Logger.Debug("antientropy: exchange broke off", "peer", x.opts.PeerName(peer), "err", err)
}

// ended notes how an exchange went.
func (p *pass) ended(e ending) {
	e.peer = p.peer
	p.refused = p.refused || e.outcome == outcomeRefused
	p.x.metrics.exchanges[e.outcome].Inc()
	p.x.mu.Lock()
	defer p.x.mu.Unlock()
	p.x.ledger.ended(p.x.now(), e)
}

// compareAll compares roots, all in one message, and exchanges what differs. It
// fails if the peer does.
func (p *pass) compareAll(ctx context.Context, due []uint32, epoch uint64) error {
	began := p.x.now()
	req := CompareRequest{From: p.x.opts.Self, Roots: make([]RootClaim, 0, len(due))}
	for _, partition := range due {
		if root, o := p.root(partition); o == outcomeEqual {
			req.Roots = append(req.Roots, root)
		} else {
			p.ended(ending{partition: partition, outcome: o})
		}
	}
	answers, err := p.compare(ctx, req)
	if end := p.rest(ctx); end != nil {
		return end
	}
	if p.over.IsZero() {
		p.over = time.Now().Add(turnTime)
	}
	var unequal []ending
	for i, root := range req.Roots {
		e := ending{partition: root.Partition, epoch: epoch, began: began, outcome: outcomeFailed}
		if err == nil {
			e.outcome = outcomeOf(answers[i].Verdict)
		}
		if e.outcome == outcomeUnfinished {
			unequal = append(unequal, e)
			continue
		}
		p.ended(e)
	}
	for len(unequal) > 0 && err == nil && !p.turnOver() { // the others stay due
		n := min(len(unequal), MaxSketches)
		err = p.settle(ctx, unequal[:n])
		unequal = unequal[n:]
	}
	return err
}

// outcomeOf is what a verdict makes of an exchange: outcomeUnfinished if it has
// to go on.
func outcomeOf(v Verdict) outcome {
	switch v {
	case VerdictEqual:
		return outcomeEqual
	case VerdictDiffers, VerdictListed:
		return outcomeUnfinished
	case VerdictBusy:
		return outcomeBusy
	}
	return outcomeRefused
}

// root reads what is to be compared of a partition; the outcome is not
// outcomeEqual if there is nothing.
func (p *pass) root(partition uint32) (RootClaim, outcome) {
	claim, err := p.claim(partition)
	if err != nil {
		return RootClaim{}, outcomeRefused
	}
	root, err := p.x.opts.Store.Root(partition)
	if err != nil {
		p.x.opts.Logger.Warn("antientropy: partition cannot be read", "partition", partition, "err", err)
		return RootClaim{}, outcomeFailed
	}
	return RootClaim{Claim: claim, Root: root}, outcomeEqual
}

// claim gives the placement stamp in force. Whatever is read from the store
// after it, it may travel with.
func (p *pass) claim(partition uint32) (Claim, error) {
	pl, ok := placementOf(p.x.opts.Views.View(), partition)
	if !ok || !contains(pl.Owners, p.x.opts.Self) || !contains(pl.Owners, p.peer) {
		return Claim{}, fmt.Errorf("%w: partition %d is not shared with the peer", ErrRefused, partition)
	}
	return Claim{Partition: partition, Stamp: pl.Stamp}, nil
}

// compare asks for verdicts; without roots there are none.
func (p *pass) compare(ctx context.Context, req CompareRequest) (answers []Comparison, err error) {
	if len(req.Roots) == 0 {
		return nil, nil
	}
	err = p.call(ctx, func(ctx context.Context) error {
		answers, err = p.x.opts.Peers.Compare(ctx, p.peer, req)
		return err
	})
	if err == nil && len(answers) != len(req.Roots) {
		err = fmt.Errorf("%w: %w: %d verdicts for %d roots", errPeer, errPage, len(answers), len(req.Roots))
	}
	return answers, err
}

// settled notes how the exchange of a partition went that differed. It fails if
// the peer does, or when the end has come.
func (p *pass) settled(ctx context.Context, e ending, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
	case errors.Is(err, errTurn):
		e.outcome = outcomeUnfinished
	case errors.Is(err, errHeld):
		e.outcome = outcomeBusy
	case errors.Is(err, ErrRefused):
		e.outcome = outcomeRefused
	default:
		e.outcome = outcomeFailed
	}
	p.ended(e)
	if errors.Is(err, errPeer) {
		return err
	}
	if e.outcome == outcomeFailed {
		p.x.opts.Logger.Warn("antientropy: partition cannot be repaired here", "partition", e.partition, "err", err)
	}
	return nil
}

// call runs one request to the peer. What is wrong with it is errPeer, unless
// it was refused.
func (p *pass) call(ctx context.Context, request func(context.Context) error) error {
	return callPeer(ctx, p.x.opts.CallTimeout, request)
}

// pay waits for the turn of so many bytes. That is no work.
func (p *pass) pay(ctx context.Context, bytes int) error {
	start := time.Now()
	defer func() { p.since = p.since.Add(time.Since(start)) }()
	return p.x.pace.pay(ctx, bytes)
}

// rest pauses for what was done since the last rest.
func (p *pass) rest(ctx context.Context) error {
	defer func() { p.since = time.Now() }()
	return p.x.pace.rest(ctx, time.Since(p.since))
}

// refresh exchanges cluster maps with the peer: one of the two goes by an older
// one. When the view changes here, a kick follows.
func (p *pass) refresh(ctx context.Context) {
	callCtx, cancel := context.WithTimeout(ctx, p.x.opts.CallTimeout)
	defer cancel()
	if err := p.x.opts.Liveness.Refresh(callCtx, p.peer); err != nil {
		p.x.opts.Logger.Debug("antientropy: refreshing the cluster map", "peer", p.x.opts.PeerName(p.peer), "err", err)
	}
}
