package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

var (
	one = Consistency{Level: LevelOne}
	all = Consistency{Level: LevelAll}
)

func TestAnyNodeTakesAnyKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil)
		for i, at := range c.ids {
			for k := range 20 {
				key := fmt.Sprintf("k%d-%d", i, k)
				res := c.mustPut(at, putReq(key, "v", Consistency{}))
				if !holds(c.placement(key), res.Coordinator) {
					t.Fatalf("%s was coordinated by %s, no owner", key, res.Coordinator)
				}
				for _, reader := range c.ids {
					c.wantValues(reader, GetRequest{Key: key}, "v")
				}
			}
		}
	})
}

func TestOneOwnerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil)
		down := c.owners("k")[1]
		c.setFault(down, refused)
		for _, at := range c.ids {
			if at == down {
				continue
			}
			key := "k"
			res := c.mustPut(at, putReq(key, "v", Consistency{}))
			if res.Required != 2 || res.Acked != 2 {
				t.Fatalf("acked %d of %d, want 2 of 2", res.Acked, res.Required)
			}
			if _, err := c.get(at, GetRequest{Key: key}); err != nil {
				t.Fatal(err)
			}
			_, err := c.put(at, putReq(key, "v", all))
			wantQuorumError(t, err, 3, 0, false) // known before anything is written
			_, err = c.get(at, GetRequest{Key: key, Consistency: all})
			wantQuorumError(t, err, 3, 2, false)
			if !errors.Is(err, ErrUnreachable) {
				t.Fatalf("%v does not unwrap to its replica's error", err)
			}
		}
	})
}

func TestNumbersWinOverLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil)
		owners := c.owners("k")
		c.setFault(owners[1], refused)
		c.setFault(owners[2], refused)
		c.mustPut(owners[0], putReq("k", "v", Consistency{Level: LevelAll, W: 1}))
		c.wantValues(owners[0], GetRequest{Key: "k", Consistency: Consistency{Level: LevelAll, R: 1}}, "v")
		_, err := c.put(owners[0], putReq("k", "w", Consistency{Level: LevelOne, PW: 2}))
		wantQuorumError(t, err, 2, 0, false)
		_, err = c.get(owners[0], GetRequest{Key: "k", Consistency: Consistency{Level: LevelOne, PR: 2}})
		wantQuorumError(t, err, 2, 1, false)
	})
}

// A level that the partition has too few owners for is refused before
// anything is written.
func TestMoreReplicasThanOwnersIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, nil)
		_, err := c.put(c.ids[0], putReq("k", "v", Consistency{Level: LevelThree}))
		wantQuorumError(t, err, 3, 0, false)
		c.wantValues(c.ids[0], GetRequest{Key: "k", Consistency: all})
		_, err = c.get(c.ids[0], GetRequest{Key: "k", Consistency: Consistency{Level: LevelThree}})
		wantQuorumError(t, err, 3, 0, false)
	})
}

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

func refOf(key string) object.Ref {
	return object.Ref{Partition: uint32(ring.Partition("b", key, testPartitions)), Bucket: "b", Key: key}
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

func TestDeadlineEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.credulous.Store(true)
		c.setFault(c.ids[1], hung)
		c.setFault(c.ids[2], hung)
		start := time.Now()
		_, err := c.put(c.ids[0], putReq("k", "v", Consistency{}))
		wantQuorumError(t, err, 2, 1, true)
		var q *QuorumError
		if errors.As(err, &q); !q.Timeout {
			t.Fatalf("%v is not called a timeout", err)
		}
		_, err = c.get(c.ids[0], GetRequest{Key: "k"})
		wantQuorumError(t, err, 2, 1, false)
		if took := time.Since(start); took != 4*time.Second {
			t.Fatalf("two requests of 2 s took %v", took)
		}
		// The bubble ends only if no goroutine is left.
	})
}

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

func TestWithoutAViewNothingIsServed(t *testing.T) {
	c, err := New(Options{Store: newMemStore(1), Peers: netPeers{}, Membership: netMembers{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Put(ctx, putReq("k", "v", one)); !errors.Is(err, ErrNotReady) {
		t.Errorf("put: %v", err)
	}
	if _, err := c.Get(ctx, GetRequest{Bucket: "b", Key: "k"}); !errors.Is(err, ErrNotReady) {
		t.Errorf("get: %v", err)
	}
	if _, err := c.HandleRead(ctx, ReadRequest{Ref: refOf("k")}); !errors.Is(err, ErrNotReady) {
		t.Errorf("read: %v", err)
	}
	if _, err := c.Put(t.Context(), putReq("k", "v", one)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a put without a deadline: %v", err)
	}
}

func TestAStoppedCoordinatorRefuses(t *testing.T) {
	c, err := New(Options{Self: nodeID(0), Store: newMemStore(1), Peers: netPeers{}, Membership: netMembers{}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetView(settledView(t, 1))
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := c.Run(stopped); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Put(ctx, putReq("k", "v", one)); !errors.Is(err, ErrNotReady) {
		t.Fatalf("error %v, want ErrNotReady", err)
	}
	if o, _ := c.opts.Store.Get(refOf("k")); !o.Absent() {
		t.Fatal("the refused put left a copy")
	}
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

// TestQuorumReadsSeeAcknowledgedWrites: whatever single owner is down,
// hangs, or loses answers, at each step, a quorum read that succeeds covers
// every write acknowledged at quorum.
func TestQuorumReadsSeeAcknowledgedWrites(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 9))
			c := newCluster(t, 5, func(o *Options) { o.ReadRepair = rng.IntN(2) == 0 })
			acked := map[string][]version.Dot{}
			failed, read := 0, 0
			for range 300 {
				for _, id := range c.ids {
					c.setFault(id, healthy)
				}
				for range rng.IntN(3) {
					c.setFault(c.ids[rng.IntN(5)], fault(1+rng.IntN(3)))
				}
				at, key := c.ids[rng.IntN(5)], fmt.Sprint("k", rng.IntN(4))
				if rng.IntN(2) == 0 {
					req := putReq(key, fmt.Sprint(rng.Uint64()), Consistency{})
					if res, err := c.put(at, req); err == nil {
						acked[key] = append(acked[key], res.Dot)
					} else {
						failed++
					}
					continue
				}
				res, err := c.get(at, GetRequest{Key: key})
				if err != nil {
					failed++
					continue
				}
				read++
				for _, d := range acked[key] {
					if !res.Object.Vector.Covers(d) {
						t.Fatalf("seed %d: a read of %s at %s misses the acknowledged %v", seed, key, at, d)
					}
				}
			}
			if failed == 0 || read < 30 {
				t.Fatalf("seed %d: %d failures, %d reads: the faults do not bite", seed, failed, read)
			}
		})
	}
}
