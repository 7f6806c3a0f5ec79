package coordinator

import (
	"context"
	"fmt"
	"slices"

	"starling/ring"
	"starling/store/object"
)

// HandleRead answers this node's copy of an object, or what its hints hold.
func (c *Coordinator) HandleRead(_ context.Context, req ReadRequest) (ReadReply, error) {
	c.asked.Add(1)
	pl, err := c.checkPlacement(req.Ref, req.Stamp)
	if err != nil {
		return ReadReply{}, err
	}
	if !req.Hints && !holds(pl, c.opts.Self) {
		return ReadReply{}, staleRing(req.Ref.Partition)
	}
	o, err := c.read(req.Ref, pl, req.Hints)
	if err != nil {
		return ReadReply{}, err
	}
	if req.Have != 0 && req.Have == o.Hash(req.Ref.Bucket, req.Ref.Key) {
		return ReadReply{Same: true}, nil
	}
	return ReadReply{Object: o}, nil
}

// Asked counts the copies that other coordinators read or wrote here since the
// start. What they do is mostly for clients, and repairs and hints for the rest.
func (c *Coordinator) Asked() uint64 { return c.asked.Load() }

// read is what this node holds of a key: its copy where it is a replica, with
// its hints merged in where they are asked for.
func (c *Coordinator) read(ref object.Ref, pl ring.Placement, hints bool) (o object.Object, err error) {
	if holds(pl, c.opts.Self) {
		if o, err = c.readCopy(ref, pl.Stamp); err != nil || !hints {
			return o, err
		}
	}
	kept, err := c.hinted(ref)
	return object.Merge(o, kept), err
}

// HandleReplicate merges an object into this node's copy, or into its hint for
// the replica that it is to stand in for, and returns when the result is durable.
func (c *Coordinator) HandleReplicate(_ context.Context, req ReplicateRequest) error {
	w, err := c.receive(req)
	if err != nil {
		return err
	}
	return durable(w)
}

// receive is HandleReplicate without the wait for the result to be durable.
func (c *Coordinator) receive(req ReplicateRequest) (object.Written, error) {
	c.asked.Add(1)
	if req.For != (ring.NodeID{}) && req.For != c.opts.Self {
		return c.takeHint(req)
	}
	return c.Apply(req.Ref, req.Stamp, req.Object)
}

// Apply merges an object into this node's copy while the view in force still has
// this stamp, which must have been read before the object was. It is
// [ErrStaleRing] otherwise, and [ErrGone] for a bucket that was dropped. The
// caller waits for the result to be durable.
func (c *Coordinator) Apply(ref object.Ref, stamp uint64, o object.Object) (object.Written, error) {
	return c.apply(ref, stamp, func() (object.Written, error) { return c.opts.Store.Merge(ref, o) })
}

// Under runs do while the view in force has this stamp; it is [ErrStaleRing]
// otherwise, and [ErrGone] for a bucket that was dropped. do must not call the
// coordinator.
func (c *Coordinator) Under(ref object.Ref, stamp uint64, do func() error) error {
	c.gate.RLock()
	defer c.gate.RUnlock()
	if _, err := c.checkPlacement(ref, stamp); err != nil {
		return err
	}
	return do()
}

// apply writes a copy while the view in force still has this stamp.
func (c *Coordinator) apply(ref object.Ref, stamp uint64, write func() (object.Written, error)) (object.Written, error) {
	return c.applyHint(ref, stamp, c.opts.Self, write)
}

// applyHint is apply for the copy of another node, which must be a replica of
// the partition. A node that leaves refuses, unless it is one too.
func (c *Coordinator) applyHint(ref object.Ref, stamp uint64, target ring.NodeID, write func() (object.Written, error)) (object.Written, error) {
	c.gate.RLock()
	defer c.gate.RUnlock()
	pl, err := c.checkPlacement(ref, stamp)
	switch {
	case err != nil:
		return object.Written{}, err
	case !holds(pl, target):
		return object.Written{}, staleRing(ref.Partition)
	case target != c.opts.Self && !holds(pl, c.opts.Self) && c.Leaving():
		return object.Written{}, errLeaving
	default:
		return write()
	}
}

// checkPlacement finds the placement of a key whose sender goes by this stamp.
// It is [ErrStaleRing] where this node goes by another, and [ErrGone] for a
// bucket that was dropped.
func (c *Coordinator) checkPlacement(ref object.Ref, stamp uint64) (ring.Placement, error) {
	v := c.View()
	if v == nil {
		return ring.Placement{}, ErrNotReady
	}
	parts := v.Ring().Config().Partitions
	if int(ref.Partition) >= parts || ring.Partition(ref.Bucket, ref.Key, parts) != int(ref.Partition) {
		return ring.Placement{}, fmt.Errorf("%w: the key is not of partition %d", ErrInvalid, ref.Partition)
	}
	pl := v.Placement(int(ref.Partition))
	if pl.Stamp != stamp {
		return pl, staleRing(ref.Partition)
	}
	return pl, c.checkBucket(ref.Bucket)
}

func staleRing(partition uint32) error {
	return fmt.Errorf("%w: partition %d", ErrStaleRing, partition)
}

// durable waits for a write's sync. After it began, a failure leaves the
// outcome open.
func durable(w object.Written) error {
	if err := w.Wait(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return nil
}

func ownerIndex(pl ring.Placement, id ring.NodeID) int { return slices.Index(pl.Owners, id) }

// holds says whether writes of the partition go to a node.
func holds(pl ring.Placement, id ring.NodeID) bool {
	return slices.Contains(pl.Owners, id) || slices.Contains(pl.Pending, id) || slices.Contains(pl.Displaced, id)
}
