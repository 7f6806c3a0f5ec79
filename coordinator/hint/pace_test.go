package hint

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"starling/coordinator/pace"
	"starling/ring"
)

// checkRate holds what was sent, over any stretch of time, to a rate.
func checkRate(t *testing.T, sent []sent, bytesPerSecond float64) {
	t.Helper()
	for i := range sent {
		sum, largest := 0.0, 0.0
		for _, s := range sent[i:] {
			sum += float64(s.bytes)
			largest = max(largest, float64(s.bytes))
			passed := (s.at - sent[i].at + pace.Burst).Seconds()
			if most := bytesPerSecond*passed + largest; sum > most+1 {
				t.Fatalf("%.0f bytes between %v and %v, at most %.0f are allowed", sum, sent[i].at, s.at, most)
			}
		}
	}
}

func TestByteRateIsHeld(t *testing.T) {
	inWorld(t, func(w *world) {
		const rate, size, count = 1 << 20, 10_000, 400
		w.opts.BytesPerSecond = rate
		w.hints(nodeID(1), count/2, size)
		w.hints(nodeID(2), count/2, size)
		w.start()
		took := w.drained(time.Minute)
		if want := time.Duration(count*size*int64(time.Second)) / rate; took < want-2*pace.Burst || took > want+want/10 {
			t.Errorf("took %v, want about %v", took, want)
		}
		sent := w.cluster.deliveries()
		checkRate(t, sent, rate)
		// Both have their share all the time.
		first := 0
		for _, s := range sent[:count/2] {
			if s.target == nodeID(1) {
				first++
			}
		}
		if first < count/5 || first > count/2-count/5 {
			t.Errorf("of the first %d deliveries %d went to one of two targets", count/2, first)
		}
	})
}

func TestHintLargerThanASecondsBytesPasses(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts.BytesPerSecond = 1000
		w.hints(nodeID(1), 3, 5000)
		w.start()
		if took := w.drained(time.Minute); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("took %v, want about 10s", took)
		}
	})
}

func TestPressureSlowsButFinishes(t *testing.T) {
	inWorld(t, func(w *world) {
		const size, count = 8 << 10, 160
		w.hints(nodeID(1), count, size)
		w.cluster.took = func(int, int) time.Duration { return 50 * time.Millisecond }
		w.cluster.setPressure(1)
		w.start()
		synctest.Wait()
		if got := w.metric("starling_hint_rate_bytes_per_second", ""); got != pace.MinBytesPerSecond {
			t.Errorf("the metric says %v bytes/s", got)
		}
		want := count * size * time.Second / pace.MinBytesPerSecond
		if took := w.drained(time.Minute); took < want-want/10 || took > want+want/10 {
			t.Errorf("took %v, want about %v", took, want)
		}
		checkRate(t, w.cluster.deliveries(), pace.MinBytesPerSecond)
		for _, s := range w.cluster.deliveries() {
			if s.flying > 1 {
				t.Fatalf("%d deliveries at once", s.flying)
			}
		}
	})
}

func TestPaceFollowsThePressure(t *testing.T) {
	inWorld(t, func(w *world) {
		const size = 8 << 10
		w.hints(nodeID(1), 2000, size)
		sentIn := func(d time.Duration) int {
			before := len(w.cluster.deliveries())
			time.Sleep(d)
			synctest.Wait()
			return len(w.cluster.deliveries()) - before
		}
		w.cluster.setPressure(1)
		w.start()
		if n := sentIn(2 * time.Second); n < 10 || n > 20 {
			t.Errorf("%d at the highest pressure, want about 16", n)
		}
		w.cluster.setPressure(0.75)
		time.Sleep(maxWait)
		if n := sentIn(time.Second); n < 200 || n > 300 {
			t.Errorf("%d at three quarters, want about 256", n)
		}
		w.cluster.setPressure(0.2)
		time.Sleep(maxWait)
		if n := sentIn(time.Second); n < 900 || n > 1150 {
			t.Errorf("%d without pressure, want about 1024", n)
		}
	})
}

