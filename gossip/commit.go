package gossip

import (
	"errors"
	"fmt"

	"starling/gossip/state"
	"starling/ring"
)

// Update changes this node's own record: change gets a copy to modify (Settled and other bits by copying, they are
// immutable). The new record is saved before it is published, and given to live peers without waiting for them. It is
// state.ErrInvalid if change touches ID, Boot or Version, moves State back or leaves a bound; a change of nothing is
// nil. change must not call Gossip.
func (g *Gossip) Update(change func(*state.Member)) error {
	g.commitMu.Lock()
	defer g.commitMu.Unlock()
	if err := g.stopped(); err != nil {
		return err
	}
	cur := g.current.Load()
	old, _ := cur.Member(g.self.ID)
	next := old
	change(&next)
	if err := checkStep(old, next); err != nil {
		return err
	}
	if next.Name != old.Name {
		if err := cur.CheckName(next.Name, next.ID); err != nil {
			return err
		}
	}
	if cur.With(next).Hash() == cur.hash {
		return nil
	}
	if next.State > old.State && next.State >= state.Leaving {
		next.Fence = max(next.Fence, cur.Fence()+1)
	}
	if next.State == state.Removed {
		g.quits.Store(true)
	}
	// Counted up even if the save fails: it may have reached the disk.
	g.seq++
	next.Version = next.Boot<<32 | uint64(g.seq)
	return g.commit(cur.With(next), true)
}

func checkStep(old, next state.Member) error {
	if next.ID != old.ID || next.Boot != old.Boot || next.Version != old.Version {
		return fmt.Errorf("%w: an update may not change ID, Boot or Version", state.ErrInvalid)
	}
	if next.Heir != old.Heir {
		return fmt.Errorf("%w: a member cannot name its own heir", state.ErrInvalid)
	}
	if next.Forced != old.Forced {
		return fmt.Errorf("%w: a member cannot remove itself by force", state.ErrInvalid)
	}
	if next.State < old.State {
		return fmt.Errorf("%w: a member cannot go back from %v to %v", state.ErrInvalid, old.State, next.State)
	}
	if next.Fence < old.Fence {
		return fmt.Errorf("%w: a fence cannot go back from %d to %d", state.ErrInvalid, old.Fence, next.Fence)
	}
	if next.State == state.Removed {
		next.Settled = nil
	}
	return next.Validate()
}

// Advance moves the state of any member forward, as an administrator does; a member that is there already stays. It is
// ErrUnknownMember for a stranger. Whatever takes a member out of the ring raises the fence in the same change: a ring
// that is again what it was before, as when a newcomer is removed, must not have the placement stamps of then, for
// writes passed some nodes by in between.
func (g *Gossip) Advance(id ring.NodeID, to state.Lifecycle) error {
	g.commitMu.Lock()
	defer g.commitMu.Unlock()
	if err := g.stopped(); err != nil {
		return err
	}
	m, err := advanced(g.current.Load().Map, id, to)
	if err != nil {
		return err
	}
	return g.commitChange(m)
}

func advanced(m state.Map, id ring.NodeID, to state.Lifecycle) (state.Map, error) {
	r, ok := m.Member(id)
	switch {
	case !ok:
		return m, fmt.Errorf("%w: %v", ErrUnknownMember, id)
	case !to.Valid():
		return m, fmt.Errorf("%w: %v", state.ErrInvalid, to)
	case r.State >= to:
		return m, nil
	}
	r.State = to
	if to >= state.Leaving {
		r.Fence = m.Fence() + 1
	}
	return m.With(r), nil
}

// Remove moves a member to its last state, as Advance does. By force it marks the removal, in the same change, where
// partitions are left without a complete copy, also that of a member that was removed before; see [state.Map.Force].
func (g *Gossip) Remove(id ring.NodeID, force bool) error {
	g.commitMu.Lock()
	defer g.commitMu.Unlock()
	if err := g.stopped(); err != nil {
		return err
	}
	m, err := advanced(g.current.Load().Map, id, state.Removed)
	if err != nil {
		return err
	}
	if force {
		m = m.Force(id)
	}
	return g.commitChange(m)
}

// Replace removes a member that does not run any more and gives its seat in the ring to another, in one change. What is so
// already is nil. It is ErrUnknownMember for strangers, state.ErrInvalid if dead is this node or has another heir, or if
// heir is dead itself, is leaving or removed, or has replaced another. Whether dead runs is the caller's to find out. force
// is that of [Gossip.Remove].
func (g *Gossip) Replace(dead, heir ring.NodeID, force bool) error {
	g.commitMu.Lock()
	defer g.commitMu.Unlock()
	if err := g.stopped(); err != nil {
		return err
	}
	if dead == g.self.ID {
		return fmt.Errorf("%w: this node, %v, runs and cannot be replaced", state.ErrInvalid, dead)
	}
	m, err := g.current.Load().Replace(dead, heir)
	switch {
	case errors.Is(err, state.ErrUnknownMember):
		return fmt.Errorf("%w: %w", ErrUnknownMember, err)
	case err != nil:
		return err
	}
	if force {
		m = m.Force(dead)
	}
	return g.commitChange(m)
}

