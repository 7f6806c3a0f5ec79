package hint

import (
	"context"
	"iter"

	"starling/ring"
	"starling/store/object"
)

// Store keeps the hints on disk.
type Store interface {
	// HintTotals counts them by target.
	HintTotals() []object.HintTotals
	// Hints ranges over a target's hints in the order of partition, bucket
	// and key, starting behind after, or with the first if after is zero.
	Hints(target [16]byte, after object.Ref) iter.Seq2[object.Hint, error]
	// DropHint deletes a hint whose object still has this hash, and reports
	// whether it did.
	DropHint(target [16]byte, ref object.Ref, hash uint64) (bool, error)
}

// Deliverer brings a hint to where it belongs. Its methods are called
// concurrently, and must not wait for the [Drainer].
type Deliverer interface {
	// Usable reports whether the target takes requests now. A target that is
	// no member any more is usable: its hints go elsewhere.
	Usable(target ring.NodeID) bool
	// Deliver returns nil once the object is durable at the target, or, where
	// the target keeps the partition no more, at all nodes that do. It returns
	// soon after ctx ends. A refusal for overload wraps [ErrBusy].
	Deliver(ctx context.Context, target ring.NodeID, ref object.Ref, o object.Object) error
	// Pressure says how busy this node is with requests of clients: 0 idle,
	// 1 as busy as it may be.
	Pressure() float64
}

// Mover hands the hints of a node that leaves the cluster to others. Its methods
// are called concurrently, and must not wait for the [Drainer].
type Mover interface {
	// Leaving: this node keeps no hints any longer than it must.
	Leaving() bool
	// Move returns nil once another member keeps the object, durably, as its own
	// hint for the target; or, where the target keeps the partition no more,
	// once it is durable at all nodes that do. It returns soon after ctx ends. A
	// refusal for overload wraps [ErrBusy].
	Move(ctx context.Context, target ring.NodeID, ref object.Ref, o object.Object) error
}

// Target is what this node keeps for one other node.
type Target struct {
	Node         ring.NodeID
	Hints, Bytes int64
	State        State
	// Delivered counts the hints delivered, or moved, since the node started.
	Delivered int64
	// LastError is why the last delivery failed, or why the hints that are left
	// cannot be read; "" after a success.
	LastError string
}

// State is what the drainer does for a target.
type State uint8

// The states: the target is down, or is left alone for a while after a
// failure; hints are on their way; nothing to do.
const (
	Waiting State = iota
	Draining
	Idle
)

// String is the state's name in answers.
func (s State) String() string { return [...]string{"waiting", "draining", "idle"}[s] }
