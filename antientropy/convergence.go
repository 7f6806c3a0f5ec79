package antientropy

import (
	"context"
	"time"

	"starling/ring"
)

// Pair is what a node knows of a partition that it shares with another owner.
type Pair struct {
	Partition uint32
	Peer      ring.NodeID
	// Proven: the two were found equal. Age is the time since then.
	Proven bool
	Age    time.Duration
	// Holds: nothing is known to have happened since that could have made
	// them differ unseen: the last exchange ended well, and neither side was
	// down or restarted after it.
	Holds bool
}

// Report is what a node says about the convergence of what it owns.
type Report struct {
	Pairs []Pair
	// Tombstones counts the keys that are deleted here and not purged.
	Tombstones int64
	// Hints are those that the node keeps for others.
	Hints int64
	// Blockers say what keeps tombstones from being purged. Only the node
	// that leads the purge knows them.
	Blockers []Blocker
	// Filling counts the partitions that the node is to own and lacks.
	Filling int
}

// Blocker is a reason why a purge has to wait.
type Blocker struct {
	Node   ring.NodeID
	Reason string
}

// Reporter answers a node's own [Report].
type Reporter interface {
	HandleReport(ctx context.Context) (Report, error)
}

// ReportPeers asks another member for its report.
type ReportPeers interface {
	Report(ctx context.Context, to ring.NodeID) (Report, error)
}
