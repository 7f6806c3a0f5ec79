package state

import (
	"slices"

	"starling/ring"
)

// View is the placement that the map stands for: joining and active members are targets, leaving ones are ranked but
// no targets, removed ones are left out. It is ErrSettings for a map without a cluster.
func (m Map) View() (*ring.View, error) { return m.ViewFrom(nil) }

// ViewFrom is View, computed from the view of an earlier map (or nil): placing the members anew, the expensive part,
// is skipped if nothing that placement depends on has changed, as when only settled bits did.
func (m Map) ViewFrom(prev *ring.View) (*ring.View, error) {
	if err := m.Settings.Validate(); err != nil {
		return nil, err
	}
	members := m.ringMembers()
	var r *ring.Ring
	if prev != nil && prev.Ring().Config() == m.Settings.Ring() && slices.Equal(prev.Ring().Members(), members) {
		r = prev.Ring()
	} else {
		var err error
		if r, err = ring.New(m.Settings.Ring(), members); err != nil {
			return nil, err
		}
	}
	settled := make(map[ring.NodeID]Bits, len(m.Members))
	for _, member := range m.Members {
		settled[member.ID] = member.Settled
	}
	isSettled := func(id ring.NodeID, p int) bool { return settled[id].Get(p) }
	if prev != nil {
		return prev.Next(r, m.Fence(), isSettled), nil
	}
	return ring.NewFencedView(r, m.Fence(), isSettled), nil
}

// SameRing says whether both maps place partitions alike, whatever their settled bits.
func (m Map) SameRing(o Map) bool {
	return m.Settings.Ring() == o.Settings.Ring() && slices.Equal(m.ringMembers(), o.ringMembers())
}

// ringMembers are the members that placement ranks, sorted by ID as the map is.
func (m Map) ringMembers() []ring.Member {
	before := m.predecessors()
	members := make([]ring.Member, 0, len(m.Members))
	for _, r := range m.Members {
		if r.State == Removed {
			continue
		}
		members = append(members, ring.Member{ID: r.ID, Zone: r.Zone, Weight: r.Weight, Draining: r.State == Leaving,
			Seat: seat(r.ID, before)})
	}
	return members
}
