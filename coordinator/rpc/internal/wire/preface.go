package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// The protocol versions that this build speaks.
const (
	MinVersion = 1
	MaxVersion = 1
)

// magic opens every preface. Its line end makes an HTTP server that was
// dialled by mistake answer at once.
const magic = "STARLN\r\n"

const (
	// prefaceBodyBytes is the part of the body that this version knows. A
	// later one may append to it.
	prefaceBodyBytes = 2 + 2 + 8 + 16 + 16
	// maxPrefaceBodyBytes bounds what a later version may append.
	maxPrefaceBodyBytes = 512
)

// Versions is a range of protocol versions, both ends included.
type Versions struct{ Min, Max uint16 }

// Preface is what each side says of itself before the first frame.
type Preface struct {
	Versions Versions
	// Features are optional abilities, one bit each. None is defined yet.
	Features uint64
	// Cluster is zero for a node that has not joined one.
	Cluster [16]byte
	Node    [16]byte
}

// AppendPreface appends magic, body length (uint16), body and the CRC32C of
// all of it.
func AppendPreface(dst []byte, p Preface) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = append(dst, magic...)
	dst = le.AppendUint16(dst, prefaceBodyBytes)
	dst = le.AppendUint16(dst, p.Versions.Min)
	dst = le.AppendUint16(dst, p.Versions.Max)
	dst = le.AppendUint64(dst, p.Features)
	dst = append(dst, p.Cluster[:]...)
	dst = append(dst, p.Node[:]...)
	return le.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// ReadPreface takes a preface off r and not one byte more. It stops at the
// first bytes that are not the magic, with ErrMagic.
func ReadPreface(r io.Reader) (Preface, error) {
	head := make([]byte, len(magic)+2)
	if _, err := io.ReadFull(r, head[:len(magic)]); err != nil {
		return Preface{}, fmt.Errorf("wire: no preface: %w", err)
	}
	if err := checkMagic(head[:len(magic)]); err != nil {
		return Preface{}, err
	}
	if _, err := io.ReadFull(r, head[len(magic):]); err != nil {
		return Preface{}, fmt.Errorf("wire: preface cut short: %w", err)
	}
	n := int(binary.LittleEndian.Uint16(head[len(magic):]))
	if n < prefaceBodyBytes || n > maxPrefaceBodyBytes {
		return Preface{}, fmt.Errorf("%w: preface body of %d bytes", ErrCorrupt, n)
	}
	rest := make([]byte, n+4)
	if _, err := io.ReadFull(r, rest); err != nil {
		return Preface{}, fmt.Errorf("wire: preface cut short: %w", err)
	}
	body, sum := rest[:n], binary.LittleEndian.Uint32(rest[n:])
	if crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, body) != sum {
		return Preface{}, fmt.Errorf("%w: preface checksum differs", ErrCorrupt)
	}
	return parsePrefaceBody(body)
}

func checkMagic(b []byte) error {
	switch {
	case string(b) == magic:
		return nil
	case bytes.HasPrefix(b, []byte("HTTP/")):
		return fmt.Errorf("%w: the peer speaks HTTP; is this its HTTP address?", ErrMagic)
	default:
		return fmt.Errorf("%w: the peer began with %q", ErrMagic, b)
	}
}

func parsePrefaceBody(b []byte) (Preface, error) {
	le := binary.LittleEndian
	var p Preface
	p.Versions.Min, p.Versions.Max = le.Uint16(b), le.Uint16(b[2:])
	p.Features = le.Uint64(b[4:])
	copy(p.Cluster[:], b[12:])
	copy(p.Node[:], b[28:])
	if p.Versions.Min > p.Versions.Max {
		return Preface{}, fmt.Errorf("%w: version range %d to %d", ErrCorrupt, p.Versions.Min, p.Versions.Max)
	}
	return p, nil
}

// agree is the version that both sides speak, the highest; or why they cannot
// talk. A node without a cluster may talk to any: what it may call is decided
// per request.
func agree(ours, theirs Preface) (version uint16, err error) {
	version = min(ours.Versions.Max, theirs.Versions.Max)
	if version < max(ours.Versions.Min, theirs.Versions.Min) {
		return 0, fmt.Errorf("%w: ours are %d to %d, theirs %d to %d", ErrVersion,
			ours.Versions.Min, ours.Versions.Max, theirs.Versions.Min, theirs.Versions.Max)
	}
	if err := sameCluster(ours.Cluster, theirs.Cluster); err != nil {
		return 0, err
	}
	return version, nil
}

// sameCluster refuses two different clusters; none at all is not different.
func sameCluster(ours, theirs [16]byte) error {
	var none [16]byte
	if ours != none && theirs != none && ours != theirs {
		return &WrongClusterError{Ours: ours, Theirs: theirs}
	}
	return nil
}
