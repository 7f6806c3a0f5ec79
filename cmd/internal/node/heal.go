package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"starling/ring"
	"starling/store"
	"starling/store/object"
)

// wounds are the partitions that lost rows here: those of a damaged file. Such
// a copy must not vote, for it may have forgotten acknowledged writes; see
// [Node.heal].
type wounds struct {
	mu    sync.Mutex
	parts map[uint32]bool // true: somebody was told that it is not healed yet
	kick  func()          // has healAll called; nil: not yet
}

func newWounds() *wounds { return &wounds{parts: map[uint32]bool{}} }

// add is told by the store of a partition that lost rows, once for each. The
// store has logged the reason.
func (w *wounds) add(partition uint32, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parts[partition] = false
	if w.kick != nil {
		w.kick()
	}
}

// tell has kick called after each add.
func (w *wounds) tell(kick func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kick = kick
}

func (w *wounds) list() []uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.parts))
}

func (w *wounds) healed(partition uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.parts, partition)
}

// unhealed reports whether this is the first failure to heal the partition.
func (w *wounds) unhealed(partition uint32) (first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := w.parts[partition]
	w.parts[partition] = true
	return !told
}

// healAll heals the partitions that lost rows and gives those that are not
// healed yet, which must not be filled before, and those that are, whose copy
// was dropped. It runs in the filler, between two rounds: a transfer that began
// before the partition was dropped must not settle it.
func (n *Node) healAll(ctx context.Context) (unhealed, dropped []uint32) {
	for _, p := range n.wounds.list() {
		err := n.heal(ctx, p)
		if err == nil {
			n.wounds.healed(p)
			dropped = append(dropped, p)
			continue
		}
		unhealed = append(unhealed, p)
		if n.wounds.unhealed(p) && ctx.Err() == nil {
			n.log.Error("a damaged partition is not healed yet", "partition", p, "err", err)
		}
	}
	return unhealed, dropped
}

// heal brings back a partition that lost rows. The node gives up its vote in
// it, gives the other owners what can still be read, in case that some write is
// here alone, and drops the rest. It is then a pending owner that holds
// nothing, and is filled like one that has just joined.
//
// A write that comes between the first step and the last may be dropped again:
// it counts as that of a pending node, on which no quorum relies, and the pull
// of the whole partition begins after the last step.
func (n *Node) heal(ctx context.Context, partition uint32) error {
	v := n.coord.View()
	if v == nil {
		return errors.New("the node has no ring yet")
	}
	pl := v.Placement(int(partition))
	others := slices.DeleteFunc(slices.Clone(pl.Owners), func(id ring.NodeID) bool { return id == n.id })
	if len(others) == 0 {
		return errors.New("no other node holds the partition: restore this node's directory from a backup")
	}
	n.log.Warn("healing a damaged partition: this node has no vote in it until it is filled again", "partition", partition)
	if err := n.unsettle(int(partition)); err != nil {
		return err
	}
	if err := n.salvage(ctx, partition, others); err != nil {
		return err
	}
	return n.coord.Forget(partition, func() error { return n.store.DropPartition(partition) })
}

// salvage sends all that can be read of a damaged partition to its other
// owners.
func (n *Node) salvage(ctx context.Context, partition uint32, others []ring.NodeID) error {
	unread, sent := 0, 0
	for leaf := range store.LeafCount {
		for ref, err := range n.store.LeafKeys(partition, uint16(leaf)) {
			if err != nil {
				unread++
				break // the rest of this leaf
			}
			for _, id := range others {
				ok, err := n.coord.Hand(ctx, id, ref, n.readForSalvage)
				if err != nil {
					return fmt.Errorf("giving %s what is left: %w", n.peerName(id), err)
				}
				if !ok {
					unread++
					break
				}
				sent++
			}
		}
	}
	n.log.Info("gave the other owners what can be read of a damaged partition", "partition", partition, "copies", sent, "unread", unread)
	return nil
}

// readForSalvage reads a key; one that cannot be read is absent.
func (n *Node) readForSalvage(ref object.Ref) object.Object {
	o, err := n.store.Get(ref)
	if err != nil {
		return object.Object{}
	}
	return o
}
