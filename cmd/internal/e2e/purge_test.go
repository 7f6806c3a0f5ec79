package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// purging are settings under which deleted keys are purged as soon as that is
// safe, and a write comes to an owner that missed it by hints and exchanges.
var purging = []string{
	"STARLING_READ_REPAIR_ENABLED=false", "STARLING_ANTIENTROPY_INTERVAL=" + purgeInterval.String(), "STARLING_TOMBSTONES_MIN_AGE=0s",
}

const purgeInterval = 500 * time.Millisecond

// held is what one node tells of a key.
type held struct {
	Node, Role, Hash, Error string
	Hinted                  bool // what is told is a hint, not a copy
	Vector                  map[string]uint64
	Siblings                []heldValue
	Hints                   int
	HeldFor                 []struct{ Node string } `json:"held_for"`
}

// heldValue is a value of a key that a node holds.
type heldValue struct {
	Deleted bool
	Bytes   int64
}

// heldOf is what all nodes hold of a key of bucket b, as node at is told.
func (c *cluster) heldOf(at int, key string) []held {
	c.t.Helper()
	a := c.do(200, "GET", at, "/v1/explain/b/"+key, "")
	var e struct{ Replicas []held }
	if err := json.Unmarshal(a.body, &e); err != nil {
		c.t.Fatalf("explain: %v in %s", err, a.body)
	}
	return e.Replicas
}

// wantNoTrace wants a 404 from each of the nodes, and that no node but those
// that are gone has a row or a hint of the key.
func (c *cluster) wantNoTrace(key string, gone ...int) {
	c.t.Helper()
	live := c.others(gone)
	for _, i := range live {
		c.doAbout(404, "GET", i, key, "", "")
	}
	asked := 0
	for _, h := range c.heldOf(live[0], key) {
		if h.Error != "" {
			continue
		}
		asked++
		if h.Hash != "" || len(h.Vector) > 0 || len(h.Siblings) > 0 || h.Hints > 0 {
			c.t.Errorf("%s left a trace at %s: %+v", key, h.Node, h)
		}
	}
	if asked != len(live) {
		c.t.Errorf("%s: %d nodes told what they hold, want %d", key, asked, len(live))
	}
}

// deleteAll deletes keys of bucket b through the nodes in turn.
func (c *cluster) deleteAll(nodes []int, names []string) {
	c.t.Helper()
	for n, key := range names {
		at := nodes[n%len(nodes)]
		seen := c.doAbout(200, "GET", at, key, "", "")
		c.doAbout(204, "DELETE", at, key, "", "", "X-Starling-Context", seen.context())
	}
}

// hintHolder is the node that keeps most hints of the keys, and the keys.
func (c *cluster) hintHolder(at int, names []string) (holder int, hinted []string) {
	c.t.Helper()
	of := make(map[string][]string)
	for _, key := range names {
		for _, h := range c.heldOf(at, key) {
			if h.Hints > 0 {
				of[h.Node] = append(of[h.Node], key)
			}
		}
	}
	for name, keys := range of {
		if len(keys) > len(hinted) {
			hinted = keys
			if _, err := fmt.Sscanf(name, "n%d", &holder); err != nil {
				c.t.Fatalf("node %q: %v", name, err)
			}
		}
	}
	return holder, hinted
}

// awaitRounds waits until the failure detector has given a node up, and the
// others have compared everything for two intervals since: were that node no
// matter any more, a purge would have been tried.
func (c *cluster) awaitRounds(at, gone int) {
	c.t.Helper()
	name := fmt.Sprint("n", gone)
	c.eventually(name+" is given up", func() bool { return !c.statusMembers(at)[name].Alive }, func() string { return "" })
	const rounds = 2 * purgeInterval
	since := time.Now()
	var v convergence
	var err error
	c.eventually("everything is compared anew", func() bool {
		v, err = c.convergence(at)
		until := time.Since(since) - rounds
		return err == nil && !slices.ContainsFunc(v.Pairs, func(p pair) bool {
			return p.A != name && p.B != name && (p.Proven == nil || *p.Proven > until.Seconds())
		})
	}, func() string { return fmt.Sprintf("%v, %v", v.Oldest, err) })
}

// restart kills a node and starts it again. The kernel closes the ports of a
// killed process a moment after its command line is gone, by which cluster.sh
// goes, so they are waited for.
func (c *cluster) restart(i int) {
	c.t.Helper()
	c.run("kill", fmt.Sprint(i))
	eventually(c.t, "the ports of a killed node to be closed", func() bool {
		for port := range 3 {
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.base+10*i+port))
			if err == nil {
				_ = conn.Close()
				return false
			}
		}
		return true
	})
	c.run("start", fmt.Sprint(i))
}

