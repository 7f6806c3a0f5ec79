package gossip

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/gossip/state"
)

func TestRestoredDirectoryStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 3)
		eventually(t, 2*time.Second, "one map", agree(nodes, 3))
		backup, boot := nodes[1].saved(), nodes[1].self.Boot
		for range 3 {
			nodes[1].crash()
			nodes[1].start()
		}
		eventually(t, 2*time.Second, "one map", agree(nodes, 3))
		nodes[1].crash()
		nodes[1].disk, nodes[1].self.Boot = backup, boot
		nodes[1].start()
		wantLostTime(t, nodes[1].wait())
		if err := nodes[1].g.Update(func(m *state.Member) { m.Zone = "z" }); !errors.Is(err, ErrLostTime) {
			t.Errorf("Update afterwards: %v", err)
		}
		leaveAll([]*node{nodes[0], nodes[2]})
	})
}

func wantLostTime(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrLostTime) || !strings.Contains(err.Error(), "empty data directory") {
		t.Fatalf("got %v", err)
	}
}

func TestOwnMapShowsLostTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newNode(t, newNetwork(t), 1)
		later := d.self
		later.State, later.Boot, later.Version = state.Active, 9, state.FirstVersion(9)
		d.disk = state.Map{Settings: testSettings()}.With(later)
		wantLostTime(t, d.tryStart())
	})
}

// TestCopiedDirectoryStops: two processes have one identity and one boot counter. At least one must stop.
func TestCopiedDirectoryStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 3)
		eventually(t, 2*time.Second, "one map", agree(nodes, 3))
		nodes[2].crash()
		twin := newNode(t, net, 3)
		twin.disk, twin.self.Boot = nodes[2].saved(), nodes[2].self.Boot
		twin.move(30)
		twin.start()
		nodes[2].start()
		stopped, other := nodes[2], twin
		select {
		case <-nodes[2].done:
		case <-twin.done:
			stopped, other = twin, nodes[2]
		case <-time.After(time.Minute):
			t.Fatal("both run")
		}
		wantLostTime(t, stopped.wait())
		select {
		case <-other.done:
			wantLostTime(t, other.wait())
		case <-time.After(time.Minute):
			leaveAll([]*node{other})
		}
		leaveAll(nodes[:2])
	})
}

func TestRemovedNodeStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 3)
		eventually(t, 2*time.Second, "one map", agree(nodes, 3))
		if err := nodes[0].g.Advance(nodes[2].self.ID, state.Removed); err != nil {
			t.Fatal(err)
		}
		err := nodes[2].wait()
		if !errors.Is(err, ErrRemoved) || !strings.Contains(err.Error(), "empty data directory") {
			t.Fatalf("got %v", err)
		}
		if err := nodes[2].tryStart(); !errors.Is(err, ErrRemoved) {
			t.Fatalf("started again: %v", err)
		}
		eventually(t, time.Second, "one map", agree(nodes[:2], 3))
		if r, _ := nodes[1].g.Map().Member(nodes[2].self.ID); r.State != state.Removed {
			t.Fatalf("got %+v", r)
		}
		leaveAll(nodes[:2])
	})
}

func TestNodeRemovesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 3)
		eventually(t, 2*time.Second, "one map", func() bool { return agree(nodes, 3)() && alive(nodes)() })
		if err := nodes[2].g.Update(func(m *state.Member) { m.State = state.Removed }); err != nil {
			t.Fatal(err)
		}
		if err := nodes[2].wait(); !errors.Is(err, ErrRemoved) {
			t.Fatalf("got %v", err)
		}
		for _, d := range nodes[:2] {
			if r, _ := d.g.Map().Member(nodes[2].self.ID); r.State != state.Removed {
				t.Errorf("%s was not told: %v", d.self.Name, r.State)
			}
		}
		leaveAll(nodes[:2])
	})
}

// TestForeignClusterIsRefused: an address of this cluster was given to a node of another one.
func TestForeignClusterIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 2)
		eventually(t, 2*time.Second, "one map", agree(nodes, 2))
		nodes[1].crash()
		stranger := newNode(t, net, 9)
		stranger.move(2)
		other := testSettings()
		other.Cluster = [16]byte{0xc2}
		stranger.foundWith(other)
		before := nodes[0].g.MapHash()
		_, err := nodes[0].g.Merge(stranger.g.Map())
		if !errors.Is(err, state.ErrForeignCluster) {
			t.Fatalf("got %v", err)
		}
		if err := nodes[0].g.Refresh(t.Context(), nodes[1].self.ID); !errors.Is(err, state.ErrForeignCluster) {
			t.Fatalf("refresh from a stranger: %v", err)
		}
		if got := testutil.ToFloat64(nodes[0].g.metrics.exchangeRefused); got < 1 {
			t.Error("no refused exchange counted")
		}
		time.Sleep(2 * time.Minute)
		if nodes[0].g.MapHash() != before || len(stranger.g.Map().Members) != 1 || len(stranger.g.Peers()) != 0 {
			t.Fatal("the clusters have mixed")
		}
		leaveAll([]*node{nodes[0], stranger})
	})
}
