package coordinator

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"starling/ring"
	"starling/store/object"
)

// newLeavingCluster is a cluster of n nodes from which some leave. They hold
// nothing any more.
func newLeavingCluster(t *testing.T, n int, leavers ...ring.NodeID) *cluster {
	c := newSloppyCluster(t, n)
	c.latest = leavingView(t, n, nothing, leavers...)
	for _, id := range c.ids {
		c.nodes[id].SetView(c.latest)
	}
	return c
}

// firstFallback finds a key for which a node is the first that a hint would go to,
// and that has the same owners by the ring in which nobody leaves.
func (c *cluster) firstFallback(id ring.NodeID) string {
	c.t.Helper()
	before := ringOf(c.t, len(c.ids))
	for i := range 1000 {
		key := fmt.Sprint("k", i)
		if !slices.Equal(before.Targets(int(refOf(key).Partition)), c.owners(key)) {
			continue
		}
		for first := range c.latest.Fallbacks(int(refOf(key).Partition)) {
			if first == id {
				return key
			}
			break
		}
	}
	c.t.Fatalf("%s is nobody's first fallback", id)
	return ""
}

// hintsAt counts the hints that a node keeps.
func (c *cluster) hintsAt(id ring.NodeID) int {
	c.hints[id].mu.Lock()
	defer c.hints[id].mu.Unlock()
	return len(c.hints[id].rows)
}

func TestANodeThatLeavesKeepsNoNewHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaver := nodeID(5)
		c := newLeavingCluster(t, 6, leaver)
		key := c.firstFallback(leaver)
		pl := c.placement(key)
		down := pl.Owners[1]
		c.setFault(down, refused)
		sent := c.replicated.Load()
		res := c.mustPut(pl.Owners[0], putReq(key, "v", all))
		synctest.Wait()
		if got := outcomes(res); got != "acked 2 hinted 1 failed 0 unknown 0" || c.held(down) != 1 || c.hintsAt(leaver) != 0 {
			t.Fatalf("%s, %d hints, %d at the node that leaves", got, c.held(down), c.hintsAt(leaver))
		}
		if n := c.replicated.Load() - sent; n != 2 {
			t.Fatalf("%d copies were sent, want one to an owner and one to the keeper of the hint", n)
		}

		// One that knows an older ring asks it, is refused and goes on to the next.
		old := settledView(t, 6)
		if old.Placement(pl.Partition).Stamp != pl.Stamp {
			t.Fatal("the older ring has another stamp, and finds out by that")
		}
		c.nodes[pl.Owners[0]].SetView(old)
		res = c.mustPut(pl.Owners[0], putReq(key, "w", all))
		synctest.Wait()
		if res.Hinted != 1 || c.hintsAt(leaver) != 0 {
			t.Fatalf("%+v, %d hints at the node that leaves", res, c.hintsAt(leaver))
		}
		req := ReplicateRequest{Ref: refOf(key), Stamp: pl.Stamp, Object: objectOf("v"), For: down}
		if err := c.nodes[leaver].HandleReplicate(t.Context(), req); !errors.Is(err, ErrNotReady) {
			t.Fatalf("a hint: %v, want ErrNotReady", err)
		}
	})
}

func TestANodeThatLeavesDoesNotStandIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaver := nodeID(5)
		c := newLeavingCluster(t, 6, leaver)
		for _, id := range c.owners("k") {
			c.setFault(id, refused)
		}
		if _, err := c.put(leaver, putReq("k", "v", Consistency{Level: LevelAny})); !errors.Is(err, ErrUnreachable) {
			t.Fatalf("it did not forward the put to the owners: %v", err)
		}
		if n := c.hintsAt(leaver); n != 0 {
			t.Fatalf("it keeps %d hints", n)
		}
		at := c.others("k")[0]
		if at == leaver {
			at = c.others("k")[1]
		}
		c.mustPut(at, putReq("k", "v", Consistency{Level: LevelAny}))
	})
}

func TestANodeThatLeavesAnswersFromItsHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaver := nodeID(5)
		c := newLeavingCluster(t, 6, leaver)
		key := c.firstFallback(leaver)
		pl := c.placement(key)
		if _, err := c.hints[leaver].MergeHint(pl.Owners[0], refOf(key), objectOf("v")); err != nil {
			t.Fatal(err)
		}
		c.setFault(pl.Owners[0], refused)
		c.setFault(pl.Owners[1], refused)
		res := c.wantValues(pl.Owners[2], GetRequest{Key: key}, "v")
		if res.Hinted != 1 {
			t.Fatalf("%+v", res)
		}
	})
}

// As an owner it coordinates puts up to the end, and where nobody else can it
// keeps their hints. They move on when there is somebody.
func TestAnOwnerThatLeavesKeepsTheHintsOfItsOwnPuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaver := nodeID(3)
		c := newLeavingCluster(t, 4, leaver)
		newcomer := c.owners("k")[0] // holds nothing yet
		r := c.latest.Ring()
		filling := ring.NewView(r, func(id ring.NodeID, _ int) bool { return id != newcomer })
		done := c.latest
		c.latest = filling
		for _, id := range c.ids {
			c.nodes[id].SetView(filling)
		}
		pl := c.placement("k")
		if ownerIndex(pl, leaver) < 0 || !slices.Contains(pl.Pending, newcomer) {
			t.Fatalf("%+v", pl)
		}
		down := pl.Owners[0]
		if down == leaver {
			down = pl.Owners[1]
		}
		c.setFault(down, refused)
		res := c.mustPut(leaver, putReq("k", "v", Consistency{}))
		if res.Hinted != 1 || c.hintsAt(leaver) != 1 {
			t.Fatalf("%+v, %d hints here", res, c.hintsAt(leaver))
		}

		// It takes none from others.
		req := ReplicateRequest{Ref: refOf("k"), Stamp: pl.Stamp, Object: objectOf("v"), For: down}
		if err := c.nodes[leaver].HandleReplicate(t.Context(), req); !errors.Is(err, ErrNotReady) {
			t.Fatalf("got %v", err)
		}

		// When it is no owner any more nothing makes it keep a hint.
		c.nodes[leaver].SetView(done)
		stamp := done.Placement(pl.Partition).Stamp
		_, err := c.nodes[leaver].applyHint(refOf("k"), stamp, newcomer, func() (object.Written, error) {
			t.Error("a hint was kept")
			return object.Written{}, nil
		})
		if !errors.Is(err, ErrNotReady) {
			t.Fatalf("got %v", err)
		}
	})
}

