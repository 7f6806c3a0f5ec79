package antientropy

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// loseOwners makes a world in which nobody has settled anything, and gives a
// filler of the last node that takes it as given up.
func (w *world) loseOwners() *Filler {
	w.unsettled = true
	w.spread()
	return w.filler(func(o *FillerOptions) { o.GivenUp = func() bool { return true } })
}

// firsts are the partitions that the last node is to settle first.
func (w *world) firsts() (parts []int) {
	v := w.current()
	for _, p := range v.PendingFor(w.self()) {
		if v.Turn(w.self(), p) {
			parts = append(parts, p)
		}
	}
	return parts
}

// keyIn is the n-th key of a partition.
func keyIn(partition, n int) object.Ref {
	for k := 0; ; k++ {
		key := fmt.Sprintf("key-%d", k)
		if ring.Partition("b", key, partitions) != partition {
			continue
		}
		if n--; n < 0 {
			return object.Ref{Partition: uint32(partition), Bucket: "b", Key: key}
		}
	}
}

// leftovers gives each node a key of its own in each partition, and one that two
// of them know of differently.
func (w *world) leftovers(parts []int) (refs []object.Ref) {
	for _, p := range parts {
		for i, r := range w.stores {
			ref := keyIn(p, i)
			_, _ = r.merge(ref, written(w.t, 100, version.Dot{Actor: version.Actor(i + 1), Seq: 1}))
			refs = append(refs, ref)
		}
		shared := keyIn(p, len(w.stores))
		for i, r := range w.stores[:min(2, len(w.stores))] {
			_, _ = r.merge(shared, written(w.t, 100, version.Dot{Actor: version.Actor(i + 1), Seq: 2}))
		}
		refs = append(refs, shared)
	}
	return refs
}

// hasAll fails the test where the last node lacks what another holds.
func (w *world) hasAll(refs []object.Ref) {
	w.t.Helper()
	for _, ref := range refs {
		for i, r := range w.stores {
			if !w.newcomer().get(ref).Vector.Descends(r.get(ref).Vector) {
				w.t.Errorf("%v of node %d is hidden", ref, i)
			}
		}
	}
}

// A partition without owners begins again at the first of the pending nodes, with
// what all members have left of it, and nowhere else.
func TestAPartitionThatWasGivenUpBeginsAgain(t *testing.T) {
	inWorld(t, 5, func(t *testing.T, w *world) {
		f := w.loseOwners()
		mine := w.firsts()
		refs := w.leftovers(mine)
		if len(mine) == 0 || len(mine) == len(w.current().PendingFor(w.self())) {
			t.Fatal("the test is empty")
		}
		w.onSettle = func(parts []int) {
			w.hasAll(slices.DeleteFunc(slices.Clone(refs), func(r object.Ref) bool { return !slices.Contains(parts, int(r.Partition)) }))
		}
		_, _ = f.round(t.Context())
		if got := w.settledParts(); !slices.Equal(got, mine) {
			t.Errorf("settled %v, want %v: those where it comes first", got, mine)
		}
		w.hasAll(refs)
		v := w.current()
		for _, p := range mine {
			if owners := v.Placement(p).Owners; !slices.Equal(owners, []ring.NodeID{w.self()}) {
				t.Errorf("partition %d: owners %v", p, owners)
			}
		}
	})
}

// settledParts are the partitions whose bits the last node has set.
func (w *world) settledParts() (parts []int) {
	for p, on := range w.settled {
		if on {
			parts = append(parts, p)
		}
	}
	slices.Sort(parts)
	return parts
}

