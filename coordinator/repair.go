package coordinator

import (
	"context"
	"errors"
	"time"

	"starling/ring"
	"starling/store/object"
)

// repairTimeout bounds one read repair at one owner.
const repairTimeout = 5 * time.Second

// repair is the final action of a get: the merged object goes to the owners
// whose copy lacked something.
type repair struct {
	ref    object.Ref
	stamp  uint64
	merged object.Object
	owners []ring.NodeID
}

func (g *get) repairStale() {
	if !g.c.opts.ReadRepair {
		return
	}
	stale := g.core.Stale()
	if len(stale) == 0 {
		return
	}
	r := repair{ref: g.ref, stamp: g.pl.Stamp, merged: g.core.Merged()}
	for _, i := range stale {
		r.owners = append(r.owners, g.pl.Owners[i])
	}
	select {
	case g.c.repairs <- r:
	default:
		g.c.metrics.repairsDropped.Inc()
	}
}

func (c *Coordinator) repairLoop(ctx context.Context) {
	for {
		select {
		case r := <-c.repairs:
			c.repair(ctx, r)
		case <-ctx.Done():
			return
		}
	}
}

// repair sends the merged object. A failure is only counted: the next get,
// or the anti-entropy exchange, finds the difference again.
func (c *Coordinator) repair(ctx context.Context, r repair) {
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	req := ReplicateRequest{Ref: r.ref, Stamp: r.stamp, Object: r.merged}
	for _, id := range r.owners {
		err := c.replicateTo(ctx, id, req)
		if errors.Is(err, ErrGone) {
			return // nothing of it is to be anywhere
		}
		if err != nil {
			c.metrics.repairsFailed.Inc()
			c.opts.Logger.Debug("coordinator: read repair", "peer", c.opts.PeerName(id), "bucket", r.ref.Bucket, "err", err)
			continue
		}
		c.metrics.repairsDone.Inc()
	}
}
