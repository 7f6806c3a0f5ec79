package wire

import (
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// scratchBytes is the most that small frames are gathered into one write.
	scratchBytes = 64 << 10
	// gatheredBytes is the largest frame that is copied to be gathered.
	gatheredBytes = 16 << 10
	// pieceBytes is the most of a large frame that one write call takes, so
	// that progress on a slow link can be seen.
	pieceBytes = 256 << 10
	// controlSlackBytes is what pings, cancels and refusals may queue beyond
	// the bound for messages.
	controlSlackBytes = 1 << 20
	// keptFrames is the longest queue whose slice is kept.
	keptFrames = 4 << 10
)

// writer is the outgoing half of a connection: a queue bounded in bytes, and
// at most one flusher, which exists while there is something to write.
type writer struct {
	out     io.Writer
	bound   int
	fail    func(error) // ends the connection
	metrics *Metrics
	wg      *sync.WaitGroup // of the connection: holds the flusher

	writes atomic.Uint64 // write calls that returned

	mu       sync.Mutex
	queue    []*Buffer // nil where a frame was withdrawn
	spare    []*Buffer
	taken    uint64 // frames that a flusher has taken off the queue, ever
	bytes    int    // queued and being written
	flushing bool
	flushers uint64 // started, ever
	closed   error
}

var scratches = sync.Pool{New: func() any {
	b := make([]byte, 0, scratchBytes)
	return &b
}}

// send queues a message and sees to it that it is written. Its sequence number
// serves withdraw and handed. It does not wait for the socket. An empty queue
// takes any frame; otherwise the bound holds.
func (w *writer) send(b *Buffer) (seq uint64, err error) {
	seq, lead, err := w.push(b, w.bound)
	if lead {
		go w.flush()
	}
	return seq, err
}

// control is send for the frames that keep a connection in order. They have
// their own slack beyond the bound.
func (w *writer) control(h header) error {
	b := NewBuffer(0)
	b.h = h
	return w.controlBuffer(b)
}

func (w *writer) controlBuffer(b *Buffer) error {
	_, lead, err := w.push(b, w.bound+controlSlackBytes)
	if lead {
		go w.flush()
	}
	return err
}

// push queues b, or releases it and says why not. Whoever leads must flush.
func (w *writer) push(b *Buffer, bound int) (seq uint64, lead bool, err error) {
	n := len(b.B)
	w.mu.Lock()
	switch {
	case w.closed != nil:
		err = w.closed
	case w.bytes > 0 && w.bytes+n > bound:
		err = ErrOverloaded
	default:
		w.queue = append(w.queue, b)
		w.bytes += n
		seq = w.taken + uint64(len(w.queue))
		if !w.flushing {
			w.flushing, lead = true, true
			w.flushers++
			w.wg.Add(1)
		}
	}
	w.mu.Unlock()
	if err != nil {
		b.Release()
	}
	return seq, lead, err
}

// withdraw takes a frame back. False: it was handed to the flusher.
func (w *writer) withdraw(seq uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if seq <= w.taken {
		return false
	}
	i := int(seq - w.taken - 1)
	w.bytes -= len(w.queue[i].B)
	w.queue[i].Release()
	w.queue[i] = nil
	return true
}

// handed reports whether the flusher got the frame: if not, not one byte of it
// reached the socket.
func (w *writer) handed(seq uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return seq <= w.taken
}

// close refuses further frames and drops what is queued. Sequence numbers
// stay what they are: dropped frames were never handed over.
func (w *writer) close(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed == nil {
		w.closed = err
	}
}

// progress is how far the writer has come: the write calls that returned, the
// flushers that were started, and whether one is at work. A flusher that stays
// at the same count of writes gets nowhere.
func (w *writer) progress() (writes, flushers uint64, flushing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes.Load(), w.flushers, w.flushing
}

// flush writes until the queue is empty. It yields once first: those that are
// about to queue a frame then share the write.
func (w *writer) flush() {
	defer w.wg.Done()
	runtime.Gosched()
	var done []*Buffer
	doneBytes := 0
	for {
		batch := w.take(done, doneBytes)
		if batch == nil {
			return
		}
		n, err := w.write(batch)
		if err != nil {
			w.fail(err)
		}
		done, doneBytes = batch, n
	}
}

// take accounts for the batch that was written and hands out the next; nil
// ends the flusher.
func (w *writer) take(done []*Buffer, doneBytes int) []*Buffer {
	clear(done)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes -= doneBytes
	if cap(done) > 0 && cap(done) <= keptFrames {
		w.spare = done[:0]
	}
	if w.closed != nil || len(w.queue) == 0 {
		w.flushing = false
		return nil
	}
	batch := w.queue
	w.queue, w.spare = w.spare, nil
	w.taken += uint64(len(batch))
	return batch
}

// write seals and writes a batch and releases its buffers. It returns the
// bytes that the batch held.
func (w *writer) write(batch []*Buffer) (n int, err error) {
	scratch := scratches.Get().(*[]byte)
	defer scratches.Put(scratch)
	pending, frames, writes := (*scratch)[:0], 0, 0
	out := func(p []byte) {
		if err == nil && len(p) > 0 {
			err = w.writeOut(p)
			writes++
		}
	}
	now := time.Now()
	for _, b := range batch {
		if b == nil {
			continue
		}
		b.seal(now)
		frames++
		n += len(b.B)
		if len(pending)+len(b.B) > scratchBytes || len(b.B) > gatheredBytes {
			out(pending)
			pending = pending[:0]
		}
		if len(b.B) > gatheredBytes {
			out(b.B)
		} else {
			pending = append(pending, b.B...)
		}
		b.Release()
	}
	out(pending)
	w.metrics.wrote(frames, n, writes)
	return n, err
}

// writeOut writes p in pieces.
func (w *writer) writeOut(p []byte) error {
	for len(p) > 0 {
		n, err := w.out.Write(p[:min(len(p), pieceBytes)])
		w.writes.Add(1)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}
