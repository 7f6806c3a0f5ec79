package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// declare gives a bucket its properties, and waits until every node goes by them.
func (c *cluster) declare(bucket, properties string) {
	c.t.Helper()
	c.do(200, "PUT", 1, "/v1/buckets/"+bucket, properties, "Content-Type", "application/json")
	for i := 1; i <= c.n; i++ {
		var last answer
		c.eventually(fmt.Sprintf("n%d to know of %s", i, bucket), func() bool {
			var doc struct{ Declared bool }
			var err error
			last, err = c.try("GET", i, "/v1/buckets/"+bucket, "")
			return err == nil && json.Unmarshal(last.body, &doc) == nil && doc.Declared
		}, func() string { return last.text() })
	}
}

// persist sends a request to nodes in turn until one of them carries it out,
// always the same request for whoever knows its idempotency key.
func (c *cluster) persist(rng *rand.Rand, nodes []int, method, path, body, once string) error {
	deadline := time.Now().Add(time.Minute)
	for {
		at := nodes[rng.IntN(len(nodes))]
		a, err := c.try(method, at, path, body, "Idempotency-Key", once)
		switch {
		case err == nil && a.StatusCode/100 == 2:
			return nil
		case err == nil && a.StatusCode != 503:
			return fmt.Errorf("%s %s at n%d: %s", method, path, at, a.text())
		case time.Now().After(deadline):
			return fmt.Errorf("%s %s at n%d, after a minute: %v, %s", method, path, at, err, a.text())
		}
		time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond) // a client that waits before it asks again
	}
}

// counts are what the nodes read of a counter.
func (c *cluster) counts(nodes []int, query string) (counts []string) {
	c.t.Helper()
	for _, i := range nodes {
		a := c.patiently(200, "GET", i, "counter", query, "")
		counts = append(counts, string(a.body))
	}
	return counts
}

// wantCount wants a counter to be the same number at all of some nodes.
func (c *cluster) wantCount(nodes []int, query string, want int64) {
	c.t.Helper()
	for k, got := range c.counts(nodes, query) {
		if got != fmt.Sprint(want) {
			c.t.Errorf("n%d reads %s%s, want %d\n%s", nodes[k], got, query, want, c.explain("b", "counter"))
		}
	}
}

// 100 clients add 1 a hundred times each, at any node, and ask again with the same
// Idempotency-Key at another: always if a request fails, and now and then though
// it was done. An owner is killed in the middle of it, and started again while it
// goes on. Each increment counts once, for every node, also while the owner is
// down, and in each owner's own copy in the end.
func TestACounterIsExact(t *testing.T) {
	t.Parallel()
	const clients, adds, whileDown = 100, 100, 20
	c := up(t, 5)
	c.declare("b", `{"conflicts":"counter"}`)
	owners := c.owners(1, "b", "counter")
	down := owners[0]
	live := c.others([]int{down})
	path := keys + "counter/add?timeout=3s"
	var added atomic.Int64
	run := func(nodes []int, from, to int) *sync.WaitGroup {
		var running sync.WaitGroup
		for w := range clients {
			running.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(w), uint64(from)))
				for n := from; n < to; n++ {
					once := fmt.Sprint("client ", w, " add ", n)
					for range 1 + rng.IntN(10)/9 {
						if err := c.persist(rng, nodes, "POST", path, `{"delta":1}`, once); err != nil {
							t.Error(err)
							return
						}
					}
					added.Add(1)
				}
			})
		}
		return &running
	}
	all := c.others(nil)
	running := run(all, 0, whileDown)
	eventually(t, "a quarter of the first increments", func() bool { return added.Load() >= clients*whileDown/4 || t.Failed() })
	c.run("kill", fmt.Sprint(down))
	if added.Load() >= clients*whileDown {
		t.Fatal("all increments were done before an owner was killed")
	}
	running.Wait()
	c.wantCount(live, "?consistency=quorum", clients*whileDown)

	running = run(live, whileDown, adds)
	c.run("start", fmt.Sprint(down))
	running.Wait()
	if t.Failed() {
		return
	}
	c.wantCount(all, "?consistency=quorum", clients*adds)
	for _, i := range owners {
		c.wantAtOwners("counter", fmt.Sprint(clients*adds), i)
	}
	// What is remembered to tell retries is bounded.
	for _, h := range c.heldOf(1, "counter") {
		if most := int64(8192 * 20); h.Role == "owner" && h.bytes() > most {
			t.Errorf("%s holds %d bytes of a counter, at most %d", h.Node, h.bytes(), most)
		}
	}
	c.do(200, "POST", down, keys+"counter/add", `{"delta":-9999}`)
	c.wantCount(all, "?consistency=quorum", 1)
}

