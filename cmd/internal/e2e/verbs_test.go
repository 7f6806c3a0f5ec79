package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Every verb of cluster.sh may be repeated, and none hangs on a paused node.
func TestVerbsMayBeRepeatedAndMeetPausedNodes(t *testing.T) {
	t.Parallel()
	c := up(t, 3)
	ready := func(nodes ...int) {
		t.Helper()
		for _, i := range nodes {
			c.do(200, "GET", i, "/readyz", "")
		}
	}
	for _, line := range []string{
		"pause 2", "pause 2", "stop 2", "stop 2", "start 2", "start 2",
		"pause 1", "start 1", "pause 1", "resume 1", "resume 1",
		"pause 3", "kill 3", "kill 3", "start 3",
	} {
		c.run(strings.Fields(line)...)
	}
	ready(1, 2, 3)
	// A node that is ready is found by its peers a moment later.
	var out string
	var err error
	c.eventually("status says that all is well", func() bool {
		out, err = c.script(nil, "status")
		return err == nil
	}, func() string { return fmt.Sprintf("%v\n%s", err, out) })
	for i := 1; i <= 3; i++ {
		c.run("pause", fmt.Sprint(i))
	}
	c.run("up", "3")
	ready(1, 2, 3)
	c.run("pause", "1")
	c.run("pause", "2")
	c.run("down")
	c.run("down")
	for i := 1; i <= 3; i++ {
		if a, err := c.try("GET", i, "/healthz", ""); err == nil {
			t.Errorf("after down n%d answers %s", i, a.text())
		}
		if n := strings.Count(c.logOf(i), "msg=stopped"); n == 0 {
			t.Errorf("n%d was not stopped as it should be", i)
		}
	}
	c.run("up", "3")
	ready(1, 2, 3)
	c.run("wipe")
	c.run("wipe")
}

// member is a line of /v1/cluster.
type member struct {
	Name, State string
	Alive       bool
	Pending     int
}

// membersAt are the members as node i sees them, by name; of a removed and a
// present one with the same name the present one.
func (c *cluster) membersAt(i int) map[string]member {
	c.t.Helper()
	var doc struct{ Members []member }
	if err := json.Unmarshal(c.do(200, "GET", i, "/v1/cluster", "").body, &doc); err != nil {
		c.t.Fatal(err)
	}
	members := make(map[string]member)
	for _, m := range doc.Members {
		if m.State != "removed" || members[m.Name].Name == "" {
			members[m.Name] = m
		}
	}
	return members
}

// wantRefusedVerb wants a verb to fail and to say why.
func (c *cluster) wantRefusedVerb(why string, args ...string) {
	c.t.Helper()
	if out, err := c.script(nil, args...); err == nil || !strings.Contains(out, why) {
		c.t.Errorf("cluster.sh %s: %v, %q, want a refusal with %q", strings.Join(args, " "), err, out, why)
	}
}

// settled waits until node i sees all members active and filled, but those
// that may be down.
func (c *cluster) settled(i int, down ...string) {
	c.t.Helper()
	var members map[string]member
	c.eventually("the members settle", func() bool {
		members = c.membersAt(i)
		for _, m := range members {
			if m.State != "removed" && (m.State != "active" || m.Pending > 0 || m.Alive == slices.Contains(down, m.Name)) {
				return false
			}
		}
		return true
	}, func() string { return fmt.Sprintf("%+v", members) })
}

// The node that the others once joined through loses its disk: it comes back
// as a new member through the others, and takes its own place.
func TestTheFirstNodeLosesItsDiskAndComesBack(t *testing.T) {
	t.Parallel()
	c := up(t, 4)
	c.do(204, "PUT", 2, keys+"kept?consistency=all", "value")
	c.run("kill", "1")
	if err := os.RemoveAll(filepath.Join(c.home, "n1", "data")); err != nil {
		t.Fatal(err)
	}
	c.run("start", "1")
	c.run("start", "1")
	c.settled(2, "n1")
	if m := c.membersAt(2); m["n1"].Alive || !m["n1-2"].Alive || len(m) != 5 {
		t.Errorf("members: %+v", m)
	}
	if n := strings.Count(c.logOf(1), "joins as a new member n1-2"); n != 1 {
		t.Errorf("the log says %d times that the store is lost", n)
	}
	c.starling(5, 2, "cluster", "replace", "n1-2", "--by", "n2", "--yes") // it is alive
	c.starling(0, 2, "cluster", "replace", "n1", "--by", "n1-2", "--yes")
	c.run("stop", "1")
	c.run("start", "1")
	c.settled(1)
	if m := c.membersAt(1); m["n1"].State != "active" || m["n1-2"].Name != "" {
		t.Errorf("after the place was taken: %+v", m)
	}
	for i := 1; i <= 4; i++ {
		if a := c.do(200, "GET", i, keys+"kept?consistency=all", ""); string(a.body) != "value" {
			t.Errorf("at n%d: %s", i, a.text())
		}
	}
}

// Nodes leave, come back empty, and are replaced by the script's verbs.
func TestLeaveWipeAndReplace(t *testing.T) {
	t.Parallel()
	c := up(t, 4)
	c.do(204, "PUT", 1, keys+"kept?consistency=all", "value")
	c.wantRefusedVerb("n2 runs", "wipe", "2")
	c.wantRefusedVerb("n2 runs", "replace", "2")

	c.run("pause", "4")
	c.run("leave", "4")
	c.run("leave", "4")
	c.settled(1)
	if m := c.membersAt(1); m["n4"].State != "removed" || !strings.Contains(c.logOf(4), "left the cluster") {
		t.Errorf("after a leave: %+v\n%s", m, c.logOf(4))
	}
	c.run("start", "4")
	c.settled(1)
	if m := c.membersAt(1); m["n4"].State != "active" {
		t.Errorf("after a new start: %+v", m)
	}
	// It is told to go by another node, and the script only finds it gone.
	c.starling(0, 1, "cluster", "pace", "hold")
	c.starling(0, 1, "cluster", "leave", "n4", "--yes")
	c.eventually("n4 waits, and says why", func() bool { return strings.Contains(c.logOf(4), "while transfers are held") }, func() string { return c.logOf(4) })
	c.starling(0, 1, "cluster", "pace", "default")
	c.starling(0, 1, "cluster", "leave", "n4", "--yes", "--wait")
	c.run("leave", "4")
	c.run("start", "4")
	c.settled(1)

	c.run("kill", "2")
	c.wantRefusedVerb("n2 has data", "replace", "2")
	old := filepath.Join(c.home, "n2", "old")
	if err := os.Rename(filepath.Join(c.home, "n2", "data"), old); err != nil {
		t.Fatal(err)
	}
	c.eventually("n2 is seen down", func() bool { return !c.membersAt(1)["n2"].Alive }, func() string { return "" })
	c.run("replace", "2")
	c.settled(1)
	if m := c.membersAt(1); len(m) != 4 || m["n2"].State != "active" {
		t.Errorf("after a replacement: %+v", m)
	}
	if a := c.do(200, "GET", 2, keys+"kept?consistency=all", ""); string(a.body) != "value" {
		t.Errorf("at n2: %s", a.text())
	}

	// The dead disk comes back.
	c.run("stop", "2")
	c.run("wipe", "2")
	c.run("wipe", "2")
	if err := os.Rename(old, filepath.Join(c.home, "n2", "data")); err != nil {
		t.Fatal(err)
	}
	c.wantRefusedVerb("cannot come back", "start", "2")
}
