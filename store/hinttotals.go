package store

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"starling/store/object"
)

// hintTotals counts hints, and the bytes of the keys and values of their rows.
type hintTotals struct{ hints, bytes int64 }

func (t hintTotals) plus(d hintTotals) hintTotals {
	return hintTotals{t.hints + d.hints, t.bytes + d.bytes}
}

// hints knows the totals of every target, as the rows of kindTotals do: each
// batch that changes hint rows changes both. It hands out the room for hints.
type hints struct {
	max, maxTarget int64 // bytes

	mu       sync.Mutex
	all      hintTotals
	byTarget map[[targetBytes]byte]hintTotals // those with hints; so there are no more than hints fit
	sorted   atomic.Pointer[[][targetBytes]byte]
}

func newHints(o Options) *hints {
	h := &hints{max: o.HintsMaxBytes, maxTarget: o.HintsMaxTargetBytes, byTarget: make(map[[targetBytes]byte]hintTotals)}
	h.sort()
	return h
}

// reserve counts a change of hint rows before it is committed, or answers
// [ErrHintsFull] if it would grow them beyond a bound.
func (h *hints) reserve(target [targetBytes]byte, d hintTotals) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.bytes > 0 && (h.all.bytes+d.bytes > h.max || h.byTarget[target].bytes+d.bytes > h.maxTarget) {
		return ErrHintsFull
	}
	h.change(target, d)
	return nil
}

// add counts a change of hint rows that needs no room.
func (h *hints) add(target [targetBytes]byte, d hintTotals) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.change(target, d)
}

// change does what add does. mu is held.
func (h *hints) change(target [targetBytes]byte, d hintTotals) {
	before := len(h.byTarget)
	h.all = h.all.plus(d)
	if t := h.byTarget[target].plus(d); t.hints == 0 {
		delete(h.byTarget, target)
	} else {
		h.byTarget[target] = t
	}
	if len(h.byTarget) != before {
		h.sort()
	}
}

// sort makes the list of targets anew. mu is held.
func (h *hints) sort() {
	list := slices.SortedFunc(maps.Keys(h.byTarget), func(a, b [targetBytes]byte) int { return bytes.Compare(a[:], b[:]) })
	h.sorted.Store(&list)
}

// targets lists the targets with hints in order, and takes no lock. A target
// is in the list before its first hint can be read, and until the last is gone.
func (h *hints) targets() [][targetBytes]byte { return *h.sorted.Load() }

// total counts the hints for all targets.
func (h *hints) total() hintTotals {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all
}

// HintTotals counts the hints by target, sorted by target. Targets without
// hints are left out. The numbers are exact; a write of a hint that is under
// way counts already.
func (s *Store) HintTotals() []object.HintTotals {
	h := s.hints
	h.mu.Lock()
	defer h.mu.Unlock()
	totals := make([]object.HintTotals, 0, len(h.byTarget))
	for _, target := range h.targets() {
		t := h.byTarget[target]
		totals = append(totals, object.HintTotals{Target: target, Hints: t.hints, Bytes: t.bytes})
	}
	return totals
}

// countHints adds to the batch a change of a target's totals.
func countHints(b *pebble.Batch, target [targetBytes]byte, d hintTotals) {
	_ = b.Merge(totalsKey(target), totalsValue(d), nil) // fails for indexed batches alone
}

// totalsValue is the value of a row of totals. It has the form of a leaf's, so
// that the same merge operator adds it.
func totalsValue(t hintTotals) []byte {
	return Leaf{Sum: uint64(t.bytes), Keys: uint64(t.hints)}.append(nil)
}

// loadHints reads the totals of all targets, without the hints themselves. It
// adds to the batch the deletion of the totals that have come to nothing,
// which is safe only while no hint is written.
func (s *Store) loadHints(b *pebble.Batch) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindTotals}, UpperBound: []byte{kindTotals + 1}})
	if err == nil {
		err = visitAll(it, func(key, value []byte) error { return s.loadTotals(b, key, value) })
	}
	return wrap("reading the totals of hints", err)
}

func (s *Store) loadTotals(b *pebble.Batch, key, value []byte) error {
	sum, err := decodeLeaf(value)
	if err != nil {
		return err
	}
	t := hintTotals{hints: int64(sum.Keys), bytes: int64(sum.Sum)}
	if len(key) != 1+targetBytes || t.hints < 0 || t.bytes < 0 || (t.hints == 0) != (t.bytes == 0) {
		return fmt.Errorf("%w: totals %x of hints under %x", ErrCorrupt, value, key)
	}
	if t.hints == 0 {
		_ = b.Delete(key, nil) // fails for indexed batches alone
		return nil
	}
	s.hints.add([targetBytes]byte(key[1:]), t)
	return nil
}
