package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"starling/antientropy"
	"starling/antientropy/merkle"
	"starling/coordinator"
	"starling/gossip/state"
	"starling/ring"
	"starling/store"
	"starling/store/object"
)

// leaves is the store in the terms of the exchange.
type leaves struct{ *store.Store }

func (l leaves) Root(partition uint32) (merkle.Node, error) {
	leaf, err := l.Store.Root(partition)
	return merkle.Node(leaf), err
}

func (l leaves) Leaves(partition uint32) ([]merkle.Node, error) {
	from, err := l.Store.Leaves(partition)
	nodes := make([]merkle.Node, len(from))
	for i, leaf := range from {
		nodes[i] = merkle.Node(leaf)
	}
	return nodes, err
}

func (l leaves) KeyDigests(partition uint32, leaf uint16, after object.Ref) iter.Seq2[object.Digest, error] {
	return l.Store.KeyDigests(partition, leaf, after)
}

// applier merges under the coordinator's gate. What is of a bucket that is gone
// counts as merged.
type applier struct{ n *Node }

func (a applier) Apply(ref object.Ref, stamp uint64, o object.Object) (object.Written, error) {
	w, err := a.n.coord.Apply(ref, stamp, o)
	w, err = orMerged(w, err, o)
	return w, refused(err)
}

// refused puts a stale placement in the terms of package antientropy.
func refused(err error) error {
	if errors.Is(err, coordinator.ErrStaleRing) {
		return fmt.Errorf("%w: %w", antientropy.ErrRefused, err)
	}
	return err
}

// assembleExchange makes the two sides of the exchange.
func (n *Node) assembleExchange() (err error) {
	n.exchanger, err = antientropy.NewExchanger(antientropy.ExchangerOptions{
		Self: n.id, Views: n.coord, Peers: n.transport, Store: n.living(), Applier: applier{n}, Liveness: members{n},
		Enabled: n.cfg.AntientropyEnabled, Interval: n.cfg.AntientropyInterval, BytesPerSecond: n.cfg.AntientropyBytesPerSecond,
		Pressure:   n.pressure,
		Tombstones: n.store.Tombstones, Hints: n.hintCount,
		Blockers: n.blockers,
		PeerName: n.peerName, Logger: n.log, Metrics: n.registry,
	})
	if err != nil {
		return err
	}
	n.replica, err = antientropy.NewReplicaServer(antientropy.ReplicaServerOptions{
		Self: n.id, Views: n.coord, Store: n.living(), Applier: applier{n}, Meter: n.exchanger,
	})
	return err
}

// Boot is the start of a member's store, as the map has it.
func (m members) Boot(id ring.NodeID) uint64 {
	g := m.n.gossip.Load()
	if g == nil {
		return 0
	}
	r, _ := g.Map().Member(id)
	return r.Boot
}

// hintCount is how many hints this node keeps.
func (n *Node) hintCount() (count int64) {
	for _, t := range n.store.HintTotals() {
		count += t.Hints
	}
	return count
}

// HandleRepair implements antientropy.Repairer. A repair that is running is
// answered with that one.
func (n *Node) HandleRepair(_ context.Context, start *antientropy.RepairRequest) (antientropy.RepairStatus, error) {
	if start == nil {
		return n.exchanger.RepairStatus(), nil
	}
	status, err := n.exchanger.Repair(*start)
	if errors.Is(err, antientropy.ErrRepairRunning) {
		return n.exchanger.RepairStatus(), nil
	}
	return status, err
}

// everybody asks all members that are not removed, this node among them, and
// returns when ctx ends or all have answered.
type everybody struct{ n *Node }

// ask calls one for every member, all at once. missing are those that failed.
func ask[T any](ctx context.Context, n *Node, one func(ctx context.Context, id ring.NodeID) (T, error)) (answers map[ring.NodeID]T, missing []ring.NodeID) {
	answers = map[ring.NodeID]T{}
	g := n.gossip.Load()
	if g == nil {
		return answers, nil
	}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, m := range g.Map().Members {
		if m.State == state.Removed {
			continue
		}
		asking.Go(func() {
			a, err := one(ctx, m.ID)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				missing = append(missing, m.ID)
				return
			}
			answers[m.ID] = a
		})
	}
	asking.Wait()
	return answers, missing
}

func (e everybody) Reports(ctx context.Context) (reports map[ring.NodeID]antientropy.Report, missing []ring.NodeID) {
	return ask(ctx, e.n, func(ctx context.Context, id ring.NodeID) (antientropy.Report, error) {
		if id == e.n.id {
			return e.n.exchanger.HandleReport(ctx)
		}
		return e.n.transport.Report(ctx, id)
	})
}

func (e everybody) Repair(ctx context.Context, req antientropy.RepairRequest, local bool) (map[ring.NodeID]antientropy.RepairStatus, error) {
	own, err := e.n.exchanger.Repair(req)
	if err != nil {
		return nil, err
	}
	if local {
		return map[ring.NodeID]antientropy.RepairStatus{e.n.id: own}, nil
	}
	begun := e.repairs(ctx, &req)
	begun[e.n.id] = own
	return begun, nil
}

func (e everybody) RepairStatuses(ctx context.Context) map[ring.NodeID]antientropy.RepairStatus {
	return e.repairs(ctx, nil)
}

// repairs asks all members; this one is asked for its status only.
func (e everybody) repairs(ctx context.Context, start *antientropy.RepairRequest) map[ring.NodeID]antientropy.RepairStatus {
	answers, _ := ask(ctx, e.n, func(ctx context.Context, id ring.NodeID) (antientropy.RepairStatus, error) {
		if id == e.n.id {
			return e.n.exchanger.RepairStatus(), nil
		}
		return e.n.transport.Repair(ctx, id, start)
	})
	return answers
}
