package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"starling/client"
)

// filled is a member that is being filled.
func filled(pending int, done, total int64) client.Member {
	m := client.Member{Name: "n6", ID: "06", State: stateJoining, Alive: true, Pending: pending}
	if total > 0 {
		m.Transfer = &client.Transfer{Pending: pending, BytesDone: done, BytesTotal: total}
	}
	return m
}

func TestWatchOfOneThatIsFilled(t *testing.T) {
	const mib = 1 << 20
	w, now := newWatch(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	stopped := filled(10, 60*mib, 100*mib)
	stopped.Alive = false
	for _, step := range []struct {
		member client.Member
		want   string
	}{
		{filled(40, 0, 0), "[------------------------]   0% n6 is filled: 40 partitions to go"},
		{filled(30, 0, 0), "[######------------------]  25% n6 is filled: 30 partitions to go"},
		{filled(30, 20*mib, 100*mib), "[####--------------------]  20% n6 is filled: 20.0 MiB of 100.0 MiB, 30 partitions to go"},
		{filled(20, 40*mib, 100*mib), "[#########---------------]  40% n6 is filled: 40.0 MiB of 100.0 MiB, 20 partitions to go, 20.0 MiB/s, about 3 s left"},
		{stopped, "[##############----------]  60% n6 is filled: 60.0 MiB of 100.0 MiB, 10 partitions to go, 20.0 MiB/s, about 2 s left, not alive"},
		// It was restarted, and counts anew.
		{filled(9, 5*mib, 40*mib), "[###---------------------]  12% n6 is filled: 5.0 MiB of 40.0 MiB, 9 partitions to go"},
		{filled(1, 50*mib, 40*mib), "[########################] 100% n6 is filled: 50.0 MiB of 40.0 MiB, 1 partition to go, 45.0 MiB/s"},
	} {
		now = now.Add(time.Second)
		if got := w.see([]client.Member{step.member}, now); len(got) != 1 || got[0] != step.want {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
	done, gone := filled(0, 0, 0), filled(1, 0, 0)
	done.State, gone.State = stateActive, stateRemoved
	if got := w.see([]client.Member{done, gone}, now); len(got) != 0 || len(w.motions) != 0 {
		t.Errorf("when all is done: %q, %d followed", got, len(w.motions))
	}
}

// The rate is that of the last looks, and few of them are kept.
func TestWatchForgets(t *testing.T) {
	o, now := &motion{}, time.Now()
	for i := range 100 {
		o.sample(now.Add(time.Duration(i)*time.Second), int64(i*i))
	}
	if len(o.samples) != rateSamples || o.rate() != 99+90 {
		t.Errorf("%d samples, rate %v", len(o.samples), o.rate())
	}
}

func TestWatchOfOneThatLeaves(t *testing.T) {
	w := newWatch()
	m := client.Member{Name: "n3", ID: "03", State: stateLeaving, Alive: true, Settled: 40}
	for _, step := range []struct {
		settled int
		alive   bool
		leaving string
		want    string
	}{
		{40, true, "", "[------------------------]   0% n3 leaves: 40 partitions to hand over"},
		{10, true, "10 partitions until others hold them", "[##################------]  75% n3 leaves: waits for 10 partitions until others hold them"},
		{1, false, "", "[#######################-]  98% n3 leaves: 1 partition to hand over, not alive, it goes on when it is started again"},
		{0, true, "2 hints", "n3 leaves: waits for 2 hints"},
	} {
		m.Settled, m.Alive, m.Leaving = step.settled, step.alive, step.leaving
		if got := w.see([]client.Member{m}, time.Now()); len(got) != 1 || got[0] != step.want {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
}

func TestSettled(t *testing.T) {
	member := func(state string, pending int) client.Member { return client.Member{State: state, Pending: pending} }
	for name, tc := range map[string]struct {
		members []client.Member
		want    bool
	}{
		"all is well":    {[]client.Member{member(stateActive, 0), member(stateRemoved, 0)}, true},
		"one joins":      {[]client.Member{member(stateActive, 0), member(stateJoining, 0)}, false},
		"one leaves":     {[]client.Member{member(stateLeaving, 0)}, false},
		"one is filled":  {[]client.Member{member(stateActive, 1)}, false},
		"one is removed": {[]client.Member{member(stateRemoved, 1)}, true},
	} {
		if got := settled(&client.Cluster{ID: "ab", Members: tc.members}); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if settled(&client.Cluster{}) {
		t.Error("a node without a cluster has settled")
	}
}

// watched is a fake node whose third member has so many pending partitions
// in one answer after the other; below 0 there is none.
func watched(t *testing.T, pending ...int) *fakeNode {
	f := newFakeNode(t)
	asked := 0
	f.docs["/v1/cluster"] = func(*http.Request) any {
		at := min(asked, len(pending)-1)
		asked++
		if pending[at] < 0 {
			return "not a cluster"
		}
		member := map[string]any{"name": "n3", "id": "03", "state": "active", "alive": true, "answered": true, "pending": pending[at]}
		return map[string]any{"cluster_id": "ab", "node": "n1", "partitions": 8, "replicas": 2, "members": []any{member}}
	}
	return f
}

func TestStatusWatch(t *testing.T) {
	watch := []string{"status", "--watch", "--interval", "100ms", "--until-settled"}
	got := newCLI(t, watched(t, 4, -1, 1, 0).URL).run(watch...)
	blocks := strings.Split(got.out, "\n\n")
	if got.code != exitDone || len(blocks) != 3 || strings.Contains(got.out, "\x1b") || !strings.Contains(got.err, "not the answer of a Starling node") {
		t.Fatalf("%+v", got)
	}
	for i, want := range []string{"  0% n3 is filled: 4 partitions to go", " 75% n3 is filled: 1 partition to go", "\nhealthy: 8 partitions"} {
		if !strings.Contains(blocks[i], want) || !strings.Contains(blocks[i], "Z, as n1 sees it\n") {
			t.Errorf("block %d: %q, want %q in it", i, blocks[i], want)
		}
	}
	got = newCLI(t, watched(t, 4, 0).URL).run(append(watch, "-o", "json")...)
	docs := json.NewDecoder(strings.NewReader(got.out))
	for _, healthy := range []bool{false, true} {
		var doc statusDoc
		if err := docs.Decode(&doc); err != nil || doc.Healthy != healthy {
			t.Errorf("healthy %v, %v: %+v", doc.Healthy, err, got)
		}
	}
	if got.code != exitDone || docs.More() {
		t.Errorf("%+v", got)
	}
}

func TestStatusWatchEnds(t *testing.T) {
	got := newCLI(t, watched(t, 0).URL).run("status", "--watch", "--interval", "100ms", "--timeout", "350ms")
	if got.code != exitDone || got.err != "" || strings.Count(got.out, "healthy: 8 partitions") < 2 {
		t.Errorf("a watch of what does not move: %+v", got)
	}
	if got := newCLI(t, watched(t, 4).URL).run("status", "--watch", "--until-settled", "--timeout", "30ms"); got.code != exitFailed || !strings.Contains(got.err, "data still moves") {
		t.Errorf("a watch until all is settled: %+v", got)
	}
}

// A member that leaves says in every status what it waits for.
func TestStatusOfOneThatLeaves(t *testing.T) {
	f := newFakeNode(t)
	f.cluster(func(m []map[string]any) { m[2]["state"], m[2]["leaving"] = "leaving", "3 hints for n2\x1b[2J" })
	if got := newCLI(t, f.URL).run("status"); got.code != exitDone || !strings.Contains(got.out, "n3 leaves: waits for 3 hints for n2\uFFFD[2J\n") {
		t.Errorf("%+v", got)
	}
}
