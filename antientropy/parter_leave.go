package antientropy

import (
	"sync"
	"time"

	"starling/ring"
)

// leaveInterval is the pause between two looks at a node that leaves: it waits
// for nothing else.
const leaveInterval = 250 * time.Millisecond

// leaving says whether a node leaves. Once it does, it does in every later
// view: it is a target of nothing any more, so it never becomes pending, and a
// vote that it has given up it never has again.
func leaving(v *ring.View, id ring.NodeID) bool { return v.Draining(id) }

// interval is the pause before the next look.
func (p *Parter) interval() time.Duration {
	if v := p.opts.Views.View(); v != nil && leaving(v, p.opts.Self) {
		return min(p.opts.Interval, leaveInterval)
	}
	return p.opts.Interval
}

// given is the set of the partitions that this node, which leaves, has handed
// over: it stands for good, see the package comment, but not over a restart.
// It holds as many as there are partitions, at most.
type given struct {
	mu         sync.Mutex
	partitions map[uint32]bool
}

func (g *given) add(partition uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.partitions == nil {
		g.partitions = map[uint32]bool{}
	}
	g.partitions[partition] = true
}

func (g *given) has(partition uint32) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.partitions[partition]
}