// A delete that an owner missed is kept for it as a hint. While the node that
// keeps it is down nothing is purged, though every owner has the tombstone by
// then: that node might have anything.
func TestPurgeWaitsForTheHolderOfAHint(t *testing.T) {
	t.Parallel()
	c := up(t, 5, purging...)
	some, owners := c.ownedAlike(12)
	away := owners[0]
	c.fill(c.others(nil), some, func(string) string { return "doomed" })
	live := c.others([]int{away})
	c.awaitConvergence(live[0], nil)
	c.run("kill", fmt.Sprint(away))
	c.deleteAll(c.others(owners), some)
	holder, hinted := c.hintHolder(owners[1], some)
	if holder == 0 || slices.Contains(owners, holder) {
		t.Fatalf("n%d keeps hints of %v", holder, hinted)
	}
	c.run("kill", fmt.Sprint(holder))
	c.run("start", fmt.Sprint(away))

	at, copies := owners[1], int64(len(some)*len(owners))
	c.awaitRounds(at, holder)
	var v convergence
	var err error
	c.eventually("every owner has every tombstone, and the purge is blocked by who keeps hints", func() bool {
		v, err = c.convergence(at)
		return err == nil && v.Tombstones == copies && !slices.Contains(v.Unreachable, fmt.Sprint("n", away)) &&
			slices.ContainsFunc(v.Blockers, func(b blocker) bool { return b.Node == fmt.Sprint("n", holder) && b.Reason != "" })
	}, func() string { return fmt.Sprintf("%+v %d tombstones, %v", v.Blockers, v.Tombstones, err) })
	for _, key := range some {
		c.doAbout(404, "GET", at, key, "", "")
	}

	c.run("start", fmt.Sprint(holder))
	c.awaitConvergence(at, func(v convergence) bool { return v.Tombstones == 0 && v.Hints == 0 })
	if n := c.metric(holder, "starling_hint_deliveries_total", "delivered"); n < float64(len(hinted)) {
		t.Errorf("n%d delivered %v hints, want at least %d", holder, n, len(hinted))
	}
	for _, key := range some {
		c.wantNoTrace(key)
	}
	c.fill(c.others(nil), some, func(key string) string { return "again " + key })
	for _, key := range some {
		c.wantAtOwners(key, "again "+key, owners...)
	}
}

// A member that is lost for good, and its disk with it, brings nothing back;
// nor do the nodes that come after it and start with nothing: one that joins
// beside it, and one that takes its place. What was deleted and purged before
// has no trace anywhere. What was deleted since keeps its tombstones, at the
// new owners too, as long as the lost member is still one, and blocks all
// purging; once it is replaced they are purged.
func TestNothingComesBackWhenAMemberIsLost(t *testing.T) {
	t.Parallel()
	c := up(t, 5, purging...)
	var purged, late, kept []string
	for k := range 60 {
		purged = append(purged, fmt.Sprint("purged-", k))
		late = append(late, fmt.Sprint("late-", k))
		kept = append(kept, fmt.Sprint("kept-", k))
	}
	for _, names := range [][]string{purged, late, kept} {
		c.fill(c.others(nil), names, func(key string) string { return "value of " + key })
	}
	c.awaitConvergence(1, nil)
	c.deleteAll(c.others(nil), purged)
	c.awaitConvergence(1, func(v convergence) bool { return v.Tombstones == 0 && v.Hints == 0 })
	for _, key := range purged {
		c.wantNoTrace(key)
	}

	const lost = 2
	c.run("kill", fmt.Sprint(lost))
	c.deleteAll(c.others([]int{lost}), late)
	c.run("wipe", fmt.Sprint(lost))
	c.run("add")
	c.n = 6
	c.awaitRounds(c.n, lost)

	for _, key := range purged {
		c.wantNoTrace(key, lost)
	}
	owning := 0
	for _, key := range late {
		for _, i := range c.others([]int{lost}) {
			c.doAbout(404, "GET", i, key, "", "")
		}
		for _, h := range c.heldOf(c.n, key) {
			if h.Role != "owner" || h.Error != "" {
				continue
			}
			if h.Node == fmt.Sprint("n", c.n) {
				owning++
			}
			if h.Hash == "" || slices.ContainsFunc(h.Siblings, func(s heldValue) bool { return !s.Deleted }) {
				t.Errorf("%s at its owner %s: %+v, want its tombstone", key, h.Node, h)
			}
		}
	}
	if owning == 0 {
		t.Errorf("n%d owns none of the deleted keys", c.n)
	}
	var v convergence
	var err error
	c.eventually("the purge names who is lost", func() bool {
		v, err = c.convergence(c.n)
		return err == nil && v.Tombstones > 0 && slices.ContainsFunc(v.Blockers, func(b blocker) bool { return b.Node == fmt.Sprint("n", lost) })
	}, func() string { return fmt.Sprintf("%+v %d tombstones, %v", v.Blockers, v.Tombstones, err) })
	wantKept := func(nodes []int) {
		t.Helper()
		for _, key := range kept {
			for _, i := range nodes {
				if a := c.doAbout(200, "GET", i, key, "", ""); string(a.body) != "value of "+key {
					t.Errorf("%s at n%d: %s", key, i, a.text())
				}
			}
		}
	}
	wantKept(c.others([]int{lost}))

	c.run("replace", fmt.Sprint(lost))
	c.settled(c.n)
	c.awaitConvergence(c.n, func(v convergence) bool { return v.Tombstones == 0 && v.Hints == 0 })
	for _, key := range slices.Concat(purged, late) {
		c.wantNoTrace(key)
	}
	wantKept(c.others(nil))
	anew := late[:10]
	c.fill(c.others(nil), anew, func(key string) string { return "again " + key })
	for _, key := range anew {
		c.wantAtOwners(key, "again "+key, c.owners(c.n, "b", key)...)
	}
}