// moveAll hands a node's hints on, as its drainer does.
func (c *cluster) moveAll(from, target ring.NodeID, key string) error {
	o := c.hints[from].rows[hintRow{target, refOf(key)}]
	err := c.nodes[from].Move(c.t.Context(), target, refOf(key), o)
	if err == nil {
		delete(c.hints[from].rows, hintRow{target, refOf(key)})
	}
	return err
}

func TestHintsOfANodeThatLeavesMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leavers := []ring.NodeID{nodeID(5), nodeID(6)}
		leaver := leavers[0]
		c := newLeavingCluster(t, 7, leavers...)
		if !c.nodes[leaver].Leaving() || c.nodes[c.ids[0]].Leaving() {
			t.Fatal("who leaves is not known")
		}
		key := c.firstFallback(leavers[1])
		owners := c.owners(key)
		target := owners[0]
		c.setFault(target, refused)
		var keepers []ring.NodeID // in the order in which they are to be asked
		for id := range c.latest.Fallbacks(int(refOf(key).Partition)) {
			if !slices.Contains(leavers, id) {
				keepers = append(keepers, id)
			}
		}
		keepers = append(keepers, owners[1], owners[2])
		for i, keeper := range keepers {
			value := fmt.Sprint("v", i)
			if _, err := c.hints[leaver].MergeHint(target, refOf(key), objectOf(value)); err != nil {
				t.Fatal(err)
			}
			if err := c.moveAll(leaver, target, key); err != nil {
				t.Fatal(err)
			}
			if c.hintsAt(keeper) != 1 || c.held(target) != 1 {
				t.Fatalf("%d hints, %d of them at %s", c.held(target), c.hintsAt(keeper), keeper)
			}
			clear(c.hints[keeper].rows)
			c.hints[keeper].setFull(true) // the next has it to take
		}
		if _, err := c.hints[leaver].MergeHint(target, refOf(key), objectOf("v")); err != nil {
			t.Fatal(err)
		}
		if err := c.moveAll(leaver, target, key); !errors.Is(err, ErrHintsFull) || c.hintsAt(leaver) != 1 {
			t.Fatalf("nobody has room: %v, %d hints here", err, c.hintsAt(leaver))
		}
		for _, id := range keepers {
			c.setFault(id, refused)
			c.untilGivenUp(leaver, id)
		}
		if err := c.moveAll(leaver, target, key); !errors.Is(err, ErrUnreachable) || c.hintsAt(leaver) != 1 {
			t.Fatalf("nobody is up: %v, %d hints here", err, c.hintsAt(leaver))
		}

		// Once moved, a hint is as any other.
		for _, id := range keepers {
			c.hints[id].setFull(false)
			c.setFault(id, healthy)
		}
		c.untilUsableBut(leaver, target)
		if err := c.moveAll(leaver, target, key); err != nil || c.hintsAt(leaver) != 0 || c.held(target) != 1 {
			t.Fatalf("%v, %d hints", err, c.held(target))
		}
		c.setFault(target, healthy)
		for _, id := range keepers {
			c.untilUsable(id)
		}
		c.deliverAll()
		c.wantValues(target, GetRequest{Key: key, Consistency: one}, "v")
	})
}

// A hint that moves is placed by the same rule as any copy: a keeper that goes
// by another ring refuses it.
func TestAMovedHintObeysThePlacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaver := nodeID(5)
		c := newLeavingCluster(t, 6, leaver)
		target := c.owners("k")[0]
		c.setFault(target, refused)
		r := c.latest.Ring()
		c.latest = ring.NewFencedView(r, 1, func(id ring.NodeID, p int) bool { return slices.Contains(r.Targets(p), id) })
		for _, id := range c.ids {
			if id != leaver {
				c.nodes[id].SetView(c.latest)
			}
		}
		if err := c.nodes[leaver].Move(t.Context(), target, refOf("k"), objectOf("v")); !errors.Is(err, ErrStaleRing) {
			t.Fatalf("got %v, want ErrStaleRing", err)
		}
		if n := c.held(target); n != 0 {
			t.Fatalf("%d hints were placed by an old ring", n)
		}
	})
}

// A target that keeps the partition no more needs no hint: its owners do.
func TestAHintForAnOwnerOfFormerTimesGoesToTheOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaver := nodeID(5)
		c := newLeavingCluster(t, 6, leaver)
		former := c.others("k")[0]
		c.setFault(former, refused)
		if err := c.nodes[leaver].Move(t.Context(), former, refOf("k"), objectOf("v")); err != nil {
			t.Fatal(err)
		}
		for _, id := range c.owners("k") {
			if got, _ := c.stores[id].Get(refOf("k")); !got.Equal(objectOf("v")) {
				t.Errorf("%s has %v", id, got)
			}
		}
		if n := c.held(former); n != 0 {
			t.Errorf("%d hints were placed", n)
		}
	})
}
