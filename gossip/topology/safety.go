package topology

import (
	"fmt"
	"slices"

	"starling/gossip/state"
	"starling/ring"
)

// SafeToStop says whether the member may be stopped for a while: whether every partition then still has a quorum, every
// acknowledged write is elsewhere too, and nothing moves that needs the member. A member that is down or removed may be,
// as that changes nothing.
func SafeToStop(m state.Map, id ring.NodeID, f Facts) Safety {
	r, ok := m.Member(id)
	switch {
	case !ok:
		return because(KindUnknown, 0, fmt.Sprintf("No member has the ID %v.", id))
	case r.State == state.Removed:
		return Safety{Safe: true, Reasons: []Reason{{KindDown, 0, label(r) + " is removed: it has no part in anything."}}}
	}
	v, err := m.View()
	if err != nil {
		return because(KindUnknown, 0, fmt.Sprintf("There is no ring to judge by: %v.", err))
	}
	s := stop{m: m, r: r, v: v, f: f}
	if !f.alive(id) {
		return Safety{Safe: true, Reasons: []Reason{s.isDown()}}
	}
	reasons := slices.Concat(s.quorum(), s.hints(), s.transfers())
	return Safety{Safe: len(reasons) == 0, Reasons: reasons}
}

func because(kind string, partitions int, detail string) Safety {
	return Safety{Reasons: []Reason{{kind, partitions, detail}}}
}

// stop is the question whether member r may be stopped.
type stop struct {
	m state.Map
	r state.Member
	v *ring.View
	f Facts
}

func (s *stop) name() string { return label(s.r) }

// each calls do for every partition that the member is in, as owner, pending or displaced.
func (s *stop) each(do func(pl ring.Placement)) {
	for p := range s.v.Ring().Config().Partitions {
		pl := s.v.Placement(p)
		if slices.Contains(pl.Owners, s.r.ID) || slices.Contains(pl.Pending, s.r.ID) || slices.Contains(pl.Displaced, s.r.ID) {
			do(pl)
		}
	}
}

// isDown is the note about a member that is down.
func (s *stop) isDown() Reason {
	without := 0
	s.each(func(pl ring.Placement) {
		if spare(pl, s.f.alive) < 0 {
			without++
		}
	})
	detail := s.name() + " is down already: stopping it changes nothing."
	if without > 0 {
		detail += fmt.Sprintf(" %s of those it is needed for %s no quorum now.", count(without, "partition"), verb(without, "has", "have"))
	}
	return Reason{KindDown, without, detail}
}

// quorum is the reason that partitions would be without one.
func (s *stop) quorum() []Reason {
	if len(present(s.m)) == 1 {
		q := s.v.Ring().Config().Partitions
		return []Reason{{KindQuorum, q, s.name() + " is the only member: without it nothing can be read or written."}}
	}
	total, hit, already, silent := 0, 0, 0, 0
	missing := map[ring.NodeID]bool{}
	s.each(func(pl ring.Placement) {
		total++
		left := spare(pl, s.f.alive)
		if left > 0 {
			return
		}
		hit++
		if left < 0 {
			already++
		}
		if !slices.ContainsFunc(pl.Owners, func(id ring.NodeID) bool { return id != s.r.ID && s.f.alive(id) }) {
			silent++
		}
		eachWriter(pl, func(id ring.NodeID) {
			if !s.f.alive(id) {
				missing[id] = true
			}
		})
	})
	if hit == 0 {
		return nil
	}
	return []Reason{{KindQuorum, hit, s.quorumDetail(total, hit, already, silent, missing)}}
}

func (s *stop) quorumDetail(total, hit, already, silent int, missing map[ring.NodeID]bool) string {
	detail := fmt.Sprintf("%d of the %s that need %s could not be read and written at quorum without it", hit, count(total, "partition"), s.name())
	switch copies := s.copies(); {
	case len(missing) > 0:
		detail += fmt.Sprintf(", since %s down", are(s.labels(missing)))
	case copies == 1:
		detail += ", since each has 1 copy"
	case copies == 2:
		detail += ", since each has 2 copies and a majority of 2 is both"
	}
	if already > 0 {
		detail += fmt.Sprintf("; %d %s no quorum as it is", already, verb(already, "has", "have"))
	}
	if silent > 0 {
		detail += fmt.Sprintf("; for %d no other owner would answer", silent)
	}
	return detail + "."
}

// copies is how many copies of a partition at rest there are.
func (s *stop) copies() int { return min(s.v.Ring().Config().Replicas, keepers(s.m)) }

// hints is the reason that the member keeps writes for others.
func (s *stop) hints() []Reason {
	if s.f.Hints == nil {
		return s.hintsUnknown()
	}
	switch n, ok := s.f.Hints(s.r.ID); {
	case !ok:
		return s.hintsUnknown()
	case n > 0:
		return []Reason{{KindHints, 0, fmt.Sprintf("%s keeps %s that %s not been delivered: the writes are out of reach while it is down.",
			s.name(), count(int(n), "hint"), verb(int(n), "has", "have"))}}
	default:
		return nil
	}
}

func (s *stop) hintsUnknown() []Reason {
	return []Reason{{KindUnknown, 0, fmt.Sprintf("It is not known whether %s keeps hints for other members: it did not say.", s.name())}}
}

// transfers are the reasons that data moves to, from or by the member.
func (s *stop) transfers() (reasons []Reason) {
	takes, gives, relieved := 0, 0, 0
	takers := map[ring.NodeID]bool{}
	s.each(func(pl ring.Placement) {
		switch {
		case slices.Contains(pl.Pending, s.r.ID):
			takes++
		case len(pl.Pending) > 0:
			gives++
			for _, id := range pl.Pending {
				takers[id] = true
			}
		case slices.Contains(pl.Displaced, s.r.ID):
			relieved++
		}
	})
	add := func(partitions int, format string, args ...any) {
		reasons = append(reasons, Reason{KindTransfer, partitions, fmt.Sprintf(format, args...)})
	}
	if takes > 0 {
		add(takes, "%s has %s still to fill.", s.name(), count(takes, "partition"))
	}
	if gives > 0 {
		add(gives, "%s of %s %s being copied to %s.", count(gives, "partition"), s.name(), verb(gives, "is", "are"), s.takers(takers))
	}
	if relieved > 0 {
		add(relieved, "%s is to give up its vote in %s, as soon as all owners confirm it.", s.name(), count(relieved, "partition"))
	}
	switch s.r.State {
	case state.Joining:
		add(0, "%s is joining: it becomes active when it has filled its partitions.", s.name())
	case state.Leaving:
		add(0, "%s is leaving: it stops by itself when it has handed over all that it has.", s.name())
	}
	return reasons
}

// takers lists who fills, and says of those that are down what to do.
func (s *stop) takers(takers map[ring.NodeID]bool) string {
	text := list(s.labels(takers))
	for id := range takers {
		if s.f.alive(id) {
			delete(takers, id)
		}
	}
	if len(takers) > 0 {
		down := s.labels(takers)
		text += fmt.Sprintf(" (%s down: bring %s back or remove %s)", are(down), verb(len(down), "it", "them"), verb(len(down), "it", "them"))
	}
	return text
}

// labels are the sorted labels of a set.
func (s *stop) labels(set map[ring.NodeID]bool) []string {
	names := make([]string, 0, len(set))
	for id := range set {
		names = append(names, labelOf(s.m, id))
	}
	slices.Sort(names)
	return names
}
