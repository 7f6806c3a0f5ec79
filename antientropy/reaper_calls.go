package antientropy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"starling/antientropy/purge"
	"starling/ring"
)

// carryOut does all that a step asks for and reports it to the core. Members
// are asked at the same time, some at a time.
func (r *Reaper) carryOut(ctx context.Context, core *purge.Round) {
	asks := core.Asks()
	if asks[0].Step == purge.Fencing {
		r.raise(ctx, core)
		return
	}
	if asks[0].Step == purge.Clearing || asks[0].Step == purge.Purging {
		r.hold(asks)
	}
	reports := make([]func(), len(asks))
	var calls errgroup.Group
	calls.SetLimit(reapCalls)
	for i, a := range asks {
		calls.Go(func() error {
			reports[i] = r.ask(ctx, core, a)
			return nil
		})
	}
	_ = calls.Wait() // no call fails
	for _, report := range reports {
		report()
	}
}

// hold keeps exchanges from bringing back at one owner what another has yet to
// purge.
func (r *Reaper) hold(asks []purge.Ask) {
	var parts []uint32
	for _, a := range asks {
		for i := range a.Keys {
			parts = append(parts, a.Keys[i].Ref.Partition)
		}
	}
	slices.Sort(parts)
	r.opts.Hold(slices.Compact(parts), holdTime)
}

// ask asks one member and gives back how to report its answer.
func (r *Reaper) ask(ctx context.Context, core *purge.Round, a purge.Ask) (report func()) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.CallTimeout)
	defer cancel()
	switch a.Step {
	case purge.Listing:
		page, err := r.candidates(ctx, a)
		if err != nil {
			return failed(core, a, err)
		}
		return func() { core.Listed(a.To, page) }
	case purge.Verifying, purge.Proving:
		v, err := r.verify(ctx, a)
		if err != nil {
			return failed(core, a, err)
		}
		return func() { core.Verified(a.Step, a.To, v) }
	default:
		done, err := r.purge(ctx, a)
		if err != nil {
			return failed(core, a, err)
		}
		return func() { core.Purged(a.Step, a.To, done) }
	}
}

func failed(core *purge.Round, a purge.Ask, err error) func() {
	return func() { core.Failed(a.Step, a.To, "could not be asked: "+err.Error()) }
}

func (r *Reaper) candidates(ctx context.Context, a purge.Ask) (purge.Page, error) {
	req := CandidatesRequest{After: a.After, Max: uint32(a.Max)}
	var page CandidatesPage
	var err error
	if a.To == r.opts.Self {
		page, err = r.opts.Local.HandleCandidates(ctx, req)
	} else {
		page, err = r.opts.Peers.Candidates(ctx, a.To, req)
	}
	out := purge.Page{More: page.More, Candidates: make([]purge.Candidate, len(page.Candidates))}
	for i, c := range page.Candidates {
		out.Candidates[i] = purge.Candidate(c)
	}
	return out, err
}

func (r *Reaper) verify(ctx context.Context, a purge.Ask) (purge.Verification, error) {
	req := VerifyRequest{Fence: a.Fence, Keys: make([]VerifyKey, len(a.Keys))}
	for i, k := range a.Keys {
		req.Keys[i] = VerifyKey(k)
	}
	var v VerifyReply
	var err error
	if a.To == r.opts.Self {
		v, err = r.opts.Local.HandleVerify(ctx, req)
	} else {
		v, err = r.opts.Peers.Verify(ctx, a.To, req)
	}
	return purge.Verification(v), err
}

func (r *Reaper) purge(ctx context.Context, a purge.Ask) (done int, err error) {
	req := PurgeRequest{Fence: a.Fence, Keys: make([]PurgeKey, len(a.Keys))}
	for i, k := range a.Keys {
		req.Keys[i] = PurgeKey(k)
	}
	var n uint32
	if a.To == r.opts.Self {
		n, err = r.opts.Local.HandlePurge(ctx, req)
	} else {
		n, err = r.opts.Peers.Purge(ctx, a.To, req)
	}
	return int(n), err
}

// raise raises the fence everywhere, unless data moves: a new fence would break
// off every transfer, and transfers that begin again and again may never end.
func (r *Reaper) raise(ctx context.Context, core *purge.Round) {
	if nodes := moving(r.opts.Views.View()); len(nodes) > 0 {
		core.NotRaised(nodes)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.CallTimeout)
	defer cancel()
	fence, err := r.opts.Fence.Raise(ctx)
	if err != nil {
		core.NotRaised(r.blame(err))
		return
	}
	v, ok := r.view()
	if !ok || v.Fence < fence {
		core.NotRaised([]purge.Blocker{{Node: r.opts.Self, Reason: "does not go by the fence that it raised"}})
		return
	}
	core.Raised(v)
}

// blame names those who did not get the fence; where nobody is named it is this
// node that could not raise it.
func (r *Reaper) blame(err error) []purge.Blocker {
	var missing *FenceError
	if !errors.As(err, &missing) || len(missing.Missing) == 0 {
		return []purge.Blocker{{Node: r.opts.Self, Reason: "could not raise the fence: " + err.Error()}}
	}
	var list []purge.Blocker
	for _, id := range missing.Missing {
		list = append(list, purge.Blocker{Node: id, Reason: "did not get the new fence: " + missing.Err.Error()})
	}
	return list
}

// moving names the nodes on account of which a view is not at rest.
func moving(v *ring.View) []purge.Blocker {
	if v == nil {
		return nil
	}
	count := map[ring.NodeID]int{}
	for p := range v.Ring().Config().Partitions {
		pl := v.Placement(p)
		for _, id := range pl.Pending {
			count[id]++
		}
		for _, id := range pl.Displaced {
			count[id]++
		}
	}
	var list []purge.Blocker
	for id, n := range count {
		list = append(list, purge.Blocker{Node: id, Reason: fmt.Sprintf("data moves: it is being filled, or gives up, %d partitions", n)})
	}
	return list
}
