package antientropy

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"starling/ring"
)

// pairsOf counts the pairs of a ledger that match.
func pairsOf(l *ledger, match func(Pair) bool) (n int) {
	for _, p := range l.report(0) {
		if match(p) {
			n++
		}
	}
	return n
}

func holding(p Pair) bool { return p.Holds }

func newLedger(t testing.TB, nodes, parts int) (*ledger, *ring.View) {
	t.Helper()
	var members []ring.Member
	for i := range nodes {
		members = append(members, ring.Member{ID: nodeID(i), Weight: 100})
	}
	r, err := ring.New(ring.Config{Partitions: parts, Replicas: 3}, members)
	if err != nil {
		t.Fatal(err)
	}
	v := ring.NewView(r, settledEverywhere)
	l := &ledger{self: nodeID(0), interval: 10 * time.Second, always: true}
	l.update(v, 0)
	for _, p := range l.peers {
		l.see(0, p.id, true, 1)
	}
	return l, v
}

// proveAll has every pair of the ledger proven equal.
func proveAll(l *ledger, now time.Duration) {
	for _, peer := range l.peers {
		due, epoch := l.take(now, peer.id, nil)
		for ; len(due) > 0; due, epoch = l.take(now, peer.id, nil) {
			for _, p := range due {
				l.ended(now, ending{peer: peer.id, partition: p, epoch: epoch, began: now, outcome: outcomeEqual})
			}
		}
		for i := range peer.pairs {
			l.compared(now, peer.id, peer.pairs[i].partition, true)
		}
	}
}

// Each pair of owners is begun by one of its two, and every node begins about
// as many as the others.
func TestOneOfTwoOwnersBegins(t *testing.T) {
	begun := map[ring.NodeID]int{}
	_, v := newLedger(t, 5, 1024)
	for p := range uint32(1024) {
		owners := v.Placement(int(p)).Owners
		for i, a := range owners {
			for _, b := range owners[i+1:] {
				if beginsExchange(p, a, b) == beginsExchange(p, b, a) {
					t.Fatalf("partition %d: %s and %s agree on who begins: %v", p, a, b, beginsExchange(p, a, b))
				}
				if beginsExchange(p, a, b) {
					begun[a]++
				} else {
					begun[b]++
				}
			}
		}
	}
	for id, n := range begun {
		if n < 3*1024/5*8/10 || n > 3*1024/5*12/10 {
			t.Errorf("%s begins %d exchanges", id, n)
		}
	}
}

// Regular comparisons come once in an interval, and spread over it.
func TestTurnsSpreadOverTheInterval(t *testing.T) {
	for _, interval := range []time.Duration{10 * time.Millisecond, 10 * time.Second, 24 * time.Hour} {
		for _, now := range []time.Duration{0, 1, interval - 1, interval, 1000*interval + 12345} {
			var perTenth [10]int
			for p := range uint32(1000) {
				at := nextTurn(now, p, interval)
				if at <= now || at > now+interval {
					t.Fatalf("at %v, partition %d of interval %v: next turn at %v", now, p, interval, at)
				}
				if again := nextTurn(at, p, interval); again != at+interval {
					t.Fatalf("the turn after %v is %v", at, again)
				}
				perTenth[(at-now-1)*10/interval]++
			}
			for _, n := range perTenth {
				if n < 80 || n > 120 {
					t.Fatalf("interval %v: %v comparisons in each tenth", interval, perTenth)
				}
			}
		}
	}
}

func TestAProofIsOnlyOneOfTheEpochItWasAskedIn(t *testing.T) {
	l, _ := newLedger(t, 3, 8)
	peer := nodeID(1)
	due, epoch := l.take(0, peer, nil)
	l.see(1, peer, true, 2) // restarted while the question was under way
	l.ended(2, ending{peer: peer, partition: due[0], epoch: epoch, outcome: outcomeEqual})
	if n := pairsOf(l, holding); n != 0 {
		t.Fatalf("%d pairs hold by an answer from before the restart", n)
	}
	again, epoch := l.take(3, peer, nil)
	if !slices.Equal(again, due) {
		t.Fatalf("due %v, want %v again", again, due)
	}
	l.ended(4, ending{peer: peer, partition: due[0], epoch: epoch, began: 3, outcome: outcomeEqual})
	if n := pairsOf(l, holding); n != 1 {
		t.Fatalf("%d pairs hold, want 1", n)
	}
}

