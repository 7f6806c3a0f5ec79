package antientropy

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"starling/antientropy/purge"
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// asked is a key of a node as a leader that goes by the same view asks for it.
func (w *reapWorld) asked(ref object.Ref, o object.Object, reap Reap) VerifyKey {
	pl := w.nodes[w.ids[0]].view.View().Placement(int(ref.Partition))
	return VerifyKey{Ref: ref, Stamp: pl.Stamp, Hash: o.Hash(ref.Bucket, ref.Key), Reap: reap, Vector: o.Vector}
}

func TestVerifyStates(t *testing.T) {
	ref := reapRef(0)
	deleted := reapWritten(t, reapValue(1, 1), reapTombstone(1, 2))
	older := reapWritten(t, reapValue(1, 1))
	newer := reapWritten(t, reapValue(1, 1), reapTombstone(1, 2), reapValue(1, 3))
	beside := reapWritten(t, reapValue(2, 1))
	for _, tc := range []struct {
		name  string
		other bool // the node is no owner
		holds object.Object
		spoil func(x *reapNode, k *VerifyKey)
		want  KeyState
	}{
		{name: "an owner that holds it", holds: deleted, want: StateAgreed},
		{name: "an owner that holds nothing", want: StateDiffers},
		{name: "an owner that holds something older", holds: older, want: StateDiffers},
		{name: "an owner that holds something newer", holds: newer, want: StateDiffers},
		{name: "an owner that holds something else", holds: beside, want: StateDiffers},
		{name: "another that holds nothing", other: true, want: StateAgreed},
		{name: "another that holds it", other: true, holds: deleted, want: StateAgreed},
		{name: "another that holds something older", other: true, holds: older, want: StateAgreed},
		{name: "another that holds something newer", other: true, holds: newer, want: StateDiffers},
		{name: "another that holds something else", other: true, holds: beside, want: StateDiffers},
		{name: "a hint", holds: deleted, spoil: func(x *reapNode, _ *VerifyKey) { x.hints[ref] = 1 }, want: StateHinted},
		{name: "a hint at another", other: true, spoil: func(x *reapNode, _ *VerifyKey) { x.hints[ref] = 1 }, want: StateHinted},
		{name: "a hint that comes and goes during the look", holds: deleted,
			spoil: func(x *reapNode, _ *VerifyKey) { x.looks = func() { x.writes[ref.Partition]++ } }, want: StateHinted},
		{name: "another stamp", holds: deleted, spoil: func(_ *reapNode, k *VerifyKey) { k.Stamp++ }, want: StateRefused},
		{name: "a gate that is closed", holds: deleted, spoil: func(x *reapNode, _ *VerifyKey) { x.refuse = true }, want: StateRefused},
		{name: "no such partition", holds: deleted, spoil: func(_ *reapNode, k *VerifyKey) { k.Ref.Partition = partitions }, want: StateRefused},
		{name: "a row that cannot be read", holds: deleted, spoil: func(x *reapNode, _ *VerifyKey) { x.broken = errors.New("corrupt") }, want: StateRefused},
		{name: "a live object that is to be deleted", holds: newer,
			spoil: func(_ *reapNode, k *VerifyKey) { k.Hash, k.Vector = newer.Hash(ref.Bucket, ref.Key), newer.Vector }, want: StateDiffers},
		{name: "a live object that is to be pruned", holds: newer,
			spoil: func(_ *reapNode, k *VerifyKey) {
				k.Hash, k.Vector, k.Reap = newer.Hash(ref.Bucket, ref.Key), newer.Vector, ReapPrune
			}, want: StateAgreed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newReapWorld(t, 5)
			owners, others := w.owners(ref)
			x := owners[0]
			if tc.other {
				x = others[0]
			}
			if !tc.holds.Absent() {
				x.objects[ref] = tc.holds
			}
			k := w.asked(ref, deleted, ReapDelete)
			if tc.spoil != nil {
				tc.spoil(x, &k)
			}
			reply, err := x.server.HandleVerify(t.Context(), VerifyRequest{Keys: []VerifyKey{k}})
			if err != nil || len(reply.States) != 1 || reply.States[0] != tc.want {
				t.Errorf("answered %+v, %v; want state %d", reply, err, tc.want)
			}
		})
	}
}

func TestVerifyTellsFenceBootAndHintWrites(t *testing.T) {
	w := newReapWorld(t, 4)
	w.setFence(7)
	ref := reapRef(0)
	o := w.deleted(ref)
	owners, _ := w.owners(ref)
	owners[0].writes[ref.Partition] = 11
	req := VerifyRequest{Fence: 7, Keys: []VerifyKey{w.asked(ref, o, ReapDelete)}}
	reply, err := owners[0].server.HandleVerify(t.Context(), req)
	if err != nil || reply.Fence != 7 || reply.Boot != 1 || !slices.Equal(reply.HintWrites, []uint64{11}) || reply.States[0] != StateAgreed {
		t.Errorf("answered %+v, %v", reply, err)
	}
	req.Fence = 8
	if reply, err = owners[0].server.HandleVerify(t.Context(), req); err != nil || reply.States[0] != StateRefused {
		t.Errorf("behind a fence that it has not reached: %+v, %v", reply, err)
	}
	req.Keys = make([]VerifyKey, MaxCandidates+1)
	if _, err = owners[0].server.HandleVerify(t.Context(), req); err == nil {
		t.Error("took more keys than a purge is about")
	}
}

