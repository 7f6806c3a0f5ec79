package gossip

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/gossip/state"
	"starling/ring"
)

var errDisk = errors.New("disk full")

func (d *node) breakDisk(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saveErr = err
}

func TestUpdateRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 2)
		eventually(t, time.Second, "one map", agree(nodes, 2))
		g := nodes[0].g
		for _, tc := range []struct {
			what   string
			change func(*state.Member)
			want   error
		}{
			{"ID", func(m *state.Member) { m.ID[0]++ }, state.ErrInvalid},
			{"Boot", func(m *state.Member) { m.Boot++ }, state.ErrInvalid},
			{"Version", func(m *state.Member) { m.Version++ }, state.ErrInvalid},
			{"heir", func(m *state.Member) { m.State, m.Heir = state.Removed, nodeID(2) }, state.ErrInvalid},
			{"backwards", func(m *state.Member) { m.State = state.Joining }, state.ErrInvalid},
			{"weight", func(m *state.Member) { m.Weight = 0 }, state.ErrInvalid},
			{"taken name", func(m *state.Member) { m.Name = "n2" }, state.ErrNameTaken},
		} {
			before := g.MapHash()
			if err := g.Update(tc.change); !errors.Is(err, tc.want) {
				t.Errorf("%s: got %v", tc.what, err)
			}
			if g.MapHash() != before {
				t.Errorf("%s: refused, and changed the map", tc.what)
			}
		}
		saves := nodes[0].saves
		if err := g.Update(func(m *state.Member) { m.Zone = "" }); err != nil || nodes[0].saves != saves {
			t.Errorf("a change of nothing: %v, %d saves", err, nodes[0].saves-saves)
		}
		old, _ := g.Map().Member(nodes[0].self.ID)
		if err := g.Update(func(m *state.Member) { m.Zone = "z"; m.State = state.Leaving }); err != nil {
			t.Fatal(err)
		}
		got, _ := g.Map().Member(nodes[0].self.ID)
		if got.Zone != "z" || got.State != state.Leaving || got.Version != old.Version+1 {
			t.Errorf("got %+v after %+v", got, old)
		}
	})
}

func TestAdvanceRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 2)
		eventually(t, time.Second, "one map", agree(nodes, 2))
		g, id := nodes[0].g, nodes[1].self.ID
		if err := g.Advance(nodeID(9), state.Leaving); !errors.Is(err, ErrUnknownMember) {
			t.Errorf("a stranger: %v", err)
		}
		if err := g.Advance(id, 7); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("state 7: %v", err)
		}
		if err := g.Advance(id, state.Leaving); err != nil {
			t.Error(err)
		}
		if err := g.Advance(id, state.Active); err != nil {
			t.Errorf("a member that is beyond that: %v", err)
		}
		if r, _ := g.Map().Member(id); r.State != state.Leaving || r.Version>>32 != 1 {
			t.Errorf("got %+v", r)
		}
		// The owner goes on writing its record.
		eventually(t, time.Second, "one map", agree(nodes, 2))
		if err := nodes[1].g.Update(func(m *state.Member) { m.Zone = "z" }); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Second, "both changes", func() bool {
			r, _ := g.Map().Member(id)
			return r.State == state.Leaving && r.Zone == "z"
		})
	})
}

// TestSavedBeforePublished: while a map is being saved nobody sees it.
func TestSavedBeforePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newNode(t, newNetwork(t), 1)
		d.found()
		saving, goOn := make(chan struct{}), make(chan struct{})
		d.g.opt.Save = func(state.Map) error {
			close(saving)
			<-goOn
			return nil
		}
		before := d.g.MapHash()
		done := make(chan error)
		go func() { done <- d.g.Update(func(m *state.Member) { m.Zone = "z" }) }()
		<-saving
		meta, err := decodeMeta(delegate{d.g}.NodeMeta(512))
		if err != nil || d.g.MapHash() != before || meta.MapHash != before {
			t.Errorf("published before it was saved: %v", err)
		}
		close(goOn)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if d.g.MapHash() == before {
			t.Error("saved and not published")
		}
	})
}

func TestFailedSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 3)
		eventually(t, 2*time.Second, "one map", agree(nodes, 3))
		nodes[1].breakDisk(errDisk)
		before := nodes[1].g.MapHash()
		if err := nodes[1].g.Update(func(m *state.Member) { m.Zone = "z" }); !errors.Is(err, errDisk) {
			t.Fatalf("got %v", err)
		}
		if err := nodes[0].g.Update(func(m *state.Member) { m.Zone = "z" }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if nodes[1].g.MapHash() != before {
			t.Fatal("published what was not saved")
		}
		// It is asked and asks again and again, but backs off.
		asked := net.served()
		time.Sleep(100 * time.Second)
		if got := net.served() - asked; got > 120 {
			t.Errorf("%d exchanges in 100 s", got)
		}
		nodes[1].breakDisk(nil)
		eventually(t, 15*time.Second, "one map", agree(nodes, 3))
		if err := nodes[1].g.Update(func(m *state.Member) { m.Zone = "z" }); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Second, "one map", agree(nodes, 3))
		if r, _ := nodes[0].g.Map().Member(nodes[1].self.ID); r.Zone != "z" {
			t.Fatalf("got %+v", r)
		}
	})
}

