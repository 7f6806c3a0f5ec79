package resolve

import (
	"flag"
	"math/rand/v2"
	"testing"

	"starling/store/object"
	"starling/store/version"
)

var (
	seedFlag = flag.Uint64("seed", 0, "first seed of the random tests; 0 draws one")
	runsFlag = flag.Uint64("runs", 60, "schedules that are run")
)

// forSeeds calls check with so many seeds, and says how to see a failure again.
func forSeeds(t *testing.T, runs uint64, check func(seed uint64) error) {
	t.Helper()
	first := *seedFlag
	if first == 0 {
		first = rand.Uint64()>>1 + 1
	}
	for seed := first; seed < first+runs; seed++ {
		if err := check(seed); err != nil {
			t.Fatalf("replay with -run '^%s$' -seed=%d -runs=1\n%v", t.Name(), seed, err)
		}
	}
}

// replica is one copy of a key, with the actor that mints there.
type replica struct {
	object object.Object
	actor  version.Actor
	seq    uint64
	skewMS int64
}

func (r *replica) mint() version.Dot {
	r.seq++
	return version.Dot{Actor: r.actor, Seq: r.seq}
}

// update puts a sibling as a store does.
func (r *replica) update(c version.Context, s object.Sibling) error {
	next, err := r.object.Update(c, s, object.Limits{})
	if err == nil {
		r.object = next
	}
	return err
}

// cluster is some replicas, and copies of their objects that are on their way.
type cluster struct {
	rand     *rand.Rand
	nowMS    int64
	replicas []*replica
	messages []object.Object
	actors   version.Actor
}

func newCluster(seed uint64) *cluster {
	c := &cluster{rand: rand.New(rand.NewPCG(seed, 3)), nowMS: 1_000_000_000}
	for range 2 + c.rand.IntN(3) {
		c.replicas = append(c.replicas, &replica{actor: c.newActor()})
	}
	return c
}

func (c *cluster) newActor() version.Actor {
	c.actors++
	return version.Actor(c.rand.Uint64()>>8<<8) | c.actors
}

func (c *cluster) any() *replica { return c.replicas[c.rand.IntN(len(c.replicas))] }

// send keeps a copy of a replica's object, which may arrive late, twice or never.
func (c *cluster) send(r *replica) {
	c.messages = append(c.messages, r.object)
	if len(c.messages) > 8 {
		at := c.rand.IntN(len(c.messages))
		c.messages = append(c.messages[:at], c.messages[at+1:]...)
	}
}

func (c *cluster) deliver() {
	if len(c.messages) > 0 {
		r := c.any()
		r.object = object.Merge(r.object, c.messages[c.rand.IntN(len(c.messages))])
	}
}

// all merges everything in some order and grouping, some of it twice.
func (c *cluster) all() object.Object {
	var parts []object.Object
	for _, r := range c.replicas {
		parts = append(parts, r.object)
	}
	parts = append(parts, c.messages...)
	parts = append(parts, parts[c.rand.IntN(len(parts))])
	for len(parts) > 1 {
		i := c.rand.IntN(len(parts) - 1)
		c.rand.Shuffle(len(parts), func(a, b int) { parts[a], parts[b] = parts[b], parts[a] })
		parts[i] = object.Merge(parts[i], parts[len(parts)-1])
		parts = parts[:len(parts)-1]
	}
	return parts[0]
}

func opOf(n int) object.OpID { return object.OpID{1, byte(n), byte(n >> 8), byte(n >> 16)} }

func shown(v View) []string {
	var out []string
	for _, s := range v.Live {
		out = append(out, string(s.Value))
	}
	return out
}
