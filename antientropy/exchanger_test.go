package antientropy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// scatter gives every owner some version of some keys, from histories with
// forks, merges and deletes.
func (c *exCluster) scatter(rng *rand.Rand, keys int) {
	for k := range keys {
		ref := c.ref(fmt.Sprintf("key-%04d", k))
		owners := c.owners(ref.Partition)
		for seq := range uint64(rng.IntN(4)) {
			n := owners[rng.IntN(len(owners))]
			o, _ := n.store.Get(ref)
			s := object.Sibling{Tombstone: rng.IntN(3) == 0}
			s.Dot.Actor, s.Dot.Seq = version.Actor(n.id[0])+1, uint64(k)*10+seq+1
			next, err := o.Update(o.Context(), s, object.Limits{})
			if err != nil {
				c.t.Fatal(err)
			}
			for _, to := range owners {
				if to == n || rng.IntN(3) == 0 {
					_, _ = to.store.merge(ref, next)
				}
			}
		}
	}
}

// Replicas that differ at random become equal over a network that loses
// requests and answers, delays them, and refuses stamps, and while nodes are
// restarted; and they hold the merge of all that any of them had.
func TestConvergesFromRandomDifferences(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inExCluster(t, 5, 64, 3, ExchangerOptions{Enabled: true, PageBytes: MinPageBytes}, func(t *testing.T, c *exCluster) {
				rng := rand.New(rand.NewPCG(seed, 99))
				c.scatter(rng, 600)
				want := map[object.Ref]object.Object{}
				for _, n := range c.nodes {
					for ref, o := range n.store.all() {
						want[ref] = object.Merge(want[ref], o)
					}
				}
				c.fault = func(_, _ ring.NodeID, _ string) (time.Duration, error, error) {
					delay := time.Duration(c.rng.IntN(300)) * time.Millisecond
					switch c.rng.IntN(8) {
					case 0:
						return delay, errLost, nil
					case 1:
						return delay, nil, errLost
					}
					return delay, nil, nil
				}
				c.start()
				for range 10 { // faults
					time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
					n := c.nodes[rng.IntN(5)]
					switch rng.IntN(3) {
					case 0:
						c.kill(n)
						time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
						c.revive(n)
					case 1: // one node learns of a new fence; the others have to be told
						n.setView(c.fence())
					}
				}
				c.change(func() { c.fault = nil })
				took := c.converge(time.Minute)
				t.Logf("converged %v after the last fault, %d objects shipped", took, len(c.log().shipped))
				for ref, o := range want {
					for _, n := range c.owners(ref.Partition) {
						if got, _ := n.store.Get(ref); !got.Equal(o) {
							t.Fatalf("%s: %s holds %+v, want %+v", ref.Key, n.id, got.Vector, o.Vector)
						}
					}
				}
				if c.log().calls["fetch"] < 50 || c.log().calls["push"] < 50 || c.log().refreshes == 0 {
					t.Fatalf("%v, %d refreshes: the test is empty", c.log().calls, c.log().refreshes)
				}
				if c.log().mostEach > 1 || c.log().mostAll > MaxPeers {
					t.Fatalf("up to %d requests of a node to another at once, and to %d others", c.log().mostEach, c.log().mostAll)
				}
			})
		})
	}
}

