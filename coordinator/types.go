package coordinator

import (
	"context"
	"fmt"
	"time"

	"starling/coordinator/health"
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// Level is a named consistency level. The numbers it stands for depend on how
// many owners the partition has; see [Consistency].
type Level uint8

// The consistency levels. LevelDefault is LevelQuorum.
const (
	LevelDefault Level = iota
	LevelOne
	LevelTwo
	LevelThree
	LevelQuorum
	LevelAll
	LevelAny
)

var levelNames = [...]string{"quorum", "one", "two", "three", "quorum", "all", "any"}

// String is the level's name in the API ("quorum" for LevelDefault).
func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("level(%d)", uint8(l))
}

// ParseLevel is the inverse of [Level.String].
func ParseLevel(s string) (Level, error) {
	for l := LevelOne; l <= LevelAny; l++ {
		if levelNames[l] == s {
			return l, nil
		}
	}
	return 0, fmt.Errorf("coordinator: unknown consistency level %q: one, two, three, quorum, all or any", s)
}

// Consistency says how many replicas a request must hear from. A number that
// is not zero (1..N) wins over the level.
type Consistency struct {
	Level Level
	// R and W are the replicas that must answer a read or acknowledge a write.
	R, W int
	// PR and PW are the same, counting settled owners alone.
	PR, PW int
	// Strict forbids fallbacks (sloppy=false).
	Strict bool
}

// GetRequest is a read of one key.
type GetRequest struct {
	Bucket, Key string
	Consistency Consistency
	// Session asks for nothing older than what this context has seen.
	Session version.Context
}

// GetResult is the merged answer of the replicas that were heard.
type GetResult struct {
	// Object holds every sibling and tombstone; zero when no replica has the
	// key. Its vector is the context that the reader has now seen.
	Object object.Object
	// Required and Received are replica answers; Hinted of Received came
	// from the hints of fallbacks.
	Required, Received, Hinted int
}

// PutRequest is a write, or with Sibling.Tombstone a delete, of one key.
type PutRequest struct {
	Bucket, Key string
	Consistency Consistency
	// Context is what the write supersedes. Empty: nothing.
	Context version.Context
	// ReadFirst makes a write without a context supersede what a read at the
	// same consistency sees. A delete that sees nothing is then not done.
	ReadFirst bool
	// Sibling is the new value; Dot and ModifiedMS are filled in by the
	// coordinating replica, Op must be set by the first node that sees it,
	// except for an increment that its sender does not repeat.
	Sibling object.Sibling
	// Increment adds Delta to a counter; of Sibling Op and ExpiresMS are used
	// alone. Nobody stands in for an owner. It counts once if no try with the same
	// Op begins, at any owner, more than resolve.RetryForMS after the first: the
	// deadline of the request is part of that. Without an Op it is tried once: where
	// that may have been applied, the error says so, and nobody tries again.
	Increment bool
	Delta     int64
}

// PutResult says what became of a write that was done.
type PutResult struct {
	// Context is what the writer has seen now.
	Context version.Context
	// Dot is the version of the write; zero when a delete found nothing.
	Dot version.Dot
	// ModifiedMS is the stored timestamp, Unix milliseconds.
	ModifiedMS int64
	// Acked, Hinted and Required count replicas.
	Acked, Hinted, Required int
	// Coordinator is the node whose copy minted the dot.
	Coordinator ring.NodeID
	// Replicas has one receipt for every replica that was asked.
	Replicas []Receipt
	// Count is what an increment brought the counter to at the coordinating
	// replica.
	Count int64
}

// Receipt is the outcome of a write at one replica.
type Receipt struct {
	Node    ring.NodeID
	Outcome Outcome
	// Holder keeps the hint for Node where the outcome is hinted; else zero.
	Holder ring.NodeID
}

// Outcome is what is known of a write at one replica.
type Outcome uint8

// The outcomes of one replica. OutcomeUnknown also stands for an answer that
// had not come when the quorum was complete.
const (
	OutcomeUnknown Outcome = iota
	OutcomeAcked
	OutcomeFailed
	OutcomeHinted
)

// String is the outcome's name in receipts.
func (o Outcome) String() string {
	switch o {
	case OutcomeAcked:
		return "acked"
	case OutcomeFailed:
		return "failed"
	case OutcomeHinted:
		return "hinted"
	default:
		return "unknown"
	}
}

// ReadRequest asks one replica for its copy of an object.
type ReadRequest struct {
	Ref   object.Ref
	Stamp uint64
	// Have, when not zero, is the hash of the copy that the asker holds: a
	// replica with the same one answers Same and sends no object.
	Have uint64
	// Hints asks a node that is no replica of the key for the merge of what
	// its hints hold of it; the zero object if none does.
	Hints bool
}

// ReadReply is a replica's copy of an object.
type ReadReply struct {
	Object object.Object
	Same   bool
}

