package purge

import (
	"cmp"
	"slices"

	"starling/ring"
	"starling/store/object"
)

// listed is a member's page.
type listed struct {
	from ring.NodeID
	Page
}

// report is a candidate as one member reported it.
type report struct {
	from ring.NodeID
	Candidate
}

// CompareRefs orders keys by partition, bucket, key.
func CompareRefs(a, b object.Ref) int {
	return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Key, b.Key))
}

// checkPage says what is wrong with a page, "" if nothing is.
func (r *Round) checkPage(p Page) string {
	last := r.opts.After
	for i := range p.Candidates {
		c := &p.Candidates[i]
		if CompareRefs(c.Ref, last) <= 0 || c.Hash == 0 || len(c.Vector) == 0 || c.Reap != Delete && c.Reap != Prune {
			return "gave a malformed list of candidates"
		}
		last = c.Ref
	}
	if len(p.Candidates) > r.opts.MaxKeys || p.More && len(p.Candidates) == 0 {
		return "gave a malformed list of candidates"
	}
	return ""
}

// judge makes items of the candidates that all owners report alike. A page that
// has more says nothing of what lies behind its last key, so no key behind the
// first such place is judged.
func (r *Round) judge() {
	end, bounded := r.frontier()
	reports := r.reports(end, bounded)
	bytes := 0
	for len(reports) > 0 {
		n := 1
		for n < len(reports) && reports[n].Ref == reports[0].Ref {
			n++
		}
		if len(r.items) == r.opts.MaxKeys || bytes > r.opts.MaxBytes {
			break // what was seen so far is enough: go on behind it
		}
		end = reports[0].Ref
		r.result.Candidates++
		if i := r.agreed(reports[:n]); i != nil {
			r.items = append(r.items, i)
			bytes += Size(i.Ref, i.Vector)
		}
		reports = reports[n:]
	}
	if bounded || len(reports) > 0 {
		r.result.Next = end
	}
	r.pages = nil
	if r.result.Candidates == 0 {
		r.blockers = tally{} // nothing waits for those that did not answer
	}
}

// frontier is the smallest last key of the pages that have more, if there are
// such pages.
func (r *Round) frontier() (end object.Ref, bounded bool) {
	for _, p := range r.pages {
		if !p.More {
			continue
		}
		if last := p.Candidates[len(p.Candidates)-1].Ref; !bounded || CompareRefs(last, end) < 0 {
			end, bounded = last, true
		}
	}
	return end, bounded
}

// reports lists all pages together in the order of keys, up to the frontier.
func (r *Round) reports(end object.Ref, bounded bool) []report {
	var all []report
	for _, p := range r.pages {
		for _, c := range p.Candidates {
			if bounded && CompareRefs(c.Ref, end) > 0 {
				break
			}
			all = append(all, report{p.from, c})
		}
	}
	slices.SortFunc(all, func(a, b report) int {
		return cmp.Or(CompareRefs(a.Ref, b.Ref), a.from.Compare(b.from))
	})
	return all
}

// agreed makes an item of what was reported of one key, or nil if its owners
// do not agree or its partition is on the move. Whoever does not own it has no
// say.
func (r *Round) agreed(reports []report) *item {
	pl, ok := r.view.Place(reports[0].Ref.Partition)
	if !ok || len(pl.Owners) == 0 {
		return nil
	}
	if pl.Extra() > 0 {
		for _, id := range append(slices.Clone(pl.Pending), pl.Displaced...) {
			r.blockers.count(id, whyMoving, 1)
		}
		return nil
	}
	var said *Candidate
	for _, id := range pl.Owners {
		n := slices.IndexFunc(reports, func(p report) bool { return p.from == id })
		switch {
		case n < 0:
			if r.answered(id) {
				r.blockers.count(id, whyUnlisted, 1)
			}
			return nil
		case said == nil:
			said = &reports[n].Candidate
		case !said.same(&reports[n].Candidate):
			return nil // anti-entropy makes them equal; nobody is to blame
		}
	}
	return &item{owners: pl.Owners, Key: Key{Ref: said.Ref, Stamp: pl.Stamp, Hash: said.Hash, Reap: said.Reap, Vector: said.Vector}}
}

// answered reports whether a member gave its candidates.
func (r *Round) answered(id ring.NodeID) bool {
	return slices.ContainsFunc(r.pages, func(p listed) bool { return p.from == id })
}

func (c *Candidate) same(o *Candidate) bool {
	return c.Hash == o.Hash && c.Reap == o.Reap && c.Vector.Equal(o.Vector)
}
