package object

import (
	"bytes"
	"slices"

	"starling/store/version"
)

// Merge is all that a or b knows. It keeps a sibling that both have, or whose
// dot the other has not seen; a sibling that the other has seen and no longer
// has was superseded there. It is idempotent, commutative and associative.
func Merge(a, b Object) Object {
	m := Object{Vector: version.Merge(a.Vector, b.Vector)}
	m.Siblings = make([]Sibling, 0, max(len(a.Siblings), len(b.Siblings)))
	as, bs := a.Siblings, b.Siblings
	for len(as) > 0 || len(bs) > 0 {
		switch order(as, bs) {
		case -1:
			if !b.Vector.Covers(as[0].Dot) {
				m.Siblings = append(m.Siblings, as[0])
			}
			as = as[1:]
		case +1:
			if !a.Vector.Covers(bs[0].Dot) {
				m.Siblings = append(m.Siblings, bs[0])
			}
			bs = bs[1:]
		default:
			m.Siblings = append(m.Siblings, pick(as[0], bs[0]))
			as, bs = as[1:], bs[1:]
		}
	}
	if len(m.Siblings) == 0 {
		m.Siblings = nil
	}
	return m
}

// order tells which list has the sibling with the smaller dot in front.
func order(as, bs []Sibling) int {
	switch {
	case len(as) == 0:
		return +1
	case len(bs) == 0:
		return -1
	}
	return as[0].Dot.Compare(bs[0].Dot)
}

// pick chooses between two siblings with one dot. They are the same write, so
// their content must be the same. Should it ever not be, every replica takes
// the one whose encoding comes later in byte order.
func pick(s, t Sibling) Sibling {
	if same(&s, &t) || bytes.Compare(s.append(nil), t.append(nil)) > 0 {
		return s
	}
	return t
}

func same(s, t *Sibling) bool {
	return s.Dot == t.Dot && s.Op == t.Op && s.Tombstone == t.Tombstone &&
		s.ModifiedMS == t.ModifiedMS && s.ExpiresMS == t.ExpiresMS && s.ContentType == t.ContentType &&
		slices.Equal(s.Meta, t.Meta) && bytes.Equal(s.Value, t.Value)
}
