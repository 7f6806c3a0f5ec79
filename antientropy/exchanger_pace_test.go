package antientropy

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/object"
)

// differing gives node 0 objects that the others lack, and answers their size.
func (c *exCluster) differing(keys, bytes int) (size int) {
	for k := range keys {
		ref := c.ref(fmt.Sprintf("key-%05d", k))
		o := exPut(c.t, object.Object{}, 1, uint64(k+1), bytes)
		_, _ = c.nodes[0].store.merge(ref, o)
		size += sizeOf(ref, o)
	}
	return size
}

// A peer that lacks everything is filled at full speed when this node is idle,
// and ever slower the more requests of clients it has; but always.
func TestRepairGivesWayToRequests(t *testing.T) {
	took := func(pressure float64) (d time.Duration) {
		opts := ExchangerOptions{Enabled: true, Pressure: func() float64 { return pressure }, BytesPerSecond: 8 << 20}
		inExCluster(t, 2, 16, 2, opts, func(t *testing.T, c *exCluster) {
			size := c.differing(1000, 2000)
			c.start()
			d = c.converge(10 * time.Minute)
			t.Logf("%d bytes under pressure %v took %v", size, pressure, d)
		})
		return d
	}
	idle, some, much, full := took(0), took(0.01), took(0.9), took(1)
	if idle > 2*time.Second || some < 2*idle || much < 3*idle || full < 2*much {
		t.Errorf("it took %v on an idle node, %v with some requests, %v with many, %v on a full one", idle, some, much, full)
	}
}

// The rate is a bound for all exchanges of a node together.
func TestRepairKeepsItsRate(t *testing.T) {
	inExCluster(t, 3, 16, 3, ExchangerOptions{Enabled: true, BytesPerSecond: 100_000, PageBytes: MinPageBytes}, func(t *testing.T, c *exCluster) {
		size := c.differing(500, 2000)
		c.start()
		took := c.converge(5 * time.Minute)
		// Two copies are made, and three nodes have a rate of their own.
		if least := time.Duration(2 * float64(size) / 300_000 * 0.8 * float64(time.Second)); took < least {
			t.Errorf("%d bytes were copied twice in %v, at least %v expected", size, took, least)
		}
		for ref, times := range c.shippedTo()[c.nodes[1].id] {
			if times != 1 {
				t.Errorf("%s was shipped %d times", ref.Key, times)
			}
		}
	})
}

// A peer for which there is much to do does not keep the others waiting, nor
// does one that hangs.
func TestPeersDoNotWaitForEachOther(t *testing.T) {
	inExCluster(t, 5, 256, 3, ExchangerOptions{Enabled: true, BytesPerSecond: 5_000, PageBytes: MinPageBytes, CallTimeout: 2 * time.Second}, func(t *testing.T, c *exCluster) {
		for k := range 3000 {
			ref := c.ref(fmt.Sprintf("key-%05d", k))
			o := exPut(t, object.Object{}, 1, uint64(k+1), 2000)
			for _, n := range c.owners(ref.Partition) {
				if n != c.nodes[4] {
					_, _ = n.store.merge(ref, o)
				}
			}
		}
		hung := c.nodes[3]
		c.fault = func(from, to ring.NodeID, _ string) (time.Duration, error, error) {
			if to == hung.id || from == hung.id {
				return time.Hour, nil, nil
			}
			return time.Millisecond, nil, nil
		}
		c.start()
		time.Sleep(30 * time.Second)
		if len(c.shippedTo()[c.nodes[4].id]) == 0 || c.converged() {
			t.Fatal("nothing is under way: the test is empty")
		}
		for _, n := range c.nodes[:3] {
			r, _ := n.x.HandleReport(t.Context())
			for _, p := range r.Pairs {
				if p.Peer != hung.id && p.Peer != c.nodes[4].id && (!p.Holds || p.Age > 15*time.Second) {
					t.Errorf("%s: pair %+v waits for others", n.id, p)
				}
			}
		}
	})
}

