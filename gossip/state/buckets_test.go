package state

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/store/bucket"
)

// goldenBuckets is a map with buckets, one declared and one dropped.
func goldenBuckets() Map {
	m := Map{Settings: settings()}.With(member(1))
	m.Buckets = bucket.Registry{
		bucket.Record{Name: "birds"}.Declare(bucket.Properties{Mode: bucket.LWW, Level: "one", TTL: time.Hour}, id(1)),
		bucket.Record{Name: "gone"}.Drop(id(2)),
	}
	return m
}

// randomBuckets are records of few names, as two writers may have left them.
func randomBuckets(r *rand.Rand) (g bucket.Registry) {
	for _, name := range []string{"a", "b", "c"} {
		rec := bucket.Record{Name: name}
		for range r.IntN(3) {
			switch w := id(byte(r.IntN(2))); r.IntN(2) {
			case 0:
				rec = rec.Declare(bucket.Properties{Mode: bucket.Mode(r.IntN(3))}, w)
			case 1:
				rec = rec.Drop(w)
			}
		}
		if rec.Version > 0 {
			g = append(g, rec)
		}
	}
	return g
}

func TestGoldenBuckets(t *testing.T) {
	const path = "testdata/buckets.golden"
	got := hex.EncodeToString(goldenBuckets().Append(nil)) + "\n"
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
	wantEqual(t, "decoded", m, goldenBuckets())
	// The buckets are the last field: what is before them is the map without them.
	m.Buckets = nil
	if before := m.Append(nil); !strings.HasPrefix(got, hex.EncodeToString(before)) || m.Hash() == goldenBuckets().Hash() {
		t.Error("the buckets change what is before them, or not the hash")
	}
}

func TestMergeLawsOfBuckets(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	draw := func() Map {
		m := randomMap(r)
		m.Buckets = randomBuckets(r)
		return m
	}
	for range 500 {
		a, b, c := draw(), draw(), draw()
		ab := mustMerge(t, a, b)
		wantEqual(t, "idempotent", mustMerge(t, a, a), a)
		wantEqual(t, "commutative", ab, mustMerge(t, b, a))
		wantEqual(t, "associative", mustMerge(t, ab, c), mustMerge(t, a, mustMerge(t, b, c)))
		wantEqual(t, "absorbing", mustMerge(t, ab, b), ab)
		if want := bucket.Merge(a.Buckets, b.Buckets); !reflect.DeepEqual(ab.Buckets, want) {
			t.Fatalf("merged buckets\n%+v, want\n%+v", ab.Buckets, want)
		}
		got, err := Decode(ab.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "round trip", got, ab)
	}
}

func TestDecodeRefusesBuckets(t *testing.T) {
	empty := []byte{formatV1}
	field := func(dst []byte, b []byte) []byte { return appendBytes(dst, mapBuckets, b) }
	good := goldenBuckets().Buckets
	if m, err := Decode(field(empty, good.Append(nil))); err != nil || len(m.Buckets) != 2 {
		t.Fatalf("buckets alone: %+v, %v", m, err)
	}
	for what, b := range map[string][]byte{
		"none":            field(empty, nil),
		"not a registry":  field(empty, []byte("x")),
		"order":           field(empty, bucket.Registry{good[1], good[0]}.Append(nil)),
		"out of bounds":   field(empty, bucket.Registry{{Name: "b", Version: 1, Declared: true, Properties: bucket.Properties{R: 1000}}}.Append(nil)),
		"twice":           field(field(empty, good.Append(nil)), good.Append(nil)),
		"before a member": appendBytes(field(empty, good.Append(nil)), mapMember, member(1).append(nil)),
		"a number":        protowire.AppendVarint(protowire.AppendTag(empty, mapBuckets, protowire.VarintType), 1),
	} {
		if m, err := Decode(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, %v", what, m, err)
		}
	}
}

// TestBucketsStay: what changes members does not lose buckets.
func TestBucketsStay(t *testing.T) {
	m := goldenBuckets()
	replaced, err := m.With(member(2)).Replace(id(1), id(2))
	if err != nil {
		t.Fatal(err)
	}
	gone := member(1)
	gone.State = Removed
	for what, got := range map[string]Map{
		"With, a new member":        m.With(member(2)),
		"With, a record replaced":   m.With(gone),
		"Replace":                   replaced,
		"Merge, one side has none":  mustMerge(t, m, Map{Settings: settings()}.With(member(2))),
		"Merge, other side":         mustMerge(t, Map{Settings: settings()}.With(member(2)), m),
		"Merge with no map at all":  mustMerge(t, Map{}, m),
		"Merge, settings but alone": mustMerge(t, m, Map{Settings: settings()}),
	} {
		if !reflect.DeepEqual(got.Buckets, m.Buckets) {
			t.Errorf("%s: the buckets are %+v", what, got.Buckets)
		}
	}
	first, err := NewCluster(settings(), member(1))
	if err != nil || first.Buckets != nil {
		t.Errorf("a new cluster has the buckets %+v, %v", first.Buckets, err)
	}
}

// TestBucketsMoveNoData: a view depends on members alone.
func TestBucketsMoveNoData(t *testing.T) {
	m := goldenBuckets()
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	changed := m
	changed.Buckets = nil
	next, err := changed.ViewFrom(v)
	if err != nil || next != v || !m.SameRing(changed) {
		t.Errorf("another view or ring, %v", err)
	}
}

// TestMergeBoundsOfBuckets: sides that each are full still merge, up to a bound.
func TestMergeBoundsOfBuckets(t *testing.T) {
	side := func(n, size int) Map {
		m := Map{Settings: settings()}
		for i := range size {
			m.Buckets = append(m.Buckets, bucket.Record{Name: fmt.Sprintf("b%d-%05d", n, i)}.Drop(id(1)))
		}
		return m
	}
	var all Map
	for n := range bucket.MaxMerged / bucket.MaxRecords {
		all = mustMerge(t, all, side(n, bucket.MaxRecords))
	}
	if len(all.Buckets) != bucket.MaxMerged {
		t.Fatalf("%d records", len(all.Buckets))
	}
	if m, err := Decode(all.Append(nil)); err != nil || m.Hash() != all.Hash() {
		t.Fatalf("as many as there may be: %v", err)
	}
	if _, err := Merge(all, side(9, 1)); !errors.Is(err, ErrTooManyBuckets) {
		t.Fatalf("one more: %v", err)
	}
}
