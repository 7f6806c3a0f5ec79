package antientropy

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

func TestQueueSpreadsTheWork(t *testing.T) {
	a, b, c := nodeID(1), nodeID(2), nodeID(3)
	var parts []*part
	for n := range uint32(30) {
		p := &part{Claim: Claim{Partition: n}, confirmed: []ring.NodeID{a, b, c}, filling: &filling{}}
		if n%3 == 0 {
			p.confirmed = []ring.NodeID{c, b}
		}
		p.size.Store(int64(10 * (n%2 + 1)))
		parts = append(parts, p)
	}
	q := newQueue(parts)
	for _, id := range q.sources {
		if n := len(q.waiting[id]); n != 10 {
			t.Errorf("%d of 30 partitions are to come from %v", n, id)
		}
	}
	sources := map[ring.NodeID]int{}
	taken := map[uint32]bool{}
	var groups []group
	for range 6 {
		g, ok := q.take(35)
		if !ok {
			t.Fatal("nothing to take")
		}
		sources[g.source]++
		groups = append(groups, g)
		sum := int64(0)
		for _, p := range g.parts {
			sum += p.size.Load()
			if taken[p.Partition] || !contains(p.confirmed, g.source) {
				t.Errorf("partition %d: taken before %v, from %v", p.Partition, taken[p.Partition], g.source)
			}
			taken[p.Partition] = true
		}
		if sum > 35 {
			t.Errorf("a group of %d bytes", sum)
		}
	}
	if sources[a] != 2 || sources[b] != 2 || sources[c] != 2 {
		t.Errorf("six streams from %v", sources)
	}
	for _, g := range groups {
		if g.source != b {
			q.release(g)
		}
	}
	q.giveUp(a)
	for range 3 {
		if g, _ := q.take(1); g.source != c || len(g.parts) != 1 { // however large it is
			t.Errorf("%d parts from %v, of which b is busy and a was given up", len(g.parts), g.source)
		}
		q.busy[c]--
	}
	if q.giveUp(b); len(q.waiting[b]) != 0 {
		t.Error("b was not given up")
	}
}

// Only the first partition of a request can go on from the middle.
func TestRunsEndBeforeACursor(t *testing.T) {
	fresh, begun := &part{filling: &filling{}}, &part{filling: &filling{after: object.Ref{Key: "k"}}}
	for want, parts := range map[int][]*part{
		1: {begun, begun}, 2: {begun, fresh, begun, fresh}, 3: {fresh, fresh, fresh},
	} {
		if got := runLength(parts); got != want {
			t.Errorf("%d partitions in a request, want %d", got, want)
		}
	}
}

func TestTransferRest(t *testing.T) {
	procs := runtime.GOMAXPROCS(0)
	for _, c := range []struct {
		pressure float64
		streams  int
		want     time.Duration
	}{
		{0, procs, 0}, {-1, procs, 0},
		{0.1, procs, 7333 * time.Microsecond}, {0.1, 2 * procs, 15667 * time.Microsecond}, // 88 parts of 100, 94
		{1, procs, 40667 * time.Microsecond},
	} {
		if got := transferRest(time.Millisecond, c.pressure, c.streams); got.Round(time.Microsecond) != c.want {
			t.Errorf("pressure %v, %d streams: rest of %v, want %v", c.pressure, c.streams, got, c.want)
		}
	}
	if got := streamShare(1, 1); got != 1 {
		t.Errorf("one stream may work %v of the time", got)
	}
}

func TestFillerOptions(t *testing.T) {
	w := newWorld(t, 4)
	good := w.filler().opts
	for name, spoil := range map[string]func(*FillerOptions){
		"no copies":        func(o *FillerOptions) { o.Copies = nil },
		"no replicas":      func(o *FillerOptions) { o.Replicas = nil },
		"too many streams": func(o *FillerOptions) { o.Streams = MaxStreams + 1 },
	} {
		o := good
		spoil(&o)
		if _, err := NewFiller(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewServer(ServerOptions{}); err == nil {
		t.Error("an empty server: no error")
	}
}

func TestSizes(t *testing.T) {
	w := newWorld(t, 4)
	ref := w.stores[0].add(t, "k", 1000, version.Dot{Actor: 1, Seq: 1})
	got, err := w.server(w.ids[0]).HandleSizes(t.Context(), SizesRequest{Partitions: []uint32{ref.Partition, ref.Partition ^ 1, 1 << 30}})
	if err != nil || len(got.Bytes) != 3 || got.Bytes[0] < 1000 || got.Bytes[0] > 2000 || got.Bytes[1] != 0 || got.Bytes[2] != 0 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := w.server(w.ids[0]).HandleSizes(t.Context(), SizesRequest{Partitions: make([]uint32, MaxSizes+1)}); !errors.Is(err, ErrTooMuch) {
		t.Errorf("too many: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.server(w.ids[0]).HandleSizes(ctx, SizesRequest{Partitions: []uint32{1}}); err == nil {
		t.Error("no error after the end")
	}
	w.stores[0].fail = errors.New("broken")
	if got, err := w.server(w.ids[0]).HandleSizes(t.Context(), SizesRequest{Partitions: []uint32{ref.Partition}}); err != nil || got.Bytes[0] != 0 {
		t.Errorf("what cannot be read: %v, %v", got, err)
	}
}
