package node

import (
	"context"
	"errors"
	"iter"

	"starling/antientropy"
	"starling/gossip/state"
	"starling/ring"
	"starling/store"
	"starling/store/object"
)

// reapRows is the store in the terms of the purge. What is of a bucket that is
// gone is deleted without it.
type reapRows struct {
	*store.Store
	gone func(stored string) bool
}

func (r reapRows) Candidates(partition uint32, after object.Ref, dueBeforeMS int64) iter.Seq2[antientropy.Candidate, error] {
	return func(yield func(antientropy.Candidate, error) bool) {
		for c, err := range r.Store.Candidates(partition, after, dueBeforeMS) {
			if err == nil && r.gone(c.Ref.Bucket) {
				continue
			}
			reap := antientropy.ReapPrune
			if c.Delete {
				reap = antientropy.ReapDelete
			}
			if !yield(antientropy.Candidate{Ref: c.Ref, Hash: c.Hash, Reap: reap, Vector: c.Vector}, err) {
				return
			}
		}
	}
}

// gate is the coordinator's.
type gate struct{ n *Node }

func (g gate) Under(ref object.Ref, stamp uint64, do func() error) error {
	return refused(g.n.coord.Under(ref, stamp, do))
}

// assembleReaper makes the two sides of the purge.
func (n *Node) assembleReaper() (err error) {
	n.reaped, err = antientropy.NewReapedServer(antientropy.ReapedOptions{
		Self: n.id, Boot: n.store.Identity().Boot, Views: n.coord, Rows: reapRows{n.store, n.coord.Gone}, Hints: n.store, Purger: n.store,
		Gate: gate{n}, MinAge: n.cfg.TombstonesMinAge, Now: clock(n.cfg.TestClockOffset), Hold: n.exchanger.Hold,
	})
	if err != nil {
		return err
	}
	n.reaper, err = antientropy.NewReaper(antientropy.ReaperOptions{
		Self: n.id, Views: n.coord, Roster: roster{n}, Fence: fence{n}, Local: n.reaped, Peers: n.transport,
		Hold: n.exchanger.Hold, Interval: n.cfg.AntientropyInterval, PeerName: n.peerName, Logger: n.log, Metrics: n.registry,
	})
	return err
}

// roster is the cluster map in the terms of the purge.
type roster struct{ n *Node }

func (r roster) Members() (all []ring.NodeID, leader ring.NodeID) {
	g := r.n.gossip.Load()
	if g == nil {
		return nil, leader
	}
	for _, m := range g.Map().Members { // by ID
		if m.State == state.Removed {
			continue
		}
		if m.State == state.Active && leader.IsZero() {
			leader = m.ID
		}
		all = append(all, m.ID)
	}
	return all, leader
}

// blockers is what the leader of the purge knows of who blocks it; at other
// nodes, that the leader is not there, if there is something to purge.
func (n *Node) blockers() []antientropy.Blocker {
	_, leader := (roster{n}).Members()
	if leader == n.id || leader.IsZero() || (members{n}).Alive(leader) {
		return n.reaper.Blockers()
	}
	page, err := n.reaped.HandleCandidates(context.Background(), antientropy.CandidatesRequest{Max: 1})
	if err != nil || len(page.Candidates) == 0 {
		return nil
	}
	return []antientropy.Blocker{{Node: leader, Reason: "leads the purge and is not alive"}}
}

// fence raises the fence of the cluster map.
type fence struct{ n *Node }

// Raise publishes a higher fence and exchanges maps with every member: an
// exchange is answered once the merged map is saved and routed by.
func (f fence) Raise(ctx context.Context) (uint64, error) {
	g := f.n.gossip.Load()
	raised := g.Map().Fence() + 1
	err := g.Update(func(self *state.Member) { self.Fence = max(self.Fence, raised) })
	if err == nil {
		err = f.n.apply()
	}
	if err != nil {
		return 0, err
	}
	_, missing := ask(ctx, f.n, func(ctx context.Context, id ring.NodeID) (struct{}, error) {
		if id == f.n.id {
			return struct{}{}, nil
		}
		return struct{}{}, members(f).Refresh(ctx, id)
	})
	if len(missing) > 0 {
		return 0, &antientropy.FenceError{Missing: missing, Err: errors.New("maps could not be exchanged")}
	}
	return raised, nil
}
