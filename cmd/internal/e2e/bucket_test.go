package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// bucketSettings: a copy comes to who missed it by hints and by exchanges.
var bucketSettings = []string{"STARLING_ANTIENTROPY_INTERVAL=1s", "STARLING_TOMBSTONES_MIN_AGE=0s"}

// A bucket that is dropped while a node is down: when that node is back no key
// of it is readable anywhere, by whichever node and consistency, from its first
// answer on. The bucket that goes on under the name is empty and works, and when
// the old keys are deleted the exchange has nothing to do.
func TestABucketDroppedWhileANodeIsDown(t *testing.T) {
	t.Parallel()
	c := up(t, 5, bucketSettings...)
	const away = 2
	live := c.others([]int{away})
	var all []string
	for k := range 300 {
		all = append(all, fmt.Sprint("key-", k))
	}
	c.fill(c.others(nil), all, func(string) string { return "old" }) // keys of bucket b
	c.awaitConvergence(1, nil)
	c.run("kill", fmt.Sprint(away))
	// Some are written while it is down, so that there are hints of the bucket, and
	// some deleted, which nobody may purge before it is back.
	for n, key := range all[:60] {
		c.patiently(204, "PUT", live[n%len(live)], key, "", "old and new")
	}
	c.deleteAll(live, all[len(all)-20:])
	eventually(t, "somebody keeps hints", func() bool { return c.keptHints(live) > 0 })
	var pending struct{ Pending []string }
	a := c.do(200, "DELETE", live[0], "/v1/buckets/b", "")
	if err := json.Unmarshal(a.body, &pending); err != nil || !slices.Equal(pending.Pending, []string{fmt.Sprint("n", away)}) {
		t.Fatalf("pending %s: %v", a.body, err)
	}
	for n, key := range all { // at those who were told
		c.wantNothing(live[n%len(live)], key, "one", "quorum")
	}
	// Used again before the node is back.
	const used = 50
	for n, key := range all[:used] {
		c.patiently(204, "PUT", live[n%len(live)], key, "", "again")
	}

	started := make(chan error, 1)
	go func() {
		_, err := c.script(nil, "start", fmt.Sprint(away))
		started <- err
	}()
	for firsts := 0; firsts < 150; { // from the first answer on
		key := all[used+firsts%(len(all)-used)]
		a, err := c.try("GET", away, keys+key+"?consistency=one", "")
		switch {
		case err != nil || a.StatusCode == 503:
			time.Sleep(time.Millisecond)
		case a.StatusCode != 404:
			t.Fatalf("%s at n%d, which has just come back: %s", key, away, a.text())
		default:
			firsts++
		}
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	for n, key := range all[used:] {
		c.wantNothing(1+n%c.n, key, "one", "quorum", "all")
		c.wantNothing(away, key, "one", "quorum", "all")
	}
	c.awaitConvergence(1, func(v convergence) bool { return v.Hints == 0 })
	for i := range c.n {
		eventually(t, "the old keys are deleted", func() bool { return c.metric(i+1, "starling_bucket_drop_partitions") == 0 })
	}
	if c.metric(away, "starling_bucket_rows_dropped_total") == 0 {
		t.Errorf("n%d deleted nothing", away)
	}
	c.awaitConvergence(1, func(v convergence) bool { return v.Tombstones == 0 && len(v.Blockers) == 0 })
	for n, key := range all {
		at := 1 + n%c.n
		if n < used {
			if a := c.patiently(200, "GET", at, key, "?consistency=all", ""); string(a.body) != "again" {
				t.Errorf("%s at n%d: %s", key, at, a.text())
			}
			continue
		}
		c.wantNothing(at, key, "one", "quorum", "all")
	}
	if e := c.explain("b", all[used]); strings.Contains(e, `"dot"`) {
		t.Errorf("%s left a trace: %s", all[used], e)
	}
	// Declared anew, at the node that was away, and asked of another.
	c.do(200, "PUT", away, "/v1/buckets/b", `{"consistency":"all","ttl":"1h"}`)
	a = c.do(200, "GET", live[0], "/v1/buckets/b", "")
	var b struct {
		Declared    bool
		Incarnation int
		Properties  struct{ Consistency, TTL string }
	}
	if err := json.Unmarshal(a.body, &b); err != nil || !b.Declared || b.Incarnation != 1 || b.Properties.Consistency != "all" || b.Properties.TTL != "1h" {
		t.Errorf("the bucket is %s: %v", a.body, err)
	}
	if a := c.patiently(204, "PUT", live[1], "last", "", "v"); !strings.Contains(a.Header.Get("X-Starling-Replicas"), "required=3") {
		t.Errorf("a write was acknowledged by %s", a.Header.Get("X-Starling-Replicas"))
	}

	c.awaitConvergence(1, nil)
	was, since := c.shipped(), time.Now()
	c.awaitConvergence(1, func(v convergence) bool { // everything was compared once more
		return v.Oldest != nil && *v.Oldest < time.Since(since).Seconds()
	})
	if now := c.shipped(); now != was {
		t.Errorf("%v objects were shipped with nothing to do", now-was)
	}
}

// patiently asks until the answer is not that nothing happened because the node
// had no processor for a while, or an owner; then it wants the status.
func (c *cluster) patiently(want int, method string, i int, key, query, body string) (a answer) {
	c.t.Helper()
	var err error
	eventually(c.t, method+" "+key+" to be answered", func() bool {
		a, err = c.try(method, i, keys+key+query, body)
		return err != nil || a.StatusCode != 503 || strings.Contains(string(a.body), `"maybe_applied":true`)
	})
	if err != nil || a.StatusCode != want {
		c.t.Fatalf("%s %s%s at n%d: %v, %s; want %d\n%s", method, key, query, i, err, a.text(), want, c.explain("b", key))
	}
	return a
}

// wantNothing wants a key of bucket b to be absent at some consistencies.
func (c *cluster) wantNothing(at int, key string, levels ...string) {
	c.t.Helper()
	for _, level := range levels {
		c.patiently(404, "GET", at, key, "?consistency="+level, "")
	}
}

// keptHints counts those that some nodes keep.
func (c *cluster) keptHints(nodes []int) (n int64) {
	c.t.Helper()
	for _, i := range nodes {
		var doc struct{ Hints int64 }
		if err := json.Unmarshal(c.do(200, "GET", i, "/v1/hints", "").body, &doc); err != nil {
			c.t.Fatal(err)
		}
		n += doc.Hints
	}
	return n
}
