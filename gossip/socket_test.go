package gossip

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"starling/gossip/state"
)

// TestRealSockets is the one test of the real network, on loopback. RPC is a function call.
func TestRealSockets(t *testing.T) {
	var mu sync.Mutex
	byRPC := map[string]*Gossip{}
	rpc := exchangeFunc(func(_ context.Context, addr string, mine state.Map) (state.Map, error) {
		mu.Lock()
		g := byRPC[addr]
		mu.Unlock()
		return g.Merge(mine)
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var nodes []*Gossip
	var m state.Map
	for i := range 3 {
		self := state.Member{ID: nodeID(i + 1), Name: "n", Weight: 100, Boot: 1, Gossip: "127.0.0.1:0"}
		self.Name += self.ID.String()
		self.RPC = self.Name + ":4701"
		if i == 0 {
			var err error
			if m, err = NewCluster(testSettings(), self); err != nil {
				t.Fatal(err)
			}
		} else {
			m = nodes[0].Map()
		}
		g, err := New(Options{Self: self, Map: m, Save: func(state.Map) error { return nil }, Exchanger: rpc,
			Bind: "127.0.0.1:0", RejoinInterval: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if _, port, _ := net.SplitHostPort(g.Addr()); port == "0" || !strings.HasPrefix(g.Addr(), "127.0.0.1:") {
			t.Fatalf("advertises %s", g.Addr())
		}
		mu.Lock()
		byRPC[self.RPC] = g
		mu.Unlock()
		nodes = append(nodes, g)
		running.Go(func() {
			if err := g.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	converged := func() bool {
		for _, g := range nodes {
			if len(g.Peers()) != 2 || len(g.Map().Members) != 3 || g.MapHash() != nodes[0].MapHash() {
				return false
			}
		}
		return true
	}
	eventually(t, 10*time.Second, "one map, all alive", converged)
	if err := nodes[2].Update(func(m *state.Member) { m.Zone = "z" }); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the update is known", func() bool {
		r, _ := nodes[0].Map().Member(nodeID(3))
		return r.Zone == "z" && converged()
	})
	if took, err := nodes[0].Reach(ctx, nodeID(2)); err != nil || took <= 0 || took > 500*time.Millisecond {
		t.Errorf("a packet to a live member: %v, %v", took, err)
	}
	if _, err := nodes[0].Reach(ctx, nodeID(9)); !errors.Is(err, ErrUnknownMember) {
		t.Errorf("a packet to nobody: %v", err)
	}
	cancel()
	running.Wait()
	if _, err := nodes[0].Reach(t.Context(), nodeID(2)); err == nil {
		t.Error("a node that has stopped reaches others")
	}
	rebind(t, nodes[0].Addr())
}

// rebind shows that a gossip address is free again.
func rebind(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("not released: %v", err)
	}
	_ = l.Close()
}

func TestCloseReleasesTheAddress(t *testing.T) {
	self := state.Member{ID: nodeID(1), Name: "n1", Weight: 100, Boot: 1}
	m, err := NewCluster(testSettings(), self)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Self: self, Map: m, Save: func(state.Map) error { return nil },
		Exchanger: exchangeFunc(nil), Bind: "localhost:0"}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	// A connection that nobody takes must not keep Close.
	c, err := net.Dial("tcp", g.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	rebind(t, g.Addr())
	if err := g.Run(t.Context()); !errors.Is(err, ErrStopped) {
		t.Fatalf("Run after Close: %v", err)
	}
}