// What voids a proof, and what does not.
func TestProofsHoldUntilSomethingHappens(t *testing.T) {
	peer := nodeID(1)
	for name, tc := range map[string]struct {
		event func(l *ledger, v *ring.View)
		holds bool
	}{
		"nothing":       {func(*ledger, *ring.View) {}, true},
		"the same boot": {func(l *ledger, _ *ring.View) { l.see(5, peer, true, 1) }, true},
		"down":          {func(l *ledger, _ *ring.View) { l.see(5, peer, false, 1) }, false},
		"down and back": {func(l *ledger, _ *ring.View) { l.see(5, peer, false, 1); l.see(6, peer, true, 1) }, false},
		"restarted":     {func(l *ledger, _ *ring.View) { l.see(5, peer, true, 2) }, false},
		"other peer":    {func(l *ledger, _ *ring.View) { l.see(5, nodeID(2), false, 1) }, true},
		"found equal while it is down": {func(l *ledger, _ *ring.View) {
			l.see(5, peer, false, 1)
			for p := range uint32(8) {
				l.compared(6, peer, p, true)
			}
		}, false},
		"found to differ": {func(l *ledger, _ *ring.View) {
			for p := range uint32(8) {
				l.compared(5, peer, p, false)
			}
		}, false},
		"same view, new fence": {func(l *ledger, v *ring.View) { l.update(ring.NewFencedView(v.Ring(), 9, settledEverywhere), 5) }, true},
		"no owner any more, then one again": {func(l *ledger, v *ring.View) {
			l.update(ring.NewView(v.Ring(), func(id ring.NodeID, _ int) bool { return id != peer }), 5)
			l.update(v, 6)
			l.see(6, peer, true, 1)
		}, false},
	} {
		l, v := newLedger(t, 3, 8)
		proveAll(l, 1)
		if n := pairsOf(l, holding); n != 16 {
			t.Fatalf("%d of 16 pairs hold to begin with", n)
		}
		tc.event(l, v)
		n := pairsOf(l, func(p Pair) bool { return p.Peer == peer && p.Holds })
		if n != map[bool]int{true: 8}[tc.holds] {
			t.Errorf("%s: %d of 8 pairs hold", name, n)
		}
		if n := pairsOf(l, func(p Pair) bool { return p.Peer != peer && p.Holds }); n != 8 && name != "other peer" {
			t.Errorf("%s: %d of 8 pairs with another peer hold", name, n)
		}
		if _, open := l.oldest(7); tc.holds && open != 0 && name != "other peer" || !tc.holds && open != 8 {
			t.Errorf("%s: %d open pairs", name, open)
		}
	}
}

// Without traffic and with all peers alive a pair is due once in an interval;
// one that proves nothing is retried, ever less often; only to see what a first
// repair achieved there is no pause.
func TestRetriesPauseLongerAndLonger(t *testing.T) {
	l, _ := newLedger(t, 3, 8)
	peer := nodeID(1)
	proveAll(l, 0)
	l.see(0, peer, false, 1)
	l.see(0, peer, true, 1)
	now := time.Duration(0)
	var pauses []time.Duration
	for range 10 {
		due, epoch := l.take(now, peer, nil)
		partition := due[0]
		l.ended(now, ending{peer: peer, partition: partition, epoch: epoch, outcome: outcomeVanished})
		p := l.peer(peer).find(partition)
		pauses = append(pauses, p.due-now)
		now = p.due
	}
	if pauses[0] != 0 || pauses[1] != 2*retryPause || pauses[2] != 4*retryPause || pauses[9] != l.interval || !slices.IsSorted(pauses) {
		t.Errorf("pauses %v", pauses)
	}
	l.failed(now, peer)
	l.failed(now, peer)
	if due, _ := l.take(now+retryPause, peer, nil); len(due) != 0 {
		t.Error("a peer that failed twice is asked again after one pause")
	}
	if due, _ := l.take(now+2*retryPause, peer, nil); len(due) == 0 {
		t.Error("a peer that failed is not asked again")
	}
}

