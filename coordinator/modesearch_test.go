package coordinator

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/bucket"
	"starling/store/bucket/resolve"
	"starling/store/object"
)

var (
	modeSeed = flag.Uint64("mode.seed", 1, "first seed of the random tests of modes")
	modeRuns = flag.Uint64("mode.runs", 8, "schedules of each mode that are run")
)

// Whatever goes wrong, and by whichever way the copies become equal, a key shows
// what a dumb twin of its mode makes of the puts that were acknowledged, and of
// some of those that may have been applied.
func TestModesUnderFaults(t *testing.T) {
	for _, m := range []bucket.Mode{bucket.LWW, bucket.Max, bucket.Min, bucket.Union, bucket.JSONMerge, bucket.Counter} {
		t.Run(m.String(), func(t *testing.T) {
			for seed := *modeSeed; seed < *modeSeed+*modeRuns; seed++ {
				synctest.Test(t, func(t *testing.T) {
					s := newModeSearch(t, m, seed)
					for range 60 {
						s.step()
					}
					s.end()
				})
				if t.Failed() {
					t.Fatalf("replay with -run '^%s$' -mode.seed=%d -mode.runs=1", t.Name(), seed)
				}
			}
		})
	}
}

// modeSearch is one schedule on one key.
type modeSearch struct {
	*cluster
	rng   *rand.Rand
	mode  bucket.Mode
	puts  int
	acked []modePut
	maybe []modePut // not acknowledged
}

// modePut is the number of a put, which its value tells, and its stamp.
type modePut struct {
	n          int
	modifiedMS int64
}

const modeKey = "k"

func newModeSearch(t *testing.T, m bucket.Mode, seed uint64) *modeSearch {
	s := &modeSearch{rng: rand.New(rand.NewPCG(seed, uint64(m))), mode: m}
	s.cluster = newCluster(t, 5, func(o *Options) {
		o.ReadRepair = s.rng.IntN(2) == 0
		if skew := time.Duration(s.rng.IntN(5)-2) * time.Second; m != bucket.Counter { // see RetryForMS
			o.Now = func() time.Time { return time.Now().Add(skew) }
		}
	}).withHints()
	s.credulous.Store(s.rng.IntN(2) == 0)
	knowing := s.ids
	if s.rng.IntN(4) == 0 { // some have not heard of the mode
		knowing = s.ids[s.rng.IntN(5):]
	}
	s.inMode(bucket.Properties{Mode: m}, knowing...)
	return s
}

func (s *modeSearch) node() ring.NodeID { return s.ids[s.rng.IntN(5)] }

func (s *modeSearch) step() {
	switch s.rng.IntN(12) {
	case 0, 1:
		s.setFault(s.node(), fault(1+s.rng.IntN(3)))
	case 2, 3:
		s.setFault(s.node(), healthy)
	case 4:
		time.Sleep(time.Duration(s.rng.IntN(3000)) * time.Millisecond) // of the bubble's clock
	case 5:
		s.exchange(s.node(), s.node())
	case 6:
		if res, err := s.get(s.node(), GetRequest{Key: modeKey}); err == nil {
			s.checkSome(res.Object)
		}
	default:
		s.write()
	}
}

// write puts once, and again with the same operation if it has to.
func (s *modeSearch) write() {
	if s.puts == 60 {
		return
	}
	s.puts++
	put := modePut{n: s.puts - 1}
	req := putReq(modeKey, s.value(put.n), Consistency{Level: []Level{LevelOne, LevelQuorum, LevelAll}[s.rng.IntN(3)]})
	if s.mode == bucket.Counter {
		req.Increment, req.Delta, req.Sibling.Value = true, 1<<put.n, nil
	}
	for range 1 + s.rng.IntN(3) {
		res, err := s.put(s.node(), req)
		if err == nil {
			put.modifiedMS = res.ModifiedMS
			s.acked = append(s.acked, put)
			if s.rng.IntN(8) > 0 {
				return
			}
		}
	}
	s.maybe = append(s.maybe, put)
}

// value is that of a put by its number.
func (s *modeSearch) value(n int) string {
	switch s.mode {
	case bucket.Union:
		return fmt.Sprintf(`["%02d"]`, n)
	case bucket.JSONMerge:
		return fmt.Sprintf(`{"k":{"%02d":1},"m":%d}`, n, n)
	default:
		return fmt.Sprint((n*37)%101 - 50)
	}
}

// exchange makes the copies of two owners equal, as anti-entropy does.
func (s *modeSearch) exchange(a, b ring.NodeID) {
	pl := s.placement(modeKey)
	if !slices.Contains(pl.Owners, a) || !slices.Contains(pl.Owners, b) || s.faultOf(a) != healthy || s.faultOf(b) != healthy {
		return
	}
	for _, pair := range [][2]ring.NodeID{{a, b}, {b, a}} {
		o, _ := s.stores[pair[0]].Get(refOf(modeKey))
		if _, err := s.nodes[pair[1]].Apply(refOf(modeKey), pl.Stamp, o); err != nil {
			s.t.Fatal(err)
		}
	}
}

// end heals the cluster, has the copies become equal in one of the ways, and
// holds them against what everything that anyone held comes to.
func (s *modeSearch) end() {
	for _, id := range s.ids {
		s.setFault(id, healthy)
	}
	for _, id := range s.ids {
		s.untilUsable(id)
	}
	synctest.Wait()
	time.Sleep(hintGrace)
	var all object.Object
	for _, id := range s.ids {
		o, err := s.nodes[id].read(refOf(modeKey), s.placement(modeKey), true)
		if err != nil {
			s.t.Fatal(err)
		}
		all = object.Merge(all, o)
	}
	s.converge()
	for _, id := range s.owners(modeKey) {
		o, _ := s.stores[id].Get(refOf(modeKey))
		if !o.Equal(all) || shown(s.mode, o) != shown(s.mode, all) {
			s.t.Fatalf("%s holds %v, all together %v", id, o, all)
		}
	}
	s.checkSome(all)
	s.checkAcked(all)
}

