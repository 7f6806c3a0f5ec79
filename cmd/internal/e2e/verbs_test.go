package e2e

import (
	"fmt"
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
