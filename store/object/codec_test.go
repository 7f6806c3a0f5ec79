package object_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"

	"starling/store/object"
	"starling/store/version"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// samples has every field in its plain and its extreme form.
func samples() []object.Entry {
	everything := object.Sibling{
		Dot:         dot(0x0123456789abcdef, 300),
		Op:          object.OpID{0: 0xaa, 15: 0xbb},
		ContentType: "text/plain",
		Meta:        []object.Field{{}, {Name: "colour", Value: "red"}, {Name: "empty"}},
		Value:       []byte("hello"),
		ModifiedMS:  1_700_000_000_123,
		ExpiresMS:   1_800_000_000_000,
	}
	return []object.Entry{
		{Ref: object.Ref{Bucket: "b", Key: "absent"}},
		{Ref: object.Ref{Bucket: "b", Key: "smallest"}, Object: object.Object{
			Vector:   version.Vector{dot(1, 1)},
			Siblings: []object.Sibling{{Dot: dot(1, 1)}},
		}},
		{Ref: object.Ref{Bucket: "photos", Key: "a/b\x00c"}, Object: object.Object{
			Vector:   version.Vector{dot(1, 7), dot(0x0123456789abcdef, 300)},
			Siblings: []object.Sibling{everything},
		}},
		{Ref: object.Ref{Bucket: "b", Key: "tombstone and extremes"}, Object: object.Object{
			Vector: version.Vector{dot(0, 2), dot(math.MaxUint64, math.MaxUint64)},
			Siblings: []object.Sibling{
				{Dot: dot(0, 1), Tombstone: true, ModifiedMS: -1, ExpiresMS: math.MinInt64},
				{Dot: dot(0, 2), Value: bytes.Repeat([]byte("v"), 200)},
				{Dot: dot(math.MaxUint64, math.MaxUint64), ModifiedMS: math.MaxInt64},
			},
		}},
		{Ref: object.Ref{Bucket: "b", Key: "no siblings"}, Object: object.Object{Vector: version.Vector{dot(5, 5)}}},
	}
}

func TestGoldenEncodingAndHash(t *testing.T) {
	var b strings.Builder
	for _, e := range samples() {
		fmt.Fprintf(&b, "%q hash %016x bytes %s\n",
			e.Ref.Key, e.Object.Hash(e.Ref.Bucket, e.Ref.Key), hex.EncodeToString(e.Object.Append(nil)))
	}
	path := filepath.Join("testdata", "object.golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s has changed: got\n%swant\n%s", path, b.String(), want)
	}
}

func TestEncodingRoundTrip(t *testing.T) {
	for _, e := range samples() {
		b := e.Object.Append([]byte("head"))
		if len(b) != 4+e.Object.Size() {
			t.Errorf("%s: %d bytes, size says %d", e.Ref.Key, len(b)-4, e.Object.Size())
		}
		o, err := object.Decode(b[4:])
		if err != nil || !reflect.DeepEqual(o, e.Object) {
			t.Errorf("%s: came back as %+v, error %v", e.Ref.Key, o, err)
		}
	}
}

// What is appended to a decoded value must not run into the bytes behind it.
func TestDecodedValueCannotGrowIntoItsNeighbour(t *testing.T) {
	b := samples()[3].Object.Append(nil)
	before := bytes.Clone(b)
	o, err := object.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(o.Siblings[1].Value, "overrun"...)
	if !bytes.Equal(b, before) {
		t.Error("the encoding was overwritten")
	}
}

func TestHashIsXXH64OfTheNamedParts(t *testing.T) {
	for _, e := range samples()[1:] {
		b := version.AppendVector([]byte(e.Ref.Bucket+"\x00"+e.Ref.Key+"\x00"), e.Object.Vector)
		for _, s := range e.Object.Siblings {
			b = version.AppendDot(b, s.Dot)
		}
		if got, want := e.Object.Hash(e.Ref.Bucket, e.Ref.Key), xxhash.Sum64(b); got != want {
			t.Errorf("%s: hash %016x, want %016x", e.Ref.Key, got, want)
		}
	}
}

