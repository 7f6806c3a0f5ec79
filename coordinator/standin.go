package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// Hints keeps, on disk, writes for replicas that were not there to take them.
// A target is the store UUID of such a replica.
type Hints interface {
	// PutHint is Store.Put within the hint for a target.
	PutHint(target [16]byte, ref object.Ref, c version.Context, s object.Sibling) (object.Written, error)
	// MergeHint is Store.Merge into the hint. Both refuse with [ErrHintsFull].
	MergeHint(target [16]byte, ref object.Ref, o object.Object) (object.Written, error)
	// Hinted gives the hints of one key, for whichever target.
	Hinted(ref object.Ref) ([]object.Hint, error)
}

// hintGrace is how long the hint for a replica that failed may take beyond the
// deadline of the put, which was answered by then.
const hintGrace = 5 * time.Second

// hintTry bounds the wait for one node that is to keep a hint.
const hintTry = time.Second

// spareNodes hands out the nodes that may keep hints of one put: each once, so
// that no node holds two copies that count.
type spareNodes struct {
	c  *Coordinator
	pl ring.Placement

	mu    sync.Mutex
	known bool
	nodes []ring.NodeID
}

// maxSpare bounds how many nodes one put, or one get, considers.
const maxSpare = 8

// fallbacks lists the usable nodes that are no replica of the partition, by
// rank: at most maxSpare, and not this node. For a new hint those that leave are
// left out; they may have old ones.
func (c *Coordinator) fallbacks(v *ring.View, pl ring.Placement, newHint bool) []ring.NodeID {
	var nodes []ring.NodeID
	for id := range v.Fallbacks(pl.Partition) {
		if id == c.opts.Self || slices.Contains(pl.Displaced, id) || newHint && v.Draining(id) || !c.usable(id) {
			continue
		}
		if nodes = append(nodes, id); len(nodes) == maxSpare {
			break
		}
	}
	return nodes
}

// next takes the next node out.
func (s *spareNodes) next() (ring.NodeID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fill()
	if len(s.nodes) == 0 {
		return ring.NodeID{}, false
	}
	id := s.nodes[0]
	s.nodes = s.nodes[1:]
	return id, true
}

// count is how many there are.
func (s *spareNodes) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fill()
	return len(s.nodes)
}

func (s *spareNodes) fill() {
	if !s.known {
		s.known, s.nodes = true, s.c.fallbacks(s.c.View(), s.pl, true)
	}
}

