package coordinator

import (
	"context"
	"errors"
	"fmt"

	"starling/ring"
	"starling/store/bucket"
	"starling/store/object"
)

// A bucket that is dropped is gone under the name that its objects are stored
// by, for ever: what comes of it later, from wherever, is refused with ErrGone.
//
// Nodes learn of a drop one after the other. One that has not may take a write of
// the bucket, at its clients' wish or another node's: that write came before the
// drop. Its copies are rows of a bucket that is gone like any others. They go
// when the node that holds them learns of the drop, and because that comes into
// force under the gate, no row comes after that which is to go.
//
// A node that has not heard of a bucket's next incarnation takes what is written
// to it: incarnations never fall, so another node knows better.

// SetBuckets makes g what this node knows of buckets. When it returns nothing
// is written any more to a bucket that is gone by g, and nothing that was let in
// before is under way.
func (c *Coordinator) SetBuckets(g bucket.Registry) {
	c.gate.Lock()
	defer c.gate.Unlock()
	c.buckets.Store(&g)
}

// Buckets is what this node knows of buckets, nil before the first SetBuckets.
func (c *Coordinator) Buckets() bucket.Registry {
	if g := c.buckets.Load(); g != nil {
		return *g
	}
	return nil
}

// Gone says whether objects that are stored under this bucket name belong to a
// bucket that was dropped, as far as this node knows.
func (c *Coordinator) Gone(stored string) bool { return c.Buckets().Gone(stored) }

// checkBucket is ErrGone for a bucket that is gone.
func (c *Coordinator) checkBucket(stored string) error {
	if c.Gone(stored) {
		return gone(stored)
	}
	return nil
}

func gone(stored string) error { return fmt.Errorf("%w: %q", ErrGone, stored) }

// learnGone exchanges maps with a peer that answered ErrGone, unless this node
// knows already.
func (c *Coordinator) learnGone(ctx context.Context, peer ring.NodeID, stored string) {
	if c.Gone(stored) {
		return
	}
	if err := c.opts.Membership.Refresh(ctx, peer); err != nil {
		c.opts.Logger.Debug("coordinator: exchanging maps after a bucket was gone", "peer", c.opts.PeerName(peer), "err", err)
	}
}

// placed sends a request about a key that goes by a stamp to a peer. A peer
// whose ring is older than ours is brought up to date and asked once more; from
// one that knows the bucket to be gone this node learns it.
func (c *Coordinator) placed(ctx context.Context, to ring.NodeID, op int, ref object.Ref, stamp uint64, send func() error) error {
	err := c.timed(ctx, to, op, send)
	if errors.Is(err, ErrStaleRing) && c.refreshed(ctx, to, ref.Partition, stamp) {
		err = c.timed(ctx, to, op, send)
	}
	if errors.Is(err, ErrGone) {
		c.learnGone(ctx, to, ref.Bucket)
	}
	return err
}