// A node that was away gets exactly what it missed, once, and sends nothing;
// and at once when it is back.
func TestAReturningNodeGetsExactlyWhatItMissed(t *testing.T) {
	inExCluster(t, 5, 256, 3, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
		for k := range 4000 {
			c.everywhere(fmt.Sprintf("key-%05d", k), uint64(k+1), 200)
		}
		c.start()
		c.converge(15 * time.Second)
		if n := len(c.log().shipped); n != 0 {
			t.Fatalf("%d objects shipped though all replicas were equal", n)
		}
		away := c.nodes[2]
		c.kill(away)
		missed := map[object.Ref]bool{}
		for k := range 1000 {
			ref := c.ref(fmt.Sprintf("key-%05d", 3500+k)) // half of them are new
			for _, n := range c.owners(ref.Partition) {
				old, _ := n.store.Get(ref)
				if n == away {
					missed[ref] = true
				} else if _, err := n.store.merge(ref, exPut(t, old, 2, uint64(k+1), 200)); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(time.Minute)
		if n := len(c.log().shipped); n != 0 || c.converged() {
			t.Fatalf("%d objects shipped while the only stale node was down; converged %v", n, c.converged())
		}
		c.clearLog()
		c.revive(away)
		took := c.converge(20 * time.Second)
		to := c.shippedTo()
		size := 0
		for ref, times := range to[away.id] {
			if !missed[ref] || times != 1 {
				t.Errorf("%s was shipped %d times; missed: %v", ref.Key, times, missed[ref])
			}
			o, _ := away.store.Get(ref)
			size += sizeOf(ref, o)
		}
		if len(to) != 1 || len(to[away.id]) != len(missed) || len(missed) < 300 {
			t.Fatalf("%d objects shipped to it, %d missed, %d nodes were shipped to", len(to[away.id]), len(missed), len(to))
		}
		t.Logf("%d objects of %d bytes in %v, %d bytes on the wire, %v", len(missed), size, took, c.log().bytes, c.log().calls)
		if took > 5*time.Second {
			t.Errorf("it took %v on an idle cluster", took)
		}
		if c.log().bytes > 3*size {
			t.Errorf("%d bytes on the wire for %d bytes of objects", c.log().bytes, size)
		}
		sent := 0
		for _, n := range c.nodes {
			sent += n.metric("starling_antientropy_shipped_keys_total", "")
			if r := n.metric("starling_antientropy_redundant_pushes_total", ""); r != 0 {
				t.Errorf("%d redundant pushes", r)
			}
		}
		if sent != len(missed) {
			t.Errorf("the metrics count %d objects, want %d", sent, len(missed))
		}
	})
}

// An hour in which nobody writes costs messages that say so, and nothing else.
func TestAnIdleHourShipsNothing(t *testing.T) {
	const nodes, parts = 3, 8
	inExCluster(t, nodes, parts, nodes, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
		for k := range 200 {
			c.everywhere(fmt.Sprintf("key-%05d", k), uint64(k+1), 20)
		}
		c.start()
		c.converge(15 * time.Second)
		c.clearLog()
		oldest := time.Duration(0)
		for range 60 {
			time.Sleep(time.Minute)
			for _, n := range c.nodes {
				r, _ := n.x.HandleReport(t.Context())
				for _, p := range r.Pairs {
					oldest = max(oldest, p.Age)
					if !p.Holds {
						t.Fatalf("%s: pair %+v does not hold", n.id, p)
					}
				}
			}
		}
		l := c.log()
		if len(l.shipped) != 0 || l.calls["keys"]+l.calls["fetch"]+l.calls["push"] != 0 {
			t.Fatalf("%d objects shipped, %v", len(l.shipped), l.calls)
		}
		// Each pair of nodes compares each partition once in an interval.
		const most = nodes * (nodes - 1) / 2 * parts * 3600 / 10
		if n := l.calls["compare"]; n > most || n < most/10 {
			t.Errorf("%d messages in an hour, at most %d expected", n, most)
		}
		// Every pair is proven once in an interval of 10 s; a tick later at most.
		if oldest > 12*time.Second {
			t.Errorf("a proof was %v old", oldest)
		}
	})
}

// The roots of all partitions that are due with a peer share a message: the
// first round of a cluster that just started takes one for each 256.
func TestRootsShareMessages(t *testing.T) {
	inExCluster(t, 2, 1024, 2, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
		c.start()
		c.await(time.Second)
		if l := c.log(); l.calls["compare"] != 1024/MaxRoots {
			t.Errorf("%v to compare 1024 partitions", l.calls)
		}
	})
}

// Partitions that differ share messages too, but for the objects.
func TestDifferencesShareMessages(t *testing.T) {
	inExCluster(t, 2, 64, 2, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
		differ := map[uint32]bool{}
		for k := range 120 {
			ref := c.ref(fmt.Sprint("key-", k))
			_, _ = c.nodes[k%2].store.merge(ref, exPut(t, object.Object{}, 1, 1, 10))
			differ[ref.Partition] = true
		}
		c.start()
		c.converge(time.Second)
		// Each node compares its half of the partitions, those that differ with
		// sketches, and then again.
		l := c.log()
		if most := 4 + len(differ)/MaxSketches + 2; l.calls["compare"] > most || l.calls["keys"] != 0 || len(l.shipped) != 120 {
			t.Errorf("%v for %d partitions that differ, at most %d comparisons expected; %d objects shipped", l.calls, len(differ), most, len(l.shipped))
		}
	})
}

func TestOneDifferenceAmongManyCostsLittle(t *testing.T) {
	inExCluster(t, 2, 128, 2, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
		o := exPut(t, object.Object{}, 1, 1, 100)
		a, b := c.nodes[0], c.nodes[1]
		for k := range 100_000 {
			a.store.set(c.ref(fmt.Sprintf("key-%06d", k)), object.Object{}, o)
		}
		b.store.copyFrom(a.store)
		c.start()
		c.await(15 * time.Second)
		c.clearLog()
		ref := c.ref("key-054321")
		if _, err := b.store.merge(ref, exPut(t, o, 1, 2, 100)); err != nil {
			t.Fatal(err)
		}
		// Until it is found the roots of all partitions pass once at most.
		for len(c.log().shipped) == 0 {
			time.Sleep(time.Second)
		}
		c.await(15 * time.Second)
		l := c.log()
		if len(l.shipped) != 1 || l.shipped[0] != (exShipped{b.id, a.id, ref}) {
			t.Fatalf("shipped %v", l.shipped)
		}
		t.Logf("%d bytes, %v", l.bytes, l.calls)
		if l.bytes > 20_000 || l.calls["keys"] != 0 {
			t.Errorf("%d bytes for one key, %v", l.bytes, l.calls)
		}
		if n := a.store.reads + b.store.reads; n > 20 {
			t.Errorf("%d keys were read", n)
		}
	})
}

