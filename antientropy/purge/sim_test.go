package purge

import (
	"os"
	"strconv"
	"testing"

	"starling/store/object"
	"starling/store/version"
)

// flaw is one way of weakening the protocol.
type flaw string

// The flaws. The first five, and lateStamp, are parts of the protocol left out;
// the last six are ways in which the rest of a node can break its rules.
const (
	noFlaw      flaw = ""
	noFence     flaw = "no fence"
	noFirst     flaw = "no first verification"
	noWrites    flaw = "hint writes are not compared"
	noBoots     flaw = "boots are not compared"
	lateStamp   flaw = "the stamp is read after the object"
	ownersFirst flaw = "owners are purged before a stale row elsewhere"

	lateDelivery   flaw = "a delivery of a hint goes on after it was given up"
	ungatedHint    flaw = "a coordinator keeps hints without the gate"
	ungatedMove    flaw = "a hint that is moved is kept without the gate"
	ungatedPull    flaw = "pages of a pull are merged without the gate"
	forgetfulFence flaw = "a restart forgets the fence"
	lazyFence      flaw = "the fence is saved without a sync of the rows"
)

// A run is some cycles of anything goes, often a calm in which all is well but
// for the messages that are very late, a delete, and a purge with more disorder.
const (
	cycles    = 4
	disorder  = 100
	purgeTime = 250
)

// simulate is one run. It returns what the oracle saw, "" if all was well.
func simulate(seed uint64, f flaw) (failure string, s simStats) {
	w := newWorld(seed, f)
	for range cycles {
		w.mood(false)
		w.run(disorder)
		if w.chance(80) {
			w.calm()
		}
		if w.chance(70) {
			w.deleteAll()
		}
		w.mood(true)
		w.leader().startRound()
		w.run(purgeTime)
	}
	if w.oracle.failure == "" && seed%10 == 0 {
		w.heal()
	}
	return w.oracle.failure, w.stats
}

func (w *world) run(steps int) {
	for range steps {
		if w.oracle.failure != "" {
			return
		}
		w.step()
	}
}

// calm lets what is under way arrive and makes the members equal.
func (w *world) calm() {
	for range 3 {
		for _, x := range w.members {
			if !x.up {
				x.start()
			}
			x.abandon()
			for range 3 {
				x.gossip()
				x.settle()
				x.deliverHint()
				for _, ref := range w.refs {
					x.exchange(ref)
				}
			}
		}
		w.drain()
	}
}

// deleteAll has a client write a key, for which hints may be left, and delete
// all that is there.
func (w *world) deleteAll() {
	ref := w.ref()
	x := w.members[w.rng.IntN(simMembers)]
	if !x.up || !x.owns() {
		return
	}
	if w.chance(50) {
		p := x.putWith(ref, version.Context{}, object.Sibling{})
		for range 1 + w.rng.IntN(4) {
			p.giveUp(x.pl.Owners[w.rng.IntN(len(x.pl.Owners))])
		}
		if w.chance(50) {
			w.run(w.rng.IntN(40))
		}
	}
	if x.up && x.owns() {
		x.putWith(ref, x.rows[ref].Context(), object.Sibling{Tombstone: true})
	}
}

// heal lets everything arrive, makes all members equal, and purges what there
// is.
func (w *world) heal() {
	w.flood = true
	var last Result
	for range 6 {
		w.calm()
		x := w.members[0]
		x.startRound()
		w.drain()
		if x.round.core.Step() != Done {
			x.round.timeout()
			w.drain()
		}
		last = x.round.core.Result()
	}
	w.oracle.converged(last)
}

// drain runs all tasks and all messages that may come now.
func (w *world) drain() {
	for busy := true; busy; {
		busy = w.deliver()
		for _, x := range w.members {
			busy = busy || len(x.tasks) > 0
			x.runTask()
		}
	}
}

// simRuns is how many runs a search has: PURGE_RUNS, or few enough for
// some seconds.
func simRuns(t *testing.T, runs uint64) uint64 {
	v := os.Getenv("PURGE_RUNS")
	if v == "" {
		return runs
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNothingComesBackAndNothingIsLost(t *testing.T) {
	var sum simStats
	runs := simRuns(t, 120)
	for seed := range runs {
		failure, s := simulate(seed, noFlaw)
		if failure != "" {
			t.Fatalf("seed %d: %s", seed, failure)
		}
		sum.add(s)
	}
	t.Logf("%d runs: %+v", runs, sum)
	if least := int(runs) / 10; sum.purged < least || sum.pruned < least/10 || sum.crashes < least || sum.rings < least || sum.late < least {
		t.Error("the protocol was not put to the test")
	}
}

func (s *simStats) add(o simStats) {
	s.steps += o.steps
	s.puts += o.puts
	s.crashes += o.crashes
	s.rings += o.rings
	s.rounds += o.rounds
	s.fenced += o.fenced
	s.purged += o.purged
	s.pruned += o.pruned
	s.refused += o.refused
	s.late += o.late
}

// Every weakening is caught. The seeds are those of the first counterexample;
// a change of the simulation may move it, so the search goes on behind it.
func TestFlawsAreCaught(t *testing.T) {
	for _, tc := range []struct {
		flaw flaw
		seed uint64
	}{
		{noFence, 1},
		{noFirst, 146},
		{noWrites, 1928},
		{noBoots, 27080},
		{lateStamp, 120},
		{ownersFirst, 36},
		{lateDelivery, 2961},
		{ungatedHint, 3},
		{ungatedMove, 36},
		{ungatedPull, 116},
		{forgetfulFence, 464},
		{lazyFence, 3459},
	} {
		t.Run(string(tc.flaw), func(t *testing.T) {
			end := tc.seed + simRuns(t, 5000)
			for seed := tc.seed; seed < end; seed++ {
				failure, _ := simulate(seed, tc.flaw)
				if failure == "" {
					continue
				}
				t.Logf("seed %d: %s", seed, failure)
				if failure, _ := simulate(seed, noFlaw); failure != "" {
					t.Errorf("seed %d without the flaw: %s", seed, failure)
				}
				return
			}
			t.Errorf("no counterexample from seed %d to %d", tc.seed, end)
		})
	}
}
