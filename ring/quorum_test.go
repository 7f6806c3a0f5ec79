package ring

import (
	"fmt"
	"math/bits"
	"testing"
)

// modelNodes is the size of the exhaustive model: all views that this many nodes can have of one partition.
const modelNodes = 5

// lists are the lists of a placement as sets of nodes, one bit each, and the settled nodes they come from.
type lists struct{ settled, owners, pending, displaced uint }

func (l lists) writers() uint { return l.owners | l.pending | l.displaced }
func (l lists) extra() int    { return bits.OnesCount(l.pending | l.displaced) }

// allLists are the placements of NewView for every order of the nodes, number of targets and set of settled nodes.
func allLists(t *testing.T, replicas int) []lists {
	members := mustNew(t, Config{1, replicas}, equals(1, modelNodes)).members
	number := map[NodeID]uint{}
	ids := make([]NodeID, modelNodes)
	for i, m := range members {
		ids[i], number[m.ID] = m.ID, 1<<i
	}
	set := func(ids []NodeID) (s uint) {
		for _, id := range ids {
			s |= number[id]
		}
		return s
	}
	seen := map[lists]bool{}
	var all []lists
	permute(modelNodes, func(order []uint16) {
		for width := range replicas + 1 {
			r := &Ring{cfg: Config{1, replicas}, members: members, ids: ids, width: width, order: order}
			for settled := range uint(1 << modelNodes) {
				pl := NewView(r, func(id NodeID, _ int) bool { return number[id]&settled != 0 }).Placement(0)
				l := lists{settled, set(pl.Owners), set(pl.Pending), set(pl.Displaced)}
				if !seen[l] {
					seen[l] = true
					all = append(all, l)
				}
			}
		}
	})
	return all
}

// permute calls use with every order of the numbers below n.
func permute(n int, use func([]uint16)) {
	order := make([]uint16, 0, n)
	var extend func()
	extend = func() {
		if len(order) == n {
			use(order)
			return
		}
	next:
		for i := range uint16(n) {
			for _, taken := range order {
				if taken == i {
					continue next
				}
			}
			order = append(order, i)
			extend()
			order = order[:len(order)-1]
		}
	}
	extend()
}

// missed looks for a read that misses a write: R+W > N, the write acknowledged by W+extra of the writers, the read
// answered by R of the voters, none of whom acknowledged.
func missed(replicas int, writers uint, extra int, voters uint) error {
	for w := 1; w <= replicas; w++ {
		r := replicas + 1 - w
		for acks := range uint(1 << modelNodes) {
			if acks&^writers == 0 && bits.OnesCount(acks) == w+extra && bits.OnesCount(voters&^acks) >= r {
				return fmt.Errorf("W=%d acknowledged by %05b, R=%d answered by %05b", w, acks, r, voters&^acks)
			}
		}
	}
	return nil
}

// TestQuorumsMeet checks the two statements of doc.go over all pairs of placements.
func TestQuorumsMeet(t *testing.T) {
	for replicas := 1; replicas <= 3; replicas++ {
		all := allLists(t, replicas)
		for _, write := range all {
			for _, read := range all {
				// The reader is behind: whoever changed its bit since refuses, since its own stamp differs.
				if err := missed(replicas, write.writers(), write.extra(), read.owners&^(read.settled^write.settled)); err != nil {
					t.Fatalf("N=%d, written under %05b, read under the older %05b: %v", replicas, write, read, err)
				}
				// The reader is ahead: the writer saw as pending whoever settled since.
				if read.settled&^write.settled&^write.pending != 0 {
					continue
				}
				if err := missed(replicas, write.writers(), write.extra(), read.owners); err != nil {
					t.Fatalf("N=%d, written under %05b, read under the newer %05b: %v", replicas, write, read, err)
				}
			}
		}
	}
}

// TestDisplacedNodesMatter: if writes left the displaced nodes out, a change of the ring alone could hide them.
func TestDisplacedNodesMatter(t *testing.T) {
	all := allLists(t, 3)
	for _, write := range all {
		for _, read := range all {
			if read.settled == write.settled && missed(3, write.owners|write.pending, bits.OnesCount(write.pending), read.owners) != nil {
				return
			}
		}
	}
	t.Error("no read misses a write that spares the displaced nodes: are they needed?")
}

// TestConfirmedBeforeSettling: a node that was confirmed as pending by a majority C of the owners, and then copied from
// them, missed no write of a majority W whose coordinator did not know of it.
func TestConfirmedBeforeSettling(t *testing.T) {
	for n := 1; n <= MaxReplicas; n++ {
		owners := uint(1)<<n - 1
		for confirmed := range owners + 1 {
			for acks := range owners + 1 {
				if bits.OnesCount(confirmed) <= n/2 || bits.OnesCount(acks) <= n/2 {
					continue
				}
				if acks&confirmed == 0 {
					t.Errorf("N=%d: a write before, acknowledged by %b, is not copied from %b", n, acks, confirmed)
				}
				if bits.OnesCount(owners&^confirmed) > n/2 {
					t.Errorf("N=%d: a write after is not refused by enough of %b", n, confirmed)
				}
			}
		}
	}
}
