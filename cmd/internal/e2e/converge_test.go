package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// exchangeOnly are settings under which a copy comes to an owner that missed
// it by the exchange between owners, and in no other way.
var exchangeOnly = []string{
	"STARLING_READ_REPAIR_ENABLED=false", "STARLING_HINTS_ENABLED=false",
	"STARLING_ANTIENTROPY_INTERVAL=1s", "STARLING_TOMBSTONES_MIN_AGE=0s",
}

// convergence is the answer of GET /v1/convergence.
type convergence struct {
	Converged         bool
	Oldest            *float64 `json:"oldest_proof_seconds"`
	Pairs             []pair
	Blockers          []blocker `json:"purge_blockers"`
	Unreachable       []string
	Tombstones, Hints int64
}

// pair is what is known of two owners of a partition.
type pair struct {
	Partition uint32
	A, B      string
	Proven    *float64 `json:"proven_seconds_ago"`
	Holds     bool
}

type blocker struct{ Node, Reason string }

func (c *cluster) convergence(i int) (v convergence, err error) {
	a, err := c.try("GET", i, "/v1/convergence", "")
	if err == nil && a.StatusCode != 200 {
		err = fmt.Errorf("status %d: %s", a.StatusCode, a.text())
	}
	if err == nil {
		err = json.Unmarshal(a.body, &v)
	}
	return v, err
}

// awaitConvergence waits until node i says so, and more.
func (c *cluster) awaitConvergence(i int, also func(convergence) bool) convergence {
	c.t.Helper()
	var v convergence
	var err error
	c.eventually("convergence", func() bool {
		v, err = c.convergence(i)
		return err == nil && v.Converged && (also == nil || also(v))
	}, func() string {
		v.Pairs = slices.DeleteFunc(v.Pairs, func(p pair) bool { return p.Holds })
		v.Pairs = v.Pairs[:min(len(v.Pairs), 5)]
		return fmt.Sprintf("%+v, %v", v, err)
	})
	return v
}