// Once a node goes by another placement it takes nothing that was read under
// the old one; the exchange is made again under the new one.
func TestAStampThatChangesInTheMiddleRefuses(t *testing.T) {
	for _, method := range []string{"compare", "keys", "fetch", "push"} {
		for _, whose := range []string{"theirs", "mine"} {
			t.Run(method+" "+whose, func(t *testing.T) {
				inExCluster(t, 2, 1, 2, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
					// One key for each direction, and one for both.
					refs := []object.Ref{c.ref("a"), c.ref("b"), c.ref("c")}
					base := exPut(t, object.Object{}, 1, 1, 10)
					_, _ = c.nodes[0].store.merge(refs[0], base)
					_, _ = c.nodes[1].store.merge(refs[1], base)
					_, _ = c.nodes[0].store.merge(refs[2], exPut(t, base, 2, 1, 10))
					_, _ = c.nodes[1].store.merge(refs[2], exPut(t, base, 3, 1, 10))
					for k := range 20 * strings.Count(method, "keys") { // too many to be listed
						_, _ = c.nodes[0].store.merge(c.ref(fmt.Sprint("key-", k)), base)
					}
					changed := false // guarded by the cluster
					refused := func() int {
						return c.nodes[0].metric("starling_antientropy_exchanges_total", "refused")
					}
					c.before = func(from, to ring.NodeID, m string) {
						first := false
						c.change(func() { first = m == method && !changed; changed = changed || first })
						if !first {
							return
						}
						if whose == "mine" {
							c.node(from).setView(c.fence())
						} else {
							c.node(to).setView(c.fence())
						}
					}
					c.start()
					c.converge(30 * time.Second)
					if !changed || refused() == 0 || c.log().refreshes == 0 {
						t.Fatalf("changed %v, %d refused, %d refreshes: the stamp went unnoticed", changed, refused(), c.log().refreshes)
					}
				})
			})
		}
	}
}

// A peer that was down, or started again, voids what was proven with it, on
// both sides, until it is proven again.
func TestProofsEndWithTheirPeer(t *testing.T) {
	inExCluster(t, 3, 16, 3, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
		c.start()
		c.converge(5 * time.Second)
		holding := func(n *exNode, peer *exNode) (holds, proven int) {
			r, _ := n.x.HandleReport(t.Context())
			for _, p := range r.Pairs {
				if p.Peer == peer.id && p.Holds {
					holds++
				}
				if p.Peer == peer.id && p.Proven {
					proven++
				}
			}
			return holds, proven
		}
		a, b, other := c.nodes[0], c.nodes[1], c.nodes[2]
		c.kill(b)
		if holds, proven := holding(a, b); holds != 0 || proven != 16 {
			t.Fatalf("%d pairs with a node that is down hold, %d were proven", holds, proven)
		}
		if holds, _ := holding(a, other); holds != 16 {
			t.Fatalf("%d pairs with the third node hold", holds)
		}
		c.revive(b)
		if holds, proven := holding(b, a); holds != 0 || proven != 0 {
			t.Fatalf("%d pairs hold at a node that just started, %d are proven", holds, proven)
		}
		c.converge(5 * time.Second)

		// A restart that nobody saw: the boot alone tells.
		c.change(func() { c.boots[b.id]++ })
		if holds, _ := holding(a, b); holds != 0 {
			t.Fatalf("%d pairs hold though the peer was restarted", holds)
		}
		a.x.Kick()
		c.converge(12 * time.Second)
		if n := a.metric("starling_antientropy_open_pairs", ""); n != 0 {
			t.Fatalf("the metrics count %d open pairs", n)
		}
	})
}

// A replica that cannot read a partition proves nothing about it.
func TestAStoreThatFailsProvesNothing(t *testing.T) {
	for i := range 2 {
		inExCluster(t, 2, 1, 2, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
			c.everywhere("a", 1, 10)
			_, _ = c.nodes[0].store.merge(c.ref("b"), exPut(t, object.Object{}, 1, 1, 10))
			failing := c.nodes[i].store
			failing.fail = errors.New("corrupt")
			c.start()
			time.Sleep(time.Minute)
			for _, n := range c.nodes {
				r, _ := n.x.HandleReport(t.Context())
				if len(r.Pairs) != 1 || r.Pairs[0].Proven || r.Pairs[0].Holds {
					t.Fatalf("report %+v", r.Pairs)
				}
			}
			failing.mu.Lock()
			failing.fail = nil
			failing.mu.Unlock()
			c.converge(30 * time.Second)
		})
	}
}
