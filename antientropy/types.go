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
// the order of the list. It is also the credit for that page: an owner sends
// nothing that was not asked for.
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

// MaxSizes bounds the partitions of a [SizesRequest].
const MaxSizes = 4096

// SizesRequest asks how much some partitions take: at most [MaxSizes].
type SizesRequest struct {
	Partitions []uint32
}

// SizesReply answers a [SizesRequest].
type SizesReply struct {
	// Bytes are estimates, one for each partition that was asked for, in the
	// same order: of the objects that this node holds of it. 0 if that cannot
	// be told.
	Bytes []uint64
}

// Source is what a node does for one that fills its partitions. The
// node-to-node server calls it.
type Source interface {
	// HandleConfirm answers which claims agree with this node's own ring.
	// When it returns, no write placed by an older ring can still reach this
	// node's copy.
	HandleConfirm(ctx context.Context, claims []Claim) (agreed []Claim, err error)
	HandlePull(ctx context.Context, req PullRequest) (PullPage, error)
	// HandleSizes fails with [ErrTooMuch] if too many are asked for.
	HandleSizes(ctx context.Context, req SizesRequest) (SizesReply, error)
}

// Peers carries the same requests to another member.
type Peers interface {
	Confirm(ctx context.Context, to ring.NodeID, claims []Claim) (agreed []Claim, err error)
	Pull(ctx context.Context, to ring.NodeID, req PullRequest) (PullPage, error)
	Sizes(ctx context.Context, to ring.NodeID, req SizesRequest) (SizesReply, error)
}

// Copies tells what the local store has of a partition.
type Copies interface {
	// Holds: the store has a row of an object of the partition. Hints do not
	// count.
	Holds(partition uint32) (bool, error)
	// Bytes estimates what the objects of the partition take.
	Bytes(partition uint32) (int64, error)
}

// Dropper removes this node's copy of a partition.
type Dropper interface {
	// Drop removes all rows of the partition's objects, durably, while the
	// placement stamp is in force and nothing can be written to the partition;
	// it fails with [ErrRefused] when another is. Hints stay.
	Drop(partition uint32, stamp uint64) error
}
