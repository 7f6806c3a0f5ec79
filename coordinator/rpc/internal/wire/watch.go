package wire

import "time"

// watch decides from looks at a connection, taken at intervals, when to ping
// the peer and when to give it up. It is pure: what is seen and the time go in,
// a verdict comes out. See the package comment, "Liveness".
//
// It counts the time that it has seen pass, not what a clock says: a look
// that comes late counts one interval, and one that comes so late that this
// process must have stood still (stopped, or asleep with its machine) starts
// the count anew. So no peer is given up before it was pinged and this process
// was there to hear an answer.
type watch struct {
	pingEvery, deadAfter         time.Duration
	busyPingEvery, busyDeadAfter time.Duration

	busy bool // the peer owes a sign of life: a call waits, or went unanswered
	at   time.Time
	seen sight

	silent  time.Duration // since something was read
	owed    time.Duration // of that, while busy
	stalled time.Duration // since the write in progress got on
}

// sight is what one look sees. The numbers count from the start.
type sight struct {
	reads    uint64 // read calls that brought something
	writes   uint64 // write calls that returned
	flushers uint64 // flushers that were started
	flushing bool   // one is at work
}

type verdict uint8

const (
	verdictFine verdict = iota
	verdictPing
	verdictDead
)

func newWatch(o *Options, now time.Time) watch {
	return watch{
		pingEvery: o.PingEvery, deadAfter: o.DeadAfter,
		busyPingEvery: o.BusyPingEvery, busyDeadAfter: o.BusyDeadAfter, at: now,
	}
}

// interval is how long to wait before the next look.
func (w *watch) interval() time.Duration {
	if w.busy {
		return w.busyPingEvery / 2
	}
	return w.pingEvery / 4
}

// look takes in what is seen now.
func (w *watch) look(now time.Time, s sight) verdict {
	took, last := now.Sub(w.at), w.seen
	w.at, w.seen = now, s
	if took > w.interval()+w.busyDeadAfter/2 {
		w.silent, w.owed, w.stalled = 0, 0, 0
		return verdictFine
	}
	step := min(took, w.interval())
	w.count(step, last)
	switch {
	case w.silent >= w.deadAfter, w.stalled >= w.deadAfter, w.owed >= w.busyDeadAfter:
		return verdictDead
	case reached(w.silent, step, w.pingEvery), reached(w.owed, step, w.busyPingEvery):
		return verdictPing
	default:
		return verdictFine
	}
}

// count adds a step to what goes on.
func (w *watch) count(step time.Duration, last sight) {
	s := w.seen
	w.silent += step
	if w.busy {
		w.owed += step
	}
	if s.reads != last.reads {
		w.silent, w.owed = 0, 0
	}
	w.stalled += step
	if !s.flushing || s.writes != last.writes {
		w.stalled = 0
	}
	if s.flushing && last.flushing && s.flushers == last.flushers && s.writes != last.writes {
		// One flusher has been writing all the while and gets on, so a large
		// batch is on its way over a slow link. The peer can answer no ping
		// that waits behind it.
		w.owed = 0
	}
}

// reached reports whether the last step has brought sum to a multiple of every.
func reached(sum, step, every time.Duration) bool {
	return sum >= every && sum/every != (sum-step)/every
}
