package hint

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"starling/ring"
	"starling/store/object"
)

// mover is the other members, which take the hints of a node that leaves.
type mover struct {
	w *world

	mu      sync.Mutex
	leaving bool
	err     error
	during  func(n int, at name)
	moves   int
	kept    map[name]object.Object
}

func (m *mover) Leaving() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leaving
}

func (m *mover) Move(_ context.Context, target ring.NodeID, ref object.Ref, o object.Object) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := name{target, ref}
	if m.moves++; m.during != nil {
		m.during(m.moves, at)
	}
	if m.err != nil {
		return m.err
	}
	m.kept[at] = object.Merge(m.kept[at], o)
	return nil
}

func (m *mover) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// moved counts the hints that others keep, and holds each to all that was hinted.
func (m *mover) moved() int {
	m.w.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for at, o := range m.kept {
		if want := m.w.wrote[at]; !o.Equal(want) {
			m.w.t.Errorf("%s for %s is kept as %+v, want %+v", at.ref.Key, at.target, o, want)
		}
	}
	return len(m.kept)
}

// inLeavingWorld is inWorld with other members that take hints.
func inLeavingWorld(t *testing.T, f func(w *world, m *mover)) {
	t.Helper()
	inWorld(t, func(w *world) {
		m := &mover{w: w, kept: make(map[name]object.Object)}
		w.opts.Mover = m
		f(w, m)
	})
}

// emptied waits until no hint is left here.
func (w *world) emptied(within time.Duration) {
	w.t.Helper()
	for start := time.Now(); w.store.left() > 0; time.Sleep(time.Millisecond) {
		if time.Since(start) > within {
			w.t.Fatalf("%d hints are left after %v: %+v", w.store.left(), within, w.drainer.Targets())
		}
	}
}

func TestHintsMoveWhenTheNodeLeaves(t *testing.T) {
	inLeavingWorld(t, func(w *world, m *mover) {
		w.hints(nodeID(1), 100, 100)
		w.hints(nodeID(2), 20, 100)
		w.cluster.setDown(nodeID(1), true)
		w.start()
		time.Sleep(time.Minute)
		hints, bytes := w.drainer.Pending()
		if hints != 100 || bytes == 0 || m.moved() != 0 {
			t.Fatalf("%d hints of %d bytes are left, %d moved, by a node that stays", hints, bytes, m.moved())
		}
		m.set(func() { m.leaving = true })
		w.emptied(5 * time.Second)
		time.Sleep(time.Second)
		if n := m.moved(); n != 100 || m.moves != 100 {
			t.Errorf("%d hints were moved by %d calls, want 100", n, m.moves)
		}
		if n := len(w.cluster.deliveries()); n != 20 {
			t.Errorf("%d deliveries, want 20: those of the target that is up", n)
		}
		if hints, bytes := w.drainer.Pending(); hints != 0 || bytes != 0 {
			t.Errorf("%d hints of %d bytes are left", hints, bytes)
		}
		if got := w.target(nodeID(1)); got.State != Idle || got.Delivered != 100 {
			t.Errorf("reported as %+v", got)
		}
		for result, want := range map[string]float64{"moved": 100, "delivered": 20, "failed": 0} {
			if got := w.metric("starling_hint_deliveries_total", result); got != want {
				t.Errorf("metric says that %v were %s, want %v", got, result, want)
			}
		}
	})
}

// A hint stays until another keeps it, and what it waits for is reported.
func TestAHintThatNobodyTakesStays(t *testing.T) {
	inLeavingWorld(t, func(w *world, m *mover) {
		m.leaving, m.err = true, errors.New("no member is up")
		w.hints(nodeID(1), 10, 100)
		w.cluster.setDown(nodeID(1), true)
		w.start()
		time.Sleep(time.Minute)
		got := w.target(nodeID(1))
		if got.Hints != 10 || got.State != Waiting || !strings.Contains(got.LastError, "no member is up") {
			t.Errorf("reported as %+v", got)
		}
		if n := m.moves; n == 0 || n > 40 {
			t.Errorf("%d tries in a minute", n)
		}
		m.set(func() { m.err = nil })
		w.emptied(lastPause + time.Second)
		if n := m.moved(); n != 10 {
			t.Errorf("%d were moved", n)
		}
	})
}

// A target that comes back while hints move gets the rest itself.
func TestATargetThatComesBackIsDeliveredTo(t *testing.T) {
	inLeavingWorld(t, func(w *world, m *mover) {
		m.leaving = true
		m.during = func(n int, _ name) {
			if n == 10 {
				w.cluster.setDown(nodeID(1), false)
			}
		}
		w.hints(nodeID(1), 200, 100)
		w.cluster.setDown(nodeID(1), true)
		w.start()
		w.emptied(10 * time.Second)
		moved, delivered := m.moved(), len(w.cluster.deliveries())
		if moved < 10 || moved > 10+DefaultMaxWindow || moved+delivered != 200 {
			t.Errorf("%d moved, %d delivered", moved, delivered)
		}
	})
}

// What is merged into a hint while it moves does not go with it.
func TestAHintThatChangesWhileItMovesGoesAgain(t *testing.T) {
	inLeavingWorld(t, func(w *world, m *mover) {
		m.leaving = true
		at := name{nodeID(1), refOf(3)}
		m.during = func(_ int, n name) {
			if n == at && m.kept[at].Absent() {
				w.hint(at.target, 3, valued(t, 1000, 50))
			}
		}
		w.hints(nodeID(1), 10, 100)
		w.cluster.setDown(nodeID(1), true)
		w.start()
		w.emptied(5 * time.Second)
		if n := m.moved(); n != 10 || m.moves != 11 {
			t.Errorf("%d hints were moved by %d calls, want 10 by 11", n, m.moves)
		}
	})
}

// A keeper that is overloaded gets less at once.
func TestAKeeperThatIsBusyIsSpared(t *testing.T) {
	inLeavingWorld(t, func(w *world, m *mover) {
		m.leaving, m.err = true, fmt.Errorf("keeper: %w", ErrBusy)
		w.hints(nodeID(1), 50, 100)
		w.cluster.setDown(nodeID(1), true)
		w.start()
		time.Sleep(10 * time.Second)
		m.set(func() { m.err = nil })
		w.emptied(lastPause + 5*time.Second)
		if m.moved() != 50 || w.metric("starling_hint_deliveries_total", "busy") == 0 {
			t.Errorf("%d moved, %v refused", m.moved(), w.metric("starling_hint_deliveries_total", "busy"))
		}
	})
}