func TestVerifyNamesTheActorsToKeep(t *testing.T) {
	w := newReapWorld(t, 5)
	ref, other := reapRef(0), reapRef(1)
	o := reapWritten(t, reapValue(3, 1), reapValue(4, 2))
	owners, others := w.owners(ref)
	for _, x := range []*reapNode{owners[0], others[0]} {
		x.setActors(5, 6)
		x.set(ref, o)
	}
	for _, tc := range []struct {
		name string
		node *reapNode
		keys []VerifyKey
		want []version.Actor
	}{
		{"an owner", owners[0], []VerifyKey{w.asked(ref, o, ReapPrune)}, []version.Actor{4, 5, 6}},
		{"another", others[0], []VerifyKey{w.asked(ref, o, ReapPrune)}, []version.Actor{5, 6}},
		{"nothing to prune", owners[0], []VerifyKey{w.asked(other, o, ReapDelete)}, nil},
	} {
		reply, err := tc.node.server.HandleVerify(t.Context(), VerifyRequest{Keys: tc.keys})
		slices.Sort(reply.Actors)
		if err != nil || !slices.Equal(reply.Actors, tc.want) {
			t.Errorf("%s names %v, %v; want %v", tc.name, reply.Actors, err, tc.want)
		}
	}
	many := make([]version.Actor, MaxActors+1)
	for i := range many {
		many[i] = version.Actor(i + 1)
	}
	owners[0].setActors(many...)
	reply, err := owners[0].server.HandleVerify(t.Context(), VerifyRequest{Keys: []VerifyKey{w.asked(ref, o, ReapPrune)}})
	if err != nil || len(reply.Actors) > 0 || reply.States[0] != StateRefused {
		t.Errorf("with too many actors: state %d, %d actors, %v", reply.States[0], len(reply.Actors), err)
	}
}

func TestPurgeAtOneNode(t *testing.T) {
	ref := reapRef(0)
	deleted := reapWritten(t, reapValue(1, 1), reapTombstone(2, 2))
	older := reapWritten(t, reapValue(1, 1))
	beside := reapWritten(t, reapValue(3, 1))
	live := reapWritten(t, reapValue(1, 1), reapValue(2, 2))
	short := version.Vector{{Actor: 2, Seq: 2}}
	pruned := object.Object{Vector: short, Siblings: live.Siblings}
	for _, tc := range []struct {
		name        string
		other       bool
		holds, left object.Object
		of          object.Object // what the key is about
		reap        Reap
		spoil       func(x *reapNode, k *PurgeKey)
		done        uint32
	}{
		{name: "an owner deletes it", holds: deleted, of: deleted, reap: ReapDelete, done: 1},
		{name: "an owner has done it before", of: deleted, reap: ReapDelete, done: 1},
		{name: "an owner keeps what it has got since", holds: beside, left: beside, of: deleted, reap: ReapDelete},
		{name: "an owner keeps what lives", holds: live, left: live, of: live, reap: ReapDelete},
		{name: "another deletes what is older", other: true, holds: older, of: deleted, reap: ReapDelete, done: 1},
		{name: "another has nothing", other: true, of: deleted, reap: ReapDelete, done: 1},
		{name: "another keeps what is not superseded", other: true, holds: beside, left: beside, of: deleted, reap: ReapDelete},
		{name: "another deletes what an owner prunes", other: true, holds: older, of: live, reap: ReapPrune, done: 1},
		{name: "an owner prunes it", holds: live, left: pruned, of: live, reap: ReapPrune, done: 1,
			spoil: func(_ *reapNode, k *PurgeKey) { k.Vector = short }},
		{name: "an owner has pruned it before", holds: pruned, left: pruned, of: live, reap: ReapPrune, done: 1,
			spoil: func(_ *reapNode, k *PurgeKey) { k.Vector = short }},
		{name: "another stamp", holds: deleted, left: deleted, of: deleted, reap: ReapDelete,
			spoil: func(_ *reapNode, k *PurgeKey) { k.Stamp++ }},
		{name: "a gate that is closed", holds: deleted, left: deleted, of: deleted, reap: ReapDelete,
			spoil: func(x *reapNode, _ *PurgeKey) { x.refuse = true }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newReapWorld(t, 5)
			owners, others := w.owners(ref)
			x := owners[0]
			if tc.other {
				x = others[0]
			}
			if !tc.holds.Absent() {
				x.objects[ref] = tc.holds
			}
			k := PurgeKey(w.asked(ref, tc.of, tc.reap))
			if tc.spoil != nil {
				tc.spoil(x, &k)
			}
			for range 2 { // a repetition changes nothing
				done, err := x.server.HandlePurge(t.Context(), PurgeRequest{Keys: []PurgeKey{k}})
				if err != nil || done != tc.done || !x.get(ref).Equal(tc.left) {
					t.Errorf("done with %d keys, %v; left %v", done, err, x.get(ref))
				}
			}
			if tc.done > 0 && x.synced != 2 {
				t.Errorf("%d waits for durability", x.synced)
			}
			if len(w.held) == 0 {
				t.Error("exchanges were not held")
			}
		})
	}
}

