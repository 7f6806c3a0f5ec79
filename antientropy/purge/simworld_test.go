package purge

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"github.com/cespare/xxhash/v2"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// The simulated cluster: members that hold objects in maps, and a bag of
// messages that come late, twice or never. A member's memory is a list of
// tasks, which are lost when it crashes; so are, of its rows, some of the
// latest changes that were not synced.

const (
	simMembers  = 4
	simReplicas = 2
	simEpochs   = 8
)

func simID(i int) ring.NodeID { return ring.NodeID{0: byte(i), 15: 1} }

func simIndex(id ring.NodeID) int { return int(id[0]) }

// message is on its way to a member.
type message struct {
	to  int
	run func(x *member)
	// notBefore is the first step in which it may come. late: not before the
	// next deletion either, of which there were so many when it was sent.
	notBefore int
	late      bool
	deletions int
	sure      bool // it is not lost
}

// world is a cluster and what the oracle knows of it.
type world struct {
	rng      *rand.Rand
	flaw     flaw
	refs     []object.Ref
	members  []*member
	bag      []*message
	orders   [simEpochs][]int // who is ranked how, by epoch of the ring
	contexts map[object.Ref][]version.Context
	oracle   oracle
	weights  [numActions]int
	taste    [numActions]int
	rate     int // of crashes and changes of the ring, in percent of what it could be
	// nextActor and nextSeq are never used again.
	nextActor version.Actor
	nextSeq   uint64
	deletions int
	twice     int  // how many messages come again, in percent
	flood     bool // late messages come too
	crashAt   int  // the step of a crash to come
	stats     simStats
}

// simStats tell what a run put to the test.
type simStats struct {
	steps, puts, crashes, rings, rounds, fenced, purged, pruned, refused, late int
}

func newWorld(seed uint64, f flaw) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), flaw: f, contexts: map[object.Ref][]version.Context{}, nextActor: 1}
	w.oracle = oracle{w: w, writes: map[version.Dot]*write{}}
	for k := range 1 + w.rng.IntN(2) {
		w.refs = append(w.refs, object.Ref{Partition: uint32(k), Bucket: "b", Key: "k"})
	}
	for e := range w.orders {
		w.orders[e] = w.rng.Perm(simMembers)
	}
	var first clusterMap
	for _, i := range w.orders[0][:simReplicas] {
		first.records[i].settled = true
	}
	for i := range simMembers {
		x := &member{w: w, id: i, up: true, rows: map[object.Ref]object.Object{}, hints: map[hintKey]object.Object{}, saved: first}
		x.start()
		w.members = append(w.members, x)
	}
	w.twice = []int{5, 15, 30}[w.rng.IntN(3)]
	for i := range w.taste {
		w.taste[i] = []int{1, 2, 4}[w.rng.IntN(3)]
	}
	return w
}

func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }

func (w *world) ref() object.Ref { return w.refs[w.rng.IntN(len(w.refs))] }

// post sends a message that may be very late or never come.
func (w *world) post(to int, run func(x *member)) {
	m := &message{to: to, run: run, late: w.chance(15), deletions: w.deletions}
	if w.chance(25) {
		m.notBefore = w.stats.steps + w.rng.IntN(200)
	}
	w.bag = append(w.bag, m)
}

// call has something done at another member, and its answer, if there is one,
// in the memory that the caller has now.
func (w *world) call(from *member, to int, do func(x *member) (answer func())) {
	w.callBy(w.post, from, to, do)
}

// postTwice sends a message that comes soon, and often once more very late: a
// hint is delivered again and again until it is known to have come.
func (w *world) postTwice(to int, run func(x *member)) {
	w.bag = append(w.bag, &message{to: to, run: run})
	if w.chance(30) {
		w.bag = append(w.bag, &message{to: to, run: run, late: true, deletions: w.deletions})
	}
}

// callSurely is call with messages that all come, or a purge would hardly ever
// get to its end. Each takes up to so many steps.
func (w *world) callSurely(from *member, to, steps int, do func(x *member) (answer func())) {
	w.callBy(func(to int, run func(x *member)) {
		at := w.stats.steps + w.rng.IntN(steps+1)
		w.bag = append(w.bag, &message{to: to, run: run, sure: true, notBefore: at, deletions: w.deletions})
	}, from, to, do)
}

func (w *world) callBy(post func(int, func(x *member)), from *member, to int, do func(x *member) (answer func())) {
	boot := from.boot
	post(to, func(x *member) {
		if answer := do(x); answer != nil {
			post(from.id, func(*member) {
				if from.boot == boot {
					answer()
				}
			})
		}
	})
}

func (w *world) mayCome(m *message) bool {
	return w.flood || w.stats.steps >= m.notBefore && (!m.late || m.deletions < w.deletions)
}

// deliver takes a message out of the bag, or leaves it there to come again. It
// is false if none may come now.
func (w *world) deliver() bool {
	may := 0
	for _, m := range w.bag {
		if w.mayCome(m) {
			may++
		}
	}
	if may == 0 {
		return false
	}
	n, skip := 0, w.rng.IntN(may)
	for ; skip > 0 || !w.mayCome(w.bag[n]); n++ {
		if w.mayCome(w.bag[n]) {
			skip--
		}
	}
	m := w.bag[n]
	x, came := w.members[m.to], m.deletions < w.deletions
	if w.flood || !x.up || !w.chance(w.twice) {
		w.bag = slices.Delete(w.bag, n, n+1)
	} else {
		m.late, m.deletions = m.late || w.chance(70), w.deletions // comes again
	}
	if !x.up || !w.flood && !m.sure && w.chance(4) {
		return true // lost
	}
	if came {
		w.stats.late++
	}
	m.run(x)
	return true
}

// record is what one member writes in the cluster map.
type record struct {
	version uint64
	settled bool
	fence   uint64
}

// clusterMap says who owns what. Of each record the latest version counts.
type clusterMap struct {
	epoch   int
	records [simMembers]record
}

func (m clusterMap) merge(o clusterMap) clusterMap {
	m.epoch = max(m.epoch, o.epoch)
	for i, r := range o.records {
		if r.version > m.records[i].version {
			m.records[i] = r
		}
	}
	return m
}

func (m clusterMap) fence() (fence uint64) {
	for _, r := range m.records {
		fence = max(fence, r.fence)
	}
	return fence
}

// place does what ring.View does; all partitions are placed alike.
func (w *world) place(m clusterMap) (pl ring.Placement) {
	for at, i := range w.orders[m.epoch] {
		switch settled := m.records[i].settled; {
		case settled && len(pl.Owners) < simReplicas:
			pl.Owners = append(pl.Owners, simID(i))
		case settled:
			pl.Displaced = append(pl.Displaced, simID(i))
		case at < simReplicas:
			pl.Pending = append(pl.Pending, simID(i))
		}
	}
	b := binary.BigEndian.AppendUint64(nil, m.fence())
	for _, list := range [][]ring.NodeID{pl.Owners, pl.Pending, pl.Displaced} {
		b = append(b, byte(len(list)))
		for _, id := range list {
			b = append(b, id[0])
		}
	}
	pl.Stamp = xxhash.Sum64(b)
	return pl
}
