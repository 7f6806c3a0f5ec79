package antientropy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
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

// replica is a store in memory.
type replica struct {
	mu      sync.Mutex
	objects map[object.Ref]object.Object
	fail    error
	refuse  map[uint32]int // by partition: how many more merges are refused
}

func (r *replica) Apply(ref object.Ref, _ uint64, o object.Object) (object.Written, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return object.Written{}, r.fail
	}
	if r.refuse[ref.Partition] > 0 {
		r.refuse[ref.Partition]--
		return object.Written{}, fmt.Errorf("%w: the ring moved on", ErrRefused)
	}
	r.objects[ref] = object.Merge(r.objects[ref], o)
	return object.Written{Object: r.objects[ref], Wait: func() error { return nil }}, nil
}

func (r *replica) Scan(partition uint32, after object.Ref) iter.Seq2[object.Entry, error] {
	r.mu.Lock()
	defer r.mu.Unlock()
	var entries []object.Entry
	for ref, o := range r.objects {
		if ref.Partition == partition && compareRefs(ref, after) > 0 {
			entries = append(entries, object.Entry{Ref: ref, Object: o})
		}
	}
	slices.SortFunc(entries, func(a, b object.Entry) int { return compareRefs(a.Ref, b.Ref) })
	return func(yield func(object.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func compareRefs(a, b object.Ref) int {
	return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Key, b.Key))
}

func (r *replica) add(t *testing.T, key, value string, d version.Dot) object.Ref {
	t.Helper()
	o, err := object.Object{}.Update(version.Context{}, object.Sibling{Dot: d, Value: []byte(value)}, object.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	ref := object.Ref{Partition: uint32(ring.Partition("b", key, partitions)), Bucket: "b", Key: key}
	if _, err := r.Apply(ref, 0, o); err != nil {
		t.Fatal(err)
	}
	return ref
}

// world is a cluster of three or more nodes of which the last is filled.
type world struct {
	t       *testing.T
	ids     []ring.NodeID
	stores  []*replica
	views   []*view
	dead    map[ring.NodeID]bool
	settled map[int]bool // bits of the node being filled
	broken  sync.Map     // ring.NodeID → error
	pages   int
	entries int
	forge   func(*PullPage)
	before  func() // each pull
	refresh int
}

// view is one node's opinion of the placement.
type view struct {
	mu sync.Mutex
	v  *ring.View
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
}

func newWorld(t *testing.T, n int) *world {
	w := &world{t: t, dead: map[ring.NodeID]bool{}, settled: map[int]bool{}}
	for i := range n {
		w.ids = append(w.ids, nodeID(i))
		w.stores = append(w.stores, &replica{objects: map[object.Ref]object.Object{}})
		w.views = append(w.views, &view{})
	}
	w.spread()
	return w
}

func (w *world) self() ring.NodeID { return w.ids[len(w.ids)-1] }

func (w *world) ringOf(n int) *ring.Ring {
	var members []ring.Member
	for _, id := range w.ids[:n] {
		members = append(members, ring.Member{ID: id, Weight: 100})
	}
	r, err := ring.New(ring.Config{Partitions: partitions, Replicas: 3}, members)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// current is the placement with the bits as they are: everybody but the last
// node is settled everywhere.
func (w *world) current() *ring.View {
	return ring.NewView(w.ringOf(len(w.ids)), func(id ring.NodeID, p int) bool {
		return id != w.self() || w.settled[p]
	})
}

func (w *world) spread() {
	for _, v := range w.views {
		v.set(w.current())
	}
}

func (w *world) index(id ring.NodeID) int { return slices.Index(w.ids, id) }

func (w *world) Confirm(ctx context.Context, to ring.NodeID, claims []Claim) ([]Claim, error) {
	if w.dead[to] {
		return nil, errors.New("unreachable")
	}
	i := w.index(to)
	return NewServer(to, w.views[i], w.stores[i]).HandleConfirm(ctx, claims)
}

func (w *world) Pull(ctx context.Context, to ring.NodeID, req PullRequest) (PullPage, error) {
	if err, broken := w.broken.Load(to); broken {
		return PullPage{}, err.(error)
	}
	w.pages++
	if w.before != nil {
		w.before()
	}
	i := w.index(to)
	page, err := NewServer(to, w.views[i], w.stores[i]).HandlePull(ctx, req)
	w.entries += len(page.Entries)
	if w.forge != nil {
		w.forge(&page)
	}
	if w.pages > 10_000 {
		return page, errors.New("the pull does not end")
	}
	return page, err
}

func (w *world) Alive(id ring.NodeID) bool { return !w.dead[id] }

func (w *world) Refresh(_ context.Context, id ring.NodeID) error {
	w.refresh++
	w.views[w.index(id)].set(w.current())
	w.views[len(w.views)-1].set(w.current())
	return nil
}

func (w *world) SetSettled(parts []int, settled bool) error {
	for _, p := range parts {
		w.settled[p] = settled
	}
	w.spread()
	return nil
}

func (w *world) filler() *Filler {
	f, err := NewFiller(FillerOptions{Self: w.self(), Views: w.views[len(w.views)-1], Peers: w, Applier: w.stores[len(w.stores)-1],
		Membership: w, PageBytes: MinPageBytes, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// fill runs rounds as Run would, at most n.
func (w *world) fill(n int) {
	f := w.filler()
	for range n {
		_ = f.round(w.t.Context())
	}
}

func (w *world) pending() int { return len(w.current().PendingFor(w.self())) }

func TestFillGetsWhatAnySingleOwnerHolds(t *testing.T) {
	w := newWorld(t, 4)
	targets := w.current().PendingFor(w.self())
	if len(targets) < partitions/2 {
		t.Fatalf("the newcomer is pending in %d partitions only", len(targets))
	}
	var refs []object.Ref
	for k := range 400 { // far more than a page holds
		key := fmt.Sprintf("key-%03d", k)
		holder := k % 3
		refs = append(refs, w.stores[holder].add(t, key, strings.Repeat("v", 2000), version.Dot{Actor: version.Actor(holder + 1), Seq: uint64(k + 1)}))
	}
	w.fill(1)
	if n := w.pending(); n != 0 {
		t.Fatalf("%d partitions are still pending", n)
	}
	sent := 0
	for _, part := range targets {
		for _, o := range w.stores[:3] {
			for range o.Scan(uint32(part), object.Ref{}) {
				sent++
			}
		}
	}
	if w.entries > sent {
		t.Fatalf("%d objects were sent though the owners hold %d", w.entries, sent)
	}
	want := 0
	for _, ref := range refs {
		if !slices.Contains(targets, int(ref.Partition)) {
			continue
		}
		// Only what an owner of that partition held can be asked for.
		holder := w.ids[(int(ref.Key[6]-'0')+10*int(ref.Key[5]-'0')+100*int(ref.Key[4]-'0'))%3]
		if !contains(ring.NewView(w.ringOf(3), func(ring.NodeID, int) bool { return true }).Placement(int(ref.Partition)).Owners, holder) {
			continue
		}
		want++
		if _, ok := w.stores[3].objects[ref]; !ok {
			t.Errorf("%v was not pulled from its only holder", ref)
		}
	}
	if want < 100 || w.pages < 6 {
		t.Fatalf("%d objects in %d pages: the pull was not put to the test", want, w.pages)
	}
}

func TestADeadOwnerDoesNotHinderAMajority(t *testing.T) {
	w := newWorld(t, 4)
	w.dead[w.ids[0]] = true
	w.fill(1)
	if n := w.pending(); n != 0 {
		t.Fatalf("%d partitions are still pending", n)
	}
}

func TestAMinorityFillsNothing(t *testing.T) {
	w := newWorld(t, 4)
	before := w.pending()
	w.dead[w.ids[0]], w.dead[w.ids[1]] = true, true
	w.fill(3)
	if n := w.pending(); n != before {
		t.Fatalf("%d of %d partitions settled with one owner of three", before-n, before)
	}
}

// A live owner whose ring is older still takes writes that pass the newcomer
// by: nothing settles before it was brought up to date.
func TestAnOldRingIsRefreshedBeforeAnythingSettles(t *testing.T) {
	w := newWorld(t, 4)
	before := w.pending()
	old := ring.NewView(w.ringOf(3), func(ring.NodeID, int) bool { return true })
	w.views[1].set(old)
	w.fill(1)
	if w.pages != 0 && w.pending() < before {
		for p := range w.settled {
			if contains(old.Placement(p).Owners, w.ids[1]) {
				t.Fatalf("partition %d settled past an owner with an old ring", p)
			}
		}
	}
	if w.refresh == 0 {
		t.Fatal("the old ring was not refreshed")
	}
	w.fill(1)
	if n := w.pending(); n != 0 {
		t.Fatalf("%d partitions are still pending", n)
	}
}

func TestABrokenPullSettlesNothingOfIt(t *testing.T) {
	w := newWorld(t, 4)
	w.broken.Store(w.ids[1], errors.New("connection lost"))
	w.fill(2)
	for p := range w.settled {
		if contains(w.current().Placement(p).Owners, w.ids[1]) {
			t.Fatalf("partition %d settled without one of its owners' pages", p)
		}
	}
	w.broken.Delete(w.ids[1])
	w.stores[3].fail = errors.New("disk full")
	w.stores[0].add(t, "k", "v", version.Dot{Actor: 1, Seq: 1})
	w.fill(1)
	if p := ring.Partition("b", "k", partitions); w.settled[p] && contains(w.current().Placement(p).Owners, w.ids[0]) {
		t.Fatal("a partition settled though its objects could not be stored")
	}
	w.stores[3].fail = nil
	w.fill(1)
	if n := w.pending(); n != 0 {
		t.Fatalf("%d partitions are still pending", n)
	}
}

// A partition that stopped being pending while it was pulled is not settled.
func TestOnlyPendingPartitionsSettle(t *testing.T) {
	w := newWorld(t, 4)
	w.forge = func(*PullPage) { // the ring forgets the newcomer meanwhile
		w.views[3].set(ring.NewView(w.ringOf(3), func(ring.NodeID, int) bool { return true }))
	}
	w.fill(1)
	if len(w.settled) > 0 {
		t.Fatalf("%d partitions settled that were no longer pending", len(w.settled))
	}
}

func TestAPullWithoutProgressEnds(t *testing.T) {
	w := newWorld(t, 4)
	for name, forge := range map[string]func(*PullPage){
		"empty page":          func(p *PullPage) { *p = PullPage{} },
		"more done than left": func(p *PullPage) { p.Done = 1 << 30 },
	} {
		w.forge = forge
		w.fill(1)
		if len(w.settled) > 0 {
			t.Fatalf("%s: partitions settled", name)
		}
	}
}

func TestADisplacedNodeClearsItsBit(t *testing.T) {
	w := newWorld(t, 5)
	self := w.ids[0]
	v := ring.NewView(w.ringOf(5), func(ring.NodeID, int) bool { return true })
	displaced := v.Displaced(self)
	if len(displaced) == 0 {
		t.Fatal("nobody is displaced: the test is empty")
	}
	for _, p := range displaced {
		w.settled[p] = true
	}
	w.views[0].set(v)
	f, err := NewFiller(FillerOptions{Self: self, Views: w.views[0], Peers: w, Applier: w.stores[0], Membership: w})
	if err != nil {
		t.Fatal(err)
	}
	// The others go by another ring: they may be about to give up their votes
	// too.
	other := ring.NewFencedView(w.ringOf(5), 9, func(ring.NodeID, int) bool { return true })
	for _, view := range w.views[1:] {
		view.set(other)
	}
	_ = f.round(t.Context())
	for _, p := range displaced {
		if !w.settled[p] {
			t.Fatalf("partition %d lost its bit though its owners had not confirmed", p)
		}
	}
	for _, view := range w.views {
		view.set(v)
	}
	if err := f.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range displaced {
		if w.settled[p] {
			t.Fatalf("partition %d keeps its bit", p)
		}
	}
}

func TestOnlyOwnersServePulls(t *testing.T) {
	w := newWorld(t, 4)
	p := w.current().PendingFor(w.self())[0]
	_, err := NewServer(w.self(), w.views[3], w.stores[3]).HandlePull(t.Context(), PullRequest{Claims: []Claim{{Partition: uint32(p)}}})
	if err == nil {
		t.Fatal("a pending node served a pull")
	}
	agreed, err := NewServer(w.self(), w.views[3], w.stores[3]).HandleConfirm(t.Context(), []Claim{
		{Partition: uint32(p), Stamp: w.current().Placement(p).Stamp}, {Partition: 1 << 30, Stamp: 1}})
	if err != nil || len(agreed) != 0 {
		t.Fatalf("agreed %v, %v: want nothing from a pending node", agreed, err)
	}
}

// A partition whose placement changes during a pull, at the owner or here, is
// not settled by it; the others are, and the next round does the rest.
func TestAPlacementThatChangesDuringAPull(t *testing.T) {
	w := newWorld(t, 4)
	pending := w.current().PendingFor(w.self())
	for k := range 400 {
		w.stores[k%3].add(t, fmt.Sprintf("key-%03d", k), strings.Repeat("v", 500), version.Dot{Actor: version.Actor(k%3 + 1), Seq: uint64(k + 1)})
	}
	moved, here := pending[0], pending[1]
	w.stores[3].refuse = map[uint32]int{uint32(here): 1}
	// After the owners have confirmed, one of them sees another placement.
	owner := w.current().Placement(moved).Owners[2]
	w.before = func() {
		w.views[w.index(owner)].set(ring.NewFencedView(w.ringOf(4), 7, func(id ring.NodeID, p int) bool { return id != w.self() || w.settled[p] }))
		w.before = nil
	}
	f := w.filler()
	_ = f.round(t.Context())
	if w.settled[moved] || w.settled[here] {
		t.Errorf("settled under a placement that had changed: at the owner %v, here %v", w.settled[moved], w.settled[here])
	}
	w.spread()
	for range 3 {
		_ = f.round(t.Context())
	}
	if w.pending() != 0 {
		t.Errorf("%d partitions are never settled", w.pending())
	}
}

// What Prepare names is left alone for that round.
func TestPrepareKeepsPartitionsFromBeingFilled(t *testing.T) {
	w := newWorld(t, 4)
	ill := w.current().PendingFor(w.self())[0]
	f, rounds := w.filler(), 0
	f.opts.Prepare = func(context.Context) []uint32 {
		if rounds++; rounds == 1 {
			return []uint32{uint32(ill)}
		}
		return nil
	}
	_ = f.round(t.Context())
	if w.settled[ill] || w.pending() != 1 {
		t.Errorf("settled %v with %d pending", w.settled[ill], w.pending())
	}
	_ = f.round(t.Context())
	if w.pending() != 0 {
		t.Error("it was never filled")
	}
}

// Run starts a round when it is kicked and retries while something is pending.
func TestRunRetriesUntilNothingIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		for _, id := range w.ids[:3] {
			w.broken.Store(id, errors.New("not yet"))
		}
		f := w.filler()
		settled := make(chan struct{}, 100)
		f.opts.OnSettled = func() { settled <- struct{}{} }
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		time.Sleep(time.Second) // virtual: several rounds fail
		synctest.Wait()
		if len(settled) > 0 || w.pending() == 0 {
			t.Fatal("settled though no owner could be pulled from")
		}
		w.broken.Clear()
		<-settled
		if w.pending() != 0 {
			t.Fatal("OnSettled came early")
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
