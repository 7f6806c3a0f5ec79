package coordinator

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

func newSloppyCluster(t *testing.T, n int) *cluster { return newCluster(t, n, nil).withHints() }

// outcomes counts a put's receipts by outcome.
func outcomes(res PutResult) string {
	var n [4]int
	for _, r := range res.Replicas {
		n[r.Outcome]++
	}
	return fmt.Sprintf("acked %d hinted %d failed %d unknown %d", n[OutcomeAcked], n[OutcomeHinted], n[OutcomeFailed], n[OutcomeUnknown])
}

func TestAFallbackStandsInForARefusedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		c.credulous.Store(true) // nobody knows yet that it is down
		owners := c.owners("k")
		c.setFault(owners[2], refused)
		start := time.Now()
		res := c.mustPut(owners[0], putReq("k", "v", all))
		if time.Since(start) != 0 {
			t.Fatalf("it waited %v", time.Since(start))
		}
		if got := outcomes(res); got != "acked 2 hinted 1 failed 0 unknown 0" || res.Hinted != 1 || res.Acked != 2 {
			t.Fatalf("%s (%+v)", got, res)
		}
		holder := res.Replicas[slices.IndexFunc(res.Replicas, func(r Receipt) bool { return r.Outcome == OutcomeHinted })].Holder
		if holds(c.placement("k"), holder) {
			t.Fatalf("the hint is kept by %s, a replica", holder)
		}
		c.setFault(owners[2], healthy)
		c.untilUsable(holder)
		c.deliverAll()
		c.wantValues(owners[2], GetRequest{Key: "k", Consistency: one}, "v")
		if n := c.held(owners[2]); n != 0 {
			t.Fatalf("%d hints are left", n)
		}
	})
}

func TestTwoOwnersDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		owners := c.owners("k")
		c.setFault(owners[0], refused)
		c.setFault(owners[1], hung)
		for i, at := range []ring.NodeID{owners[2], c.others("k")[0], c.others("k")[1]} {
			res := c.mustPut(at, putReq("k", fmt.Sprint("v", i), Consistency{}))
			if res.Acked != 1 || res.Hinted != 2 {
				t.Fatalf("%s at %s", outcomes(res), at)
			}
			if h := res.Replicas; h[0].Holder == h[1].Holder {
				t.Fatalf("one node holds two hints that count: %+v", h)
			}
		}
		for _, at := range []ring.NodeID{owners[2], c.others("k")[0]} {
			res := c.wantValues(at, GetRequest{Key: "k"}, "v0", "v1", "v2")
			if res.Received != 2 || res.Hinted != 1 {
				t.Fatalf("received %d, %d from hints", res.Received, res.Hinted)
			}
		}
		// Nobody but owners counts for these.
		for _, cons := range []Consistency{{PW: 2}, {Strict: true}} {
			_, err := c.put(owners[2], putReq("k", "w", cons))
			wantQuorumError(t, err, 2, 0, false)
		}
		_, err := c.get(owners[2], GetRequest{Key: "k", Consistency: Consistency{PR: 2}})
		wantQuorumError(t, err, 2, 1, false)
		_, err = c.get(owners[2], GetRequest{Key: "k", Consistency: Consistency{Strict: true}})
		wantQuorumError(t, err, 2, 1, false)

		c.setFault(owners[0], healthy)
		c.setFault(owners[1], healthy)
		for _, at := range c.ids {
			c.untilUsable(at)
		}
		c.deliverAll()
		for _, at := range owners {
			c.wantValues(at, GetRequest{Key: "k", Consistency: one}, "v0", "v1", "v2")
		}
	})
}

