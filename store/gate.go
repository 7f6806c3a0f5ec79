package store

import (
	"sync"
	"sync/atomic"
)

// gate counts the operations in flight and lets Close wait for them. Unlike a
// read-write lock it may be entered by someone who is already inside, as one
// does who writes to the store while ranging over it.
type gate struct {
	state   atomic.Int64 // operations in flight, plus gateClosed once closed
	once    sync.Once
	drained chan struct{}
}

const gateClosed = -1 << 62

func newGate() *gate { return &gate{drained: make(chan struct{})} }

// enter reports whether the operation may go on; if so it must leave.
func (g *gate) enter() bool {
	if g.state.Add(1) > 0 {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.state.Add(-1) == gateClosed {
		g.once.Do(func() { close(g.drained) })
	}
}

// close lets nobody in any more. The channel is closed when all have left. It
// must be called once.
func (g *gate) close() <-chan struct{} {
	if g.state.Add(gateClosed) == gateClosed {
		g.once.Do(func() { close(g.drained) })
	}
	return g.drained
}
