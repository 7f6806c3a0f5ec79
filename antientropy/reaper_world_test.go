package antientropy

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// reapWorld is a cluster of nodes with stores in memory, a fence, and a reaper
// at the first.
type reapWorld struct {
	t      *testing.T
	ids    []ring.NodeID
	leader ring.NodeID
	nodes  map[ring.NodeID]*reapNode
	held   []uint32
	// heldByLeader are the partitions that the reaper had held.
	heldByLeader []uint32

	mu      sync.Mutex
	down    map[ring.NodeID]bool
	hang    map[ring.NodeID]bool
	fence   uint64
	raised  int
	calls   []string      // step and node, in order
	slow    time.Duration // how long a call takes
	page    uint32        // most candidates of an answer; 0: as many as asked for
	onRaise func()
	stuck   bool // a fence is raised and nobody goes by it
	most    int  // calls at a time
	flying  int
}

// reapNode is one member's store and part.
type reapNode struct {
	view   view
	server *ReapedServer

	mu      sync.Mutex
	objects map[object.Ref]object.Object
	hints   map[object.Ref]int
	writes  map[uint32]uint64
	actors  []version.Actor
	broken  error
	synced  int // waits that were waited for
	looks   func()
	refuse  bool // the gate
}

func newReapWorld(t *testing.T, n int) *reapWorld {
	w := &reapWorld{t: t, nodes: map[ring.NodeID]*reapNode{}, down: map[ring.NodeID]bool{}, hang: map[ring.NodeID]bool{}, slow: time.Millisecond}
	for i := range n {
		w.ids = append(w.ids, nodeID(i))
	}
	w.leader = w.ids[0]
	for _, id := range w.ids {
		x := &reapNode{objects: map[object.Ref]object.Object{}, hints: map[object.Ref]int{}, writes: map[uint32]uint64{}}
		s, err := NewReapedServer(ReapedOptions{Self: id, Boot: 1, Views: &x.view, Gate: x, Rows: x, Hints: x, Purger: x,
			MinAge: time.Minute, Hold: func(parts []uint32, _ time.Duration) { w.hold(parts) }})
		if err != nil {
			t.Fatal(err)
		}
		x.server = s
		w.nodes[id] = x
	}
	w.setFence(0)
	return w
}

func (w *reapWorld) hold(parts []uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = append(w.held, parts...)
}

// setFence has all nodes go by a fence, everybody settled.
func (w *reapWorld) setFence(fence uint64) {
	w.fence = fence
	var members []ring.Member
	for _, id := range w.ids {
		members = append(members, ring.Member{ID: id, Weight: 100})
	}
	r, err := ring.New(ring.Config{Partitions: partitions, Replicas: 3}, members)
	if err != nil {
		w.t.Fatal(err)
	}
	owner := func(id ring.NodeID, p int) bool { return slices.Contains(r.Targets(p), id) }
	for _, x := range w.nodes {
		x.view.set(ring.NewFencedView(r, fence, owner))
	}
}

