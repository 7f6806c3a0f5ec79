package topology

import (
	"cmp"
	"fmt"
	"slices"

	"starling/gossip/state"
	"starling/ring"
)

// PlanOf says what moves between two maps of one cluster, the second being what [Apply] makes of the first. It is
// [ErrChange] if they are of different clusters, and whatever makes a map unfit for a ring. Both maps may be the same:
// then the plan is what earlier changes still owe.
func PlanOf(before, after state.Map, f Facts) (Plan, error) {
	if before.Settings != after.Settings {
		return Plan{}, fmt.Errorf("%w: the maps before and after it are of different clusters", ErrChange)
	}
	p := planner{facts: f, before: before, after: after, entries: map[ring.NodeID]*entry{}}
	if err := p.view(); err != nil {
		return Plan{}, err
	}
	p.enter()
	for part := range p.viewAfter.Ring().Config().Partitions {
		p.move(part)
	}
	p.leaveCopies()
	if err := p.finish(); err != nil {
		return Plan{}, err
	}
	v := losses(before, after, p.alive)
	p.plan.Lost, p.plan.AtRisk, p.plan.Unreachable = v.Lost, v.AtRisk, v.Unreachable
	p.collect()
	p.plan.Warnings = p.warnings()
	return p.plan, nil
}

// planner works a plan out.
type planner struct {
	facts                 Facts
	before, after         state.Map
	viewBefore, viewAfter *ring.View
	entries               map[ring.NodeID]*entry
	plan                  Plan

	during  Failures // what the cluster bears as soon as the change is made
	owed    int      // copies that an earlier change owes
	stuck   int      // copies that wait for owners, and who of these is down
	blocked map[ring.NodeID]bool
}

// entry is a member's part so far.
type entry struct {
	NodePlan
	fills  []int // partitions that it can fill now
	coming int64 // bytes of these
}

func (p *planner) view() (err error) {
	if p.viewBefore, err = p.before.View(); err != nil {
		return err
	}
	p.viewAfter, err = p.after.ViewFrom(p.viewBefore)
	return err
}

// alive is the opinion of a member; those that come will be alive.
func (p *planner) alive(id ring.NodeID) bool {
	if _, known := p.before.Member(id); !known {
		return true
	}
	return p.facts.alive(id)
}

// enter makes an entry for each member of either map that was not removed before.
func (p *planner) enter() {
	for _, r := range p.after.Members {
		if was, ok := p.before.Member(r.ID); ok && was.State == state.Removed {
			continue
		}
		p.entries[r.ID] = &entry{NodePlan: NodePlan{
			ID: r.ID, Name: r.Name, State: r.State, Down: !p.alive(r.ID),
			PartitionsBefore: p.viewBefore.Ring().Load(r.ID),
			PartitionsAfter:  p.viewAfter.Ring().Load(r.ID),
		}}
	}
}

func (p *planner) bytes(part int) int64 {
	if p.facts.Bytes == nil {
		return 0
	}
	return p.facts.Bytes(part)
}

// move counts the copies of one partition that are to be made.
func (p *planner) move(part int) {
	pl, size := p.viewAfter.Placement(part), p.bytes(part)
	if len(pl.Pending) == 0 {
		return
	}
	p.plan.Partitions++
	p.plan.Replicas += len(pl.Pending)
	p.plan.Bytes += size * int64(len(pl.Pending))
	sources := slices.DeleteFunc(slices.Clone(pl.Owners), func(id ring.NodeID) bool { return p.entries[id].Down })
	can := len(sources) >= majority(len(pl.Owners)) || p.beginsAgain(pl)
	made := 0
	for _, id := range pl.Pending {
		e := p.entries[id]
		e.In++
		e.BytesIn += size
		if slices.Contains(p.viewBefore.Placement(part).Pending, id) {
			p.owed++
		}
		switch {
		case e.Down:
		case !can:
			p.block(pl)
		default:
			made++
			e.coming += size
			e.fills = append(e.fills, part)
		}
	}
	p.send(sources, size*int64(made))
}

