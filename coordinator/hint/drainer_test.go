package hint

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
)

func TestDrainsEverything(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hints(nodeID(2), 300, 100)
		w.hints(nodeID(1), 40, 100)
		w.start()
		w.drained(5 * time.Second)
		want := []Target{{Node: nodeID(1), State: Idle, Delivered: 40}, {Node: nodeID(2), State: Idle, Delivered: 300}}
		if got := w.drainer.Targets(); !slices.Equal(got, want) {
			t.Errorf("targets %+v, want %+v", got, want)
		}
		if n := len(w.cluster.deliveries()); n != 340 {
			t.Errorf("%d deliveries, want one for each hint", n)
		}
		if got := w.metric("starling_hint_deliveries_total", "node-2"); got != 300 {
			t.Errorf("metric of node-2 counts %v deliveries", got)
		}
	})
}

func TestHintsOfATargetGoInOrder(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts.MaxWindow = 1
		w.hints(nodeID(1), 30, 10)
		w.start()
		w.drained(time.Second)
		if d := w.cluster.deliveries(); !slices.IsSortedFunc(d, func(a, b sent) int { return compareNames(a.name, b.name) }) {
			t.Errorf("sent in the order %+v", d)
		}
	})
}

func TestUnusableTargetWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hints(nodeID(1), 10, 100)
		w.hints(nodeID(2), 10, 100)
		w.cluster.setDown(nodeID(1), true)
		w.start()
		time.Sleep(time.Hour)
		got := w.target(nodeID(1))
		if got.State != Waiting || got.Hints != 10 || got.Bytes == 0 || got.Delivered != 0 {
			t.Errorf("reported as %+v", got)
		}
		if got := w.target(nodeID(2)); got.State != Idle || got.Delivered != 10 {
			t.Errorf("the other one is reported as %+v", got)
		}
		if n := len(w.cluster.deliveries()); n != 10 {
			t.Errorf("%d deliveries, of which 10 were due", n)
		}
		if n := w.store.walked(); n != 1 {
			t.Errorf("%d walks over hints, want one of the target that is up", n)
		}
		if hints, bytes := w.metric("starling_hints_pending", "node-1"), w.metric("starling_hints_pending_bytes", "node-1"); hints != 10 || bytes != float64(got.Bytes) {
			t.Errorf("metrics say %v hints and %v bytes", hints, bytes)
		}
		w.cluster.setDown(nodeID(1), false)
		if took := w.drained(5 * time.Second); took > DefaultTick+100*time.Millisecond {
			t.Errorf("took %v without any call", took)
		}
	})
}

func TestKickLooksAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts.Tick = time.Hour
		w.hints(nodeID(1), 10, 100)
		w.cluster.setDown(nodeID(1), true)
		w.start()
		synctest.Wait()
		w.cluster.setDown(nodeID(1), false)
		w.drainer.Kick()
		w.drainer.Kick()
		w.drained(time.Second)
	})
}

func TestTargetThatGoesDownEndsThePass(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hints(nodeID(1), 100, 10)
		w.cluster.during = func(n int, _ name) {
			if n == 20 {
				w.cluster.setDown(nodeID(1), true)
			}
		}
		w.start()
		time.Sleep(time.Minute)
		if n := len(w.cluster.deliveries()); n > 20+DefaultMaxWindow {
			t.Errorf("%d deliveries", n)
		}
		if got := w.target(nodeID(1)); got.State != Waiting || got.LastError != "" {
			t.Errorf("reported as %+v", got)
		}
		w.cluster.setDown(nodeID(1), false)
		w.drained(time.Second)
	})
}

// The holder stops in the middle, and a new one starts on the same disk.
func TestHolderRestarts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hints(nodeID(1), 200, 100)
		w.cluster.took = func(int, int) time.Duration { return 20 * time.Millisecond }
		w.start()
		time.Sleep(150 * time.Millisecond)
		if got := w.target(nodeID(1)); got.State != Draining {
			t.Errorf("reported as %+v", got)
		}
		w.stop()
		if got := w.target(nodeID(1)); got.State != Waiting || got.LastError != "" {
			t.Errorf("after the end reported as %+v", got)
		}
		if left := w.store.left(); left == 0 || left == 200 {
			t.Fatalf("stopped with %d hints left: not in the middle", left)
		}
		before := len(w.cluster.deliveries())
		time.Sleep(time.Minute)
		if n := len(w.cluster.deliveries()); n != before {
			t.Errorf("%d deliveries after the end", n-before)
		}
		w.start()
		w.drained(10 * time.Second)
	})
}

