package antientropy

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

const partitions = 16

func nodeID(i int) ring.NodeID { return ring.NodeID{0: byte(i), 15: 1} }

// view is one node's opinion of the placement. Its lock is the gate that writes
// pass.
type view struct {
	mu sync.Mutex
	v  *ring.View
	// changed is told of each change; may be nil.
	changed func()
}

func (v *view) View() *ring.View {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.v
}

func (v *view) set(n *ring.View) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.v = n
	if v.changed != nil {
		v.changed()
	}
}

// world is a cluster of three or more nodes of which the last is filled. What
// it counts and is told is guarded by mu; a test that has nothing under way need
// not lock.
type world struct {
	t      *testing.T
	ids    []ring.NodeID
	stores []*replica
	views  []*view
	rings  map[int]*ring.Ring // those that were made, by nodes

	mu      sync.Mutex
	dead    map[ring.NodeID]bool
	settled map[int]bool // bits of the node being filled
	fence   uint64
	refresh int
	// unsettled: the other nodes have settled nothing.
	unsettled bool
	// broken makes calls to a node fail.
	broken map[ring.NodeID]error
	// fail makes single requests fail; may be nil.
	fail func(to ring.NodeID, method string) error
	// delay is how long a request takes, and an answer; hang: it never comes.
	delay time.Duration
	hang  map[ring.NodeID]bool
	// forge changes a page, forgeKeys a page of keys; before is called with
	// each request before it is handled, without mu.
	forge     func(*PullPage)
	forgeKeys func(to ring.NodeID, page *KeysPage)
	before    func(to ring.NodeID, method string)
	// onSettle is called before bits are set, without mu.
	onSettle func(parts []int)
	// lag is how long a node takes to learn of a change; may be nil: all know at
	// once. late are those that have not learned yet.
	lag  func() time.Duration
	late sync.WaitGroup
	seen worldSeen
}

// worldSeen is what was counted.
type worldSeen struct {
	calls map[string]int
	// streamed and fetched count objects by key, pushed those that went to
	// owners.
	streamed, fetched, pushed map[object.Ref]int
	from                      map[ring.NodeID]int // pages, by owner
	pulling, mostPulling      int                 // pulls under way
	largest                   int                 // page, in bytes
	held, mostHeld            int                 // bytes of pages that are not merged yet
	settles                   []time.Time
}

func newWorld(t *testing.T, n int) *world {
	w := &world{t: t, rings: map[int]*ring.Ring{}, dead: map[ring.NodeID]bool{}, settled: map[int]bool{}, broken: map[ring.NodeID]error{}, hang: map[ring.NodeID]bool{}}
	for i := range n {
		v := &view{}
		w.ids = append(w.ids, nodeID(i))
		w.views = append(w.views, v)
		w.stores = append(w.stores, &replica{exStore: newExStore(), id: nodeID(i), view: v})
	}
	w.forget()
	w.spread()
	return w
}

// forget clears what was counted.
func (w *world) forget() {
	w.seen = worldSeen{calls: map[string]int{}, streamed: map[object.Ref]int{}, fetched: map[object.Ref]int{},
		pushed: map[object.Ref]int{}, from: map[ring.NodeID]int{}}
}

func (w *world) self() ring.NodeID { return w.ids[len(w.ids)-1] }

func (w *world) newcomer() *replica { return w.stores[len(w.stores)-1] }

// ringOf is that of the first n nodes.
func (w *world) ringOf(n int) *ring.Ring {
	if r := w.rings[n]; r != nil {
		return r
	}
	var members []ring.Member
	for _, id := range w.ids[:n] {
		members = append(members, ring.Member{ID: id, Weight: 100})
	}
	r, err := ring.New(ring.Config{Partitions: partitions, Replicas: 3}, members)
	if err != nil {
		w.t.Fatal(err)
	}
	w.rings[n] = r
	return r
}

// current is the placement with the bits as they are: everybody but the last
// node is settled everywhere.
func (w *world) current() *ring.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return ring.NewFencedView(w.ringOf(len(w.ids)), w.fence, func(id ring.NodeID, p int) bool {
		if id == w.self() {
			return w.settled[p]
		}
		return !w.unsettled
	})
}

