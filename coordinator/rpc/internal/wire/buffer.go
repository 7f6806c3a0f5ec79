package wire

import (
	"sync"
	"time"
)

// keptBytes is the largest buffer that goes back to the pool.
const keptBytes = 64 << 10

// Buffer is an outgoing message. Its first HeaderBytes are the frame's header;
// append the payload to B. Whoever is given a Buffer owns it: a call or reply
// takes it over.
type Buffer struct {
	B []byte

	h        header
	deadline time.Time
}

var buffers = sync.Pool{New: func() any { return new(Buffer) }}

// NewBuffer is an empty message with room for a payload of size bytes; size is
// a hint.
func NewBuffer(size int) *Buffer {
	b := buffers.Get().(*Buffer)
	if need := HeaderBytes + size; cap(b.B) < need {
		b.B = make([]byte, HeaderBytes, max(need, 1<<10))
	}
	b.reset()
	return b
}

// Release gives up a Buffer that was not handed on.
func (b *Buffer) Release() {
	if cap(b.B) > keptBytes {
		b.B = nil
	}
	buffers.Put(b)
}

// Grow makes room for size more bytes at once.
func (b *Buffer) Grow(size int) {
	if cap(b.B)-len(b.B) < size {
		grown := make([]byte, len(b.B), len(b.B)+size)
		copy(grown, b.B)
		b.B = grown
	}
}

// reset drops the payload, and everything that was said of it.
func (b *Buffer) reset() {
	b.B = b.B[:HeaderBytes]
	b.h = header{}
	b.deadline = time.Time{}
}

// payloadBytes is the size of the message.
func (b *Buffer) payloadBytes() int { return len(b.B) - HeaderBytes }

// seal completes the frame as of now.
func (b *Buffer) seal(now time.Time) {
	b.h.budget = budget(b.deadline, now)
	b.h.seal(b.B)
}
