package coordinator

import (
	"errors"
	"testing"
	"testing/synctest"

	"starling/store/version"
)

func TestSessionReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		at, holder := c.ids[0], c.ids[1]
		c.setFault(at, refused)
		c.setFault(c.ids[2], refused)
		res := c.mustPut(holder, putReq("k", "v", one))
		synctest.Wait() // the copies to the others have failed
		c.setFault(at, healthy)
		c.setFault(c.ids[2], healthy)
		c.wantValues(at, GetRequest{Key: "k", Consistency: one}) // this node's own empty copy
		c.wantValues(at, GetRequest{Key: "k", Consistency: one, Session: res.Context}, "v")
		c.setFault(holder, refused)
		if _, err := c.get(at, GetRequest{Key: "k", Consistency: one, Session: res.Context}); !errors.Is(err, ErrNotVisible) {
			t.Fatalf("error %v, want ErrNotVisible", err)
		}
	})
}

// A context may name what a purge has removed since: it must not fail for
// ever. It must while a member that may have what it names cannot be asked.
func TestASessionOutlivesAPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		at, others := c.owners("k")[0], c.others("k")
		c.mustPut(at, putReq("k", "v", all))
		purged := version.Context{Vector: version.Vector{{Actor: 9999, Seq: 3}}}
		session := GetRequest{Bucket: "b", Key: "k", Consistency: one, Session: purged}
		for _, id := range c.ids {
			c.wantValues(id, session, "v")
		}
		for _, missing := range []int{0, 1} {
			c.setFault(others[missing], refused)
			if _, err := c.get(at, session); !errors.Is(err, ErrNotVisible) {
				t.Errorf("without a member that may hold a hint: %v", err)
			}
			c.setFault(others[missing], healthy)
		}
		c.setFault(c.owners("k")[2], refused)
		if _, err := c.get(at, session); !errors.Is(err, ErrNotVisible) {
			t.Errorf("without an owner: %v", err)
		}
	})
}

// What only a hint of some member knows is found for a session.
func TestASessionFindsWhatAHintHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		at, keeper := c.owners("k")[0], c.others("k")[1]
		ref, pl, err := c.nodes[at].place("b", "k")
		if err != nil {
			t.Fatal(err)
		}
		o := objectOf("hinted")
		if err := c.nodes[keeper].HandleReplicate(t.Context(), ReplicateRequest{Ref: ref, Stamp: pl.Stamp, Object: o, For: pl.Owners[1]}); err != nil {
			t.Fatal(err)
		}
		session := GetRequest{Bucket: "b", Key: "k", Consistency: one, Session: version.Context{Vector: o.Vector}}
		c.wantValues(at, session, "hinted")
		c.setFault(c.others("k")[0], refused) // it is not needed then
		c.wantValues(at, session, "hinted")
	})
}

// A hint that is delivered while a session read looks for it is not missed.
func TestASessionFindsAHintThatIsBeingDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSloppyCluster(t, 5)
		at, keeper := c.owners("k")[0], c.others("k")[1]
		ref, pl, err := c.nodes[at].place("b", "k")
		if err != nil {
			t.Fatal(err)
		}
		o := objectOf("hinted")
		if err := c.nodes[keeper].HandleReplicate(t.Context(), ReplicateRequest{Ref: ref, Stamp: pl.Stamp, Object: o, For: pl.Owners[1]}); err != nil {
			t.Fatal(err)
		}
		// The keeper answers late: by then its hint is with the owner.
		c.setFault(keeper, delayed)
		done := make(chan error)
		go func() {
			res, err := c.get(at, GetRequest{Key: "k", Consistency: one, Session: version.Context{Vector: o.Vector}})
			if err == nil && !res.Object.Vector.Descends(o.Vector) {
				err = errors.New("it went back in time")
			}
			done <- err
		}()
		synctest.Wait()
		c.deliverAll()
		close(c.letGo)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
