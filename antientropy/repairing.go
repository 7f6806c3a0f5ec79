package antientropy

import (
	"context"

	"starling/ring"
)

// Repairer begins repairs for other members. The node-to-node server calls it.
type Repairer interface {
	// HandleRepair begins the repair that start describes, or, where it is
	// nil, only says how far the last one is.
	HandleRepair(ctx context.Context, start *RepairRequest) (RepairStatus, error)
}

// RepairPeers asks another member for the same.
type RepairPeers interface {
	Repair(ctx context.Context, to ring.NodeID, start *RepairRequest) (RepairStatus, error)
}
