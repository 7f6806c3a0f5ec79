package coordinator

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/version"
)

// The coordinating copy must be durable even when W others are.
func TestPutWaitsForItsOwnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		at := c.ids[0]
		release := make(chan error)
		c.stores[at].wait = func() error { return <-release }
		done := make(chan error, 1)
		go func() {
			_, err := c.put(at, putReq("k", "v", Consistency{Level: LevelOne}))
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("answered (%v) before the coordinating copy was durable", err)
		default:
		}
		for _, id := range c.ids {
			if o, _ := c.stores[id].Get(refOf("k")); o.Absent() {
				t.Fatalf("%s has no copy: the fan-out waited for the local disk", id)
			}
		}
		release <- nil
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		// A disk that fails leaves the outcome open.
		go func() {
			_, err := c.put(at, putReq("k", "w", Consistency{Level: LevelOne}))
			done <- err
		}()
		release <- errors.New("disk died")
		err := <-done
		var q *QuorumError
		if !errors.As(err, &q) || !q.MaybeApplied {
			t.Fatalf("error %v, want maybe applied", err)
		}
	})
}

func TestRefusalOfTheOwnStoreLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		full := errors.New("store: disk full")
		c.stores[c.ids[0]].fail = full
		if _, err := c.put(c.ids[0], putReq("k", "v", Consistency{})); !errors.Is(err, full) {
			t.Fatalf("error %v, want the store's own", err)
		}
		c.wantValues(c.ids[1], GetRequest{Key: "k", Consistency: all})
	})
}

// The put is answered at W; the last replica still gets its copy.
func TestFanOutGoesOnAfterTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		slow := c.ids[2]
		c.credulous.Store(true)
		c.setFault(slow, delayed)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		res, err := c.nodes[c.ids[0]].Put(ctx, putReq("k", "v", Consistency{}))
		cancel() // as a handler does when it returns
		if err != nil || res.Acked != 2 {
			t.Fatalf("acked %d, %v", res.Acked, err)
		}
		synctest.Wait()
		close(c.letGo)
		synctest.Wait()
		if o, _ := c.stores[slow].Get(refOf("k")); o.Absent() {
			t.Fatal("the third replica never got its copy")
		}
		for _, r := range res.Replicas {
			if want := map[bool]Outcome{true: OutcomeUnknown, false: OutcomeAcked}[r.Node == slow]; r.Outcome != want {
				t.Errorf("receipt of %s says %v, want %v", r.Node, r.Outcome, want)
			}
		}
	})
}

func TestDeleteDeletesWhatAReadSees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil)
		del := func(at ring.NodeID) PutResult {
			req := putReq("k", "", Consistency{})
			req.Sibling.Tombstone, req.ReadFirst = true, true
			return c.mustPut(at, req)
		}
		if res := del(c.ids[0]); res.Dot != (version.Dot{}) {
			t.Fatal("deleting nothing wrote a tombstone")
		}
		c.mustPut(c.ids[0], putReq("k", "v", Consistency{}))
		c.mustPut(c.ids[1], putReq("k", "w", Consistency{}))
		res := del(c.ids[2])
		c.wantValues(c.ids[3], GetRequest{Key: "k"})
		again := putReq("k", "x", Consistency{})
		again.Context = res.Context
		c.mustPut(c.ids[4], again)
		c.wantValues(c.ids[0], GetRequest{Key: "k"}, "x")
	})
}
