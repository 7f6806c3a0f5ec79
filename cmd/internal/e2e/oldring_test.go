package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"starling/ring"
)

// A node that is cut off from gossip coordinates by the ring that it knows. That
// is an old one: another node joined while it was down. Every replica refuses what it
// sends by that ring, the two exchange maps over RPC, and the writes are placed
// anew. None is lost, and no node takes one that does not keep its partition.
func TestACoordinatorWithAnOldRingIsRefusedAndPlacesAnew(t *testing.T) {
	t.Parallel()
	const (
		far, witness, joiner = 1, 2, 5
		each                 = 12
		// Refusals take so long that all writes are on their way by the old ring
		// when the first one comes.
		delay = "STARLING_TEST_REPLICA_DELAY=200ms"
	)
	f := newFronts(t, joiner)
	c := up(t, 1, slices.Concat(handoffOnly, []string{"STARLING_PARTITIONS=64", f.setting(1)})...)
	f.serve(c)
	for c.n < joiner-1 {
		c.n++
		c.runWith([]string{f.setting(c.n), delay}, "add")
	}
	c.settled(far)
	c.awaitNoneDisplaced(far)
	c.run("stop", fmt.Sprint(far))
	c.n++
	c.runWith([]string{f.setting(joiner), delay}, "add") // and waits until it is filled

	f.cut(far)
	c.startWithoutJoin(far, f.setting(far))
	m := c.movedKeys(far, witness, each)
	c.wantOldRing(far, joiner, witness)
	all := m.all()
	c.writeStrictly(far, all)

	c.wantOnlyGossipCut(far, witness)
	c.wantNoneAstray(witness, all)
	c.wantPlacedAnew(far)

	f.cut(0)
	for _, key := range all {
		c.wantWhereItBelongs(witness, key)
	}
}

func name(node int) string { return fmt.Sprint("n", node) }

// startWithoutJoin starts a node as cluster.sh does, but for the join addresses:
// those it would ask for their maps, by RPC, when it sees no peer.
func (c *cluster) startWithoutJoin(i int, setting string) {
	c.t.Helper()
	dir, port := filepath.Join(c.home, name(i)), c.base+10*i
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	address := func(n int) string { return fmt.Sprintf("127.0.0.1:%d", port+n) }
	node := exec.Command(filepath.Join(root, "bin", "starling"), "serve", "--name", name(i), "--http", address(0), "--rpc", address(1),
		"--gossip", address(2), "--data-dir", filepath.Join(dir, "data"))
	node.Env, node.Stdout, node.Stderr = append(slices.Clip(c.env), setting), log, log
	if err := node.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		c.run("stop", fmt.Sprint(i))
		_ = node.Wait() // its log says how it ended
	})
	if err := os.WriteFile(filepath.Join(dir, "pid"), fmt.Appendln(nil, node.Process.Pid), 0o600); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, name(i)+" to be ready", func() bool {
		a, err := c.try("GET", i, "/readyz", "")
		return err == nil && a.StatusCode == 200
	})
}

// everywhere are keys of bucket b, so many of each of 64 partitions.
func everywhere(each int) (names []string) {
	const partitions = 64
	var have [partitions]int
	for k := 0; len(names) < partitions*each; k++ {
		key := fmt.Sprint("moved-", k)
		if p := ring.Partition("b", key, partitions); have[p] < each {
			have[p]++
			names = append(names, key)
		}
	}
	return names
}

// awaitNoneDisplaced waits until no node keeps votes that it is to give up. One
// that does asks the owners about them when it starts, whoever is alive.
func (c *cluster) awaitNoneDisplaced(at int) {
	c.t.Helper()
	for _, key := range everywhere(1) {
		c.eventually("nobody is displaced", func() bool { return len(nodesIn(c.heldOf(at, key), "displaced")) == 0 },
			func() string { return c.explain("b", key) })
	}
}

// moved are keys that have other owners than a node knows, by what it takes
// itself for: no owner; an owner, rightly; an owner that it is no more.
type moved struct{ elsewhere, here, nowElsewhere []string }

func (m moved) all() []string { return slices.Concat(m.elsewhere, m.here, m.nowElsewhere) }

// movedKeys finds n keys of each kind, of partitions that nobody waits for. Of
// those elsewhere nobody keeps a copy any more but the present owners.
func (c *cluster) movedKeys(far, witness, n int) (m moved) {
	c.t.Helper()
	names := everywhere(n)
	c.eventually("keys of each kind", func() bool {
		m = moved{}
		for k := 0; k < len(names) && len(m.all()) < 3*n; k++ {
			if kind := c.kindOf(&m, far, witness, names[k]); kind != nil && len(*kind) < n {
				*kind = append(*kind, names[k])
			}
		}
		return len(m.all()) == 3*n
	}, func() string {
		return fmt.Sprintf("%+v\nn%d knows %+v, n%d %+v", m, far, c.membersAt(far), witness, c.membersAt(witness))
	})
	return m
}

// kindOf is the list that a key belongs to, nil if to none.
func (c *cluster) kindOf(m *moved, far, witness int, key string) *[]string {
	c.t.Helper()
	var was []string
	for _, i := range c.owners(far, "b", key) {
		was = append(was, name(i))
	}
	now := c.heldOf(witness, key)
	owned, owns := slices.Contains(was, name(far)), slices.Contains(nodesIn(now, "owner"), name(far))
	slices.Sort(was)
	switch {
	case slices.Equal(was, nodesIn(now, "owner")) || len(nodesIn(now, "pending")) > 0:
		return nil
	case owned && owns:
		return &m.here
	case owned:
		return &m.nowElsewhere
	case !owns && len(nodesIn(now, "displaced")) == 0:
		return &m.elsewhere
	default:
		return nil
	}
}

