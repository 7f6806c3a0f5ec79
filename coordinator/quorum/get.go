package quorum

import (
	"starling/store/object"
	"starling/store/version"
)

// GetConfig describes one get.
type GetConfig struct {
	// Owners is how many owners the key has; they are numbered from 0, and
	// fallbacks from Owners on.
	Owners int
	// Order is whom to ask, and in which order: each owner once, and each
	// fallback that may stand in at most once.
	Order []int
	// R is how many of them must answer, PR how many owners among these.
	R, PR int
	// Session is what the answer must have seen; nil asks for nothing.
	Session version.Vector
}

// Get decides whom to ask and when the answers are enough. Make it with
// [NewGet].
type Get struct {
	cfg                GetConfig
	state              []answer        // by number
	copies             []object.Object // by number; meant where state is acked
	merged             object.Object
	next               int // first of Order not asked yet
	received, owners   int // votes, and those of owners
	ownersOut          int // owners that failed
	outstanding, extra int
}

// NewGet starts a get; [Get.Ask] says whom to ask first.
func NewGet(cfg GetConfig) *Get {
	n := cfg.Owners
	for _, i := range cfg.Order {
		n = max(n, i+1)
	}
	return &Get{cfg: cfg, state: make([]answer, n), copies: make([]object.Object, n)}
}

// Extend appends nodes to the order: fallbacks that may stand in, as it turned
// out. Their numbers follow the highest so far.
func (g *Get) Extend(nodes []int) {
	g.cfg.Order = append(g.cfg.Order, nodes...)
	for range nodes {
		g.state = append(g.state, unasked)
		g.copies = append(g.copies, object.Object{})
	}
}

// Ask gives the next node to ask now, false when enough are under way. Call
// it until it says false, at the start and after every report.
func (g *Get) Ask() (int, bool) {
	if g.next == len(g.cfg.Order) || g.outstanding >= g.wanted() {
		return 0, false
	}
	i := g.cfg.Order[g.next]
	g.next++
	g.outstanding++
	g.state[i] = asked
	return i, true
}

// wanted is how many answers should be under way.
func (g *Get) wanted() int {
	missing := max(g.cfg.R-g.received, g.cfg.PR-g.owners)
	if missing > 0 {
		return missing + g.extra
	}
	if !g.covered() {
		return 1
	}
	return 0
}

// Reply says that node i holds this copy; the zero object if none. A fallback
// that holds nothing has not voted: what was never given to it says nothing
// about the key.
func (g *Get) Reply(i int, o object.Object) {
	switch {
	case g.state[i] != asked:
		return
	case !g.isOwner(i) && o.Absent():
		g.settle(i, failed)
		return
	}
	g.settle(i, acked)
	g.copies[i] = o
	g.received++
	if g.isOwner(i) {
		g.owners++
	}
	g.merged = object.Merge(g.merged, o)
}

// Fail says that node i will not answer.
func (g *Get) Fail(i int) {
	if g.state[i] != asked {
		return
	}
	g.settle(i, failed)
	if g.isOwner(i) {
		g.ownersOut++
	}
}

// Slow says that the nodes under way keep the reader waiting: one more is
// asked beside them, if there is one.
func (g *Get) Slow() {
	if g.outstanding > 0 {
		g.extra++
	}
}

// CanHedge reports whether [Get.Slow] would have another node asked.
func (g *Get) CanHedge() bool { return g.outstanding > 0 && g.next < len(g.cfg.Order) }

func (g *Get) settle(i int, a answer) {
	g.state[i] = a
	g.outstanding--
	g.extra = max(0, g.extra-1)
}

func (g *Get) covered() bool { return g.merged.Vector.Descends(g.cfg.Session) }

func (g *Get) isOwner(i int) bool { return i < g.cfg.Owners }

// Verdict is Done, Impossible, NotVisible, or Waiting for more answers.
func (g *Get) Verdict() Verdict {
	left := g.outstanding + len(g.cfg.Order) - g.next
	switch {
	case g.received+left < g.cfg.R, g.cfg.Owners-g.ownersOut < g.cfg.PR:
		return Impossible
	case g.received < g.cfg.R, g.owners < g.cfg.PR:
		return Waiting
	case g.covered():
		return Done
	case left == 0:
		return NotVisible
	default:
		return Waiting
	}
}

// Received is the number of nodes that voted.
func (g *Get) Received() int { return g.received }

// HeardAllOwners reports whether every owner gave its copy.
func (g *Get) HeardAllOwners() bool { return g.owners == g.cfg.Owners }

// Lacking says what an unfinished get waited for: how many votes, and how many of
// them are there. Where there are votes enough it is about those of owners.
func (g *Get) Lacking() (required, received int) {
	if g.received >= g.cfg.R && g.owners < g.cfg.PR {
		return g.cfg.PR, g.owners
	}
	return g.cfg.R, g.received
}

// FromHints is how many of them are fallbacks.
func (g *Get) FromHints() int { return g.received - g.owners }

// Outstanding is the number of nodes asked that have not answered.
func (g *Get) Outstanding() int { return g.outstanding }

// Merged is the merge of all copies heard so far.
func (g *Get) Merged() object.Object { return g.merged }

// Stale lists, in the order asked, the owners whose copy lacks something
// that the merged object has.
func (g *Get) Stale() []int {
	var stale []int
	for _, i := range g.cfg.Order[:g.next] {
		if g.isOwner(i) && g.state[i] == acked && !g.copies[i].Equal(g.merged) {
			stale = append(stale, i)
		}
	}
	return stale
}
