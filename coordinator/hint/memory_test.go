package hint

import (
	"errors"
	"iter"
	"slices"
	"sync"

	"starling/ring"
	"starling/store/object"
)

var errDamage = errors.New("test: damaged row")

// memory is a store of hints.
type memory struct {
	mu       sync.Mutex
	hints    map[name]object.Object
	order    []name // sorted
	damaged  map[name]bool
	failDrop error
	walks    int // calls of Hints
}

func newMemory() *memory {
	return &memory{hints: make(map[name]object.Object), damaged: make(map[name]bool)}
}

func (m *memory) add(target ring.NodeID, ref object.Ref, o object.Object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := name{target, ref}
	if i, ok := slices.BinarySearchFunc(m.order, n, compareNames); !ok {
		m.order = slices.Insert(m.order, i, n)
	}
	m.hints[n] = object.Merge(m.hints[n], o)
}

func (m *memory) setDamaged(n name) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.damaged[n] = true
}

func (m *memory) setFailDrop(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failDrop = err
}

func (m *memory) walked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.walks
}

func (m *memory) left() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.hints)
}

func (m *memory) HintTotals() []object.HintTotals {
	m.mu.Lock()
	defer m.mu.Unlock()
	byTarget := make(map[ring.NodeID]object.HintTotals)
	for n, o := range m.hints {
		t := byTarget[n.target]
		byTarget[n.target] = object.HintTotals{Target: n.target, Hints: t.Hints + 1, Bytes: t.Bytes + int64(o.Size())}
	}
	totals := make([]object.HintTotals, 0, len(byTarget))
	for _, t := range byTarget {
		totals = append(totals, t)
	}
	return totals
}

// next is the first hint behind after.
func (m *memory) next(after name) (n name, o object.Object, damaged, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, found := slices.BinarySearchFunc(m.order, after, compareNames)
	if found {
		i++
	}
	if i == len(m.order) || m.order[i].target != after.target {
		return name{}, object.Object{}, false, false
	}
	n = m.order[i]
	return n, m.hints[n], m.damaged[n], true
}

func (m *memory) Hints(target [16]byte, after object.Ref) iter.Seq2[object.Hint, error] {
	m.mu.Lock()
	m.walks++
	m.mu.Unlock()
	return func(yield func(object.Hint, error) bool) {
		at := name{target, after}
		for {
			n, o, damaged, ok := m.next(at)
			if !ok {
				return
			}
			at = n
			h, err := object.Hint{Target: target, Ref: n.ref, Object: o}, error(nil)
			if damaged {
				h.Object, err = object.Object{}, errDamage
			}
			if !yield(h, err) {
				return
			}
		}
	}
}

func (m *memory) DropHint(target [16]byte, ref object.Ref, hash uint64) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := name{target, ref}
	if m.failDrop != nil {
		return false, m.failDrop
	}
	if o, ok := m.hints[n]; !ok || o.Hash(ref.Bucket, ref.Key) != hash {
		return false, nil
	}
	delete(m.hints, n)
	i, _ := slices.BinarySearchFunc(m.order, n, compareNames)
	m.order = slices.Delete(m.order, i, i+1)
	return true, nil
}
