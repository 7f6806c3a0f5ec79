package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/object"
)

// A node with an old ring is refused, brought up to date, and succeeds; so is
// a replica with an old ring.
func TestOldRingsAreRefusedAndRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil)
		old := settledView(t, 4)
		for i, stale := range c.ids {
			for k := range 30 {
				c.nodes[stale].SetView(old)
				key := fmt.Sprintf("k%d-%d", i, k)
				c.mustPut(c.ids[k%5], putReq(key, "v", Consistency{}))
				c.nodes[stale].SetView(old)
				c.wantValues(c.ids[(k+1)%5], GetRequest{Key: key}, "v")
				synctest.Wait()
				for _, id := range c.others(key) {
					if o, _ := c.stores[id].Get(refOf(key)); !o.Absent() && id != stale {
						t.Fatalf("%s landed astray at %s", key, id)
					}
				}
			}
			c.nodes[stale].SetView(c.latest) // one node lags at a time: a majority never does
		}
	})
}

func TestPendingReplicasRaiseTheBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 4, nil)
		newcomer := c.ids[3]
		r := ringOf(t, 4)
		v := ring.NewView(r, func(id ring.NodeID, p int) bool {
			return id != newcomer && (slices.Contains(r.Targets(p), id) || slices.Contains(r.Targets(p), newcomer))
		})
		c.latest = v
		for _, id := range c.ids {
			c.nodes[id].SetView(v)
		}
		key := "k"
		for len(c.placement(key).Pending) == 0 {
			key += "k"
		}
		res := c.mustPut(newcomer, putReq(key, "v", Consistency{}))
		if res.Required != 3 {
			t.Fatalf("required %d, want 2 and one pending", res.Required)
		}
		synctest.Wait()
		if o, _ := c.stores[newcomer].Get(refOf(key)); o.Absent() {
			t.Fatal("the pending replica got no copy")
		}
		c.setFault(c.owners(key)[0], refused)
		c.setFault(newcomer, refused)
		_, err := c.put(c.owners(key)[1], putReq(key, "w", Consistency{}))
		wantQuorumError(t, err, 3, 2, true)
		if _, err = c.get(c.owners(key)[1], GetRequest{Key: key}); err != nil {
			t.Fatalf("a get needs owners alone: %v", err)
		}
	})
}

// A node that was an owner until now keeps its bit until it notices: up to
// then it gets the writes, for another ring could make it an owner again.
func TestDisplacedReplicasRaiseTheBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 4, nil)
		r := ringOf(t, 4)
		c.latest = ring.NewView(r, func(ring.NodeID, int) bool { return true })
		for _, id := range c.ids {
			c.nodes[id].SetView(c.latest)
		}
		displaced := c.placement("k").Displaced
		if len(displaced) != 1 {
			t.Fatalf("%d displaced nodes, want 1", len(displaced))
		}
		res := c.mustPut(displaced[0], putReq("k", "v", Consistency{}))
		if res.Required != 3 {
			t.Fatalf("required %d, want 2 and one displaced", res.Required)
		}
		synctest.Wait()
		if o, _ := c.stores[displaced[0]].Get(refOf("k")); o.Absent() {
			t.Fatal("the displaced replica got no copy")
		}
	})
}

// Invariant 1: when SetView returns, no write under an older stamp is applied.
func TestNoWriteOfAnOldViewAfterSetView(t *testing.T) {
	old, next := settledView(t, 3), settledView(t, 4)
	key := "k"
	part := func() int { return ring.Partition("b", key, testPartitions) }
	for old.Placement(part()).Stamp == next.Placement(part()).Stamp {
		key += "k"
	}
	store := &slowStore{memStore: newMemStore(1), entered: make(chan struct{}), leave: make(chan struct{})}
	c, err := New(Options{Self: nodeID(0), Store: store, Peers: netPeers{}, Membership: netMembers{}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetView(old)
	write := func() error {
		return c.HandleReplicate(t.Context(), ReplicateRequest{Ref: refOf(key), Stamp: old.Placement(part()).Stamp})
	}
	var others sync.WaitGroup
	others.Go(func() {
		if err := write(); err != nil {
			t.Errorf("a write under the view in force: %v", err)
		}
	})
	<-store.entered
	set := make(chan struct{})
	others.Go(func() { c.SetView(next); close(set) })
	select {
	case <-set:
		t.Error("SetView returned while a write of the old view was being applied")
	case <-time.After(20 * time.Millisecond): // it waits: nothing to wait for but time
	}
	close(store.leave)
	others.Wait()
	if err := write(); !errors.Is(err, ErrStaleRing) {
		t.Fatalf("a write of the old view after SetView: %v, want ErrStaleRing", err)
	}
}

// slowStore stays in its first Merge until it may leave.
type slowStore struct {
	*memStore
	entered, leave chan struct{}
}

func (s *slowStore) Merge(ref object.Ref, o object.Object) (object.Written, error) {
	close(s.entered)
	<-s.leave
	return s.memStore.Merge(ref, o)
}

// churn is a ring that goes on changing. The first node learns of each change
// late, and what it asks for is outdated when it is there.
type churn struct {
	c   *cluster
	lag time.Duration

	mu    sync.Mutex // guards what follows
	ring  *ring.Ring
	fence uint64
}

// change has all nodes but the first go by a new view.
func (h *churn) change() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fence++
	for _, id := range h.c.ids[1:] {
		h.c.nodes[id].SetView(h.view())
	}
}

// view is the one in force.
func (h *churn) view() *ring.View {
	return ring.NewFencedView(h.ring, h.fence, func(id ring.NodeID, p int) bool { return slices.Contains(h.ring.Targets(p), id) })
}

// refreshed is a node's membership.
type refreshed struct {
	Membership
	from *churn
	self ring.NodeID
}

func (r refreshed) Refresh(context.Context, ring.NodeID) error {
	r.from.mu.Lock()
	r.from.c.nodes[r.self].SetView(r.from.view())
	r.from.mu.Unlock()
	time.Sleep(r.from.lag) // of the bubble's clock
	return nil
}

// Requests outlast a ring that changes many times in a row.
func TestRequestsOutlastChangesInARow(t *testing.T) {
	const every, changes = 5 * time.Millisecond, 10
	synctest.Test(t, func(t *testing.T) {
		h := &churn{lag: every + time.Millisecond, ring: ringOf(t, 4)}
		h.c = newCluster(t, 4, func(o *Options) { o.Membership = refreshed{o.Membership, h, o.Self} })
		during := func(request func()) {
			h.change()
			var changing sync.WaitGroup
			changing.Go(func() {
				for range changes {
					time.Sleep(every)
					h.change()
				}
				time.Sleep(h.lag)
				h.c.nodes[h.c.ids[0]].SetView(h.view())
			})
			request()
			changing.Wait()
		}
		self := h.c.ids[0]
		during(func() { h.c.mustPut(self, putReq("k", "v", Consistency{})) })
		during(func() { h.c.wantValues(self, GetRequest{Key: "k", Consistency: Consistency{R: 3}}, "v") })
	})
}
