package coordinator

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
)

// delays makes nodes answer late, and counts the reads that they were asked.
type delays struct {
	netPeers
	of    func(ring.NodeID) time.Duration
	reads map[ring.NodeID]int
}

func (d *delays) Read(ctx context.Context, to ring.NodeID, req ReadRequest) (ReadReply, error) {
	d.c.mu.Lock()
	d.reads[to]++
	d.c.mu.Unlock()
	select {
	case <-time.After(d.of(to)):
		return d.netPeers.Read(ctx, to, req)
	case <-ctx.Done():
		return ReadReply{}, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
}

func TestReadsGoToTheQuickestOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 3)
		at, quick, slow := c.ids[0], c.ids[1], c.ids[2]
		d := c.delay(at, func(id ring.NodeID) time.Duration {
			if id == slow {
				return 50 * time.Millisecond
			}
			return time.Millisecond
		})
		c.mustPut(at, putReq("k", "v", all))
		for range 200 {
			c.wantValues(at, GetRequest{Key: "k"}, "v")
		}
		if d.reads[slow] > 10 || d.reads[quick] < 190 {
			t.Fatalf("%d of 200 reads went to the slow owner, %d to the quick one", d.reads[slow], d.reads[quick])
		}
	})
}

func TestHedgesAfterThe95thPercentileWithinABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 3)
		at := c.ids[0]
		hangs := false
		d := c.delay(at, func(ring.NodeID) time.Duration {
			if hangs {
				return 10 * time.Second
			}
			return 2 * time.Millisecond
		})
		c.mustPut(at, putReq("k", "v", all))
		for range 400 {
			c.wantValues(at, GetRequest{Key: "k"}, "v")
		}
		asked := func() int { return d.reads[c.ids[1]] + d.reads[c.ids[2]] }
		if n := asked(); n > 400+20 {
			t.Fatalf("%d replica reads for 400 gets of equally quick owners", n)
		}
		// Both peers hang: every get waits for its deadline, and hedges as long as
		// the budget lasts.
		hangs = true
		before, start := asked(), time.Now()
		for range 100 {
			if _, err := c.get(at, GetRequest{Key: "k"}); err == nil {
				t.Fatal("a quorum answered though only one owner can")
			}
		}
		hedged := asked() - before - 100
		if hedged > hedgeBurst+5+1 || hedged < hedgeBurst {
			t.Fatalf("%d hedges for 100 gets, want the burst of %d and 5 %%", hedged, hedgeBurst)
		}
		if took := time.Since(start); took != 200*time.Second {
			t.Fatalf("100 gets of 2 s took %v", took)
		}
	})
}

// delay puts delays between a node and its peers.
func (c *cluster) delay(at ring.NodeID, of func(ring.NodeID) time.Duration) *delays {
	d := &delays{netPeers{c, at}, of, map[ring.NodeID]int{}}
	c.nodes[at].opts.Peers = d
	return d
}