// Each start after a kill mints a new actor. A key that is written through many
// of them does not carry them all for ever: once every member answers, its
// vector loses those that mint no more, and the value stays.
func TestVectorsLoseRetiredActors(t *testing.T) {
	t.Parallel()
	const key, away, restarts, pruneLimit = "old", 3, 10, 8
	c := up(t, 3, append(slices.Clone(purging), "STARLING_HINTS_ENABLED=false")...)
	c.doAbout(204, "PUT", 1, key, "?consistency=all", "first")
	// One member is away, so that nothing is purged until it is back.
	c.run("kill", fmt.Sprint(away))
	var old answer
	value := ""
	for n := range restarts {
		at := 1 + n%2
		c.restart(at)
		value = fmt.Sprint("put ", n)
		c.eventually("a put through the node that was restarted", func() bool {
			old, _ = c.try("GET", at, keys+key, "")
			if old.Response == nil || old.StatusCode != 200 {
				return false
			}
			a, err := c.try("PUT", at, keys+key, value, "X-Starling-Context", old.context(), "Idempotency-Key", value)
			return err == nil && a.StatusCode == 204
		}, func() string { return c.explain("b", key) })
	}
	entries := func() (all []int) {
		for _, h := range c.heldOf(1, key) {
			if h.Error == "" {
				all = append(all, len(h.Vector))
			}
		}
		return all
	}
	if grown := entries(); len(grown) != 2 || slices.Min(grown) <= max(pruneLimit, restarts-1) {
		t.Fatalf("after %d restarts the vectors have %v entries", restarts, grown)
	}

	c.run("start", fmt.Sprint(away))
	var now []int
	c.eventually("all three have a vector without retired actors", func() bool {
		now = entries()
		return len(now) == 3 && slices.Min(now) > 0 && slices.Max(now) <= 3
	}, func() string { return fmt.Sprint(now, "\n", c.explain("b", key)) })
	c.wantAtOwners(key, value, 1, 2, 3)
	// Contexts from before name actors that are gone, and work all the same.
	c.doAbout(204, "PUT", away, key, "?consistency=all", "last", "X-Starling-Context", old.context())
	seen := c.doAbout(300, "GET", 1, key, "?consistency=all", "", "Accept", "application/json")
	if text := string(seen.body); !strings.Contains(text, value) || !strings.Contains(text, "last") {
		t.Errorf("a put that had not seen %q: %s", value, text)
	}
}

// A directory that was copied and is put back later lacks what its node
// acknowledged since. It is not served, and the log says what to do.
func TestARestoredDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	c := up(t, 3, purging...)
	const node = 2
	data := filepath.Join(c.home, fmt.Sprint("n", node), "data")
	backup := filepath.Join(t.TempDir(), "backup")
	c.run("stop", fmt.Sprint(node))
	if err := os.CopyFS(backup, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	c.run("start", fmt.Sprint(node))
	c.doAbout(204, "PUT", node, "since", "?consistency=all", "acknowledged")
	c.run("kill", fmt.Sprint(node))
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	before := len(c.logOf(node))
	if out, err := c.script(nil, "start", fmt.Sprint(node)); err == nil || !strings.Contains(out, "has exited") {
		t.Errorf("the start of a restored directory: %v\n%s", err, out)
	}
	told := c.logOf(node)[before:]
	for _, part := range []string{"lost time", "another copy of the directory has been in use", "start with an empty data directory"} {
		if !strings.Contains(told, part) {
			t.Errorf("the log lacks %q:\n%s", part, tailOf(told))
		}
	}
	if a, err := c.try("GET", node, keys+"since", ""); err == nil {
		t.Errorf("it serves: %s", a.text())
	}
	c.doAbout(200, "GET", 1, "since", "", "")
}