func TestHashTellsObjectsApart(t *testing.T) {
	seen := map[uint64]string{}
	add := func(name string, h uint64) {
		t.Helper()
		if other, ok := seen[h]; ok {
			t.Errorf("%s and %s have one hash", name, other)
		}
		seen[h] = name
	}
	s1, s2 := valued(dot(1, 1), "v"), valued(dot(1, 2), "v")
	v := version.Vector{dot(1, 2)}
	o := object.Object{Vector: v, Siblings: []object.Sibling{s1, s2}}
	add("both", o.Hash("b", "k"))
	add("other key", o.Hash("b", "l"))
	add("other bucket", o.Hash("c", "k"))
	add("shifted", o.Hash("bk", ""))
	add("first", object.Object{Vector: v, Siblings: []object.Sibling{s1}}.Hash("b", "k"))
	add("second", object.Object{Vector: v, Siblings: []object.Sibling{s2}}.Hash("b", "k"))
	add("neither", object.Object{Vector: v}.Hash("b", "k"))
	add("later vector", object.Object{Vector: v.With(dot(2, 1)), Siblings: []object.Sibling{s1, s2}}.Hash("b", "k"))
	o.Siblings = []object.Sibling{valued(dot(1, 1), "content"), s2}
	if seen[o.Hash("b", "k")] != "both" {
		t.Error("the hash depends on content")
	}
}

// Pieces of encodings, put together by hand.

func num(field protowire.Number, x uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), x)
}

func fixed(field protowire.Number, x uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(nil, field, protowire.Fixed64Type), x)
}

func blob(field protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), bytes.Join(parts, nil))
}

func join(parts ...[]byte) []byte { return bytes.Join(append([][]byte{{1}}, parts...), nil) }

var (
	encodedVector = blob(1, version.AppendVector(nil, version.Vector{dot(1, 2)}))
	encodedDot    = append(fixed(1, 1), num(2, 1)...)
	encodedLater  = append(fixed(1, 1), num(2, 2)...)
)

func TestDecodeRefuses(t *testing.T) {
	if _, err := object.Decode(join(encodedVector, blob(2, encodedDot), blob(2, encodedLater))); err != nil {
		t.Fatalf("the test encodes wrongly: %v", err)
	}
	sibling := func(parts ...[]byte) []byte {
		return join(encodedVector, blob(2, append([][]byte{encodedDot}, parts...)...))
	}
	whole := samples()[2].Object.Append(nil)
	for name, b := range map[string][]byte{
		"nothing":                nil,
		"other format":           append([]byte{2}, whole[1:]...),
		"cut":                    whole[:len(whole)-1],
		"length past the end":    join(encodedVector, []byte{0x12, 0xff, 0xff, 0xff, 0xff, 0x7f}),
		"padded tag":             join([]byte{0x8a, 0x00}, encodedVector[1:]),
		"padded length":          join(encodedVector, []byte{0x12, 0x80 | byte(len(encodedDot)), 0}, encodedDot),
		"field 0":                join(encodedVector, []byte{0x02, 0}),
		"group":                  join(encodedVector, []byte{0x1b, 0x1c}),
		"vector twice":           join(encodedVector, encodedVector),
		"vector after sibling":   join(blob(2, encodedDot), encodedVector),
		"vector as a number":     join(num(1, 5)),
		"empty vector":           join(blob(1, []byte{0})),
		"vector with a tail":     join(blob(1, version.AppendVector(nil, version.Vector{dot(1, 2)}), []byte{0})),
		"vector malformed":       join(blob(1, []byte{9})),
		"uncovered sibling":      join(encodedVector, blob(2, fixed(1, 1), num(2, 3))),
		"no vector":              join(blob(2, encodedDot)),
		"siblings unsorted":      join(encodedVector, blob(2, encodedLater), blob(2, encodedDot)),
		"sibling twice":          join(encodedVector, blob(2, encodedDot), blob(2, encodedDot)),
		"empty sibling":          join(encodedVector, blob(2)),
		"no actor":               join(blob(1, version.AppendVector(nil, version.Vector{dot(0, 1)})), blob(2, num(2, 1))),
		"no sequence":            join(encodedVector, blob(2, fixed(1, 1))),
		"sequence 0":             join(encodedVector, blob(2, fixed(1, 1), num(2, 0))),
		"actor as a number":      join(encodedVector, blob(2, num(1, 1), num(2, 1))),
		"short operation":        sibling(blob(3, make([]byte, 15))),
		"long operation":         sibling(blob(3, make([]byte, 17))),
		"tombstone 0":            sibling(num(4, 0)),
		"tombstone 2":            sibling(num(4, 2)),
		"empty content type":     sibling(blob(5)),
		"content type twice":     sibling(blob(5, []byte("a")), blob(5, []byte("b"))),
		"fields out of order":    sibling(num(7, 1), blob(5, []byte("a"))),
		"metadata unsorted":      sibling(blob(6, blob(1, []byte("b"))), blob(6, blob(1, []byte("a")))),
		"metadata value first":   sibling(blob(6, blob(2, []byte("b")), blob(1, []byte("a")))),
		"metadata empty name":    sibling(blob(6, blob(1))),
		"too many metadata":      sibling(bytes.Repeat(blob(6), object.MaxFields+1)),
		"modified 0":             sibling(num(7, 0)),
		"modified padded":        sibling([]byte{7 << 3, 0x81, 0}),
		"expires too long":       sibling([]byte{8 << 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2}),
		"empty value":            sibling(blob(9)),
		"unknown out of order":   sibling(num(100, 1), blob(9, []byte("v"))),
		"unknown field cut":      sibling([]byte{0xa2, 6, 9}),
		"unknown fixed32 cut":    sibling([]byte{0xa5, 6, 9}),
		"unknown of wire type 7": sibling([]byte{0xa7, 6, 9}),
	} {
		if o, err := object.Decode(b); !errors.Is(err, object.ErrMalformed) {
			t.Errorf("%s: got %+v, error %v", name, o, err)
		}
	}
}

