package hint

import (
	"testing"
	"time"
)

func TestWindowConversation(t *testing.T) {
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	ms := time.Millisecond
	w := newWindow(5)
	round := func(at, took time.Duration) int {
		for range w.size {
			w.filled = true
			w.answered(start.Add(at), took)
		}
		return w.size
	}
	for _, c := range []struct {
		at, took time.Duration
		want     int
		why      string
	}{
		{0, 20 * ms, 3, "a first round"},
		{1, 20 * ms, 4, "a quick one"},
		{2, 40 * ms, 5, "twice the lowest is not slow"},
		{3, 20 * ms, 5, "no wider than the most"},
		{100 * ms, 41 * ms, 2, "slow"},
		{100*ms + 41*ms, 41 * ms, 1, "slow again"},
		{time.Second, 41 * ms, 1, "no narrower than one"},
		{2 * time.Second, 20 * ms, 2, "quick again"},
		{31 * time.Second, 80 * ms, 1, "slow against a minute's lowest"},
		{63 * time.Second, 80 * ms, 2, "the lowest of long ago is forgotten"},
		{64 * time.Second, 1 * ms, 3, "a new lowest"},
		{65 * time.Second, 6 * ms, 4, "slower by too little to tell"},
		{66 * time.Second, 7 * ms, 2, "slower by enough"},
	} {
		if got := round(c.at, c.took); got != c.want {
			t.Errorf("%s: %d, want %d", c.why, got, c.want)
		}
	}
}

func TestWindowGrowsOnlyWhenItIsFilled(t *testing.T) {
	w, now := newWindow(32), time.Unix(1000, 0)
	for range 100 {
		w.answered(now, time.Millisecond)
	}
	if w.size != firstWindow {
		t.Errorf("grew to %d", w.size)
	}
	if w := newWindow(1); w.size != 1 {
		t.Errorf("begins with %d of 1", w.size)
	}
}

// What was sent before the window was halved does not halve it again.
func TestAnswersOfTheOldWidthDoNotCount(t *testing.T) {
	w, now := newWindow(32), time.Unix(1000, 0)
	w.size = 16
	w.answered(now, time.Second)
	for range 16 {
		if !w.refused(now, time.Second) {
			t.Fatal("it cannot give way")
		}
	}
	for range 100 {
		w.answered(now, time.Hour)
	}
	if w.size != 8 || w.answers != 0 {
		t.Errorf("%d, with %d answers counted", w.size, w.answers)
	}
	now = now.Add(time.Minute)
	for want := 4; want > 0; want /= 2 {
		if !w.refused(now, 0) || w.size != want {
			t.Errorf("%d, want %d", w.size, want)
		}
	}
	if w.refused(now, 0) {
		t.Error("a window of one gave way")
	}
}
