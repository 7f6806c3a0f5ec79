package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/version"
)

// batchNet carries messages of batches through the network of a cluster.
type batchNet struct {
	netPeers
	messages, entries *atomic.Int64
}

func (n batchNet) ReadBatch(ctx context.Context, to ring.NodeID, reqs []ReadRequest) (a []Answer[ReadReply], err error) {
	n.count(len(reqs))
	err = n.c.call(ctx, to, func(ctx context.Context, c *Coordinator) (err error) {
		a, err = c.HandleReadBatch(ctx, reqs)
		return err
	})
	return a, err
}

func (n batchNet) ReplicateBatch(ctx context.Context, to ring.NodeID, reqs []ReplicateRequest) (a []Answer[struct{}], err error) {
	n.count(len(reqs))
	err = n.c.call(ctx, to, func(ctx context.Context, c *Coordinator) (err error) {
		a, err = c.HandleReplicateBatch(ctx, reqs)
		return err
	})
	return a, err
}

func (n batchNet) ForwardBatch(ctx context.Context, to ring.NodeID, reqs []ForwardRequest) (a []Answer[PutResult], err error) {
	n.count(len(reqs))
	err = n.c.call(ctx, to, func(ctx context.Context, c *Coordinator) (err error) {
		a, err = c.HandleForwardBatch(ctx, reqs)
		return err
	})
	return a, err
}

func (n batchNet) count(entries int) {
	n.messages.Add(1)
	n.entries.Add(int64(entries))
	n.travel()
}

// travel is how long any message is on its way, by the bubble's clock: until all
// who have something for its node have come.
func (n batchNet) travel() { time.Sleep(messageLinger / 2) }

func (n batchNet) Read(ctx context.Context, to ring.NodeID, req ReadRequest) (ReadReply, error) {
	n.travel()
	return n.netPeers.Read(ctx, to, req)
}

func (n batchNet) Replicate(ctx context.Context, to ring.NodeID, req ReplicateRequest) error {
	n.travel()
	return n.netPeers.Replicate(ctx, to, req)
}

func (n batchNet) Forward(ctx context.Context, to ring.NodeID, req ForwardRequest) (PutResult, error) {
	n.travel()
	return n.netPeers.Forward(ctx, to, req)
}

// newBatchCluster is newCluster with hints, whose nodes send messages of
// batches.
func newBatchCluster(t *testing.T, n int) (*cluster, batchNet) {
	c := newCluster(t, n, nil).withHints()
	net := batchNet{messages: new(atomic.Int64), entries: new(atomic.Int64)}
	for _, id := range c.ids {
		peers := batchNet{netPeers{c, id}, net.messages, net.entries}
		c.nodes[id].opts.Peers, c.nodes[id].opts.Batches = peers, peers
	}
	return c, net
}

func (c *cluster) batch(at ring.NodeID, ops ...BatchOp) []BatchResult {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return c.nodes[at].Batch(ctx, ops)
}

func putOp(key, value string, cons Consistency) BatchOp {
	req := putReq(key, value, cons)
	return BatchOp{Put: &req}
}

func getOp(key string, cons Consistency) BatchOp {
	return BatchOp{Get: &GetRequest{Bucket: "b", Key: key, Consistency: cons}}
}

// puts are n puts of keys with a prefix.
func puts(prefix string, n int, cons Consistency) (ops []BatchOp) {
	for i := range n {
		ops = append(ops, putOp(fmt.Sprint(prefix, i), fmt.Sprint("value ", i), cons))
	}
	return ops
}

func wantDone(t *testing.T, results []BatchResult) {
	t.Helper()
	for i, r := range results {
		if r.Err != nil {
			t.Fatalf("operation %d of %d: %v", i, len(results), r.Err)
		}
	}
}

func TestABatchTravelsInFewMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, net := newBatchCluster(t, 5)
		const n = 200
		wantDone(t, c.batch(c.ids[0], puts("k", n, Consistency{})...))
		time.Sleep(time.Second) // of the bubble's clock: until the last copies
		// Some 80 are forwarded, each is sent to two replicas: at most 4 forward
		// lanes and 5 × 4 lanes of copies.
		if m, e := net.messages.Load(), net.entries.Load(); m > 60 || e < 2*n {
			t.Errorf("%d entries in %d messages", e, m)
		}
		net.messages.Store(0)
		var gets []BatchOp
		for i := range n {
			gets = append(gets, getOp(fmt.Sprint("k", i), Consistency{}))
		}
		for i, r := range c.batch(c.ids[1], gets...) {
			if live := r.Get.Object.Live(0); r.Err != nil || len(live) != 1 || string(live[0].Value) != fmt.Sprint("value ", i) {
				t.Fatalf("get %d: %+v, %v", i, live, r.Err)
			}
		}
		if m := net.messages.Load(); m > 30 {
			t.Errorf("%d gets in %d messages", n, m)
		}
	})
}

// The same operations done one by one at one cluster and in batches at another
// have the same outcomes, through nodes that are down or have an old ring.
func TestBatchesEqualSingles(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { compareBatches(t, seed) })
		})
	}
}

func compareBatches(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 6))
	single := newCluster(t, 5, nil).withHints()
	batched, _ := newBatchCluster(t, 5)
	both := []*cluster{single, batched}
	old := settledView(t, 4)
	seen := [2]map[string]version.Context{{}, {}}
	for range 12 {
		at, odd := single.ids[rng.IntN(5)], single.ids[rng.IntN(5)]
		kind := rng.IntN(3)
		for _, c := range both {
			switch {
			case kind == 1 && at != odd:
				c.setFault(odd, refused)
			case kind == 2:
				c.nodes[odd].SetView(old)
			}
		}
		ops := [2][]BatchOp{}
		for _, k := range rng.Perm(40)[:20] {
			drawn := drawOp(rng, fmt.Sprint("key-", k))
			for i := range both {
				ops[i] = append(ops[i], drawn(seen[i]))
			}
		}
		var one []BatchResult
		for _, op := range ops[0] {
			one = append(one, single.batch(at, op)...)
		}
		many := batched.batch(at, ops[1]...)
		time.Sleep(time.Second) // of the bubble's clock: until what goes on behind the answers has ended
		for i := range ops[0] {
			if a, b := outcomeOfOp(one[i]), outcomeOfOp(many[i]); a != b {
				t.Fatalf("operation %s at %s (fault %d at %s): alone %s, in a batch %s", nameOfOp(ops[0][i]), at, kind, odd, a, b)
			}
			learn(seen[0], ops[0][i], one[i])
			learn(seen[1], ops[1][i], many[i])
		}
		for _, c := range both {
			c.setFault(odd, healthy)
			c.nodes[odd].SetView(c.latest)
			for _, id := range c.ids {
				c.untilUsable(id)
			}
			// Whether a put left hints beyond those that it owed is chance, and
			// reads count them.
			c.deliverAll()
		}
	}
	for k := range 40 {
		req := GetRequest{Key: fmt.Sprint("key-", k), Consistency: all}
		a, err1 := single.get(single.ids[0], req)
		b, err2 := batched.get(single.ids[0], req)
		x, y := outcomeOfOp(BatchResult{Get: a, Err: err1}), outcomeOfOp(BatchResult{Get: b, Err: err2})
		if x != y {
			t.Errorf("%s in the end: alone %s, in batches %s", req.Key, x, y)
		}
	}
}

// drawOp draws an operation on a key, for clients that have seen something.
func drawOp(rng *rand.Rand, key string) func(seen map[string]version.Context) BatchOp {
	// What one replica has is chance, so each is at least a quorum.
	cons := []Consistency{{}, all, {PW: 2, PR: 2}, {Strict: true}}[rng.IntN(4)]
	kind, value := rng.IntN(6), fmt.Sprint("v", rng.IntN(1000))
	return func(seen map[string]version.Context) BatchOp {
		put := putReq(key, value, cons)
		switch kind {
		case 0, 1:
			return getOp(key, cons)
		case 2:
			put.Sibling.Tombstone, put.Sibling.Value, put.ReadFirst = true, nil, true
		case 3:
			put.ReadFirst = true
		case 4:
			put.Context = seen[key]
		}
		return BatchOp{Put: &put}
	}
}

