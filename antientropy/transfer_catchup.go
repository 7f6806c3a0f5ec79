package antientropy

import (
	"context"
	"errors"
	"slices"
	"time"

	"starling/ring"
	"starling/store/object"
)

// catchUp goes through the keys of an owner in all partitions of a group that it
// confirmed, and gets what is lacking here.
func (c *crew) catchUp(ctx context.Context, owner ring.NodeID, parts []*part) error {
	open := slices.DeleteFunc(slices.Clone(parts), func(p *part) bool {
		return p.out || p.blind || !p.streamed || p.caughtUp[owner] || !contains(p.confirmed, owner)
	})
	if len(open) == 0 || c.isLost(owner) {
		return nil
	}
	claims := make([]Claim, len(open))
	for i, p := range open {
		claims[i] = p.Claim
	}
	same, err := c.differ.equal(ctx, owner, claims)
	if err != nil {
		return err
	}
	for _, p := range open {
		err := error(nil)
		if !same[p.Partition] {
			err = c.compare(ctx, owner, p)
		}
		switch {
		case err == nil:
			p.caughtUp[owner] = true
		case errors.Is(err, errTime):
			c.goOn()
		case errors.Is(err, errPeer) || ctx.Err() != nil:
			return err
		default:
			c.abandon(p, err)
		}
	}
	return nil
}

// compare goes through the keys that differ until what the owner held when it
// began is here.
func (c *crew) compare(ctx context.Context, owner ring.NodeID, p *part) error {
	for range salts {
		err := c.differ.pass(ctx, owner, p.Claim, func(ctx context.Context, plan *keyPlan) error {
			if err := c.fetch(ctx, owner, p, append(plan.fetch, plan.both...)); err != nil {
				return err
			}
			if plan.more && c.late() {
				return errTime
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fetch gets objects and returns when they are durable here.
func (c *crew) fetch(ctx context.Context, owner ring.NodeID, p *part, refs []object.Ref) error {
	for len(refs) > 0 {
		req := FetchRequest{Claim: p.Claim, Refs: refs[:min(len(refs), MaxRefs)], MaxBytes: uint32(c.f.pace.pageBytes(int(c.f.opts.PageBytes)))}
		page, err := c.differ.fetch(ctx, owner, req)
		if err != nil {
			return err
		}
		began, bytes := time.Now(), 0
		b := batch{applier: c.f.opts.Applier, stamp: p.Stamp}
		for _, e := range page.Entries {
			if _, err = b.apply(e); err != nil {
				break
			}
			bytes += sizeOf(e.Ref, e.Object)
		}
		if err = errors.Join(err, b.wait()); err != nil {
			return err
		}
		p.here.Add(int64(bytes))
		c.f.metrics.fetched.add(len(page.Entries), bytes)
		if err := c.rest(ctx, bytes, time.Since(began)); err != nil {
			return err
		}
		if refs = refs[page.Done:]; len(refs) > 0 && c.late() {
			return errTime // what was fetched will not differ any more
		}
	}
	return nil
}