// With no owner left any live node takes the write, under dots of its own.
func TestNoOwnerLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		owners, others := c.owners("k"), c.others("k")
		for i, id := range owners {
			c.setFault(id, []fault{refused, hung, refused}[i])
		}
		res := c.mustPut(others[0], putReq("k", "v", Consistency{Level: LevelAny}))
		if res.Acked != 0 || res.Hinted < 1 || res.Required != 1 {
			t.Fatalf("%+v", res)
		}
		res = c.mustPut(others[1], putReq("k", "w", Consistency{}))
		if res.Acked != 0 || res.Hinted < 2 || res.Required != 2 {
			t.Fatalf("%+v", res)
		}
		for _, at := range others {
			c.wantValues(at, GetRequest{Key: "k"}, "v", "w")
			_, err := c.get(at, GetRequest{Key: "never written", Consistency: one})
			if c.owners("never written")[0] == owners[0] && err == nil {
				t.Fatal("emptiness of fallbacks was taken for an answer")
			}
		}
		// The caller saw both: its next write supersedes them wherever they are.
		seen, err := c.get(others[0], GetRequest{Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		req := putReq("k", "x", Consistency{})
		req.Context = version.Context{Vector: seen.Object.Vector}
		c.mustPut(others[0], req)
		_, err = c.put(others[0], putReq("k", "y", all))
		wantQuorumError(t, err, 3, 0, false) // two live nodes are not three
		for _, id := range owners {
			c.setFault(id, healthy)
		}
		for _, at := range c.ids {
			c.untilUsable(at)
		}
		c.deliverAll()
		for _, at := range owners {
			c.wantValues(at, GetRequest{Key: "k", Consistency: one}, "x")
		}
	})
}

// In a cluster of owners alone the coordinating one keeps the hint: it counts
// for nothing, and it brings the replica up to date.
func TestTheCoordinatorKeepsTheHintWhereNobodyElseCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 3)
		c.setFault(c.ids[1], refused)
		res := c.mustPut(c.ids[0], putReq("k", "v", Consistency{}))
		if res.Acked != 2 || res.Hinted != 1 {
			t.Fatalf("%+v", res)
		}
		_, err := c.put(c.ids[0], putReq("k", "v", all))
		wantQuorumError(t, err, 3, 0, false)
		c.setFault(c.ids[1], healthy)
		c.untilUsable(c.ids[0])
		c.deliverAll()
		c.wantValues(c.ids[1], GetRequest{Key: "k", Consistency: one}, "v")
	})
}

// A replica that fails after the answer is owed a hint all the same.
func TestALateFailureLeavesAHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		c.credulous.Store(true)
		owners := c.owners("k")
		c.setFault(owners[1], hung)
		res := c.mustPut(owners[0], putReq("k", "v", Consistency{}))
		if got := outcomes(res); got != "acked 2 hinted 0 failed 0 unknown 1" {
			t.Fatal(got)
		}
		time.Sleep(3 * time.Second) // the request's deadline of 2 s passes
		synctest.Wait()
		if n := c.held(owners[1]); n != 1 {
			t.Fatalf("%d hints for the replica that never answered, want 1", n)
		}
	})
}

func TestWithoutRoomForHintsPutsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		owners := c.owners("k")
		c.mustPut(owners[0], putReq("k", "old", Consistency{}))
		synctest.Wait()
		c.setFault(owners[2], refused)
		c.untilGivenUp(owners[0], owners[2])
		for _, h := range c.hints {
			h.setFull(true)
		}
		// W is reached without the third owner, but it would be left behind.
		_, err := c.put(owners[0], putReq("k", "v", Consistency{}))
		wantQuorumError(t, err, 2, 2, true)
		if !errors.Is(err, ErrHintsFull) {
			t.Fatalf("%v does not say that hints are full", err)
		}
		// From now on such puts are refused before anything is written.
		_, err = c.put(owners[0], putReq("k", "w", Consistency{}))
		wantQuorumError(t, err, 2, 0, false)
		if !errors.Is(err, ErrHintsFull) {
			t.Fatalf("%v does not say that hints are full", err)
		}
		c.wantValues(owners[0], GetRequest{Key: "k"}, "old", "v")
		// One with room is enough, also this node.
		time.Sleep(fullPause)
		c.hints[owners[0]].setFull(false)
		c.mustPut(owners[0], putReq("k", "x", Consistency{}))
		// When the owner is back nothing needs a hint.
		c.hints[owners[0]].setFull(true)
		c.setFault(owners[2], healthy)
		c.untilUsable(owners[0])
		c.mustPut(owners[0], putReq("k", "y", all))
	})
}

