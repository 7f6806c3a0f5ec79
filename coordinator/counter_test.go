package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/bucket"
	"starling/store/bucket/resolve"
	"starling/store/object"
	"starling/store/version"
)

var counting = bucket.Properties{Mode: bucket.Counter}

// addReq is an increment with an operation ID.
func addReq(key string, delta int64) PutRequest {
	return PutRequest{Bucket: "b", Key: key, Increment: true, Delta: delta, Sibling: object.Sibling{Op: newOp()}}
}

// addTo adds increments by an actor that no node has.
func addTo(t *testing.T, o object.Object, actor version.Actor, ops []object.OpID, deltas []int64) object.Object {
	t.Helper()
	from := o.Vector.Max(actor)
	for i, delta := range deltas {
		seen, s, err := resolve.Add(o, version.Dot{Actor: actor, Seq: from + uint64(i) + 1}, ops[i], delta, time.Now().UnixMilli())
		if err != nil {
			t.Fatal(err)
		}
		if o, err = o.Update(seen, s, object.Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// counted is a counter without operation IDs.
func counted(t *testing.T, actor version.Actor, deltas ...int64) object.Object {
	return addTo(t, object.Object{}, actor, make([]object.OpID, len(deltas)), deltas)
}

// remembering is a counter of so many increments by 1 with operation IDs, by
// actors that no node has.
func remembering(t *testing.T, n int) (o object.Object) {
	const each = 256 // a longer list takes longer to build
	for actor := version.Actor(50); n > 0; actor++ {
		var ops []object.OpID
		var deltas []int64
		for range min(n, each) {
			ops, deltas = append(ops, newOp()), append(deltas, 1)
		}
		o = object.Merge(o, addTo(t, object.Object{}, actor, ops, deltas))
		n -= len(ops)
	}
	return o
}

// count is what node at reads of a counter, at a consistency.
func (c *cluster) count(at ring.NodeID, key string, cons Consistency) int64 {
	c.t.Helper()
	res, err := c.get(at, GetRequest{Key: key, Consistency: cons})
	if err != nil {
		c.t.Fatalf("the counter %q at %s: %v", key, at, err)
	}
	n, ok := resolve.Count(res.Object, time.Now().UnixMilli())
	if !ok && !res.Object.Absent() {
		c.t.Fatalf("%q is no counter", key)
	}
	return n
}

// remembers is the length of what a node holds of a counter.
func (c *cluster) remembers(id ring.NodeID, key string) (bytes int) {
	o, _ := c.stores[id].Get(refOf(key))
	for _, s := range o.Siblings {
		bytes += len(s.Value)
	}
	return bytes
}

func TestIncrementsByAnyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil).withHints().inMode(counting)
		want := int64(0)
		for i, at := range c.ids {
			delta := int64(10*i - 15)
			want += delta
			if res := c.mustPut(at, addReq("k", delta)); res.Count != want || res.Acked < 2 {
				t.Fatalf("after %d at %s: %+v, want %d", delta, at, res, want)
			}
			synctest.Wait() // all owners have it
		}
		synctest.Wait()
		for _, at := range c.owners("k") {
			if n := c.count(at, "k", one); n != want {
				t.Errorf("%d at %s, want %d", n, at, want)
			}
		}
		del := putReq("k", "", atAll)
		del.Sibling.Tombstone, del.ReadFirst = true, true
		c.mustPut(c.ids[3], del)
		if res := c.mustPut(c.ids[4], addReq("k", 5)); res.Count != 5 {
			t.Errorf("%d after a delete and 5", res.Count)
		}
	})
}

// Clients that try again with the same operation, at whichever node, are counted
// once, while nodes are down, hang or lose answers; and while increments are
// forgotten, for it takes minutes.
func TestRetriesCountOnce(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { countRetries(t, seed) })
		})
	}
}

