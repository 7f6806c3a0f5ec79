package topology

import (
	"errors"

	"starling/gossip/state"
	"starling/ring"
)

// ErrChange: the change asked for cannot be made; it is wrapped with what is wrong and about whom.
var ErrChange = errors.New("topology: impossible change")

// Change is what an administrator would like to do, all of it at once. The zero Change asks what is still to be moved.
type Change struct {
	// Leave are members that hand over what they hold and go.
	Leave []ring.NodeID
	// Remove are members that are gone for good, with their data.
	Remove []ring.NodeID
	// Replace gives the places of members that are gone for good to others.
	Replace []Replacement
	// Join are members that come.
	Join []NewMember
	// Weights and Zones are what members would have instead of theirs.
	Weights map[ring.NodeID]uint32
	Zones   map[ring.NodeID]string
}

// Replacement removes Dead and puts Heir in its place.
type Replacement struct {
	Dead ring.NodeID
	// Heir is by its name a member already, whose Zone and Weight must be left empty here, or a newcomer, whose Zone and
	// Weight are those of Dead where they are left empty.
	Heir NewMember
}

// NewMember is a member that is not there yet. Its store will mint its ID; until then the one that [NewID] makes of the
// name stands for it.
type NewMember struct {
	Name string
	Zone string
	// Weight is as in [ring.Member]; 0 stands for 100.
	Weight uint32
}

// Facts are what is known beside the cluster map. Each function may be nil.
type Facts struct {
	// Bytes estimates one copy of a partition. Nil: nothing is known, all byte counts are 0.
	Bytes func(partition int) int64
	// Alive is the failure detector's opinion. Nil: all members are alive. Members that a change would add are.
	Alive func(ring.NodeID) bool
	// BytesPerSecond is the pace of one member's transfers, BusyBytesPerSecond that of a member which serves clients;
	// 0: unknown.
	BytesPerSecond, BusyBytesPerSecond int64
	// Hints is the number of hints that a member keeps for others, false if it did not say. Nil: unknown for all.
	Hints func(ring.NodeID) (int64, bool)
}

// Plan is what a change would move, and what the cluster could bear before and after it.
type Plan struct {
	// Nodes are the members before and after, sorted by name, then ID. Members that were removed before are left out.
	Nodes []NodePlan
	// Partitions is the number of partitions with a copy to make, Replicas the number of copies and Bytes their size,
	// those included that an earlier change still owes.
	Partitions int
	Replicas   int
	Bytes      int64
	// Seconds is how long the busiest receiver or sender is at it, at Facts.BytesPerSecond, BusySeconds how long where
	// the members serve clients, at Facts.BusyBytesPerSecond. The copies that must wait for a member that is down are
	// left out. 0 if the pace is unknown or nothing moves.
	Seconds, BusySeconds float64
	// SurvivesBefore is about now, SurvivesAfter about the time when all copies are made that can be made.
	SurvivesBefore, SurvivesAfter Failures
	// Lost, AtRisk and Unreachable are as in [Verdict], for all that the change removes.
	Lost, AtRisk, Unreachable []int
	// Warnings are sentences for people: everything that should be thought about before the change is made.
	Warnings []string
}

// NodePlan is one member's part in a [Plan].
type NodePlan struct {
	ID   ring.NodeID
	Name string
	// State is the member's state after the change.
	State state.Lifecycle
	// Down: the member does not answer now.
	Down bool
	// PartitionsBefore and PartitionsAfter count the partitions that the ring wants on the member.
	PartitionsBefore, PartitionsAfter int
	// In counts the copies that the member has to get, Out the complete ones that it has and gives up.
	In, Out int
	// BytesIn and BytesOut are the sizes of these.
	BytesIn, BytesOut int64
	// BytesSent is what others read from the member: every copy comes from one owner, which is taken to be any of those
	// alive with equal chance.
	BytesSent int64
}

// Failures says how many members, and how many whole zones, may fail at once beside those that are down, whichever
// they are, so that every partition can still be read and written at quorum without a hint's help. In a partition at
// rest that is: a majority of its owners is left. -1: some partition cannot even without another failure.
type Failures struct{ Nodes, Zones int }

// Verdict is what becomes of the complete copies when members go for good. All partitions are ascending; each is in
// one list at most.
type Verdict struct {
	// Lost are the partitions whose last complete copies go: their data is gone but for what hints and partial copies
	// have of it.
	Lost []int
	// AtRisk are the partitions that lose a complete copy and keep fewer than a majority of N: a write that was
	// acknowledged by those who go alone is lost, and the next failure may take the rest.
	AtRisk []int
	// Unreachable are the other partitions that lose a complete copy and keep such copies on members that are down only.
	Unreachable []int
}

// Safety is the answer to: may this member be stopped for a while?
type Safety struct {
	Safe bool
	// Reasons are why not; where Safe is set, at most a note of [KindDown].
	Reasons []Reason
}

// The kinds of a [Reason].
const (
	// KindQuorum: partitions could no longer be read and written at quorum.
	KindQuorum = "quorum"
	// KindHints: the member keeps writes that others have not got yet.
	KindHints = "hints"
	// KindTransfer: data is moving that the member gives or takes.
	KindTransfer = "transfer"
	// KindUnknown: something that would have to be known is not.
	KindUnknown = "unknown"
	// KindDown: the member is down or gone already; it is no reason against stopping it.
	KindDown = "down"
)

// Reason is one reason against stopping a member.
type Reason struct {
	Kind string
	// Partitions is how many partitions it is about, 0 if it is about none.
	Partitions int
	// Detail is a sentence for people.
	Detail string
}
