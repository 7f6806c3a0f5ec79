package antientropy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"starling/antientropy/merkle"
	"starling/ring"
	"starling/store/object"
)

// heard is a meter that writes down what it hears.
type heard struct {
	busy   bool
	proofs []bool
	begins []bool
}

func (h *heard) Compared(_ ring.NodeID, _ uint32, equal bool) { h.proofs = append(h.proofs, equal) }

func (h *heard) Admits(_ ring.NodeID, _ uint32, begins bool) bool {
	h.begins = append(h.begins, begins)
	return !h.busy
}

// answering is one node's server on a store in memory, and its meter.
func answering(t *testing.T) (*ReplicaServer, *exNode, *heard, Claim) {
	t.Helper()
	c := newExCluster(t, 4, 8, 3, ExchangerOptions{})
	n := c.owners(0)[0]
	h := &heard{}
	s, err := NewReplicaServer(ReplicaServerOptions{Self: n.id, Views: n, Store: n.store, Applier: n, Meter: h})
	if err != nil {
		t.Fatal(err)
	}
	return s, n, h, Claim{Partition: 0, Stamp: n.view.Placement(0).Stamp}
}

func refIn(partition uint32, i int) object.Ref {
	return object.Ref{Partition: partition, Bucket: "b", Key: fmt.Sprintf("key-%06d", i)}
}

func TestCompareTellsEqualFromDifferent(t *testing.T) {
	s, n, h, claim := answering(t)
	other := n.c.owners(0)[1].id
	_, _ = n.store.merge(refIn(0, 1), exPut(t, object.Object{}, 1, 1, 10))
	root, _ := n.store.Root(0)
	strange := claim
	strange.Stamp++
	notOwned := Claim{}
	for p := range uint32(8) {
		if pl := n.view.Placement(int(p)); !contains(pl.Owners, n.id) {
			notOwned = Claim{p, pl.Stamp}
		}
	}
	req := CompareRequest{From: other, Salt: 5, Inner: true, Roots: []RootClaim{
		{claim, root}, {claim, merkle.Node{}}, {strange, root}, {Claim{1 << 31, 1}, root}, {notOwned, merkle.Node{}}}}
	answers, err := s.HandleCompare(t.Context(), req)
	var verdicts []Verdict
	for _, a := range answers {
		verdicts = append(verdicts, a.Verdict)
	}
	if want := []Verdict{VerdictEqual, VerdictDiffers, VerdictRefused, VerdictRefused, VerdictRefused}; err != nil || !slices.Equal(verdicts, want) {
		t.Fatalf("verdicts %v, %v; want %v", verdicts, err, want)
	}
	tree, _ := readTree(n.store, 0)
	if answers[1].Inner != tree.InnerDigests(5) || answers[0].Inner != [merkle.Fanout]merkle.Digest{} {
		t.Error("wrong inner digests")
	}
	if !slices.Equal(h.proofs, []bool{true, false}) {
		t.Errorf("the meter heard %v", h.proofs)
	}
	req.Inner = false
	if answers, _ = s.HandleCompare(t.Context(), req); !reflect.DeepEqual(answers[1], Comparison{Verdict: VerdictDiffers}) {
		t.Errorf("inner digests that were not asked for: %+v", answers[1])
	}
	h.busy = true
	if answers, _ = s.HandleCompare(t.Context(), req); answers[0].Verdict != VerdictBusy || answers[2].Verdict != VerdictRefused {
		t.Errorf("while busy: %v", answers)
	}
	// A node that is no owner is answered, but reserves and proves nothing.
	h.busy, h.begins, req.From, req.Inner = false, nil, nodeID(99), true
	answers, _ = s.HandleCompare(t.Context(), req)
	if answers[0].Verdict != VerdictEqual || answers[1].Inner != tree.InnerDigests(5) || len(h.proofs) != 4 || slices.Contains(h.begins, true) {
		t.Errorf("a node that is no owner: %v, the meter heard %v, begins %v", answers[:2], h.proofs, h.begins)
	}
	req.Roots = make([]RootClaim, MaxRoots+1)
	if _, err := s.HandleCompare(t.Context(), req); !errors.Is(err, ErrTooMuch) {
		t.Errorf("too many roots: %v", err)
	}
	n.store.fail = errors.New("corrupt")
	req.Roots, req.From = []RootClaim{{claim, root}}, other
	if answers, _ = s.HandleCompare(t.Context(), req); answers[0].Verdict != VerdictRefused {
		t.Errorf("a partition that cannot be read: %v", answers[0])
	}
}

