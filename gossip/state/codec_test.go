package state

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/ring"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// goldenMap uses every field.
func goldenMap() Map {
	a := member(1)
	a.Zone, a.Settled = "eu-1", Bits{}.With(0, 5, 15)
	a.extra, a.Fence = "\x72\x03new", 7 // field 14
	b := member(2)
	b.State, b.Boot, b.Version, b.Heir = Removed, 300, 300<<32|7, id(1)
	return Map{Settings: settings()}.With(a).With(b)
}

func TestGolden(t *testing.T) {
	const path = "testdata/map.golden"
	got := hex.EncodeToString(goldenMap().Append(nil)) + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Fatalf("the encoding changed: old data directories and nodes cannot be read\n%s%s", got, want)
	}
	b, _ := hex.DecodeString(strings.TrimSpace(string(want)))
	m, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "decoded", m, goldenMap())
}

func TestCodecRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		m := randomMap(r)
		got, err := Decode(m.Append(nil))
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		wantEqual(t, "round trip", got, m)
	}
}

// TestGoldenWithoutHeirs: a map in which nobody was replaced is written as it was before heirs were known.
func TestGoldenWithoutHeirs(t *testing.T) {
	m := Map{Settings: settings()}
	for _, r := range goldenMap().Members {
		r.Heir, r.extra = ring.NodeID{}, ""
		m = m.With(r)
	}
	const want = "010a3a0a10c10000000000000000000000000000001010180320012a2007000000000000000000000000000000000000" +
		"00000000000000000000000000124f0a100000000000000000000000000000000112026e311a09686f73743a343730312209" +
		"686f73743a343730302a09686f73743a34373032320465752d313864400248015081808080105a022180600712450a100000" +
		"000000000000000000000000000212026e321a09686f73743a343730312209686f73743a343730302a09686f73743a343730" +
		"323864400448ac025087808080c025"
	if got := hex.EncodeToString(m.Append(nil)); got != want {
		t.Errorf("the encoding changed:\n%s\n%s", got, want)
	}
}

// TestGoldenForced freezes the mark of a forced removal. Older builds keep it as a field that they do not know.
func TestGoldenForced(t *testing.T) {
	r := member(2)
	r.State, r.Forced = Removed, true
	m := Map{Settings: settings()}.With(r)
	const want = "010a3a0a10c10000000000000000000000000000001010180320012a2007000000000000000000000000000000000000" +
		"0000000000000000000000000012450a100000000000000000000000000000000212026e321a09686f73743a343730312209" +
		"686f73743a343730302a09686f73743a343730323864400448015081808080107801"
	if got := hex.EncodeToString(m.Append(nil)); got != want {
		t.Errorf("the encoding changed:\n%s\n%s", got, want)
	}
	decoded, err := Decode(m.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "decoded", decoded, m)
}

