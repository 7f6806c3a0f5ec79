package topology

import (
	"slices"

	"starling/ring"
)

// spare is how many more writers of a partition may fail before it has no quorum, negative if it has none now; see the
// package's documentation.
func spare(pl ring.Placement, alive func(ring.NodeID) bool) int {
	n := len(pl.Owners) - majority(len(pl.Owners))
	eachWriter(pl, func(id ring.NodeID) {
		if !alive(id) {
			n--
		}
	})
	return n
}

func eachWriter(pl ring.Placement, do func(ring.NodeID)) {
	for _, list := range [][]ring.NodeID{pl.Owners, pl.Pending, pl.Displaced} {
		for _, id := range list {
			do(id)
		}
	}
}

// survives counts the failures that the cluster can bear.
func survives(v *ring.View, alive func(ring.NodeID) bool) Failures {
	zones := map[ring.NodeID]string{}
	up := map[ring.NodeID]bool{}
	for _, m := range v.Ring().Members() {
		zones[m.ID], up[m.ID] = m.Zone, alive(m.ID)
	}
	isUp := func(id ring.NodeID) bool { return up[id] }
	least := Failures{Nodes: len(zones), Zones: len(zones)}
	for p := range v.Ring().Config().Partitions {
		pl := v.Placement(p)
		n := spare(pl, isUp)
		if n < 0 {
			return Failures{Nodes: -1, Zones: -1}
		}
		least.Nodes = min(least.Nodes, n)
		least.Zones = min(least.Zones, spareZones(pl, n, isUp, zones))
	}
	return least
}

// spareZones is how many zones may fail, whichever, if so many writers may.
func spareZones(pl ring.Placement, writers int, up func(ring.NodeID) bool, zones map[ring.NodeID]string) int {
	inZone := map[string]int{}
	eachWriter(pl, func(id ring.NodeID) {
		if up(id) {
			inZone[zones[id]]++
		}
	})
	sizes := make([]int, 0, len(inZone))
	for _, n := range inZone {
		sizes = append(sizes, n)
	}
	slices.Sort(sizes)
	for n := range sizes {
		if writers -= sizes[len(sizes)-1-n]; writers < 0 {
			return n
		}
	}
	return len(sizes)
}