// While peers wait, those served last come last; and never more than MaxPeers
// have a pass.
func TestPeersTakeTurns(t *testing.T) {
	l, _ := newLedger(t, 6, 64)
	served := map[ring.NodeID]int{}
	now := time.Duration(0)
	for range 50 {
		now++
		began := slices.Clone(l.begin(now))
		if len(began) != MaxPeers || len(l.begin(now)) != 0 {
			t.Fatalf("%d passes began, and then more", len(began))
		}
		for _, id := range began {
			now++
			served[id]++
			l.end(now, id)
		}
	}
	for id, n := range served {
		if n != 20 {
			t.Errorf("%s had %d turns of 100 among 5 peers", id, n)
		}
	}
	if len(served) != 5 {
		t.Errorf("%d peers had turns", len(served))
	}
}

// A repair does not wait for pairs that are there no more.
func TestARepairEndsThoughItsPairsAreGone(t *testing.T) {
	l, v := newLedger(t, 3, 8)
	if err := l.startRepair(1, time.Time{}, RepairRequest{Node: nodeID(1)}); err != nil || !l.repair.running() {
		t.Fatal(err)
	}
	l.update(ring.NewView(v.Ring(), func(id ring.NodeID, p int) bool { return id != nodeID(1) || p < 2 }), 2)
	if s := l.repair.status(); !s.Running || s.PairsTotal != 1 {
		t.Errorf("with one pair left: %+v", s)
	}
	l.update(ring.NewView(v.Ring(), func(id ring.NodeID, _ int) bool { return id != nodeID(1) }), 3)
	if s := l.repair.status(); s.Running || s.PairsTotal != 0 {
		t.Errorf("with none left: %+v", s)
	}
}

// Of several owners that would exchange a partition with this node one does.
func TestAPartitionIsExchangedWithOneOwnerAtATime(t *testing.T) {
	l, _ := newLedger(t, 3, 8)
	a, b := nodeID(1), nodeID(2)
	check := func(what string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("the first", l.reserve(10, 3, a, 20), true)
	check("another", l.reserve(11, 3, b, 21), false)
	check("another partition", l.reserve(11, 4, b, 21), true)
	l.release(12, 3, b)
	check("released by another", l.reserve(13, 3, b, 36), false)
	check("the same again", l.reserve(27, 3, a, 37), true)
	l.compared(28, a, 3, true)
	check("after equality", l.reserve(28, 3, b, 38), true)
	check("after it ran out", l.reserve(50, 3, a, math.MaxInt64), true)
	l.see(51, a, false, 1)
	check("while its owner is down", l.reserve(52, 3, b, 60), true)
	l.hold([]uint32{5, 1 << 31}, 100)
	check("held", l.reserve(99, 5, a, 110), false)
	check("held no more", l.reserve(100, 5, a, 110), true)
	check("no such partition", l.reserve(0, 1<<31, a, 10), false)
}

// A look at an idle cluster of the usual size: what it costs every tick.
func BenchmarkIdleLook(b *testing.B) {
	for _, nodes := range []int{5, 50} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			l, v := newLedger(b, nodes, 1024)
			proveAll(l, 0)
			for _, peer := range l.peers {
				for i := range peer.pairs {
					peer.pairs[i].due = math.MaxInt64
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				l.update(v, 1)
				for _, p := range l.peers {
					l.see(1, p.id, true, 1)
				}
				l.begin(1)
			}
		})
	}
}
