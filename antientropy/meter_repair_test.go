package antientropy

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
)

func TestRepairDoesWhatItWasAskedFor(t *testing.T) {
	inExCluster(t, 3, 8, 3, ExchangerOptions{}, func(t *testing.T, c *exCluster) { // not enabled
		size := c.differing(50, 100)
		c.start()
		time.Sleep(time.Hour)
		if c.log().calls["compare"] != 0 {
			t.Fatalf("%v though nobody asked for it", c.log().calls)
		}
		n := c.nodes[0]
		if s := n.x.RepairStatus(); s.ID != 0 || s.Running {
			t.Errorf("status %+v before the first repair", s)
		}
		none := uint32(8)
		if _, err := n.x.Repair(RepairRequest{Partition: &none}); !errors.Is(err, ErrNoPartition) {
			t.Errorf("partition 8 of 8: %v", err)
		}

		// One partition: of its two pairs node 0 begins both or none.
		partition := c.ref("key-00000").Partition &^ 1
		s, err := n.x.Repair(RepairRequest{Partition: &partition})
		if err != nil || s.ID != 1 || !s.Running || s.PairsTotal != 2 || !s.Started.Equal(time.Now()) {
			t.Fatalf("status %+v, %v", s, err)
		}
		if _, err := n.x.Repair(RepairRequest{}); !errors.Is(err, ErrRepairRunning) {
			t.Errorf("another repair: %v", err)
		}
		time.Sleep(3 * time.Second)
		s = n.x.RepairStatus()
		for _, shipped := range c.log().shipped {
			if shipped.ref.Partition != partition {
				t.Errorf("%v shipped for partition %d", shipped.ref, partition)
			}
		}
		if s.Running || s.PairsDone != 2 || s.KeysShipped != uint64(len(c.log().shipped)) || s.KeysShipped == 0 {
			t.Errorf("status %+v, %d shipped", s, len(c.log().shipped))
		}

		// One node.
		c.clearLog()
		s, err = n.x.Repair(RepairRequest{Node: c.nodes[1].id, Bucket: "b"})
		if err != nil || s.PairsTotal != 4 {
			t.Fatalf("status %+v, %v", s, err)
		}
		time.Sleep(3 * time.Second)
		for id := range c.shippedTo() {
			if id != c.nodes[1].id {
				t.Errorf("something was shipped to %s", id)
			}
		}

		// All, asked of each member.
		for _, n := range c.nodes {
			if _, err := n.x.Repair(RepairRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		c.equal()
		total := uint64(0)
		for _, n := range c.nodes {
			if s := n.x.RepairStatus(); s.Running || s.PairsDone != s.PairsTotal || len(s.Unreachable) > 0 {
				t.Errorf("status %+v", s)
			} else {
				total += s.BytesShipped
			}
		}
		if total == 0 || total > 2*uint64(size) {
			t.Errorf("%d bytes shipped, of %d twice at most", total, size)
		}
	})
}

// A repair ends also where a peer is down, fails or refuses, and names it.
func TestRepairGivesUnreachablePeersUp(t *testing.T) {
	inExCluster(t, 4, 8, 4, ExchangerOptions{}, func(t *testing.T, c *exCluster) {
		c.differing(50, 100)
		c.start()
		down, failing := c.nodes[1], c.nodes[2]
		c.kill(down)
		c.fault = func(_, to ring.NodeID, _ string) (time.Duration, error, error) {
			if to == failing.id {
				return 0, errLost, nil
			}
			return time.Millisecond, nil, nil
		}
		n := c.nodes[0]
		s, err := n.x.Repair(RepairRequest{})
		if err != nil || s.PairsTotal != 12 || !slices.Equal(s.Unreachable, []ring.NodeID{down.id}) {
			t.Fatalf("status %+v, %v", s, err)
		}
		time.Sleep(2 * time.Minute)
		s = n.x.RepairStatus()
		if s.Running || s.PairsDone != 4 || !slices.Equal(s.Unreachable, []ring.NodeID{down.id, failing.id}) {
			t.Errorf("status %+v", s)
		}
		down.start()
		synctest.Wait()
		c.change(func() { c.down[down.id], c.fault = false, nil })
		if s, err = n.x.Repair(RepairRequest{Node: n.id}); err != nil || s.PairsTotal != 12 || s.ID != 2 {
			t.Fatalf("status %+v, %v", s, err)
		}
		time.Sleep(time.Minute)
		if s = n.x.RepairStatus(); s.Running || s.PairsDone != 12 || len(s.Unreachable) != 0 {
			t.Errorf("status %+v", s)
		}
		n.stop()
		if _, err := n.x.Repair(RepairRequest{}); !errors.Is(err, ErrNotRunning) {
			t.Errorf("after the end: %v", err)
		}
	})
}
