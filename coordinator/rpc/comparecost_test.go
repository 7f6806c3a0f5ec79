package rpc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"starling/antientropy"
	"starling/coordinator/rpc/internal/wire"
	"starling/ring"
	"starling/store/object"
)

// A node that was away catches up for less than two and a half times what it
// missed, everything that is sent from its return until all is proven equal
// counted: 5 nodes, 200,000 keys, 1,000 of them changed.
func TestCatchingUpCostsLittle(t *testing.T) {
	const changed = 1000
	synctest.Test(t, func(t *testing.T) {
		c := newCostCluster(t, 5, 1024, 200_000)
		missed := 0
		for k := 0; missed < changed; k++ {
			missed += c.change(fmt.Sprintf("key-%06d", k*7), c.nodes[2])
		}
		s := c.catchUp(c.nodes[2])
		t.Logf("%v", s)
		if s.objects != changed {
			t.Errorf("%d objects were shipped, want %d", s.objects, changed)
		}
		if all := s.total(); 2*all > 5*s.objectBytes {
			t.Errorf("%d bytes were sent for %d bytes of objects", all, s.objectBytes)
		}
	})
}

// One that missed a single write does for two objects' worth.
func TestOneKeyCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCostCluster(t, 3, 16, 16_000)
		c.change("key-000070", c.nodes[2])
		s := c.catchUp(c.nodes[2])
		t.Logf("%v", s)
		// The roots of all partitions come first.
		steps := s.total() - s.objectBytes - s.bytes["roots"]
		if s.objects != 1 || steps > 2*s.objectBytes {
			t.Errorf("%d objects were shipped, and %d bytes sent about them", s.objects, steps)
		}
	})
}

// spent is what was sent.
type spent struct {
	bytes, calls map[string]int // by step
	objects      int
	objectBytes  int // their names included
}

func (s spent) total() (bytes int) {
	for _, n := range s.bytes {
		bytes += n
	}
	return bytes
}

func (s spent) String() string {
	text := fmt.Sprintf("%d objects of %d bytes, %d bytes sent:", s.objects, s.objectBytes, s.total())
	for _, step := range slices.Sorted(maps.Keys(s.bytes)) {
		text += fmt.Sprintf(" %s %d in %d calls,", step, s.bytes[step], s.calls[step])
	}
	return text
}

// catchUp runs the cluster without a node until it is at rest, then with it
// until all is proven equal, and answers what the latter took.
func (c *costCluster) catchUp(away *costNode) spent {
	ctx, cancel := context.WithCancel(c.t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, n := range c.nodes {
		n.assemble(c.t)
	}
	run := func(n *costNode) {
		running.Go(func() {
			if err := n.x.Run(ctx); err != nil {
				c.t.Error(err)
			}
		})
	}
	c.down[away.id] = true
	for _, n := range c.nodes {
		if n != away {
			run(n)
		}
	}
	c.await(func(p antientropy.Pair) bool { return p.Holds || p.Peer == away.id })
	c.mu.Lock()
	c.down[away.id] = false
	c.boots[away.id]++
	c.spent = spent{bytes: map[string]int{}, calls: map[string]int{}}
	c.mu.Unlock()
	run(away)
	for _, n := range c.nodes {
		n.x.Kick()
	}
	c.await(func(p antientropy.Pair) bool { return p.Holds })
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spent
}

// await waits until all pairs of the nodes that are up are as wanted.
func (c *costCluster) await(wanted func(antientropy.Pair) bool) {
	c.t.Helper()
	for range 1000 {
		time.Sleep(20 * time.Millisecond)
		open := 0
		for _, n := range c.nodes {
			if !n.Alive(n.id) {
				continue
			}
			r, err := n.x.HandleReport(c.t.Context())
			if err != nil {
				c.t.Fatal(err)
			}
			for _, p := range r.Pairs {
				if !wanted(p) {
					open++
				}
			}
		}
		if open == 0 {
			return
		}
	}
	c.t.Fatal("not converged in 20 s")
}

func (n *costNode) assemble(t *testing.T) {
	t.Helper()
	var err error
	n.x, err = antientropy.NewExchanger(antientropy.ExchangerOptions{
		Self: n.id, Views: n, Peers: n, Store: n, Applier: n, Liveness: n, Enabled: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.server, err = antientropy.NewReplicaServer(antientropy.ReplicaServerOptions{Self: n.id, Views: n, Store: n, Applier: n, Meter: n.x})
	if err != nil {
		t.Fatal(err)
	}
}

// carry has another node answer a request, both as they are on the wire.
func carry[Q, A any](n *costNode, to ring.NodeID, step string, q Q, put func([]byte, Q) []byte, read func([]byte) (Q, error),
	handle func(*antientropy.ReplicaServer, context.Context, Q) (A, error), putReply func([]byte, A) []byte, readReply func([]byte) (A, error)) (a A, err error) {
	i := slices.IndexFunc(n.c.nodes, func(o *costNode) bool { return o.id == to })
	if !n.Alive(to) {
		return a, errors.New("down")
	}
	time.Sleep(time.Millisecond)
	request := put(nil, q)
	if q, err = read(request); err != nil {
		return a, err
	}
	if a, err = handle(n.c.nodes[i].server, context.Background(), q); err != nil {
		return a, err
	}
	reply := putReply(nil, a)
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if s := &n.c.spent; s.bytes != nil {
		s.bytes[step] += len(request) + len(reply) + 2*wire.HeaderBytes
		s.calls[step]++
	}
	return readReply(reply)
}

func (n *costNode) Compare(_ context.Context, to ring.NodeID, q antientropy.CompareRequest) ([]antientropy.Comparison, error) {
	step := "roots"
	if q.Inner {
		step = "compare"
	}
	return carry(n, to, step, q, appendCompareRequest, decodeCompareRequest, (*antientropy.ReplicaServer).HandleCompare, appendComparisons, decodeComparisons)
}

func (n *costNode) Keys(_ context.Context, to ring.NodeID, q antientropy.KeysRequest) (antientropy.KeysPage, error) {
	return carry(n, to, "keys", q, appendKeysRequest, decodeKeysRequest, (*antientropy.ReplicaServer).HandleKeys, appendKeysPage, decodeKeysPage)
}

func (n *costNode) Fetch(_ context.Context, to ring.NodeID, q antientropy.FetchRequest) (antientropy.FetchPage, error) {
	a, err := carry(n, to, "fetch", q, appendFetchRequest, decodeFetchRequest, (*antientropy.ReplicaServer).HandleFetch, appendFetchPage, decodeFetchPage)
	n.c.shipped(a.Entries)
	return a, err
}

func (n *costNode) Push(_ context.Context, to ring.NodeID, q antientropy.PushRequest) (uint32, error) {
	n.c.shipped(q.Entries)
	return carry(n, to, "push", q, appendPushRequest, decodePushRequest, (*antientropy.ReplicaServer).HandlePush, appendCount, decodeCount)
}

func (c *costCluster) shipped(entries []object.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range entries {
		c.spent.objects++
		c.spent.objectBytes += e.Object.Size() + len(e.Ref.Bucket) + len(e.Ref.Key)
	}
}
