package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// What a node finds in its sockets when it goes on after a pause does not come
// back: its clients have done it elsewhere, and written over it.
func TestNothingComesLateFromAPausedNode(t *testing.T) {
	t.Parallel()
	c := up(t, 5, handoffOnly...)
	some, owners := c.ownedAlike(12)
	paused, live := owners[0], c.others(owners[:1])
	fresh := some[0]
	c.run("pause", fmt.Sprint(paused))
	for n, key := range some[1:] {
		idempotency := []string{"Idempotency-Key", "of " + key}
		if n%2 == 0 {
			c.sendAndLeave(paused, key, "superseded", idempotency)
		}
		// Where it was not sent, it may be forwarded to the paused node.
		at := live[n%len(live)]
		c.put(at, key, "?timeout=20s", "superseded", idempotency...)
		seen := c.doAbout(200, "GET", at, key, "", "")
		c.doAbout(204, "PUT", at, key, "", "current", "X-Starling-Context", seen.context())
	}
	c.run("resume", fmt.Sprint(paused))
	c.eventually("the node takes puts again", func() bool {
		a, err := c.try("PUT", paused, keys+fresh, "fresh")
		return err == nil && a.StatusCode == 204
	}, func() string { return c.logOf(paused) })
	if !strings.Contains(c.logOf(paused), "the process stood still") {
		t.Errorf("n%d does not say that it stood still", paused)
	}
	c.awaitNoHints()
	for _, key := range some[1:] {
		c.wantAtOwners(key, "current", owners...)
	}
}

// sendAndLeave is a client that sends a put and does not wait for the answer.
func (c *cluster) sendAndLeave(node int, key, value string, header []string) {
	c.t.Helper()
	host := strings.TrimPrefix(c.url(node, ""), "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
		keys+key, host, header[0], header[1], len(value), value)
	if err != nil {
		c.t.Fatal(err)
	}
}
