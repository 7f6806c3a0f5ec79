package api

import (
	"cmp"
	"slices"
	"time"

	"starling/antientropy"
	"starling/gossip/state"
	"starling/ring"
)

// meter merges what the members report into one statement about every pair of
// owners. A pair is reported by both of its owners: the younger proof of the
// two counts, and it holds only where both say so, because each may know of
// something that has happened since and the other does not.
//
// Merging is commutative and associative: the order of the reports, and of the
// pairs within one, does not matter.
type meter struct {
	// pairs are those of the settled owners of every partition, in the order
	// of partition, a, b; those of partition p begin at first[p].
	pairs []meterPair
	first []int
	// answered are the members that have reported.
	answered map[ring.NodeID]bool
	blockers []antientropy.Blocker
	// tombstones, hints and filling are sums over the members.
	tombstones, hints int64
	filling           int
}

// meterPair is what is known of two owners of a partition, a before b.
type meterPair struct {
	partition int
	a, b      ring.NodeID
	// vouched: a, b have reported the pair; void: one of them did not vouch
	// for a proof.
	vouched [2]bool
	void    bool
	// proven: one of them has found the two equal; age is the time since.
	proven bool
	age    time.Duration
}

// holds: both owners vouch for a proof.
func (p *meterPair) holds() bool { return p.proven && !p.void && p.vouched[0] && p.vouched[1] }

// newMeter knows every pair, and nothing of any.
func newMeter(view *ring.View) *meter {
	partitions := view.Ring().Config().Partitions
	m := &meter{first: make([]int, partitions+1), answered: make(map[ring.NodeID]bool)}
	for p := range partitions {
		owners := slices.SortedFunc(slices.Values(view.Placement(p).Owners), ring.NodeID.Compare)
		for i, a := range owners {
			for _, b := range owners[i+1:] {
				m.pairs = append(m.pairs, meterPair{partition: p, a: a, b: b})
			}
		}
		m.first[p+1] = len(m.pairs)
	}
	return m
}

// add merges one member's report. Pairs that are none by this node's view are
// passed over: those of its own view, which nobody then vouches for, tell.
func (m *meter) add(node ring.NodeID, r *antientropy.Report) {
	m.answered[node] = true
	for i := range r.Pairs {
		said := &r.Pairs[i]
		if p, side := m.find(int(said.Partition), node, said.Peer); p != nil {
			p.hear(side, said)
		}
	}
	m.blockers = append(m.blockers, r.Blockers...)
	m.tombstones += r.Tombstones
	m.hints += r.Hints
	m.filling += r.Filling
}

// find answers the pair of node and peer, and which of the two node is; nil
// where there is no such pair.
func (m *meter) find(partition int, node, peer ring.NodeID) (p *meterPair, side int) {
	a, b := node, peer
	if node.Compare(peer) > 0 {
		a, b, side = peer, node, 1
	}
	if partition >= len(m.first)-1 {
		return nil, 0
	}
	for i := m.first[partition]; i < m.first[partition+1]; i++ {
		if m.pairs[i].a == a && m.pairs[i].b == b {
			return &m.pairs[i], side
		}
	}
	return nil, 0
}

// hear takes what one owner says.
func (p *meterPair) hear(side int, said *antientropy.Pair) {
	p.vouched[side] = true
	p.void = p.void || !said.Proven || !said.Holds
	if age := max(0, said.Age); said.Proven && (!p.proven || age < p.age) {
		p.proven, p.age = true, age
	}
}

// silent are the members that have not reported, in the order of their IDs:
// those that could not be asked and, whatever the asker says, all of the map
// but those that have left for good.
func (m *meter) silent(members state.Map, missing []ring.NodeID) []ring.NodeID {
	silent := slices.Clone(missing)
	for _, mem := range members.Members {
		silent = append(silent, mem.ID)
	}
	silent = slices.DeleteFunc(silent, func(id ring.NodeID) bool {
		mem, _ := members.Member(id)
		return m.answered[id] || mem.State == state.Removed
	})
	slices.SortFunc(silent, ring.NodeID.Compare)
	return slices.Compact(silent)
}

// count answers how many pairs do not hold, how many of these were never
// proven, and the age of the oldest proof.
func (m *meter) count() (stale, unproven int, oldest time.Duration) {
	for i := range m.pairs {
		p := &m.pairs[i]
		if !p.holds() {
			stale++
		}
		if !p.proven {
			unproven++
		}
		oldest = max(oldest, p.age)
	}
	return stale, unproven, oldest
}

// reasons are the blockers, each once, sorted.
func (m *meter) reasons() []antientropy.Blocker {
	sorted := slices.SortedFunc(slices.Values(m.blockers), func(a, b antientropy.Blocker) int {
		return cmp.Or(a.Node.Compare(b.Node), cmp.Compare(a.Reason, b.Reason))
	})
	return slices.Compact(sorted)
}
