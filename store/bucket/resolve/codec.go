package resolve

import (
	"encoding/binary"
	"errors"
	"fmt"

	"starling/store/version"
)

// tallyFormat begins every encoded counter. It is not UTF-8, so no text and no
// JSON value is taken for a counter. Its last byte is the version of the format.
const tallyFormat = "\xffcount\x01"

// Least bytes of what is repeated in the encoding.
const (
	minShareBytes     = 8 + 6
	minIncrementBytes = 8 + 2
)

var errTally = errors.New("resolve: malformed counter")

// append appends the encoding: tallyFormat, the number of shares, then each with
// its actor in 8 bytes, big end first, since, seq - since, direct, folded, first,
// the number of recent operations and for each its tag in 8 bytes, delta and the time since
// the one before. Numbers are varints, signed ones zigzag. Equal tallies have
// equal bytes.
func (t tally) append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, tallyFormat...), uint64(len(t)))
	for i := range t {
		dst = t[i].append(dst)
	}
	return dst
}

func (s *share) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.actor))
	dst = binary.AppendUvarint(dst, s.since)
	dst = binary.AppendUvarint(dst, s.seq-s.since)
	dst = binary.AppendVarint(dst, s.direct)
	dst = binary.AppendVarint(dst, s.folded)
	dst = binary.AppendUvarint(dst, s.first)
	dst = binary.AppendUvarint(dst, uint64(len(s.recent)))
	beforeMS := int64(0)
	for _, inc := range s.recent {
		dst = binary.BigEndian.AppendUint64(dst, uint64(inc.op))
		dst = binary.AppendVarint(dst, inc.delta)
		dst = binary.AppendVarint(dst, inc.atMS-beforeMS) // wraps around, and back when it is decoded
		beforeMS = inc.atMS
	}
	return dst
}

// size is the length of the encoding, or somewhat more.
func (t tally) size() int {
	return len(tallyFormat) + binary.MaxVarintLen64 + len(t)*(8+6*binary.MaxVarintLen64) + t.remembered()*(8+2*binary.MaxVarintLen64)
}

// decodeTally is the inverse of append and accepts nothing else. It allocates no
// more than a small multiple of len(b).
func decodeTally(b []byte) (tally, error) {
	if len(b) < len(tallyFormat) || string(b[:len(tallyFormat)]) != tallyFormat {
		return nil, fmt.Errorf("%w: not a counter", errTally)
	}
	d := decoder{rest: b[len(tallyFormat):]}
	t := make(tally, d.length(minShareBytes))
	for i := range t {
		t[i] = d.share()
		if i > 0 && t[i-1].actor >= t[i].actor {
			d.fail("actors out of order")
		}
	}
	if len(t) == 0 || len(d.rest) > 0 {
		d.fail("no shares, or bytes after them")
	}
	if d.err != nil {
		return nil, d.err
	}
	return t, nil
}

// decoder takes an encoding apart. After an error it gives zeros.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errTally, what)
	}
	d.rest = nil
}

func (d *decoder) bytes(n int) []byte {
	if len(d.rest) < n {
		d.fail("too short")
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uvarint() uint64 {
	x, n := binary.Uvarint(d.rest)
	if n <= 0 || n > 1 && d.rest[n-1] == 0 {
		d.fail("bad varint")
		return 0
	}
	d.rest = d.rest[n:]
	return x
}

// varint is the zigzag number.
func (d *decoder) varint() int64 {
	x := d.uvarint()
	return int64(x>>1) ^ -int64(x&1)
}

// length is the number of things that follow, each of so many bytes at least.
func (d *decoder) length(least int) int {
	n := d.uvarint()
	if n > uint64(len(d.rest)/least) {
		d.fail("more announced than there is")
		return 0
	}
	return int(n)
}

func (d *decoder) share() share {
	s := share{actor: version.Actor(binary.BigEndian.Uint64(d.bytes(8))), since: d.uvarint()}
	s.seq = s.since + d.uvarint()
	if s.since == 0 || s.seq < s.since {
		d.fail("bad sequence")
	}
	s.direct, s.folded, s.first = d.varint(), d.varint(), d.uvarint()
	n := d.length(minIncrementBytes)
	if n == 0 {
		return s
	}
	s.recent = make([]increment, n)
	beforeMS := int64(0)
	for i := range s.recent {
		inc := increment{op: tag(binary.BigEndian.Uint64(d.bytes(8))), delta: d.varint(), atMS: beforeMS + d.varint()}
		if inc.op == 0 {
			d.fail("operation without a tag")
		}
		s.recent[i], beforeMS = inc, inc.atMS
	}
	return s
}
