package gossip

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"starling/gossip/state"
)

// A removal by force is marked, in the same change, where nobody holds what is gone; all learn of it.
func TestRemoveByForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 4)
		eventually(t, 2*time.Second, "one map", agree(nodes, 4))
		g, idle, holder := nodes[1].g, nodes[3], nodes[0] // the first created the cluster and holds all
		if err := g.Remove(nodeID(9), true); !errors.Is(err, ErrUnknownMember) {
			t.Errorf("a stranger: %v", err)
		}
		if err := g.Remove(idle.self.ID, true); err != nil || g.Map().GivenUp() {
			t.Errorf("one that holds nothing: %v, given up %v", err, g.Map().GivenUp())
		}
		_ = idle.wait()
		saves := nodes[1].saves
		if err := g.Remove(holder.self.ID, true); err != nil || nodes[1].saves != saves+1 {
			t.Errorf("the last that holds anything: %v, %d changes, want one", err, nodes[1].saves-saves)
		}
		m := nodes[1].saved()
		if r, _ := m.Member(holder.self.ID); r.State != state.Removed || !r.Forced || r.Fence != m.Fence() || m.Fence() != 2 {
			t.Errorf("saved %+v", r)
		}
		_ = holder.wait()
		eventually(t, 2*time.Second, "the others know", nodes[2].g.Map().GivenUp)
		if err := g.Remove(holder.self.ID, true); err != nil || nodes[1].saves != saves+1 {
			t.Errorf("again: %v, %d changes", err, nodes[1].saves-saves)
		}
		if err := g.Update(func(m *state.Member) { m.State, m.Forced = state.Removed, true }); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("by itself: %v", err)
		}
		leaveAll([]*node{nodes[1], nodes[2]})
	})
}

// What was lost without a mark, as by two removals that did not know of each other, is given up by asking again.
func TestForceAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 3)
		eventually(t, 2*time.Second, "one map", agree(nodes, 3))
		g, holder := nodes[1].g, nodes[0]
		if err := g.Remove(holder.self.ID, false); err != nil || g.Map().GivenUp() || len(g.Map().Lost()) == 0 {
			t.Errorf("without force: %v, given up %v, lost %v", err, g.Map().GivenUp(), g.Map().Lost())
		}
		_ = holder.wait()
		fence := g.Map().Fence()
		if err := g.Remove(holder.self.ID, true); err != nil || !g.Map().GivenUp() || g.Map().Fence() != fence {
			t.Errorf("with force: %v, given up %v", err, g.Map().GivenUp())
		}
		leaveAll(nodes[1:])
	})
}

// A replacement by force is marked like a removal.
func TestReplaceByForce(t *testing.T) {
	for _, force := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			nodes := cluster(t, newNetwork(t), 3)
			eventually(t, 2*time.Second, "one map", agree(nodes, 3))
			g := nodes[1].g
			nodes[0].crash()
			if err := g.Replace(nodes[0].self.ID, nodes[2].self.ID, force); err != nil || g.Map().GivenUp() != force {
				t.Errorf("force %v: %v, given up %v", force, err, g.Map().GivenUp())
			}
			leaveAll(nodes[1:])
		})
	}
}
