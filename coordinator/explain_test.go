package coordinator

import (
	"fmt"
	"testing"
	"testing/synctest"

	"starling/ring"
)

func TestExplainShowsWhatEveryNodeHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		owners, others := c.owners("k"), c.others("k")
		c.mustPut(owners[0], putReq("k", "v", all))
		explain := func() (roles string, e Explanation) {
			e, err := c.nodes[others[0]].Explain(t.Context(), "b", "k")
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range e.Replicas {
				roles += fmt.Sprint(r.Role, " ", r.Alive, " ", r.Err == nil, " ", len(r.Reply.Copy.Siblings), " ", len(r.Reply.Hints), "; ")
			}
			return roles, e
		}
		roles, e := explain()
		want := "owner true true 1 0; owner true true 1 0; owner true true 1 0; fallback true true 0 0; fallback true true 0 0; "
		if roles != want || !e.Agree {
			t.Fatalf("%s, agree %v", roles, e.Agree)
		}
		if s := e.Replicas[0].Reply.Copy.Siblings[0]; s.Bytes != 1 || s.Tombstone || e.Replicas[0].Reply.Copy.Hash == 0 {
			t.Fatalf("%+v", e.Replicas[0])
		}

		c.setFault(owners[1], refused)
		c.untilGivenUp(owners[0], owners[1])
		c.mustPut(owners[0], putReq("k", "w", Consistency{}))
		synctest.Wait()
		c.untilGivenUp(others[0], owners[1])
		roles, e = explain()
		want = "owner true true 2 0; owner false false 0 0; owner true true 2 0; fallback true true 0 1; fallback true true 0 0; "
		if roles != want || e.Agree {
			t.Fatalf("%s, agree %v", roles, e.Agree)
		}
		if h := e.Replicas[3].Reply.Hints[0]; h.For != owners[1] || h.Copy.Hash != e.Replicas[0].Reply.Copy.Hash {
			t.Fatalf("hint %+v", h)
		}

		c.setFault(owners[1], healthy)
		c.untilUsable(others[0])
		if _, e = explain(); e.Agree {
			t.Fatal("owners agree though one lacks a sibling")
		}
	})
}

func TestStatusesOfThoseThatAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 3)
		c.nodes[c.ids[1]].Drain()
		c.setFault(c.ids[2], hung)
		all := c.nodes[c.ids[0]].Statuses(t.Context())
		if len(all) != 2 || all[c.ids[0]].Draining || !all[c.ids[1]].Draining {
			t.Fatalf("%+v", all)
		}
	})
}

// A node says how far its transfer is and what keeps it from leaving.
func TestStatusOfANodeThatMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := "3 hints"
		c := newCluster(t, 4, func(o *Options) {
			if o.Self == nodeID(0) {
				o.Transfer = func() (done, total int64) { return 5, 7 }
				o.LeaveWaits = func() string { return waits }
			}
		})
		r := ringOf(t, 4)
		c.nodes[c.ids[0]].SetView(ring.NewView(r, func(id ring.NodeID, _ int) bool { return id != nodeID(0) }))
		all := c.nodes[c.ids[1]].Statuses(t.Context())
		want := NodeStatus{Pending: r.Load(nodeID(0)), TransferDone: 5, TransferTotal: 7, Leaving: waits}
		if want.Pending == 0 || all[c.ids[0]] != want || all[c.ids[2]] != (NodeStatus{}) {
			t.Fatalf("got %+v, want %+v and nothing of the others", all, want)
		}
	})
}
