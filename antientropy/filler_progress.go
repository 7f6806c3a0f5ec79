package antientropy

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/ring"
	"starling/store/object"
)

// Progress is how far a node is with filling its partitions. It is zero where
// there is nothing to fill.
type Progress struct {
	// Partitions counts those that were to be filled since the fill began, and
	// Settled those of them that are.
	Partitions, Settled int
	// BytesDone and BytesTotal are estimates, in bytes of objects. The total
	// grows while owners are still asked how much they have.
	BytesDone, BytesTotal int64
	// Since is when the fill began: when the first partition became pending.
	Since time.Time
}

// Progress tells how far the fill is that is under way.
func (f *Filler) Progress() Progress { return f.fill.progress() }

// filling is what is known of one partition while it is filled. It survives
// the rounds, so that one that was broken off goes on where it was. It is used
// by one goroutine at a time, but for the numbers.
type filling struct {
	// blind: rows were lost here and dropped, so nothing is to be read.
	blind bool
	// begun: it was decided whether there is anything to stream.
	begun bool
	// streamed: a snapshot is here, or was not needed. Up to then it is here
	// up to after.
	streamed bool
	after    object.Ref
	// caughtUp are the owners whose keys were gone through since they confirmed
	// this stamp.
	stamp    uint64
	caughtUp map[ring.NodeID]bool
	// sized: an owner said how much it has, size; here is what is here of it.
	sized      atomic.Bool
	size, here atomic.Int64
}

// under has everything forgotten that was proven under another stamp.
func (f *filling) under(stamp uint64) {
	if f.stamp != stamp || f.caughtUp == nil {
		f.stamp, f.caughtUp = stamp, map[ring.NodeID]bool{}
	}
}

// fill is all partitions that are pending, from the time that the first of them
// was. It is safe for concurrent use.
type fill struct {
	mu    sync.Mutex
	since time.Time
	parts map[uint32]*filling
	// blind are those to be filled without reading what is here.
	blind map[uint32]bool
	// done counts what was settled since then.
	done      int
	doneBytes int64
}

// look takes in what is pending now.
func (f *fill) look(pending []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.since.IsZero() && len(pending) > 0 {
		f.since, f.parts = time.Now(), map[uint32]*filling{}
	}
	still := make(map[uint32]*filling, len(pending))
	for _, p := range pending {
		if still[uint32(p)] = f.parts[uint32(p)]; still[uint32(p)] == nil {
			still[uint32(p)] = &filling{blind: f.blind[uint32(p)]}
		}
	}
	f.parts = still
}

// anew has everything forgotten that is known of partitions.
func (f *fill) anew(partitions []uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blind == nil {
		f.blind = map[uint32]bool{}
	}
	for _, p := range partitions {
		f.blind[p] = true
		delete(f.parts, p)
	}
}

// of gives a partition that look has seen.
func (f *fill) of(partition uint32) *filling {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.parts[partition]
}

// settled takes in that the bits of partitions are set.
func (f *fill) settled(claims []Claim) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range claims {
		part := f.parts[c.Partition]
		if part == nil {
			continue
		}
		f.done++
		f.doneBytes += part.size.Load()
		delete(f.parts, c.Partition)
		delete(f.blind, c.Partition)
	}
}

// over ends the fill.
func (f *fill) over() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.since, f.parts, f.done, f.doneBytes = time.Time{}, nil, 0, 0
}

func (f *fill) progress() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := Progress{Partitions: f.done + len(f.parts), Settled: f.done, BytesDone: f.doneBytes, BytesTotal: f.doneBytes, Since: f.since}
	for _, part := range f.parts {
		size := part.size.Load()
		p.BytesDone += min(part.here.Load(), size)
		p.BytesTotal += size
	}
	return p
}

// fillMetrics are handles, so that nothing is looked up per page.
type fillMetrics struct {
	streamed, fetched shippedMetrics
	broken            prometheus.Counter
}

func newFillMetrics(f *Filler) (*fillMetrics, error) {
	received := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_transfer_received_total",
		Help: "What this node got from owners to fill its partitions, in objects and in bytes: by snapshot, or key by key."}, []string{"by", "unit"})
	m := &fillMetrics{
		streamed: shippedMetrics{received.WithLabelValues("snapshot", "objects"), received.WithLabelValues("snapshot", "bytes")},
		fetched:  shippedMetrics{received.WithLabelValues("key", "objects"), received.WithLabelValues("key", "bytes")},
		broken: prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_transfer_broken_total",
			Help: "Transfers of partitions to this node that broke off; they go on later."}),
	}
	gauge := func(name, help string, value func(Progress) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(f.Progress()) })
	}
	if f.opts.Metrics == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		received, m.broken,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "starling_pending_partitions",
			Help: "Partitions that this node is to own and does not yet hold."}, func() float64 { return float64(len(f.pending())) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "starling_transfer_pace_bytes_per_second",
			Help: "The most that this node takes over from others in a second, before it gives way to requests; 0: transfers are held."},
			func() float64 { return float64(f.opts.Pace.Rate()) }),
		gauge("starling_transfer_bytes", "Estimate of the bytes that the fill under way is about; 0 if there is none.",
			func(p Progress) float64 { return float64(p.BytesTotal) }),
		gauge("starling_transfer_done_bytes", "Estimate of the bytes of it that are here.",
			func(p Progress) float64 { return float64(p.BytesDone) }),
		gauge("starling_transfer_settled_partitions", "Partitions settled since the fill under way began.",
			func(p Progress) float64 { return float64(p.Settled) }),
	} {
		errs = append(errs, f.opts.Metrics.Register(c))
	}
	return m, errors.Join(errs...)
}
