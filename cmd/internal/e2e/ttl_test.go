package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Ten thousand keys that live for five seconds, and some that their bucket gives
// as long: they are read until then, and by no node after it. They are purged,
// and then there is nothing more to do.
func TestKeysExpire(t *testing.T) {
	t.Parallel()
	const n, ttl = 10_000, 5 * time.Second
	c := up(t, 5, "STARLING_ANTIENTROPY_INTERVAL=1s", "STARLING_TOMBSTONES_MIN_AGE=0s")
	c.declare("mortal", fmt.Sprintf(`{"ttl":%q}`, ttl))
	name := func(k int) string { return fmt.Sprintf("key-%05d", k) }
	// A tenth is read back while it has to be there, and with it when it goes.
	readBack := func(i int, keys []map[string]any, written time.Time) int {
		results := c.batch(i, "", keys...)
		if time.Since(written) >= ttl { // it took too long to tell anything
			return 0
		}
		for k, r := range results {
			at, _ := r["expires_at"].(string)
			when, err := time.Parse(time.RFC3339, at)
			if r["status"] != 200.0 || err != nil || when.Before(written.Add(ttl-time.Second)) || when.After(time.Now().Add(ttl+time.Second)) {
				t.Errorf("%s at n%d, %v after it was written: %v", keys[k]["key"], i, time.Since(written), r)
				break
			}
		}
		return len(results)
	}
	var writing sync.WaitGroup
	var mu sync.Mutex
	seen := 0
	for w := range c.n {
		writing.Go(func() {
			for from := w * 1000; from < n; from += c.n * 1000 {
				var puts, gets []map[string]any
				for k := from; k < from+1000; k++ {
					puts = append(puts, map[string]any{"op": "put", "key": name(k), "value": "mortal", "ttl": ttl.String()})
					if k%10 == 0 {
						gets = append(gets, map[string]any{"op": "get", "key": name(k)})
					}
				}
				written := time.Now()
				for k, r := range c.batch(1+w, "", puts...) {
					if r["status"] != 204.0 {
						t.Errorf("%s at n%d: %v", name(from+k), 1+w, r)
						return
					}
				}
				got := readBack(1+(w+1)%c.n, gets, written)
				mu.Lock()
				seen += got
				mu.Unlock()
			}
		})
	}
	writing.Wait()
	c.do(204, "PUT", 1, keys+"immortal", "immortal")
	for k := range 50 {
		c.do(204, "PUT", 1+k%c.n, "/v1/buckets/mortal/keys/"+name(k), "by its bucket")
	}
	c.do(204, "PUT", 1, "/v1/buckets/mortal/keys/longer?ttl=1h", "by its own time")
	last := time.Now()
	if a := c.do(200, "GET", 2, "/v1/buckets/mortal/keys/"+name(49), ""); a.Header.Get("Starling-Expires-At") == "" {
		t.Errorf("a read does not say when the value goes: %v", a.Header)
	}
	if seen == 0 {
		t.Error("no key was read while it was there")
	}
	time.Sleep(time.Until(last.Add(ttl))) // which is what the keys are given, not what the test waits for
	c.wantExpired(n, name)
	for i := 1; i <= c.n; i++ {
		for k := range 50 {
			c.do(404, "GET", i, "/v1/buckets/mortal/keys/"+name(k)+"?consistency=one", "")
		}
	}

	var purged float64
	c.eventually("all of them to be purged", func() bool {
		purged = 0
		for i := range c.n {
			purged += c.metric(i+1, "starling_purge_keys_total", `"deleted"`)
		}
		return purged >= n+50
	}, func() string {
		v, err := c.convergence(1)
		return fmt.Sprintf("%v are, %+v, %v", purged, v.Blockers, err)
	})
	c.awaitConvergence(1, func(v convergence) bool { return v.Tombstones == 0 && v.Hints == 0 && len(v.Blockers) == 0 })
	for k := 0; k < n; k += 500 {
		c.wantNoTrace(name(k))
	}
	if e := c.explain("mortal", name(7)); strings.Contains(e, `"dot"`) {
		t.Errorf("%s left a trace: %s", name(7), e)
	}
	for i := 1; i <= c.n; i++ {
		if got, _ := c.listAll(i, ""); !slices.Equal(got, []string{"immortal"}) {
			t.Errorf("n%d lists %v", i, got)
		}
		c.do(200, "GET", i, "/v1/buckets/mortal/keys/longer", "")
	}

	was, since := c.shipped(), time.Now()
	c.awaitConvergence(1, func(v convergence) bool { // everything was compared once more
		return v.Oldest != nil && *v.Oldest < time.Since(since).Seconds()
	})
	if now := c.shipped(); now != was {
		t.Errorf("%v objects were shipped with nothing to do", now-was)
	}
}

// wantExpired wants all nodes to read none of n keys, from a single copy.
func (c *cluster) wantExpired(n int, name func(int) string) {
	c.t.Helper()
	for i := 1; i <= c.n; i++ {
		for from := 0; from < n; from += 1000 {
			var gets []map[string]any
			for k := from; k < from+1000; k++ {
				gets = append(gets, map[string]any{"op": "get", "key": name(k)})
			}
			for k, r := range c.batch(i, "?consistency=one", gets...) {
				if r["status"] != 404.0 {
					c.t.Errorf("%s at n%d: %v", name(from+k), i, r)
					return
				}
			}
		}
		if a := c.do(200, "GET", i, "/v1/buckets/b/keys?prefix=key-&limit=1", ""); strings.Contains(string(a.body), "key-0") {
			c.t.Errorf("n%d lists %s", i, a.body)
		}
	}
}

// shipped counts the objects that exchanges have sent.
func (c *cluster) shipped() (sum float64) {
	c.t.Helper()
	for i := range c.n {
		sum += c.metric(i+1, "starling_antientropy_shipped_keys_total")
	}
	return sum
}
