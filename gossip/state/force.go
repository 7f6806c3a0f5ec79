package state

import (
	"slices"

	"starling/ring"
)

// Lost lists, ascending, the partitions that no member has settled: none of those that are left holds them completely.
func (m Map) Lost() (partitions []int) {
	for p := range int(m.Settings.Partitions) {
		if !slices.ContainsFunc(m.Members, func(r Member) bool { return r.Settled.Get(p) }) {
			partitions = append(partitions, p)
		}
	}
	return partitions
}

// Force is the map in which the removal of a member is marked as one by force, if the member is removed and some partitions
// are [Map.Lost]; else the map is unchanged. It is no matter whose complete copy of those was the last: who removes a
// member by force gives up what nobody has.
func (m Map) Force(id ring.NodeID) Map {
	r, _ := m.Member(id)
	if r.State != Removed || r.Forced || len(m.Lost()) == 0 {
		return m
	}
	r.Forced = true
	return m.With(r)
}

// GivenUp says whether a removal was marked by [Map.Force]. Once it is so it stays so, in every map that comes after. Then
// members may begin again, with what is left, with partitions that are [Map.Lost].
func (m Map) GivenUp() bool {
	return slices.ContainsFunc(m.Members, func(r Member) bool { return r.Forced })
}
