package state

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"starling/ring"
	"starling/store/bucket"
)

// Errors of this package, wrapped with what was found and what to do about it.
var (
	// ErrForeignCluster: two maps are of different clusters.
	ErrForeignCluster = errors.New("state: foreign cluster")
	// ErrSettings: settings that a whole cluster must share differ, are missing, or are not known to this build.
	ErrSettings = errors.New("state: cluster settings do not fit")
	// ErrNameTaken: another member that is not removed has the name.
	ErrNameTaken = errors.New("state: member name taken")
	// ErrUnknownMember: no member, or more than one, is meant.
	ErrUnknownMember = errors.New("state: unknown member")
	// ErrTooManyMembers: a map would have more records, or more members, than MaxRecords or ring.MaxMembers.
	ErrTooManyMembers = errors.New("state: too many members")
	// ErrTooManyBuckets: a map would have more records of buckets than bucket.MaxMerged.
	ErrTooManyBuckets = errors.New("state: too many buckets")
	// ErrInvalid: a record or the settings are out of bounds.
	ErrInvalid = errors.New("state: invalid")
	// ErrMalformed: bytes are not the encoding of a map.
	ErrMalformed = errors.New("state: malformed map")
)

// HashVersion is the version of the key hash ([ring.Hash]) and of the placement that this build computes.
const HashVersion = 1

// Lifecycle is a member's state. It only moves forward.
type Lifecycle uint8

// The states of a member. The zero Lifecycle is none of them.
const (
	// Joining members are targets but do not hold all that they own yet.
	Joining Lifecycle = iota + 1
	// Active members are targets.
	Active
	// Leaving members are no targets; they serve what they still hold.
	Leaving
	// Removed members are gone for ever, and so is their ID.
	Removed
)

var lifecycleNames = [...]string{Joining: "joining", Active: "active", Leaving: "leaving", Removed: "removed"}

// String is the state's name in the API.
func (l Lifecycle) String() string {
	if l.Valid() {
		return lifecycleNames[l]
	}
	return fmt.Sprintf("lifecycle(%d)", uint8(l))
}

// Valid says whether l is one of the four states.
func (l Lifecycle) Valid() bool { return l >= Joining && l <= Removed }

// Member is one member's record.
type Member struct {
	// ID is the UUID of the member's store.
	ID ring.NodeID
	// Name is the label people know the member by, unique among members that are not removed.
	Name string
	// RPC, HTTP and Gossip are the host:port addresses that others reach the member at.
	RPC, HTTP, Gossip string
	// Zone is the failure domain, Weight the relative share of the data; see [ring.Member].
	Zone   string
	Weight uint32
	// State is moved forward by anyone.
	State Lifecycle
	// Boot is how often the member's store was opened.
	Boot uint64
	// Version is Boot<<32 | n, raised by the owner with each change of its record.
	Version uint64
	// Settled are the partitions that the member holds completely.
	Settled Bits
	// Fence is the highest that the member has raised; see [Map.Fence]. It only grows.
	Fence uint64
	// Heir is the member that was given this one's seat in the ring (see [ring.Member]), zero if there is none. Anyone
	// writes it, with State Removed; of two heirs the one of the higher ID stays.
	Heir ring.NodeID
	// Forced: the member was removed by force, with the last complete copy of partitions; see [Map.Force]. Anyone sets it,
	// with State Removed, and nobody takes it back.
	Forced bool

	// extra holds the encoded fields of a newer release.
	extra string
}

// Settings are fixed when a cluster is created and the same on all its nodes. The zero Settings mean: no cluster yet.
type Settings struct {
	// Cluster is random and tells clusters apart.
	Cluster [16]byte
	// Partitions is Q, Replicas is N, as in [ring.Config].
	Partitions, Replicas uint32
	// HashVersion is the cluster's [HashVersion].
	HashVersion uint32
	// Secret authenticates the context tokens that clients carry. It is never printed.
	Secret [32]byte

	extra string
}

