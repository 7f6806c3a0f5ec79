package coordinator

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// The bounds of a message that the operations of a batch share. It goes on the
// connections of single requests: a larger one would delay those behind it.
const (
	maxMessageEntries = 256
	maxMessageBytes   = 256 << 10 // an entry larger than that goes alone
	// messageLinger is how long entries wait for others to come, while an
	// earlier message to their node is under way.
	messageLinger = time.Millisecond
)

// batch is how the operations of one batch reach the other nodes: [Peers] that
// gather what is for one node.
type batch struct {
	c *Coordinator

	mu         sync.Mutex
	reads      map[ring.NodeID]*lane[ReadRequest, ReadReply]
	replicates map[ring.NodeID]*lane[ReplicateRequest, struct{}]
	forwards   map[ring.NodeID]*lane[ForwardRequest, PutResult]
}

func newBatch(c *Coordinator) *batch {
	return &batch{
		c: c, reads: map[ring.NodeID]*lane[ReadRequest, ReadReply]{},
		replicates: map[ring.NodeID]*lane[ReplicateRequest, struct{}]{},
		forwards:   map[ring.NodeID]*lane[ForwardRequest, PutResult]{},
	}
}

// batchKey is where the context of an operation has the batch that it is of.
type batchKey struct{}

func batchOf(ctx context.Context) *batch {
	b, _ := ctx.Value(batchKey{}).(*batch)
	return b
}

// peersFor is how an operation reaches other nodes.
func (c *Coordinator) peersFor(ctx context.Context) Peers {
	if b := batchOf(ctx); b != nil {
		return b
	}
	return c.opts.Peers
}

// Read implements [Peers].
func (b *batch) Read(ctx context.Context, to ring.NodeID, req ReadRequest) (ReadReply, error) {
	o := &b.c.opts
	l := laneOf(b, b.reads, to, carrier[ReadRequest, ReadReply]{opRead, opReadBatch, o.Peers.Read, o.Batches.ReadBatch})
	return l.call(ctx, req, refBytes(req.Ref))
}

// Replicate implements [Peers].
func (b *batch) Replicate(ctx context.Context, to ring.NodeID, req ReplicateRequest) error {
	o := &b.c.opts
	one := func(ctx context.Context, to ring.NodeID, req ReplicateRequest) (struct{}, error) {
		return struct{}{}, o.Peers.Replicate(ctx, to, req)
	}
	l := laneOf(b, b.replicates, to, carrier[ReplicateRequest, struct{}]{opReplicate, opReplicateBatch, one, o.Batches.ReplicateBatch})
	_, err := l.call(ctx, req, refBytes(req.Ref)+req.Object.Size())
	return err
}

// Forward implements [Peers].
func (b *batch) Forward(ctx context.Context, to ring.NodeID, req ForwardRequest) (PutResult, error) {
	o := &b.c.opts
	l := laneOf(b, b.forwards, to, carrier[ForwardRequest, PutResult]{opForward, opForwardBatch, o.Peers.Forward, o.Batches.ForwardBatch})
	p := &req.Put
	bytes := refBytes(object.Ref{Bucket: p.Bucket, Key: p.Key}) + version.SizeContext(p.Context) + len(p.Sibling.Value)
	for _, f := range p.Sibling.Meta {
		bytes += len(f.Name) + len(f.Value)
	}
	return l.call(ctx, req, bytes)
}

// refBytes is about what a reference and the rest of an entry take.
func refBytes(r object.Ref) int { return len(r.Bucket) + len(r.Key) + 64 }

// carrier is how requests of one kind are sent, one and many.
type carrier[Q, A any] struct {
	op, batchOp int
	one         func(context.Context, ring.NodeID, Q) (A, error)
	many        func(context.Context, ring.NodeID, []Q) ([]Answer[A], error)
}

// lane gathers the requests of one kind to one node. The first sets out almost
// at once; those that come while it is under way wait for it, or for
// messageLinger, or until they fill a message.
type lane[Q, A any] struct {
	c       *Coordinator
	to      ring.NodeID
	carrier carrier[Q, A]

	mu       sync.Mutex
	waiting  []*entry[Q, A]
	bytes    int         // of waiting
	drivers  int         // goroutines that send what waits
	starting bool        // one of them has not looked at it yet
	linger   *time.Timer // nil: not set
}

// entry is one request of a lane.
type entry[Q, A any] struct {
	ctx   context.Context
	req   Q
	bytes int
	done  chan Answer[A] // of one, sent once
}

func laneOf[Q, A any](b *batch, lanes map[ring.NodeID]*lane[Q, A], to ring.NodeID, with carrier[Q, A]) *lane[Q, A] {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := lanes[to]
	if l == nil {
		l = &lane[Q, A]{c: b.c, to: to, carrier: with}
		lanes[to] = l
	}
	return l
}

