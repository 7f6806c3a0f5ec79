package coordinator

import (
	"context"
	"errors"
	"sync"
	"time"

	"starling/ring"
	"starling/store/object"
)

// Bounds of the questions to all members.
const (
	statusTimeout  = 500 * time.Millisecond
	inspectTimeout = 2 * time.Second
	askAtOnce      = 16
)

var errNoProbes = errors.New("coordinator: this node cannot ask others")

// Explain asks every replica and every fallback of a key what it holds. Nodes
// that do not answer are part of the answer; the error is [ErrNotReady] alone.
func (c *Coordinator) Explain(ctx context.Context, bucket, key string) (Explanation, error) {
	v := c.View()
	if v == nil {
		return Explanation{}, ErrNotReady
	}
	parts := v.Ring().Config().Partitions
	ref := object.Ref{Partition: uint32(ring.Partition(bucket, key, parts)), Bucket: bucket, Key: key}
	pl := v.Placement(int(ref.Partition))
	e := Explanation{Partition: int(ref.Partition), Replicas: roles(v, pl)}
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	forEach(len(e.Replicas), func(i int) {
		r := &e.Replicas[i]
		r.Reply, r.Err = c.inspect(ctx, r.Node, ref)
		r.Alive = r.Err == nil || c.usable(r.Node)
	})
	e.Agree = agree(e.Replicas)
	return e, nil
}

// roles lists a partition's nodes: owners, pending, displaced, fallbacks.
func roles(v *ring.View, pl ring.Placement) []ExplainedReplica {
	var all []ExplainedReplica
	add := func(role Role, ids []ring.NodeID) {
		for _, id := range ids {
			all = append(all, ExplainedReplica{Node: id, Role: role})
		}
	}
	add(RoleOwner, pl.Owners)
	add(RolePending, pl.Pending)
	add(RoleDisplaced, pl.Displaced)
	for id := range v.Fallbacks(pl.Partition) {
		if !holds(pl, id) {
			add(RoleFallback, []ring.NodeID{id})
		}
	}
	return all
}

// agree reports whether every owner and pending node answered the same.
func agree(replicas []ExplainedReplica) bool {
	var hash uint64
	for i, r := range replicas {
		if r.Role != RoleOwner && r.Role != RolePending {
			continue
		}
		if r.Err != nil || i > 0 && r.Reply.Copy.Hash != hash {
			return false
		}
		hash = r.Reply.Copy.Hash
	}
	return true
}

func (c *Coordinator) inspect(ctx context.Context, id ring.NodeID, ref object.Ref) (InspectReply, error) {
	switch {
	case id == c.opts.Self:
		return c.HandleInspect(ctx, ref)
	case c.opts.Probes == nil:
		return InspectReply{}, errNoProbes
	default:
		return c.opts.Probes.Inspect(ctx, id, ref)
	}
}

// HandleInspect says what this node holds of a key, whoever it belongs to. Of a
// bucket that is gone it holds nothing, whatever is yet to be deleted.
func (c *Coordinator) HandleInspect(_ context.Context, ref object.Ref) (InspectReply, error) {
	if c.Gone(ref.Bucket) {
		return InspectReply{}, nil
	}
	o, err := c.opts.Store.Get(ref)
	if err != nil {
		return InspectReply{}, err
	}
	reply := InspectReply{Copy: describe(ref, o)}
	if c.opts.Hints != nil {
		hints, err := c.opts.Hints.Hinted(ref)
		if err != nil {
			return InspectReply{}, err
		}
		for _, h := range hints {
			reply.Hints = append(reply.Hints, HintCopy{For: h.Target, Copy: describe(ref, h.Object)})
		}
	}
	if c.opts.Leaf != nil {
		reply.Leaf, reply.LeafSum, reply.LeafKeys, err = c.opts.Leaf(ref)
	}
	return reply, err
}

func describe(ref object.Ref, o object.Object) Copy {
	d := Copy{Vector: o.Vector, Hash: o.Hash(ref.Bucket, ref.Key), Siblings: make([]SiblingInfo, len(o.Siblings))}
	for i, s := range o.Siblings {
		d.Siblings[i] = SiblingInfo{Dot: s.Dot, Bytes: len(s.Value), ModifiedMS: s.ModifiedMS, ExpiresMS: s.ExpiresMS, Tombstone: s.Tombstone}
	}
	return d
}

// HandleStatus says how this node is.
func (c *Coordinator) HandleStatus(context.Context) (NodeStatus, error) {
	s := NodeStatus{Draining: c.draining.Load()}
	if c.opts.HintTotals != nil {
		for _, t := range c.opts.HintTotals() {
			s.Hints += t.Hints
			s.HintBytes += t.Bytes
		}
	}
	if v := c.View(); v != nil {
		s.Pending = len(v.PendingFor(c.opts.Self))
	}
	if c.opts.Transfer != nil {
		s.TransferDone, s.TransferTotal = c.opts.Transfer()
	}
	if c.opts.LeaveWaits != nil {
		s.Leaving = c.opts.LeaveWaits()
	}
	return s, nil
}

// Statuses asks every member that seems alive how it is, and gives those that
// answered in time, this node included.
func (c *Coordinator) Statuses(ctx context.Context) map[ring.NodeID]NodeStatus {
	v := c.View()
	if v == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	members := v.Ring().Members()
	var mu sync.Mutex
	all := make(map[ring.NodeID]NodeStatus, len(members))
	forEach(len(members), func(i int) {
		id := members[i].ID
		s, err := c.status(ctx, id)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		all[id] = s
	})
	return all
}

func (c *Coordinator) status(ctx context.Context, id ring.NodeID) (NodeStatus, error) {
	switch {
	case id == c.opts.Self:
		return c.HandleStatus(ctx)
	case c.opts.Probes == nil:
		return NodeStatus{}, errNoProbes
	case !c.usable(id):
		return NodeStatus{}, ErrUnreachable
	default:
		return c.opts.Probes.Status(ctx, id)
	}
}

// forEach calls do for 0 to n-1, askAtOnce at a time, and waits for all.
func forEach(n int, do func(i int)) {
	var wg sync.WaitGroup
	free := make(chan struct{}, askAtOnce)
	for i := range n {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			do(i)
		})
	}
	wg.Wait()
}