func countRetries(t *testing.T, seed uint64) {
	c := newCluster(t, 5, nil).withHints().inMode(counting)
	c.credulous.Store(true)
	const clients, adds = 12, 80
	done := make(chan struct{})
	var meddling, running sync.WaitGroup
	meddling.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 1))
		for {
			id, f := c.ids[rng.IntN(5)], fault(1+rng.IntN(3))
			c.setFault(id, f)
			select {
			case <-done:
				c.setFault(id, healthy)
				return
			case <-time.After(time.Duration(rng.Int64N(int64(2 * time.Second)))):
			}
			c.setFault(id, healthy)
			time.Sleep(time.Duration(rng.Int64N(int64(4 * time.Second)))) // of the bubble's clock, here and below
		}
	})
	for w := range clients {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 100+uint64(w)))
			for range adds {
				req := addReq("k", 1)
				for {
					_, err := c.put(c.ids[rng.IntN(5)], req)
					if err == nil && rng.IntN(8) > 0 {
						break
					}
					time.Sleep(time.Duration(rng.Int64N(int64(100 * time.Millisecond)))) // and sometimes once more though it was done
				}
				time.Sleep(time.Duration(rng.Int64N(int64(time.Second))))
			}
		})
	}
	running.Wait()
	close(done)
	meddling.Wait()
	for _, id := range c.ids {
		c.untilUsable(id)
	}
	for _, at := range c.ids {
		if n := c.count(at, "k", Consistency{}); n != clients*adds {
			t.Fatalf("%d at %s, want %d", n, at, clients*adds)
		}
	}
	c.deliverAll()
	for _, at := range c.owners("k") {
		if n := c.count(at, "k", one); n != clients*adds {
			t.Errorf("%d at %s alone, want %d", n, at, clients*adds)
		}
		if b := c.remembers(at, "k"); b > 20*clients*adds {
			t.Errorf("%s remembers %d bytes", at, b)
		}
	}
}

// Without an operation ID an increment is not tried again once it may have been
// applied, and is said to be so.
func TestAnIncrementWithoutAnIDIsTriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil).withHints().inMode(counting)
		c.credulous.Store(true)
		at, want := c.others("k")[0], int64(0)
		for _, f := range []fault{refused, lostReply, hung} {
			for _, id := range c.owners("k") {
				c.setFault(id, f)
			}
			req := addReq("k", 1)
			req.Sibling.Op = object.OpID{}
			_, err := c.put(at, req)
			wantQuorumError(t, err, 2, 0, f != refused)
			for _, id := range c.owners("k") {
				c.setFault(id, healthy)
			}
			for _, id := range c.ids {
				c.untilUsable(id)
			}
			if f == lostReply {
				want++
			}
			if n := c.count(at, "k", atAll); n != want {
				t.Fatalf("fault %d: %d, want %d", f, n, want)
			}
		}
		req := addReq("k", 1)
		req.Sibling.Op, req.Consistency = object.OpID{}, atAll
		for range 10 {
			want++
			if res := c.mustPut(at, req); res.Count != want {
				t.Fatalf("%d, want %d", res.Count, want)
			}
		}
		if b := c.remembers(c.owners("k")[0], "k"); b > 200 {
			t.Errorf("%d bytes are remembered", b)
		}
	})
}

// Nobody stands in for the owners of a counter.
func TestNobodyStandsInForACounter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil).withHints().inMode(counting)
		for _, id := range c.owners("k") {
			c.setFault(id, refused)
		}
		req := addReq("k", 1)
		req.Consistency = Consistency{Level: LevelAny}
		_, err := c.put(c.others("k")[0], req)
		wantQuorumError(t, err, 1, 0, false)
		if n := c.rowsOf("k"); n != 0 {
			t.Errorf("%d rows", n)
		}
	})
}

// A counter forgets increments only when every member says what it holds, and
// then those alone for which no retry can come.
func TestACounterForgets(t *testing.T) {
	for _, away := range []string{"owner", "other", "holder of a hint"} {
		t.Run(away, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 5, nil).withHints().inMode(counting)
				owners, others := c.owners("k"), c.others("k")
				gone := map[string]ring.NodeID{"owner": owners[2], "other": others[0], "holder of a hint": others[1]}[away]
				const n = resolve.CompactAt + 100
				c.everywhere("k", remembering(t, n))
				if away == "holder of a hint" {
					o, _ := c.stores[owners[0]].Get(refOf("k"))
					if _, err := c.hints[gone].MergeHint(owners[2], refOf("k"), addTo(t, o, 2, []object.OpID{newOp()}, []int64{0})); err != nil {
						t.Fatal(err)
					}
				}
				full := c.remembers(owners[0], "k")
				time.Sleep(resolve.RetryForMS * time.Millisecond)
				c.setFault(gone, refused)
				young := addReq("k", 1)
				c.mustPut(owners[0], young)
				time.Sleep(compactPause)
				c.mustPut(owners[0], addReq("k", 1))
				if b := c.remembers(owners[0], "k"); b < full {
					t.Fatalf("%d bytes of %d with %s away", b, full, gone)
				}
				c.setFault(gone, healthy)
				for _, id := range c.ids {
					c.untilUsable(id)
				}
				c.deliverAll()
				time.Sleep(compactPause)
				if res := c.mustPut(owners[0], addReq("k", 1)); res.Count != n+3 {
					t.Fatalf("%d, want %d", res.Count, n+3)
				}
				if b := c.remembers(owners[0], "k"); b > full/10 {
					t.Fatalf("%d bytes of %d are still remembered", b, full)
				}
				synctest.Wait() // all owners have it
				if res := c.mustPut(owners[1], young); res.Count != n+3 {
					t.Fatalf("%d with a retry of one that was not forgotten, want %d", res.Count, n+3)
				}
				for _, at := range c.ids {
					if got := c.count(at, "k", atAll); got != n+3 {
						t.Errorf("%d at %s, want %d", got, at, n+3)
					}
				}
			})
		})
	}
}