func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 3)
		eventually(t, 2*time.Second, "one map, all alive", func() bool { return agree(nodes, 3)() && alive(nodes)() })
		time.Sleep(30 * time.Second)
		if err := nodes[1].g.Update(func(m *state.Member) { m.Zone = "z" }); err != nil {
			t.Fatal(err)
		}
		before := net.served()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := nodes[0].g.Refresh(t.Context(), nodes[1].self.ID); err != nil {
					t.Error(err)
				}
				if r, _ := nodes[0].g.Map().Member(nodes[1].self.ID); r.Zone != "z" {
					t.Error("Refresh returned before the map was merged")
				}
			})
		}
		wg.Wait()
		// Those of the update itself included.
		if got := net.served() - before; got > 8 {
			t.Errorf("100 calls made %d exchanges", got)
		}
		if err := nodes[0].g.Refresh(t.Context(), nodes[0].self.ID); err != nil {
			t.Errorf("itself: %v", err)
		}
		if err := nodes[0].g.Refresh(t.Context(), nodeID(9)); !errors.Is(err, ErrUnknownMember) {
			t.Errorf("a stranger: %v", err)
		}
		net.split(nodes[1].ip)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := nodes[0].g.Refresh(ctx, nodes[1].self.ID); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("beyond its deadline: %v", err)
		}
		if err := nodes[0].g.Refresh(t.Context(), nodes[1].self.ID); err == nil {
			t.Error("refreshed from an unreachable node")
		}
		if got := testutil.ToFloat64(nodes[0].g.metrics.exchangeFailed); got < 1 {
			t.Error("no failed exchange counted")
		}
		if err := nodes[2].leave(); err != nil {
			t.Fatal(err)
		}
		if err := nodes[2].g.Refresh(t.Context(), nodes[1].self.ID); !errors.Is(err, ErrStopped) {
			t.Errorf("after Run: %v", err)
		}
	})
}

// TestRefreshIsFresh: an exchange that began before the call is not good enough.
func TestRefreshIsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 2)
		eventually(t, 2*time.Second, "one map, all alive", func() bool { return agree(nodes, 2)() && alive(nodes)() })
		began, answer := make(chan struct{}, 1), make(chan struct{})
		net.mu.Lock()
		net.hold = map[string]func(){nodes[0].ip: func() {
			wake(began)
			<-answer
		}}
		net.mu.Unlock()
		first := make(chan error)
		go func() { first <- nodes[0].g.Refresh(t.Context(), nodes[1].self.ID) }()
		<-began
		nodes[1].g.sync.stop() // it must not push its change by itself
		if err := nodes[1].g.Update(func(m *state.Member) { m.Zone = "z" }); err != nil {
			t.Fatal(err)
		}
		second := make(chan error)
		go func() { second <- nodes[0].g.Refresh(t.Context(), nodes[1].self.ID) }()
		synctest.Wait()
		close(answer)
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		if err := <-second; err != nil {
			t.Fatal(err)
		}
		if r, _ := nodes[0].g.Map().Member(nodes[1].self.ID); r.Zone != "z" {
			t.Fatal("Refresh was content with an exchange of before")
		}
		if got := testutil.ToFloat64(nodes[0].g.metrics.exchangeNews); got < 1 {
			t.Error("no news counted")
		}
	})
}

func TestVouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		vouched := func(d *node) bool {
			select {
			case <-d.g.Vouched():
				return true
			default:
				return false
			}
		}
		a, b := newNode(t, net, 1), newNode(t, net, 2)
		a.found()
		b.join(a.self.RPC)
		eventually(t, time.Second, "an old member vouches for a new one", func() bool { return vouched(b) })
		time.Sleep(time.Minute)
		if vouched(a) {
			t.Fatal("the echo of a node that knows all it knows from the founder vouched for the founder")
		}
		if err := a.leave(); err != nil {
			t.Fatal(err)
		}
		// The member has the founder's new record before the founder hears of the member: their maps are equal then,
		// and yet the founder must ask.
		net.setMute(true)
		a.start()
		if err := b.g.Refresh(t.Context(), a.self.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if vouched(a) || !agree([]*node{a, b}, 2)() {
			t.Fatal("vouched for by somebody who asked, or the maps differ")
		}
		net.setMute(false)
		eventually(t, 10*time.Second, "a peer is alive", func() bool { return a.g.Alive(b.self.ID) })
		eventually(t, time.Second, "a member vouches for the restarted founder", func() bool { return vouched(a) })
	})
}

func TestNewRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newNode(t, newNetwork(t), 1)
		d.self.Boot = 1
		d.host = d.net.plug(d.self.Gossip)
		other := state.Member{ID: nodeID(2), Name: "n2", Weight: 100, State: state.Active, Boot: 1, Version: 1<<32 | 1}
		d.disk = state.Map{Settings: testSettings()}.With(other)
		for _, tc := range []struct {
			what   string
			change func(*Options)
			want   error
		}{
			{"Save", func(o *Options) { o.Save = nil }, ErrOptions},
			{"Exchanger", func(o *Options) { o.Exchanger = nil }, ErrOptions},
			{"Boot", func(o *Options) { o.Self.Boot = 0 }, ErrOptions},
			{"no cluster", func(o *Options) { o.Map = state.Map{} }, state.ErrSettings},
			{"seeds", func(o *Options) { o.Seeds = []string{"a:b"} }, ErrOptions},
			{"interval", func(o *Options) { o.RejoinInterval = -1 }, ErrOptions},
			{"gossip address", func(o *Options) { o.Self.Gossip = "" }, ErrOptions},
			{"weight", func(o *Options) { o.Self.Weight = 0 }, state.ErrInvalid},
			{"a taken name", func(o *Options) { o.Self.Name = "n2" }, state.ErrNameTaken},
			{"disk", func(o *Options) { o.Save = func(state.Map) error { return errDisk } }, errDisk},
			{"bind", func(o *Options) { o.Transport = nil; o.Bind = "nonsense" }, ErrOptions},
		} {
			o := d.options()
			tc.change(&o)
			if _, err := New(o); !errors.Is(err, tc.want) {
				t.Errorf("%s: got %v, want %v", tc.what, err, tc.want)
			}
		}
	})
}

func TestStartKeepsStateAndBits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newNode(t, newNetwork(t), 1)
		d.found()
		if err := d.g.Update(func(m *state.Member) { m.Fence = 5 }); err != nil {
			t.Fatal(err)
		}
		if err := d.g.Update(func(m *state.Member) { m.Fence = 4 }); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("a fence was lowered: %v", err)
		}
		if err := d.leave(); err != nil {
			t.Fatal(err)
		}
		d.self.Zone = "moved"
		d.start()
		r, _ := d.g.Map().Member(d.self.ID)
		if r.State != state.Active || r.Settled.Count() != 16 || r.Boot != 2 || r.Version != state.FirstVersion(2) || r.Zone != "moved" || r.Fence != 6 {
			t.Fatalf("got %+v", r)
		}
		if got, _ := d.saved().Member(d.self.ID); got.Boot != 2 {
			t.Fatal("this start was not saved")
		}
		synctest.Wait() // for the first Run to have begun
		if err := d.g.Run(t.Context()); !errors.Is(err, ErrStopped) {
			t.Fatalf("a second Run: %v", err)
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 3)
		eventually(t, 2*time.Second, "one map, all alive", func() bool { return agree(nodes, 3)() && alive(nodes)() })
		nodes[2].crash()
		eventually(t, 20*time.Second, "one is down", func() bool { return !nodes[0].g.Alive(nodes[2].self.ID) })
		time.Sleep(time.Minute)
		m := nodes[0].g.metrics
		reg := prometheus.NewPedanticRegistry()
		if err := m.register(reg); err != nil {
			t.Fatal(err)
		}
		err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP starling_members Members in the cluster map, by state and by whether this node believes them alive.
# TYPE starling_members gauge
starling_members{alive="false",state="active"} 0
starling_members{alive="true",state="active"} 1
starling_members{alive="false",state="joining"} 1
starling_members{alive="true",state="joining"} 1
starling_members{alive="false",state="leaving"} 0
starling_members{alive="true",state="leaving"} 0
starling_members{alive="false",state="removed"} 0
starling_members{alive="true",state="removed"} 0
`), "starling_members")
		if err != nil {
			t.Error(err)
		}
		for _, name := range []string{"starling_cluster_map_hash", "starling_gossip_health_score"} {
			if got := testutil.CollectAndCount(m, name); got != 1 {
				t.Errorf("%d of %s", got, name)
			}
		}
		if up, down := testutil.ToFloat64(m.cameAlive), testutil.ToFloat64(m.wentDown); up != 2 || down != 1 {
			t.Errorf("%v times alive and %v times down, want 2 and 1", up, down)
		}
		for what, c := range map[string]prometheus.Counter{
			"changes": m.changes, "same": m.exchangeSame, "failed rejoins": m.rejoinFailed,
		} {
			if testutil.ToFloat64(c) < 1 {
				t.Errorf("no %s counted", what)
			}
		}
		if err := m.register(reg); err == nil {
			t.Error("registered twice")
		}
	})
}

func TestAliveForStrangersAndSelf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newNode(t, newNetwork(t), 1)
		d.found()
		if !d.g.Alive(d.self.ID) || d.g.Alive(nodeID(5)) || d.g.Alive(ring.NodeID{}) {
			t.Fatal("only the node itself is alive")
		}
	})
}
