package wire

import (
	"testing"
	"time"
)

// glance is one look in a story: after how long it comes, what has gone on
// since the one before, and what it must lead to.
type glance struct {
	after  time.Duration
	reads  bool // something was read
	writes bool // a write call returned
	want   verdict
}

// tell plays a story against a watch with the default times.
func tell(t *testing.T, w watch, s sight, story []glance) {
	t.Helper()
	now := w.at
	for i, g := range story {
		now = now.Add(g.after)
		if g.reads {
			s.reads++
		}
		if g.writes {
			s.writes++
		}
		if got := w.look(now, s); got != g.want {
			t.Fatalf("look %d, %v after the start: verdict %d, want %d", i, now.Sub(time.Time{}), got, g.want)
		}
	}
}

func testWatch(t *testing.T, busy bool) watch {
	t.Helper()
	o, err := testOptions(t, &fabric{}).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	w := newWatch(o, time.Time{})
	w.busy = busy
	return w
}

// often and seldom are the intervals of the two paces.
const (
	often  = DefaultBusyPingEvery / 2
	seldom = DefaultPingEvery / 4
)

// repeat is n times the same glance.
func repeat(n int, g glance) []glance {
	story := make([]glance, n)
	for i := range story {
		story[i] = g
	}
	return story
}

func join(parts ...[]glance) (story []glance) {
	for _, p := range parts {
		story = append(story, p...)
	}
	return story
}

// unheard is a second without a sign of life, up to the look before the last.
var unheard = []glance{
	{after: often}, {after: often, want: verdictPing},
	{after: often}, {after: often, want: verdictPing},
	{after: often}, {after: often, want: verdictPing},
	{after: often},
}

func TestWatchGivesUpABusyPeer(t *testing.T) {
	last := []glance{{after: often, want: verdictDead}}
	tell(t, testWatch(t, true), sight{}, join(unheard, last))
}

func TestWatchBeginsAnewWithEveryRead(t *testing.T) {
	heard := []glance{{after: often, reads: true}}
	last := []glance{{after: often, want: verdictDead}}
	tell(t, testWatch(t, true), sight{}, join(unheard, heard, unheard, heard, unheard, last))
}

func TestWatchHasTimeForAnIdlePeer(t *testing.T) {
	quiet := repeat(3, glance{after: seldom})
	ping := []glance{{after: seldom, want: verdictPing}}
	dead := []glance{{after: seldom, want: verdictDead}}
	tell(t, testWatch(t, false), sight{}, join(quiet, ping, quiet, dead))
}

// A process that was stopped, or slept, gives its peers all their time again:
// what they answered may be unread yet.
func TestWatchAfterThisProcessStoodStill(t *testing.T) {
	asleep := []glance{{after: 20 * time.Second}}
	last := []glance{{after: often, want: verdictDead}}
	tell(t, testWatch(t, true), sight{}, join(unheard, asleep, unheard, asleep, unheard, last))
	idle := join(repeat(3, glance{after: seldom}), []glance{{after: seldom, want: verdictPing}}, repeat(3, glance{after: seldom}))
	tell(t, testWatch(t, false), sight{}, join(idle, asleep, idle, []glance{{after: seldom, want: verdictDead}}))
}

// However late the looks are, the peer has as many of them to be heard at.
func TestWatchCountsALateLookOnce(t *testing.T) {
	late := make([]glance, len(unheard))
	for i, g := range unheard {
		late[i] = glance{after: 4 * often, want: g.want}
	}
	tell(t, testWatch(t, true), sight{}, join(late, []glance{{after: 4 * often, want: verdictDead}}))
}

// A ping that waits behind a large batch cannot be answered; one behind many
// small ones can.
func TestWatchDuringALongWrite(t *testing.T) {
	s := sight{flushing: true, flushers: 1}
	w := testWatch(t, true)
	w.look(w.at, s)
	tell(t, w, s, repeat(39, glance{after: often, writes: true}))

	stuck := join(unheard, []glance{{after: often, want: verdictDead}})
	tell(t, w, s, stuck)

	w = testWatch(t, true)
	now := w.at
	for i, g := range stuck {
		now = now.Add(g.after)
		s.writes++
		s.flushers++
		if got := w.look(now, s); got != g.want {
			t.Fatalf("flusher after flusher, look %d: verdict %d, want %d", i, got, g.want)
		}
	}
}

// A peer that sends and does not read is given up by the write.
func TestWatchOfAWriteThatStandsStill(t *testing.T) {
	s := sight{flushing: true, flushers: 1}
	for _, c := range []struct {
		busy  bool
		pace  time.Duration
		looks int
	}{{false, seldom, 8}, {true, often, 80}} {
		heard := repeat(c.looks-1, glance{after: c.pace, reads: true})
		tell(t, testWatch(t, c.busy), s, join(heard, []glance{{after: c.pace, reads: true, want: verdictDead}}))
	}
}
