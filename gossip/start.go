package gossip

import (
	"crypto/rand"
	"errors"
	"fmt"

	"starling/gossip/state"
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
// if the map already says so, ErrNameTaken if this node was renamed to another member's name. The caller then calls
// Run, or Close if it never gets there.
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
	m, err := startRecord(o.Map, o.Self)
	if err != nil {
		return nil, err
	}
	self, _ := m.Member(o.Self.ID)
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
func startRecord(m state.Map, self state.Member) (state.Map, error) {
	old, known := m.Member(self.ID)
	self.Version = state.FirstVersion(self.Boot)
	if known {
		switch {
		case old.Boot > self.Boot:
			return m, lostTime(self, fmt.Sprintf("the cluster map knows start %d of it", old.Boot))
		case old.State == state.Removed:
			return m, removed(self)
		case old.Version >= self.Version:
			// NewCluster wrote this start's first version.
			self.Version = old.Version + 1
		}
		self.State, self.Settled, self.Fence = old.State, old.Settled, old.Fence
	} else if self.State == 0 {
		self.State = state.Joining
	}
	if err := self.Validate(); err != nil {
		return m, err
	}
	if !known || old.Name != self.Name {
		if err := m.CheckName(self.Name, self.ID); err != nil {
			return m, err
		}
	}
	return m.With(self), nil
}

func lostTime(self state.Member, what string) error {
	return fmt.Errorf("%w: this is start %d of %s (%v), but %s: the directory was restored from a copy, or a copy of it "+
		"runs elsewhere. Do not start it again: start the node with an empty data directory, as a new member under "+
		"another name", ErrLostTime, self.Boot, self.Name, self.ID, what)
}

func removed(self state.Member) error {
	return fmt.Errorf("%w: %s (%v) cannot come back under its old identity: to use this machine again, start it with an "+
		"empty data directory, as a new member", ErrRemoved, self.Name, self.ID)
}
