package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// partitionOf is the partition of a key, as node i sees it.
func (c *cluster) partitionOf(i int, key string) int {
	c.t.Helper()
	var doc struct{ Partition int }
	if err := json.Unmarshal(c.do(200, "GET", i, "/v1/ring/b/"+key, "").body, &doc); err != nil {
		c.t.Fatal(err)
	}
	return doc.Partition
}

// putAll writes a value of its own to each key, in place of what is read there,
// and wants all to be taken.
func (c *cluster) putAll(i int, names []string, value string) {
	c.t.Helper()
	for _, key := range names {
		a, err := c.try("GET", i, keys+key, "")
		if err != nil || a.StatusCode != 200 && a.StatusCode != 404 {
			c.t.Fatalf("before a put of %s at n%d: %v, %s", key, i, err, a.text())
		}
		c.do(204, "PUT", i, keys+key, value+key, "X-Starling-Context", a.context())
	}
}

// wantAll wants the values of putAll at each of the nodes.
func (c *cluster) wantAll(names []string, value string, nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		for _, key := range names {
			if a := c.do(200, "GET", i, keys+key, ""); string(a.body) != value+key {
				c.t.Errorf("%s at n%d: %.100q, want %s", key, i, a.body, value+key)
			}
		}
	}
}

func names(prefix string, n int) (list []string) {
	for k := range n {
		list = append(list, fmt.Sprintf("%s-%d", prefix, k))
	}
	return list
}

// lostWith are the partitions that cannot be had any more without a member, for
// which its removal is refused.
func (c *cluster) lostWith(i int, node string) []int {
	c.t.Helper()
	c.eventually(node+" is seen down", func() bool { return !c.membersAt(i)[node].Alive }, func() string { return "" })
	var doc struct {
		Lost []int `json:"lost_partitions"`
	}
	a := c.do(409, "POST", i, "/v1/cluster/remove", `{"node":"`+node+`"}`, "Content-Type", "application/json")
	if err := json.Unmarshal(a.body, &doc); err != nil || len(doc.Lost) == 0 {
		c.t.Fatalf("nothing is lost with %s: %v, %s", node, err, a.body)
	}
	return doc.Lost
}

// With one copy of everything a node is lost for good: its partitions are empty
// after it was removed by force, and take requests again.
func TestPartitionsRemovedByForceTakeRequestsAgain(t *testing.T) {
	t.Parallel()
	c := up(t, 3, "STARLING_REPLICAS=1", "STARLING_PARTITIONS=64")
	c.settled(1)
	all := names("key", 60)
	c.putAll(1, all, "before ")
	c.run("kill", "2")
	lost := c.lostWith(1, "n2")
	gone, kept := all[:0:0], all[:0:0]
	for _, key := range all {
		if slices.Contains(lost, c.partitionOf(1, key)) {
			gone = append(gone, key)
		} else {
			kept = append(kept, key)
		}
	}
	if len(gone) == 0 || len(kept) == 0 {
		t.Fatalf("%d keys are lost, %d are kept: the test is empty", len(gone), len(kept))
	}
	c.do(503, "PUT", 1, keys+gone[0]+"?sloppy=false", "refused")
	c.starling(5, 1, "cluster", "remove", "n2", "--yes")
	c.starling(0, 1, "cluster", "remove", "n2", "--force", "--yes")
	for _, i := range []int{1, 3} {
		c.settled(i)
		for _, key := range gone {
			c.do(404, "GET", i, keys+key, "")
		}
	}
	c.wantAll(kept, "before ", 1, 3)
	c.putAll(3, all, "after ")
	c.wantAll(all, "after ", 1, 3)
	// Nothing is lost any more.
	c.starling(0, 3, "cluster", "remove", "n2", "--force", "--yes")
	c.wantAll(all, "after ", 1, 3)
}

// The only owner of much is lost while two others are filled. What was
// acknowledged meanwhile is at these, and all of it is read again; but not before
// both are there.
func TestWhatPendingNodesHoldOutlivesTheOnlyOwner(t *testing.T) {
	t.Parallel()
	c := up(t, 1, "STARLING_REPLICAS=2", "STARLING_PARTITIONS=16", "STARLING_TRANSFER_BYTES_PER_SECOND=64KiB")
	big := names("big", 96)
	c.putAll(1, big, strings.Repeat("x", 64<<10)) // takes a minute to copy
	var adding sync.WaitGroup
	defer adding.Wait()
	for n := 2; n <= 3; n++ {
		// It waits until the node is filled. The last is killed before that, and it fails.
		adding.Go(func() { _, _ = c.script(nil, "add") })
		c.eventually("it has joined", func() bool {
			a, err := c.try("GET", n, "/v1/cluster", "")
			return err == nil && a.StatusCode == 200 && len(c.membersAt(1)) == n && len(c.membersAt(2)) == n && len(c.membersAt(n)) == n
		}, func() string { return fmt.Sprint(c.membersAt(1)) })
	}
	small := names("small", 64)
	c.putAll(1, small, "meanwhile ")
	c.run("kill", "1")
	c.run("kill", "3")
	lost := c.lostWith(2, "n1")
	i := slices.IndexFunc(small, func(key string) bool { return slices.Contains(lost, c.partitionOf(2, key)) })
	if i < 0 {
		t.Fatalf("no key is in the partitions %v: the test is empty", lost)
	}
	c.do(202, "POST", 2, "/v1/cluster/remove", `{"node":"n1","force":true}`, "Content-Type", "application/json")
	c.do(503, "PUT", 2, keys+small[i]+"?sloppy=false", "n3 is not there, and may know more")
	if n := c.membersAt(2)["n2"].Pending; n < len(lost) {
		t.Errorf("n2 has settled partitions without n3: %d are pending, %d were lost", n, len(lost))
	}
	c.runWith([]string{"STARLING_TRANSFER_BYTES_PER_SECOND=64MiB"}, "start", "3")
	c.settled(2)
	c.settled(3)
	c.wantAll(small, "meanwhile ", 2, 3)
	all := append(small, big...)
	c.putAll(3, all, "after ")
	c.wantAll(all, "after ", 2, 3)
	if log := c.logOf(2) + c.logOf(3); !strings.Contains(log, "begin again here") {
		t.Error("no log tells that partitions began again")
	}
}
