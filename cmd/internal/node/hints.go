package node

import (
	"context"
	"errors"
	"fmt"

	"starling/coordinator"
	"starling/coordinator/hint"
	"starling/ring"
	"starling/store"
	"starling/store/object"
	"starling/store/version"
)

// keptHints is the store's hints in the terms of the coordinator.
type keptHints struct{ *store.Store }

func (k keptHints) PutHint(target [16]byte, ref object.Ref, c version.Context, s object.Sibling) (object.Written, error) {
	w, err := k.Store.PutHint(target, ref, c, s)
	return w, hintsFull(err)
}

func (k keptHints) MergeHint(target [16]byte, ref object.Ref, o object.Object) (object.Written, error) {
	w, err := k.Store.MergeHint(target, ref, o)
	return w, hintsFull(err)
}

func hintsFull(err error) error {
	if errors.Is(err, store.ErrHintsFull) {
		return fmt.Errorf("%w: %w", coordinator.ErrHintsFull, err)
	}
	return err
}

// deliveries is what the drainer of hints needs of the coordinator and the API.
type deliveries struct{ n *Node }

func (d deliveries) Usable(target ring.NodeID) bool { return d.n.coord.Usable(target) }

func (d deliveries) Deliver(ctx context.Context, target ring.NodeID, ref object.Ref, o object.Object) error {
	return busy(d.n.coord.Deliver(ctx, target, ref, o))
}

func (d deliveries) Pressure() float64 { return d.n.pressure() }

// moves is what the drainer needs of a node that leaves.
type moves struct{ n *Node }

func (m moves) Leaving() bool { return m.n.coord.Leaving() }

func (m moves) Move(ctx context.Context, target ring.NodeID, ref object.Ref, o object.Object) error {
	return busy(m.n.coord.Move(ctx, target, ref, o))
}

// busy puts a refusal for overload in the terms of package hint.
func busy(err error) error {
	if errors.Is(err, coordinator.ErrOverloaded) {
		return fmt.Errorf("%w: %w", hint.ErrBusy, err)
	}
	return err
}
