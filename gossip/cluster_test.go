package gossip

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"starling/gossip/state"
)

func TestNodesConverge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 5)
		eventually(t, 2*time.Second, "one map, all alive", func() bool { return agree(nodes, 5)() && alive(nodes)() })
		for _, d := range nodes {
			if got := len(d.g.Peers()); got != 4 {
				t.Errorf("%s lists %d peers", d.self.Name, got)
			}
		}
		leaveAll(nodes)
	})
}

func TestUpdateReachesAllAndTheirDisks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 5)
		eventually(t, 2*time.Second, "one map", agree(nodes, 5))
		for _, d := range nodes {
			drain(d.g.Changes())
		}
		if err := nodes[3].g.Update(func(m *state.Member) { m.Settled = m.Settled.With(7) }); err != nil {
			t.Fatal(err)
		}
		eventually(t, 500*time.Millisecond, "the bit is known everywhere", func() bool {
			for _, d := range nodes {
				r, _ := d.saved().Member(nodes[3].self.ID)
				if !r.Settled.Get(7) {
					return false
				}
			}
			return agree(nodes, 5)()
		})
		for _, d := range nodes {
			select {
			case <-d.g.Changes():
			default:
				t.Errorf("%s: no token in Changes", d.self.Name)
			}
		}
		leaveAll(nodes)
	})
}

// TestHashIsAnnounced: a node that could give its map to nobody still tells that it has another one.
func TestHashIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 3)
		eventually(t, 2*time.Second, "one map, all alive", func() bool { return agree(nodes, 3)() && alive(nodes)() })
		for _, d := range nodes {
			net.serve(d.self.RPC, nil)
		}
		if err := nodes[0].g.Update(func(m *state.Member) { m.Zone = "z" }); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Second, "both know its hash", func() bool {
			a, _ := nodes[1].g.table.peer(nodes[0].self.ID)
			b, _ := nodes[2].g.table.peer(nodes[0].self.ID)
			return a.MapHash == nodes[0].g.MapHash() && b.MapHash == nodes[0].g.MapHash()
		})
		leaveAll(nodes)
	})
}

// TestUpdateCostsFewExchanges: each of the others is told once, and as a rule by nobody else.
func TestUpdateCostsFewExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 5)
		eventually(t, 2*time.Second, "one map, all alive", func() bool { return agree(nodes, 5)() && alive(nodes)() })
		time.Sleep(10 * time.Second)
		before := net.served()
		for p := range 20 {
			if err := nodes[p%5].g.Update(func(m *state.Member) { m.Settled = m.Settled.With(p / 5) }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1037 * time.Millisecond) // not in step with memberlist's tickers
		}
		// The founder's four updates change nothing: 16 times 4, and the random exchanges of 20 seconds.
		if got := net.served() - before; got < 64 || got > 100 {
			t.Errorf("%d exchanges, want about 74", got)
		}
		leaveAll(nodes)
	})
}

func drain(ch <-chan struct{}) {
	select {
	case <-ch:
	default:
	}
}

// settleAll has every node settle its partitions one by one, all nodes at once.
func settleAll(t *testing.T, nodes []*node) {
	var wg sync.WaitGroup
	for _, d := range nodes {
		wg.Go(func() {
			for p := range 16 {
				if err := d.g.Update(func(m *state.Member) { m.Settled = m.Settled.With(p) }); err != nil {
					t.Error(err)
				}
				time.Sleep(3 * time.Millisecond)
			}
		})
	}
	wg.Wait()
}

func allSettled(nodes []*node) func() bool {
	return func() bool {
		for _, r := range nodes[0].g.Map().Members {
			if r.Settled.Count() != 16 {
				return false
			}
		}
		return true
	}
}

func TestConcurrentUpdatesConverge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 5)
		settleAll(t, nodes)
		eventually(t, time.Second, "one map", agree(nodes, 5))
		if !allSettled(nodes)() {
			t.Fatalf("lost updates: %+v", nodes[0].g.Map())
		}
		leaveAll(nodes)
	})
}

func TestConvergenceSurvivesPacketLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 5)
		eventually(t, 2*time.Second, "all alive", alive(nodes))
		net.setLoss(0.3)
		time.Sleep(time.Minute)
		settleAll(t, nodes)
		eventually(t, 15*time.Second, "one map", func() bool { return agree(nodes, 5)() && allSettled(nodes)() })
		net.setLoss(0)
		eventually(t, time.Minute, "all alive", alive(nodes))
		leaveAll(nodes)
	})
}

// TestIdleClusterIsQuiet: equal maps are left alone, but for the net below.
func TestIdleClusterIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 5)
		eventually(t, 2*time.Second, "one map", agree(nodes, 5))
		time.Sleep(10 * time.Second)
		before := net.served()
		time.Sleep(100 * time.Second)
		// Five nodes, one exchange in ten seconds each.
		if got := net.served() - before; got < 40 || got > 60 {
			t.Fatalf("%d exchanges in 100 s, want about 50", got)
		}
		leaveAll(nodes)
	})
}

