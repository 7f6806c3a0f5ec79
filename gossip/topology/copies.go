package topology

import (
	"fmt"
	"slices"

	"starling/gossip/state"
	"starling/ring"
)

// majority is the smallest number of n owners that any two such choices share one of; it is 1 of none, which cannot be
// had.
func majority(n int) int { return n/2 + 1 }

// Removal is what becomes of complete copies if the member dead goes for good, by a removal or a replacement. alive may
// be nil: all are. It is [ErrChange] if dead is unknown or removed already.
func Removal(m state.Map, dead ring.NodeID, alive func(ring.NodeID) bool) (Verdict, error) {
	e := edit{m: m, fate: map[ring.NodeID]string{}}
	if err := e.end(dead, state.Removed, "removed"); err != nil {
		return Verdict{}, fmt.Errorf("%w: %w", ErrChange, err)
	}
	return losses(m, e.m, Facts{Alive: alive}.alive), nil
}

func (f Facts) alive(id ring.NodeID) bool { return f.Alive == nil || f.Alive(id) }

// losses compares the complete copies of two maps.
func losses(before, after state.Map, alive func(ring.NodeID) bool) (v Verdict) {
	q := int(before.Settings.Partitions)
	hit := make([]bool, q)
	for _, r := range gone(before, after) {
		for p := range q {
			hit[p] = hit[p] || r.Settled.Get(p)
		}
	}
	need := majority(int(before.Settings.Replicas))
	staying := present(after)
	up := make([]bool, len(staying))
	for i, r := range staying {
		up[i] = alive(r.ID)
	}
	for p := range q {
		if !hit[p] {
			continue
		}
		copies, reachable := 0, 0
		for i, r := range staying {
			if r.Settled.Get(p) {
				copies++
				if up[i] {
					reachable++
				}
			}
		}
		switch {
		case copies == 0:
			v.Lost = append(v.Lost, p)
		case copies < need:
			v.AtRisk = append(v.AtRisk, p)
		case reachable == 0:
			v.Unreachable = append(v.Unreachable, p)
		}
	}
	return v
}

// gone are the records, as they were before, of members that are removed after.
func gone(before, after state.Map) []state.Member {
	return slices.DeleteFunc(present(before), func(r state.Member) bool {
		now, ok := after.Member(r.ID)
		return ok && now.State != state.Removed
	})
}

// empty lists the partitions without any complete copy.
func empty(v *ring.View) (partitions []int) {
	for p := range v.Ring().Config().Partitions {
		if len(v.Placement(p).Owners) == 0 {
			partitions = append(partitions, p)
		}
	}
	return partitions
}
