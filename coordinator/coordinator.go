package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/coordinator/quorum"
	"starling/ring"
	"starling/store/bucket"
	"starling/store/object"
	"starling/store/version"
)

// Store is this node's replica of every partition it has.
type Store interface {
	Get(ref object.Ref) (object.Object, error)
	// Update puts what make makes of the stored object, in one atomic step of
	// the key. A put whose operation is stored already is answered by that.
	Update(ref object.Ref, op object.OpID, make Make) (object.Written, error)
	Merge(ref object.Ref, o object.Object) (object.Written, error)
}

// Make makes what a put writes of the object that a replica holds and the dot
// that the put gets: the context that it supersedes by, and the sibling. It may
// run more than once, and changes and keeps nothing of the object.
type Make = func(o object.Object, dot version.Dot) (version.Context, object.Sibling, error)

// Membership knows the other members.
type Membership interface {
	// Alive is the failure detector's opinion; it may be wrong.
	Alive(id ring.NodeID) bool
	// Refresh exchanges cluster maps with a member. When it returns nil both
	// sides route by the merged map.
	Refresh(ctx context.Context, id ring.NodeID) error
}

// Options configures a [Coordinator].
type Options struct {
	Self       ring.NodeID
	Store      Store
	Peers      Peers
	Membership Membership
	// Batches carries requests of batches together; nil: each goes alone.
	Batches BatchPeers
	// Hints keeps writes for replicas that are down; nil: quorums are strict.
	Hints Hints
	// Probes pings peers that are down and asks members how they are; nil:
	// a peer that was given up is never found again.
	Probes Probes
	// HintTotals counts the hints that this node keeps; may be nil.
	HintTotals func() []object.HintTotals
	// Transfer is how many bytes of how many have come to this node of the
	// partitions that it is being filled with, LeaveWaits what its leaving
	// waits for, "" if nothing. Both are for those who ask how it is; each may
	// be nil.
	Transfer   func() (done, total int64)
	LeaveWaits func() string
	// Leaf gives a key's Merkle leaf, for [Coordinator.Explain]; may be nil.
	Leaf func(ref object.Ref) (leaf int, sum, keys uint64, err error)
	// ReadRepair sends merged objects to the stale owners that a get heard.
	ReadRepair bool
	// SlowAfter is how long a get waits at most for a node that it asked
	// before it asks one more; default 100 ms. A node that is known to be
	// quicker gets the 95th percentile of its answers.
	SlowAfter time.Duration
	// HedgePerMille is how many of 1000 gets may ask one node more because
	// another is slow; default 50.
	HedgePerMille int
	// RepairQueue bounds the repairs waiting (default 1024); beyond it they
	// are dropped and counted. RepairWorkers is how many run at once
	// (default 2).
	RepairQueue, RepairWorkers int
	// Now is the wall clock that stamps values; default time.Now.
	Now func() time.Time
	// Logger defaults to slog.Default; Metrics may be nil.
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	// PeerName labels a peer in the metrics; default its ID.
	PeerName func(ring.NodeID) string
}

func (o Options) withDefaults() (Options, error) {
	if o.Store == nil || o.Peers == nil || o.Membership == nil {
		return o, errors.New("coordinator: Store, Peers and Membership must be set")
	}
	setDefault(&o.SlowAfter, 100*time.Millisecond)
	setDefault(&o.HedgePerMille, 50)
	setDefault(&o.RepairQueue, 1024)
	setDefault(&o.RepairWorkers, 2)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.PeerName == nil {
		o.PeerName = ring.NodeID.String
	}
	return o, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Coordinator takes puts and gets for any key. Make it with [New], give it a
// view with [Coordinator.SetView], and keep [Coordinator.Run] running.
type Coordinator struct {
	opts    Options
	metrics *metrics

	// gate is held for reading while a placement is compared and a copy
	// applied, for writing while the view or the buckets change (invariants 1
	// and 11).
	gate    sync.RWMutex
	view    atomic.Pointer[ring.View]
	buckets atomic.Pointer[bucket.Registry]

	peers       sync.Map      // ring.NodeID → *peer
	turn        atomic.Uint32 // rotates among equally good peers
	hedges      hedges
	draining    atomic.Bool
	asked       atomic.Uint64 // see Asked
	pulse       pulse
	drops       atomic.Uint64 // copies that were dropped, or are being; see readCopy
	repairs     chan repair
	batches     batches
	compactions compactions
	tasks       tasks
}

var (
	_ Replica      = (*Coordinator)(nil)
	_ BatchReplica = (*Coordinator)(nil)
	_ Diagnosis    = (*Coordinator)(nil)
)

// New makes a coordinator that answers [ErrNotReady] until it has a view.
func New(o Options) (*Coordinator, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Coordinator{opts: o, repairs: make(chan repair, o.RepairQueue), hedges: newHedges(o.HedgePerMille), pulse: newPulse()}
	c.metrics, err = newMetrics(o.Metrics, o.PeerName)
	if err != nil {
		return nil, fmt.Errorf("coordinator: metrics: %w", err)
	}
	batched, err := newBatchMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("coordinator: metrics: %w", err)
	}
	c.batches = newBatches(batched)
	return c, nil
}

// Run repairs stale replicas and pings peers that are down until ctx ends, then waits for every request
// that is still being carried out. Requests made after that are refused.
func (c *Coordinator) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range c.opts.RepairWorkers {
		workers.Go(func() { c.repairLoop(ctx) })
	}
	workers.Go(func() { c.pingLoop(ctx) })
	workers.Go(func() { c.pulseLoop(ctx) })
	<-ctx.Done()
	workers.Wait()
	c.tasks.closeAndWait()
	return nil
}

// SetView makes v the placement of every later request. See invariant 1.
func (c *Coordinator) SetView(v *ring.View) {
	c.gate.Lock()
	defer c.gate.Unlock()
	c.view.Store(v)
}

// Drain refuses to coordinate for other nodes from now on. Requests of this
// node's own clients, and copies, are still taken.
func (c *Coordinator) Drain() { c.draining.Store(true) }

// View is the placement in force, nil before the first SetView.
func (c *Coordinator) View() *ring.View { return c.view.Load() }

// place finds a key's partition and replicas in the view in force.
func (c *Coordinator) place(bucket, key string) (object.Ref, ring.Placement, error) {
	v := c.View()
	if v == nil {
		return object.Ref{}, ring.Placement{}, ErrNotReady
	}
	p := ring.Partition(bucket, key, v.Ring().Config().Partitions)
	return object.Ref{Partition: uint32(p), Bucket: bucket, Key: key}, v.Placement(p), nil
}

// stampNow is the stamp of a partition in the view in force.
func (c *Coordinator) stampNow(partition uint32) uint64 {
	return c.View().Placement(int(partition)).Stamp
}

// required turns a level or a number into a count of replicas.
func required(number int, l Level, owners int) int {
	if number > 0 {
		return number
	}
	switch l {
	case LevelOne, LevelAny:
		return 1
	case LevelTwo:
		return 2
	case LevelThree:
		return 3
	case LevelAll:
		return max(1, owners)
	default:
		return quorum.Majority(owners)
	}
}

// tasks counts goroutines that outlive the request that started them. Unlike
// a bare WaitGroup it refuses new ones once it is closed.
type tasks struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// start reports whether the caller may start n tasks, which it must report
// done.
func (t *tasks) start(n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Add(n)
	return true
}

func (t *tasks) done(n int) { t.wg.Add(-n) }

func (t *tasks) closeAndWait() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.wg.Wait()
}
