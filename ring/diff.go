package ring

import "slices"

// Move is how the targets of one partition differ between two rings.
type Move struct {
	Partition int
	Gain      []NodeID // targets of the second ring only, in its order
	Lose      []NodeID // targets of the first ring only, in its order
}

// Diff lists the partitions, ascending, whose target sets differ from one ring to another. Rings of different
// partition counts have no partition in common: Diff of them is nil.
func Diff(from, to *Ring) []Move {
	if from.cfg.Partitions != to.cfg.Partitions {
		return nil
	}
	var moves []Move
	for p := range from.cfg.Partitions {
		gain := without(to.Targets(p), from.Targets(p))
		lose := without(from.Targets(p), to.Targets(p))
		if len(gain)+len(lose) > 0 {
			moves = append(moves, Move{Partition: p, Gain: gain, Lose: lose})
		}
	}
	return moves
}

// without is a minus b, nil if nothing is left.
func without(a, b []NodeID) []NodeID {
	var rest []NodeID
	for _, id := range a {
		if !slices.Contains(b, id) {
			rest = append(rest, id)
		}
	}
	return rest
}