func (h held) bytes() (n int64) {
	for _, s := range h.Siblings {
		n += s.Bytes
	}
	return n
}

// What a client writes that has read wins over what it read, through whichever
// node, though the clock of one is an hour behind. What is written by nobody who
// has read goes by the stamps, and what lost is found.
func TestLastWriteWinsWithAClockBehind(t *testing.T) {
	t.Parallel()
	c := up(t, 5)
	const behind = 2
	c.run("stop", fmt.Sprint(behind))
	c.runWith([]string{"STARLING_TEST_CLOCK_OFFSET=-1h"}, "start", fmt.Sprint(behind))
	c.declare("b", `{"conflicts":"lww"}`)
	for k := range 15 {
		key := fmt.Sprint("key-", k)
		for n := range 6 {
			reader, writer := 1+(k+n)%c.n, 1+(k+2*n)%c.n
			if n%2 == 1 {
				writer = behind
			}
			value := fmt.Sprintf("%s, write %d", key, n)
			seen, err := c.try("GET", reader, keys+key, "")
			if want := map[bool]int{true: 404, false: 200}[n == 0]; err != nil || seen.StatusCode != want {
				t.Fatalf("read %d of %s at n%d: %v, %s", n, key, reader, err, seen.text())
			}
			c.doAbout(204, "PUT", writer, key, "", value, "X-Starling-Context", seen.context())
			for i := 1; i <= c.n; i++ {
				if a := c.doAbout(200, "GET", i, key, "", ""); string(a.body) != value {
					t.Fatalf("%s, written through n%d, reads %q at n%d\n%s", value, writer, a.body, i, c.explain("b", key))
				}
			}
			if lost := c.previous(reader, key); len(lost) > 0 {
				t.Fatalf("%s: %v lost, which its writer had seen", value, lost)
			}
		}
	}

	raced := 0
	for k := range 30 {
		key := fmt.Sprint("raced-", k)
		values := []stamped{{Value: "through a node with the right time"}, {Value: "through the node that is behind"}}
		var writing sync.WaitGroup
		for w, at := range []int{1 + (k*2)%c.n, behind} {
			writing.Go(func() {
				a, err := c.try("PUT", at, keys+key, values[w].Value, "Prefer", "return=representation")
				if err != nil || json.Unmarshal(a.body, &values[w]) != nil || a.StatusCode != 200 {
					t.Errorf("a put of %s at n%d: %v, %s", key, at, err, a.text())
				}
			})
		}
		writing.Wait()
		if t.Failed() {
			return
		}
		slices.SortFunc(values, func(a, b stamped) int { return strings.Compare(b.Modified, a.Modified) })
		if values[0].Modified == values[1].Modified || values[0].at(t).Before(time.Now().Add(-time.Minute)) {
			continue // no winner by the stamp, or one whose loser is not kept any more by the right time
		}
		raced++
		for i := 1; i <= c.n; i++ {
			a := c.doAbout(200, "GET", i, key, "", "")
			if lost := c.previous(i, key); string(a.body) != values[0].Value || len(lost) != 1 || lost[0] != values[1] {
				t.Errorf("n%d reads %s and of %v that it lost, of %v\n%s", i, a.body, lost, values, c.explain("b", key))
			}
		}
	}
	if raced < 10 {
		t.Errorf("only %d keys had a race that tells anything", raced)
	}
	// The doctor sees it, and why.
	for _, says := range []string{"its clock is 1h0m", "behind that of most nodes", "test_clock_offset is -1h "} {
		if out := c.starling(4, 1, "doctor"); !strings.Contains(out, says) {
			t.Errorf("starling doctor does not say %q:\n%s", says, out)
		}
	}
}