// handing is a network in which a hint is delivered, and dropped, while its keeper
// is being asked for it: just before.
type handing struct {
	Peers
	c    *cluster
	from ring.NodeID
}

func (h handing) Read(ctx context.Context, to ring.NodeID, req ReadRequest) (ReadReply, error) {
	if to == h.from {
		h.c.deliverAll()
	}
	return h.Peers.Read(ctx, to, req)
}

// What nobody but a hint knows of goes to its owner while the copies are read, and
// is seen all the same: a retry of it counts once.
func TestAHintThatMovesWhileCopiesAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil).withHints().inMode(counting)
		owners, keeper := c.owners("k"), c.others("k")[0]
		const n = resolve.CompactAt + 100
		ops, deltas := make([]object.OpID, n), make([]int64, n)
		for i := range n {
			ops[i], deltas[i] = newOp(), 1
		}
		c.everywhere("k", addTo(t, object.Object{}, 1, ops, deltas))
		// Another owner ran the last of them first. It is lost for good, and what it
		// had is with who keeps a hint.
		lost := addTo(t, object.Object{}, 2, ops[n-1:], deltas[n-1:])
		if _, err := c.hints[keeper].MergeHint(owners[2], refOf("k"), lost); err != nil {
			t.Fatal(err)
		}
		time.Sleep(resolve.RetryForMS * time.Millisecond)
		at := c.nodes[owners[0]]
		at.opts.Peers = handing{at.opts.Peers, c, keeper}
		c.mustPut(owners[0], addReq("k", 1))
		synctest.Wait()
		if c.held(owners[2]) != 0 {
			t.Fatal("the hint was not delivered")
		}
		for _, id := range c.ids {
			if got := c.count(id, "k", atAll); got != n+1 {
				t.Errorf("%d at %s, want %d", got, id, n+1)
			}
		}
	})
}

// While a member is away a counter takes as many increments with IDs as it may
// remember, and any number without; the tries to forget cost it nothing.
func TestABusyCounter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil).withHints().inMode(counting)
		owners := c.owners("k")
		c.everywhere("k", remembering(t, resolve.MaxRecent-1))
		time.Sleep(2 * resolve.RetryForMS * time.Millisecond)
		c.setFault(owners[2], hung)
		start := time.Now()
		last := addReq("k", 1)
		c.mustPut(owners[0], last)
		synctest.Wait() // the other owner has it
		for range 3 {
			if _, err := c.put(owners[1], addReq("k", 1)); !errors.Is(err, resolve.ErrBusy) {
				t.Fatalf("one more than it may remember: %v", err)
			}
			time.Sleep(2 * compactPause)
		}
		if took := time.Since(start); took > 6*compactPause {
			t.Errorf("it waited %v for who does not answer", took-6*compactPause)
		}
		c.mustPut(owners[1], last)
		plain := addReq("k", 1)
		plain.Sibling.Op = object.OpID{}
		c.mustPut(owners[1], plain)
		c.setFault(owners[2], healthy)
		for _, id := range c.ids {
			c.untilUsable(id)
		}
		c.deliverAll()
		time.Sleep(compactPause)
		if res := c.mustPut(owners[1], addReq("k", 1)); res.Count != resolve.MaxRecent+2 {
			t.Errorf("%d, want %d", res.Count, resolve.MaxRecent+2)
		}
	})
}

// A counter that cannot forget is left alone for a while, others are not.
func TestPaceOfCompactions(t *testing.T) {
	var c compactions
	now := time.Now()
	a, b := refOf("a"), refOf("b")
	if !c.begin(a, now) || c.begin(b, now) || c.begin(a, now) {
		t.Fatal("not one at a time")
	}
	c.end(a, now, false)
	if c.begin(a, now.Add(compactPause-1)) || !c.begin(b, now) {
		t.Fatal("the one that could not forget is not left alone, or the other is")
	}
	c.end(b, now, true)
	if !c.begin(b, now) {
		t.Fatal("one that forgot has to wait")
	}
	c.end(b, now, true)
	if !c.begin(a, now.Add(compactPause)) {
		t.Fatal("it is left alone for ever")
	}
	c.end(a, now, true)
	for i := range 3 * maxResting {
		c.end(refOf(fmt.Sprint(i)), now, false)
		if len(c.resting) > maxResting {
			t.Fatalf("%d are left alone", len(c.resting))
		}
	}
}
