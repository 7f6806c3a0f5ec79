package object

import (
	"slices"

	"starling/store/version"
)

// Ref names one object: its key and the partition that the key falls into.
type Ref struct {
	Partition   uint32
	Bucket, Key string
}

// OpID names one put across all its retries. The zero OpID names none and
// equals no other.
type OpID [16]byte

// IsZero reports whether id names no put.
func (id OpID) IsZero() bool { return id == OpID{} }

// Field is one item of user metadata.
type Field struct{ Name, Value string }

// Sibling is one value of a key that no other value has superseded.
type Sibling struct {
	// Dot names the write; no other write of the key has it.
	Dot version.Dot
	// Op names the put that the write came from, zero when unknown.
	Op OpID
	// Tombstone marks a delete.
	Tombstone bool
	// ContentType and Meta are kept for the client. Meta is sorted by name
	// and has at most [MaxFields] items.
	ContentType string
	Meta        []Field
	// Value must not be changed: an object that was decoded shares it with
	// the bytes it was decoded from.
	Value []byte
	// ModifiedMS is the coordinator's time of the write, Unix milliseconds.
	ModifiedMS int64
	// ExpiresMS is when the value stops being read, Unix milliseconds; 0 is never.
	ExpiresMS int64
}

// Expired reports whether the sibling is past its time at nowMS, Unix milliseconds.
func (s Sibling) Expired(nowMS int64) bool { return s.ExpiresMS != 0 && s.ExpiresMS <= nowMS }

// Object is all that a replica knows of one key: the dots that it has seen,
// and the values among them that nothing has superseded. Siblings are sorted
// by dot, have no dot twice, and Vector covers each of their dots. The zero
// Object is that of a key never heard of. An Object, with all that it holds,
// is never changed once it has been handed out.
type Object struct {
	Vector   version.Vector
	Siblings []Sibling
}

// Entry is an object with its name.
type Entry struct {
	Ref    Ref
	Object Object
}

// Hint is an object that a store keeps for another node, which was not there
// to take it.
type Hint struct {
	Target [16]byte // the other node's store UUID
	Ref    Ref
	Object Object
}

// HintTotals counts the hints that a store keeps for one other node.
type HintTotals struct {
	Target       [16]byte
	Hints, Bytes int64
}

// Written is the outcome of a write at one replica. The write is visible at
// once.
type Written struct {
	// Object is the replica's object after the write.
	Object Object
	// Dot is the version of a put, zero for a merge.
	Dot version.Dot
	// Changed tells whether the write told the replica anything new.
	Changed bool
	// Wait returns when the write is as durable as the store makes it. It is
	// never nil and may be called once.
	Wait func() error
}

// Absent reports whether nothing was ever heard of the key. An object that
// holds tombstones alone is not absent.
func (o Object) Absent() bool { return len(o.Vector) == 0 && len(o.Siblings) == 0 }

// Context is what a reader of all the siblings of o has seen.
func (o Object) Context() version.Context { return version.Context{Vector: o.Vector} }

// find returns where the sibling d is or would be.
func (o Object) find(d version.Dot) (int, bool) {
	return slices.BinarySearchFunc(o.Siblings, d, func(s Sibling, d version.Dot) int { return s.Dot.Compare(d) })
}

// Equal reports whether o and p have the same vector and the same dots. Two
// objects of one key that are equal hold the same values.
func (o Object) Equal(p Object) bool {
	return o.Vector.Equal(p.Vector) && slices.EqualFunc(o.Siblings, p.Siblings, func(s, t Sibling) bool { return s.Dot == t.Dot })
}

// Live is what a reader sees at nowMS, Unix milliseconds: the siblings that
// are neither tombstones nor expired, in the order of their dots. Of several
// stampings of one put it shows the one with the smallest dot.
func (o Object) Live(nowMS int64) []Sibling {
	shown := func(i int) bool {
		s := &o.Siblings[i]
		return !s.Tombstone && !s.Expired(nowMS) && !restamps(o.Siblings[:i], s, nowMS)
	}
	for i := range o.Siblings {
		if shown(i) {
			continue
		}
		out := slices.Clone(o.Siblings[:i])
		for j := i + 1; j < len(o.Siblings); j++ {
			if shown(j) {
				out = append(out, o.Siblings[j])
			}
		}
		return out
	}
	return o.Siblings
}

// restamps reports whether s is another stamping of a put that shows a value
// among the earlier siblings.
func restamps(earlier []Sibling, s *Sibling, nowMS int64) bool {
	if s.Op.IsZero() {
		return false
	}
	for i := range earlier {
		if e := &earlier[i]; e.Op == s.Op && !e.Tombstone && !e.Expired(nowMS) {
			return true
		}
	}
	return false
}