// stamped is a value and when it was written, as the cluster tells it.
type stamped struct{ Value, Modified string }

func (s stamped) at(t *testing.T) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s.Modified)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// previous are the values of a key that lost.
func (c *cluster) previous(i int, key string) []stamped {
	c.t.Helper()
	a := c.doAbout(200, "GET", i, key, "?previous=true", "")
	var doc struct{ Previous []stamped }
	if err := json.Unmarshal(a.body, &doc); err != nil {
		c.t.Fatalf("%v in %s", err, a.body)
	}
	return doc.Previous
}

// Writers at all nodes, one of which is down for a part of the time, know nothing
// of each other. In the end every node, asked for whatever single copy, answers
// what the mode makes of all writes.
func TestMergesUnderConcurrency(t *testing.T) {
	t.Parallel()
	const writers, writes, keyCount, down = 10, 6, 3, 4
	c := up(t, 5, "STARLING_ANTIENTROPY_INTERVAL=1s")
	var items, docs []string
	for n := range writes {
		items = append(items, fmt.Sprintf(`"n%d"`, n))
	}
	for w := range writers {
		items = append(items, fmt.Sprintf(`"w%d"`, w))
		docs = append(docs, fmt.Sprintf(`"w%d":%d`, w, writes-1))
	}
	number := func(w, n int) string { return fmt.Sprint((w*writes+n)*37%(writers*writes) - 20) }
	modes := []struct {
		name  string
		value func(w, n int) string // of write n of a writer
		want  string                // what all of them come to
	}{
		{"max", number, fmt.Sprint(writers*writes - 21)},
		{"min", number, "-20"},
		{"union", func(w, n int) string { return fmt.Sprintf(`["w%d", "n%d"]`, w, n) }, "[" + strings.Join(items, ",") + "]"},
		{"json-merge", func(w, n int) string { return fmt.Sprintf(`{"all": {"w%d": %d}}`, w, n) }, `{"all":{` + strings.Join(docs, ",") + "}}"},
	}
	for _, m := range modes {
		c.declare(m.name, fmt.Sprintf(`{"conflicts":%q}`, m.name))
	}
	path := func(mode string, k int) string { return fmt.Sprintf("/v1/buckets/%s/keys/key-%d", mode, k) }
	write := func(nodes []int, from, to int) *sync.WaitGroup {
		var running sync.WaitGroup
		for w := range writers {
			running.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(w), uint64(from)))
				for i := range (to - from) * keyCount * len(modes) {
					n, k, m := from+i/keyCount/len(modes), i/len(modes)%keyCount, modes[i%len(modes)]
					if err := c.persist(rng, nodes, "PUT", path(m.name, k), m.value(w, n), fmt.Sprint(w, " ", n)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		return &running
	}
	all := c.others(nil)
	write(all, 0, 2).Wait()
	c.run("kill", fmt.Sprint(down))
	write(c.others([]int{down}), 2, 4).Wait()
	running := write(c.others([]int{down}), 4, 5)
	c.run("start", fmt.Sprint(down))
	running.Wait()
	write(all, 5, 6).Wait()
	c.awaitConvergence(1, func(v convergence) bool { return v.Hints == 0 })
	for _, m := range modes {
		for k := range keyCount {
			for _, i := range all {
				if a := c.do(200, "GET", i, path(m.name, k)+"?consistency=one", ""); string(a.body) != m.want {
					t.Errorf("key %d of %s at n%d: %s, want %s\n%s", k, m.name, i, a.body, m.want, c.explain(m.name, fmt.Sprint("key-", k)))
				}
			}
		}
	}
}
