package ring

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestTmp(t *testing.T) {
	over, under, n := 0, 0, 0
	for seed := range uint64(5000) {
		rng := rand.New(rand.NewPCG(seed, 0))
		cfg, members := randomCluster(rng)
		r := mustNew(t, cfg, members)
		z := newZoning(r.members, r.width)
		q, _ := z.quotas(cfg.Partitions, r.width, r.members)
		o, u := 0, 0
		for i := range r.members {
			if r.load[i] > q[i].ceiling {
				o++
				if over < 10 {
					fmt.Println("over", seed, cfg, "load", r.load[i], q[i], float64(q[i].share)/(1<<28), "zone sizes", z.sizes, z.most, z.full, r.members[i])
				}
			}
			if z.zone[i] >= 0 && r.load[i] < q[i].floor {
				u++
				if under < 10 {
					fmt.Println("under", seed, cfg, "load", r.load[i], q[i], float64(q[i].share)/(1<<28), "zone sizes", z.sizes, z.most, z.full)
				}
			}
		}
		over += o
		under += u
		n += len(members)
	}
	fmt.Println(over, under, n)
}
