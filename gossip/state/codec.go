package state

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/store/bucket"
)

// The encoding is a format byte and protobuf fields in ascending order, zero values left out. It is a wire and disk
// format: testdata/map.golden freezes it. New fields of a record or of the settings get higher numbers, which older
// builds keep; anything else needs a new format byte.
const formatV1 = 1

const (
	mapSettings = 1 // message
	mapMember   = 2 // message, repeated, ascending by ID
	mapBuckets  = 3 // message, as package bucket encodes it

	settingsCluster     = 1 // 16 bytes
	settingsPartitions  = 2 // varint
	settingsReplicas    = 3 // varint
	settingsHashVersion = 4 // varint
	settingsSecret      = 5 // 32 bytes

	memberID      = 1  // 16 bytes
	memberName    = 2  // string
	memberRPC     = 3  // string
	memberHTTP    = 4  // string
	memberGossip  = 5  // string
	memberZone    = 6  // string
	memberWeight  = 7  // varint
	memberState   = 8  // varint
	memberBoot    = 9  // varint
	memberVersion = 10 // varint
	memberSettled = 11 // bytes
	memberFence   = 12 // varint
	memberHeir    = 13 // 16 bytes
	// 14 stays free: the frozen file has it, as a field that this release does not know.
	memberForced = 15 // varint, 1
)

// Append appends the map's encoding to dst.
func (m Map) Append(dst []byte) []byte {
	dst = append(dst, formatV1)
	var scratch []byte
	if !m.Settings.IsZero() {
		dst = appendBytes(dst, mapSettings, m.Settings.append(scratch))
	}
	for _, r := range m.Members {
		scratch = r.append(scratch[:0])
		dst = appendBytes(dst, mapMember, scratch)
	}
	if len(m.Buckets) > 0 {
		dst = appendBytes(dst, mapBuckets, m.Buckets.Append(nil))
	}
	return dst
}

func (s Settings) append(dst []byte) []byte {
	dst = appendBytes(dst, settingsCluster, s.Cluster[:])
	dst = appendNumber(dst, settingsPartitions, uint64(s.Partitions))
	dst = appendNumber(dst, settingsReplicas, uint64(s.Replicas))
	dst = appendNumber(dst, settingsHashVersion, uint64(s.HashVersion))
	dst = appendBytes(dst, settingsSecret, s.Secret[:])
	return append(dst, s.extra...)
}

func (r Member) append(dst []byte) []byte {
	dst = appendBytes(dst, memberID, r.ID[:])
	dst = appendText(dst, memberName, r.Name)
	dst = appendText(dst, memberRPC, r.RPC)
	dst = appendText(dst, memberHTTP, r.HTTP)
	dst = appendText(dst, memberGossip, r.Gossip)
	dst = appendText(dst, memberZone, r.Zone)
	dst = appendNumber(dst, memberWeight, uint64(r.Weight))
	dst = appendNumber(dst, memberState, uint64(r.State))
	dst = appendNumber(dst, memberBoot, r.Boot)
	dst = appendNumber(dst, memberVersion, r.Version)
	if len(r.Settled) > 0 {
		dst = appendBytes(dst, memberSettled, r.Settled)
	}
	dst = appendNumber(dst, memberFence, r.Fence)
	if !r.Heir.IsZero() {
		dst = appendBytes(dst, memberHeir, r.Heir[:])
	}
	if r.Forced {
		dst = appendNumber(dst, memberForced, 1)
	}
	return append(dst, r.extra...)
}

func appendBytes(dst []byte, field protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), b)
}

func appendText(dst []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, field, protowire.BytesType), s)
}

func appendNumber(dst []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), n)
}