func (s *modeSearch) converge() {
	owners := s.owners(modeKey)
	switch s.rng.IntN(3) {
	case 0: // hints, then reads that repair
		s.deliverAll()
		for _, id := range s.ids {
			s.nodes[id].opts.ReadRepair = true
		}
		for range 2 {
			if _, err := s.get(s.node(), GetRequest{Key: modeKey, Consistency: all}); err != nil {
				s.t.Fatal(err)
			}
			synctest.Wait()
		}
	case 1: // exchanges, then hints that come late
		s.exchange(owners[0], owners[1])
		s.deliverAll()
		s.exchange(owners[1], owners[2])
		s.exchange(owners[0], owners[2])
		s.exchange(owners[0], owners[1])
	default: // a view of another ring: everything is delivered to everybody, twice
		for range 2 {
			for _, from := range s.ids {
				o, _ := s.nodes[from].read(refOf(modeKey), s.placement(modeKey), true)
				if o.Absent() {
					continue
				}
				ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
				err := s.nodes[from].deliverToAll(ctx, refOf(modeKey), s.placement(modeKey), o)
				cancel()
				if err != nil {
					s.t.Fatal(err)
				}
			}
		}
	}
}

// numbers are the puts that a value shows to have counted.
func (s *modeSearch) numbers(live []object.Sibling) (ns []int) {
	if len(live) == 0 {
		return nil
	}
	if len(live) > 1 {
		s.t.Fatalf("%d values", len(live))
	}
	value := live[0].Value
	switch s.mode {
	case bucket.Union:
		var items []string
		s.parse(value, &items)
		for _, item := range items {
			ns = append(ns, atoi(s.t, item))
		}
	case bucket.JSONMerge:
		var doc struct {
			K map[string]int
			M int
		}
		s.parse(value, &doc)
		for item := range doc.K {
			ns = append(ns, atoi(s.t, item))
		}
		if doc.M != slices.Max(ns) {
			s.t.Fatalf("the greatest is %d in %s", doc.M, value)
		}
	case bucket.Counter:
		sum, ok := new(big.Int).SetString(string(value), 10)
		if !ok {
			s.t.Fatalf("a count of %s", value)
		}
		for i := range sum.BitLen() {
			if sum.Bit(i) == 1 {
				ns = append(ns, i)
			}
		}
	default:
		for n := range s.puts {
			if s.value(n) == string(value) {
				ns = append(ns, n)
			}
		}
	}
	return ns
}

func (s *modeSearch) parse(value []byte, into any) {
	if err := json.Unmarshal(value, into); err != nil {
		s.t.Fatalf("%v in %s", err, value)
	}
}

func atoi(t *testing.T, digits string) int {
	t.Helper()
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func has(puts []modePut, n int) bool {
	return slices.ContainsFunc(puts, func(p modePut) bool { return p.n == n })
}

// checkSome wants what is shown to come of puts that were tried.
func (s *modeSearch) checkSome(o object.Object) {
	live := resolve.Read(s.mode, o, time.Now().UnixMilli()).Live
	ns := s.numbers(live)
	if len(live) > 0 && len(ns) == 0 {
		s.t.Fatalf("%s comes of no put", live[0].Value)
	}
	for _, n := range ns {
		if !has(s.acked, n) && !has(s.maybe, n) {
			s.t.Fatalf("%s shows put %d, which was never tried", live[0].Value, n)
		}
	}
}

// checkAcked wants each acknowledged put to have counted.
func (s *modeSearch) checkAcked(o object.Object) {
	view := resolve.Read(s.mode, o, time.Now().UnixMilli())
	ns := s.numbers(view.Live)
	for _, put := range s.acked {
		switch {
		case s.mode == bucket.Union || s.mode == bucket.JSONMerge || s.mode == bucket.Counter:
			if !slices.Contains(ns, put.n) {
				s.t.Fatalf("%s lacks put %d", view.Live[0].Value, put.n)
			}
		case s.mode == bucket.Max && s.number(view) < atoi(s.t, s.value(put.n)), s.mode == bucket.Min && s.number(view) > atoi(s.t, s.value(put.n)):
			s.t.Fatalf("%s, after %s was put", view.Live[0].Value, s.value(put.n))
		case s.mode == bucket.LWW && view.Live[0].ModifiedMS < put.modifiedMS:
			s.t.Fatalf("%s of %d wins over %s of %d", view.Live[0].Value, view.Live[0].ModifiedMS, s.value(put.n), put.modifiedMS)
		}
	}
	if s.mode == bucket.LWW {
		s.checkLost(o, view)
	}
}

// checkLost wants every sibling that lost to be found, newest first.
func (s *modeSearch) checkLost(o object.Object, view resolve.View) {
	stamps := []int64{view.Live[0].ModifiedMS}
	for _, lost := range view.Previous {
		stamps = append(stamps, lost.ModifiedMS)
	}
	if !slices.IsSortedFunc(stamps, func(a, b int64) int { return int(b - a) }) {
		s.t.Fatalf("not the newest first: %v", stamps)
	}
	if want := min(len(o.Live(0))-1, resolve.MaxPrevious); len(view.Previous) < want {
		s.t.Fatalf("%d values that lost, want %d", len(view.Previous), want)
	}
}

func (s *modeSearch) number(v resolve.View) int { return atoi(s.t, string(v.Live[0].Value)) }