// call has a request sent with others, and waits for its answer.
func (l *lane[Q, A]) call(ctx context.Context, req Q, bytes int) (A, error) {
	e := &entry[Q, A]{ctx: ctx, req: req, bytes: bytes, done: make(chan Answer[A], 1)}
	l.add(e)
	select {
	case a := <-e.done:
		return a.Value, a.Err
	case <-ctx.Done():
	}
	var none A
	if l.withdraw(e) {
		return none, fmt.Errorf("coordinator: not sent: %w", ctx.Err())
	}
	select {
	case a := <-e.done:
		return a.Value, a.Err
	default:
		return none, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
}

func (l *lane[Q, A]) add(e *entry[Q, A]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, e)
	l.bytes += e.bytes
	l.urge()
}

// withdraw takes an entry back, unless it has been sent.
func (l *lane[Q, A]) withdraw(e *entry[Q, A]) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, w := range l.waiting {
		if w == e {
			l.waiting = append(l.waiting[:i:i], l.waiting[i+1:]...)
			l.bytes -= e.bytes
			return true
		}
	}
	return false
}

// urge sees to it that what waits is sent. The lock is held.
func (l *lane[Q, A]) urge() {
	full := l.bytes >= maxMessageBytes || len(l.waiting) >= maxMessageEntries
	switch {
	case len(l.waiting) == 0 || l.starting:
	case l.drivers == 0 || full:
		l.start()
	case l.linger == nil:
		l.linger = time.AfterFunc(messageLinger, l.lingered)
	}
}

// start has a driver send what waits. The lock is held.
func (l *lane[Q, A]) start() {
	if !l.c.tasks.start(1) {
		for _, e := range l.waiting {
			e.done <- Answer[A]{Err: ErrNotReady}
		}
		l.waiting, l.bytes = nil, 0
		return
	}
	l.drivers++
	l.starting = true
	go l.drive()
}

func (l *lane[Q, A]) lingered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.linger = nil
	if len(l.waiting) > 0 && !l.starting {
		l.start()
	}
}

// drive sends messages until nothing waits.
func (l *lane[Q, A]) drive() {
	defer l.c.tasks.done(1)
	runtime.Gosched() // others of the batch that have something for this node add it
	for m := l.cut(); len(m) > 0; m = l.cut() {
		l.send(m)
	}
}

// cut takes the next message out; none ends the driver.
func (l *lane[Q, A]) cut() []*entry[Q, A] {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.starting = false
	n, bytes := 0, 0
	for n < min(len(l.waiting), maxMessageEntries) && (n == 0 || bytes+l.waiting[n].bytes <= maxMessageBytes) {
		bytes += l.waiting[n].bytes
		n++
	}
	m := l.waiting[:n:n]
	l.waiting = l.waiting[n:]
	l.bytes -= bytes
	if n == 0 {
		l.drivers--
	}
	if len(l.waiting) == 0 && l.linger != nil {
		l.linger.Stop()
		l.linger = nil
	}
	l.urge()
	return m
}

// again puts entries that were not begun before those that wait.
func (l *lane[Q, A]) again(left []*entry[Q, A]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range left {
		l.bytes += e.bytes
	}
	l.waiting = append(left, l.waiting...)
}

// send carries one message and hands its answers out.
func (l *lane[Q, A]) send(m []*entry[Q, A]) {
	answers, err := l.carry(m)
	if err == nil && len(answers) == 0 {
		err = fmt.Errorf("%w: no answer to any entry", ErrUnknown)
	}
	for i, e := range m {
		switch {
		case err != nil:
			e.done <- Answer[A]{Err: err}
		case i < len(answers):
			e.done <- answers[i]
		default:
			l.again(m[i:])
			return
		}
	}
}

// carry sends a message. Its outcome, and not that of each entry, is what the
// peer's health learns from.
func (l *lane[Q, A]) carry(m []*entry[Q, A]) (answers []Answer[A], err error) {
	k := &l.carrier
	l.c.batches.metrics.entries.Observe(float64(len(m)))
	if len(m) == 1 {
		var a A
		err = l.c.timedAs(m[0].ctx, l.to, k.op, func() error {
			a, err = k.one(m[0].ctx, l.to, m[0].req)
			return err
		})
		return []Answer[A]{{a, err}}, nil
	}
	ctx, cancel := messageContext(m)
	defer cancel()
	reqs := make([]Q, len(m))
	for i, e := range m {
		reqs[i] = e.req
	}
	err = l.c.timedAs(ctx, l.to, k.batchOp, func() error {
		answers, err = k.many(ctx, l.to, reqs)
		return err
	})
	return answers, err
}

// messageContext ends when the last of the entries' deadlines passes: nobody
// waits for the message any more.
func messageContext[Q, A any](m []*entry[Q, A]) (context.Context, context.CancelFunc) {
	var latest time.Time
	for _, e := range m {
		deadline, ok := e.ctx.Deadline()
		if !ok {
			return context.WithCancel(context.WithoutCancel(e.ctx))
		}
		if deadline.After(latest) {
			latest = deadline
		}
	}
	return context.WithDeadline(context.WithoutCancel(m[0].ctx), latest)
}
