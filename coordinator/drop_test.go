package coordinator

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/object"
)

// leavingView is a view of n nodes some of which leave: everybody who stays
// holds every partition, and those who leave hold what held says.
func leavingView(t *testing.T, n int, held func(id ring.NodeID, p int) bool, leavers ...ring.NodeID) *ring.View {
	t.Helper()
	members := ringOf(t, n).Members()
	for i := range members {
		members[i].Draining = slices.Contains(leavers, members[i].ID)
	}
	r, err := ring.New(ring.Config{Partitions: testPartitions, Replicas: 3}, members)
	if err != nil {
		t.Fatal(err)
	}
	return ring.NewView(r, func(id ring.NodeID, p int) bool {
		if slices.Contains(leavers, id) {
			return held(id, p)
		}
		return slices.Contains(r.Targets(p), id)
	})
}

func nothing(ring.NodeID, int) bool { return false }

// hookedStore runs a hook in the midst of its next read.
type hookedStore struct {
	*memStore
	hook func()
}

func (s *hookedStore) Get(ref object.Ref) (object.Object, error) {
	if hook := s.hook; hook != nil {
		s.hook = nil
		hook()
	}
	return s.memStore.Get(ref)
}

// drop deletes a node's copy of a key's partition.
func (c *cluster) drop(id ring.NodeID, key string) error {
	partition := refOf(key).Partition
	return c.nodes[id].Drop(partition, c.nodes[id].stampNow(partition), func() error {
		c.stores[id].mu.Lock()
		defer c.stores[id].mu.Unlock()
		clear(c.stores[id].objects)
		return nil
	})
}

func TestOnlyACopyOfNoOwnerIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil)
		pl := c.placement("k")
		ran := false
		do := func() error { ran = true; return nil }
		for _, id := range pl.Owners {
			if err := c.nodes[id].Drop(refOf("k").Partition, pl.Stamp, do); !errors.Is(err, ErrStaleRing) {
				t.Fatalf("the copy of an owner: %v", err)
			}
		}
		for _, id := range c.others("k") {
			if err := c.nodes[id].Drop(refOf("k").Partition, pl.Stamp+1, do); !errors.Is(err, ErrStaleRing) {
				t.Fatalf("under another stamp: %v", err)
			}
			if err := c.nodes[id].Drop(testPartitions, pl.Stamp, do); !errors.Is(err, ErrInvalid) {
				t.Fatalf("of no partition: %v", err)
			}
		}
		if ran {
			t.Fatal("a copy was dropped")
		}
		failure := errors.New("disk on fire")
		fail := func() error { ran = true; return failure }
		if err := c.nodes[c.others("k")[0]].Drop(refOf("k").Partition, pl.Stamp, fail); !errors.Is(err, failure) || !ran {
			t.Fatalf("got %v, ran %v", err, ran)
		}
	})
}

// A pending node's copy, and a displaced one's, is no less in use than an owner's.
func TestACopyThatIsWrittenIsNotDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 4, nil)
		r := ringOf(t, 4)
		for name, v := range map[string]*ring.View{
			"pending":   ring.NewView(r, func(id ring.NodeID, p int) bool { return id != r.Targets(p)[0] }),
			"displaced": ring.NewView(r, func(ring.NodeID, int) bool { return true }),
		} {
			pl := v.Placement(0)
			ids := append(slices.Clone(pl.Pending), pl.Displaced...)
			if len(ids) == 0 {
				t.Fatalf("nobody is %s", name)
			}
			for _, id := range ids {
				c.nodes[id].SetView(v)
				err := c.nodes[id].Drop(0, pl.Stamp, func() error { t.Errorf("dropped a %s copy", name); return nil })
				if !errors.Is(err, ErrStaleRing) {
					t.Errorf("%s: %v", name, err)
				}
				// One that lost rows may be forgotten as soon as it has no vote.
				err = c.nodes[id].Forget(0, func() error { return nil })
				if refused := errors.Is(err, ErrStaleRing); refused != (name == "displaced") {
					t.Errorf("forgetting a %s copy: %v", name, err)
				}
			}
		}
	})
}

// A drop and a change of the view exclude each other.
func TestNoViewComesDuringADrop(t *testing.T) {
	c, err := New(Options{Self: nodeID(3), Store: newMemStore(1), Peers: netPeers{}, Membership: netMembers{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Drop(0, 1, func() error { return nil }); !errors.Is(err, ErrNotReady) {
		t.Fatalf("without a view: %v", err)
	}
	v := leavingView(t, 4, nothing, nodeID(3))
	c.SetView(v)
	entered, leave, set := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		if err := c.Drop(0, v.Placement(0).Stamp, func() error { close(entered); <-leave; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-entered
	others.Go(func() { c.SetView(settledView(t, 4)); close(set) })
	select {
	case <-set:
		t.Error("SetView returned during a drop")
	case <-time.After(20 * time.Millisecond): // it waits: nothing to wait for but time
	}
	close(leave)
	others.Wait()
}

// A read that was let in while the node was an owner, and goes on when the copy
// is gone, must not say that the key was never written.
func TestAReadDoesNotTakeADropForAnAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hooked := map[ring.NodeID]*hookedStore{}
		c := newCluster(t, 4, func(o *Options) {
			hooked[o.Self] = &hookedStore{memStore: o.Store.(*memStore)}
			o.Store = hooked[o.Self]
		})
		leaver, before := c.owners("k")[0], c.placement("k")
		c.mustPut(leaver, putReq("k", "v", all))
		c.stores[c.others("k")[0]].objects[refOf("k")] = c.stores[leaver].objects[refOf("k")]
		c.latest = leavingView(t, 4, nothing, leaver)
		leaves := func() {
			for _, id := range c.ids {
				c.nodes[id].SetView(c.latest)
			}
			if err := c.drop(leaver, "k"); err != nil {
				t.Error(err)
			}
		}
		old := c.nodes[leaver].View()

		hooked[leaver].hook = leaves
		reply, err := c.nodes[leaver].HandleRead(t.Context(), ReadRequest{Ref: refOf("k"), Stamp: before.Stamp})
		if !errors.Is(err, ErrStaleRing) {
			t.Fatalf("another node's read: %+v, %v", reply, err)
		}

		// The node's own read is placed anew.
		for _, id := range c.ids {
			c.nodes[id].SetView(old)
		}
		c.mustPut(leaver, putReq("k", "v", all))
		hooked[leaver].hook = leaves
		res, err := c.get(leaver, GetRequest{Key: "k", Consistency: one})
		if err != nil || len(res.Object.Siblings) == 0 {
			t.Fatalf("its own read: %+v, %v", res, err)
		}
		if hooked[leaver].hook != nil {
			t.Fatal("the read did not ask the copy that was to be dropped")
		}
	})
}