// Nor does one partition in which there is much to do, nor do many.
func TestALongExchangeIsDoneInTurns(t *testing.T) {
	for _, parts := range []int{8, 128} {
		t.Run(fmt.Sprint(parts, " partitions"), func(t *testing.T) { longExchange(t, parts) })
	}
}

func longExchange(t *testing.T, parts int) {
	inExCluster(t, 5, parts, 5, ExchangerOptions{Enabled: true, BytesPerSecond: 15_000, PageBytes: MinPageBytes}, func(t *testing.T, c *exCluster) {
		for k := range 1500 {
			ref := c.ref(fmt.Sprintf("key-%05d", k))
			o := exPut(t, object.Object{}, 1, uint64(k+1), 2000)
			for _, n := range c.nodes[:3] {
				_, _ = n.store.merge(ref, o)
			}
		}
		c.start()
		for range 5 {
			time.Sleep(5 * time.Second)
			for _, n := range c.nodes[:3] {
				r, _ := n.x.HandleReport(t.Context())
				for _, p := range r.Pairs {
					if full := contains([]ring.NodeID{c.nodes[0].id, c.nodes[1].id, c.nodes[2].id}, p.Peer); full && p.Age > 15*time.Second {
						t.Fatalf("%s: pair %+v waits for others", n.id, p)
					}
				}
			}
		}
		if c.converged() {
			t.Fatal("nothing is under way: the test is empty")
		}
	})
}

// A turn achieves something even if one answer takes longer than a turn.
func TestASlowPeerIsRepairedAllTheSame(t *testing.T) {
	inExCluster(t, 2, 32, 2, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
		c.differing(30, 100)
		c.fault = func(ring.NodeID, ring.NodeID, string) (time.Duration, error, error) { return turnTime, nil, nil }
		c.start()
		c.converge(5 * time.Minute)
	})
}

// However long an exchange takes, no other owner ships the same meanwhile.
func TestALongExchangeKeepsOthersAway(t *testing.T) {
	inExCluster(t, 3, 1, 3, ExchangerOptions{Enabled: true, BytesPerSecond: 50_000, PageBytes: MinPageBytes}, func(t *testing.T, c *exCluster) {
		for k := range 500 { // for 20 s, several times what a reservation lasts
			o := exPut(t, object.Object{}, 1, uint64(k+1), 2000)
			_, _ = c.nodes[0].store.merge(c.ref(fmt.Sprint("key-", k)), o)
			_, _ = c.nodes[1].store.merge(c.ref(fmt.Sprint("key-", k)), o)
		}
		c.start()
		c.converge(2 * time.Minute)
		if l := c.log(); len(l.shipped) != 500 {
			t.Errorf("%d objects shipped, want 500", len(l.shipped))
		}
	})
}

// A repair that was overtaken by a write is no proof, and what overtook it is
// repaired at once.
func TestARepairIsAProofOnlyIfTheRootsAreEqualThen(t *testing.T) {
	inExCluster(t, 2, 1, 2, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
		o := exPut(t, object.Object{}, 1, 1, 10)
		_, _ = c.nodes[0].store.merge(c.ref("a"), o)
		var proven, pushed atomic.Bool
		c.before = func(from, to ring.NodeID, method string) {
			if method == "push" && pushed.CompareAndSwap(false, true) {
				_, _ = c.node(to).store.merge(c.ref("b"), o)
			}
			if r, err := c.node(from).x.HandleReport(t.Context()); err != nil || r.Pairs[0].Holds || r.Pairs[0].Proven {
				proven.Store(true)
			}
		}
		c.start()
		time.Sleep(100 * time.Millisecond)
		if n := c.nodes[0].metric("starling_antientropy_exchanges_total", "repaired"); n != 2 || proven.Load() || !pushed.Load() {
			t.Errorf("%d repairs, proven before they were over: %v", n, proven.Load())
		}
		c.converge(5 * time.Second)
	})
}