// nodesIn are the nodes that have a role.
func nodesIn(replicas []held, role string) (nodes []string) {
	for _, h := range replicas {
		if h.Role == role {
			nodes = append(nodes, h.Node)
		}
	}
	slices.Sort(nodes)
	return nodes
}

// mapHash is the hash of the cluster map that a node goes by.
func (c *cluster) mapHash(i int) string {
	c.t.Helper()
	var doc struct {
		Hash string `json:"map_hash"`
	}
	if err := json.Unmarshal(c.do(200, "GET", i, "/v1/cluster", "").body, &doc); err != nil || doc.Hash == "" {
		c.t.Fatalf("the hash of the map of n%d: %q, %v", i, doc.Hash, err)
	}
	return doc.Hash
}

// wantOldRing wants the far node to go by a map without the joiner.
func (c *cluster) wantOldRing(far, joiner, witness int) {
	c.t.Helper()
	old, present := c.mapHash(far), c.mapHash(witness)
	if members := c.membersAt(far); old == present || members[name(joiner)].Name != "" {
		c.t.Fatalf("n%d goes by the map %s, others by %s; its members: %+v", far, old, present, members)
	}
}

// writeStrictly writes keys of bucket b through a node, all at once, each until
// it is acknowledged. Until then it is refused in the proper form.
func (c *cluster) writeStrictly(at int, names []string) {
	c.t.Helper()
	var writes sync.WaitGroup
	for _, key := range names {
		writes.Go(func() {
			eventually(c.t, key+" to be written", func() bool {
				a, err := c.try("PUT", at, keys+key+"?sloppy=false", "value of "+key, "Idempotency-Key", key)
				switch {
				case err != nil:
					c.t.Errorf("PUT %s: %v", key, err)
				case a.StatusCode != 204:
					c.t.Logf("PUT %s: %s", key, a.text())
					c.wantRefused(a, "/problems/quorum-not-reached", "/problems/unreachable", "/problems/ring-changing")
				}
				return c.t.Failed() || a.StatusCode == 204
			})
		})
	}
	writes.Wait()
}

// wantPlacedAnew wants writes through the far node to have been refused for its
// old ring, both those that it was no owner of and those that it was, and to
// have been placed again.
func (c *cluster) wantPlacedAnew(far int) {
	c.t.Helper()
	refused := func(op string) float64 {
		return c.metric(far, "starling_replica_requests_total", fmt.Sprintf("op=%q", op), `result="stale_ring"`)
	}
	anew, forwards, copies := c.metric(far, "starling_requests_placed_anew_total"), refused("forward"), refused("replicate")
	told := fmt.Sprintf("%v writes were placed anew, %v forwards and %v copies were refused for an old ring", anew, forwards, copies)
	c.t.Log(told)
	if anew == 0 || forwards == 0 || copies == 0 {
		c.t.Errorf("%s; want some of each", told)
	}
}

// wantOnlyGossipCut wants the far node to have learnt the present ring, and to
// hear of nobody all the same.
func (c *cluster) wantOnlyGossipCut(far, witness int) {
	c.t.Helper()
	var here, there string
	c.eventually("one map", func() bool {
		here, there = c.mapHash(far), c.mapHash(witness)
		return here == there
	}, func() string { return fmt.Sprintf("n%d goes by %s, n%d by %s", far, here, witness, there) })
	for who, m := range c.membersAt(far) {
		if m.Alive != (who == name(far)) {
			c.t.Errorf("at n%d: %+v", far, m)
		}
	}
	if c.membersAt(witness)[name(far)].Alive {
		c.t.Errorf("n%d hears gossip of n%d", witness, far)
	}
}

// wantNoneAstray wants each write at all present owners, and nothing of it at or
// for a node that does not keep the partition.
func (c *cluster) wantNoneAstray(witness int, names []string) {
	c.t.Helper()
	for _, key := range names {
		var stray []string
		c.eventually(key+" at all its owners", func() bool {
			replicas := c.heldOf(witness, key)
			stray = strays(replicas)
			return len(stray) > 0 || !slices.ContainsFunc(replicas, func(h held) bool {
				return h.Error != "" || h.Role == "owner" && !h.hasCopy()
			})
		}, func() string { return c.explain("b", key) })
		if len(stray) > 0 {
			c.t.Errorf("%s is astray: %v\n%s", key, stray, c.explain("b", key))
		}
	}
}

func (h held) hasCopy() bool { return h.Hash != "" && !h.Hinted }

// strays are the copies at nodes that do not keep the partition, and the hints
// for such nodes.
func strays(replicas []held) (all []string) {
	others := nodesIn(replicas, "fallback")
	for _, h := range replicas {
		if h.Role == "fallback" && h.hasCopy() {
			all = append(all, "a copy at "+h.Node)
		}
		for _, hint := range h.HeldFor {
			if slices.Contains(others, hint.Node) {
				all = append(all, fmt.Sprintf("a hint for %s at %s", hint.Node, h.Node))
			}
		}
	}
	return all
}

// wantWhereItBelongs waits until a key has its value at its owners, and no other
// node has anything of it.
func (c *cluster) wantWhereItBelongs(at int, key string) {
	c.t.Helper()
	c.eventually(key+" at its owners alone", func() bool {
		return !slices.ContainsFunc(c.heldOf(at, key), func(h held) bool {
			return h.Error != "" || (h.Role == "owner") != h.hasCopy() || h.Hints > 0
		})
	}, func() string { return c.explain("b", key) })
	c.wantAtOwners(key, "value of "+key, c.owners(at, "b", key)...)
}
