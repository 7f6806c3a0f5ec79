package ring

import "slices"

// complete gives partitions that take left short, because all members they could still have are at their bounds, the
// targets they lack.
func (p *placer) complete() {
	for partition := range p.partitions {
		for len(p.targets[partition]) < p.width {
			if !p.augment(partition) {
				p.overload(partition)
			}
		}
	}
}

// step says that member is to leave partition for the partition of another step, at prev in a list of steps.
type step struct {
	partition int
	member    uint16
	prev      int
}

// augment finds a shortest chain in which the partition gets a member at its bound, which leaves another partition,
// which gets another such member, and so on up to a member below its bound, and carries it out.
func (p *placer) augment(partition int) bool {
	steps := []step{{partition: partition, prev: -1}}
	tried := make([]bool, p.members)
	for at := 0; at < len(steps); at++ {
		set := p.without(steps[at])
		for _, c := range p.row(steps[at].partition) {
			if tried[c.member] || !p.zones.allows(set, c.member) {
				continue
			}
			if p.load[c.member] < p.quotas[c.member].ceiling {
				p.shift(steps, at, c.member)
				return true
			}
			tried[c.member] = true
			for other := range p.partitions {
				if slices.Contains(p.targets[other], c.member) && !leads(steps, at, other) {
					steps = append(steps, step{partition: other, member: c.member, prev: at})
				}
			}
		}
	}
	return false
}

// leads says whether the chain up to steps[at] touches the partition.
func leads(steps []step, at, partition int) bool {
	for ; at >= 0; at = steps[at].prev {
		if steps[at].partition == partition {
			return true
		}
	}
	return false
}

// without is the targets of the step's partition but the member that is to leave.
func (p *placer) without(s step) []uint16 {
	set := slices.Clone(p.targets[s.partition])
	if s.prev >= 0 {
		set = slices.DeleteFunc(set, func(member uint16) bool { return member == s.member })
	}
	return set
}

// shift carries out the chain that ends with member taking a place in the partition of steps[at].
func (p *placer) shift(steps []step, at int, member uint16) {
	for at >= 0 {
		s := steps[at]
		if s.prev >= 0 {
			p.remove(s.partition, s.member)
		}
		p.add(s.partition, member)
		member, at = s.member, s.prev
	}
}

// overload gives the partition the first member of its ranking that the zones allow, above its bound. Chains that keep all
// bounds always exist, but augment, which tries every member once, could miss them.
func (p *placer) overload(partition int) {
	for _, c := range p.row(partition) {
		if p.zones.allows(p.targets[partition], c.member) {
			p.add(partition, c.member)
			return
		}
	}
	panic("ring: no member may complete a partition") // the zoning is a matroid of rank width
}

// lift moves targets to the members below their floors, from members above their fair share if there are such in
// exchange, else from any above their own floors.
func (p *placer) lift() {
	for member := range p.quotas {
		for _, spare := range []func(quota) int{
			func(q quota) int { return int(q.share>>shareBits) + 1 },
			func(q quota) int { return q.floor + 1 },
		} {
			for p.load[member] < p.quotas[member].floor && p.exchange(uint16(member), spare) {
			}
		}
	}
}

// exchange gives the member the best partition of its ranking in which it can replace another member whose load is at
// least spare of its quota; of several such, the worst ranked.
func (p *placer) exchange(member uint16, spare func(quota) int) bool {
	var best candidate
	partition, leaver := -1, uint16(0)
	for at := range p.partitions {
		row := p.row(at)
		own := slices.IndexFunc(row, func(c candidate) bool { return c.member == member })
		if partition >= 0 && row[own].compare(best) > 0 || slices.Contains(p.targets[at], member) {
			continue
		}
		if from, ok := p.replaceable(at, member, spare); ok {
			best, partition, leaver = row[own], at, from
		}
	}
	if partition < 0 {
		return false
	}
	p.remove(partition, leaver)
	p.add(partition, member)
	return true
}

// replaceable is the worst ranked target of the partition that the member can replace.
func (p *placer) replaceable(partition int, member uint16, spare func(quota) int) (uint16, bool) {
	row := p.row(partition)
	for at := len(row) - 1; at >= 0; at-- {
		target := row[at].member
		if !slices.Contains(p.targets[partition], target) || p.load[target] < spare(p.quotas[target]) {
			continue
		}
		if p.zones.allows(p.without(step{partition: partition, member: target}), member) {
			return target, true
		}
	}
	return 0, false
}
