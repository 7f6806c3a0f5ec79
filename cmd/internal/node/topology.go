package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"starling/antientropy"
	"starling/coordinator/api"
	"starling/gossip"
	"starling/gossip/state"
	"starling/gossip/topology"
	"starling/ring"
)

// freshenTimeout bounds the exchange of maps before a member is taken out, and
// sizesTimeout that of asking for the sizes of partitions. sampledPartitions are
// looked at to find out how large an object is.
const (
	freshenTimeout    = time.Second
	sizesTimeout      = 2 * time.Second
	sampledPartitions = 32
)

// membership makes changes of the members, and says what they would do.
type membership struct{ n *Node }

// Change implements [api.Topology].
func (t membership) Change(ctx context.Context, req api.ChangeRequest) error {
	g := t.n.gossip.Load()
	if g == nil {
		return &api.PreconditionError{Reason: "this node has not found its cluster yet"}
	}
	if err := t.change(ctx, g, req); err != nil {
		return err
	}
	return t.n.apply()
}

func (t membership) change(ctx context.Context, g *gossip.Gossip, req api.ChangeRequest) error {
	member, ok := g.Map().Member(req.Node)
	if !ok {
		return fmt.Errorf("%w: %v is no member", topology.ErrChange, req.Node)
	}
	switch {
	case req.Kind == api.ChangeLeave:
		if member.State >= state.Leaving {
			return nil
		}
		if _, err := topology.Apply(g.Map(), topology.Change{Leave: []ring.NodeID{req.Node}}); err != nil {
			return err
		}
		return g.Advance(req.Node, state.Leaving)
	case member.State == state.Removed && (req.Kind == api.ChangeRemove || member.Heir == req.By):
		if req.Force { // what is lost may have come out since
			return g.Remove(req.Node, true)
		}
		return nil
	}
	if err := t.mayGo(ctx, g, member, req.Force); err != nil {
		return err
	}
	if req.Kind == api.ChangeReplace {
		return g.Replace(req.Node, req.By, req.Force)
	}
	if _, err := topology.Apply(g.Map(), topology.Change{Remove: []ring.NodeID{req.Node}}); err != nil {
		return err
	}
	return g.Remove(req.Node, req.Force)
}

// mayGo is why a member must not be taken out. What the others hold is asked
// first: a settled bit that was cleared a moment ago may be the one that counts.
func (t membership) mayGo(ctx context.Context, g *gossip.Gossip, member state.Member, force bool) error {
	if force {
		return nil
	}
	if g.Alive(member.ID) {
		return &api.PreconditionError{Reason: fmt.Sprintf("%s is alive: have it leave, or stop it first", member.Name)}
	}
	ctx, cancel := context.WithTimeout(ctx, freshenTimeout)
	defer cancel()
	var asking sync.WaitGroup
	for _, p := range g.Peers() {
		asking.Go(func() {
			if err := members(t).Refresh(ctx, p.ID); err != nil {
				t.n.log.Debug("a peer's map could not be had before a removal", "peer", t.n.peerName(p.ID), "err", err)
			}
		})
	}
	asking.Wait()
	verdict, err := topology.Removal(g.Map(), member.ID, g.Alive)
	if err != nil || len(verdict.Lost) == 0 {
		return err
	}
	return &api.PreconditionError{
		Reason: fmt.Sprintf("%s has the last complete copy of %d partitions", member.Name, len(verdict.Lost)),
		Lost:   verdict.Lost, AtRisk: verdict.AtRisk,
	}
}

// Plan implements [api.Topology].
func (t membership) Plan(ctx context.Context, c topology.Change) (topology.Plan, error) {
	before := cluster(t).Map()
	after, err := topology.Apply(before, c)
	if err != nil {
		return topology.Plan{}, err
	}
	bytes := t.sizes(ctx)
	facts := t.facts(nil)
	facts.BusyBytesPerSecond = t.n.busyRate()
	facts.Bytes = func(partition int) int64 { return bytes[partition] }
	return topology.PlanOf(before, after, facts)
}

// SafeToStop implements [api.Topology].
func (t membership) SafeToStop(ctx context.Context, id ring.NodeID) (topology.Safety, error) {
	statuses := t.n.coord.Statuses(ctx)
	hints := func(id ring.NodeID) (int64, bool) {
		s, ok := statuses[id]
		return s.Hints, ok
	}
	return topology.SafeToStop(cluster(t).Map(), id, t.facts(hints)), nil
}

func (t membership) facts(hints func(ring.NodeID) (int64, bool)) topology.Facts {
	return topology.Facts{Alive: cluster(t).Alive, BytesPerSecond: t.n.cfg.TransferBytesPerSecond, Hints: hints}
}

// busyRate is about what a node that serves clients gives of its partitions in a
// second, going by how large the objects are of which this node has copies. 0
// where it has none.
func (n *Node) busyRate() int64 {
	v := n.coord.View()
	if v == nil {
		return 0
	}
	var bytes, keys float64
	looked := 0
	for p := uint32(0); int(p) < v.Ring().Config().Partitions && looked < sampledPartitions; p++ {
		if !slices.Contains(v.Placement(int(p)).Owners, n.id) {
			continue
		}
		looked++
		size, err := n.store.PartitionBytes(p)
		if err != nil {
			continue // it says nothing about the others
		}
		root, err := n.store.Root(p)
		if err != nil {
			continue
		}
		bytes, keys = bytes+float64(size), keys+float64(root.Keys)
	}
	if bytes == 0 || keys == 0 {
		return 0
	}
	return antientropy.BusyRate(n.cfg.TransferBytesPerSecond, bytes/keys)
}

// sizes asks, for each partition, one owner that is alive for the size of its
// copy. What nobody answers for is 0.
func (t membership) sizes(ctx context.Context) []int64 {
	v := t.n.coord.View()
	if v == nil {
		return nil
	}
	sizes := make([]int64, v.Ring().Config().Partitions)
	ctx, cancel := context.WithTimeout(ctx, sizesTimeout)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	for owner, partitions := range t.askedOf(v) {
		asking.Go(func() {
			reply, err := t.sizesAt(ctx, owner, antientropy.SizesRequest{Partitions: partitions})
			if err != nil || len(reply.Bytes) != len(partitions) {
				t.n.log.Debug("the sizes of partitions could not be had", "peer", t.n.peerName(owner), "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for i, p := range partitions {
				sizes[p] = int64(reply.Bytes[i])
			}
		})
	}
	asking.Wait()
	return sizes
}

// askedOf spreads the partitions over their owners: over the first, second or
// third of each in turn, or this node.
func (t membership) askedOf(v *ring.View) map[ring.NodeID][]uint32 {
	by := map[ring.NodeID][]uint32{}
	for p := range v.Ring().Config().Partitions {
		owners := v.Placement(p).Owners
		for i := range owners {
			if o := owners[(p+i)%len(owners)]; cluster(t).Alive(o) {
				by[o] = append(by[o], uint32(p))
				break
			}
		}
	}
	return by
}

func (t membership) sizesAt(ctx context.Context, id ring.NodeID, req antientropy.SizesRequest) (antientropy.SizesReply, error) {
	if id == t.n.id {
		return t.n.source.HandleSizes(ctx, req)
	}
	return t.n.transport.Sizes(ctx, id, req)
}
