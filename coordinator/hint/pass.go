package hint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"starling/coordinator/pace"
	"starling/store/object"
)

// pass is one walk over the hints of a target. It belongs to one goroutine;
// deliveries run in others and hand their results back through a channel.
type pass struct {
	d       *Drainer
	t       *target
	results chan result
	// flying counts the deliveries under way, of which there are never more
	// than results has room for.
	flying int
	// done counts the deliveries that succeeded. err is why the pass ends
	// before the last hint; damage, the last hint that could not be read.
	done        int
	err, damage error
}

// result is how one delivery went.
type result struct {
	took time.Duration
	err  error
	// dropped: the hint is gone. Else it was changed in the meantime.
	dropped bool
	// moved: another member keeps the hint.
	moved bool
	// dropErr is why a hint that was delivered could not be dropped.
	dropErr error
}

// pass delivers the hints of a target, and returns when nothing of it is left
// running.
func (d *Drainer) pass(ctx context.Context, t *target) {
	p := &pass{d: d, t: t, results: make(chan result, d.opts.MaxWindow)}
	for h, err := range d.opts.Store.Hints(t.id, object.Ref{}) {
		if err != nil {
			p.damaged(h.Ref, err)
			continue
		}
		if !p.admit(ctx, h) {
			break
		}
		p.flying++
		go func() { p.results <- d.deliver(ctx, h) }() // awaited below
	}
	for p.flying > 0 {
		p.learn(<-p.results)
	}
	p.finish(ctx)
}

// admit waits until a hint may be sent, and reports whether the pass goes on.
func (p *pass) admit(ctx context.Context, h object.Hint) bool {
	if p.flying >= p.t.window.size {
		p.t.window.filled = true
	}
	for p.err == nil && p.flying >= p.width() {
		p.learn(<-p.results)
	}
	return p.meter(ctx, sizeOf(h)) && p.d.ready(p.t.id)
}

// width is how many deliveries may be under way now.
func (p *pass) width() int {
	return min(p.t.window.size, widthUnder(p.d.opts.Deliverer.Pressure(), p.d.opts.MaxWindow))
}

// maxWait is how long a pass waits for its bytes before it looks at the
// pressure again.
const maxWait = 250 * time.Millisecond

// meter waits until the rate allows so many bytes more, in turn with the other
// passes. It reports whether they may be sent.
func (p *pass) meter(ctx context.Context, bytes int64) bool {
	if !p.takeTurn(ctx) {
		return false
	}
	defer func() { <-p.d.turn }()
	for p.err == nil && ctx.Err() == nil {
		wait := p.d.bucket.Take(time.Now(), bytes, p.d.rate())
		if wait == 0 {
			return true
		}
		p.waitOrLearn(ctx, min(wait, maxWait))
	}
	return false
}

// takeTurn waits until this pass is the one whose bytes are metered next, and
// reports whether it is. A failure ends the wait: the target's pause begins
// when it fails, not when the others have sent their share.
func (p *pass) takeTurn(ctx context.Context) bool {
	for p.err == nil {
		select {
		case p.d.turn <- struct{}{}:
			return true
		case r := <-p.results:
			p.learn(r)
		case <-ctx.Done():
			return false
		}
	}
	return false
}

// waitOrLearn waits for the time, the next result or the end.
func (p *pass) waitOrLearn(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case r := <-p.results:
		p.learn(r)
	case <-ctx.Done():
	}
}

// rate is the present rate of all passes together, bytes per second.
func (d *Drainer) rate() float64 {
	return pace.RateUnder(d.opts.Deliverer.Pressure(), d.opts.BytesPerSecond)
}

// sizeOf is about what a hint takes on the wire.
func sizeOf(h object.Hint) int64 {
	return int64(h.Object.Size() + len(h.Ref.Bucket) + len(h.Ref.Key))
}

// deliver brings one hint to its target, or from a node that leaves to another
// that keeps it, and drops it.
func (d *Drainer) deliver(ctx context.Context, h object.Hint) result {
	ctx, cancel := context.WithTimeout(ctx, d.opts.Timeout)
	defer cancel()
	start := time.Now()
	send, move := d.opts.Deliverer.Deliver, !d.opts.Deliverer.Usable(h.Target) && d.leaving()
	if move {
		send = d.opts.Mover.Move
	}
	err := send(ctx, h.Target, h.Ref, h.Object)
	r := result{took: time.Since(start), err: err, moved: move}
	if err == nil {
		r.dropped, r.dropErr = d.opts.Store.DropHint(h.Target, h.Ref, h.Object.Hash(h.Ref.Bucket, h.Ref.Key))
		d.metrics.bytes.Add(float64(sizeOf(h)))
	}
	return r
}

// learn takes a result in.
func (p *pass) learn(r result) {
	p.flying--
	now := time.Now()
	m := p.d.metrics.of(p.t.id)
	switch {
	case r.err == nil && r.dropErr != nil:
		// Delivered and still here: it will be delivered once more, so the
		// store had better have some time.
		m[failed].Inc()
		p.fail(fmt.Errorf("hint: dropping a hint that was delivered: %w", r.dropErr))
	case r.err == nil:
		p.done++
		p.t.window.answered(now, r.took)
		p.t.succeeded(r.dropped)
		switch {
		case !r.dropped:
			m[changed].Inc()
		case r.moved:
			m[moved].Inc()
		default:
			m[delivered].Inc()
		}
	case errors.Is(r.err, ErrBusy):
		m[busy].Inc()
		if !p.t.window.refused(now, r.took) {
			p.fail(r.err)
		}
	default:
		m[failed].Inc()
		p.fail(r.err)
	}
}

func (p *pass) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// damaged notes hints that cannot be read. They do not end the pass.
func (p *pass) damaged(at object.Ref, err error) {
	p.damage = err
	if _, known := p.t.damaged[at]; known || len(p.t.damaged) == maxDamaged {
		return
	}
	p.t.damaged[at] = struct{}{}
	p.d.metrics.damaged.Inc()
	p.d.opts.Logger.Error("hint: cannot be read; it is skipped", "peer", p.d.opts.PeerName(p.t.id),
		"partition", at.Partition, "bucket", at.Bucket, "key", at.Key, "err", err)
}

func (p *pass) finish(ctx context.Context) {
	log := p.d.opts.Logger.With("peer", p.d.opts.PeerName(p.t.id), "delivered", p.done)
	switch {
	case ctx.Err() != nil:
		p.err = nil // deliveries that ended with us are no failures
	case p.err != nil:
		p.t.window = newWindow(p.d.opts.MaxWindow)
		log.Info("hint: delivery stopped; it goes on after a pause", "err", p.err)
	case p.done == 0 && p.damage != nil:
		p.err = p.damage // nothing is left that can be read: look again now and then only
	case p.done > 0:
		log.Info("hint: delivered")
	}
	p.t.finish(time.Now(), p.err)
}
