package coordinator

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestGetAsksAnotherWhenOneHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.mustPut(c.ids[0], putReq("k", "v", all))
		// Both peers may be asked first; only the failure detector's opinion
		// would steer away from the hung one, so it is told lies.
		c.credulous.Store(true)
		c.setFault(c.ids[1], hung)
		for range 4 {
			start := time.Now()
			c.wantValues(c.ids[0], GetRequest{Key: "k"}, "v")
			if took := time.Since(start); took > 150*time.Millisecond {
				t.Fatalf("the get took %v", took)
			}
		}
	})
}

func TestReadRepair(t *testing.T) {
	for _, on := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 3, func(o *Options) { o.ReadRepair = on })
			c.setFault(c.ids[0], refused)
			c.mustPut(c.ids[1], putReq("k", "v", Consistency{}))
			synctest.Wait() // the copy to the refusing node has failed
			c.setFault(c.ids[0], healthy)
			c.wantValues(c.ids[0], GetRequest{Key: "k", Consistency: all}, "v")
			synctest.Wait()
			if o, _ := c.stores[c.ids[0]].Get(refOf("k")); o.Absent() == on {
				t.Fatalf("read repair %v: the stale replica holds %v", on, o)
			}
			before := c.replicated.Load()
			c.mustPut(c.ids[0], putReq("even", "v", all))
			c.wantValues(c.ids[0], GetRequest{Key: "even", Consistency: all}, "v")
			synctest.Wait()
			if sent := c.replicated.Load() - before; sent != 2 {
				t.Fatalf("%d copies were sent for a put at all and a get of equal replicas, want 2", sent)
			}
		})
	}
}
