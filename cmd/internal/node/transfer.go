package node

import (
	"context"

	"starling/antientropy"
	"starling/ring"
	"starling/store"
)

// copies tells what the store has of a partition.
type copies struct{ *store.Store }

func (c copies) Bytes(partition uint32) (int64, error) { return c.PartitionBytes(partition) }

// dropper drops copies under the coordinator's gate.
type dropper struct{ n *Node }

func (d dropper) Drop(partition uint32, stamp uint64) error {
	return refused(d.n.coord.Drop(partition, stamp, func() error { return d.n.store.DropPartition(partition) }))
}

// assembleTransfer makes what moves partitions: to this node, from it, and out
// of its store when others keep them.
func (n *Node) assembleTransfer() (err error) {
	n.pace = antientropy.NewLimit(n.cfg.TransferBytesPerSecond)
	n.source, err = antientropy.NewServer(antientropy.ServerOptions{
		Self: n.id, Views: n.coord, Store: n.living(), Copies: copies{n.store}, Pressure: n.pressure,
		Pace: n.pace,
	})
	if err != nil {
		return err
	}
	n.filler, err = antientropy.NewFiller(antientropy.FillerOptions{
		Self: n.id, Views: n.coord, Peers: n.transport, Replicas: n.transport, Store: n.living(), Copies: copies{n.store},
		Applier: applier{n}, Membership: members{n}, Pace: n.pace, Pressure: n.pressure,
		Prepare: n.healAll, HandOver: func(ctx context.Context, c antientropy.Claim, owners []ring.NodeID) error {
			return n.parter.HandOver(ctx, c, owners) // which is made later
		},
		GivenUp:   func() bool { return cluster{n}.Map().GivenUp() },
		OnSettled: n.becomeActive, Logger: n.log, Metrics: n.registry,
	})
	if err != nil {
		return err
	}
	n.parter, err = antientropy.NewParter(antientropy.ParterOptions{
		Self: n.id, Views: n.coord, Peers: n.transport, Store: n.living(), Copies: copies{n.store}, Dropper: dropper{n},
		Pace: n.pace, Pressure: n.pressure, PeerName: n.peerName, Logger: n.log, Metrics: n.registry,
	})
	return err
}

// transferred is how far the filling of this node's partitions is.
func (n *Node) transferred() (done, total int64) {
	p := n.filler.Progress()
	return p.BytesDone, p.BytesTotal
}

// leaveReason is what this node's leaving waits for; "" where it does not leave.
func (n *Node) leaveReason() string {
	if !n.leaving() {
		return ""
	}
	return n.leaveWaits()
}