// beginsAgain says whether a partition without an owner is given up, and all that are to keep it are there to compare what
// they have left.
func (p *planner) beginsAgain(pl ring.Placement) bool {
	return len(pl.Owners) == 0 && p.after.GivenUp() &&
		!slices.ContainsFunc(pl.Pending, func(id ring.NodeID) bool { return p.entries[id].Down })
}

// block notes a copy that cannot be made because too few owners would confirm it, or where there are none, too few of those
// that are to keep the partition.
func (p *planner) block(pl ring.Placement) {
	p.stuck++
	if p.blocked == nil {
		p.blocked = map[ring.NodeID]bool{}
	}
	who := pl.Owners
	if len(who) == 0 && p.after.GivenUp() {
		who = pl.Pending
	}
	for _, id := range who {
		if p.entries[id].Down {
			p.blocked[id] = true
		}
	}
}

// send divides what is read of one partition evenly among its sources.
func (p *planner) send(sources []ring.NodeID, bytes int64) {
	for i, id := range sources {
		left := int64(len(sources) - i)
		share := (bytes + left - 1) / left
		p.entries[id].BytesSent += share
		bytes -= share
	}
}

// leaveCopies counts the complete copies that members give up.
func (p *planner) leaveCopies() {
	r := p.viewAfter.Ring()
	for _, was := range present(p.before) {
		e := p.entries[was.ID]
		for part := range r.Config().Partitions {
			if was.Settled.Get(part) && !slices.Contains(r.Targets(part), was.ID) {
				e.Out++
				e.BytesOut += p.bytes(part)
			}
		}
	}
}

// finish works out what the cluster bears now, while the copies are made, and when all are made that can be.
func (p *planner) finish() error {
	p.plan.SurvivesBefore = survives(p.viewBefore, p.alive)
	p.during = survives(p.viewAfter, p.alive)
	m := p.after
	for _, r := range p.after.Members {
		if e := p.entries[r.ID]; e != nil && len(e.fills) > 0 {
			r.Settled = r.Settled.With(e.fills...)
			m = m.With(r)
		}
	}
	filled, err := m.ViewFrom(p.viewAfter)
	if err != nil {
		return err
	}
	final, err := p.release(m, filled)
	if err != nil {
		return err
	}
	p.plan.SurvivesAfter = survives(final, p.alive)
	return nil
}

// release clears settled bits until no displaced member may clear one: where few are left, owners go one at a time.
func (p *planner) release(m state.Map, v *ring.View) (*ring.View, error) {
	for {
		released := p.released(v)
		if len(released) == 0 {
			return v, nil
		}
		for id, parts := range released {
			r, _ := m.Member(id)
			r.Settled = r.Settled.Without(parts...)
			m = m.With(r)
		}
		var err error
		if v, err = m.ViewFrom(v); err != nil {
			return nil, err
		}
	}
}

// released lists by member the partitions that it is displaced from and hands over for good: all owners must confirm
// that.
func (p *planner) released(v *ring.View) map[ring.NodeID][]int {
	parts := map[ring.NodeID][]int{}
	for part := range v.Ring().Config().Partitions {
		pl := v.Placement(part)
		if !slices.ContainsFunc(pl.Owners, func(id ring.NodeID) bool { return p.entries[id].Down }) {
			for _, id := range pl.Displaced {
				if !p.entries[id].Down {
					parts[id] = append(parts[id], part)
				}
			}
		}
	}
	return parts
}

// collect sums the entries up.
func (p *planner) collect() {
	var busiest int64
	for _, e := range p.entries {
		busiest = max(busiest, e.coming, e.BytesSent)
		p.plan.Nodes = append(p.plan.Nodes, e.NodePlan)
	}
	slices.SortFunc(p.plan.Nodes, func(a, b NodePlan) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.ID.Compare(b.ID))
	})
	if p.facts.BytesPerSecond > 0 {
		p.plan.Seconds = float64(busiest) / float64(p.facts.BytesPerSecond)
	}
	if p.facts.BusyBytesPerSecond > 0 {
		p.plan.BusySeconds = float64(busiest) / float64(p.facts.BusyBytesPerSecond)
	}
}