// hint finds a node that keeps the write for replica i, which did not take it:
// the next live one of the ring, or, when there is none, this node.
func (p *put) hint(ctx context.Context, i int, o object.Object) {
	if p.c.opts.Hints == nil {
		return
	}
	deadline, _ := ctx.Deadline()
	if least := time.Now().Add(hintGrace); deadline.Before(least) {
		deadline = least
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	req := ReplicateRequest{Ref: p.ref, Stamp: p.pl.Stamp, Object: o, For: p.replicas[i]}
	var full ReplicaError
	for id, ok := p.spare.next(); ok; id, ok = p.spare.next() {
		tryCtx, cancel := context.WithTimeout(ctx, hintTry)
		err := p.c.replicate(tryCtx, id, req)
		cancel()
		if err == nil {
			p.c.metrics.hintsPlaced.Inc()
			p.events <- putEvent{replica: i, kind: putHinted, holder: id}
			return
		}
		if errors.Is(err, ErrGone) {
			p.events <- putEvent{replica: i, kind: putGone, cause: ReplicaError{id, err}}
			return
		}
		p.c.opts.Logger.Debug("coordinator: a node would not keep a hint", "peer", p.c.opts.PeerName(id), "err", err)
		if errors.Is(err, ErrHintsFull) {
			full = ReplicaError{id, err}
		}
	}
	p.keepHint(i, o, full)
}

// keepHint keeps the hint for replica i at this node. full is the node, if any,
// that had no room for it.
func (p *put) keepHint(i int, o object.Object, full ReplicaError) {
	if p.c.opts.Hints == nil {
		return
	}
	w, err := p.c.applyHint(p.ref, p.pl.Stamp, p.replicas[i], func() (object.Written, error) {
		return p.c.opts.Hints.MergeHint(p.replicas[i], p.ref, o)
	})
	if err == nil {
		err = durable(w)
	}
	switch {
	case err == nil:
		p.c.metrics.hintsPlaced.Inc()
		p.events <- putEvent{replica: i, kind: putKept, holder: p.c.opts.Self, cause: full}
		return
	case errors.Is(err, ErrGone):
		p.events <- putEvent{replica: i, kind: putGone, cause: ReplicaError{p.c.opts.Self, err}}
		return
	case errors.Is(err, ErrHintsFull):
		p.c.hintsFull(p.replicas[i])
	}
	p.c.metrics.hintsLost.Inc()
	p.events <- putEvent{replica: i, kind: putHintless, cause: ReplicaError{p.c.opts.Self, err}}
}

// takeHint keeps an object for another replica.
func (c *Coordinator) takeHint(req ReplicateRequest) (object.Written, error) {
	switch {
	case c.opts.Hints == nil:
		return object.Written{}, fmt.Errorf("%w: it keeps no hints", ErrNotReady)
	case c.Leaving():
		return object.Written{}, errLeaving
	}
	return c.applyHint(req.Ref, req.Stamp, req.For, func() (object.Written, error) {
		return c.opts.Hints.MergeHint(req.For, req.Ref, req.Object)
	})
}

// hinted is the merge of what this node's hints hold of a key.
func (c *Coordinator) hinted(ref object.Ref) (o object.Object, err error) {
	if c.opts.Hints == nil {
		return o, nil
	}
	hints, err := c.opts.Hints.Hinted(ref)
	for _, h := range hints {
		o = object.Merge(o, h.Object)
	}
	return o, err
}

// Usable says whether hints can be delivered to a node now. Those for a node
// that is no member any more go to others, and so it is.
func (c *Coordinator) Usable(target ring.NodeID) bool {
	v := c.View()
	return v != nil && (!v.Ring().Has(target) || c.usable(target))
}

// Deliver brings the object of a hint to its target, or, where the target keeps
// the partition no more, to every node that does. When it returns nil the
// object is durable there, or of a bucket that is gone.
func (c *Coordinator) Deliver(ctx context.Context, target ring.NodeID, ref object.Ref, o object.Object) error {
	v := c.View()
	if v == nil {
		return ErrNotReady
	}
	pl := v.Placement(int(ref.Partition))
	if holds(pl, target) {
		return c.deliverTo(ctx, target, ref, pl, o)
	}
	return c.deliverToAll(ctx, ref, pl, o)
}

// deliverToAll brings an object to every node that keeps the partition.
func (c *Coordinator) deliverToAll(ctx context.Context, ref object.Ref, pl ring.Placement, o object.Object) error {
	if len(pl.Owners)+len(pl.Pending) == 0 {
		return fmt.Errorf("%w: nobody keeps partition %d", ErrUnreachable, ref.Partition)
	}
	var errs []error
	for _, id := range pl.AppendWriters(nil) {
		errs = append(errs, c.deliverTo(ctx, id, ref, pl, o))
	}
	return errors.Join(errs...)
}

// Hand reads this node's own object of a key and sends it to another node that
// keeps the partition. It is false where there was nothing to send. What it
// sends is durable there when it returns nil, or of a bucket that is gone.
func (c *Coordinator) Hand(ctx context.Context, to ring.NodeID, ref object.Ref, read func(object.Ref) object.Object) (bool, error) {
	v := c.View()
	if v == nil {
		return false, ErrNotReady
	}
	pl := v.Placement(int(ref.Partition)) // before the object is read
	o := read(ref)
	if o.Absent() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, hintGrace)
	defer cancel()
	return true, c.deliverTo(ctx, to, ref, pl, o)
}

// deliverTo brings an object to one node that keeps the partition. One of a
// bucket that is gone belongs nowhere: there is nothing left to do for it.
func (c *Coordinator) deliverTo(ctx context.Context, id ring.NodeID, ref object.Ref, pl ring.Placement, o object.Object) error {
	if c.Gone(ref.Bucket) {
		return nil
	}
	req := ReplicateRequest{Ref: ref, Stamp: pl.Stamp, Object: o}
	return orGone(c.replicateTo(ctx, id, req))
}

// replicateTo is replicate where the node may be this one.
func (c *Coordinator) replicateTo(ctx context.Context, id ring.NodeID, req ReplicateRequest) error {
	if id == c.opts.Self {
		return c.HandleReplicate(ctx, req)
	}
	return c.replicate(ctx, id, req)
}

// orGone is nil for ErrGone, of whoever knows it: it is true for ever.
func orGone(err error) error {
	if errors.Is(err, ErrGone) {
		return nil
	}
	return err
}