// What hinders a partition without owners from beginning again, and what does
// not.
func TestWhatAPartitionThatWasGivenUpWaitsFor(t *testing.T) {
	inPlan := func(w *world, p int, i int) bool { return contains(w.current().Placement(p).Pending, w.ids[i]) }
	old := func(w *world, i int) { w.views[i].set(ring.NewView(w.ringOf(5), settledEverywhere)) }
	for name, tc := range map[string]struct {
		hinder func(w *world, f *Filler)
		// settles says whether a partition does.
		settles func(w *world, p int) bool
	}{
		"nobody gave it up": {func(_ *world, f *Filler) { f.opts.GivenUp = func() bool { return false } },
			func(*world, int) bool { return false }},
		"nobody can give it up": {func(_ *world, f *Filler) { f.opts.GivenUp = nil },
			func(*world, int) bool { return false }},
		"a node that is down": {func(w *world, _ *Filler) { w.dead[w.ids[1]] = true },
			func(w *world, p int) bool { return !inPlan(w, p, 1) }},
		"a node that does not answer": {func(w *world, _ *Filler) { w.broken[w.ids[1]] = errors.New("reset") },
			func(*world, int) bool { return false }},
		"a node with an older ring": {func(w *world, _ *Filler) { old(w, 1) },
			func(*world, int) bool { return false }},
		"a node that fails to give its keys": {func(w *world, _ *Filler) {
			w.fail = func(to ring.NodeID, method string) error {
				if to == w.ids[1] && method == "keys" {
					return errors.New("a damaged file")
				}
				return nil
			}
		}, func(*world, int) bool { return false }},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 5, func(t *testing.T, w *world) {
				f := w.loseOwners()
				mine := w.firsts()
				refs := w.leftovers(mine)
				var want []int
				tc.hinder(w, f)
				for _, p := range mine {
					if tc.settles(w, p) {
						want = append(want, p)
					}
				}
				_, _ = f.round(t.Context())
				if got := w.settledParts(); !slices.Equal(got, want) {
					t.Errorf("settled %v, want %v of %v", got, want, mine)
				}
				clear(w.dead)
				clear(w.broken)
				w.fail = nil
				f.opts.GivenUp = func() bool { return true }
				for range 2 {
					_, _ = f.round(t.Context())
				}
				if got := w.settledParts(); !slices.Equal(got, mine) {
					t.Errorf("settled %v in the end, want %v", got, mine)
				}
				if name != "a node that is down" {
					w.hasAll(refs)
				}
			})
		})
	}
}

// The only member that is left has nobody to ask.
func TestTheLastMemberBeginsAgainAlone(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		f := w.loseOwners()
		refs := w.leftovers([]int{3})
		_, _ = f.round(t.Context())
		if n := w.pending(); n != 0 || len(w.seen.calls) > 0 {
			t.Errorf("%d partitions are pending after %v", n, w.seen.calls)
		}
		w.hasAll(refs)
	})
}

// Members that are not to own a partition give what they have left of it while it
// has no owner, under the stamp in force, and take nothing.
func TestAnyMemberGivesWhatItHasOfAPartitionWithoutOwners(t *testing.T) {
	inWorld(t, 5, func(t *testing.T, w *world) {
		w.loseOwners()
		v := w.current()
		idle := 0
		for contains(v.Placement(0).Pending, w.ids[idle]) {
			idle++
		}
		w.leftovers([]int{0})
		claim, ctx := Claim{Partition: 0, Stamp: v.Placement(0).Stamp}, t.Context()
		ref := keyIn(0, idle)
		ask := func(c Claim) map[string]error {
			s, r := w.server(w.ids[idle]), w.replicaServer(w.ids[idle])
			errs := map[string]error{}
			agreed, _ := s.HandleConfirm(ctx, []Claim{c})
			if len(agreed) == 0 {
				errs["confirm"] = ErrRefused
			}
			page, err := s.HandlePull(ctx, PullRequest{Claims: []Claim{c}})
			if errs["pull"] = err; err == nil && len(page.Entries) == 0 {
				t.Error("a pull gave nothing")
			}
			_, errs["keys"] = r.HandleKeys(ctx, KeysRequest{Claim: c})
			fetched, err := r.HandleFetch(ctx, FetchRequest{Claim: c, Refs: []object.Ref{ref}})
			if errs["fetch"] = err; err == nil && len(fetched.Entries) != 1 {
				t.Error("a fetch gave nothing")
			}
			_, errs["push"] = r.HandlePush(ctx, PushRequest{Claim: c})
			return errs
		}
		for method, err := range ask(claim) {
			if (method == "push") != errors.Is(err, ErrRefused) || method != "push" && err != nil {
				t.Errorf("%s: %v", method, err)
			}
		}
		for method, err := range ask(Claim{Partition: 0, Stamp: claim.Stamp + 1}) {
			if !errors.Is(err, ErrRefused) {
				t.Errorf("%s under another stamp: %v", method, err)
			}
		}
		w.unsettled = false
		w.spread()
		for method, err := range ask(Claim{Partition: 0, Stamp: w.current().Placement(0).Stamp}) {
			if !contains(w.current().Placement(0).Owners, w.ids[idle]) && !errors.Is(err, ErrRefused) {
				t.Errorf("%s with owners: %v", method, err)
			}
		}
	})
}
