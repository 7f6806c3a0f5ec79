package gossip

import (
	"crypto/rand"
	"errors"
	"fmt"

	"starling/gossip/state"
	"starling/ring"
)

// Settings of a new cluster that the user leaves open.
const (
	DefaultPartitions = 1024
	DefaultReplicas   = 3
)

// NewCluster is the map of a brand-new cluster with self as its first member, active and holding every partition. What
// is zero in s is chosen: the cluster ID and the secret at random, DefaultPartitions, DefaultReplicas, and the hash
// version of this build. Nothing is saved.
func NewCluster(s state.Settings, self state.Member) (state.Map, error) {
	if s.Cluster == [16]byte{} {
		_, _ = rand.Read(s.Cluster[:]) // never fails
	}
	if s.Secret == [32]byte{} {
		_, _ = rand.Read(s.Secret[:])
	}
	if s.Partitions == 0 {
		s.Partitions = DefaultPartitions
	}
	if s.Replicas == 0 {
		s.Replicas = DefaultReplicas
	}
	if s.HashVersion == 0 {
		s.HashVersion = state.HashVersion
	}
	return state.NewCluster(s, self)
}

// New makes this start's record, saves the map with it, and binds the gossip address. It is ErrLostTime or ErrRemoved
// if the map already says so, state.ErrNameTaken if this node goes by another member's name; the documentation of the
// package has the exceptions. With Options.Replace it is state.ErrUnknownMember or state.ErrInvalid if this node is new
// and cannot replace that member. The caller then calls Run, or Close if it never gets there.
func New(o Options) (*Gossip, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	t, err := bind(o)
	if err != nil {
		return nil, err
	}
	g, err := newGossip(o, t)
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return g, nil
}

func newGossip(o Options, t *transport) (*Gossip, error) {
	o.Self.Gossip = t.advertised
	m, err := startRecord(o.Map, o.Self, o.Replace)
	if err != nil {
		return nil, err
	}
	self, _ := m.Member(o.Self.ID)
	warnOfName(o.Logger, o.Map, self, o.Self.Name)
	g := &Gossip{
		opt:        o,
		self:       self,
		logger:     o.Logger,
		seq:        uint32(self.Version),
		changes:    make(chan struct{}, 1),
		toAnnounce: make(chan struct{}, 1),
		toSpread:   make(chan struct{}, 1),
		vouched:    make(chan struct{}),
		failed:     make(chan struct{}),
		transport:  t,
	}
	g.metrics = newMetrics(g)
	g.table = newTable(Peer{ID: self.ID, Boot: self.Boot}, g.metrics.dropped, g.logger, g.overtakenBy)
	g.sync = newSyncer(g)
	g.current.Store(&snapshot{o.Map, o.Map.Hash()})
	if err := g.commit(m, true); err != nil {
		return nil, err
	}
	if err := g.metrics.register(o.Metrics); err != nil {
		return nil, err
	}
	return g, nil
}

// startRecord is the map with this start's record of this node.
func startRecord(m state.Map, self state.Member, replace ring.NodeID) (state.Map, error) {
	self.Version = state.FirstVersion(self.Boot)
	if old, known := m.Member(self.ID); known {
		if old.Boot > self.Boot {
			return m, lostTime(self, fmt.Sprintf("the cluster map knows start %d of it", old.Boot))
		}
		if old.Version >= self.Version {
			// NewCluster wrote this start's first version.
			self.Version = old.Version + 1
		}
		self.State, self.Settled, self.Fence = old.State, old.Settled, old.Fence
	} else if self.State == 0 {
		self.State = state.Joining
	}
	m, err := enter(m, self, replace)
	if err != nil {
		return m, err
	}
	self, _ = m.Member(self.ID)
	return m, self.Validate()
}

func lostTime(self state.Member, what string) error {
	return fmt.Errorf("%w: this is start %d of %s (%v), but %s: the directory was restored from a copy, or a copy of it "+
		"runs elsewhere. Do not start it again: start the node with an empty data directory, as a new member under "+
		"another name", ErrLostTime, self.Boot, self.Name, self.ID, what)
}

// Removed is ErrRemoved, with who has its seat, where id is removed in a map; else nil. A node that hears so before it starts
// need not start.
func Removed(m state.Map, id ring.NodeID) error {
	if self, ok := m.Member(id); ok && self.State == state.Removed {
		return removed(m, self)
	}
	return nil
}

// removed says that this node cannot go on, and who has its seat.
func removed(m state.Map, self state.Member) error {
	how := ""
	if r, _ := m.Member(self.ID); !r.Heir.IsZero() {
		heir, _ := m.Member(r.Heir)
		how = fmt.Sprintf(": %s (%v) has replaced it", heir.Name, r.Heir)
	}
	return fmt.Errorf("%w%s: %s (%v) cannot come back under its old identity: to use this machine again, start it with an "+
		"empty data directory, as a new member", ErrRemoved, how, self.Name, self.ID)
}
