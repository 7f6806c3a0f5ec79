package bucket

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// full uses every field.
var full = Record{
	Name: "birds", Incarnation: 3, Declared: true, Version: 300, Writer: [16]byte{0xaa, 15: 0xbb},
	Properties: Properties{Mode: Counter, Level: "quorum", R: 1, W: 2, TTL: time.Hour, MaxSiblings: 50, MaxValueBytes: 4096},
	extra:      "\x6a\x03new", // field 13
}

func goldenRegistry() Registry {
	return Registry{
		Record{Name: "Z.z_-9"}.Declare(Properties{}, writer(1)),
		full,
		Record{Name: "gone"}.Drop(writer(2)),
	}
}

func TestGolden(t *testing.T) {
	const path = "testdata/registry.golden"
	got := hex.EncodeToString(goldenRegistry().Append(nil)) + "\n"
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
	if g, err := Decode(b); err != nil || !reflect.DeepEqual(g, goldenRegistry()) {
		t.Fatalf("decoded %+v, %v", g, err)
	}
}

func TestCodecRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		g := randomRegistry(r)
		got, err := Decode(g.Append(nil))
		if err != nil || !reflect.DeepEqual(got, g) {
			t.Fatalf("%+v, %v, want %+v", got, err, g)
		}
	}
}

// TestUnknownFields: a build of this release between two newer ones keeps what it cannot read.
func TestUnknownFields(t *testing.T) {
	g, err := Decode(Registry{full}.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	changed := g[0].Declare(Properties{Mode: LWW}, writer(1))
	if changed.extra != full.extra {
		t.Errorf("a declaration left %q of them", changed.extra)
	}
	if dropped := g[0].Drop(writer(1)); dropped.extra != "" {
		t.Errorf("a drop left %q of them", dropped.extra)
	}
	if merged := Merge(Registry{{Name: "birds", Incarnation: 3, Version: 299}}, g); merged[0] != full {
		t.Errorf("merged to %+v", merged)
	}
}

func TestDecodeRefuses(t *testing.T) {
	number := func(n protowire.Number, value uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), value)
	}
	text := func(n protowire.Number, value string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), value)
	}
	rec := func(parts ...[]byte) []byte { return text(registryRecord, string(bytes.Join(parts, nil))) }
	bad := func(change func(*Record)) []byte {
		r := full
		r.extra = ""
		change(&r)
		return Registry{r}.Append(nil)
	}
	least := Record{Name: "b"}.Declare(Properties{}, writer(1)).append(nil)
	if _, err := Decode(rec(least)); err != nil {
		t.Fatalf("the record that the others are made of: %v", err)
	}
	many := make(Registry, 0, MaxMerged+1)
	for n := range MaxMerged + 1 {
		many = append(many, Record{Name: numbered(n)}.Declare(Properties{}, writer(1)))
	}
	if _, err := Decode(many[1:].Append(nil)); err != nil {
		t.Fatalf("as many as there may be: %v", err)
	}
	for what, b := range map[string][]byte{
		"registry-wide field": text(2, "x"),
		"cut off":             rec(least)[:10],
		"record as a number":  number(registryRecord, 1),
		"empty record":        rec(),
		"order":               Registry{{Name: "b", Version: 1, Declared: true}, {Name: "a", Version: 1, Declared: true}}.Append(nil),
		"a name twice":        append(rec(least), rec(least)...),
		"one too many":        many.Append(nil),
		"no name":             bad(func(r *Record) { r.Name = "" }),
		"long name":           bad(func(r *Record) { r.Name = strings.Repeat("n", MaxNameBytes+1) }),
		"stored name":         bad(func(r *Record) { r.Name = "birds~1" }),
		"incarnation":         bad(func(r *Record) { r.Incarnation = MaxCount + 1 }),
		"version":             bad(func(r *Record) { r.Version = MaxCount + 1 }),
		"version 0":           bad(func(r *Record) { r.Version = 0 }),
		"nothing to say":      bad(func(r *Record) { *r = Record{Name: "b", Version: 1} }),
		"undeclared":          bad(func(r *Record) { r.Declared = false }),
		"mode":                bad(func(r *Record) { r.Properties.Mode = numModes }),
		"level":               bad(func(r *Record) { r.Properties.Level = "any" }),
		"R":                   bad(func(r *Record) { r.Properties.R = MaxReplicas + 1 }),
		"W":                   bad(func(r *Record) { r.Properties.W = MaxReplicas + 1 }),
		"short TTL":           bad(func(r *Record) { r.Properties.TTL = 1 }),
		"long TTL":            bad(func(r *Record) { r.Properties.TTL = MaxTTL + 1 }),
		"negative TTL":        bad(func(r *Record) { r.Properties.TTL = -time.Hour }),
		"siblings":            bad(func(r *Record) { r.Properties.MaxSiblings = MaxSiblings + 1 }),
		"value bytes":         bad(func(r *Record) { r.Properties.MaxValueBytes = MaxValueBytes + 1 }),
		"too much unknown":    bad(func(r *Record) { r.extra = string(text(99, strings.Repeat("x", MaxExtraBytes))) }),
		"mode beyond 8 bits":  rec(least, number(recordMode, 256)),
		"R beyond 32 bits":    rec(least, number(recordR, 1<<32+1)),
		"W beyond 32 bits":    rec(least, number(recordW, 1<<32+1)),
		"siblings, 32 bits":   rec(least, number(recordMaxSiblings, 1<<32+1)),
		"zero field":          rec(least, number(recordR, 0)),
		"field twice":         rec(least, number(recordR, 1), number(recordR, 1)),
		"fields out of order": rec(least, number(recordW, 1), number(recordR, 1)),
		"unknown one first":   rec(number(99, 1), least),
		"declared 2":          rec(bytes.Replace(least, number(recordDeclared, 1), number(recordDeclared, 2), 1)),
		"padded number":       rec(bytes.Replace(least, number(recordVersion, 1), []byte{recordVersion << 3, 0x81, 0}, 1)),
		"short writer":        rec(text(recordName, "b"), number(recordDeclared, 1), number(recordVersion, 1), text(recordWriter, "short")),
		"no writer":           rec(text(recordName, "b"), number(recordDeclared, 1), number(recordVersion, 1)),
		"level as a number":   rec(least, number(recordLevel, 1)),
	} {
		if g, err := Decode(b); !errors.Is(err, ErrMalformed) || g != nil {
			t.Errorf("%s: got %d records, %v", what, len(g), err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(goldenRegistry().Append(nil))
	f.Add([]byte{})
	f.Add([]byte("\x0a\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := Decode(b)
		if err != nil {
			return
		}
		if !bytes.Equal(g.Append(nil), b) {
			t.Fatalf("two encodings of %+v", g)
		}
		if err := g.Validate(); err != nil {
			t.Fatal(err)
		}
		if merged := Merge(g, g); !reflect.DeepEqual(merged, g) {
			t.Fatalf("merged with itself to %+v", merged)
		}
		for _, r := range g {
			if got := g.Find(r.Name); got != r || g.Gone(r.Stored()) || len(r.Stored()) > MaxStoredBytes {
				t.Fatalf("found %+v, gone %v, want %+v", got, g.Gone(r.Stored()), r)
			}
		}
	})
}
