package coordinator

import (
	"context"
	"errors"
	"fmt"

	"starling/ring"
	"starling/store/object"
)

// A node that leaves takes in no more hints: it could not end before they are
// delivered, and their targets may be down for long. It answers from those that
// it has, and hands them on. One kind it still takes: as an owner it coordinates
// puts until it is none any more, and keeps the hint of such a put where no other
// node would. Once it keeps no partition, and its view says so, it takes none.

// errLeaving refuses a hint.
var errLeaving = fmt.Errorf("%w: it is leaving the cluster and keeps no new hints", ErrNotReady)

// Leaving says whether the view in force has this node as one that leaves.
func (c *Coordinator) Leaving() bool {
	v := c.View()
	return v != nil && v.Draining(c.opts.Self)
}

// Move brings the object of a hint to another member, which keeps it as its own
// hint for the target: what a node that leaves does with the hints of a target
// that is down. Where the target keeps the partition no more it is
// [Coordinator.Deliver]. When it returns nil the object is durable there, or of a
// bucket that is gone. It is [ErrUnreachable] where no member that stays is up.
func (c *Coordinator) Move(ctx context.Context, target ring.NodeID, ref object.Ref, o object.Object) error {
	v := c.View()
	if v == nil {
		return ErrNotReady
	}
	pl := v.Placement(int(ref.Partition))
	if !holds(pl, target) {
		return c.deliverToAll(ctx, ref, pl, o)
	}
	if c.Gone(ref.Bucket) {
		return nil
	}
	req := ReplicateRequest{Ref: ref, Stamp: pl.Stamp, Object: o, For: target}
	var errs []error
	for _, id := range c.keepers(v, pl) {
		if ctx.Err() != nil {
			break
		}
		tryCtx, cancel := context.WithTimeout(ctx, hintTry)
		err := orGone(c.replicate(tryCtx, id, req))
		cancel()
		if err == nil {
			return nil
		}
		errs = append(errs, ReplicaError{Node: id, Err: err})
	}
	if len(errs) == 0 {
		return fmt.Errorf("%w: no other member that stays is up to keep a hint for %s", ErrUnreachable, c.opts.PeerName(target))
	}
	return errors.Join(errs...)
}

// keepers lists the usable members that may take a hint from this node: those
// first that a reader looks for hints at, the partition's own replicas last. The
// target may be among these, back just now: it takes the object as its own.
func (c *Coordinator) keepers(v *ring.View, pl ring.Placement) []ring.NodeID {
	ids := c.fallbacks(v, pl, true)
	for _, id := range pl.AppendWriters(nil) {
		if id != c.opts.Self && !v.Draining(id) && c.usable(id) {
			ids = append(ids, id)
		}
	}
	return ids
}
