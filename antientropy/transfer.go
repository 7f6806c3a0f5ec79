package antientropy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"starling/ring"
)

const (
	// roundTime is how long a round goes on while there is work: then what has
	// changed meanwhile comes in. What was under way goes on in the next.
	roundTime = 2 * time.Second
	// settlePause is the least time between two changes of the settled bits.
	// Each is synced here and told to all members.
	settlePause = time.Second
	// hereShare: a copy of which less than one part in so many is here is
	// streamed. Writes may have come before the snapshot, and to go through all
	// keys for their sake would cost more than to send them once more.
	hereShare = 8
)

// errTime: the time of a round is over.
var errTime = errors.New("antientropy: time over")

// crew is the streams of one round.
type crew struct {
	f      *Filler
	differ differ
	parts  []*part
	until  time.Time

	mu     sync.Mutex // guards what follows
	queue  *queue
	lost   map[ring.NodeID]bool // failed to answer in this round
	filled []Claim              // not yet settled
	more   bool
	errs   []error

	// settling is held by the one that settles; it guards Filler.settledAt.
	settling sync.Mutex
}

func newCrew(f *Filler, p *plan) *crew {
	c := &crew{f: f, lost: map[ring.NodeID]bool{}}
	c.differ = differ{f.opts.Self, f.opts.Replicas, f.opts.Store, f.opts.CallTimeout, c.restFor}
	for _, n := range p.ready() {
		part := &part{Claim: Claim{Partition: n, Stamp: p.stamps[n]}, confirmed: p.confirmed[n], filling: f.fill.of(n)}
		part.under(part.Stamp)
		if len(part.confirmed) == 0 { // lost, and there is no other member
			c.filled = append(c.filled, part.Claim)
			continue
		}
		c.parts = append(c.parts, part)
	}
	c.queue = newQueue(c.parts)
	return c
}

// sizes asks the sources how much they have of what nobody was asked about yet.
// It is for the progress, and to know what is hardly here: that it fails is no
// harm.
func (c *crew) sizes(ctx context.Context) {
	for _, source := range c.queue.sources {
		var ask []*part
		for _, p := range c.queue.waiting[source] {
			if !p.sized.Load() && len(ask) < MaxSizes {
				ask = append(ask, p)
			}
		}
		if len(ask) == 0 {
			continue
		}
		req := SizesRequest{Partitions: make([]uint32, len(ask))}
		for i, p := range ask {
			req.Partitions[i] = p.Partition
		}
		var reply SizesReply
		err := callPeer(ctx, c.f.opts.CallTimeout, func(ctx context.Context) (err error) {
			reply, err = c.f.opts.Peers.Sizes(ctx, source, req)
			return err
		})
		if err != nil || len(reply.Bytes) != len(ask) {
			c.f.opts.Logger.Debug("antientropy: asking for sizes", "owner", source, "err", err)
			continue
		}
		for i, p := range ask {
			p.size.Store(int64(min(reply.Bytes[i], 1<<62)))
			p.sized.Store(true)
		}
	}
}

// run fills until nothing is left to do or the time is over, and says which.
func (c *crew) run(ctx context.Context) (more bool) {
	c.until = time.Now().Add(roundTime)
	var streams sync.WaitGroup
	for range min(c.f.opts.Streams, len(c.parts)) {
		streams.Go(func() { c.work(ctx) })
	}
	streams.Wait()
	c.settle(ctx, true)
	return c.more
}

// err is what went wrong in the round.
func (c *crew) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.errs...)
}

// work is one stream: it takes groups until there are none, or the time is over.
func (c *crew) work(ctx context.Context) {
	for ctx.Err() == nil {
		g, ok := c.take()
		if !ok {
			return
		}
		c.fill(ctx, g)
		c.mu.Lock()
		c.queue.release(g)
		c.mu.Unlock()
		c.settle(ctx, false)
	}
}

func (c *crew) take() (group, bool) {
	late := c.late()
	c.mu.Lock()
	defer c.mu.Unlock()
	if late {
		c.more = true
		return group{}, false
	}
	return c.queue.take(int64(c.f.opts.PageBytes))
}