// Hints are never placed, nor counted, under a ring that the keeper knows to be
// old.
func TestHintsObeyThePlacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		pl, other := c.placement("k"), c.others("k")[0]
		req := ReplicateRequest{Ref: refOf("k"), Stamp: pl.Stamp + 1, Object: objectOf("v"), For: pl.Owners[0]}
		if err := c.nodes[other].HandleReplicate(t.Context(), req); !errors.Is(err, ErrStaleRing) {
			t.Fatalf("a hint under another stamp: %v", err)
		}
		req.Stamp, req.For = pl.Stamp, c.others("k")[1]
		if err := c.nodes[other].HandleReplicate(t.Context(), req); !errors.Is(err, ErrStaleRing) {
			t.Fatalf("a hint for a node that is no replica: %v", err)
		}
		req.For = pl.Owners[0]
		if err := c.nodes[other].HandleReplicate(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		// A node asked to stand in for itself takes the object as its own.
		req.For = pl.Owners[1]
		if err := c.nodes[pl.Owners[1]].HandleReplicate(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		c.wantValues(pl.Owners[1], GetRequest{Key: "k", Consistency: one}, "v")
		if n := c.held(pl.Owners[0]) + c.held(pl.Owners[1]); n != 1 {
			t.Fatalf("%d hints, want 1", n)
		}
	})
}

// The hints for a member that is gone go to those that keep the partition now.
func TestHintsOfARemovedMemberGoToThePresentOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		gone := ring.NodeID{0: 99}
		holder := c.ids[0]
		if !c.nodes[holder].Usable(gone) {
			t.Fatal("hints for a node that is no member wait for it")
		}
		o := objectOf("v")
		down := c.owners("k")[1]
		c.credulous.Store(true)
		c.setFault(down, refused)
		if err := c.nodes[holder].Deliver(t.Context(), gone, refOf("k"), o); err == nil {
			t.Fatal("delivered though an owner did not take it")
		}
		c.setFault(down, healthy)
		if err := c.nodes[holder].Deliver(t.Context(), gone, refOf("k"), o); err != nil {
			t.Fatal(err)
		}
		for _, id := range c.owners("k") {
			if got, _ := c.stores[id].Get(refOf("k")); !got.Equal(o) {
				t.Fatalf("%s has %v", id, got)
			}
		}
	})
}

func TestADrainingNodeCoordinatesForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		owners, at := c.owners("k"), c.others("k")[0]
		for _, id := range owners[:2] {
			c.nodes[id].Drain()
		}
		res := c.mustPut(at, putReq("k", "v", all))
		if res.Coordinator != owners[2] || res.Acked != 3 {
			t.Fatalf("coordinated by %s: %s", res.Coordinator, outcomes(res))
		}
		// With the last one stopping too, this node stands in, and the owners
		// still take their copies.
		c.nodes[owners[2]].Drain()
		res = c.mustPut(at, putReq("k", "w", all))
		if res.Coordinator != at || res.Required != 3 {
			t.Fatalf("%+v", res)
		}
		synctest.Wait()
		for _, id := range owners {
			c.wantValues(id, GetRequest{Key: "k", Consistency: one}, "v", "w")
		}
	})
}

// objectOf is an object with one sibling of an actor that no node uses.
func objectOf(value string) object.Object {
	o, err := object.Object{}.Update(version.Context{},
		object.Sibling{Dot: version.Dot{Actor: 77, Seq: 1}, Value: []byte(value)}, object.Limits{})
	if err != nil {
		panic(err)
	}
	return o
}
