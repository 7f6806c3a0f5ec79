package antientropy

import (
	"context"

	"starling/ring"
	"starling/store/object"
)

// Claim names a partition and the placement stamp under which a node sees it.
type Claim struct {
	Partition uint32
	Stamp     uint64
}

// PullRequest asks for the next page of whole objects of some partitions, in
// the order of the list.
type PullRequest struct {
	// Claims are the partitions still to be sent; the sender refuses those
	// whose stamp is not its own.
	Claims []Claim
	// After is the last object that the asker has of Claims[0]; zero: none.
	After object.Ref
	// MaxBytes ends the page once it holds this many bytes of objects
	// (always at least one object).
	MaxBytes uint32
}

// PullPage is one page of a pull.
type PullPage struct {
	Entries []object.Entry
	// Done counts the leading claims that are complete with this page. The
	// next request drops them.
	Done uint32
}

// Source is what a node does for one that fills its partitions. The
// node-to-node server calls it.
type Source interface {
	// HandleConfirm answers which claims agree with this node's own ring.
	// When it returns, no write placed by an older ring can still reach this
	// node's copy.
	HandleConfirm(ctx context.Context, claims []Claim) (agreed []Claim, err error)
	HandlePull(ctx context.Context, req PullRequest) (PullPage, error)
}

// Peers carries the same requests to another member.
type Peers interface {
	Confirm(ctx context.Context, to ring.NodeID, claims []Claim) (agreed []Claim, err error)
	Pull(ctx context.Context, to ring.NodeID, req PullRequest) (PullPage, error)
}