// ReplicateRequest gives one replica an object to merge into its copy.
type ReplicateRequest struct {
	Ref    object.Ref
	Stamp  uint64
	Object object.Object
	// For, when not zero, is the replica that the receiver stands in for: the
	// object becomes a hint for it. The receiver may be any member; the
	// one it stands in for must be a replica under Stamp.
	For ring.NodeID
}

// ForwardRequest hands a whole put to a replica that coordinates it.
type ForwardRequest struct {
	Put   PutRequest
	Stamp uint64
}

// Copy describes what a node holds of a key, without the values.
type Copy struct {
	Vector version.Vector
	// Hash is that of [object.Object.Hash]; 0: nothing is held.
	Hash     uint64
	Siblings []SiblingInfo
}

// SiblingInfo is a sibling without its value, of which Bytes is the length.
type SiblingInfo struct {
	Dot                   version.Dot
	Bytes                 int
	ModifiedMS, ExpiresMS int64
	Tombstone             bool
}

// HintCopy is what a node holds of a key for another.
type HintCopy struct {
	For  ring.NodeID
	Copy Copy
}

// InspectReply is all that a node holds of a key.
type InspectReply struct {
	Copy Copy
	// Hints are those that the node keeps for others, ordered by whom for.
	Hints []HintCopy
	// Leaf is the number of the key's Merkle leaf, LeafSum and LeafKeys what
	// it holds. Meant for replicas; zero elsewhere.
	Leaf              int
	LeafSum, LeafKeys uint64
}

// NodeStatus is what a member says of itself to the others.
type NodeStatus struct {
	// Hints and HintBytes are those that it keeps for others.
	Hints, HintBytes int64
	// Draining: it is stopping.
	Draining bool
	// Pending counts the partitions that it is to own and does not hold yet.
	// TransferDone of about TransferTotal bytes have come for them.
	Pending                     int
	TransferDone, TransferTotal int64
	// Leaving is what it waits for before it can leave; "" if it does not leave
	// or waits for nothing.
	Leaving string
}

// Replica is what a node does for the coordinators of others. The node-to-node
// server calls it; [Coordinator] implements it.
type Replica interface {
	HandleRead(ctx context.Context, req ReadRequest) (ReadReply, error)
	HandleReplicate(ctx context.Context, req ReplicateRequest) error
	HandleForward(ctx context.Context, req ForwardRequest) (PutResult, error)
}

// Peers carries the same three requests to another member. The error of a
// call that may have taken effect wraps [ErrUnknown]; every other error means
// that nothing happened there.
type Peers interface {
	Read(ctx context.Context, to ring.NodeID, req ReadRequest) (ReadReply, error)
	Replicate(ctx context.Context, to ring.NodeID, req ReplicateRequest) error
	Forward(ctx context.Context, to ring.NodeID, req ForwardRequest) (PutResult, error)
}

// Diagnosis is what a node answers those who ask how it and its copies are.
type Diagnosis interface {
	HandleInspect(ctx context.Context, ref object.Ref) (InspectReply, error)
	HandleStatus(ctx context.Context) (NodeStatus, error)
}

// Probes carries a [Diagnosis] to another member. Ping is a round trip that
// asks nothing.
type Probes interface {
	Ping(ctx context.Context, to ring.NodeID) error
	Inspect(ctx context.Context, to ring.NodeID, ref object.Ref) (InspectReply, error)
	Status(ctx context.Context, to ring.NodeID) (NodeStatus, error)
}

// Role is a node's part in the placement of a key.
type Role uint8

// The roles. A displaced node was an owner until the ring changed.
const (
	RoleOwner Role = iota
	RolePending
	RoleDisplaced
	RoleFallback
)

// String is the role's name in the API.
func (r Role) String() string { return [...]string{"owner", "pending", "displaced", "fallback"}[r] }

// Explanation is what every replica and fallback holds of a key.
type Explanation struct {
	Partition int
	// Agree: every owner and pending node answered, and all hold the same.
	Agree bool
	// Replicas are the owners, pending, displaced and fallback nodes, each
	// in the order of the ring. All are asked.
	Replicas []ExplainedReplica
}

// ExplainedReplica is one node's part of an [Explanation].
type ExplainedReplica struct {
	Node ring.NodeID
	Role Role
	// Alive: it answered, or requests go to it.
	Alive bool
	// Reply is meant where Err is nil.
	Reply InspectReply
	Err   error
}

// PeerStatus is how another member looks from this node.
type PeerStatus struct {
	Node ring.NodeID
	// Usable: requests go to it. Breaker is closed, half-open or open.
	Usable  bool
	Breaker health.State
	// InFlight counts the calls under way to it.
	InFlight int
	// ReadP95 and WriteP95 are its recent latencies; 0: not known.
	ReadP95, WriteP95 time.Duration
}
