package coordinator

import (
	"context"
	"slices"

	"starling/ring"
	"starling/store/object"
)

// searched settles a get whose session is not covered by what the owners hold.
// The context may name writes that are gone for good: a deleted key that was
// purged, a vector that was pruned. Both happen only when no member has
// anything older. So where every owner has answered, the hints of all other
// members are asked for too. Whatever they add, the answer is then as new as
// anything that exists, and that is what the session was promised. Where one
// member cannot be asked, it may be the one that has what the session saw.
func (g *get) searched(ctx context.Context) (object.Object, bool) {
	merged := g.core.Merged()
	if !g.core.HeardAllOwners() || g.pl.Extra() > 0 {
		return merged, false
	}
	var others []ring.NodeID
	for _, m := range g.c.View().Ring().Members() {
		if !slices.Contains(g.pl.Owners, m.ID) {
			others = append(others, m.ID)
		}
	}
	answers := make(chan getEvent, len(others))
	for i, id := range others {
		if !g.c.tasks.start(1) {
			return merged, false
		}
		go func() {
			defer g.c.tasks.done(1)
			answers <- g.hintsOf(ctx, i, id)
		}()
	}
	complete := true
	for range others {
		e := <-answers // which end with ctx
		complete = complete && e.err == nil
		merged = object.Merge(merged, e.copy)
	}
	return merged, complete || merged.Vector.Descends(g.session)
}

// hintsOf asks a member for what its hints hold of the key.
func (g *get) hintsOf(ctx context.Context, node int, id ring.NodeID) getEvent {
	if id == g.c.opts.Self {
		o, err := g.c.read(g.ref, g.pl, true)
		return getEvent{node, o, err}
	}
	var reply ReadReply
	err := g.c.timed(ctx, id, opRead, func() (err error) {
		reply, err = g.c.opts.Peers.Read(ctx, id, ReadRequest{Ref: g.ref, Stamp: g.pl.Stamp, Hints: true})
		return err
	})
	return getEvent{node, reply.Object, err}
}
