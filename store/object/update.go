package object

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"starling/store/version"
)

// Errors of [Object.Update]. They are wrapped with the numbers that led to them.
var (
	// ErrTooManySiblings: resolve the siblings by a put with the context of a read.
	ErrTooManySiblings = errors.New("object: too many siblings")
	// ErrTooLarge: the object, its vector or the metadata of the put is over a bound.
	ErrTooLarge = errors.New("object: too large")
	// ErrDotReused: the dot of a put is not new, so the actor has forgotten
	// writes of its own and must be replaced.
	ErrDotReused = errors.New("object: dot is not new")
)

// Limits bound what a put may bring an object to. Zero is no bound. A merge
// has no limits: it never refuses or drops what another replica acknowledged.
type Limits struct {
	// Siblings counts tombstones and expired values too.
	Siblings int
	// Bytes is the size of the encoding of the whole object.
	Bytes int
}

// Update is o after a put of s by a client that has seen c. The siblings that
// c covers are superseded. s.Dot is freshly minted by an actor that knows all
// its own writes to this key; if it is not new, the error is [ErrDotReused].
//
// A put that breaks a limit is refused with [ErrTooManySiblings] or
// [ErrTooLarge], unless it leaves the object no worse than it was: what
// merges have brought over a limit can still be resolved.
func (o Object) Update(c version.Context, s Sibling, l Limits) (Object, error) {
	v := version.Merge(o.Vector, c.Claim(o.Vector))
	if s.Dot.Seq == 0 || v.Covers(s.Dot) {
		return Object{}, fmt.Errorf("%w: %s", ErrDotReused, s.Dot)
	}
	if len(s.Meta) > MaxFields {
		return Object{}, fmt.Errorf("%w: %d metadata fields, at most %d", ErrTooLarge, len(s.Meta), MaxFields)
	}
	s.Meta = sortedMeta(s.Meta)
	p := Object{Vector: v.With(s.Dot), Siblings: make([]Sibling, 0, len(o.Siblings)+1)}
	for _, t := range o.Siblings {
		if !c.Covers(t.Dot) {
			p.Siblings = append(p.Siblings, t)
		}
	}
	at, _ := p.find(s.Dot)
	p.Siblings = slices.Insert(p.Siblings, at, s)
	if err := o.allows(p, l); err != nil {
		return Object{}, err
	}
	return p, nil
}

// allows checks the limits of a put that turns o into p.
func (o Object) allows(p Object, l Limits) error {
	if n := len(p.Vector); n > version.MaxEntries && n > len(o.Vector) {
		return fmt.Errorf("%w: %d actors have written the key, at most %d", ErrTooLarge, n, version.MaxEntries)
	}
	if n := len(p.Siblings); l.Siblings > 0 && n > l.Siblings && n > len(o.Siblings) {
		return fmt.Errorf("%w: %d, at most %d", ErrTooManySiblings, n, l.Siblings)
	}
	if l.Bytes <= 0 {
		return nil
	}
	if n := p.Size(); n > l.Bytes && n > o.Size() {
		return fmt.Errorf("%w: %d bytes with all siblings, at most %d", ErrTooLarge, n, l.Bytes)
	}
	return nil
}

// sortedMeta is meta sorted by name; fields of one name keep their order.
func sortedMeta(meta []Field) []Field {
	byName := func(a, b Field) int { return cmp.Compare(a.Name, b.Name) }
	if slices.IsSortedFunc(meta, byName) {
		return meta
	}
	meta = slices.Clone(meta)
	slices.SortStableFunc(meta, byName)
	return meta
}

// Reply is what the writer of dot d, who had seen c, has seen now: c, the
// write itself with other stampings of it, and all that o knows to be
// superseded. The other siblings of o are exceptions, for the writer has not
// seen their values.
func (o Object) Reply(c version.Context, d version.Dot) version.Context {
	var op OpID
	if i, ok := o.find(d); ok {
		op = o.Siblings[i].Op
	}
	var unseen []version.Dot
	for i := range o.Siblings {
		s := &o.Siblings[i]
		if s.Dot != d && (op.IsZero() || s.Op != op) {
			unseen = append(unseen, s.Dot)
		}
	}
	return c.Union(version.Without(o.Vector, unseen))
}
