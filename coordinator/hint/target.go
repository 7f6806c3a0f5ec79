package hint

import (
	"sync"
	"time"

	"starling/ring"
	"starling/store/object"
)

// The pause after a failure: it doubles from the first to the last.
const (
	firstPause = 250 * time.Millisecond
	lastPause  = 5 * time.Second
)

// maxDamaged bounds how many places with damaged hints are remembered for a
// target, so that each is counted and logged once.
const maxDamaged = 256

// target is what is known of one node that has hints here.
type target struct {
	id ring.NodeID

	// window and damaged belong to the pass, of which there is one at a time.
	window  window
	damaged map[object.Ref]struct{}

	mu        sync.Mutex
	draining  bool
	delivered int64
	lastError string
	pause     time.Duration
	notBefore time.Time
}

func newTarget(id ring.NodeID, maxWindow int) *target {
	return &target{id: id, window: newWindow(maxWindow), damaged: make(map[object.Ref]struct{})}
}

// rested says whether a pass may begin: none is running and no pause.
func (t *target) rested(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.draining && !now.Before(t.notBefore)
}

func (t *target) start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draining = true
}

// finish ends a pass. err is why it did not get to its end, or got nothing
// done; nil otherwise.
func (t *target) finish(now time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draining = false
	if err != nil {
		t.lastError = err.Error()
		t.pause = min(max(2*t.pause, firstPause), lastPause)
		t.notBefore = now.Add(t.pause)
	}
}

// succeeded counts a delivery; dropped tells whether its hint is gone.
func (t *target) succeeded(dropped bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if dropped {
		t.delivered++
	}
	t.lastError, t.pause, t.notBefore = "", 0, time.Time{}
}

// forgive forgets the pause.
func (t *target) forgive() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pause, t.notBefore = 0, time.Time{}
}

func (t *target) report(total object.HintTotals) Target {
	t.mu.Lock()
	defer t.mu.Unlock()
	state := Idle
	switch {
	case t.draining:
		state = Draining
	case total.Hints > 0:
		state = Waiting
	}
	return Target{
		Node: t.id, Hints: total.Hints, Bytes: total.Bytes,
		State: state, Delivered: t.delivered, LastError: t.lastError,
	}
}
