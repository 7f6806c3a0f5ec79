package coordinator

import (
	"context"
	"fmt"
	"slices"

	"starling/ring"
	"starling/store/object"
)

// HandleRead answers this node's copy of an object.
func (c *Coordinator) HandleRead(_ context.Context, req ReadRequest) (ReadReply, error) {
	if err := c.checkStamp(req.Ref, req.Stamp); err != nil {
		return ReadReply{}, err
	}
	o, err := c.opts.Store.Get(req.Ref)
	if err != nil {
		return ReadReply{}, err
	}
	if req.Have != 0 && req.Have == o.Hash(req.Ref.Bucket, req.Ref.Key) {
		return ReadReply{Same: true}, nil
	}
	return ReadReply{Object: o}, nil
}

// HandleReplicate merges an object into this node's copy and returns when
// the result is durable.
func (c *Coordinator) HandleReplicate(_ context.Context, req ReplicateRequest) error {
	w, err := c.apply(req.Ref, req.Stamp, func() (object.Written, error) {
		return c.opts.Store.Merge(req.Ref, req.Object)
	})
	if err != nil {
		return err
	}
	return durable(w)
}

// apply writes a copy while the view in force still has this stamp.
func (c *Coordinator) apply(ref object.Ref, stamp uint64, write func() (object.Written, error)) (object.Written, error) {
	c.gate.RLock()
	defer c.gate.RUnlock()
	if err := c.checkStamp(ref, stamp); err != nil {
		return object.Written{}, err
	}
	return write()
}

func (c *Coordinator) checkStamp(ref object.Ref, stamp uint64) error {
	v := c.View()
	if v == nil {
		return ErrNotReady
	}
	parts := v.Ring().Config().Partitions
	if int(ref.Partition) >= parts || ring.Partition(ref.Bucket, ref.Key, parts) != int(ref.Partition) {
		return fmt.Errorf("%w: the key is not of partition %d", ErrInvalid, ref.Partition)
	}
	pl := v.Placement(int(ref.Partition))
	if pl.Stamp != stamp || !holds(pl, c.opts.Self) {
		return fmt.Errorf("%w: partition %d", ErrStaleRing, ref.Partition)
	}
	return nil
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
