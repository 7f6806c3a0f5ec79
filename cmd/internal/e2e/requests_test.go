package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// No request outlives the timeout that it asked for, and each says what may
// have become of it.
func TestDeadlines(t *testing.T) {
	const (
		streams, each = 4, 25
		timeout       = 200 * time.Millisecond
		late, latest  = 100 * time.Millisecond, time.Second // after the deadline
	)
	c := up(t, 5, "STARLING_TEST_REPLICA_DELAY=1s")
	var mu sync.Mutex
	var wg sync.WaitGroup
	tooLate := 0
	for s := range streams {
		wg.Go(func() {
			for n := range each {
				method, body := "GET", ""
				if n%2 == 0 {
					method, body = "PUT", "late"
				}
				start := time.Now()
				a, err := c.try(method, (s+n)%5+1, fmt.Sprintf("%slate-%d-%d?timeout=%v", keys, s, n/2, timeout), body)
				took := time.Since(start)
				mu.Lock()
				if took > timeout+late {
					tooLate++
				}
				mu.Unlock()
				if err != nil || a.StatusCode != 504 || took > timeout+latest {
					t.Errorf("%s: %v, %s after %v; want 504 after %v", method, err, a.text(), took, timeout)
					continue
				}
				if p := a.problem(t); method == "PUT" && (p.MaybeApplied == nil || !*p.MaybeApplied) {
					t.Errorf("PUT: %s does not say that it may have been applied", a.text())
				}
			}
		})
	}
	wg.Wait()
	if tooLate*20 > streams*each {
		t.Errorf("%d of %d requests were answered more than %v after their deadline", tooLate, streams*each, late)
	}
}

// A put that is repeated with its idempotency key is the same put, through
// whichever node it comes, and also once another write has superseded it.
func TestIdempotentRetryThroughAnotherNode(t *testing.T) {
	t.Parallel()
	c := up(t, 5)
	for _, level := range []string{"quorum", "all"} {
		key, query := "again-"+level, "?consistency="+level
		idempotency := []string{"Idempotency-Key", "key of " + level}
		first, _ := c.put(1, key, query, "one", idempotency...)
		for i := 2; i <= c.n; i++ {
			retry, _ := c.put(i, key, query, "one", idempotency...)
			// A quorum need not have reached the replica that is asked now.
			if level == "all" && retry.Dot != first.Dot {
				t.Errorf("through n%d: %+v, and at first %+v\n%s", i, retry, first, c.explain("b", key))
			}
			if a := c.doAbout(200, "GET", i, key, "", ""); string(a.body) != "one" {
				t.Errorf("%s at n%d: %s", key, i, a.text())
			}
		}
		seen := c.doAbout(200, "GET", 3, key, "?consistency=all", "")
		c.doAbout(204, "PUT", 3, key, "?consistency=all", "two", "X-Starling-Context", seen.context())
		for i := 1; i <= c.n; i++ {
			retry, _ := c.put(i, key, query, "one", idempotency...)
			if a := c.doAbout(200, "GET", i, key, "?consistency=all", ""); string(a.body) != "two" {
				t.Errorf("a retry of what was superseded, through n%d: %+v, then %s\n%s", i, retry, a.text(), c.explain("b", key))
			}
		}
	}
}