// A pass that waits for many bytes notices that the pressure is gone.
func TestPressureThatGoesEndsTheWait(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hints(nodeID(1), 2, 1<<20)
		w.cluster.setPressure(1)
		w.start()
		time.Sleep(time.Second)
		if n := len(w.cluster.deliveries()); n != 1 {
			t.Fatalf("%d deliveries in a second of high pressure", n)
		}
		w.cluster.setPressure(0)
		if took := w.drained(time.Minute); took > time.Second {
			t.Errorf("took %v more", took)
		}
	})
}

// While a pass waits for its bytes it learns of a failure.
func TestFailureEndsTheWaitForBytes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts.BytesPerSecond = 1000
		w.hints(nodeID(1), 2, 10_000)
		w.cluster.err = func(int) error { return errors.New("test: it hurts") }
		w.start()
		time.Sleep(100 * time.Millisecond)
		if got := w.target(nodeID(1)); got.LastError == "" || got.State != Waiting {
			t.Errorf("reported as %+v", got)
		}
	})
}

// The same while another target's pass waits for its bytes, and this one for
// its turn.
func TestFailureEndsTheWaitForTheTurn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts.BytesPerSecond = 1000
		w.hints(nodeID(1), 3, 10_000)
		w.hints(nodeID(2), 2, 10_000)
		w.cluster.setDown(nodeID(2), true)
		w.cluster.err = func(n int) error {
			if n == 2 {
				return errors.New("test: it hurts")
			}
			return nil
		}
		w.start()
		time.Sleep(time.Second)
		w.cluster.setDown(nodeID(2), false)
		time.Sleep(20 * time.Second)
		d := w.cluster.deliveries()
		if len(d) != 3 || d[2].target != nodeID(2) || w.target(nodeID(1)).State != Draining {
			t.Fatalf("it did not come to that: %+v", d)
		}
		if got := w.target(nodeID(2)); got.LastError == "" {
			t.Errorf("reported as %+v", got)
		}
	})
}

// A window that the rate keeps from being filled says nothing of the target.
func TestWindowDoesNotGrowUnderARateLimit(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts.BytesPerSecond = 10_000
		w.hints(nodeID(1), 200, 1000)
		w.start()
		w.drained(time.Minute)
		w.stop()
		if n := w.drainer.target(nodeID(1)).window.size; n > firstWindow+1 {
			t.Errorf("grew to %d", n)
		}
	})
}

func TestFailedTargetStartsSmallAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		const fails = 600
		w.opts.BytesPerSecond = 1 << 30
		w.hints(nodeID(1), 700, 10)
		w.cluster.took = func(int, int) time.Duration { return 10 * time.Millisecond }
		w.cluster.err = func(n int) error {
			if n == fails {
				return errors.New("test: only once")
			}
			return nil
		}
		w.start()
		w.drained(time.Minute)
		all := w.cluster.deliveries()
		i := slices.IndexFunc(all, func(s sent) bool { return s.at > all[fails].at+firstPause/2 })
		if n := widest(all[fails-50 : fails]); n < 16 {
			t.Fatalf("only %d at once before the failure", n)
		}
		if n := widest(all[i : i+4]); n > firstWindow+1 {
			t.Errorf("%d at once after it", n)
		}
	})
}

func TestRateAndWidthUnderPressure(t *testing.T) {
	const most = 8 << 20
	for _, c := range []struct {
		pressure float64
		rate     float64
		width    int
	}{
		{-1, most, 32}, {0, most, 32}, {0.5, most, 32}, {0.75, most / 4, 16},
		{0.95, most / 100, 3}, {0.99, pace.MinBytesPerSecond, 1}, {1, pace.MinBytesPerSecond, 1}, {7, pace.MinBytesPerSecond, 1},
	} {
		rate, width := pace.RateUnder(c.pressure, most), widthUnder(c.pressure, 32)
		if rate < 0.99*c.rate || rate > 1.01*c.rate || width != c.width {
			t.Errorf("pressure %v: %.0f bytes/s and %d at once, want %.0f and %d", c.pressure, rate, width, c.rate, c.width)
		}
	}
	if got := pace.RateUnder(1, 1000); got != 1000 {
		t.Errorf("a rate of 1000 bytes/s is raised to %v", got)
	}
}