func (w *world) spread() {
	v := w.current()
	for _, view := range w.views {
		view.set(v)
	}
}

// raise raises the fence everywhere.
func (w *world) raise() {
	w.mu.Lock()
	w.fence++
	w.mu.Unlock()
	w.spread()
}

func (w *world) index(id ring.NodeID) int { return slices.Index(w.ids, id) }

// call is one request to a node.
func (w *world) call(ctx context.Context, to ring.NodeID, method string) error {
	w.mu.Lock()
	w.seen.calls[method]++
	err, delay, hang, before, n := w.broken[to], w.delay, w.hang[to], w.before, w.seen.calls[method]
	if w.dead[to] {
		err = errors.New("unreachable")
	}
	if w.fail != nil {
		err = cmp.Or(err, w.fail(to, method))
	}
	w.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if delay > 0 && err == nil {
		err = sleep(ctx, delay)
	}
	if before != nil {
		before(to, method)
	}
	if n > 20_000 {
		return errors.New("it does not end")
	}
	return err
}

func (w *world) server(id ring.NodeID) *Server {
	i := w.index(id)
	s, err := NewServer(ServerOptions{Self: id, Views: w.views[i], Store: w.stores[i], Copies: w.stores[i]})
	if err != nil {
		w.t.Error(err)
	}
	return s
}

func (w *world) replicaServer(id ring.NodeID) *ReplicaServer {
	r := w.stores[w.index(id)]
	s, err := NewReplicaServer(ReplicaServerOptions{Self: id, Views: r.view, Store: r, Applier: r, Meter: r})
	if err != nil {
		w.t.Error(err)
	}
	return s
}

func (w *world) Confirm(ctx context.Context, to ring.NodeID, claims []Claim) ([]Claim, error) {
	if err := w.call(ctx, to, "confirm"); err != nil {
		return nil, err
	}
	return w.server(to).HandleConfirm(ctx, claims)
}

func (w *world) Sizes(ctx context.Context, to ring.NodeID, req SizesRequest) (SizesReply, error) {
	if err := w.call(ctx, to, "sizes"); err != nil {
		return SizesReply{}, err
	}
	return w.server(to).HandleSizes(ctx, req)
}

func (w *world) Pull(ctx context.Context, to ring.NodeID, req PullRequest) (PullPage, error) {
	w.count(func(s *worldSeen) {
		s.pulling++
		s.mostPulling = max(s.mostPulling, s.pulling)
		s.from[to]++
	})
	defer w.count(func(s *worldSeen) { s.pulling-- })
	if err := w.call(ctx, to, "pull"); err != nil {
		return PullPage{}, err
	}
	page, err := w.server(to).HandlePull(ctx, req)
	bytes := 0
	for _, e := range page.Entries {
		bytes += sizeOf(e.Ref, e.Object)
		w.count(func(s *worldSeen) { s.streamed[e.Ref]++ })
	}
	w.count(func(s *worldSeen) {
		s.largest, s.held = max(s.largest, bytes), s.held+bytes
		s.mostHeld = max(s.mostHeld, s.held)
	})
	if w.forge != nil {
		w.forge(&page)
	}
	return page, err
}

func (w *world) Compare(ctx context.Context, to ring.NodeID, req CompareRequest) ([]Comparison, error) {
	if err := w.call(ctx, to, "compare"); err != nil {
		return nil, err
	}
	return w.replicaServer(to).HandleCompare(ctx, req)
}

func (w *world) Keys(ctx context.Context, to ring.NodeID, req KeysRequest) (KeysPage, error) {
	if err := w.call(ctx, to, "keys"); err != nil {
		return KeysPage{}, err
	}
	page, err := w.replicaServer(to).HandleKeys(ctx, req)
	if w.forgeKeys != nil {
		w.forgeKeys(to, &page)
	}
	return page, err
}

func (w *world) Fetch(ctx context.Context, to ring.NodeID, req FetchRequest) (FetchPage, error) {
	if err := w.call(ctx, to, "fetch"); err != nil {
		return FetchPage{}, err
	}
	page, err := w.replicaServer(to).HandleFetch(ctx, req)
	for _, e := range page.Entries {
		w.count(func(s *worldSeen) { s.fetched[e.Ref]++ })
	}
	return page, err
}

