package coordinator

import (
	"fmt"
	"slices"

	"starling/ring"
	"starling/store/object"
)

// Drop runs do, which is to delete this node's copy of a partition, while the
// view in force has this stamp for it and the node keeps nothing of the
// partition under it. It is [ErrStaleRing], and do is not run, where that is not
// so. do must not call the coordinator.
//
// No row of the copy is written meanwhile: do runs under the gate, and under one
// view either everybody may write the copy or nobody. No read that began while
// the node kept the partition takes what do has left for the copy; see readCopy.
// Hints are other nodes' copies, and are written as ever.
func (c *Coordinator) Drop(partition uint32, stamp uint64, do func() error) error {
	c.gate.RLock()
	defer c.gate.RUnlock()
	pl, err := c.placementOf(partition)
	if err != nil {
		return err
	}
	if pl.Stamp != stamp || holds(pl, c.opts.Self) {
		return staleRing(partition)
	}
	c.drops.Add(1) // before the first row goes
	return do()
}

// Forget runs do, which is to delete this node's copy of a partition that lost
// rows, while the node has no vote in it. It is [ErrStaleRing], and do is not
// run, where the node has one. What is written meanwhile may be deleted with
// the rest. Reads are as with [Coordinator.Drop].
func (c *Coordinator) Forget(partition uint32, do func() error) error {
	c.gate.RLock()
	defer c.gate.RUnlock()
	pl, err := c.placementOf(partition)
	if err != nil {
		return err
	}
	if slices.Contains(pl.Owners, c.opts.Self) || slices.Contains(pl.Displaced, c.opts.Self) {
		return staleRing(partition)
	}
	c.drops.Add(1)
	return do()
}

// placementOf is the placement of a partition in the view in force.
func (c *Coordinator) placementOf(partition uint32) (ring.Placement, error) {
	v := c.View()
	switch {
	case v == nil:
		return ring.Placement{}, ErrNotReady
	case int(partition) >= v.Ring().Config().Partitions:
		return ring.Placement{}, fmt.Errorf("%w: there is no partition %d", ErrInvalid, partition)
	default:
		return v.Placement(int(partition)), nil
	}
}

// readCopy reads this node's copy of a key under a stamp by which the node keeps
// the partition; it is [ErrStaleRing] once that is not the one in force. Reads
// do not take the gate, so the view may change between the comparison and the
// read, and the copy may even be dropped: then the answer could be an absence
// that no owner vouches for. A drop that has deleted anything before the read
// ended is counted by then. If it was counted before the comparison too, so was
// its view in force, and the stamp is refused.
func (c *Coordinator) readCopy(ref object.Ref, stamp uint64) (object.Object, error) {
	for {
		drops := c.drops.Load()
		if c.stampNow(ref.Partition) != stamp {
			return object.Object{}, staleRing(ref.Partition)
		}
		o, err := c.opts.Store.Get(ref)
		if c.drops.Load() == drops {
			return o, err
		}
	}
}
