package quorum

import (
	"starling/store/object"
	"starling/store/version"
)

// GetConfig describes one get.
type GetConfig struct {
	// Order is a permutation of the owners' numbers (0 to n-1): the order in
	// which they are to be asked.
	Order []int
	// R is how many of them must answer.
	R int
	// Session is what the answer must have seen; nil asks for nothing.
	Session version.Vector
}

// Get decides whom to ask and when the answers are enough. Make it with
// [NewGet].
type Get struct {
	cfg                GetConfig
	state              []answer        // by owner
	copies             []object.Object // by owner; meant where state is acked
	merged             object.Object
	next               int // first of Order not asked yet
	received           int
	outstanding, extra int
}

// NewGet starts a get; [Get.Ask] says whom to ask first.
func NewGet(cfg GetConfig) *Get {
	return &Get{
		cfg:    cfg,
		state:  make([]answer, len(cfg.Order)),
		copies: make([]object.Object, len(cfg.Order)),
	}
}

// Ask gives the next owner to ask now, false when enough are under way. Call
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
	missing := g.cfg.R - g.received
	if missing > 0 {
		return missing + g.extra
	}
	if !g.covered() {
		return 1
	}
	return 0
}

// Reply says that owner i holds this copy; the zero object if none.
func (g *Get) Reply(i int, o object.Object) {
	if g.state[i] != asked {
		return
	}
	g.settle(i, acked)
	g.copies[i] = o
	g.received++
	g.merged = object.Merge(g.merged, o)
}

// Fail says that owner i will not answer.
func (g *Get) Fail(i int) {
	if g.state[i] == asked {
		g.settle(i, failed)
	}
}

// Slow says that the owners under way keep the reader waiting: one more is
// asked beside them, if there is one.
func (g *Get) Slow() {
	if g.outstanding > 0 {
		g.extra++
	}
}

func (g *Get) settle(i int, a answer) {
	g.state[i] = a
	g.outstanding--
	g.extra = max(0, g.extra-1)
}

func (g *Get) covered() bool { return g.merged.Vector.Descends(g.cfg.Session) }

// Verdict is Done, Impossible, NotVisible, or Waiting for more answers.
func (g *Get) Verdict() Verdict {
	left := g.outstanding + len(g.cfg.Order) - g.next
	switch {
	case g.received+left < g.cfg.R:
		return Impossible
	case g.received < g.cfg.R:
		return Waiting
	case g.covered():
		return Done
	case left == 0:
		return NotVisible
	default:
		return Waiting
	}
}

// Received is the number of owners that answered.
func (g *Get) Received() int { return g.received }

// Outstanding is the number of owners asked that have not answered.
func (g *Get) Outstanding() int { return g.outstanding }

// Merged is the merge of all copies heard so far.
func (g *Get) Merged() object.Object { return g.merged }

// Stale lists, in the order asked, the owners whose copy lacks something
// that the merged object has.
func (g *Get) Stale() []int {
	var stale []int
	for _, i := range g.cfg.Order[:g.next] {
		if g.state[i] == acked && !g.copies[i].Equal(g.merged) {
			stale = append(stale, i)
		}
	}
	return stale
}
