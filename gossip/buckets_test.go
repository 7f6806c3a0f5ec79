package gossip

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"starling/gossip/state"
	"starling/store/bucket"
)

// declare and drop are what a client asks of the node.
func (d *node) declare(name string, m bucket.Mode) error {
	_, err := d.g.UpdateBuckets(func(g bucket.Registry) (bucket.Registry, error) {
		return g.With(g.Find(name).Declare(bucket.Properties{Mode: m}, d.self.ID))
	})
	return err
}

func (d *node) drop(name string) error {
	_, err := d.g.UpdateBuckets(func(g bucket.Registry) (bucket.Registry, error) {
		return g.With(g.Find(name).Drop(d.self.ID))
	})
	return err
}

func TestUpdateBucketsRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newNode(t, newNetwork(t), 1)
		d.found()
		if err := d.declare("b", bucket.LWW); err != nil {
			t.Fatal(err)
		}
		had, hash, saves := d.g.Map().Buckets, d.g.MapHash(), d.saves
		errMine := errors.New("mine")
		for _, tc := range []struct {
			what   string
			change func(bucket.Registry) (bucket.Registry, error)
			want   error
		}{
			{"an error of the change", func(g bucket.Registry) (bucket.Registry, error) {
				return g, errMine
			}, errMine},
			{"out of bounds", func(g bucket.Registry) (bucket.Registry, error) {
				return g.With(g.Find("c").Declare(bucket.Properties{TTL: 1}, d.self.ID))
			}, bucket.ErrInvalid},
			{"all lost", func(bucket.Registry) (bucket.Registry, error) { return nil, nil }, bucket.ErrInvalid},
			{"other content under one version", func(g bucket.Registry) (bucket.Registry, error) {
				return bucket.Registry{bucket.Record{Name: "b"}.Declare(bucket.Properties{Mode: bucket.Max}, d.self.ID)}, nil
			}, bucket.ErrInvalid},
			{"nothing", func(g bucket.Registry) (bucket.Registry, error) { return g, nil }, nil},
		} {
			got, err := d.g.UpdateBuckets(tc.change)
			if !errors.Is(err, tc.want) || err == nil && !reflect.DeepEqual(got, had) {
				t.Errorf("%s: %+v, %v", tc.what, got, err)
			}
			if d.g.MapHash() != hash || d.saves != saves {
				t.Errorf("%s: the map was changed or saved", tc.what)
			}
		}
		got, err := d.g.UpdateBuckets(func(g bucket.Registry) (bucket.Registry, error) {
			return g.With(g.Find("b").Drop(d.self.ID))
		})
		if err != nil || got.Find("b").Incarnation != 1 || !reflect.DeepEqual(got, d.g.Map().Buckets) || d.g.MapHash() == hash {
			t.Errorf("a drop: %+v, %v", got, err)
		}
		if had.Find("b").Incarnation != 0 {
			t.Error("the registry of before was modified")
		}
	})
}

// TestBucketsAreSavedFirst: a change is on the disk when UpdateBuckets returns, nobody sees it before it is there, and one
// that is not saved is not made.
func TestBucketsAreSavedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newNode(t, newNetwork(t), 1)
		d.found()
		before := d.g.MapHash()
		d.breakDisk(errDisk)
		if err := d.declare("b", bucket.LWW); !errors.Is(err, errDisk) || d.g.MapHash() != before {
			t.Errorf("not saved: %v, the map changed: %v", err, d.g.MapHash() != before)
		}
		d.breakDisk(nil)
		save := d.g.opt.Save
		d.g.opt.Save = func(m state.Map) error {
			if d.g.MapHash() != before || m.Hash() == before {
				t.Error("published before it was saved, or saved without the change")
			}
			return save(m)
		}
		if err := d.declare("b", bucket.LWW); err != nil {
			t.Fatal(err)
		}
		if disk := d.saved(); disk.Buckets.Find("b").Properties.Mode != bucket.LWW || disk.Hash() != d.g.MapHash() {
			t.Errorf("the disk has %+v", disk.Buckets)
		}
	})
}

