package version

import "slices"

// MaxExcept is the most exceptions that a context token carries.
const MaxExcept = 1024

// Context is what a client has seen of one key: every dot that Vector covers
// but those in Except. Except is sorted, has no dot twice, and Vector covers
// each of its dots. The zero Context has seen nothing. A Context is never
// changed once it has been handed out.
type Context struct {
	Vector Vector
	Except []Dot
}

// Without is the context that has seen all of v but the dots in unseen, which
// may be in any order and may hold dots that v does not cover. Exceptions at
// the end of an actor's entry shorten the entry instead of being listed.
func Without(v Vector, unseen []Dot) Context {
	c := Context{Vector: v}
	for _, d := range unseen {
		if v.Covers(d) {
			c.Except = append(c.Except, d)
		}
	}
	slices.SortFunc(c.Except, Dot.Compare)
	c.Except = slices.Compact(c.Except)
	return c.trimmed()
}

// trimmed is c with every entry shortened while its own dot is an exception.
// It covers the same dots.
func (c Context) trimmed() Context {
	if len(c.Except) == 0 {
		return Context{Vector: c.Vector}
	}
	var ends, except []Dot // both backwards
	for _, e := range slices.Backward(c.Except) {
		top := Dot{Actor: e.Actor, Seq: c.Vector.Max(e.Actor)}
		if n := len(ends); n > 0 && ends[n-1].Actor == e.Actor {
			top = ends[n-1]
			ends = ends[:n-1]
		}
		if e == top {
			top.Seq--
		} else {
			except = append(except, e)
		}
		ends = append(ends, top)
	}
	slices.Reverse(ends)
	slices.Reverse(except)
	return Context{Vector: c.Vector.lower(ends), Except: except}
}

// lower is v with the entries of some actors reduced to the sequences in ends,
// which is sorted by actor, and left out where that is 0.
func (v Vector) lower(ends []Dot) Vector {
	if len(ends) == 0 {
		return v
	}
	out := make(Vector, 0, len(v))
	for _, d := range v {
		for len(ends) > 0 && ends[0].Actor < d.Actor {
			ends = ends[1:]
		}
		if len(ends) > 0 && ends[0].Actor == d.Actor {
			d.Seq = min(d.Seq, ends[0].Seq)
		}
		if d.Seq > 0 {
			out = append(out, d)
		}
	}
	return out
}

// Covers reports whether the client has seen d.
func (c Context) Covers(d Dot) bool { return c.Vector.Covers(d) && !c.excepts(d) }

func (c Context) excepts(d Dot) bool {
	_, found := slices.BinarySearchFunc(c.Except, d, Dot.Compare)
	return found
}

// Empty reports whether the client has seen nothing.
func (c Context) Empty() bool { return len(c.Vector) == 0 }

// Union covers exactly what c or o covers.
func (c Context) Union(o Context) Context {
	v := Merge(c.Vector, o.Vector)
	if len(c.Except) == 0 && len(o.Except) == 0 {
		return Context{Vector: v}
	}
	unseen := make([]Dot, 0, len(c.Except)+len(o.Except))
	for _, e := range c.Except {
		if !o.Covers(e) {
			unseen = append(unseen, e)
		}
	}
	for _, e := range o.Except {
		if !c.Covers(e) {
			unseen = append(unseen, e)
		}
	}
	return Without(v, unseen)
}

// Claim is the part of c.Vector that may be merged into the vector known: it
// covers no exception that known does not cover already. For an exception
// (A, n) unknown there the entry of A ends below n, so dots of A above n that
// the client did see are not claimed. That may keep a sibling that could have
// gone; claiming the exception would destroy a value that nobody has read.
func (c Context) Claim(known Vector) Vector {
	var ends []Dot
	for _, e := range c.Except {
		if n := len(ends); n > 0 && ends[n-1].Actor == e.Actor || known.Covers(e) {
			continue // only the first unknown exception of an actor counts
		}
		ends = append(ends, Dot{Actor: e.Actor, Seq: e.Seq - 1})
	}
	return c.Vector.lower(ends)
}

// narrowed is c, or a context that covers less of it when c is too large for
// a token. To have seen less is always safe: at worst a sibling stays.
func (c Context) narrowed() Context {
	if len(c.Except) > MaxExcept {
		c = Context{Vector: c.Claim(nil)}
	}
	if len(c.Vector) > MaxEntries {
		c.Vector = c.Vector[:MaxEntries:MaxEntries]
		last := c.Vector[MaxEntries-1].Actor
		end := slices.IndexFunc(c.Except, func(e Dot) bool { return e.Actor > last })
		if end >= 0 {
			c.Except = c.Except[:end:end]
		}
	}
	return c
}
