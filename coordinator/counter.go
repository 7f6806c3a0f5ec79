package coordinator

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"starling/ring"
	"starling/store/bucket/resolve"
	"starling/store/object"
)

const (
	// compactTime is the longest that an increment waits for the copies of its
	// counter, which it can do without.
	compactTime = time.Second
	// compactPause is the time between two tries to compact a counter at one
	// node.
	compactPause = 500 * time.Millisecond
)

// compactions paces the compaction of counters: one at a time at a node.
type compactions struct {
	mu    sync.Mutex
	under bool
	next  time.Time
}

// begin says whether it is time for one. Who was told so calls end.
func (c *compactions) begin(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.under || now.Before(c.next) {
		return false
	}
	c.under = true
	return true
}

func (c *compactions) end(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.under, c.next = false, now.Add(compactPause)
}

// compacted are the copies of a counter by which it can forget increments.
type compacted struct {
	copies []object.Object
	readMS int64
}

// gatherCounter reads the copies of a counter that remembers too much: from each
// member alone what it holds of it, hints included, for any of them may have an
// increment that no other has. It is zero where there is no need, where another
// counter has its turn, or where one of them does not answer.
func (c *Coordinator) gatherCounter(ctx context.Context, ref object.Ref, pl ring.Placement) (done compacted) {
	o, err := c.opts.Store.Get(ref)
	if err != nil || !resolve.Crowded(o, c.nowMS()) || !c.compactions.begin(time.Now()) {
		return compacted{}
	}
	defer func() { c.compactions.end(time.Now()) }()
	ctx, cancel := context.WithTimeout(ctx, compactTime)
	defer cancel()
	done.readMS = c.nowMS()
	members := c.View().Ring().Members()
	done.copies = make([]object.Object, len(members))
	reads, ctx := errgroup.WithContext(ctx)
	for i, m := range members {
		reads.Go(func() (err error) {
			done.copies[i], err = c.readFrom(ctx, m.ID, ref, pl)
			return err
		})
	}
	if err := reads.Wait(); err != nil {
		c.opts.Logger.Debug("coordinator: a counter remembers increments that it could forget if all members answered", "err", err)
		return compacted{}
	}
	return done
}

// readFrom is all that one member holds of a key.
func (c *Coordinator) readFrom(ctx context.Context, id ring.NodeID, ref object.Ref, pl ring.Placement) (object.Object, error) {
	if id == c.opts.Self {
		return c.read(ref, pl, true)
	}
	var reply ReadReply
	err := c.placed(ctx, id, opRead, ref, pl.Stamp, func() (err error) {
		reply, err = c.opts.Peers.Read(ctx, id, ReadRequest{Ref: ref, Stamp: pl.Stamp, Hints: true})
		return err
	})
	return reply.Object, err
}
