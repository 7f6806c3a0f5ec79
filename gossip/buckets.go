package gossip

import (
	"fmt"
	"slices"

	"starling/store/bucket"
)

// UpdateBuckets changes what is known of buckets, as a client may ask of any node, and returns what is known then. change
// gets the latest registry and makes of it, without modifying it, the next, by bucket.Registry.With; its error is
// returned as it is. The next is saved before it is published, and given to live peers without waiting for them. It is
// bucket.ErrInvalid if the next is no step forward, see bucket.Step; no change is nil. If saving fails the change may be
// found done after a restart. change must not call Gossip.
//
// A cluster there is: New makes no Gossip without one.
func (g *Gossip) UpdateBuckets(change func(bucket.Registry) (bucket.Registry, error)) (bucket.Registry, error) {
	g.commitMu.Lock()
	defer g.commitMu.Unlock()
	if err := g.stopped(); err != nil {
		return nil, err
	}
	m := g.current.Load().Map
	next, err := change(m.Buckets)
	if err != nil {
		return nil, err
	}
	if err := bucket.Step(m.Buckets, next); err != nil {
		return nil, fmt.Errorf("gossip: change buckets: %w", err)
	}
	if slices.Equal(next, m.Buckets) {
		return m.Buckets, nil
	}
	m.Buckets = next
	if err := g.commit(m, true); err != nil {
		return nil, err
	}
	return next, nil
}
