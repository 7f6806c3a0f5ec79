package purge

import (
	"slices"

	"starling/ring"
	"starling/store/version"
)

// item is a key on its way through a round.
type item struct {
	Key
	owners []ring.NodeID
	// writes are the hint writes in its partition at the first verification, by
	// member.
	writes []uint64
	pruned version.Vector // what the vector becomes, where Reap is Prune
	out    bool           // something stands in its way
}

// Round decides one round of the purge. Make it with [New].
type Round struct {
	opts    Options
	view    View // members sorted
	step    Step
	waiting map[ring.NodeID]bool // asked in this step, not yet reported on
	asks    []Ask

	pages    []listed // by owner
	failed   bool     // a member that everything depends on did not answer
	items    []*item
	boots    []uint64 // by member, at the first verification
	actors   actorSet
	blockers tally
	result   Result
}

// New starts a round; [Round.Asks] says what to do first.
func New(v View, o Options) *Round {
	v.Members = sorted(v.Members)
	r := &Round{opts: o.withDefaults(), view: v, blockers: tally{}, actors: actorSet{}}
	r.boots = make([]uint64, len(v.Members))
	most := r.pageMax()
	for _, m := range v.Members {
		r.ask(Ask{Step: Listing, To: m, After: o.After, Max: most})
	}
	if len(r.asks) == 0 {
		r.finish()
	}
	return r
}

func sorted(ids []ring.NodeID) []ring.NodeID {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, ring.NodeID.Compare)
	return slices.Compact(ids)
}

// pageMax keeps the pages of a large cluster small: a key is reported by its
// few owners alone.
func (r *Round) pageMax() int {
	const most, least = 8, 64
	return min(r.opts.MaxKeys, max(least, most*r.opts.MaxKeys/max(1, len(r.view.Members))))
}

// Step is how far the round has come.
func (r *Round) Step() Step { return r.step }

// Asks is what the present step asks for. Every ask is to be carried out once
// and reported once, in any order; the step is over with the last report.
func (r *Round) Asks() []Ask { return r.asks }

// Result is what became of the round, once it is [Done].
func (r *Round) Result() Result { return r.result }

func (r *Round) ask(a Ask) {
	if r.waiting == nil {
		r.waiting = make(map[ring.NodeID]bool)
	}
	r.waiting[a.To] = true
	r.asks = append(r.asks, a)
}

// heard reports whether an answer is one that is waited for: the first of the
// member to an ask of this step.
func (r *Round) heard(s Step, from ring.NodeID) bool {
	if s != r.step || !r.waiting[from] {
		return false
	}
	delete(r.waiting, from)
	return true
}

// Listed reports a member's candidates.
func (r *Round) Listed(from ring.NodeID, p Page) {
	if !r.heard(Listing, from) {
		return
	}
	if bad := r.checkPage(p); bad != "" {
		r.fail(from, bad)
	} else {
		r.pages = append(r.pages, listed{from, p})
	}
	r.proceed()
}

// Verified reports a member's answer to an ask of the given step, [Verifying] or
// [Proving].
func (r *Round) Verified(s Step, from ring.NodeID, v Verification) {
	if !r.heard(s, from) {
		return
	}
	switch {
	case len(v.States) != len(r.items) || len(v.HintWrites) != len(r.items):
		r.fail(from, "gave a malformed answer")
	case s == Proving && v.Boot != r.boots[r.member(from)]:
		r.fail(from, "was restarted during the round")
	default:
		r.takeVerification(s, from, v)
	}
	r.proceed()
}

// Raised reports that every member has a higher fence, and what the leader goes
// by since then.
func (r *Round) Raised(v View) {
	if !r.heard(Fencing, ring.NodeID{}) {
		return
	}
	v.Members = sorted(v.Members)
	r.result.Fenced = true
	r.refence(v)
	r.proceed()
}

// Purged reports with how many keys of an ask of the given step, [Clearing] or
// [Purging], a member is done.
func (r *Round) Purged(s Step, from ring.NodeID, done int) {
	if !r.heard(s, from) {
		return
	}
	if asked := r.keysFor(from); done != len(asked) {
		r.blockers.count(from, whyKept, max(1, len(asked)-done))
		exclude(asked)
	}
	r.proceed()
}