// fill puts keys in parallel, through the nodes in turn.
func (c *cluster) fill(nodes []int, names []string, value func(key string) string) {
	c.t.Helper()
	const writers = 16
	var wg sync.WaitGroup
	errs := make(chan error, len(names))
	for w := range writers {
		wg.Go(func() {
			for k := w; k < len(names); k += writers {
				a, err := c.try("PUT", nodes[k%len(nodes)], keys+names[k], value(names[k]))
				if err == nil && a.StatusCode != 204 {
					err = fmt.Errorf("PUT %s: %s", names[k], a.text())
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		c.t.Fatal(err)
	default:
	}
}

// metric is the sum of the samples of a metric at a node whose line has all
// the parts.
func (c *cluster) metric(i int, name string, parts ...string) (sum float64) {
	c.t.Helper()
	a := c.do(200, "GET", i, "/metrics", "")
	for line := range strings.Lines(string(a.body)) {
		if !strings.HasPrefix(line, name) || slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v); err != nil {
			c.t.Fatalf("metric line %q: %v", line, err)
		}
		sum += v
	}
	return sum
}

// A node that missed writes gets exactly those, with no read, no hint and
// nobody asking; and after that nothing is shipped.
func TestExchangeShipsWhatIsMissing(t *testing.T) {
	t.Parallel()
	c := up(t, 5, exchangeOnly...)
	const away, changed = 2, 200
	var all []string
	for k := range 4000 {
		all = append(all, fmt.Sprint("key-", k))
	}
	c.fill(c.others(nil), all, func(string) string { return "old" })
	c.awaitConvergence(1, nil)
	var missed []string
	for _, key := range all {
		if len(missed) < changed && slices.Contains(c.owners(1, "b", key), away) {
			missed = append(missed, key)
		}
	}
	c.run("kill", fmt.Sprint(away))
	for _, key := range missed {
		at := c.others([]int{away})[len(key)%4]
		seen := c.doAbout(200, "GET", at, key, "", "")
		c.doAbout(204, "PUT", at, key, "", "new", "X-Starling-Context", seen.context())
	}
	c.eventually("status names who is away", func() bool {
		v, err := c.convergence(1)
		return err == nil && !v.Converged && slices.Contains(v.Unreachable, fmt.Sprint("n", away))
	}, func() string { v, err := c.convergence(1); return fmt.Sprintf("%+v %v", v.Unreachable, err) })
	var before float64
	for _, i := range c.others([]int{away}) {
		before += c.metric(i, "starling_antientropy_shipped_keys_total")
	}
	c.run("start", fmt.Sprint(away))
	c.awaitConvergence(away, nil)
	for _, key := range missed {
		if a := c.doAbout(200, "GET", away, key, "?consistency=one", ""); string(a.body) != "new" {
			t.Errorf("%s at n%d: %s", key, away, a.text())
		}
	}
	got := c.shipped() - before
	// Each shipment is counted by the node that began it.
	if got != changed {
		t.Errorf("%v objects were shipped, want %d", got, changed)
	}
	was, since := c.shipped(), time.Now()
	c.awaitConvergence(1, func(v convergence) bool { // everything was compared once more
		return v.Oldest != nil && *v.Oldest < time.Since(since).Seconds()
	})
	if now := c.shipped(); now != was {
		t.Errorf("%v objects were shipped with nothing to do", now-was)
	}
}

// A deleted key is purged when nobody can bring it back, and not before: one
// node that is away blocks it, and is named.
func TestDeletesStayDeleted(t *testing.T) {
	t.Parallel()
	for name, hints := range map[string]string{"with hints": "true", "by exchange": "false"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := append(slices.Clone(exchangeOnly), "STARLING_HINTS_ENABLED="+hints)
			c := up(t, 5, env...)
			some, owners := c.ownedAlike(20)
			away := owners[1]
			live := c.others([]int{away})
			c.fill(c.others(nil), some, func(string) string { return "doomed" })
			c.awaitConvergence(live[0], nil)
			c.run("kill", fmt.Sprint(away))
			for n, key := range some {
				at := live[n%len(live)]
				seen := c.doAbout(200, "GET", at, key, "", "")
				c.doAbout(204, "DELETE", at, key, "", "", "X-Starling-Context", seen.context())
			}
			var v convergence
			var err error
			c.eventually("the purge is blocked, and by whom", func() bool {
				v, err = c.convergence(live[0])
				return err == nil && v.Tombstones > 0 && slices.ContainsFunc(v.Blockers, func(b blocker) bool {
					return b.Node == fmt.Sprint("n", away) && b.Reason != ""
				})
			}, func() string { return fmt.Sprintf("%+v %d tombstones, %v", v.Blockers, v.Tombstones, err) })
			c.run("start", fmt.Sprint(away))
			c.awaitConvergence(live[0], func(v convergence) bool { return v.Tombstones == 0 })
			for n, key := range some {
				a := c.doAbout(404, "GET", 1+n%c.n, key, "?consistency=all", "")
				e := c.explain("b", key)
				if strings.Contains(e, `"deleted": true`) || strings.Contains(e, "doomed") {
					t.Errorf("%s left a trace: %s\n%s", key, a.text(), e)
				}
			}
			// What is written anew lives.
			c.fill(c.others(nil), some, func(key string) string { return "again " + key })
			c.awaitConvergence(live[0], nil)
			for _, key := range some {
				c.wantAtOwners(key, "again "+key, owners...)
			}
		})
	}
}

// A clock that is an hour off purges nothing early and loses nothing.
func TestConvergesWithAClockThatIsOff(t *testing.T) {
	t.Parallel()
	c := up(t, 3, exchangeOnly...)
	for i, offset := range map[int]string{1: "1h", 2: "-1h"} {
		c.run("stop", fmt.Sprint(i))
		c.runWith([]string{"STARLING_TEST_CLOCK_OFFSET=" + offset}, "start", fmt.Sprint(i))
	}
	c.awaitConvergence(3, nil) // all see each other
	var all []string
	for k := range 60 {
		all = append(all, fmt.Sprint("key-", k))
	}
	c.fill([]int{1, 2, 3}, all, func(key string) string { return "value of " + key })
	for n, key := range all[:30] {
		at := 1 + n%3
		seen := c.doAbout(200, "GET", at, key, "", "")
		c.doAbout(204, "DELETE", at, key, "", "", "X-Starling-Context", seen.context())
		if n%2 == 0 { // a delete that has seen nothing of it loses to this
			c.doAbout(204, "PUT", 1+(n+1)%3, key, "", "value of "+key)
		}
	}
	// A delete is due when it is so by every owner's clock: those stamped by the
	// clock that is behind are purged, the others wait.
	c.awaitConvergence(3, func(v convergence) bool { return v.Tombstones == 30 && len(v.Blockers) > 0 })
	for n, key := range all {
		if n < 30 && n%2 == 1 {
			c.doAbout(404, "GET", 1+n%3, key, "?consistency=all", "")
			continue
		}
		c.wantAtOwners(key, "value of "+key, 1, 2, 3)
	}
}

// A file that is damaged costs a node its vote in the partitions that lost
// rows, until the other owners have filled them again.
func TestDamagedFileHeals(t *testing.T) {
	t.Parallel()
	c := up(t, 3, exchangeOnly...)
	var all []string
	for k := range 2000 {
		all = append(all, fmt.Sprint("key-", k))
	}
	c.fill([]int{1, 2, 3}, all, func(key string) string { return strings.Repeat(key, 20) })
	c.awaitConvergence(1, nil)
	c.run("stop", "2") // which writes its tables
	tables, err := filepath.Glob(filepath.Join(c.home, "n2", "data", "*", "*.sst"))
	if err != nil || len(tables) == 0 {
		tables, err = filepath.Glob(filepath.Join(c.home, "n2", "data", "*.sst"))
	}
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables to damage: %v", err)
	}
	damage(t, tables)
	c.run("start", "2")
	c.eventually("the damage is found", func() bool {
		for _, key := range all[:50] {
			_, _ = c.try("GET", 2, keys+key+"?consistency=one", "")
		}
		return strings.Contains(c.logOf(2), "healing a damaged partition")
	}, func() string { return tailOf(c.logOf(2)) })
	c.awaitConvergence(1, nil)
	for _, key := range all {
		c.wantAtOwners(key, strings.Repeat(key, 20), 1, 2, 3)
	}
}
