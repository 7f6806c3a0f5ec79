package ring

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"
)

// names makes n member IDs of a name set: different sets have nothing in common.
func names(set, n int) []NodeID {
	ids := make([]NodeID, n)
	for i := range ids {
		sum := sha256.Sum256(fmt.Appendf(nil, "set %d node %d", set, i))
		copy(ids[i][:], sum[:])
	}
	return ids
}

// equals are n members of the normal weight, without zones.
func equals(set, n int) []Member {
	members := make([]Member, n)
	for i, id := range names(set, n) {
		members[i] = Member{ID: id, Weight: 100}
	}
	return members
}

func mustNew(t testing.TB, cfg Config, members []Member) *Ring {
	t.Helper()
	r, err := New(cfg, members)
	if err != nil {
		t.Fatalf("New(%+v, %d members): %v", cfg, len(members), err)
	}
	return r
}

// randomCluster draws a configuration and members with zones, weights and draining ones among them.
func randomCluster(rng *rand.Rand) (Config, []Member) {
	cfg := Config{Partitions: 1 << rng.IntN(9), Replicas: 1 + rng.IntN(MaxReplicas)}
	members := equals(rng.IntN(1<<30), rng.IntN(20))
	zones := 1 + rng.IntN(6)
	oneIn := 1 + rng.IntN(6)
	for i := range members {
		m := &members[i]
		if rng.IntN(2) == 0 {
			m.Zone = fmt.Sprint("z", rng.IntN(zones))
		}
		if rng.IntN(2) == 0 {
			m.Weight = 1 + rng.Uint32N(1000)
		}
		m.Draining = rng.IntN(oneIn) == 0 && oneIn > 1
	}
	return cfg, members
}

// eachCluster runs check on many random clusters.
func eachCluster(t *testing.T, check func(t *testing.T, rng *rand.Rand, cfg Config, members []Member)) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 0))
		cfg, members := randomCluster(rng)
		check(t, rng, cfg, members)
		if t.Failed() {
			t.Fatalf("seed %d: %+v, members %+v", seed, cfg, members)
		}
	}
}