// IsZero says whether there is no cluster yet.
func (s Settings) IsZero() bool { return s == Settings{} }

// Ring are the settings that placement depends on.
func (s Settings) Ring() ring.Config {
	return ring.Config{Partitions: int(s.Partitions), Replicas: int(s.Replicas)}
}

// String shows the settings without the secret.
func (s Settings) String() string {
	if s.IsZero() {
		return "no cluster"
	}
	return fmt.Sprintf("cluster %x (partitions %d, replicas %d, hash version %d)",
		s.Cluster, s.Partitions, s.Replicas, s.HashVersion)
}

// GoString is String, so that %#v does not show the secret either.
func (s Settings) GoString() string { return s.String() }

// Map is the cluster map. Members are sorted by ID, unique. The zero Map is that of a node without a cluster.
type Map struct {
	Settings Settings
	Members  []Member
	// Buckets is what is known of buckets, nil if that is nothing. Placement does not depend on it.
	Buckets bucket.Registry
}

// NewCluster is the map of a brand-new cluster: its first member is active and holds every partition. A zero Version
// of self becomes the first of its boot.
func NewCluster(s Settings, self Member) (Map, error) {
	if err := s.Validate(); err != nil {
		return Map{}, err
	}
	self.State = Active
	self.Settled = FullBits(int(s.Partitions))
	if self.Version == 0 {
		self.Version = FirstVersion(self.Boot)
	}
	if err := self.Validate(); err != nil {
		return Map{}, err
	}
	return Map{Settings: s}.With(self), nil
}

// FirstVersion is the first Version that a member writes after its store's given start.
func FirstVersion(boot uint64) uint64 { return boot<<32 | 1 }

// Fence is the highest fence that any member ever raised. Placement stamps depend on it, so requests that set out below
// a fence are refused above it: who has heard from every member that it is above a fence knows that none are left.
func (m Map) Fence() (fence uint64) {
	for _, r := range m.Members {
		fence = max(fence, r.Fence)
	}
	return fence
}

// Member is the record of id.
func (m Map) Member(id ring.NodeID) (Member, bool) {
	if i, ok := m.index(id); ok {
		return m.Members[i], true
	}
	return Member{}, false
}

func (m Map) index(id ring.NodeID) (int, bool) {
	return slices.BinarySearchFunc(m.Members, id, func(r Member, id ring.NodeID) int { return r.ID.Compare(id) })
}

// With is the map with r in place of the record of the same ID. It does not merge: the caller answers for r being a
// step forward.
func (m Map) With(r Member) Map {
	r = r.normal()
	i, ok := m.index(r.ID)
	members := make([]Member, 0, len(m.Members)+1)
	members = append(members, m.Members[:i]...)
	members = append(members, r)
	if ok {
		i++
	}
	m.Members = append(members, m.Members[i:]...)
	return m
}

// CheckName is ErrNameTaken if a member other than id, not removed, is called name.
func (m Map) CheckName(name string, id ring.NodeID) error {
	if r, taken := m.Holder(name, id); taken {
		return fmt.Errorf("%w: %q is the %v member %v at %s: choose another name",
			ErrNameTaken, name, r.State, r.ID, r.RPC)
	}
	return nil
}

// Holder is the member other than id, not removed, that is called name.
func (m Map) Holder(name string, id ring.NodeID) (Member, bool) {
	i := slices.IndexFunc(m.Members, func(r Member) bool {
		return r.Name == name && r.ID != id && r.State != Removed
	})
	if i < 0 {
		return Member{}, false
	}
	return m.Members[i], true
}

// Hash is the XXH64 of the map's encoding.
func (m Map) Hash() uint64 { return xxhash.Sum64(m.Append(nil)) }

// normal drops what a removed member has no use for.
func (r Member) normal() Member {
	if r.State == Removed {
		r.Settled = nil
	}
	return r
}