// A crash between a delivery and its drop: the hint is delivered twice, and
// the target's copy is as after once.
func TestDropThatDidNotHappen(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hints(nodeID(1), 5, 100)
		w.store.setFailDrop(errors.New("test: power is gone"))
		w.start()
		time.Sleep(100 * time.Millisecond)
		if got := w.target(nodeID(1)); got.Delivered != 0 || !strings.Contains(got.LastError, "power is gone") {
			t.Errorf("reported as %+v", got)
		}
		w.stop()
		w.store.setFailDrop(nil)
		before := len(w.cluster.deliveries())
		w.start()
		w.drained(time.Second)
		if n := len(w.cluster.deliveries()); before == 0 || n != before+5 {
			t.Errorf("%d deliveries, %d of them before the restart", n, before)
		}
	})
}

func TestHintChangedMeanwhileSurvives(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hints(nodeID(1), 10, 100)
		w.cluster.during = func(n int, at name) {
			if at.ref == refOf(3) && n < 10 {
				w.hint(nodeID(1), 3, valued(t, 1000, 50))
			}
		}
		w.start()
		w.drained(5 * time.Second)
		if n := len(w.cluster.deliveries()); n != 11 {
			t.Errorf("%d deliveries, want one more than the 10 hints", n)
		}
		if got := w.metric("starling_hint_deliveries_total", "changed"); got != 1 {
			t.Errorf("%v counted as changed", got)
		}
		if got := w.target(nodeID(1)).Delivered; got != 10 {
			t.Errorf("%d hints delivered, want 10", got)
		}
	})
}

func TestHintsBehindTheCursorGoInTheNextPass(t *testing.T) {
	inWorld(t, func(w *world) {
		for n := range 20 {
			w.hint(nodeID(1), 100+7*n, valued(t, 1, 10))
		}
		w.cluster.during = func(n int, _ name) {
			if n == 10 {
				w.hint(nodeID(1), 2, valued(t, 1, 10)) // its partition equals that of the others
			}
		}
		w.start()
		w.drained(time.Second)
	})
}

func TestFailurePausesAndRecovers(t *testing.T) {
	inWorld(t, func(w *world) {
		healed := false
		w.hint(nodeID(1), 0, valued(t, 1, 10))
		w.cluster.took = func(int, int) time.Duration { return 0 }
		w.cluster.err = func(int) error {
			if healed {
				return nil
			}
			return errors.New("test: it hurts")
		}
		w.opts.Tick = 10 * time.Millisecond
		w.start()
		time.Sleep(30 * time.Second)
		if got := w.target(nodeID(1)); got.State != Waiting || got.LastError != "test: it hurts" {
			t.Errorf("reported as %+v", got)
		}
		var at []time.Duration
		for _, s := range w.cluster.deliveries() {
			at = append(at, s.at)
		}
		ms := time.Millisecond
		if want := []time.Duration{0, 250 * ms, 750 * ms, 1750 * ms, 3750 * ms, 7750 * ms, 12750 * ms, 17750 * ms, 22750 * ms, 27750 * ms}; !slices.Equal(at, want) {
			t.Errorf("tried at %v, want %v", at, want)
		}
		w.cluster.change(func() { healed = true })
		w.drained(5 * time.Second)
		if got := w.target(nodeID(1)); got.LastError != "" || got.State != Idle {
			t.Errorf("after it healed, reported as %+v", got)
		}
		// The success was the end of the long pauses.
		w.cluster.change(func() { healed = false })
		before := len(w.cluster.deliveries())
		w.hint(nodeID(1), 1, valued(t, 1, 10))
		time.Sleep(time.Second)
		if n := len(w.cluster.deliveries()) - before; n != 3 {
			t.Errorf("tried %d times in a second, want 3", n)
		}
	})
}

func TestFailureEndsThePass(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hints(nodeID(1), 100, 10)
		w.cluster.err = func(n int) error {
			if n == 0 {
				return errors.New("test: only once")
			}
			return nil
		}
		w.start()
		time.Sleep(200 * time.Millisecond)
		if n := len(w.cluster.deliveries()); n >= 2*firstWindow {
			t.Errorf("%d deliveries before the pause", n)
		}
		w.drained(time.Second)
	})
}