// More keys than a page holds are gone through page by page.
func TestManyDifferencesTakeManyPages(t *testing.T) {
	inExCluster(t, 2, 1, 2, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
		o := exPut(t, object.Object{}, 1, 1, 1)
		const keys = 3*MaxKeysPage + 100
		for k := range keys {
			c.nodes[k%2].store.set(c.ref(fmt.Sprint("key-", k)), object.Object{}, o)
		}
		c.start()
		c.converge(20 * time.Second)
		l := c.log()
		if len(l.shipped) != keys || l.calls["keys"] < 2 || l.calls["keys"] > 6 {
			t.Errorf("%d objects shipped, want %d; %v", len(l.shipped), keys, l.calls)
		}
	})
}

// A peer that came back may ask before it was looked at: what it proves then
// counts.
func TestAPeerThatCameBackProvesAtOnce(t *testing.T) {
	inExCluster(t, 2, 16, 2, ExchangerOptions{Enabled: true, Interval: time.Hour}, func(t *testing.T, c *exCluster) {
		c.start()
		c.converge(5 * time.Second)
		back := c.nodes[1]
		c.kill(back)
		time.Sleep(10 * time.Second)
		c.change(func() { c.down[back.id] = false; c.boots[back.id]++ })
		back.start()                // and nobody kicks the other,
		time.Sleep(3 * time.Second) // which looks by itself once a second
		if !c.converged() {
			t.Error("a proof was forgotten")
		}
	})
}

// What is read while a placement is in force travels with its stamp, even if
// another comes into force between the stamp and the reading: then nobody
// takes it.
func TestWhatWasReadUnderAnOldStampIsNotTaken(t *testing.T) {
	for _, reader := range []int{0, 1} { // 0 begins, and pushes; 1 answers a fetch
		t.Run(fmt.Sprint("read by node ", reader), func(t *testing.T) {
			inExCluster(t, 2, 1, 2, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
				ref := c.ref("a")
				reading, other := c.nodes[reader], c.nodes[1-reader]
				_, _ = reading.store.merge(ref, exPut(t, object.Object{}, 1, 1, 10))
				var raised, taken atomic.Int64
				reading.store.onGet = func() {
					if len(other.store.all()) > 0 {
						taken.Add(1)
					}
					if raised.Add(1) > 3 {
						return
					}
					v := c.fence() // both learn of it at once
					reading.setView(v)
					other.setView(v)
				}
				c.start()
				c.converge(time.Minute)
				if raised.Load() != 4 || taken.Load() != 0 {
					t.Fatalf("read %d times, taken %d times under an old stamp", raised.Load(), taken.Load())
				}
			})
		})
	}
}

// A held partition is left alone by both sides, and exchanged afterwards.
func TestAHeldPartitionIsLeftAlone(t *testing.T) {
	for holder := range 2 {
		inExCluster(t, 2, 2, 2, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
			c.start()
			c.converge(5 * time.Second)
			held := c.ref("a").Partition
			c.nodes[holder].x.Hold([]uint32{held}, 30*time.Second)
			_, _ = c.nodes[0].store.merge(c.ref("a"), exPut(t, object.Object{}, 1, 1, 10))
			time.Sleep(29 * time.Second)
			if len(c.log().shipped) != 0 {
				t.Fatalf("%v shipped while held by node %d", c.log().shipped, holder)
			}
			if r, _ := c.nodes[0].x.HandleReport(t.Context()); r.Pairs[1-held].Age > 12*time.Second {
				t.Errorf("the other partition was last proven %v ago", r.Pairs[1-held].Age)
			}
			time.Sleep(2 * time.Second)
			c.converge(15 * time.Second)
		})
	}
}

