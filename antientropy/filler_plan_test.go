package antientropy

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"starling/ring"
)

// shortView is a view of three members of which only the first, or what settled
// says, has settled: there are fewer owners than N.
func shortView(t *testing.T, members []ring.Member, settled ...ring.NodeID) *ring.View {
	t.Helper()
	r, err := ring.New(ring.Config{Partitions: partitions, Replicas: 3}, members)
	if err != nil {
		t.Fatal(err)
	}
	return ring.NewView(r, func(id ring.NodeID, _ int) bool { return slices.Contains(settled, id) })
}

func threeMembers() []ring.Member {
	var members []ring.Member
	for i := range byte(3) {
		members = append(members, ring.Member{ID: ring.NodeID{15: i + 1}, Weight: 100})
	}
	return members
}

// Where quorums grow with each node that settles, the pending nodes settle one by
// one, and each waits for the others to agree.
func TestPendingNodesComeOneByOneWhereOwnersAreFew(t *testing.T) {
	members := threeMembers()
	owner, a, b := members[0].ID, members[1].ID, members[2].ID
	v := shortView(t, members, owner)
	for part := range partitions {
		pl := v.Placement(part)
		first, second := pl.Pending[0], pl.Pending[1]
		claim := Claim{Partition: uint32(part), Stamp: pl.Stamp}
		if p := newPlan(v, second, nil, false); p.owners[claim.Partition] != 0 {
			t.Fatalf("partition %d: %v would settle before %v", part, second, first)
		}
		p := newPlan(v, first, nil, false)
		p.heard(owner, p.claims[owner])
		if slices.Contains(p.ready(), claim.Partition) {
			t.Fatalf("partition %d: ready without the other pending node", part)
		}
		p.heard(second, p.claims[second])
		if !slices.Contains(p.ready(), claim.Partition) || len(p.confirmed[claim.Partition]) != 1 {
			t.Fatalf("partition %d: not ready though all agreed, or copied from one that is pending", part)
		}
		p = newPlan(v, first, nil, false)
		p.heard(owner, p.claims[owner])
		p.heard(second, nil)
		if slices.Contains(p.ready(), claim.Partition) {
			t.Fatalf("partition %d: ready though the other pending node goes by another placement", part)
		}
	}
	if full := shortView(t, members, owner, a, b); len(newPlan(full, a, nil, false).owners) != 0 {
		t.Fatal("there is a plan where nothing is pending")
	}
}

// clearing is the membership of a node that is displaced; it notes what is asked
// of it.
type clearing struct {
	Membership
	cleared []Claim
}

func (c *clearing) Alive(ring.NodeID) bool { return true }

func (c *clearing) SetSettled(claims []Claim, settled bool) ([]Claim, error) {
	if settled {
		return nil, errors.New("set, and not cleared")
	}
	c.cleared = append(c.cleared, claims...)
	return claims, nil
}

// agreeing peers confirm everything.
type agreeing struct{ Peers }

func (agreeing) Confirm(_ context.Context, _ ring.NodeID, claims []Claim) ([]Claim, error) {
	return claims, nil
}

// Where quorums shrink with each node that goes, it hands over first what the
// others lack.
func TestAVoteIsGivenUpAfterHandingOverWhereOwnersAreFew(t *testing.T) {
	members := threeMembers()
	self := members[2].ID
	members[2].Draining = true
	v := shortView(t, members, members[0].ID, members[1].ID, self)
	if len(v.Displaced(self)) != partitions {
		t.Fatal("the leaver is not displaced")
	}
	broken := v.Displaced(self)[0]
	m := &clearing{}
	var mu sync.Mutex // several are handed over at once
	var handed []int
	f := &Filler{opts: FillerOptions{Self: self, Membership: m, Peers: agreeing{}, CallTimeout: DefaultCallTimeout,
		HandOver: func(_ context.Context, c Claim, owners []ring.NodeID) error {
			if int(c.Partition) == broken {
				return errors.New("an owner is down")
			}
			if !slices.Equal(owners, v.Placement(int(c.Partition)).Owners) {
				t.Errorf("handed over to %v", owners)
			}
			if slices.Contains(m.cleared, c) {
				t.Error("handed over after the vote was given up")
			}
			mu.Lock()
			defer mu.Unlock()
			handed = append(handed, int(c.Partition))
			return nil
		}}}
	f.opts.Logger = slog.New(slog.DiscardHandler)
	if err := f.release(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	if len(handed) != partitions-1 || len(m.cleared) != partitions-1 {
		t.Fatalf("%d handed over, %d given up, of %d of which one cannot be", len(handed), len(m.cleared), partitions)
	}
	m.cleared = nil
	f.opts.HandOver = nil
	if err := f.release(t.Context(), v); err != nil || len(m.cleared) > 0 {
		t.Fatalf("%d given up without handing over, %v", len(m.cleared), err)
	}
}