// TestUnknownFieldsSurvive stands for a node of this release between two newer ones.
func TestUnknownFieldsSurvive(t *testing.T) {
	newer := member(1)
	newer.Version++
	newer.extra = "\x72\x03new"
	old := Map{Settings: settings()}.With(member(1))
	seen, err := Decode(Map{Settings: settings()}.With(newer).Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	merged := mustMerge(t, old, seen)
	wantEqual(t, "merged", merged, seen)
	if got, _ := merged.Member(id(1)); got.extra != newer.extra {
		t.Fatalf("lost the fields of a newer release: %q", got.extra)
	}
}

func TestDecodeRefuses(t *testing.T) {
	msg := func(num protowire.Number, body []byte) []byte { return appendBytes([]byte{formatV1}, num, body) }
	rec := func(m Member, more ...byte) []byte { return msg(mapMember, append(m.append(nil), more...)) }
	bad := func(change func(*Member)) []byte {
		m := member(1)
		change(&m)
		return rec(m)
	}
	removed := member(1)
	removed.State = Removed
	two := Map{Members: []Member{member(2), member(1)}}
	double := Map{Members: []Member{member(1), member(1)}}
	for what, b := range map[string][]byte{
		"nothing":            {},
		"another format":     {2},
		"cut off":            goldenMap().Append(nil)[:40],
		"map-wide field":     msg(mapBuckets+1, []byte("x")),
		"order":              two.Append(nil),
		"a record twice":     double.Append(nil),
		"settings of zero":   msg(mapSettings, Settings{Partitions: 8}.append(nil)),
		"short ID":           msg(mapMember, appendBytes(nil, memberID, []byte("short"))),
		"no ID":              msg(mapMember, nil),
		"field twice":        rec(member(1), protowire.AppendVarint(protowire.AppendTag(nil, memberWeight, protowire.VarintType), 100)...),
		"zero field":         rec(member(1), protowire.AppendVarint(protowire.AppendTag(nil, memberSettled, protowire.VarintType), 0)...),
		"weight 0":           bad(func(m *Member) { m.Weight = 0 }),
		"state 0":            bad(func(m *Member) { m.State = 0 }),
		"state 5":            bad(func(m *Member) { m.State = 5 }),
		"state 257":          msg(mapMember, protowire.AppendVarint(protowire.AppendTag(appendNumber(appendBytes(nil, memberID, make([]byte, 16)), memberWeight, 1), memberState, protowire.VarintType), 257)),
		"long name":          bad(func(m *Member) { m.Name = strings.Repeat("n", MaxNameBytes+1) }),
		"long address":       bad(func(m *Member) { m.RPC = strings.Repeat("n", MaxAddressBytes+1) }),
		"control character":  bad(func(m *Member) { m.Name = "n\n" }),
		"not UTF-8":          bad(func(m *Member) { m.Zone = "\xff" }),
		"boot counter":       bad(func(m *Member) { m.Boot = MaxBoot + 1 }),
		"settled, removed":   bad(func(m *Member) { m.State = Removed; m.Settled = FullBits(1) }),
		"heir, not removed":  bad(func(m *Member) { m.Heir = id(2) }),
		"heir of itself":     bad(func(m *Member) { m.State = Removed; m.Heir = id(1) }),
		"heir of zeros":      rec(member(1), appendBytes(nil, memberHeir, make([]byte, 16))...),
		"forced, a member":   bad(func(m *Member) { m.Forced = true }),
		"forced twice":       rec(removed, protowire.AppendVarint(protowire.AppendTag(nil, memberForced, protowire.VarintType), 2)...),
		"forced, not at all": rec(removed, protowire.AppendVarint(protowire.AppendTag(nil, memberForced, protowire.VarintType), 0)...),
		"forced, in bytes":   rec(removed, appendBytes(nil, memberForced, []byte{1})...),
		"short heir":         rec(member(1), appendBytes(nil, memberHeir, []byte("short"))...),
		"settled, zero byte": bad(func(m *Member) { m.Settled = Bits{1, 0} }),
		"settled, too many":  bad(func(m *Member) { m.Settled = Bits{}.With(65536) }),
		"too much unknown":   bad(func(m *Member) { m.extra = string(appendBytes(nil, 99, make([]byte, MaxExtraBytes))) }),
		"padded varint":      msg(mapMember, bytes.Replace(member(1).append(nil), []byte{memberWeight << 3, 100}, []byte{memberWeight << 3, 0xe4, 0}, 1)),
		"too long":           make([]byte, MaxMapBytes+1),
	} {
		if m, err := Decode(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, %v", what, m, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(goldenMap().Append(nil))
	f.Add(Map{}.Append(nil))
	f.Add(goldenBuckets().Append(nil))
	f.Add([]byte("\x01\x12\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		if !bytes.Equal(m.Append(nil), b) {
			t.Fatalf("two encodings of %+v", m)
		}
		merged, err := Merge(m, m)
		if err != nil || merged.Hash() != m.Hash() {
			t.Fatalf("merged with itself: %v", err)
		}
		if _, err := m.View(); err == nil && m.Settings.IsZero() {
			t.Fatal("a view without a cluster")
		}
	})
}
