package antientropy

import (
	"context"

	"starling/ring"
	"starling/store/object"
)

// copyWhole fills a partition without reading a row of it here: a file that was
// damaged may still lie below what was dropped, and to look through such a
// range fails, while to write there does not. Each owner that confirmed sends
// all that it holds.
func (c *crew) copyWhole(ctx context.Context, p *part) error {
	for _, owner := range p.confirmed {
		if p.out || c.late() {
			c.goOn()
			return nil
		}
		if p.caughtUp[owner] || c.isLost(owner) {
			continue
		}
		if err := c.pullWhole(ctx, owner, p); err != nil {
			return err
		}
		p.caughtUp[owner] = !p.out
	}
	p.streamed = true
	return nil
}

// pullWhole merges a partition as one owner has it.
func (c *crew) pullWhole(ctx context.Context, owner ring.NodeID, p *part) error {
	run := []*part{p}
	for p.after = (object.Ref{}); !p.out; {
		page, err := c.page(ctx, owner, run)
		if err != nil {
			return err
		}
		bytes, err := c.merge(page, run)
		if err != nil {
			return err
		}
		if err := c.rest(ctx, bytes, 0); err != nil {
			return err
		}
		if page.Done > 0 {
			return nil
		}
		p.after = page.Entries[len(page.Entries)-1].Ref
	}
	return nil
}