func TestBucketsReachAllAndTheirDisks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 5)
		eventually(t, 2*time.Second, "one map, all alive", func() bool { return agree(nodes, 5)() && alive(nodes)() })
		time.Sleep(time.Second) // nothing is on its way any more
		for _, d := range nodes {
			drain(d.g.Changes())
		}
		if err := nodes[3].declare("b", bucket.Counter); err != nil {
			t.Fatal(err)
		}
		// Before any announcement could make them ask: they are told.
		eventually(t, 20*time.Millisecond, "the bucket is known everywhere", func() bool {
			for _, d := range nodes {
				if d.saved().Buckets.Find("b").Properties.Mode != bucket.Counter {
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
		nodes[0].g.overtakenBy(9)
		if err := nodes[0].declare("b", bucket.Max); !errors.Is(err, ErrStopped) || !errors.Is(err, ErrLostTime) {
			t.Errorf("a node that must stop: %v", err)
		}
	})
}

// TestConcurrentBucketsConverge: of what all nodes do at once nothing is lost but declarations of one bucket that another
// one overrules, or its drop.
func TestConcurrentBucketsConverge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 3)
		eventually(t, 2*time.Second, "one map, all alive", func() bool { return agree(nodes, 3)() && alive(nodes)() })
		net.split(nodes[2].ip)
		var wg sync.WaitGroup
		for n, d := range nodes {
			wg.Go(func() {
				for i := range 10 {
					if err := errors.Join(d.declare(fmt.Sprintf("own-%d-%d", n, i), bucket.LWW), d.declare("shared", bucket.Max), d.declare("dropped", bucket.Max)); err != nil {
						t.Error(err)
					}
					time.Sleep(3 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		if err := nodes[2].drop("dropped"); err != nil {
			t.Fatal(err)
		}
		net.split()
		eventually(t, 30*time.Second, "one map", agree(nodes, 3))
		g := nodes[0].g.Map().Buckets
		if len(g) != 32 || !g.Find("shared").Declared {
			t.Errorf("%d buckets: %+v", len(g), g)
		}
		if r := g.Find("dropped"); r.Incarnation != 1 || r.Declared || !g.Gone("dropped") {
			t.Errorf("the dropped one is %+v", r)
		}
		leaveAll(nodes)
	})
}

// TestReturningNodeLearnsOfBuckets by its first exchange of maps, and has them on its disk then.
func TestReturningNodeLearnsOfBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 3)
		eventually(t, 2*time.Second, "one map, all alive", func() bool { return agree(nodes, 3)() && alive(nodes)() })
		if err := nodes[0].declare("b", bucket.LWW); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Second, "one map", agree(nodes, 3))
		back := nodes[2]
		back.crash()
		if err := errors.Join(nodes[1].drop("b"), nodes[1].declare("new", bucket.Union)); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, "the others agree and hold it for dead", func() bool {
			return agree(nodes[:2], 3)() && !nodes[0].g.Alive(back.self.ID) && !nodes[1].g.Alive(back.self.ID)
		})
		net.setMute(true) // nobody tells it, so the exchange below is its first
		exchanges := 0
		net.mu.Lock()
		net.hold = map[string]func(){back.ip: func() { exchanges++ }}
		net.mu.Unlock()
		back.start()
		synctest.Wait() // for its Run to have begun
		if g := back.g.Map().Buckets; !g.Find("b").Declared || g.Gone("b") {
			t.Fatalf("it starts with %+v, want what was on its disk", g)
		}
		if err := back.g.Refresh(context.Background(), nodes[1].self.ID); err != nil {
			t.Fatal(err)
		}
		if exchanges != 1 {
			t.Errorf("%d exchanges", exchanges)
		}
		net.mu.Lock()
		net.hold = nil
		net.mu.Unlock()
		for what, g := range map[string]bucket.Registry{"map": back.g.Map().Buckets, "disk": back.saved().Buckets} {
			if !g.Gone("b") || g.Find("new").Properties.Mode != bucket.Union {
				t.Errorf("its %s has %+v", what, g)
			}
		}
		net.setMute(false)
		eventually(t, 30*time.Second, "one map, all alive", func() bool { return agree(nodes, 3)() && alive(nodes)() })
		if g := nodes[0].g.Map().Buckets; !g.Gone("b") {
			t.Errorf("what it had on its disk undid the drop: %+v", g)
		}
		leaveAll(nodes)
	})
}

// TestBucketsStay: joins, starts and changes of members do not lose them.
func TestBucketsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 2)
		a, b := nodes[0], nodes[1]
		if err := a.drop("b"); err != nil {
			t.Fatal(err)
		}
		want := a.g.Map().Buckets
		check := func(what string, m state.Map) {
			t.Helper()
			if !reflect.DeepEqual(m.Buckets, want) {
				t.Errorf("%s: the buckets are %+v", what, m.Buckets)
			}
		}
		c := newNode(t, net, 3)
		m, err := Join(t.Context(), c.joinOptions(a.self.RPC))
		if err != nil {
			t.Fatal(err)
		}
		check("Join", m)
		c.disk = m
		c.start()
		check("New", c.g.Map())
		check("a newcomer's disk", c.saved())
		if err := a.g.Update(func(m *state.Member) { m.Zone = "z" }); err != nil {
			t.Fatal(err)
		}
		check("Update", a.g.Map())
		eventually(t, 2*time.Second, "one map, all alive", func() bool { return agree(nodes, 3)() && alive(nodes)() })
		b.crash()
		if err := a.g.Replace(b.self.ID, c.self.ID, false); err != nil {
			t.Fatal(err)
		}
		check("Replace", a.g.Map())
		eventually(t, 5*time.Second, "one map", agree([]*node{a, c}, 3))
		if err := a.g.Advance(c.self.ID, state.Leaving); err != nil {
			t.Fatal(err)
		}
		check("Advance", a.g.Map())
		if err := a.leave(); err != nil {
			t.Fatal(err)
		}
		a.start()
		check("a restart", a.g.Map())
		check("the disk after a restart", a.saved())
	})
}