// NotRaised reports that the fence could not be raised everywhere: who has not
// got it, and why.
func (r *Round) NotRaised(why []Blocker) {
	if !r.heard(Fencing, ring.NodeID{}) {
		return
	}
	r.failed = true
	for _, b := range why {
		r.blockers.say(b.Node, b.Reason)
	}
	r.proceed()
}

// Failed reports that an ask of a member came to nothing, and why.
func (r *Round) Failed(s Step, from ring.NodeID, reason string) {
	if s == Fencing || !r.heard(s, from) {
		return
	}
	if s == Clearing || s == Purging {
		r.blockers.say(from, reason)
		exclude(r.keysFor(from))
	} else {
		r.fail(from, reason)
	}
	r.proceed()
}

func (r *Round) fail(who ring.NodeID, reason string) {
	r.failed = true
	r.blockers.say(who, reason)
}

// proceed goes on to the next step when the present one is over.
func (r *Round) proceed() {
	if len(r.waiting) > 0 {
		return
	}
	r.asks = nil
	switch r.step {
	case Listing:
		r.judge()
		r.unlessBlocked(func() { r.askAll(Verifying) })
	case Verifying:
		r.dropUnprunable()
		r.unlessBlocked(func() { r.step = Fencing; r.ask(Ask{Step: Fencing}) })
	case Fencing:
		r.unlessBlocked(func() { r.askAll(Proving) })
	case Proving:
		r.prune()
		r.unlessBlocked(func() { r.askPurge(Clearing) })
	case Clearing:
		r.unlessBlocked(func() { r.askPurge(Purging) })
	case Purging:
		r.countDone()
		r.finish()
	}
}

// unlessBlocked goes on with the keys that nothing stands in the way of, if
// there are any.
func (r *Round) unlessBlocked(next func()) {
	r.items = slices.DeleteFunc(r.items, func(i *item) bool { return i.out })
	if r.failed || len(r.items) == 0 {
		r.finish()
		return
	}
	next()
}

func (r *Round) finish() {
	r.step, r.items, r.pages = Done, nil, nil
	r.result.Blockers = r.blockers.list()
}

func (r *Round) countDone() {
	for _, i := range r.items {
		switch {
		case i.out:
		case i.Reap == Prune:
			r.result.Pruned++
		default:
			r.result.Purged++
		}
	}
}

// askAll asks every member about all keys.
func (r *Round) askAll(s Step) {
	r.step = s
	keys := keysOf(r.items)
	for _, m := range r.view.Members {
		r.ask(Ask{Step: s, To: m, Fence: r.view.Fence, Keys: keys})
	}
}

// askPurge has members purge the keys that they do not own, or own. Who does not
// own a key to prune compares its copy with the whole vector.
func (r *Round) askPurge(s Step) {
	r.step = s
	for _, m := range r.view.Members {
		items := r.keysFor(m)
		keys := keysOf(items)
		for n, i := range items {
			if s == Purging && i.Reap == Prune {
				keys[n].Vector = i.pruned
			}
		}
		if len(keys) > 0 {
			r.ask(Ask{Step: s, To: m, Fence: r.view.Fence, Keys: keys})
		}
	}
	r.proceed() // to the next step if nobody is asked: all members may own all keys
}

// keysFor are the keys that a member purges in the present step.
func (r *Round) keysFor(m ring.NodeID) []*item {
	var of []*item
	for _, i := range r.items {
		if slices.Contains(i.owners, m) == (r.step == Purging) {
			of = append(of, i)
		}
	}
	return of
}

func keysOf(items []*item) []Key {
	keys := make([]Key, len(items))
	for n, i := range items {
		keys[n] = i.Key
	}
	return keys
}

func exclude(items []*item) {
	for _, i := range items {
		i.out = true
	}
}

// member is the number of a member, which must be one.
func (r *Round) member(id ring.NodeID) int {
	n, _ := slices.BinarySearchFunc(r.view.Members, id, ring.NodeID.Compare)
	return n
}
