package ring

// zoning is how the replicas of a partition spread over the zones of the members that are not draining: a zone keeps at
// most `most` of them, and at most `full` zones keep that many. So the replicas lie in min(N, zones) different zones,
// and where zones are fewer than N, they differ by one replica at most unless a zone has too few members. Sets of members
// that obey this are the independent sets of a matroid: any of them that is smaller than N can be extended, and taking
// members greedily by score gives the best set.
type zoning struct {
	zone  []int // of each member, -1 for a draining one
	sizes []int // members of each zone
	most  int
	full  int
}

func newZoning(members []Member, width int) *zoning {
	z := &zoning{zone: make([]int, len(members)), full: width}
	numbers := map[string]int{}
	for i, m := range members {
		if m.Draining {
			z.zone[i] = -1
			continue
		}
		number, known := numbers[m.Zone]
		if !known {
			number = len(z.sizes)
			numbers[m.Zone] = number
			z.sizes = append(z.sizes, 0)
		}
		z.zone[i] = number
		z.sizes[number]++
	}
	// Round by round, every zone that has a member left takes one more replica, until the last round is short.
	for {
		z.most++
		room := 0
		for _, size := range z.sizes {
			if size >= z.most {
				room++
			}
		}
		if room >= z.full {
			return z
		}
		z.full -= room
	}
}

// allows says whether member i may join the targets of a partition that has the members set already.
func (z *zoning) allows(set []uint16, i uint16) bool {
	zone := z.zone[i]
	if zone < 0 {
		return false
	}
	same := 0
	for _, member := range set {
		if member == i {
			return false
		}
		if z.zone[member] == zone {
			same++
		}
	}
	return same+1 < z.most || same+1 == z.most && z.fullZones(set) < z.full
}

// fullZones is the number of zones that have as many members in set as a zone may have.
func (z *zoning) fullZones(set []uint16) int {
	full := 0
	for at, member := range set {
		same := 1
		for _, earlier := range set[:at] {
			if z.zone[earlier] == z.zone[member] {
				same++
			}
		}
		if same == z.most {
			full++
		}
	}
	return full
}

// quotas are what the members should carry, and rates the parameters of their scores. A fair share is min(N, nodes)
// replicas of every partition divided by weight, within what zoning demands of the zones and with no more than one
// replica of a partition on a member.
func (z *zoning) quotas(partitions, width int, members []Member) ([]quota, []uint64) {
	quotas, rates := make([]quota, len(members)), make([]uint64, len(members))
	var weights uint64
	for zone, share := range divide(fraction{uint64(width), 1}, z.zoneParties(members)) {
		inside := z.inside(zone)
		parties := make([]party, len(inside))
		for at, i := range inside {
			parties[at] = party{weight: uint64(members[i].Weight), greatest: 1}
			weights += parties[at].weight
		}
		for at, f := range divide(share, parties) {
			i := inside[at]
			quotas[i] = newQuota(partitions, f, members[i].seat())
			rates[i] = f.rate()
		}
	}
	z.rateDraining(rates, weights, members)
	return quotas, rates
}

// zoneParties are the zones as parties to the replicas of a partition.
func (z *zoning) zoneParties(members []Member) []party {
	parties := make([]party, len(z.sizes))
	for zone, size := range z.sizes {
		parties[zone].least, parties[zone].greatest = uint64(min(size, z.most-1)), uint64(min(size, z.most))
	}
	for i, zone := range z.zone {
		if zone >= 0 {
			parties[zone].weight += uint64(members[i].Weight)
		}
	}
	return parties
}

// inside lists the members of a zone.
func (z *zoning) inside(zone int) []int {
	members := make([]int, 0, z.sizes[zone])
	for i, of := range z.zone {
		if of == zone {
			members = append(members, i)
		}
	}
	return members
}

// rateDraining gives every draining member the rate by weight that the others have on average.
func (z *zoning) rateDraining(rates []uint64, weights uint64, members []Member) {
	var sum uint64
	for _, rate := range rates {
		sum += rate
	}
	if sum == 0 {
		sum, weights = maxLog, MaxWeight
	}
	for i, zone := range z.zone {
		if zone < 0 {
			rates[i] = scale(sum, uint64(members[i].Weight), weights)
		}
	}
}
