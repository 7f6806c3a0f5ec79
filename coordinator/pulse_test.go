package coordinator

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
)

func TestPulse(t *testing.T) {
	const beat, late = pulseEvery, standstill - 1
	p := newPulse()
	now := p.origin.Add(time.Hour)
	if p.stoodStill(now) {
		t.Error("a pulse that never beat says that it stopped")
	}
	steps := []struct {
		after time.Duration
		beats bool
		still bool
	}{
		{beat, true, false}, {beat, true, false},
		{late, true, false},                    // starved for a while
		{late, false, false}, {1, false, true}, // a break that goes on
		{20 * time.Second, true, true},            // its end
		{beat, true, true},                        // fresh beats do not hide it
		{afterStandstill - beat - 1, false, true}, // to the last moment
		{1, true, false}, {beat, true, false},     // all is well again
		{standstill, false, true}, {0, true, true}, // once more
		{afterStandstill / 2, true, true},           // with beats in between
		{afterStandstill / 2, true, false},          // and over
		{time.Minute, false, true}, {0, true, true}, // and the last one
		{afterStandstill - 1, true, true}, {1, false, false},
	}
	for i, s := range steps {
		now = now.Add(s.after)
		if s.beats {
			p.beat(now)
		}
		if got := p.stoodStill(now); got != s.still {
			t.Fatalf("step %d: stood still: %v", i, got)
		}
	}
	p.stop()
	if p.stoodStill(now.Add(time.Hour)) {
		t.Error("a pulse that was stopped says that the process stood still")
	}
}

// standStill makes a node believe that it has just gone on after a break.
func (c *cluster) standStill(id ring.NodeID) {
	synctest.Wait()
	c.nodes[id].pulse.beats.Add(-int64(time.Minute))
}

// A put that may have waited in a node that stood still is not taken, by
// whichever way it came; what the node is told by others is.
func TestNoPutIsTakenAfterAStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		time.Sleep(time.Second) // the nodes run
		owner := c.owners("k")[0]
		ref, pl, err := c.nodes[owner].place("", "k")
		if err != nil {
			t.Fatal(err)
		}
		refused := func(when string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := c.nodes[owner].Put(ctx, putReq("k", "stale", one)); !errors.Is(err, ErrNotReady) {
				t.Errorf("%s: own put: %v", when, err)
			}
			if _, err := c.nodes[owner].HandleForward(ctx, ForwardRequest{Put: putReq("k", "stale", one), Stamp: pl.Stamp}); !errors.Is(err, ErrNotReady) {
				t.Errorf("%s: forwarded put: %v", when, err)
			}
			if o, err := c.stores[owner].Get(ref); err != nil || len(o.Siblings) != 0 {
				t.Errorf("%s: it has %d siblings, %v", when, len(o.Siblings), err)
			}
		}
		c.standStill(owner)
		refused("before the first beat")
		time.Sleep(2 * pulseEvery)
		refused("after the first beat")
		if err := c.nodes[owner].HandleReplicate(t.Context(), ReplicateRequest{Ref: ref, Stamp: pl.Stamp, Object: objectOf("w")}); err != nil {
			t.Errorf("a copy: %v", err)
		}
		time.Sleep(afterStandstill)
		res := c.mustPut(owner, putReq("k", "fresh", all))
		if res.Acked != 3 {
			t.Errorf("afterwards: %s", outcomes(res))
		}
	})
}

// A put whose node stands still between its beginning and the commit is not
// taken either.
func TestAStandstillBeforeTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		time.Sleep(time.Second)
		owner := c.owners("k")[0]
		n := c.nodes[owner]
		ref, pl, err := n.place("", "k")
		if err != nil {
			t.Fatal(err)
		}
		c.standStill(owner)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.coordinate(ctx, ref, pl, putReq("k", "stale", one)); !errors.Is(err, ErrNotReady) {
			t.Errorf("as an owner: %v", err)
		}
		if _, err := n.standIn(ctx, ref, pl, putReq("k", "stale", one)); !errors.Is(err, ErrNotReady) {
			t.Errorf("as a stand-in: %v", err)
		}
		synctest.Wait()
		for id, s := range c.stores {
			if o, err := s.Get(ref); err != nil || len(o.Siblings) != 0 || c.held(id) != 0 {
				t.Errorf("%s: %d siblings, %d hints for it, %v", id, len(o.Siblings), c.held(id), err)
			}
		}
	})
}