// An exchange under way stops before its next step when its partition is held.
func TestHoldBreaksAnExchangeOff(t *testing.T) {
	for _, method := range []string{"keys", "fetch", "push"} {
		inExCluster(t, 2, 1, 2, ExchangerOptions{Enabled: true, PageBytes: MinPageBytes}, func(t *testing.T, c *exCluster) {
			for k := range 20 {
				_, _ = c.nodes[k%2].store.merge(c.ref(fmt.Sprint("key-", k)), exPut(t, object.Object{}, 1, 1, 3000))
			}
			var at atomic.Int64
			c.before = func(_, _ ring.NodeID, m string) {
				if m == method && at.CompareAndSwap(0, 1) {
					c.nodes[0].x.Hold([]uint32{0}, 20*time.Second)
				}
			}
			c.start()
			time.Sleep(15 * time.Second)
			// What was asked for when the hold began is carried out.
			if n, most := len(c.log().shipped), map[string]int{"keys": 0, "fetch": 2, "push": 12}[method]; at.Load() == 0 || n > most {
				t.Errorf("held at a %s: %d objects shipped", method, n)
			}
			time.Sleep(10 * time.Second)
			c.converge(10 * time.Second)
		})
	}
}

// Run ends soon whatever is under way, and leaves nothing running: the bubble
// of each test would not end otherwise.
func TestRunEndsInTheMiddleOfEverything(t *testing.T) {
	for _, method := range []string{"compare", "keys", "fetch", "push"} {
		inExCluster(t, 3, 4, 3, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
			for k := range 200 {
				_, _ = c.nodes[k%3].store.merge(c.ref(fmt.Sprint("key-", k)), exPut(t, object.Object{}, 1, 1, 10))
			}
			var hanging atomic.Int64
			c.fault = func(_, _ ring.NodeID, m string) (time.Duration, error, error) {
				if m == method {
					hanging.Add(1)
					return time.Hour, nil, nil
				}
				return time.Millisecond, nil, nil
			}
			c.start()
			time.Sleep(time.Second)
			synctest.Wait()
			start := time.Now()
			c.stop()
			if hanging.Load() == 0 || time.Since(start) > 0 {
				t.Errorf("%d requests of %s hung, the end took %v", hanging.Load(), method, time.Since(start))
			}
		})
	}
}

// The report has what it is given, and fails rather than leave something out.
func TestReport(t *testing.T) {
	fail := error(nil)
	opts := ExchangerOptions{
		Tombstones: func() (int64, error) { return 7, fail }, Hints: func() int64 { return 8 },
		Blockers: func() []Blocker { return []Blocker{{Reason: "down"}} },
	}
	inExCluster(t, 4, 8, 3, opts, func(t *testing.T, c *exCluster) {
		c.start()
		n := c.nodes[0]
		r, err := n.x.HandleReport(t.Context())
		if err != nil || r.Tombstones != 7 || r.Hints != 8 || len(r.Blockers) != 1 || r.Filling != 0 {
			t.Errorf("report %+v, %v", r, err)
		}
		want := 0
		for p := range 8 {
			if contains(c.newest().Placement(p).Owners, n.id) {
				want += 2
			}
		}
		if len(r.Pairs) != want || want == 0 {
			t.Errorf("%d pairs, want %d", len(r.Pairs), want)
		}
		v := ring.NewView(c.ring, func(id ring.NodeID, _ int) bool { return id != n.id })
		n.setView(v)
		if r, _ = n.x.HandleReport(t.Context()); len(r.Pairs) != 0 || r.Filling != want/2 {
			t.Errorf("%d pairs and %d partitions to fill, want 0 and %d", len(r.Pairs), r.Filling, want/2)
		}
		fail = errors.New("disk gone")
		if _, err = n.x.HandleReport(t.Context()); !errors.Is(err, fail) {
			t.Errorf("tombstones cannot be counted: %v", err)
		}
	})
}
