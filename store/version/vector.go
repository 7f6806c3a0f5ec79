package version

import (
	"cmp"
	"fmt"
	"slices"
)

// MaxEntries is the most entries that a put may bring a vector to, and the
// most that a context token carries. A key collects an entry for every actor
// that ever wrote it: one for each replica, and one more after each restart
// that had to give up its actor.
const MaxEntries = 1024

// Actor names one tenancy of one partition in one store: 64 random bits that
// are never used again once the tenancy has ended.
type Actor uint64

// String is the actor as 16 hexadecimal digits.
func (a Actor) String() string { return fmt.Sprintf("%016x", uint64(a)) }

// Dot names one write: the Seq-th event of an actor, counting from 1. The
// zero Dot names no write.
type Dot struct {
	Actor Actor
	Seq   uint64
}

// Compare orders dots by actor, then by sequence. The order says nothing
// about which write came first.
func (d Dot) Compare(o Dot) int {
	if c := cmp.Compare(d.Actor, o.Actor); c != 0 {
		return c
	}
	return cmp.Compare(d.Seq, o.Seq)
}

// String is the actor and the sequence joined by a colon.
func (d Dot) String() string { return fmt.Sprintf("%s:%d", d.Actor, d.Seq) }

// Vector is a version vector: for each actor the highest sequence known, and
// with it every lower one. It is sorted by actor, has one entry an actor, and
// no sequence is 0. A nil Vector is empty. A Vector is never changed once it
// has been handed out: every method returns either its receiver or a new one.
type Vector []Dot

// find returns where the entry of a is or would be.
func (v Vector) find(a Actor) (int, bool) {
	return slices.BinarySearchFunc(v, a, func(d Dot, a Actor) int { return cmp.Compare(d.Actor, a) })
}

// Max is the highest sequence of a that v covers, 0 when there is none.
func (v Vector) Max(a Actor) uint64 {
	if i, ok := v.find(a); ok {
		return v[i].Seq
	}
	return 0
}

// Covers reports whether v has seen d. No vector covers a dot whose sequence
// is 0.
func (v Vector) Covers(d Dot) bool { return d.Seq != 0 && d.Seq <= v.Max(d.Actor) }

// Descends reports whether v covers all that o covers. Every vector descends
// itself and the empty one.
func (v Vector) Descends(o Vector) bool {
	if len(o) > len(v) {
		return false
	}
	i := 0
	for _, d := range o {
		for i < len(v) && v[i].Actor < d.Actor {
			i++
		}
		if i == len(v) || v[i].Actor != d.Actor || v[i].Seq < d.Seq {
			return false
		}
	}
	return true
}

// Equal reports whether v and o cover the same dots.
func (v Vector) Equal(o Vector) bool { return slices.Equal(v, o) }

// With is v raised so that it covers d, and with d every lower sequence of
// its actor.
func (v Vector) With(d Dot) Vector {
	i, ok := v.find(d.Actor)
	switch {
	case d.Seq == 0 || ok && v[i].Seq >= d.Seq:
		return v
	case ok:
		out := slices.Clone(v)
		out[i] = d
		return out
	}
	out := make(Vector, 0, len(v)+1)
	out = append(out, v[:i]...)
	out = append(out, d)
	return append(out, v[i:]...)
}

// Merge covers exactly what a or b covers. It is idempotent, commutative and
// associative, and returns an argument unchanged where that is the answer.
func Merge(a, b Vector) Vector {
	switch {
	case a.Descends(b):
		return a
	case b.Descends(a):
		return b
	}
	out := make(Vector, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := cmp.Compare(a[0].Actor, b[0].Actor); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, Dot{Actor: a[0].Actor, Seq: max(a[0].Seq, b[0].Seq)})
			a, b = a[1:], b[1:]
		}
	}
	out = append(out, a...)
	return append(out, b...)
}
