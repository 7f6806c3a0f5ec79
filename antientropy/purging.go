package antientropy

import (
	"context"

	"starling/antientropy/purge"
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// Reap says what a purge would do with a key.
type Reap = purge.Reap

// What is done with the object of a candidate once it is proven that nothing
// older is left anywhere.
const (
	// ReapDelete: nothing in it is live; the row goes.
	ReapDelete = purge.Delete
	// ReapPrune: its vector has many entries; those of retired actors go.
	ReapPrune = purge.Prune
)

// Candidate is a key that its owner would have purged.
type Candidate struct {
	Ref  object.Ref
	Hash uint64
	Reap Reap
	// Vector is that of the object.
	Vector version.Vector
}

// CandidatesRequest asks an owner for its candidates that are due.
type CandidatesRequest struct {
	// After continues behind a key; zero: from the first partition.
	After object.Ref
	// Max bounds the answer (1..[MaxCandidates]).
	Max uint32
}

// MaxCandidates bounds the keys that one purge is about.
const MaxCandidates = purge.MaxKeys

// CandidatesPage lists candidates of the partitions that the node owns, in the
// order of partition, bucket, key.
type CandidatesPage struct {
	Candidates []Candidate
	// More: there may be others behind the last one.
	More bool
}

// VerifyKey is what is to be verified about a key: that nothing but the object
// with this hash, or what it supersedes, is left.
type VerifyKey struct {
	Ref    object.Ref
	Stamp  uint64
	Hash   uint64
	Reap   Reap
	Vector version.Vector
}

// VerifyRequest asks a member about keys that are to be purged.
type VerifyRequest struct {
	// Fence is what the member's view must have reached.
	Fence uint64
	Keys  []VerifyKey
}

// KeyState is a member's answer about one key.
type KeyState = purge.State

// The states of a key at one member.
const (
	// StateRefused: the stamp is not the member's, or its row could not be read.
	StateRefused = purge.Refused
	// StateDiffers: its object is another one, or, where the member is no
	// owner, one that is not superseded.
	StateDiffers = purge.Differs
	// StateHinted: it keeps a hint for the key.
	StateHinted = purge.Hinted
	// StateAgreed: an owner holds exactly this object; another member holds
	// nothing that it does not supersede. No hint for the key is there.
	StateAgreed = purge.Agreed
)

// VerifyReply answers a [VerifyRequest].
type VerifyReply struct {
	// Fence is that of the member's view.
	Fence uint64
	// Boot is the start of the member's store.
	Boot uint64
	// States has one for each key.
	States []KeyState
	// HintWrites counts, for each key, the hints that were ever written in
	// its partition since the boot.
	HintWrites []uint64
	// Actors are those whose entries a pruned vector keeps, in no order and at
	// most [MaxActors]: those that may still mint in the partitions of the keys
	// to prune, and, at an owner, those of the siblings of these keys.
	Actors []version.Actor
}

// MaxActors bounds the actors of a [VerifyReply]. A member that has more to name
// refuses the keys to prune.
const MaxActors = 1 << 17

// PurgeKey is one key to purge.
type PurgeKey struct {
	Ref   object.Ref
	Stamp uint64
	Hash  uint64
	Reap  Reap
	// Vector is that of the object; to an owner that is to prune, it is what
	// the vector becomes.
	Vector version.Vector
}

// PurgeRequest has a member purge keys. An owner does so where it still holds
// exactly that object; another member where what it holds is superseded by it.
type PurgeRequest struct {
	Fence uint64
	Keys  []PurgeKey
}

// Reaped is the member's part of a purge. The node-to-node server calls it.
type Reaped interface {
	HandleCandidates(ctx context.Context, req CandidatesRequest) (CandidatesPage, error)
	HandleVerify(ctx context.Context, req VerifyRequest) (VerifyReply, error)
	// HandlePurge answers with how many keys it is done, durably: nothing is
	// held of them any more, whether it was before or not, or, at an owner that
	// is to prune, the vector is the new one.
	HandlePurge(ctx context.Context, req PurgeRequest) (done uint32, err error)
}

// ReapPeers carries the same requests to another member.
type ReapPeers interface {
	Candidates(ctx context.Context, to ring.NodeID, req CandidatesRequest) (CandidatesPage, error)
	Verify(ctx context.Context, to ring.NodeID, req VerifyRequest) (VerifyReply, error)
	Purge(ctx context.Context, to ring.NodeID, req PurgeRequest) (done uint32, err error)
}