func TestPurgeBehindAFenceNotReached(t *testing.T) {
	w := newReapWorld(t, 4)
	ref := reapRef(0)
	o := w.deleted(ref)
	owners, _ := w.owners(ref)
	done, err := owners[0].server.HandlePurge(t.Context(), PurgeRequest{Fence: 1, Keys: []PurgeKey{PurgeKey(w.asked(ref, o, ReapDelete))}})
	if done != 0 || err != nil || owners[0].get(ref).Absent() {
		t.Errorf("purged %d keys, %v", done, err)
	}
}

func TestCandidatesInPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newReapWorld(t, 5)
		want := 0
		x := w.nodes[w.ids[2]]
		for n := range 100 {
			ref := reapRef(n)
			w.deleted(ref)
			owners, _ := w.owners(ref)
			if slices.Contains(owners, x) {
				want++
			}
		}
		var got []object.Ref
		req := CandidatesRequest{Max: 7}
		for pages := 0; ; pages++ {
			page, err := x.server.HandleCandidates(t.Context(), req)
			if err != nil || len(page.Candidates) > 7 || pages > want {
				t.Fatalf("page %d of %d candidates, %v", pages, len(page.Candidates), err)
			}
			for _, c := range page.Candidates {
				if len(got) > 0 && purge.CompareRefs(got[len(got)-1], c.Ref) >= 0 {
					t.Fatalf("%v comes behind %v", c.Ref, got[len(got)-1])
				}
				got = append(got, c.Ref)
			}
			if !page.More {
				break
			}
			req.After = got[len(got)-1]
		}
		if len(got) != want || want < 20 {
			t.Errorf("%d candidates, want %d", len(got), want)
		}
		if page, err := x.server.HandleCandidates(t.Context(), CandidatesRequest{Max: 1 << 30}); err != nil || len(page.Candidates) != want {
			t.Errorf("asked for too many: %d, %v", len(page.Candidates), err)
		}
		x.mu.Lock()
		x.broken = errors.New("corrupt")
		x.mu.Unlock()
		if _, err := x.server.HandleCandidates(t.Context(), CandidatesRequest{Max: 7}); err == nil {
			t.Error("left out what cannot be read")
		}
	})
}

func TestCandidatesOfManyBytes(t *testing.T) {
	w := newReapWorld(t, 1)
	x := w.nodes[w.ids[0]]
	o := reapWritten(t, reapTombstone(1, 1))
	for n := range 1500 {
		x.objects[object.Ref{Bucket: "b", Key: fmt.Sprintf("%01000d", n)}] = o
	}
	page, err := x.server.HandleCandidates(t.Context(), CandidatesRequest{Max: MaxCandidates})
	if n := len(page.Candidates); err != nil || !page.More || n*1000 > purge.MaxBytes || n < 900 {
		t.Errorf("%d candidates in a page, more %v, %v", n, page.More, err)
	}
}

// Only partitions that the node owns are listed, and only what is old enough.
func TestCandidatesThatAreDue(t *testing.T) {
	w := newReapWorld(t, 5)
	ref := reapRef(0)
	o := w.deleted(ref)
	owners, others := w.owners(ref)
	others[0].set(ref, o)
	now := time.UnixMilli(1).Add(time.Minute)
	for _, tc := range []struct {
		name string
		node *reapNode
		now  time.Time
		want int
	}{
		{"not yet", owners[0], now, 0},
		{"old enough", owners[0], now.Add(time.Millisecond), 1},
		{"an hour late by its clock", owners[0], now.Add(-time.Hour), 0},
		{"no owner", others[0], now.Add(time.Hour), 0},
	} {
		tc.node.server.opts.Now = func() time.Time { return tc.now }
		page, err := tc.node.server.HandleCandidates(t.Context(), CandidatesRequest{Max: 7})
		if err != nil || len(page.Candidates) != tc.want {
			t.Errorf("%s: %d candidates, %v", tc.name, len(page.Candidates), err)
		}
	}
}

func TestReapedOptions(t *testing.T) {
	w := newReapWorld(t, 1)
	x := w.nodes[w.ids[0]]
	good := x.server.opts
	for name, spoil := range map[string]func(*ReapedOptions){
		"no gate":      func(o *ReapedOptions) { o.Gate = nil },
		"no self":      func(o *ReapedOptions) { o.Self = ring.NodeID{} },
		"negative age": func(o *ReapedOptions) { o.MinAge = -1 },
	} {
		o := good
		spoil(&o)
		if _, err := NewReapedServer(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