func learn(seen map[string]version.Context, op BatchOp, r BatchResult) {
	switch {
	case r.Err != nil:
	case op.Get != nil:
		seen[op.Get.Key] = r.Get.Object.Context()
	default:
		seen[op.Put.Key] = r.Put.Context
	}
}

func nameOfOp(op BatchOp) string {
	if op.Get != nil {
		return fmt.Sprintf("get %s %+v", op.Get.Key, op.Get.Consistency)
	}
	return fmt.Sprintf("put %s %+v, read first %v, context %v", op.Put.Key, op.Put.Consistency, op.Put.ReadFirst, op.Put.Context)
}

// outcomeOfOp is what a client is told, but for the versions.
func outcomeOfOp(r BatchResult) string {
	var q *QuorumError
	switch {
	case errors.As(r.Err, &q):
		return fmt.Sprintf("no quorum of %d, maybe applied %v", q.Required, q.MaybeApplied)
	case r.Err != nil:
		return r.Err.Error()
	}
	var values []string
	for _, s := range r.Get.Object.Live(0) {
		values = append(values, string(s.Value))
	}
	slices.Sort(values)
	return fmt.Sprintf("required %d or %d, values %s", r.Get.Required, r.Put.Required, strings.Join(values, " "))
}

func TestABatchWithAReplicaDownLeavesHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, f := range []fault{refused, lostReply, hung} {
			c, _ := newBatchCluster(t, 5)
			down := c.ids[2]
			c.credulous.Store(true) // the first messages are sent to it
			c.setFault(down, f)
			ops := puts("k", 100, Consistency{})
			wantDone(t, c.batch(c.ids[0], ops...))
			time.Sleep(3 * time.Second) // of the bubble's clock: until the last hint
			owned := 0
			for _, op := range ops {
				if slices.Contains(c.owners(op.Put.Key), down) {
					owned++
				}
			}
			if held := c.held(down); owned == 0 || held < owned {
				t.Errorf("fault %d: %d hints for %d keys", f, held, owned)
			}
			c.setFault(down, healthy)
			c.untilUsable(c.ids[0])
			for _, op := range ops {
				c.wantValues(c.ids[0], GetRequest{Key: op.Put.Key}, string(op.Put.Sibling.Value))
			}
		}
	})
}

func TestABadOperationIsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newBatchCluster(t, 5)
		ops := puts("k", 20, Consistency{})
		ops[3].Put.Sibling.Op = [16]byte{}
		ops[5] = BatchOp{}
		ops[7] = getOp("k7", Consistency{Level: LevelQuorum})
		full := ops[9].Put
		for _, id := range c.owners(full.Key) {
			c.stores[id].fail = errors.New("disk on fire")
		}
		results := c.batch(c.ids[0], ops...)
		for i, r := range results {
			owners := c.owners(fmt.Sprint("k", i))
			switch {
			case i == 3 || i == 5:
				if !errors.Is(r.Err, ErrInvalid) {
					t.Errorf("operation %d: %v", i, r.Err)
				}
			case slices.ContainsFunc(owners, func(id ring.NodeID) bool { return c.stores[id].fail != nil }):
			case r.Err != nil:
				t.Errorf("operation %d: %v", i, r.Err)
			}
		}
		if results[9].Err == nil {
			t.Error("a put that no owner takes was done")
		}
	})
}

// A put that waits for a replica that hangs does not keep the others, with
// which it was forwarded, from being answered in time.
func TestAForwardedPutThatHangsIsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newBatchCluster(t, 5)
		at := c.ids[0]
		var ops []BatchOp
		stuck := map[int]bool{}
		hangs := c.ids[4]
		for i := range 60 {
			cons := Consistency{PW: 1}
			op := putOp(fmt.Sprint("k", i), "v", cons)
			owners := c.owners(op.Put.Key)
			if slices.Contains(owners, at) {
				continue
			}
			if slices.Contains(owners, hangs) && len(stuck) == 0 && owners[0] != hangs {
				stuck[len(ops)] = true
				op.Put.Consistency = Consistency{Level: LevelAll, PW: 3}
			}
			ops = append(ops, op)
		}
		c.credulous.Store(true)
		c.setFault(hangs, hung)
		for i, r := range c.batch(at, ops...) {
			switch {
			case stuck[i]:
				if outcome := outcomeOfOp(r); outcome != "no quorum of 3, maybe applied true" {
					t.Errorf("the put that waits: %v", r.Err)
				}
			case r.Err != nil:
				t.Errorf("operation %d: %v", i, r.Err)
			}
		}
	})
}

