package hint

import "time"

// Thresholds of the window.
const (
	// firstWindow is the number of deliveries that a target starts with.
	firstWindow = 2
	// slowFactor times the lowest latency is slow, if it is above that by
	// slowMargin too: below that, the disk's jitter is larger than the signal.
	slowFactor = 2
	slowMargin = 5 * time.Millisecond
	// lowestFor is how long at least the lowest latency is remembered.
	lowestFor = 30 * time.Second
)

// window decides how many deliveries to one target may be under way. It is
// pure: latencies and times go in. A round is as many answers as the window
// is wide; rounds, not answers, are judged, for any one answer may be slow.
type window struct {
	size, max int
	// shrunk is when the window was last halved. Answers to what was sent
	// before speak of the old width and are not counted.
	shrunk time.Time
	// answers of the round, and the sum of their latencies.
	answers int
	sum     time.Duration
	// filled: in this round, deliveries had to wait for the window.
	filled bool
	// lowest are the lowest means of a round, of this period and of the one
	// before; 0 for none.
	lowest      [2]time.Duration
	periodBegan time.Time
}

func newWindow(most int) window { return window{size: min(firstWindow, most), max: most} }

// answered learns how long a delivery took that succeeded.
func (w *window) answered(now time.Time, took time.Duration) {
	if now.Add(-took).Before(w.shrunk) {
		return
	}
	w.answers++
	w.sum += took
	if w.answers < w.size {
		return
	}
	mean, filled := w.sum/time.Duration(w.answers), w.filled
	w.newRound()
	switch lowest := w.lowestOf(now, mean); {
	case mean > max(slowFactor*lowest, lowest+slowMargin):
		w.halve(now)
	case filled && w.size < w.max:
		w.size++
	}
}

// refused learns of a refusal for overload, after that time. It reports whether
// the window gave way; if it cannot, the target is to be left alone for a while.
func (w *window) refused(now time.Time, took time.Duration) bool {
	if now.Add(-took).Before(w.shrunk) {
		return true
	}
	if w.size == 1 {
		return false
	}
	w.halve(now)
	return true
}

func (w *window) halve(now time.Time) {
	w.size, w.shrunk = max(w.size/2, 1), now
	w.newRound()
}

func (w *window) newRound() { w.answers, w.sum, w.filled = 0, 0, false }

// lowestOf takes a mean in, and is the lowest of late.
func (w *window) lowestOf(now time.Time, mean time.Duration) time.Duration {
	if now.Sub(w.periodBegan) > lowestFor {
		w.lowest = [2]time.Duration{mean, w.lowest[0]}
		w.periodBegan = now
	}
	w.lowest[0] = min(w.lowest[0], mean)
	if w.lowest[1] == 0 {
		return w.lowest[0]
	}
	return min(w.lowest[0], w.lowest[1])
}
