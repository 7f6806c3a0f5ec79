package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"starling/cmd/internal/load"
)

// onset is the time after which a fault is to be hardly noticed.
const onset = 2 * time.Second

// fault is a time in which a node was struck.
type fault struct {
	what           string
	struck, mended time.Time
}

// strike calls a verb for a node and, after a time, the one that mends it.
// What is written meanwhile is not overwritten later.
func (c *cluster) strike(clients *load.Clients, verb, mend string, node int, lasts time.Duration) fault {
	c.t.Helper()
	clients.GoHome()
	clients.FreshKeys()
	f := fault{what: fmt.Sprintf("%s n%d", verb, node), struck: time.Now()}
	c.run(verb, fmt.Sprint(node))
	time.Sleep(time.Until(f.struck.Add(lasts))) // the fault itself
	clients.FreshKeys()
	f.mended = time.Now()
	c.run(mend, fmt.Sprint(node))
	return f
}

// A node that is killed, or hangs, is hardly noticed after 2 s; and what was
// acknowledged meanwhile comes to it when it is back, by hints alone.
func TestSurvivesKillAndPause(t *testing.T) {
	c := up(t, 5, handoffOnly...)
	clients := c.clients(load.ClientOptions{KeysEach: 16})
	stop := drive(t, clients)
	awaitRequests(t, clients, 2000)
	faults := []fault{c.strike(clients, "kill", "start", 2, 6*time.Second)}
	c.awaitNoHints()
	awaitRequests(t, clients, 500)
	faults = append(faults, c.strike(clients, "pause", "resume", 4, 8*time.Second))
	awaitRequests(t, clients, 500)
	stop()
	trace := clients.Trace()
	for _, f := range faults {
		s := trace.Summarize(load.Window{From: f.struck.Add(onset), Till: f.mended})
		t.Logf("%s: %+v", f.what, s)
		if s.Requests < 100 || float64(s.Failed) > max(1, 0.001*float64(s.Requests)) {
			t.Errorf("%s, after the first %v: %d of %d requests failed", f.what, onset, s.Failed, s.Requests)
		}
	}
	c.awaitNoHints()
	c.wantAllAcknowledged(clients)
}

// Nobody waits for a replica that is slow while others are not.
func TestSlowNode(t *testing.T) {
	const slow, delay = 3, 300 * time.Millisecond
	c := up(t, 5, handoffOnly...)
	c.run("stop", fmt.Sprint(slow))
	c.runWith([]string{"STARLING_TEST_REPLICA_DELAY=" + delay.String()}, "start", fmt.Sprint(slow))
	clients := c.clients(load.ClientOptions{Clients: 10, KeysEach: 40})
	stop := drive(t, clients)
	awaitRequests(t, clients, 200)
	from := time.Now()
	awaitRequests(t, clients, 2000)
	till := time.Now()
	stop()
	waited := 0
	var endpoints [5]int
	requests := clients.Trace().In(load.Window{From: from, Till: till})
	for _, r := range requests {
		endpoints[r.Endpoint]++
		if r.Failed {
			t.Errorf("failed at n%d with status %d after %v", r.Endpoint+1, r.Status, r.Took)
		}
		if r.Took >= delay {
			waited++
			t.Logf("a request at n%d took %v (put: %v), %v after the warm-up", r.Endpoint+1, r.Took, r.Put, clients.Trace().Epoch.Add(r.Start).Sub(from))
		}
	}
	for i, n := range endpoints {
		if n == 0 {
			t.Errorf("n%d was not asked", i+1)
		}
	}
	if waited*100 > len(requests) {
		t.Errorf("%d of %d requests took as long as the slow node, want at most 1 %%", waited, len(requests))
	}
}

// A node that is stopped finishes what it has begun, and the clients of the
// other nodes notice nothing.
func TestGracefulStop(t *testing.T) {
	c := up(t, 5, handoffOnly...)
	clients := c.clients(load.ClientOptions{Clients: 20, KeysEach: 16})
	stop := drive(t, clients)
	var stops []fault
	for i := 1; i <= c.n; i++ {
		clients.GoHome()
		clients.FreshKeys()
		awaitRequests(t, clients, 300)
		before := strings.Count(c.logOf(i), "msg=stopped")
		f := fault{what: fmt.Sprint("stop n", i), struck: time.Now()}
		c.run("stop", fmt.Sprint(i))
		if after := strings.Count(c.logOf(i), "msg=stopped"); after != before+1 {
			t.Errorf("n%d ended without a word of having stopped", i)
		}
		awaitRequests(t, clients, 300)
		c.run("start", fmt.Sprint(i))
		awaitRequests(t, clients, 100)
		f.mended = time.Now()
		stops = append(stops, f)
	}
	stop()
	trace := clients.Trace()
	for i, f := range stops {
		// What was under way when the node was told to stop, and what came later.
		while := load.Window{From: f.struck.Add(-3 * time.Second), Till: f.mended}
		at := func(here bool) load.Summary {
			while.Only = func(r load.Request) bool {
				return !trace.Epoch.Add(r.Start+r.Took).Before(f.struck) && (int(r.Endpoint) == i) == here
			}
			return trace.Summarize(while)
		}
		elsewhere, here := at(false), at(true)
		t.Logf("%s: at other nodes %+v, at this one %d requests, %d failed", f.what, elsewhere, here.Requests, here.Failed)
		if elsewhere.Failed > 0 || elsewhere.Requests < 300 {
			t.Errorf("%s: %d of %d requests at other nodes failed", f.what, elsewhere.Failed, elsewhere.Requests)
		}
		// A connection that the node closes may carry a request that was on its
		// way; the next one of that client goes elsewhere.
		if here.Failed > 4 {
			t.Errorf("%s: %d requests of its own 4 clients failed", f.what, here.Failed)
		}
	}
	c.awaitNoHints()
	c.wantAllAcknowledged(clients)
}