// What a target can take decides how much is under way to it.
func TestWindowFindsWhatTheTargetCanTake(t *testing.T) {
	inWorld(t, func(w *world) {
		const fits = 10
		w.opts.BytesPerSecond = 1 << 30
		w.hints(nodeID(1), 1500, 10)
		w.cluster.took = func(_, flying int) time.Duration {
			return 10*time.Millisecond + time.Duration(max(flying-fits, 0))*10*time.Millisecond
		}
		w.start()
		w.drained(time.Minute)
		sent := w.cluster.deliveries()
		for i := 300; i+300 < len(sent); i += 100 {
			if n := widest(sent[i : i+300]); n < fits || n > 2*fits {
				t.Errorf("up to %d at once, for a target that can take %d", n, fits)
			}
		}
	})
}

func TestWindowShrinksOnSlowAnswers(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts.BytesPerSecond = 1 << 30
		w.hints(nodeID(1), 1700, 10)
		w.cluster.took = func(n, _ int) time.Duration {
			if n < 1500 {
				return 10 * time.Millisecond
			}
			return 100 * time.Millisecond
		}
		w.start()
		w.drained(10 * time.Minute)
		sent := w.cluster.deliveries()
		if n := widest(sent[1300:1500]); n != DefaultMaxWindow {
			t.Errorf("%d at once to a quick target, want %d", n, DefaultMaxWindow)
		}
		if n := widest(sent[1600:]); n > 2 {
			t.Errorf("%d at once to a slow target", n)
		}
	})
}

// widest is how many deliveries were under way at once.
func widest(sent []sent) int {
	n := 0
	for _, s := range sent {
		n = max(n, s.flying)
	}
	return n
}

func TestOverloadedTargetGetsLess(t *testing.T) {
	inWorld(t, func(w *world) {
		from := 0
		w.hints(nodeID(1), 1500, 10)
		w.opts.BytesPerSecond = 1 << 30
		w.cluster.took = func(int, int) time.Duration { return 10 * time.Millisecond }
		w.cluster.err = func(n int) error {
			if from > 0 && n >= from {
				return fmt.Errorf("test: refused: %w", ErrBusy)
			}
			return nil
		}
		w.start()
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		wide := w.cluster.deliveries()
		if n := widest(wide[len(wide)-100:]); n < 8 {
			t.Fatalf("only %d at once", n)
		}
		w.cluster.change(func() { from = len(wide) })
		time.Sleep(240 * time.Millisecond)
		synctest.Wait()
		refused := w.cluster.deliveries()[from:]
		if last := refused[len(refused)-1]; last.flying != 1 {
			t.Errorf("still %d at once", last.flying)
		}
		if got := w.target(nodeID(1)); got.State != Waiting || got.LastError == "" {
			t.Errorf("reported as %+v", got)
		}
		if n := w.metric("starling_hint_deliveries_total", "busy"); n < 5 || n >= 2*DefaultMaxWindow {
			t.Errorf("%v refusals before it was left alone", n)
		}
		w.cluster.change(func() { from = 0 })
		w.drained(time.Minute)
	})
}

func TestPendingMetricsOfNodesWithOneName(t *testing.T) {
	inWorld(t, func(w *world) {
		w.opts.PeerName = func(ring.NodeID) string { return "same" }
		w.cluster.setDown(nodeID(1), true)
		w.cluster.setDown(nodeID(2), true)
		w.hints(nodeID(1), 3, 10)
		w.hints(nodeID(2), 4, 10)
		w.start()
		if got := w.metric("starling_hints_pending", "same"); got != 7 {
			t.Errorf("%v hints", got)
		}
	})
}
