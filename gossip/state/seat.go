package state

import (
	"fmt"

	"starling/ring"
)

// Replace is the map in which dead is removed and heir has its seat, behind a new fence. If it is so already, the map is unchanged. It is
// ErrUnknownMember if the map lacks one of them, and ErrInvalid if dead has another heir, or if heir is dead itself, is no
// target, or has the seat of another member that is gone.
func (m Map) Replace(dead, heir ring.NodeID) (Map, error) {
	old, ok := m.Member(dead)
	if !ok {
		return Map{}, fmt.Errorf("%w: %v", ErrUnknownMember, dead)
	}
	successor, ok := m.Member(heir)
	if !ok {
		return Map{}, fmt.Errorf("%w: %v", ErrUnknownMember, heir)
	}
	if dead == heir {
		return Map{}, fmt.Errorf("%w: %s (%v) cannot replace itself", ErrInvalid, old.Name, dead)
	}
	if old.Heir == heir {
		return m, nil
	}
	if !old.Heir.IsZero() {
		return Map{}, fmt.Errorf("%w: %s (%v) was replaced by %v already", ErrInvalid, old.Name, dead, old.Heir)
	}
	if successor.State >= Leaving {
		return Map{}, fmt.Errorf("%w: %s (%v) is %v and cannot replace another", ErrInvalid, successor.Name, heir, successor.State)
	}
	if before, ok := m.predecessors()[heir]; ok {
		return Map{}, fmt.Errorf("%w: %s (%v) replaced %v already", ErrInvalid, successor.Name, heir, before)
	}
	old.State, old.Heir, old.Fence = Removed, heir, m.Fence()+1
	return m.With(old), nil
}

// predecessors are, by heir, the removed members that heirs replaced. Where nodes that did not know of each other named
// one heir for several members, that of the lowest ID counts.
func (m Map) predecessors() map[ring.NodeID]ring.NodeID {
	before := map[ring.NodeID]ring.NodeID{}
	for _, r := range m.Members { // by ID
		if _, known := before[r.Heir]; !known && !r.Heir.IsZero() {
			before[r.Heir] = r.ID
		}
	}
	return before
}

// seat is what the ring ranks the member by that is not removed: zero, which means its ID, or the ID of the first in the
// line of those that replaced each other up to it. The walk back ends, and no two members have one seat: a member
// names one heir, and one that is not removed names none. So a line that ran in a circle could not lead out of it, and two
// that began with one member would be one.
func seat(id ring.NodeID, before map[ring.NodeID]ring.NodeID) (first ring.NodeID) {
	for {
		earlier, ok := before[id]
		if !ok {
			return first
		}
		first, id = earlier, earlier
	}
}
