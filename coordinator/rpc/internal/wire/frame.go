package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync/atomic"
	"time"
)

const (
	// HeaderBytes is the size of a frame's header.
	HeaderBytes = 24
	// MaxPayload is the largest payload of a frame, in bytes.
	MaxPayload = 64<<20 - HeaderBytes

	// firstChunkBytes is what a declared length may allocate before any of
	// the payload has arrived.
	firstChunkBytes = 256 << 10
	readBufferBytes = 32 << 10
)

type kind uint8

const (
	kindRequest kind = 1 + iota
	kindResponse
	kindError
	kindCancel
	kindPing
	kindPong
	kindGoAway
)

// header is a frame's header but for the checksum.
type header struct {
	length uint32 // payload bytes
	id     uint64
	kind   kind
	method uint8
	flags  uint16
	budget uint32 // microseconds; 0 = no deadline
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal writes the header into the first HeaderBytes of frame, whose rest is
// the payload.
func (h header) seal(frame []byte) {
	le := binary.LittleEndian
	le.PutUint32(frame[4:], uint32(len(frame)-HeaderBytes))
	le.PutUint64(frame[8:], h.id)
	frame[16] = byte(h.kind)
	frame[17] = h.method
	le.PutUint16(frame[18:], h.flags)
	le.PutUint32(frame[20:], h.budget)
	le.PutUint32(frame, crc32.Checksum(frame[4:], castagnoli))
}

func parseHeader(b []byte) header {
	le := binary.LittleEndian
	return header{
		length: le.Uint32(b[4:]),
		id:     le.Uint64(b[8:]),
		kind:   kind(b[16]),
		method: b[17],
		flags:  le.Uint16(b[18:]),
		budget: le.Uint32(b[20:]),
	}
}

// budget is what a frame says of a deadline: the microseconds left, at least
// 1 (a request that is already late must not turn into one without a deadline)
// and at most about 71 minutes.
func budget(deadline, now time.Time) uint32 {
	if deadline.IsZero() {
		return 0
	}
	us := deadline.Sub(now).Microseconds()
	return uint32(min(max(us, 1), 1<<32-1))
}

// countingReader counts the reads that brought something, and the bytes.
type countingReader struct {
	r     io.Reader
	reads atomic.Uint64
	bytes func(n int)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.reads.Add(1)
		c.bytes(n)
	}
	return n, err
}

// frameReader takes frames off a stream.
type frameReader struct {
	br         *bufio.Reader
	maxPayload int
}

func newFrameReader(r io.Reader, maxPayload int) *frameReader {
	return &frameReader{br: bufio.NewReaderSize(r, readBufferBytes), maxPayload: maxPayload}
}

// next is the next frame and its payload, which the caller owns. It ends with
// io.EOF between two frames; inside one that is io.ErrUnexpectedEOF. A frame
// that is too large or fails its checksum is ErrCorrupt, and the stream is of
// no further use.
func (r *frameReader) next() (header, []byte, error) {
	raw, err := r.br.Peek(HeaderBytes)
	if err != nil {
		if errors.Is(err, io.EOF) && len(raw) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return header{}, nil, err
	}
	h := parseHeader(raw)
	want := binary.LittleEndian.Uint32(raw)
	sum := crc32.Checksum(raw[4:], castagnoli)
	if _, err := r.br.Discard(HeaderBytes); err != nil {
		return header{}, nil, err
	}
	if int64(h.length) > int64(r.maxPayload) {
		return header{}, nil, fmt.Errorf("%w: it declares %d bytes, the bound is %d", ErrCorrupt, h.length, r.maxPayload)
	}
	payload, err := r.payload(int(h.length))
	if err != nil {
		return header{}, nil, err
	}
	if crc32.Update(sum, castagnoli, payload) != want {
		return header{}, nil, fmt.Errorf("%w: checksum differs", ErrCorrupt)
	}
	return h, payload, nil
}

// payload reads n bytes. The buffer of a large frame grows as its bytes
// arrive: at most as much again as what has come.
func (r *frameReader) payload(n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	p := make([]byte, min(n, firstChunkBytes))
	have := 0
	for {
		got, err := io.ReadFull(r.br, p[have:])
		have += got
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		if have == n {
			return p, nil
		}
		grown := make([]byte, min(n, 2*have))
		copy(grown, p)
		p = grown
	}
}
