package node

import (
	"time"

	"starling/coordinator/rpc"
	"starling/ring"
	"starling/store"
	"starling/store/object"
)

// objectBytesFactor is how many values of the largest size the siblings of a
// key may hold together; minObjectBytes is the least for small values.
const (
	objectBytesFactor = 4
	minObjectBytes    = 4 << 20
)

func (n *Node) openStore() (*store.Store, error) {
	cfg := n.cfg
	durability, err := store.ParseDurability(cfg.Durability)
	if err != nil {
		return nil, err
	}
	return store.Open(store.Options{
		Dir: cfg.DataDir, Durability: durability, SyncEvery: cfg.DurabilityInterval,
		CacheBytes: cfg.CacheBytes, FreeFloorBytes: cfg.FreeFloorBytes,
		Limits: object.Limits{
			Siblings: cfg.MaxSiblings,
			Bytes:    max(minObjectBytes, objectBytesFactor*int(cfg.MaxValueBytes)),
		},
		HintsMaxBytes: cfg.HintsMaxBytes, HintsMaxTargetBytes: cfg.HintsMaxTargetBytes,
		Logger: n.log, Metrics: n.registry,
		OnAmnesia: n.wounds.add,
	})
}

func (n *Node) rpcOptions() rpc.Options {
	return rpc.Options{
		Node: n.id, Resolve: n.rpcAddress, ReplyDelay: n.cfg.TestReplicaDelay, Logger: n.log, Metrics: n.registry,
	}
}

// rpcAddress is where a member is reached.
func (n *Node) rpcAddress(id ring.NodeID) (string, bool) {
	g := n.gossip.Load()
	if g == nil {
		return "", false
	}
	m, ok := g.Map().Member(id)
	return m.RPC, ok
}

// peerName labels a member in metrics and logs.
func (n *Node) peerName(id ring.NodeID) string {
	if g := n.gossip.Load(); g != nil {
		if m, ok := g.Map().Member(id); ok {
			return m.Name
		}
	}
	return id.String()
}

// clock is the wall clock, moved by a test's offset.
func clock(offset time.Duration) func() time.Time {
	if offset == 0 {
		return time.Now
	}
	return func() time.Time { return time.Now().Add(offset) }
}

// leaf describes the Merkle leaf of a key.
func (n *Node) leaf(ref object.Ref) (leaf int, sum, keys uint64, err error) {
	leaf, l, err := n.store.LeafOf(ref)
	return leaf, l.Sum, l.Keys, err
}
