package antientropy

import (
	"context"
	"errors"

	"starling/antientropy/merkle"
	"starling/ring"
	"starling/store/object"
)

// ErrRefused: the placement stamp of a request is not that of the node asked,
// or it does not own the partition. Nothing happened to the objects that were
// not merged yet.
var ErrRefused = errors.New("antientropy: refused, the placement is another")

// RootClaim is a partition's claim with the root of the sender's tree.
type RootClaim struct {
	Claim
	Root merkle.Node
}

// CompareRequest asks how the trees of some partitions compare: the first step
// of an exchange.
type CompareRequest struct {
	// From is the asker, so that the answering side can note what was proven.
	// It need not own the partitions.
	From ring.NodeID
	// Inner begins exchanges: it asks what differs where the trees do. Without
	// it there are verdicts alone, which costs no look at leaves.
	Inner bool
	// Salt goes into the digests of this exchange, so that two nodes that
	// were taken for equal by chance are not next time.
	Salt uint64
	// Roots are at most [MaxRoots].
	Roots []RootClaim
	// Sketches are those of the trees under the salt, one for each root, which
	// are then at most [MaxSketches]; or there are none. They go with Inner:
	// where few leaves differ, they tell which.
	Sketches []merkle.Sketch
}

// The bounds of a comparison.
const (
	// MaxRoots bounds the partitions of a comparison, and MaxSketches those of
	// one with sketches, which takes some 100 bytes for each.
	MaxRoots    = 256
	MaxSketches = 16
	// MaxListedBytes is how large the keys in all of an answer are together.
	MaxListedBytes = 32 << 10
)

// Verdict is the answer about one partition.
type Verdict uint8

// The verdicts of a comparison.
const (
	// VerdictRefused: the stamp is not this node's, or it does not own the
	// partition, or cannot read it. Nothing is known.
	VerdictRefused Verdict = iota
	// VerdictEqual: the roots are equal.
	VerdictEqual
	// VerdictDiffers: they differ.
	VerdictDiffers
	// VerdictBusy: not now. The partition is being exchanged with another
	// owner, so that what that one ships is not shipped twice, or it is to be
	// left alone for a while. Nothing is known.
	VerdictBusy
	// VerdictListed: they differ, and the answer has the keys of the leaves
	// in which they do.
	VerdictListed
)

// Comparison is the answer about one partition.
type Comparison struct {
	Verdict Verdict
	// Inner are the answering side's salted digests of its inner nodes, if it
	// was asked what differs and the verdict is [VerdictDiffers]; else zero.
	Inner [merkle.Fanout]merkle.Digest
	// Leaves are those that differ, ascending, with all their keys at the
	// answering side, if the verdict is [VerdictListed]; else there are none.
	Leaves []LeafKeys
}

// KeysRequest asks for the keys of the leaves that differ: the second step,
// where the first did not list them.
type KeysRequest struct {
	Claim
	Salt uint64
	// Inner has a bit set for each inner node that differs; bit i is node i.
	Inner uint32
	// Leaves are the sender's salted digests of the leaves under these nodes,
	// merkle.Fanout for each, in order.
	Leaves []merkle.Digest
	// After continues behind a position; zero: from the start.
	After KeyPosition
	// MaxKeys ends the page (1..[MaxKeysPage]).
	MaxKeys uint32
}

// The bounds of a page of keys, of a fetch and of a push.
const (
	// MaxKeysPage bounds the keys of a page, and MaxKeysBytes their size: the
	// page ends with the key that goes beyond.
	MaxKeysPage  = 4096
	MaxKeysBytes = 1 << 20
	// MaxRefs bounds the keys of a fetch and the objects of a push.
	MaxRefs = 1024
)

// KeyPosition is a place in the order of leaf, bucket, key: behind that key,
// or, where Ref is zero, at the leaf's start.
type KeyPosition struct {
	Leaf uint16
	Ref  object.Ref
}

// KeyDigest describes what a replica holds of a key.
type KeyDigest = object.Digest

// LeafKeys are keys of one leaf, in the order of bucket and key.
type LeafKeys struct {
	Leaf uint16
	Keys []KeyDigest
}

// KeysPage is the answer to a [KeysRequest].
type KeysPage struct {
	// Leaves are those that differ, ascending, from the position that the page
	// begins at to the one where it ends. One that has no keys there is among
	// them: the asker may have some.
	Leaves []LeafKeys
	// More: the page ends behind its last key, and there may be others.
	More bool
}

// FetchRequest asks for the objects of some keys.
type FetchRequest struct {
	Claim
	// Refs are at most [MaxRefs].
	Refs []object.Ref
	// MaxBytes ends the answer early, after one object at least
	// ([MinPageBytes]..[MaxPageBytes]).
	MaxBytes uint32
}

// FetchPage answers the leading refs; those that are absent are left out.
type FetchPage struct {
	Entries []object.Entry
	// Done counts the leading refs that the page is about.
	Done uint32
}

// PushRequest gives an owner objects to merge. The answer comes when all are
// durable; it counts those that were news.
type PushRequest struct {
	Claim
	// Entries are at most [MaxRefs], and without the last one at most
	// [MaxPageBytes].
	Entries []object.Entry
}

// Replica answers the exchanges that other owners begin. The node-to-node
// server calls it. HandleKeys, HandleFetch and HandlePush fail with
// [ErrRefused] where a comparison would answer [VerdictRefused].
type Replica interface {
	HandleCompare(ctx context.Context, req CompareRequest) ([]Comparison, error)
	HandleKeys(ctx context.Context, req KeysRequest) (KeysPage, error)
	HandleFetch(ctx context.Context, req FetchRequest) (FetchPage, error)
	HandlePush(ctx context.Context, req PushRequest) (news uint32, err error)
}

// ReplicaPeers carries the same requests to another member.
type ReplicaPeers interface {
	Compare(ctx context.Context, to ring.NodeID, req CompareRequest) ([]Comparison, error)
	Keys(ctx context.Context, to ring.NodeID, req KeysRequest) (KeysPage, error)
	Fetch(ctx context.Context, to ring.NodeID, req FetchRequest) (FetchPage, error)
	Push(ctx context.Context, to ring.NodeID, req PushRequest) (news uint32, err error)
}
