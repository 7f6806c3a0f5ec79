package coordinator

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestForwardTriesTheNextOwnerWithTheSameOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil)
		owners, at := c.owners("k"), c.others("k")[0]
		for _, f := range []fault{refused, hung, lostReply} {
			for _, id := range owners {
				c.credulous.Store(true)
				c.setFault(id, f)
				key := fmt.Sprintf("k-%d-%s", f, id)
				for c.others(key)[0] != at || c.owners(key)[0] != id {
					key += "x" // a key that this node forwards to this owner
				}
				c.mustPut(at, putReq(key, "v", Consistency{}))
				c.setFault(id, healthy)
				for _, other := range c.ids {
					c.untilUsable(other)
				}
				c.wantValues(at, GetRequest{Key: key, Consistency: all}, "v")
			}
		}
	})
}

func TestForwardToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil)
		for _, id := range c.owners("k") {
			c.setFault(id, refused)
		}
		_, err := c.put(c.others("k")[0], putReq("k", "v", Consistency{}))
		wantQuorumError(t, err, 2, 0, false)
		for _, id := range c.owners("k") {
			c.setFault(id, lostReply)
		}
		_, err = c.put(c.others("k")[0], putReq("k", "v", Consistency{}))
		wantQuorumError(t, err, 2, 0, true)
	})
}

// A put is forwarded once: a node that is no owner refuses it.
func TestAForwardIsNotForwarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.nodes[c.others("k")[0]].HandleForward(ctx,
			ForwardRequest{Put: putReq("k", "v", Consistency{}), Stamp: c.placement("k").Stamp})
		if !errors.Is(err, ErrStaleRing) {
			t.Fatalf("error %v, want ErrStaleRing", err)
		}
	})
}