// Merge takes in another node's map and returns the merged one: it serves a peer's exchange. A map of another cluster
// is refused with state.ErrForeignCluster or state.ErrSettings and changes nothing. A map that shows that this node
// must stop is answered with ErrLostTime, and Run ends with it.
func (g *Gossip) Merge(theirs state.Map) (state.Map, error) {
	m, _, err := g.merge(theirs)
	return m, err
}

func (g *Gossip) merge(theirs state.Map) (m state.Map, changed bool, err error) {
	g.commitMu.Lock()
	defer g.commitMu.Unlock()
	if err := g.stopped(); err != nil {
		return state.Map{}, false, err
	}
	cur := g.current.Load()
	merged, err := state.Merge(cur.Map, theirs)
	if err != nil {
		return state.Map{}, false, err
	}
	if err := g.recognize(cur.Map, theirs); err != nil {
		return state.Map{}, false, err
	}
	if merged.Hash() == cur.hash {
		return cur.Map, false, nil
	}
	if err := g.commit(merged, false); err != nil {
		return state.Map{}, false, err
	}
	return merged, true, nil
}

// recognize looks for this node's own record in a map from elsewhere. One that this node cannot have written ends it.
func (g *Gossip) recognize(ours, theirs state.Map) error {
	mine, _ := ours.Member(g.self.ID)
	copied, ok := theirs.Member(g.self.ID)
	if !ok || !state.Overtaken(mine, copied) {
		return nil
	}
	what := fmt.Sprintf("the cluster has seen start %d with version %x and this node wrote no version after %x of start %d",
		copied.Boot, copied.Version, mine.Version, mine.Boot)
	if copied.Version == mine.Version {
		what = fmt.Sprintf("a node at %s goes by the same identity", copied.RPC)
	}
	return g.fail(lostTime(g.self, what))
}

// vouch looks for proof, in the answer of a peer that has merged this node's map, that the peer knows of no later life of
// this node. A peer that this node did not know when it started may have its whole knowledge from this very node.
func (g *Gossip) vouch(by ring.NodeID, theirs state.Map) {
	elder, ok := g.opt.Map.Member(by)
	if _, seen := theirs.Member(g.self.ID); ok && seen && elder.State != state.Removed {
		g.vouchOnce.Do(func() { close(g.vouched) })
	}
}

// isVouched says whether Vouched is closed.
func (g *Gossip) isVouched() bool {
	select {
	case <-g.vouched:
		return true
	default:
		return false
	}
}

// overtakenBy is told that a later start of this node is alive.
func (g *Gossip) overtakenBy(boot uint64) {
	_ = g.fail(lostTime(g.self, fmt.Sprintf("start %d of it is alive", boot)))
}

// commitChange is commit of a change made here, unless it changes nothing.
func (g *Gossip) commitChange(m state.Map) error {
	if m.Hash() == g.current.Load().hash {
		return nil
	}
	return g.commit(m, true)
}

// commit saves and publishes a map that follows the current one. The caller holds commitMu.
func (g *Gossip) commit(m state.Map, here bool) error {
	if err := g.opt.Save(m); err != nil {
		return fmt.Errorf("gossip: save the cluster map: %w", err)
	}
	g.current.Store(&snapshot{m, m.Hash()})
	g.metrics.changes.Inc()
	if here {
		g.changedHere.Store(true)
	}
	wake(g.changes)
	wake(g.toAnnounce)
	wake(g.toSpread)
	if r, _ := m.Member(g.self.ID); r.State == state.Removed {
		_ = g.fail(removed(m, g.self))
	}
	return nil
}

// fail ends Run with err, if nothing has ended it before, and returns err.
func (g *Gossip) fail(err error) error {
	g.failOnce.Do(func() {
		g.failure = err
		close(g.failed)
		if g.quits.Load() {
			g.logger.Info("this node is no member any more", "name", g.self.Name, "id", g.self.ID)
			return
		}
		g.logger.Error("this node must stop", "error", err)
	})
	return err
}

// stopped is why the map must not change any more.
func (g *Gossip) stopped() error {
	select {
	case <-g.failed:
		return errors.Join(ErrStopped, g.failure)
	default:
		return nil
	}
}