// Every step of an exchange needs the stamp that is in force.
func TestStepsNeedTheStampInForce(t *testing.T) {
	s, n, _, claim := answering(t)
	ref := refIn(0, 1)
	o := exPut(t, object.Object{}, 1, 1, 10)
	steps := func(c Claim) []error {
		_, err1 := s.HandleKeys(t.Context(), KeysRequest{Claim: c})
		_, err2 := s.HandleFetch(t.Context(), FetchRequest{Claim: c, Refs: []object.Ref{ref}})
		_, err3 := s.HandlePush(t.Context(), PushRequest{Claim: c, Entries: []object.Entry{{Ref: ref, Object: o}}})
		return []error{err1, err2, err3}
	}
	for _, c := range []Claim{{0, claim.Stamp + 1}, {1 << 31, 1}, {}} {
		for i, err := range steps(c) {
			if !errors.Is(err, ErrRefused) {
				t.Errorf("step %d under %v: %v", i+1, c, err)
			}
		}
	}
	if len(n.store.all()) != 0 {
		t.Fatal("a refused step had an effect")
	}
	for i, err := range steps(claim) {
		if err != nil {
			t.Errorf("step %d: %v", i+1, err)
		}
	}
	if len(n.store.all()) != 1 {
		t.Errorf("%d objects", len(n.store.all()))
	}
}

