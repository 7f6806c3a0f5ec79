package purge

import (
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// Reap says what a purge would do with a key.
type Reap uint8

// What is done with the object of a candidate once it is proven that nothing
// older is left anywhere.
const (
	// Delete: nothing in it is live; the row goes.
	Delete Reap = 1 + iota
	// Prune: its vector has many entries; those of retired actors go.
	Prune
)

// State is a member's answer about one key.
type State uint8

// The states of a key at one member.
const (
	// Refused: the stamp is not the member's, or its row could not be read.
	Refused State = iota
	// Differs: its object is another one, or, where the member is no owner, one
	// that is not superseded.
	Differs
	// Hinted: it keeps a hint for the key.
	Hinted
	// Agreed: an owner holds exactly this object; another member holds nothing
	// that it does not supersede. No hint for the key is there.
	Agreed
)

// Candidate is a key that its owner would have purged.
type Candidate struct {
	Ref  object.Ref
	Hash uint64
	Reap Reap
	// Vector is that of the object.
	Vector version.Vector
}

// Key is a key that is to be verified or purged.
type Key struct {
	Ref   object.Ref
	Stamp uint64
	Hash  uint64
	Reap  Reap
	// Vector is that of the object; where an owner is to prune, what it becomes.
	Vector version.Vector
}

// View is what the leader goes by: the fence, all members that are not removed,
// and the placement of each partition, false for one that there is not.
type View struct {
	Fence   uint64
	Members []ring.NodeID
	Place   func(partition uint32) (ring.Placement, bool)
}

// Page is a member's answer to an [Ask] for candidates: those behind the ask's
// After in the order of partition, bucket, key. More: there may be others
// behind the last.
type Page struct {
	Candidates []Candidate
	More       bool
}

// Verification is a member's answer about the keys of an [Ask], in their order.
type Verification struct {
	// Fence is that of the member's view, Boot the start of its store.
	Fence, Boot uint64
	States      []State
	// HintWrites counts, for each key, the hints written in its partition since
	// the boot.
	HintWrites []uint64
	// Actors are those that a pruned vector must keep: those that may still
	// mint in the partitions of keys to prune, and those of their siblings.
	Actors []version.Actor
}

// Step is how far a round has come. Steps follow each other in this order.
type Step uint8

// The steps of a round.
const (
	// Listing: every member is asked for candidates.
	Listing Step = iota
	// Verifying: every member is asked about the keys that all owners reported.
	Verifying
	// Fencing: the fence is to be raised.
	Fencing
	// Proving: every member is asked again, now behind the fence.
	Proving
	// Clearing: members delete what they hold of keys that they do not own.
	Clearing
	// Purging: owners delete or prune.
	Purging
	// Done: the round is over.
	Done
)

// Ask is something that the caller is to do: ask one member, or, where Step is
// Fencing, raise the fence.
type Ask struct {
	Step Step
	To   ring.NodeID
	// After and Max are for Listing: candidates behind a key, at most so many.
	After object.Ref
	Max   int
	// Fence and Keys are for all other questions to members: what the member's
	// view must have reached, and the keys. Keys must not be changed.
	Fence uint64
	Keys  []Key
}

// Blocker is a reason why something could not be purged.
type Blocker struct {
	Node   ring.NodeID
	Reason string
}

// Result is what became of a round.
type Result struct {
	// Candidates counts the keys that were reported at all; Fenced tells
	// whether the fence was raised.
	Candidates int
	Fenced     bool
	// Purged and Pruned count the keys with which every owner is done.
	Purged, Pruned int
	// Next is where the next round is to begin: behind what this one has seen,
	// or, when it has seen all, from the start again (zero).
	Next object.Ref
	// Blockers are sorted by node, one a node.
	Blockers []Blocker
}

// Options bound a round. Zero values are the defaults.
type Options struct {
	// After is where the round begins: behind this key.
	After object.Ref
	// MaxKeys bounds the keys of a round; default [MaxKeys].
	MaxKeys int
	// MaxBytes bounds the bytes of their names and vectors, by one key at most;
	// default [MaxBytes].
	MaxBytes int
}

// Defaults of Options.
const (
	MaxKeys  = 4096
	MaxBytes = 1 << 20
)

func (o Options) withDefaults() Options {
	if o.MaxKeys == 0 {
		o.MaxKeys = MaxKeys
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = MaxBytes
	}
	return o
}

// Size is what a key counts for in a bound of bytes: its names and its vector.
func Size(ref object.Ref, v version.Vector) int {
	return len(ref.Bucket) + len(ref.Key) + version.SizeVector(v) + keyOverhead
}

// keyOverhead is about what a message says of a key beside its names and vector.
const keyOverhead = 32