// A field that a later version added is skipped, and gone from the next encoding.
func TestDecodeSkipsUnknownFields(t *testing.T) {
	later := [][]byte{num(100, 0), num(100, 5), fixed(101, 0), blob(102), protowire.AppendFixed32(protowire.AppendTag(nil, 103, protowire.Fixed32Type), 1)}
	meta := blob(6, append([][]byte{blob(1, []byte("a"))}, later...)...)
	unknown := bytes.Join(later, nil)
	b := join(encodedVector, blob(2, encodedDot, meta, blob(9, []byte("v")), unknown), unknown)
	o, err := object.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	want := join(encodedVector, blob(2, encodedDot, blob(6, blob(1, []byte("a"))), blob(9, []byte("v"))))
	if got := o.Append(nil); !bytes.Equal(got, want) {
		t.Errorf("encoded again: %x, want %x", got, want)
	}
}

// What a decoder allocates is a small multiple of what it was given, whatever
// that declares.
func TestDecodeAllocatesByItsInput(t *testing.T) {
	const size = 1 << 20
	var siblings bytes.Buffer
	for i := uint64(1); siblings.Len() < size; i++ {
		siblings.Write(blob(2, fixed(1, 1), num(2, i)))
	}
	manyVector := blob(1, version.AppendVector(nil, version.Vector{dot(1, math.MaxUint64)}))
	hugeCount := protowire.AppendVarint(nil, version.MaxDecoded)
	for name, b := range map[string][]byte{
		"small siblings":  join(manyVector, siblings.Bytes()),
		"empty siblings":  join(manyVector, bytes.Repeat(blob(2), object.MaxSiblings)),
		"empty metadata":  join(manyVector, blob(2, encodedDot, bytes.Repeat(blob(6), size/2))),
		"a huge length":   join(manyVector, append([]byte{0x12}, protowire.AppendVarint(nil, 1<<40)...)),
		"a huge vector":   join(blob(1, hugeCount, make([]byte, 40))),
		"zero dots":       join(blob(1, hugeCount, make([]byte, size))),
		"unknown numbers": join(manyVector, bytes.Repeat(num(100, 0), size/3)),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := object.Decode(b)
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(20*len(b)+64<<10); got > most {
			t.Errorf("%s (%v): %d bytes allocated for %d", name, err, got, len(b))
		}
	}
}

func TestDecodeBoundsSiblings(t *testing.T) {
	o := object.Object{Vector: version.Vector{dot(1, math.MaxUint64)}}
	for i := range uint64(object.MaxSiblings + 1) {
		o.Siblings = append(o.Siblings, object.Sibling{Dot: dot(1, i+1)})
	}
	if _, err := object.Decode(o.Append(nil)); !errors.Is(err, object.ErrMalformed) {
		t.Errorf("error %v", err)
	}
	o.Siblings = o.Siblings[:object.MaxSiblings]
	if p, err := object.Decode(o.Append(nil)); err != nil || !p.Equal(o) {
		t.Errorf("error %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range samples() {
		f.Add(e.Object.Append(nil))
	}
	f.Add(join(encodedVector, blob(2, encodedDot, num(100, 1))))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := object.Decode(b)
		if err != nil {
			if !errors.Is(err, object.ErrMalformed) {
				t.Errorf("error %v", err)
			}
			return
		}
		again := o.Append(nil)
		p, err := object.Decode(again)
		if err != nil || !reflect.DeepEqual(o, p) || o.Size() != len(again) {
			t.Errorf("%x: %+v comes back as %+v, error %v", b, o, p, err)
		}
		// Without unknown fields, which make an encoding longer, it is canonical.
		if len(again) > len(b) || len(again) == len(b) && !bytes.Equal(again, b) {
			t.Errorf("%x is encoded again as %x", b, again)
		}
		o.Live(0)
		if !identical(object.Merge(o, p), o) {
			t.Errorf("%x: merged with itself it differs", b)
		}
	})
}
