package topology

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"starling/gossip/state"
	"starling/ring"
)

// normalWeight is the weight of a newcomer that names none.
const normalWeight = 100

// NewID is the ID that stands for a member that has none yet.
func NewID(name string) (id ring.NodeID) {
	sum := sha256.Sum256([]byte("member to come: " + name))
	copy(id[:], sum[:])
	return id
}

// Apply is the map as the change would make it, with nothing moved yet. It is [ErrChange], wrapped with what is wrong,
// if a member is unknown, removed already or named for two things, if a newcomer's name is taken or its labels are out
// of bounds, or if no member would be left to keep data. A member that is leaving already may be named in Leave again.
// What takes the last complete copies is done by force, or not at all: the map is marked then.
//
// The result is for plans: its records are not those that an owner would write.
func Apply(m state.Map, c Change) (state.Map, error) {
	if err := m.Settings.Validate(); err != nil {
		return state.Map{}, fmt.Errorf("%w: %w", ErrChange, err)
	}
	e := edit{m: m, fate: map[ring.NodeID]string{}}
	// Removals come first, since they free names, and heirs after newcomers, since they may be among them.
	for _, step := range []func(Change) error{e.remove, e.join, e.replace, e.leave, e.label} {
		if err := step(c); err != nil {
			return state.Map{}, fmt.Errorf("%w: %w", ErrChange, err)
		}
	}
	if err := checkMembers(m, e.m); err != nil {
		return state.Map{}, fmt.Errorf("%w: %w", ErrChange, err)
	}
	for _, r := range gone(m, e.m) {
		e.m = e.m.Force(r.ID)
	}
	return e.m, nil
}

// edit is a map under change.
type edit struct {
	m    state.Map
	fate map[ring.NodeID]string // what becomes of members that go
}

// member is the record of a member that is not removed.
func (e *edit) member(id ring.NodeID) (state.Member, error) {
	r, ok := e.m.Member(id)
	switch {
	case !ok:
		return r, fmt.Errorf("no member has the ID %v", id)
	case e.fate[id] != "":
		return r, fmt.Errorf("%s is already %s by this change", label(r), e.fate[id])
	case r.State == state.Removed:
		return r, fmt.Errorf("%s is removed already", label(r))
	}
	return r, nil
}

// end moves a member to one of the last two states.
func (e *edit) end(id ring.NodeID, to state.Lifecycle, fate string) error {
	r, err := e.member(id)
	if err != nil {
		return err
	}
	r.State = to
	e.m, e.fate[id] = e.m.With(r), fate
	return nil
}

func (e *edit) remove(c Change) error {
	for _, id := range c.Remove {
		if err := e.end(id, state.Removed, "removed"); err != nil {
			return err
		}
	}
	for _, r := range c.Replace {
		if err := e.end(r.Dead, state.Removed, "replaced"); err != nil {
			return err
		}
	}
	return nil
}

func (e *edit) join(c Change) error {
	for _, n := range c.Join {
		if _, err := e.add(n); err != nil {
			return err
		}
	}
	return nil
}

// add adds a newcomer.
func (e *edit) add(n NewMember) (ring.NodeID, error) {
	if n.Weight == 0 {
		n.Weight = normalWeight
	}
	r := state.Member{ID: NewID(n.Name), Name: n.Name, Zone: n.Zone, Weight: n.Weight, State: state.Joining}
	if n.Name == "" {
		return r.ID, fmt.Errorf("a newcomer without a name")
	}
	if err := e.m.CheckName(n.Name, r.ID); err != nil {
		return r.ID, err
	}
	if known, ok := e.m.Member(r.ID); ok {
		return r.ID, fmt.Errorf("%s joins twice", label(known))
	}
	if err := r.Validate(); err != nil {
		return r.ID, fmt.Errorf("newcomer %s: %w", n.Name, err)
	}
	e.m = e.m.With(r)
	return r.ID, nil
}

func (e *edit) replace(c Change) error {
	for _, r := range c.Replace {
		dead, _ := e.m.Member(r.Dead)
		heir, err := e.heir(r.Heir, dead)
		if err != nil {
			return err
		}
		dead.Heir = heir
		e.m = e.m.With(dead)
	}
	return nil
}

// heir finds or adds the member that takes the place of another. Who has such a place already would keep but one.
func (e *edit) heir(n NewMember, dead state.Member) (ring.NodeID, error) {
	heir, ok := byName(e.m, n.Name)
	if !ok {
		if n.Zone == "" {
			n.Zone = dead.Zone
		}
		if n.Weight == 0 {
			n.Weight = dead.Weight
		}
		return e.add(n)
	}
	switch {
	case n.Zone != "" || n.Weight != 0:
		return heir.ID, fmt.Errorf("%s is a member already: its zone and weight are its own", label(heir))
	case heir.State == state.Leaving:
		return heir.ID, fmt.Errorf("%s is leaving: it cannot take the place of %s", label(heir), label(dead))
	}
	for _, r := range e.m.Members {
		if r.Heir == heir.ID {
			return heir.ID, fmt.Errorf("%s has the place of %s already: it cannot take that of %s too", label(heir), label(r), label(dead))
		}
	}
	return heir.ID, nil
}

// byName is the member that is called name and not removed.
func byName(m state.Map, name string) (state.Member, bool) {
	i := slices.IndexFunc(m.Members, func(r state.Member) bool { return r.Name == name && r.State != state.Removed })
	if i < 0 {
		return state.Member{}, false
	}
	return m.Members[i], true
}

func (e *edit) leave(c Change) error {
	for _, id := range c.Leave {
		if err := e.end(id, state.Leaving, "leaving"); err != nil {
			return err
		}
	}
	return nil
}

// label changes weights and zones.
func (e *edit) label(c Change) error {
	ids := slices.Collect(maps.Keys(c.Weights))
	for id := range c.Zones {
		if _, both := c.Weights[id]; !both {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, ring.NodeID.Compare)
	for _, id := range ids {
		r, err := e.member(id)
		if err != nil {
			return err
		}
		if weight, ok := c.Weights[id]; ok {
			r.Weight = weight
		}
		if zone, ok := c.Zones[id]; ok {
			r.Zone = zone
		}
		if err := r.Validate(); err != nil {
			return err
		}
		e.m = e.m.With(r)
	}
	return nil
}

// checkMembers refuses maps without a member to keep data, and such with too many.
func checkMembers(before, after state.Map) error {
	if keepers(before) > 0 && keepers(after) == 0 {
		return fmt.Errorf("no member would be left to keep data: let another join first")
	}
	switch live := len(present(after)); {
	case live > ring.MaxMembers:
		return fmt.Errorf("%w: %d: at most %d", state.ErrTooManyMembers, live, ring.MaxMembers)
	case len(after.Members) > state.MaxRecords:
		return fmt.Errorf("%w: %d records, removed ones included: at most %d", state.ErrTooManyMembers, len(after.Members), state.MaxRecords)
	}
	return nil
}

// present are the members that are not removed.
func present(m state.Map) []state.Member {
	return slices.DeleteFunc(slices.Clone(m.Members), func(r state.Member) bool { return r.State == state.Removed })
}

// keepers counts the members that partitions are placed on.
func keepers(m state.Map) (n int) {
	for _, r := range m.Members {
		if r.State == state.Joining || r.State == state.Active {
			n++
		}
	}
	return n
}