func (w *world) Push(ctx context.Context, to ring.NodeID, req PushRequest) (uint32, error) {
	if err := w.call(ctx, to, "push"); err != nil {
		return 0, err
	}
	for _, e := range req.Entries {
		w.count(func(s *worldSeen) { s.pushed[e.Ref]++ })
	}
	return w.replicaServer(to).HandlePush(ctx, req)
}

func (w *world) count(do func(*worldSeen)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do(&w.seen)
}

func (w *world) Alive(id ring.NodeID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.dead[id]
}

func (w *world) Refresh(_ context.Context, id ring.NodeID) error {
	w.mu.Lock()
	w.refresh++
	w.mu.Unlock()
	v := w.current()
	w.views[w.index(id)].set(v)
	w.views[len(w.views)-1].set(v)
	return nil
}

func (w *world) SetSettled(claims []Claim, settled bool) (done []Claim, err error) {
	var parts []int
	for _, c := range claims {
		if w.newcomer().view.View().Placement(int(c.Partition)).Stamp == c.Stamp {
			done, parts = append(done, c), append(parts, int(c.Partition))
		}
	}
	if len(done) == 0 {
		return nil, nil
	}
	if w.onSettle != nil && settled {
		w.onSettle(parts)
	}
	w.mu.Lock()
	for _, p := range parts {
		w.settled[p] = settled
	}
	w.seen.settles = append(w.seen.settles, time.Now())
	lag := w.lag
	w.mu.Unlock()
	if lag == nil {
		w.spread()
		return done, nil
	}
	w.newcomer().view.set(w.current())
	w.spreadLate()
	return done, nil
}

// spreadLate has each node learn of the placement a while later.
func (w *world) spreadLate() {
	for _, v := range w.views {
		w.late.Go(func() {
			time.Sleep(w.lag())
			v.set(w.current())
		})
	}
}

// filler makes one for the last node.
func (w *world) filler(change ...func(*FillerOptions)) *Filler {
	o := FillerOptions{Self: w.self(), Views: w.views[len(w.views)-1], Peers: w, Replicas: w, Store: w.newcomer(), Copies: w.newcomer(),
		Applier: w.newcomer(), Membership: w, PageBytes: MinPageBytes, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&o)
	}
	f, err := NewFiller(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// fill runs rounds as Run would, at most n.
func (w *world) fill(n int) {
	f := w.filler()
	for range n {
		_, _ = f.round(w.t.Context())
	}
}

func (w *world) pending() int { return len(w.current().PendingFor(w.self())) }

// owners are the nodes that own a partition.
func (w *world) owners(p uint32) []*replica {
	var owners []*replica
	for _, id := range w.current().Placement(int(p)).Owners {
		owners = append(owners, w.stores[w.index(id)])
	}
	return owners
}

// everywhere adds a key to all owners of its partition.
func (w *world) everywhere(key string, bytes int, d version.Dot) object.Ref {
	ref := object.Ref{Partition: uint32(ring.Partition("b", key, partitions)), Bucket: "b", Key: key}
	o := written(w.t, bytes, d)
	for _, r := range w.owners(ref.Partition) {
		_, _ = r.merge(ref, o)
	}
	return ref
}

// lacks lists what an owner of a partition holds and the newcomer does not know.
func (w *world) lacks(p uint32) (refs []object.Ref) {
	for _, r := range w.owners(p) {
		for _, e := range r.entries(p) {
			if !w.newcomer().get(e.Ref).Vector.Descends(e.Object.Vector) {
				refs = append(refs, e.Ref)
			}
		}
	}
	return refs
}

// inWorld runs a test in a bubble of virtual time.
func inWorld(t *testing.T, n int, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t, n)) })
}

// run runs a filler until stop is called.
func (w *world) run(f *Filler) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	v := w.newcomer().view
	v.mu.Lock()
	v.changed = f.Kick
	v.mu.Unlock()
	go func() { done <- f.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}
}

// await waits until nothing is pending, and answers how long it took.
func (w *world) await(within time.Duration) time.Duration {
	w.t.Helper()
	start := time.Now()
	for w.pending() > 0 {
		if time.Since(start) > within {
			w.t.Fatalf("%d partitions are pending after %v", w.pending(), within)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}
