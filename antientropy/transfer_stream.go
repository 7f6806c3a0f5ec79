package antientropy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"starling/ring"
	"starling/store/object"
)

// stream gets the snapshots of a group that are still lacking from its source,
// page by page. A partition whose placement has changed, there or here, is left
// out, and the others go on.
func (c *crew) stream(ctx context.Context, g group) error {
	rest := slices.DeleteFunc(slices.Clone(g.parts), func(p *part) bool { return p.out || p.streamed || p.blind })
	for len(rest) > 0 {
		if c.late() {
			c.goOn()
			return nil
		}
		run := rest[:runLength(rest)]
		page, err := c.page(ctx, g.source, run)
		if errors.Is(err, ErrRefused) { // it is about the first, see HandlePull
			c.abandon(rest[0], err)
			rest = rest[1:]
			continue
		}
		if err != nil {
			return err
		}
		began := time.Now()
		bytes, err := c.merge(page, run)
		if err != nil {
			return err
		}
		advance(page, run)
		if rest = rest[page.Done:]; len(rest) > 0 && rest[0].out {
			rest = rest[1:]
		}
		if err := c.rest(ctx, bytes, time.Since(began)); err != nil {
			return err
		}
	}
	return nil
}

// runLength is how many of the partitions one request may be about: only the
// first can go on from the middle.
func runLength(parts []*part) int {
	n := 1
	for n < len(parts) && parts[n].after == (object.Ref{}) {
		n++
	}
	return n
}

// page asks for one page, which is the credit that the owner gets.
func (c *crew) page(ctx context.Context, source ring.NodeID, run []*part) (page PullPage, err error) {
	req := PullRequest{Claims: make([]Claim, len(run)), After: run[0].after, MaxBytes: uint32(c.f.pace.pageBytes(int(c.f.opts.PageBytes)))}
	for i, p := range run {
		req.Claims[i] = p.Claim
	}
	err = callPeer(ctx, c.f.opts.CallTimeout, func(ctx context.Context) (err error) {
		page, err = c.f.opts.Peers.Pull(ctx, source, req)
		return err
	})
	if err == nil && (int64(page.Done) > int64(len(run)) || page.Done == 0 && len(page.Entries) == 0) {
		err = fmt.Errorf("%w: %w: a page that makes no progress (%d of %d partitions)", errPeer, errPage, page.Done, len(run))
	}
	return page, err
}

// merge returns when every object of the page is durable. Each is merged under
// the stamp that it was read under; a partition where that is not in force any
// more is left out.
func (c *crew) merge(page PullPage, run []*part) (bytes int, err error) {
	b := batch{applier: c.f.opts.Applier}
	for _, e := range page.Entries {
		for len(run) > 0 && run[0].Partition != e.Ref.Partition { // both are in the same order
			run = run[1:]
		}
		if len(run) == 0 {
			err = fmt.Errorf("%w: %w: an object of partition %d, which was not asked for", errPeer, errPage, e.Ref.Partition)
			break
		}
		size := sizeOf(e.Ref, e.Object)
		bytes += size
		if run[0].out {
			continue
		}
		b.stamp = run[0].Stamp
		if _, err = b.apply(e); errors.Is(err, ErrRefused) {
			c.abandon(run[0], err)
			err = nil
			continue
		}
		if err != nil {
			break
		}
		run[0].here.Add(int64(size))
	}
	c.f.metrics.streamed.add(len(b.waits), bytes)
	return bytes, errors.Join(err, b.wait())
}

// advance notes how far the partitions of a run came with a page.
func advance(page PullPage, run []*part) {
	for _, p := range run[:page.Done] {
		if !p.out {
			p.streamed, p.after = true, object.Ref{}
		}
	}
	n := len(page.Entries)
	if n == 0 || int(page.Done) == len(run) {
		return
	}
	if p := run[page.Done]; page.Entries[n-1].Ref.Partition == p.Partition && !p.out {
		p.after = page.Entries[n-1].Ref
	}
}
