package antientropy

import (
	"cmp"
	"slices"

	"starling/coordinator/quorum"
	"starling/ring"
)

// plan is who has to confirm what in one round, and who did.
type plan struct {
	owners    map[uint32]int           // by partition: how many owners it has
	claims    map[ring.NodeID][]Claim  // by owner: what to ask
	confirmed map[uint32][]ring.NodeID // by partition: which owners agreed
	refused   map[uint32]bool          // somebody alive did not agree
	stamps    map[uint32]uint64
	// rivals are, by partition, those that are pending as well and have not
	// agreed yet that this node comes first.
	rivals map[uint32][]ring.NodeID
	// lost are the partitions without an owner: what counts as an owner's there is
	// what the other members have left.
	lost map[uint32]bool
}

func emptyPlan() *plan {
	return &plan{
		owners: map[uint32]int{}, claims: map[ring.NodeID][]Claim{},
		confirmed: map[uint32][]ring.NodeID{}, refused: map[uint32]bool{}, stamps: map[uint32]uint64{},
		rivals: map[uint32][]ring.NodeID{}, lost: map[uint32]bool{},
	}
}

// newPlan is about the partitions that this node may settle next. Where there
// are fewer owners than N, each that comes makes quorums larger: then the
// pending nodes come one by one, and each other one has to agree to the order.
// Those without any owner are begun again with what is left, if they were given
// up.
func newPlan(v *ring.View, self ring.NodeID, leave []uint32, givenUp bool) *plan {
	p := emptyPlan()
	for _, part := range v.PendingFor(self) {
		if slices.Contains(leave, uint32(part)) || !v.Turn(self, part) {
			continue
		}
		pl := v.Placement(part)
		switch {
		case len(pl.Owners) > 0:
			p.add(pl)
		case givenUp:
			p.addLost(pl, v.Ring(), self)
		default:
			continue // nobody could confirm
		}
		if v.Short(part) {
			p.addRivals(pl, self)
		}
	}
	return p
}

// addRivals has the other pending nodes of a partition asked.
func (p *plan) addRivals(pl ring.Placement, self ring.NodeID) {
	part := uint32(pl.Partition)
	for _, id := range pl.Pending {
		if id != self {
			p.rivals[part] = append(p.rivals[part], id)
			p.claims[id] = append(p.claims[id], Claim{Partition: part, Stamp: pl.Stamp})
		}
	}
}

// addLost has the members asked that are not to own a partition without an
// owner: one of them may have an old copy. Those that are to own it are rivals.
func (p *plan) addLost(pl ring.Placement, r *ring.Ring, self ring.NodeID) {
	p.add(pl)
	p.lost[uint32(pl.Partition)] = true
	for _, m := range r.Members() {
		if m.ID != self && !contains(pl.Pending, m.ID) {
			p.claims[m.ID] = append(p.claims[m.ID], Claim{Partition: uint32(pl.Partition), Stamp: pl.Stamp})
		}
	}
}

// add has the owners of a partition asked.
func (p *plan) add(pl ring.Placement) {
	part := uint32(pl.Partition)
	p.owners[part], p.stamps[part] = len(pl.Owners), pl.Stamp
	for _, o := range pl.Owners {
		p.claims[o] = append(p.claims[o], Claim{Partition: part, Stamp: pl.Stamp})
	}
}

// heard notes an answer; what it left out was refused.
func (p *plan) heard(id ring.NodeID, agreed []Claim) {
	yes := make(map[Claim]bool, len(agreed))
	for _, c := range agreed {
		yes[c] = true
	}
	for _, c := range p.claims[id] {
		if !yes[c] {
			p.refused[c.Partition] = true
			continue
		}
		rival := slices.Index(p.rivals[c.Partition], id)
		if rival >= 0 {
			p.rivals[c.Partition] = slices.Delete(p.rivals[c.Partition], rival, rival+1)
		}
		if rival < 0 || p.lost[c.Partition] {
			p.confirmed[c.Partition] = append(p.confirmed[c.Partition], id)
		}
	}
}

// ready lists, ascending, the partitions that every live owner, a majority of
// the owners and all rivals confirmed; and those without an owner that every
// live member and all rivals confirmed.
func (p *plan) ready() []uint32 {
	var ready []uint32
	for part, owners := range p.owners {
		enough := p.lost[part] || len(p.confirmed[part]) >= quorum.Majority(owners)
		if enough && !p.refused[part] && len(p.rivals[part]) == 0 {
			ready = append(ready, part)
		}
	}
	slices.Sort(ready)
	return ready
}

// unanimous lists, by partition, the claims that every owner confirmed.
func (p *plan) unanimous() (claims []Claim) {
	for part, n := range p.owners {
		if n > 0 && len(p.confirmed[part]) == n {
			claims = append(claims, Claim{Partition: part, Stamp: p.stamps[part]})
		}
	}
	slices.SortFunc(claims, func(a, b Claim) int { return cmp.Compare(a.Partition, b.Partition) })
	return claims
}
