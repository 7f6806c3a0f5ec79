package antientropy

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"starling/antientropy/merkle"
	"starling/ring"
	"starling/store/object"
)

// exNet is the network as one node sees it.
type exNet struct{ n *exNode }

func (e exNet) Alive(id ring.NodeID) bool {
	e.n.c.mu.Lock()
	defer e.n.c.mu.Unlock()
	return !e.n.c.down[id]
}

func (e exNet) Boot(id ring.NodeID) uint64 {
	e.n.c.mu.Lock()
	defer e.n.c.mu.Unlock()
	return e.n.c.boots[id]
}

func (e exNet) Refresh(_ context.Context, id ring.NodeID) error {
	e.n.c.change(func() { e.n.c.seen.refreshes++ })
	v := e.n.c.newest()
	e.n.setView(v)
	e.n.c.node(id).setView(v)
	return nil
}

// call carries one request, which takes time and may be lost on either way.
func exCall[Q, A any](ctx context.Context, e exNet, to ring.NodeID, method string, req Q, handle func(*ReplicaServer, context.Context, Q) (A, error)) (answer A, err error) {
	c := e.n.c
	var loseRequest, loseAnswer error
	delay := time.Millisecond
	c.change(func() {
		c.flying[e.n.id][to]++
		c.seen.mostEach = max(c.seen.mostEach, c.flying[e.n.id][to])
		busy := 0
		for _, n := range c.flying[e.n.id] {
			busy += min(n, 1)
		}
		c.seen.mostAll = max(c.seen.mostAll, busy)
		c.seen.calls[method]++
		c.seen.bytes += exBytes(req)
		if c.fault != nil {
			delay, loseRequest, loseAnswer = c.fault(e.n.id, to, method)
		}
		if c.down[to] || c.down[e.n.id] {
			loseRequest = errLost
		}
	})
	defer c.change(func() { c.flying[e.n.id][to]-- })
	if err := sleep(ctx, delay); err != nil {
		return answer, err
	}
	if loseRequest != nil {
		return answer, loseRequest
	}
	if c.before != nil {
		c.before(e.n.id, to, method)
	}
	exShips(c, e.n.id, to, req)
	var server *ReplicaServer
	c.change(func() { server = c.node(to).server })
	if answer, err = handle(server, ctx, req); err != nil {
		return answer, fmt.Errorf("from far: %w", err)
	}
	if c.forge != nil {
		c.forge(&answer)
	}
	c.change(func() { c.seen.bytes += exBytes(answer) })
	if err := cmp.Or(loseAnswer, sleep(ctx, delay)); err != nil {
		return *new(A), err
	}
	exShips(c, to, e.n.id, answer)
	return answer, nil
}

// exShips notes the objects of a message.
func exShips(c *exCluster, from, to ring.NodeID, message any) {
	var entries []object.Entry
	switch m := message.(type) {
	case PushRequest:
		entries = m.Entries
	case FetchPage:
		entries = m.Entries
	}
	c.change(func() {
		for _, e := range entries {
			c.seen.shipped = append(c.seen.shipped, exShipped{from, to, e.Ref})
		}
	})
}

// exBytes estimates what a message takes on the wire, generously.
func exBytes(message any) int {
	const frame, claim, ref = 40, 16, 16
	bytes := frame
	refs := func(r object.Ref) { bytes += ref + len(r.Bucket) + len(r.Key) }
	switch m := message.(type) {
	case CompareRequest:
		bytes += 16 + len(m.Roots)*(claim+20) + len(m.Sketches)*(8*merkle.SketchLeaves+2)
	case []Comparison:
		for _, a := range m {
			bytes += 4
			if a.Inner != [merkle.Fanout]merkle.Digest{} {
				bytes += 4*merkle.Fanout + 8
			}
			bytes += exListBytes(a.Leaves)
		}
	case KeysRequest:
		bytes += claim + 16 + 4*len(m.Leaves)
		refs(m.After.Ref)
	case KeysPage:
		bytes += exListBytes(m.Leaves)
	case FetchRequest:
		for _, r := range m.Refs {
			refs(r)
		}
	case FetchPage:
		for _, e := range m.Entries {
			refs(e.Ref)
			bytes += e.Object.Size()
		}
	case PushRequest:
		for _, e := range m.Entries {
			refs(e.Ref)
			bytes += e.Object.Size()
		}
	}
	return bytes
}

func exListBytes(leaves []LeafKeys) (bytes int) {
	for _, l := range leaves {
		bytes += 8
		for i := range l.Keys {
			bytes += 8 + digestBytes(&l.Keys[i])
		}
	}
	return bytes
}

func (e exNet) Compare(ctx context.Context, to ring.NodeID, req CompareRequest) ([]Comparison, error) {
	return exCall(ctx, e, to, "compare", req, (*ReplicaServer).HandleCompare)
}

func (e exNet) Keys(ctx context.Context, to ring.NodeID, req KeysRequest) (KeysPage, error) {
	return exCall(ctx, e, to, "keys", req, (*ReplicaServer).HandleKeys)
}

func (e exNet) Fetch(ctx context.Context, to ring.NodeID, req FetchRequest) (FetchPage, error) {
	return exCall(ctx, e, to, "fetch", req, (*ReplicaServer).HandleFetch)
}

func (e exNet) Push(ctx context.Context, to ring.NodeID, req PushRequest) (uint32, error) {
	return exCall(ctx, e, to, "push", req, (*ReplicaServer).HandlePush)
}
