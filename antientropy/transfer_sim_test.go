package antientropy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// The quorums of the simulation, for three replicas.
const simW, simR = 2, 2

// sim writes at random while partitions are filled, and knows what was
// acknowledged.
type sim struct {
	w   *world
	mu  sync.Mutex
	rng *rand.Rand
	seq uint64
	// acked are the objects that were acknowledged; before is how many of them
	// were so before any node knew of the newcomer.
	acked  []object.Entry
	before int
	// refused counts writes that a node refused for their stamp.
	refused int
	settled map[int]bool
}

func (s *sim) intN(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n)
}

func (s *sim) short() time.Duration { return time.Duration(s.intN(30)) * time.Millisecond }

// put is one write, as a coordinator does it: by the view of some node, at one
// of the owners, and from there to all writers, of which each may be missed.
func (s *sim) put(key int) {
	name := fmt.Sprintf("key-%03d", key)
	ref := object.Ref{Partition: uint32(ring.Partition("b", name, partitions)), Bucket: "b", Key: name}
	pl := s.w.views[s.intN(len(s.w.views))].View().Placement(int(ref.Partition))
	coordinator := s.w.stores[s.w.index(pl.Owners[s.intN(len(pl.Owners))])]
	o, ok := s.mint(coordinator, ref, pl.Stamp)
	if !ok {
		return
	}
	acks := 1
	var sends sync.WaitGroup
	for _, id := range pl.AppendWriters(nil) {
		if id == coordinator.id || s.intN(4) == 0 { // lost
			continue
		}
		sends.Go(func() {
			time.Sleep(s.short())
			_, err := s.w.stores[s.w.index(id)].Apply(ref, pl.Stamp, o)
			s.mu.Lock()
			defer s.mu.Unlock()
			if err == nil {
				acks++
			} else {
				s.refused++
			}
		})
	}
	sends.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if acks >= simW+pl.Extra() {
		s.acked = append(s.acked, object.Entry{Ref: ref, Object: o})
	}
}

// mint makes a new version at the coordinator, one that replaces what is there
// or one beside it.
func (s *sim) mint(r *replica, ref object.Ref, stamp uint64) (object.Object, bool) {
	s.mu.Lock()
	s.seq++
	dot := version.Dot{Actor: version.Actor(r.id[0]) + 1, Seq: s.seq}
	replaces := s.rng.IntN(3) > 0
	s.mu.Unlock()
	old := r.get(ref)
	var c version.Context
	if replaces || len(old.Siblings) > 3 {
		c = old.Context()
	}
	o, err := old.Update(c, object.Sibling{Dot: dot, Value: make([]byte, 50)}, object.Limits{})
	if err != nil {
		s.w.t.Error(err)
		return o, false
	}
	written, err := r.Apply(ref, stamp, o)
	return written.Object, err == nil
}

// write writes without end.
func (s *sim) write(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
			s.put(s.intN(200))
			time.Sleep(s.short() / 4)
		}
	}
}

// check holds a partition that is about to be settled, or is, to what was
// acknowledged: the newcomer has all that was so before it came, and every read
// quorum of the new owners meets every write.
func (s *sim) check(p int) {
	view := ring.NewFencedView(s.w.ringOf(4), 0, func(id ring.NodeID, part int) bool {
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
		return id != s.w.self() || part == p || s.w.settled[part]
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled[p] = true
	owners := view.Placement(p).Owners
	for i, e := range s.acked {
		if int(e.Ref.Partition) != p {
			continue
		}
		if i < s.before && !s.w.newcomer().get(e.Ref).Vector.Descends(e.Object.Vector) {
			s.w.t.Errorf("partition %d settles without %v at %v, which was acknowledged before", p, e.Object.Vector, e.Ref)
		}
		lack := 0
		for _, id := range owners {
			if !s.w.stores[s.w.index(id)].get(e.Ref).Vector.Descends(e.Object.Vector) {
				lack++
			}
		}
		if lack >= simR {
			s.w.t.Errorf("partition %d: %d of %d owners lack %v at %v, which was acknowledged", p, lack, len(owners), e.Object.Vector, e.Ref)
		}
	}
}

// Writes at all times, by views that lag, and faults of all kinds: what was
// acknowledged is read by every quorum, before and after a partition settles,
// and the constant writes do not keep any from settling.
func TestNoWriteIsLostWhilePartitionsAreFilled(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 4)
				s := &sim{w: w, rng: rand.New(rand.NewPCG(seed, 5)), settled: map[int]bool{}}
				old := ring.NewView(w.ringOf(3), settledEverywhere)
				for _, v := range w.views {
					v.set(old)
				}
				for key := range 200 {
					s.put(key)
				}
				s.before = len(s.acked)
				w.lag, w.delay = s.short, 3*time.Millisecond
				w.onSettle = func(parts []int) {
					for _, p := range parts {
						s.check(p)
					}
				}
				s.simulate()
				w.late.Wait()
				for p := range s.settled {
					s.check(p)
				}
				t.Logf("%d of %d acknowledged writes before, %d refused, %v", s.before, len(s.acked), s.refused, w.seen.calls)
				if len(s.acked) < s.before*3/2 || s.before < 100 || s.refused == 0 || len(s.settled) < partitions/2 || w.seen.calls["fetch"] == 0 {
					t.Errorf("the simulation is empty: %d partitions settled", len(s.settled))
				}
			})
		})
	}
}

// simulate writes, breaks things for a while, and waits until all is settled.
func (s *sim) simulate() {
	w := s.w
	end := make(chan struct{})
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() { s.write(end) })
	}
	w.spreadLate() // the nodes learn of the newcomer
	slow := func(o *FillerOptions) { o.Pace = NewLimit(20_000) }
	stop := w.run(w.filler(slow))
	for range 6 {
		time.Sleep(10 * s.short())
		switch victim := w.ids[s.intN(3)]; s.intN(4) {
		case 0:
			stop()
			time.Sleep(s.short())
			stop = w.run(w.filler(slow))
		case 1:
			w.count(func(*worldSeen) { w.fence++ })
			w.spreadLate()
		case 2:
			w.count(func(*worldSeen) { w.broken[victim] = errors.New("connection reset") })
			time.Sleep(10 * s.short())
			w.count(func(*worldSeen) { delete(w.broken, victim) })
		default: // seen dead, by mistake: it goes on taking writes
			w.count(func(*worldSeen) { w.dead[victim] = true })
			time.Sleep(10 * s.short())
			w.count(func(*worldSeen) { delete(w.dead, victim) })
		}
	}
	w.await(time.Minute) // while the writes go on
	stop()
	close(end)
	writers.Wait()
}
