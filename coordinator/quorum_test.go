package coordinator

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"starling/store/version"
)

var (
	one = Consistency{Level: LevelOne}
	all = Consistency{Level: LevelAll}
)

func TestAnyNodeTakesAnyKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil)
		for i, at := range c.ids {
			for k := range 20 {
				key := fmt.Sprintf("k%d-%d", i, k)
				res := c.mustPut(at, putReq(key, "v", Consistency{}))
				if !holds(c.placement(key), res.Coordinator) {
					t.Fatalf("%s was coordinated by %s, no owner", key, res.Coordinator)
				}
				for _, reader := range c.ids {
					c.wantValues(reader, GetRequest{Key: key}, "v")
				}
			}
		}
	})
}

func TestOneOwnerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil)
		down := c.owners("k")[1]
		c.setFault(down, refused)
		for _, at := range c.ids {
			if at == down {
				continue
			}
			key := "k"
			res := c.mustPut(at, putReq(key, "v", Consistency{}))
			if res.Required != 2 || res.Acked != 2 {
				t.Fatalf("acked %d of %d, want 2 of 2", res.Acked, res.Required)
			}
			if _, err := c.get(at, GetRequest{Key: key}); err != nil {
				t.Fatal(err)
			}
			_, err := c.put(at, putReq(key, "v", all))
			wantQuorumError(t, err, 3, 0, false) // known before anything is written
			_, err = c.get(at, GetRequest{Key: key, Consistency: all})
			wantQuorumError(t, err, 3, 2, false)
			if !errors.Is(err, ErrUnreachable) {
				t.Fatalf("%v does not unwrap to its replica's error", err)
			}
		}
	})
}

func TestNumbersWinOverLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, nil)
		owners := c.owners("k")
		c.setFault(owners[1], refused)
		c.setFault(owners[2], refused)
		c.mustPut(owners[0], putReq("k", "v", Consistency{Level: LevelAll, W: 1}))
		c.wantValues(owners[0], GetRequest{Key: "k", Consistency: Consistency{Level: LevelAll, R: 1}}, "v")
		_, err := c.put(owners[0], putReq("k", "w", Consistency{Level: LevelOne, PW: 2}))
		wantQuorumError(t, err, 2, 0, false)
		_, err = c.get(owners[0], GetRequest{Key: "k", Consistency: Consistency{Level: LevelOne, PR: 2}})
		wantQuorumError(t, err, 2, 1, false)
	})
}

// A level that the partition has too few owners for is refused before
// anything is written.
func TestMoreReplicasThanOwnersIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, nil)
		_, err := c.put(c.ids[0], putReq("k", "v", Consistency{Level: LevelThree}))
		wantQuorumError(t, err, 3, 0, false)
		c.wantValues(c.ids[0], GetRequest{Key: "k", Consistency: all})
		_, err = c.get(c.ids[0], GetRequest{Key: "k", Consistency: Consistency{Level: LevelThree}})
		wantQuorumError(t, err, 3, 0, false)
	})
}

func TestDeadlineEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.credulous.Store(true)
		c.setFault(c.ids[1], hung)
		c.setFault(c.ids[2], hung)
		start := time.Now()
		_, err := c.put(c.ids[0], putReq("k", "v", Consistency{}))
		wantQuorumError(t, err, 2, 1, true)
		var q *QuorumError
		if errors.As(err, &q); !q.Timeout {
			t.Fatalf("%v is not called a timeout", err)
		}
		_, err = c.get(c.ids[0], GetRequest{Key: "k"})
		wantQuorumError(t, err, 2, 1, false)
		if took := time.Since(start); took != 4*time.Second {
			t.Fatalf("two requests of 2 s took %v", took)
		}
		// The bubble ends only if no goroutine is left.
	})
}

// TestQuorumReadsSeeAcknowledgedWrites: whatever single owner is down,
// hangs, or loses answers, at each step, a quorum read that succeeds covers
// every write acknowledged at quorum.
func TestQuorumReadsSeeAcknowledgedWrites(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 9))
			c := newCluster(t, 5, func(o *Options) { o.ReadRepair = rng.IntN(2) == 0 })
			acked := map[string][]version.Dot{}
			failed, read := 0, 0
			for range 300 {
				for _, id := range c.ids {
					c.setFault(id, healthy)
				}
				for range rng.IntN(3) {
					c.setFault(c.ids[rng.IntN(5)], fault(1+rng.IntN(3)))
				}
				at, key := c.ids[rng.IntN(5)], fmt.Sprint("k", rng.IntN(4))
				if rng.IntN(2) == 0 {
					req := putReq(key, fmt.Sprint(rng.Uint64()), Consistency{})
					if res, err := c.put(at, req); err == nil {
						acked[key] = append(acked[key], res.Dot)
					} else {
						failed++
					}
					continue
				}
				res, err := c.get(at, GetRequest{Key: key})
				if err != nil {
					failed++
					continue
				}
				read++
				for _, d := range acked[key] {
					if !res.Object.Vector.Covers(d) {
						t.Fatalf("seed %d: a read of %s at %s misses the acknowledged %v", seed, key, at, d)
					}
				}
			}
			if failed == 0 || read < 30 {
				t.Fatalf("seed %d: %d failures, %d reads: the faults do not bite", seed, failed, read)
			}
		})
	}
}
