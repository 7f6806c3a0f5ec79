package coordinator

import (
	"sync"

	"starling/store/object"
	"starling/store/version"
)

// memStore is a replica in memory: pure objects under a lock, one actor.
type memStore struct {
	mu      sync.Mutex
	actor   version.Actor
	seq     uint64
	objects map[object.Ref]object.Object
	wait    func() error // what Wait of the next writes does
	fail    error        // what Put and Merge answer
}

func newMemStore(actor version.Actor) *memStore {
	return &memStore{actor: actor, objects: map[object.Ref]object.Object{}, wait: func() error { return nil }}
}

func (s *memStore) Get(ref object.Ref) (object.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[ref], nil
}

func (s *memStore) Update(ref object.Ref, op object.OpID, make Make) (object.Written, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return object.Written{}, s.fail
	}
	o := s.objects[ref]
	for _, have := range o.Siblings {
		if have.Op == op && !op.IsZero() {
			return object.Written{Object: o, Dot: have.Dot, Wait: s.wait}, nil
		}
	}
	s.seq++
	dot := version.Dot{Actor: s.actor, Seq: s.seq}
	c, sib, err := make(o, dot)
	if err != nil {
		return object.Written{}, err
	}
	sib.Dot, sib.Op = dot, op
	o, err = o.Update(c, sib, object.Limits{})
	if err != nil {
		return object.Written{}, err
	}
	s.objects[ref] = o
	return object.Written{Object: o, Dot: sib.Dot, Changed: true, Wait: s.wait}, nil
}

func (s *memStore) Merge(ref object.Ref, in object.Object) (object.Written, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return object.Written{}, s.fail
	}
	merged := object.Merge(s.objects[ref], in)
	changed := !merged.Equal(s.objects[ref])
	s.objects[ref] = merged
	return object.Written{Object: merged, Changed: changed, Wait: s.wait}, nil
}

// memHints keeps hints in memory, each under an actor of its own.
type memHints struct {
	mu     sync.Mutex
	actors version.Actor
	rows   map[hintRow]object.Object
	full   bool
}

type hintRow struct {
	target [16]byte
	ref    object.Ref
}

func (h *memHints) PutHint(target [16]byte, ref object.Ref, c version.Context, sib object.Sibling) (object.Written, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.full {
		return object.Written{}, ErrHintsFull
	}
	row := hintRow{target, ref}
	for _, have := range h.rows[row].Siblings {
		if have.Op == sib.Op {
			return object.Written{Object: h.rows[row], Dot: have.Dot, Wait: func() error { return nil }}, nil
		}
	}
	h.actors++
	sib.Dot = version.Dot{Actor: h.actors, Seq: 1}
	o, err := h.rows[row].Update(c, sib, object.Limits{})
	if err != nil {
		return object.Written{}, err
	}
	h.rows[row] = o
	return object.Written{Object: o, Dot: sib.Dot, Changed: true, Wait: func() error { return nil }}, nil
}

func (h *memHints) MergeHint(target [16]byte, ref object.Ref, o object.Object) (object.Written, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.full {
		return object.Written{}, ErrHintsFull
	}
	row := hintRow{target, ref}
	h.rows[row] = object.Merge(h.rows[row], o)
	return object.Written{Object: h.rows[row], Changed: true, Wait: func() error { return nil }}, nil
}

func (h *memHints) setFull(full bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.full = full
}

func (h *memHints) Hinted(ref object.Ref) (hints []object.Hint, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for row, o := range h.rows {
		if row.ref == ref {
			hints = append(hints, object.Hint{Target: row.target, Ref: ref, Object: o})
		}
	}
	return hints, nil
}
