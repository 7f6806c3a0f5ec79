package ring

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"sort"
)

// Bounds of what New takes.
const (
	MaxPartitions = 65536
	MaxReplicas   = 7
	MaxWeight     = 10000
	MaxMembers    = 1024
)

// Errors of Validate and New, wrapped with the reason.
var (
	ErrConfig = errors.New("ring: invalid configuration")
	ErrMember = errors.New("ring: invalid member")
)

// Config is what the whole cluster agreed on when it was created.
type Config struct {
	// Partitions is Q, the number of equal parts of the hash ring: a power of two, 1 to MaxPartitions.
	Partitions int
	// Replicas is N, the number of nodes a partition is kept on: 1 to MaxReplicas.
	Replicas int
}

// Validate is ErrConfig, wrapped with the reason, for values out of bounds.
func (c Config) Validate() error {
	switch {
	case c.Partitions < 1 || c.Partitions > MaxPartitions || bits.OnesCount(uint(c.Partitions)) != 1:
		return fmt.Errorf("%w: %d partitions: want a power of two from 1 to %d", ErrConfig, c.Partitions, MaxPartitions)
	case c.Replicas < 1 || c.Replicas > MaxReplicas:
		return fmt.Errorf("%w: %d replicas: want 1 to %d", ErrConfig, c.Replicas, MaxReplicas)
	}
	return nil
}

// Member is one node as placement sees it.
type Member struct {
	ID NodeID
	// Zone is the failure domain: replicas lie in different zones where there are enough. Nodes with equal zones, the
	// empty one included, fail together.
	Zone string
	// Weight is the node's relative share of the data, 100 for a normal node, 1 to MaxWeight.
	Weight uint32
	// Draining nodes are ranked, since they may still hold data, but are never targets.
	Draining bool
	// Seat is what the ring ranks the member by in place of its ID, unless it is zero. A member that takes the seat of
	// one that is gone, with the same zone and weight, is a target where that one was, and nothing else moves.
	Seat NodeID
}

// seat is what the member is ranked by.
func (m Member) seat() NodeID {
	if m.Seat.IsZero() {
		return m.ID
	}
	return m.Seat
}

// Ring is the placement of all partitions on a set of members. It is immutable and safe for concurrent use.
type Ring struct {
	cfg     Config
	members []Member // sorted by seat
	ids     []NodeID // of members
	byID    []uint16 // the indexes of members, sorted by ID
	width   int      // targets of every partition: min(N, members that are not draining)
	order   []uint16 // Q rows of all members' indexes in order: targets first
	targets []NodeID // Q rows of width
	load    []int    // targets of each member
}

// New places the partitions on the members. The result is a pure function of cfg and the member set: the order of
// members does not matter, nor does any earlier ring. No members at all is a valid ring without targets.
func New(cfg Config, members []Member) (*Ring, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := checkMembers(members); err != nil {
		return nil, err
	}
	sorted := slices.Clone(members)
	slices.SortFunc(sorted, func(a, b Member) int { return a.seat().Compare(b.seat()) })
	r := &Ring{cfg: cfg, members: sorted, ids: make([]NodeID, len(sorted)), byID: make([]uint16, len(sorted))}
	for i, m := range sorted {
		r.ids[i], r.byID[i] = m.ID, uint16(i)
		if !m.Draining {
			r.width++
		}
	}
	slices.SortFunc(r.byID, func(a, b uint16) int { return r.ids[a].Compare(r.ids[b]) })
	r.width = min(r.width, cfg.Replicas)
	r.fill(place(cfg.Partitions, r.width, sorted))
	return r, nil
}

// fill takes the orders, targets and loads from a placer that is done.
func (r *Ring) fill(p *placer) {
	r.load = p.load
	r.order = make([]uint16, 0, r.cfg.Partitions*len(r.members))
	r.targets = make([]NodeID, 0, r.cfg.Partitions*r.width)
	for partition, set := range p.targets {
		for _, c := range p.row(partition) {
			if slices.Contains(set, c.member) {
				r.order = append(r.order, c.member)
				r.targets = append(r.targets, r.ids[c.member])
			}
		}
		for _, c := range p.row(partition) {
			if !slices.Contains(set, c.member) {
				r.order = append(r.order, c.member)
			}
		}
	}
}

func checkMembers(members []Member) error {
	if len(members) > MaxMembers {
		return fmt.Errorf("%w: %d members, at most %d", ErrMember, len(members), MaxMembers)
	}
	ids, seats := make(map[NodeID]bool, len(members)), make(map[NodeID]NodeID, len(members))
	for _, m := range members {
		switch other, taken := seats[m.seat()]; {
		case m.ID.IsZero():
			return fmt.Errorf("%w: the zero node ID", ErrMember)
		case m.Weight < 1 || m.Weight > MaxWeight:
			return fmt.Errorf("%w: %v has weight %d: want 1 to %d", ErrMember, m.ID, m.Weight, MaxWeight)
		case ids[m.ID]:
			return fmt.Errorf("%w: %v is there twice", ErrMember, m.ID)
		case taken:
			return fmt.Errorf("%w: %v and %v have one seat", ErrMember, other, m.ID)
		}
		ids[m.ID], seats[m.seat()] = true, m.ID
	}
	return nil
}

// Config is the configuration the ring was made with.
func (r *Ring) Config() Config { return r.cfg }

// Members are the members sorted by ID. The caller may modify the slice.
func (r *Ring) Members() []Member {
	members := make([]Member, len(r.members))
	for at, i := range r.byID {
		members[at] = r.members[i]
	}
	return members
}

// Has reports whether id is a member.
func (r *Ring) Has(id NodeID) bool {
	_, ok := r.index(id)
	return ok
}

// Targets are the nodes that should keep partition p: the first min(N, members not draining) of Order(p). The caller
// must not modify the slice.
func (r *Ring) Targets(p int) []NodeID {
	return r.targets[p*r.width : (p+1)*r.width : (p+1)*r.width]
}

// Order walks all members for partition p: its targets, then the rest by rank, draining ones included.
func (r *Ring) Order(p int) iter.Seq[NodeID] {
	return func(yield func(NodeID) bool) {
		for _, i := range r.row(p) {
			if !yield(r.ids[i]) {
				return
			}
		}
	}
}

// Load is the number of partitions that id is a target of, 0 for a stranger.
func (r *Ring) Load(id NodeID) int {
	if i, ok := r.index(id); ok {
		return r.load[i]
	}
	return 0
}

func (r *Ring) row(p int) []uint16 {
	n := len(r.members)
	return r.order[p*n : (p+1)*n]
}

// index is the place of id in members.
func (r *Ring) index(id NodeID) (int, bool) {
	at, ok := sort.Find(len(r.byID), func(at int) int { return id.Compare(r.ids[r.byID[at]]) })
	if !ok {
		return 0, false
	}
	return int(r.byID[at]), true
}