func TestLongPartitionHeals(t *testing.T) {
	for _, tc := range []struct {
		nodes, cut int
		lasts      time.Duration
	}{{3, 1, 2 * time.Hour}, {5, 2, 3 * time.Minute}} {
		t.Run(fmt.Sprintf("%d of %d", tc.cut, tc.nodes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { partitionHeals(t, tc.nodes, tc.cut, tc.lasts) })
		})
	}
}

func partitionHeals(t *testing.T, n, cut int, lasts time.Duration) {
	net := newNetwork(t)
	nodes := cluster(t, net, n)
	eventually(t, 2*time.Second, "one map, all alive", func() bool { return agree(nodes, n)() && alive(nodes)() })
	var hosts []string
	for _, d := range nodes[:cut] {
		hosts = append(hosts, d.ip)
	}
	net.split(hosts...)
	left, right := nodes[0], nodes[n-1]
	eventually(t, time.Minute, "the sides believe each other dead", func() bool {
		return !left.g.Alive(right.self.ID) && !right.g.Alive(left.self.ID)
	})
	time.Sleep(lasts)
	for _, d := range []*node{left, right} {
		if err := d.g.Update(func(m *state.Member) { m.Zone = "changed" }); err != nil {
			t.Fatal(err)
		}
	}
	if err := right.g.Advance(left.self.ID, state.Leaving); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	if got, _ := right.g.Map().Member(left.self.ID); got.Zone != "" {
		t.Fatal("the partition leaks")
	}
	net.split()
	eventually(t, 30*time.Second, "one map, all alive", func() bool { return agree(nodes, n)() && alive(nodes)() })
	a, _ := right.g.Map().Member(left.self.ID)
	b, _ := left.g.Map().Member(right.self.ID)
	if a.Zone != "changed" || a.State != state.Leaving || b.Zone != "changed" {
		t.Fatalf("not merged: %+v, %+v", a, b)
	}
	leaveAll(nodes)
}

func TestLiveness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 5)
		eventually(t, 2*time.Second, "one map, all alive", func() bool { return agree(nodes, 5)() && alive(nodes)() })
		before := nodes[0].g.MapHash()
		if err := nodes[4].leave(); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Second, "a node that said goodbye is not alive", func() bool {
			return !nodes[0].g.Alive(nodes[4].self.ID) && !nodes[1].g.Alive(nodes[4].self.ID)
		})
		nodes[3].crash()
		eventually(t, 20*time.Second, "a crashed node is not alive", func() bool { return !nodes[0].g.Alive(nodes[3].self.ID) })
		if nodes[0].g.MapHash() != before {
			t.Fatal("a death changed the cluster map")
		}
		leaveAll(nodes[:3])
	})
}

// A node that starts holds nobody for down before it has looked.
func TestDownOnlyAfterALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 4)
		eventually(t, 2*time.Second, "one map, all alive", func() bool { return agree(nodes, 4)() && alive(nodes)() })
		back, gone := nodes[0], nodes[3]
		gone.crash()
		eventually(t, 20*time.Second, "a crashed node is not alive", func() bool { return !nodes[1].g.Alive(gone.self.ID) })
		if err := back.leave(); err != nil {
			t.Fatal(err)
		}
		back.start()
		eventually(t, time.Second, "who is not found is down", func() bool {
			for _, d := range nodes[:3] {
				if back.g.Down(d.self.ID) {
					t.Fatalf("%s is down, and it runs", d.self.Name)
				}
			}
			return back.g.Down(gone.self.ID)
		})
		leaveAll(nodes[:3])
	})
}

func TestRestartUnderANewAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 3)
		eventually(t, 2*time.Second, "one map", agree(nodes, 3))
		nodes[1].crash()
		nodes[1].move(77)
		nodes[1].start()
		eventually(t, 3*time.Second, "one map with the new address", func() bool {
			r, _ := nodes[0].g.Map().Member(nodes[1].self.ID)
			return r.RPC == "10.0.0.77:4701" && r.Boot == 2 && agree(nodes, 3)() && alive(nodes)()
		})
		// The old start of the node dies, the node does not.
		for range 30 {
			time.Sleep(time.Second)
			if !alive(nodes)() {
				t.Fatal("the node is not alive")
			}
		}
		leaveAll(nodes)
	})
}

// TestAllMove: no persisted address is of use, but a join address is.
func TestAllMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 3)
		eventually(t, 2*time.Second, "one map", agree(nodes, 3))
		for _, d := range nodes {
			d.crash()
		}
		for i, d := range nodes {
			d.move(50 + i)
			d.seeds = []string{"10.0.0.99", "10.0.0.50:4702"}
			d.start()
		}
		eventually(t, 20*time.Second, "one map, all alive", func() bool { return agree(nodes, 3)() && alive(nodes)() })
		leaveAll(nodes)
	})
}

func TestWholeClusterRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 5)
		eventually(t, 2*time.Second, "one map", agree(nodes, 5))
		for _, d := range nodes {
			d.crash()
		}
		for _, d := range nodes {
			d.start()
		}
		eventually(t, 3*time.Second, "one map, all alive", func() bool { return agree(nodes, 5)() && alive(nodes)() })
		leaveAll(nodes)
	})
}