// late: the time of the round is over, or transfers are held.
func (c *crew) late() bool { return c.f.pace.held() || !time.Now().Before(c.until) }

// fill brings a group as far as it gets in this round.
func (c *crew) fill(ctx context.Context, g group) {
	for _, p := range g.parts {
		prepare := c.begin
		if p.blind {
			prepare = func(p *part) error { return c.copyWhole(ctx, p) }
		}
		if err := prepare(p); err != nil {
			c.abandon(p, err)
		}
	}
	if err := c.stream(ctx, g); err != nil {
		c.broke(ctx, g.source, g.parts, err)
	}
	for _, owner := range g.owners() {
		if c.late() {
			c.goOn()
			break
		}
		if err := c.catchUp(ctx, owner, g.parts); err != nil {
			c.broke(ctx, owner, nil, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range g.parts {
		if p.complete() {
			c.filled = append(c.filled, p.Claim)
		}
	}
}

// begin decides, once, whether a partition is streamed: not if a good part of it
// is here already, from before a restart. Then the keys alone tell what lacks.
func (c *crew) begin(p *part) error {
	if p.begun {
		return nil
	}
	held, err := c.f.opts.Copies.Holds(p.Partition)
	if err != nil {
		return err
	}
	if held {
		here, err := c.f.opts.Copies.Bytes(p.Partition)
		if err != nil {
			return err
		}
		p.here.Store(here)
		p.streamed = !p.sized.Load() || here*hereShare >= p.size.Load()
	}
	p.begun = true
	return nil
}

// abandon leaves a partition for a later round.
func (c *crew) abandon(p *part, err error) {
	p.out = true
	c.f.metrics.broken.Inc()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !errors.Is(err, ErrRefused) && len(c.errs) < maxErrors {
		c.errs = append(c.errs, fmt.Errorf("antientropy: partition %d: %w", p.Partition, err))
	}
}

// maxErrors is how many errors of a round are kept.
const maxErrors = 16

// broke takes in that the work with an owner broke off: parts cannot go on, and
// if it is the owner's fault it is not asked for anything more in this round.
func (c *crew) broke(ctx context.Context, owner ring.NodeID, parts []*part, err error) {
	for _, p := range parts {
		if !p.out && !p.streamed {
			c.abandon(p, err)
		}
	}
	if !errors.Is(err, errPeer) || ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.lost[owner] {
		c.f.opts.Logger.Info("antientropy: a transfer broke off and will go on later", "owner", owner, "err", err)
	}
	c.lost[owner] = true
	c.queue.giveUp(owner)
	if len(c.errs) < maxErrors {
		c.errs = append(c.errs, err)
	}
}

func (c *crew) isLost(owner ring.NodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost[owner]
}

// settle publishes what is filled, a few times a second at most. The last call
// waits until it may; it has the others behind it.
func (c *crew) settle(ctx context.Context, last bool) {
	if last {
		c.settling.Lock()
	} else if !c.settling.TryLock() {
		return // another stream is at it
	}
	defer c.settling.Unlock()
	early := settlePause - time.Since(c.f.settledAt)
	c.mu.Lock()
	filled := c.filled
	if early <= 0 || last {
		c.filled = nil
	}
	c.mu.Unlock()
	if len(filled) == 0 || early > 0 && !last {
		return
	}
	if early > 0 && sleep(ctx, early) != nil {
		return
	}
	c.f.settledAt = time.Now()
	if err := c.f.settle(filled); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.errs = append(c.errs, err)
	}
}

// rest pauses after a page: until the rate allows its bytes, and for the work
// that it made.
func (c *crew) rest(ctx context.Context, bytes int, worked time.Duration) error {
	if err := c.f.pace.pay(ctx, bytes); err != nil && !errors.Is(err, errPaceZero) { // late ends the round then
		return err
	}
	return c.restFor(ctx, worked)
}

// restFor pauses for work that was done here.
func (c *crew) restFor(ctx context.Context, worked time.Duration) error {
	if pause := transferRest(worked, c.f.opts.Pressure(), c.f.opts.Streams); pause > 0 {
		return sleep(ctx, pause)
	}
	return ctx.Err()
}

// goOn has another round follow this one.
func (c *crew) goOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.more = true
}
