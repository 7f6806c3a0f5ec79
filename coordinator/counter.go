package coordinator

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"starling/ring"
	"starling/store/bucket/resolve"
	"starling/store/object"
)

// A counter remembers increments by their operation IDs, so that a retry counts
// once whichever owner takes it. What it remembers it forgets, along with an
// increment, once no retry can come and every member has been asked for what it
// holds: see package resolve. While a member does not answer nothing can be
// forgotten, as it may hold a run of an increment that another owner ran again.
// So increments with an ID are refused, with [resolve.ErrBusy], when there were
// resolve.MaxRecent of them at one key since a member went away, until it is back
// or removed. Those without are not remembered, and go on.

const (
	// compactTime is the longest that an increment waits for the copies of its
	// counter, which it can do without.
	compactTime = time.Second
	// compactPause is how long a counter is left alone that could not forget
	// enough.
	compactPause = 500 * time.Millisecond
	// maxResting bounds how many counters are left alone.
	maxResting = 1024
)

// compactions paces the compaction of counters at a node: one at a time.
type compactions struct {
	mu      sync.Mutex
	under   bool
	resting map[object.Ref]time.Time // until when a counter is left alone
}

// begin says whether it is time for that of a counter. Who was told so calls end.
func (c *compactions) begin(ref object.Ref, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.under || now.Before(c.resting[ref]) {
		return false
	}
	c.under = true
	return true
}

// end says whether the counter forgot enough.
func (c *compactions) end(ref object.Ref, now time.Time, enough bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.under = false
	delete(c.resting, ref)
	if enough {
		return
	}
	if c.resting == nil || len(c.resting) >= maxResting { // the others are tried early
		c.resting = make(map[object.Ref]time.Time)
	}
	c.resting[ref] = now.Add(compactPause)
}

// gatherCounter reads the copies of a counter that remembers too much. It is
// zero where there is no need, where another counter has its turn, or where a
// member does not answer.
func (c *Coordinator) gatherCounter(ctx context.Context, ref object.Ref, pl ring.Placement) resolve.Copies {
	o, err := c.opts.Store.Get(ref)
	if err != nil || !resolve.Crowded(o, c.nowMS()) || !c.compactions.begin(ref, time.Now()) {
		return resolve.Copies{}
	}
	known, err := c.readCounter(ctx, ref, pl)
	enough := err == nil && !resolve.Crowded(resolve.Compact(o, known), known.ReadMS)
	c.compactions.end(ref, time.Now(), enough)
	if !enough {
		c.opts.Logger.Debug("coordinator: a counter cannot forget increments yet", "bucket", ref.Bucket, "err", err)
	}
	return known
}

// readCounter reads from each member alone what it holds of a counter, hints
// included, for any of them may have an increment that no other has. The owners,
// and those that will be, are read last: what the others hold goes to them.
func (c *Coordinator) readCounter(ctx context.Context, ref object.Ref, pl ring.Placement) (resolve.Copies, error) {
	var others, owners []ring.NodeID
	for _, m := range c.View().Ring().Members() {
		switch {
		case !c.usable(m.ID):
			return resolve.Copies{}, fmt.Errorf("%s: %w", c.opts.PeerName(m.ID), errDown)
		case slices.Contains(pl.Owners, m.ID) || slices.Contains(pl.Pending, m.ID):
			owners = append(owners, m.ID)
		default:
			others = append(others, m.ID)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, compactTime)
	defer cancel()
	known := resolve.Copies{ReadMS: c.nowMS()}
	var err error
	if known.Others, err = c.readEach(ctx, others, ref, pl); err == nil {
		known.Owners, err = c.readEach(ctx, owners, ref, pl)
	}
	if err != nil {
		return resolve.Copies{}, err
	}
	return known, nil
}

// readEach is all that each of some members holds of a key.
func (c *Coordinator) readEach(ctx context.Context, ids []ring.NodeID, ref object.Ref, pl ring.Placement) ([]object.Object, error) {
	copies := make([]object.Object, len(ids))
	reads, ctx := errgroup.WithContext(ctx)
	for i, id := range ids {
		reads.Go(func() (err error) {
			copies[i], err = c.readFrom(ctx, id, ref, pl)
			return err
		})
	}
	return copies, reads.Wait()
}

// readFrom is all that one member holds of a key, hints included.
func (c *Coordinator) readFrom(ctx context.Context, id ring.NodeID, ref object.Ref, pl ring.Placement) (object.Object, error) {
	if id == c.opts.Self {
		return c.read(ref, pl, true)
	}
	var reply ReadReply
	err := c.placed(ctx, id, opRead, ref, pl.Stamp, func() (err error) {
		reply, err = c.peersFor(ctx).Read(ctx, id, ReadRequest{Ref: ref, Stamp: pl.Stamp, Hints: true})
		return err
	})
	return reply.Object, err
}