func TestReplay(t *testing.T) {
	inWorld(t, func(w *world) {
		healed := false
		w.hints(nodeID(1), 10, 10)
		w.hints(nodeID(2), 5, 10)
		w.cluster.setDown(nodeID(2), true)
		w.cluster.err = func(int) error {
			if healed {
				return nil
			}
			return errors.New("test: it hurts")
		}
		w.opts.Tick = time.Hour
		w.start()
		time.Sleep(5 * time.Millisecond)
		w.cluster.change(func() { healed = true })
		w.drainer.Kick()
		time.Sleep(10 * time.Millisecond)
		if n := w.store.left(); n != 15 {
			t.Errorf("%d hints are left: a mere kick ended the pause", n)
		}
		if n, err := w.drainer.Replay(nodeID(2)); n != 5 || err != nil {
			t.Errorf("of the other target %d hints, %v", n, err)
		}
		time.Sleep(10 * time.Millisecond)
		if n := w.store.left(); n != 15 {
			t.Errorf("%d hints are left: the replay of another target ended the pause", n)
		}
		if n, err := w.drainer.Replay(nodeID(1)); n != 10 || err != nil {
			t.Errorf("%d hints, %v", n, err)
		}
		time.Sleep(50 * time.Millisecond)
		if n := w.store.left(); n != 5 {
			t.Errorf("%d hints are left, want those of the target that is down", n)
		}
		w.cluster.setDown(nodeID(2), false)
		if n, err := w.drainer.Replay(ring.NodeID{}); n != 5 || err != nil {
			t.Errorf("of all targets %d hints, %v", n, err)
		}
		w.drained(time.Second)
		if n, err := w.drainer.Replay(nodeID(9)); n != 0 || err != nil {
			t.Errorf("of a stranger %d hints, %v", n, err)
		}
		w.stop()
		if _, err := w.drainer.Replay(ring.NodeID{}); !errors.Is(err, ErrNotRunning) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// A target that never answers: its hint stays, and the others go on.
func TestDeliveryTimesOut(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts.Timeout = time.Second
		w.hint(nodeID(1), 0, valued(t, 1, 10))
		w.cluster.took = func(n, _ int) time.Duration {
			if n == 0 {
				return time.Hour
			}
			return time.Millisecond
		}
		w.start()
		if took := w.drained(5 * time.Second); took < time.Second+firstPause {
			t.Errorf("took %v", took)
		}
		if d := w.cluster.deliveries(); len(d) != 2 || d[0].end != time.Second || !errors.Is(d[0].err, context.DeadlineExceeded) {
			t.Errorf("deliveries %+v", d)
		}
	})
}

func TestDamagedHintIsSkipped(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hints(nodeID(1), 50, 10)
		bad := name{nodeID(1), refOf(17)}
		w.store.setDamaged(bad)
		delete(w.wrote, bad)
		w.start()
		time.Sleep(10 * time.Minute)
		if n := w.store.left(); n != 1 {
			t.Fatalf("%d hints are left, want the damaged one", n)
		}
		got := w.target(nodeID(1))
		if got.State != Waiting || got.Hints != 1 || got.Delivered != 49 || got.LastError != errDamage.Error() {
			t.Errorf("reported as %+v", got)
		}
		if n := w.metric("starling_hints_damaged_total", ""); n != 1 {
			t.Errorf("counted %v times", n)
		}
		if n := strings.Count(w.log.String(), "cannot be read"); n != 1 || !strings.Contains(w.log.String(), "key=key-00017") {
			t.Errorf("logged %d times:\n%s", n, w.log)
		}
		if n := w.store.walked(); n > 130 {
			t.Errorf("%d walks in ten minutes for a hint that cannot be read", n)
		}
		w.hint(nodeID(1), 1, valued(t, 99, 10))
		time.Sleep(lastPause + time.Second)
		if n := w.store.left(); n != 1 {
			t.Errorf("%d hints are left: a new one does not pass the damaged one", n)
		}
	})
}

func TestRunWaitsForItsGoroutines(t *testing.T) {
	inWorld(t, func(w *world) {
		const slowEnd = 3 * time.Second
		w.hints(nodeID(1), 10, 10)
		w.hints(nodeID(2), 10, 10)
		w.cluster.stubborn = true
		w.cluster.took = func(int, int) time.Duration { return slowEnd }
		w.start()
		time.Sleep(100 * time.Millisecond)
		start := time.Now()
		w.stop()
		if took := time.Since(start); took < slowEnd-100*time.Millisecond || took > slowEnd {
			t.Errorf("the end took %v", took)
		}
		for _, s := range w.cluster.deliveries() {
			if s.end == 0 {
				t.Errorf("%s is still being delivered", s.ref.Key)
			}
		}
	})
}

func TestOneRunAtATime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		synctest.Wait()
		if err := w.drainer.Run(t.Context()); err == nil {
			t.Error("a second Run began")
		}
		if _, err := w.drainer.Replay(ring.NodeID{}); err != nil {
			t.Errorf("the second Run ended the first: %v", err)
		}
	})
}