// Decode is the inverse of Append. Bytes that Append would not write, and maps beyond their bounds, are ErrMalformed.
// The map does not alias b.
func Decode(b []byte) (Map, error) {
	m, err := decode(b)
	if err != nil {
		return Map{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return m, nil
}

func decode(b []byte) (Map, error) {
	switch {
	case len(b) == 0:
		return Map{}, fmt.Errorf("empty")
	case len(b) > MaxMapBytes:
		return Map{}, fmt.Errorf("%d bytes: at most %d", len(b), MaxMapBytes)
	case b[0] != formatV1:
		return Map{}, fmt.Errorf("format %d: this build knows format %d", b[0], formatV1)
	}
	var m Map
	extra, err := eachField(b[1:], m.decodeField)
	if err != nil {
		return Map{}, err
	}
	if extra != "" {
		// What concerns the whole map cannot be kept unread: nobody would know how it merges.
		return Map{}, fmt.Errorf("unknown map-wide field")
	}
	if err := m.check(); err != nil {
		return Map{}, err
	}
	// Writing the map again finds fields out of order, doubled, zero or padded: all that has two encodings.
	if !bytes.Equal(m.Append(make([]byte, 0, len(b))), b) {
		return Map{}, fmt.Errorf("not the canonical encoding")
	}
	return m, nil
}

func (m *Map) decodeField(f field) error {
	switch f.number {
	case mapSettings:
		return m.Settings.decode(f.bytes)
	case mapMember:
		var r Member
		if err := r.decode(f.bytes); err != nil {
			return fmt.Errorf("member %d: %w", len(m.Members), err)
		}
		if n := len(m.Members); n > 0 && m.Members[n-1].ID.Compare(r.ID) >= 0 {
			return fmt.Errorf("member %d: not in ascending order", n)
		}
		if len(m.Members) == MaxRecords {
			return ErrTooManyMembers
		}
		m.Members = append(m.Members, r)
		return nil
	case mapBuckets:
		var err error
		m.Buckets, err = bucket.Decode(f.bytes)
		return err
	}
	return errUnknown
}

func (s *Settings) decode(b []byte) error {
	extra, err := eachField(b, func(f field) error {
		switch f.number {
		case settingsCluster:
			return f.fixed(s.Cluster[:])
		case settingsPartitions:
			return f.number32(&s.Partitions)
		case settingsReplicas:
			return f.number32(&s.Replicas)
		case settingsHashVersion:
			return f.number32(&s.HashVersion)
		case settingsSecret:
			return f.fixed(s.Secret[:])
		}
		return errUnknown
	})
	s.extra = extra
	if err == nil && len(extra) > MaxExtraBytes {
		err = fmt.Errorf("%d bytes of unknown settings", len(extra))
	}
	if err == nil && s.Cluster == [16]byte{} {
		err = fmt.Errorf("settings without a cluster ID")
	}
	return err
}

func (r *Member) decode(b []byte) error {
	extra, err := eachField(b, func(f field) error {
		switch f.number {
		case memberID:
			return f.fixed(r.ID[:])
		case memberName:
			return f.text(&r.Name)
		case memberRPC:
			return f.text(&r.RPC)
		case memberHTTP:
			return f.text(&r.HTTP)
		case memberGossip:
			return f.text(&r.Gossip)
		case memberZone:
			return f.text(&r.Zone)
		case memberWeight:
			return f.number32(&r.Weight)
		case memberState:
			// Validate refuses states above Removed; 255 stands for all that do not fit.
			r.State = Lifecycle(min(f.value, 255))
			return f.want(protowire.VarintType)
		case memberBoot:
			r.Boot = f.value
			return f.want(protowire.VarintType)
		case memberVersion:
			r.Version = f.value
			return f.want(protowire.VarintType)
		case memberSettled:
			r.Settled = bytes.Clone(f.bytes)
			return f.want(protowire.BytesType)
		case memberFence:
			r.Fence = f.value
			return f.want(protowire.VarintType)
		case memberHeir:
			return f.fixed(r.Heir[:])
		case memberForced:
			r.Forced = f.value != 0 // a number above 1 is not canonical, which is found later
			return f.want(protowire.VarintType)
		}
		return errUnknown
	})
	if err != nil {
		return err
	}
	r.extra = extra
	return r.Validate()
}

// field is one field of a message: a number in value, or bytes, by its kind.
type field struct {
	number protowire.Number
	kind   protowire.Type
	value  uint64
	bytes  []byte
}

// errUnknown: this build does not know a field of that number.
var errUnknown = errors.New("unknown field")

func (f field) want(kind protowire.Type) error {
	if f.kind != kind {
		return fmt.Errorf("field %d has wire type %d, want %d", f.number, f.kind, kind)
	}
	return nil
}

func (f field) fixed(dst []byte) error {
	if len(f.bytes) != len(dst) {
		return fmt.Errorf("field %d has %d bytes, want %d", f.number, len(f.bytes), len(dst))
	}
	copy(dst, f.bytes)
	return f.want(protowire.BytesType)
}

func (f field) text(dst *string) error {
	*dst = string(f.bytes)
	return f.want(protowire.BytesType)
}

func (f field) number32(dst *uint32) error {
	if f.value > 1<<32-1 {
		return fmt.Errorf("field %d is %d: more than 32 bits", f.number, f.value)
	}
	*dst = uint32(f.value)
	return f.want(protowire.VarintType)
}

// eachField calls decode for each field and returns, as they are, those for which it is errUnknown.
func eachField(b []byte, decode func(field) error) (extra string, err error) {
	var unknown strings.Builder
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return "", protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(number, kind, b[n:])
		if size < 0 {
			return "", protowire.ParseError(size)
		}
		whole := b[:n+size]
		f := field{number: number, kind: kind}
		switch kind {
		case protowire.VarintType:
			f.value, _ = protowire.ConsumeVarint(b[n:])
		case protowire.BytesType:
			f.bytes, _ = protowire.ConsumeBytes(b[n:])
		}
		b = b[len(whole):]
		switch err := decode(f); {
		case err == errUnknown:
			unknown.Write(whole)
		case err != nil:
			return "", err
		}
	}
	return unknown.String(), nil
}