// Copies that are too large for one answer come in several.
func TestReadsOfMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, net := newBatchCluster(t, 3)
		large := strings.Repeat("x", 300<<10)
		var ops, gets []BatchOp
		for i := range 40 {
			ops = append(ops, putOp(fmt.Sprint("k", i), large, all))
			gets = append(gets, getOp(fmt.Sprint("k", i), Consistency{Level: LevelTwo}))
		}
		wantDone(t, c.batch(c.ids[0], ops...))
		if m := net.messages.Load(); m > 0 {
			t.Errorf("%d messages with more than one entry of %d bytes", m, len(large))
		}
		reader := c.nodes[c.ids[1]]
		for i := range 40 { // nothing here to compare with: the others must send theirs
			c.stores[reader.opts.Self].objects[refOf(fmt.Sprint("k", i))] = c.stores[reader.opts.Self].objects[refOf("none")]
		}
		for i, r := range c.batch(reader.opts.Self, gets...) {
			if live := r.Get.Object.Live(0); r.Err != nil || len(live) != 1 || len(live[0].Value) != len(large) {
				t.Errorf("get %d: %d values, %v", i, len(live), r.Err)
			}
		}
		if m := net.messages.Load(); m < 4 {
			t.Errorf("40 copies of %d bytes came in %d messages", len(large), m)
		}
	})
}

// A batch does not read more than fits into one answer.
func TestABatchReadsSoMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newBatchCluster(t, 3)
		c.mustPut(c.ids[0], putReq("k", strings.Repeat("x", 1<<20), all))
		var gets []BatchOp
		for range 200 {
			gets = append(gets, getOp("k", Consistency{}))
		}
		read := 0
		for i, r := range c.batch(c.ids[0], gets...) {
			switch {
			case r.Err == nil:
				read++
			case !errors.Is(r.Err, ErrBatchFull):
				t.Fatalf("get %d: %v", i, r.Err)
			}
		}
		if read < maxReadBytes>>20 || read > maxReadBytes>>20+maxReading {
			t.Errorf("%d gets of 1 MiB were done", read)
		}
	})
}

func TestABatchWaitsForAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newBatchCluster(t, 3)
		node := c.nodes[c.ids[0]]
		node.batches.own = make(chan struct{}, 1)
		wantDone(t, c.batch(c.ids[0], puts("k", 10, Consistency{})...)) // one after the other
		node.batches.own <- struct{}{}
		for i, r := range c.batch(c.ids[0], puts("l", 3, Consistency{})...) {
			if !errors.Is(r.Err, ErrOverloaded) {
				t.Errorf("operation %d without a place: %v", i, r.Err)
			}
		}
	})
}

// An entry that nobody waits for any more is not sent.
func TestAnEntryIsWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, net := newBatchCluster(t, 3)
		c.setFault(c.ids[1], delayed)
		b := newBatch(c.nodes[c.ids[0]])
		b.c.opts.Batches = batchNet{netPeers{c, c.ids[0]}, net.messages, net.entries}
		pl := c.placement("k")
		read := func(ctx context.Context) error {
			_, err := b.Read(ctx, c.ids[1], ReadRequest{Ref: refOf("k"), Stamp: pl.Stamp})
			return err
		}
		first := make(chan error, 1)
		go func() { first <- read(t.Context()) }()
		synctest.Wait() // it is under way
		ctx, cancel := context.WithTimeout(t.Context(), messageLinger/2)
		defer cancel()
		if err := read(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnknown) {
			t.Errorf("given up before it was sent: %v", err)
		}
		late, cancelLate := context.WithTimeout(t.Context(), 10*messageLinger)
		defer cancelLate()
		if err := read(late); !errors.Is(err, ErrUnknown) {
			t.Errorf("given up after it was sent: %v", err)
		}
		close(c.letGo)
		if err := <-first; err != nil {
			t.Error(err)
		}
		if n := net.messages.Load(); n != 0 {
			t.Errorf("%d messages with several entries; the withdrawn one was sent", n)
		}
	})
}
