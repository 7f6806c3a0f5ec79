package coordinator

import (
	"context"
	"errors"
	"slices"

	"starling/ring"
	"starling/store/object"
)

// searched settles a get whose session is not covered by what the owners hold.
// The context may name writes that are gone for good: a deleted key that was
// purged, a vector that was pruned. Both happen only when no member has
// anything older. So where every owner has answered, the hints of all other
// members are asked for, and after that the owners again: a hint that was
// delivered in between is with them. Whatever they add, the answer is then as
// new as anything that exists, and that is what the session was promised. Where
// one member cannot be asked, it may be the one that has what the session saw.
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
	hinted, heard := g.readAll(ctx, others)
	again, reread := g.readAll(ctx, g.pl.Owners)
	merged = object.Merge(merged, object.Merge(hinted, again))
	return merged, heard && reread || merged.Vector.Descends(g.session)
}

// readAll merges what some nodes hold of the key, their hints included, and
// reports whether all answered. One may answer that the bucket is gone.
func (g *get) readAll(ctx context.Context, nodes []ring.NodeID) (merged object.Object, complete bool) {
	answers := make(chan getEvent, len(nodes))
	asked := 0
	for i, id := range nodes {
		if !g.c.tasks.start(1) {
			break
		}
		asked++
		go func() {
			defer g.c.tasks.done(1)
			answers <- g.readWithHints(ctx, i, id)
		}()
	}
	complete = asked == len(nodes)
	for range asked {
		e := <-answers // which end with ctx
		complete = complete && e.err == nil
		if errors.Is(e.err, ErrGone) {
			g.gone = e.err
		}
		merged = object.Merge(merged, e.copy)
	}
	return merged, complete
}

// readWithHints asks one node for what it holds of the key.
func (g *get) readWithHints(ctx context.Context, node int, id ring.NodeID) getEvent {
	o, err := g.c.readFrom(ctx, id, g.ref, g.pl)
	return getEvent{node, o, err}
}