// Pages of keys hold all keys of the leaves that differ, in order, each once,
// and never more than their bounds.
func TestKeysComeInBoundedPages(t *testing.T) {
	s, n, _, claim := answering(t)
	keys := map[object.Ref]bool{}
	for i := range 6000 {
		ref := refIn(0, i)
		n.store.set(ref, object.Object{}, exPut(t, object.Object{}, 1, 1, 10))
		keys[ref] = true
	}
	empty, _ := merkle.Build(make([]merkle.Node, merkle.Leaves))
	const all = 1<<32 - 1
	for _, size := range []uint32{0, 1, 7, 1000, MaxKeysPage, all} {
		if size <= 1 && testing.Short() {
			continue
		}
		bound := int(min(max(size, 1), MaxKeysPage))
		inner := uint32(all)
		if bound < 100 {
			inner = 1 << 5
		}
		req := KeysRequest{Claim: claim, Salt: 3, Inner: inner, Leaves: empty.LeafDigests(3, inner), MaxKeys: size}
		got := 0
		for more := true; more; {
			page, err := s.HandleKeys(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			l, err := req.list(&page)
			if err != nil || len(l.keys) > bound {
				t.Fatalf("page of %d keys, at most %d asked for: %v", len(l.keys), bound, err)
			}
			for _, k := range l.keys {
				if !keys[k.Ref] || exLeaf(k.Ref) != k.leaf {
					t.Fatalf("key %v in leaf %d", k.Ref, k.leaf)
				}
			}
			if got += len(l.keys); l.more {
				req.After = l.keys[len(l.keys)-1].position()
			}
			more = l.more
		}
		want := 0
		for ref := range keys {
			if inner>>(exLeaf(ref)/merkle.Fanout)&1 != 0 {
				want++
			}
		}
		if got != want || want == 0 {
			t.Errorf("pages of %d have %d keys, want %d", bound, got, want)
		}
	}
	if n.store.reads > MaxKeysPage {
		t.Errorf("%d digests were read of one leaf", n.store.reads)
	}
	req := KeysRequest{Claim: claim, Inner: 1, Leaves: make([]merkle.Digest, 5)}
	if _, err := s.HandleKeys(t.Context(), req); !errors.Is(err, merkle.ErrShape) {
		t.Errorf("digests missing: %v", err)
	}
}

// Long keys and vectors end a page before their number does.
func TestPagesOfKeysAreBoundedInBytes(t *testing.T) {
	s, n, _, claim := answering(t)
	long := string(make([]byte, 1000))
	for i := range 3000 {
		ref := object.Ref{Partition: 0, Bucket: "b", Key: fmt.Sprintf("%s%d", long, i)}
		n.store.set(ref, object.Object{}, exPut(t, object.Object{}, 1, 1, 1))
	}
	empty, _ := merkle.Build(make([]merkle.Node, merkle.Leaves))
	const all = 1<<32 - 1
	page, err := s.HandleKeys(t.Context(), KeysRequest{Claim: claim, Inner: all, Leaves: empty.LeafDigests(0, all), MaxKeys: MaxKeysPage})
	bytes := 0
	for _, l := range page.Leaves {
		for i := range l.Keys {
			bytes += digestBytes(&l.Keys[i])
		}
	}
	if err != nil || !page.More || bytes < MaxKeysBytes || bytes > MaxKeysBytes+2000 {
		t.Errorf("page of %d bytes, more %v: %v", bytes, page.More, err)
	}
}

func TestFetchIsBoundedAndInOrder(t *testing.T) {
	s, n, _, claim := answering(t)
	var refs []object.Ref
	for i := range 10 {
		refs = append(refs, refIn(0, i))
		if i != 4 {
			_, _ = n.store.merge(refs[i], exPut(t, object.Object{}, 1, 1, 1500))
		}
	}
	got, fetches := 0, 0
	for rest := refs; len(rest) > 0; fetches++ {
		page, err := s.HandleFetch(t.Context(), FetchRequest{Claim: claim, Refs: rest, MaxBytes: 1})
		if err != nil || page.Done == 0 || len(page.Entries) > 2 {
			t.Fatalf("%d objects, %d done: %v", len(page.Entries), page.Done, err)
		}
		for _, e := range page.Entries {
			if e.Object.Absent() || !slices.Contains(rest[:page.Done], e.Ref) {
				t.Fatalf("answered %v", e.Ref)
			}
		}
		got += len(page.Entries)
		rest = rest[page.Done:]
	}
	if got != 9 || fetches < 4 {
		t.Errorf("%d objects in %d pages", got, fetches)
	}
	if _, err := s.HandleFetch(t.Context(), FetchRequest{Claim: claim, Refs: make([]object.Ref, MaxRefs+1)}); !errors.Is(err, ErrTooMuch) {
		t.Errorf("too many: %v", err)
	}
	if _, err := s.HandleFetch(t.Context(), FetchRequest{Claim: claim, Refs: []object.Ref{refIn(1, 0)}}); !errors.Is(err, errPage) {
		t.Errorf("another partition: %v", err)
	}
}

// slowDisk is an applier whose writes become durable when it says so.
type slowDisk struct {
	*exNode
	refuseAfter int
	waited      int
	err         error
}

func (d *slowDisk) Apply(ref object.Ref, stamp uint64, o object.Object) (object.Written, error) {
	if d.refuseAfter--; d.refuseAfter < 0 {
		return object.Written{}, ErrRefused
	}
	w, err := d.exNode.Apply(ref, stamp, o)
	w.Wait = func() error { d.waited++; return d.err }
	return w, err
}

// The answer to a push comes when all that was merged is durable, and counts
// what was news; also when one object was refused.
func TestPushWaitsForTheDisk(t *testing.T) {
	s, n, _, claim := answering(t)
	disk := &slowDisk{exNode: n, refuseAfter: 100}
	s.opts.Applier = disk
	req := PushRequest{Claim: claim}
	for i := range 4 {
		req.Entries = append(req.Entries, object.Entry{Ref: refIn(0, i), Object: exPut(t, object.Object{}, 1, 1, 10)})
	}
	_, _ = n.store.merge(req.Entries[2].Ref, req.Entries[2].Object)
	if news, err := s.HandlePush(t.Context(), req); err != nil || news != 3 || disk.waited != 4 {
		t.Fatalf("%d news of 3, %d of 4 waited for: %v", news, disk.waited, err)
	}
	disk.waited, disk.err = 0, errors.New("disk gone")
	if _, err := s.HandlePush(t.Context(), req); !errors.Is(err, disk.err) {
		t.Errorf("not durable: %v", err)
	}
	disk.waited, disk.err, disk.refuseAfter = 0, nil, 2
	if _, err := s.HandlePush(t.Context(), req); !errors.Is(err, ErrRefused) || disk.waited != 2 {
		t.Errorf("refused in the middle: %v, %d of 2 waited for", err, disk.waited)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := s.HandlePush(ended, req); !errors.Is(err, context.Canceled) || disk.waited != 2 {
		t.Errorf("past its end: %v", err)
	}
}

// ringMover is an applier that the placement changes just ahead of.
type ringMover struct{ *exNode }

func (m *ringMover) Apply(ref object.Ref, stamp uint64, o object.Object) (object.Written, error) {
	m.setView(m.c.fence())
	return m.exNode.Apply(ref, stamp, o)
}

// What came under one stamp is merged under that one, not under what is in
// force by then.
func TestPushMergesUnderTheStampItCameWith(t *testing.T) {
	s, n, _, claim := answering(t)
	n.x = &Exchanger{} // to kick
	s.opts.Applier = &ringMover{n}
	req := PushRequest{Claim: claim, Entries: []object.Entry{{Ref: refIn(0, 1), Object: exPut(t, object.Object{}, 1, 1, 10)}}}
	if _, err := s.HandlePush(t.Context(), req); !errors.Is(err, ErrRefused) || len(n.store.all()) != 0 {
		t.Errorf("%v, %d objects merged", err, len(n.store.all()))
	}
}

func TestPushIsBounded(t *testing.T) {
	s, n, _, claim := answering(t)
	if _, err := s.HandlePush(t.Context(), PushRequest{Claim: claim, Entries: make([]object.Entry, MaxRefs+1)}); !errors.Is(err, ErrTooMuch) {
		t.Errorf("too many: %v", err)
	}
	big := exPut(t, object.Object{}, 1, 1, MaxPageBytes+1)
	entries := []object.Entry{{Ref: refIn(0, 0), Object: big}, {Ref: refIn(0, 1), Object: big}}
	if _, err := s.HandlePush(t.Context(), PushRequest{Claim: claim, Entries: entries}); !errors.Is(err, ErrTooMuch) {
		t.Errorf("too large: %v", err)
	}
	if _, err := s.HandlePush(t.Context(), PushRequest{Claim: claim, Entries: []object.Entry{{Ref: refIn(1, 0), Object: big}}}); !errors.Is(err, errPage) {
		t.Errorf("another partition: %v", err)
	}
	if len(n.store.all()) != 0 {
		t.Error("something was merged")
	}
	if _, err := s.HandlePush(t.Context(), PushRequest{Claim: claim, Entries: entries[:1]}); err != nil {
		t.Errorf("one object of any size: %v", err)
	}
}