func (w *reapWorld) reaper(change func(*ReaperOptions)) *Reaper {
	o := ReaperOptions{Self: w.ids[0], Views: &w.nodes[w.ids[0]].view, Roster: w, Fence: w, Peers: w,
		Local: localReaped{w}, CallTimeout: time.Second, Hold: func(parts []uint32, _ time.Duration) {
			w.locked(func() { w.heldByLeader = append(w.heldByLeader, parts...) })
		}}
	if change != nil {
		change(&o)
	}
	r, err := NewReaper(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// locked lets a test change or look at what the reaper uses too.
func (w *reapWorld) locked(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

// Members implements Roster.
func (w *reapWorld) Members() ([]ring.NodeID, ring.NodeID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ids, w.leader
}

// Raise implements Fence.
func (w *reapWorld) Raise(context.Context) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.raised++
	if w.onRaise != nil {
		w.onRaise()
	}
	var missing []ring.NodeID
	for _, id := range w.ids {
		if w.down[id] {
			missing = append(missing, id)
		}
	}
	if missing != nil {
		return 0, &FenceError{Missing: missing, Err: errors.New("unreachable")}
	}
	if w.stuck {
		return w.fence + 1, nil
	}
	w.setFence(w.fence + 1)
	return w.fence, nil
}

// call is one call to a node.
func (w *reapWorld) call(ctx context.Context, what string, id ring.NodeID) error {
	w.mu.Lock()
	w.calls = append(w.calls, what)
	w.flying++
	w.most = max(w.most, w.flying)
	down, hang, slow := w.down[id], w.hang[id], w.slow
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.flying--
	}()
	time.Sleep(slow)
	switch {
	case hang:
		<-ctx.Done()
		return ctx.Err()
	case down:
		return errors.New("unreachable")
	}
	return nil
}

func (w *reapWorld) Candidates(ctx context.Context, to ring.NodeID, req CandidatesRequest) (CandidatesPage, error) {
	if err := w.call(ctx, "candidates", to); err != nil {
		return CandidatesPage{}, err
	}
	w.locked(func() {
		if w.page > 0 {
			req.Max = min(req.Max, w.page)
		}
	})
	return w.nodes[to].server.HandleCandidates(ctx, req)
}

func (w *reapWorld) Verify(ctx context.Context, to ring.NodeID, req VerifyRequest) (VerifyReply, error) {
	if err := w.call(ctx, "verify", to); err != nil {
		return VerifyReply{}, err
	}
	return w.nodes[to].server.HandleVerify(ctx, req)
}

func (w *reapWorld) Purge(ctx context.Context, to ring.NodeID, req PurgeRequest) (uint32, error) {
	if err := w.call(ctx, "purge", to); err != nil {
		return 0, err
	}
	return w.nodes[to].server.HandlePurge(ctx, req)
}

// localReaped is the leader's own part.
type localReaped struct{ w *reapWorld }

func (l localReaped) HandleCandidates(ctx context.Context, req CandidatesRequest) (CandidatesPage, error) {
	return l.w.Candidates(ctx, l.w.ids[0], req)
}

func (l localReaped) HandleVerify(ctx context.Context, req VerifyRequest) (VerifyReply, error) {
	return l.w.Verify(ctx, l.w.ids[0], req)
}

func (l localReaped) HandlePurge(ctx context.Context, req PurgeRequest) (uint32, error) {
	return l.w.Purge(ctx, l.w.ids[0], req)
}

// owners are the nodes that own a key, others those that do not.
func (w *reapWorld) owners(ref object.Ref) (owners, others []*reapNode) {
	pl := w.nodes[w.ids[0]].view.View().Placement(int(ref.Partition))
	for _, id := range w.ids {
		if contains(pl.Owners, id) {
			owners = append(owners, w.nodes[id])
		} else {
			others = append(others, w.nodes[id])
		}
	}
	return owners, others
}

// key is a key of a partition by number.
func reapRef(n int) object.Ref {
	key := "key-" + string(rune('a'+n/26)) + string(rune('a'+n%26))
	return object.Ref{Partition: uint32(ring.Partition("b", key, partitions)), Bucket: "b", Key: key}
}

// reapWritten makes an object by puts of these siblings, each over the one before.
func reapWritten(t *testing.T, siblings ...object.Sibling) (o object.Object) {
	t.Helper()
	for _, s := range siblings {
		next, err := o.Update(o.Context(), s, object.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		o = next
	}
	return o
}

func reapValue(actor version.Actor, seq uint64) object.Sibling {
	return object.Sibling{Dot: version.Dot{Actor: actor, Seq: seq}, Value: []byte("v"), ModifiedMS: 1}
}

func reapTombstone(actor version.Actor, seq uint64) object.Sibling {
	return object.Sibling{Dot: version.Dot{Actor: actor, Seq: seq}, Tombstone: true, ModifiedMS: 1}
}

// deleted puts a tombstone of a key to all owners.
func (w *reapWorld) deleted(ref object.Ref) object.Object {
	o := reapWritten(w.t, reapValue(1, 1), reapTombstone(1, 2))
	owners, _ := w.owners(ref)
	for _, x := range owners {
		x.set(ref, o)
	}
	return o
}

func (x *reapNode) set(ref object.Ref, o object.Object) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.objects[ref] = o
}

func (x *reapNode) wroteHint(p uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.writes[p]++
}

func (x *reapNode) keepHint(ref object.Ref, n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.hints[ref] = n
}

func (x *reapNode) get(ref object.Ref) object.Object {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.objects[ref]
}

// traces counts the nodes that hold something of a key.
func (w *reapWorld) traces(ref object.Ref) (n int) {
	for _, x := range w.nodes {
		if !x.get(ref).Absent() {
			n++
		}
	}
	return n
}
