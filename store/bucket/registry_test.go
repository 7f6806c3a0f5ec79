package bucket

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func writer(n byte) [16]byte { return [16]byte{15: n} }

// randomRecord draws from few values, so that two contents under one version are common.
func randomRecord(r *rand.Rand, name string) Record {
	rec := Record{Name: name, Incarnation: uint64(r.IntN(3)), Version: 1 + uint64(r.IntN(3)), Writer: writer(byte(r.IntN(2)))}
	if rec.Declared = rec.Incarnation == 0 || r.IntN(2) == 0; rec.Declared {
		rec.Properties = randomProperties(r)
	}
	rec.extra = []string{"", "\x6a\x03new"}[r.IntN(2)]
	return rec
}

func randomProperties(r *rand.Rand) Properties {
	return Properties{
		Mode: Mode(r.IntN(int(numModes))), Level: []string{"", "one", "all"}[r.IntN(3)], R: uint32(r.IntN(2)), W: uint32(r.IntN(2)),
		TTL: []time.Duration{0, MinTTL, MaxTTL}[r.IntN(3)], MaxSiblings: uint32(r.IntN(2) * MaxSiblings), MaxValueBytes: uint64(r.IntN(2) * MaxValueBytes),
	}
}

func randomRegistry(r *rand.Rand) (g Registry) {
	for _, name := range []string{"A", "b", "b-1", "c"} {
		if r.IntN(3) > 0 {
			g = append(g, randomRecord(r, name))
		}
	}
	return g
}

func TestMergeLaws(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	same := func(what string, a, b Registry) {
		t.Helper()
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("%s:\n%+v\n%+v", what, a, b)
		}
	}
	for range 2000 {
		a, b, c := randomRegistry(r), randomRegistry(r), randomRegistry(r)
		ab := Merge(a, b)
		same("idempotent", Merge(a, a), a)
		same("commutative", ab, Merge(b, a))
		same("associative", Merge(ab, c), Merge(a, Merge(b, c)))
		same("absorbing", Merge(ab, a), ab)
		if err := ab.Validate(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHistories: nodes that declare, drop and hear of each other in any order know what the dumb twin knows, who keeps
// every record that was ever heard of and picks the furthest. All that was stored before a drop is gone.
func TestHistories(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for range 100 {
		var nodes [3]Registry
		var heard [3][]Record
		for range 40 {
			n := r.IntN(3)
			before := nodes[n]
			if r.IntN(3) == 0 {
				from := r.IntN(3)
				nodes[n] = Merge(nodes[n], nodes[from])
				heard[n] = append(heard[n], heard[from]...)
			} else {
				rec := before.Find([]string{"a", "b"}[r.IntN(2)])
				if r.IntN(3) == 0 {
					rec = rec.Drop(writer(byte(n)))
				} else {
					rec = rec.Declare(randomProperties(r), writer(byte(n)))
				}
				next, err := before.With(rec)
				if err != nil {
					t.Fatal(err)
				}
				if err := Step(before, next); err != nil || next.Find(rec.Name) != rec {
					t.Fatalf("%+v to %+v: %v", before, next, err)
				}
				nodes[n], heard[n] = next, append(heard[n], rec)
			}
			checkHeard(t, nodes[n], heard[n])
			checkForward(t, before, nodes[n])
		}
		all := Merge(nodes[0], Merge(nodes[1], nodes[2]))
		checkHeard(t, all, slices.Concat(heard[:]...))
	}
}

// checkHeard compares a registry with the records it was made of.
func checkHeard(t *testing.T, g Registry, heard []Record) {
	t.Helper()
	for _, name := range []string{"a", "b"} {
		want := Record{Name: name}
		for _, rec := range heard {
			if rec.Name != name {
				continue
			}
			further := rec.Incarnation > want.Incarnation ||
				rec.Incarnation == want.Incarnation && rec.Version > want.Version ||
				rec.Incarnation == want.Incarnation && rec.Version == want.Version && rec.Writer[15] > want.Writer[15]
			if further {
				want = rec
			}
		}
		if got := g.Find(name); got != want {
			t.Fatalf("%+v, want %+v of %+v", got, want, heard)
		}
		for i := range want.Incarnation + 2 {
			if gone := g.Gone(Stored(name, i)); gone != (i < want.Incarnation) {
				t.Fatalf("incarnation %d of %d is gone: %v", i, want.Incarnation, gone)
			}
		}
	}
}

// checkForward is invariants 1 and 4.
func checkForward(t *testing.T, before, after Registry) {
	t.Helper()
	for _, was := range before {
		is := after.Find(was.Name)
		if is.Incarnation < was.Incarnation || is.Incarnation == was.Incarnation && is.Version < was.Version {
			t.Fatalf("%+v fell to %+v", was, is)
		}
	}
}

// TestDropWins over what was declared without knowing of it, and two drops of one incarnation are one.
func TestDropWins(t *testing.T) {
	was := Record{Name: "b"}.Declare(Properties{Mode: LWW}, writer(1))
	declared := was.Declare(Properties{Mode: Max}, writer(9)).Declare(Properties{Mode: Min}, writer(9))
	dropped := was.Drop(writer(1))
	if got := Merge(Registry{declared}, Registry{dropped}); got[0] != dropped {
		t.Errorf("got %+v", got)
	}
	again := was.Drop(writer(2))
	got := Merge(Registry{dropped}, Registry{again})[0]
	if got != again || got.Incarnation != 1 || got.Declared || got.Properties != (Properties{}) {
		t.Errorf("got %+v", got)
	}
}

func TestGone(t *testing.T) {
	g := Registry{Record{Name: "b"}.Drop(writer(1)).Drop(writer(1)), Record{Name: "c"}.Declare(Properties{}, writer(1))}
	for stored, want := range map[string]bool{
		"b": true, "b~1": true, "b~2": false, "b~3": false, "c": false, "c~1": false, "unknown": false, "unknown~1": false,
		"b~": false, "b~01": false, "": false,
	} {
		if got := g.Gone(stored); got != want {
			t.Errorf("%q: %v", stored, got)
		}
	}
	if Registry(nil).Gone("b") {
		t.Error("gone, and nothing was dropped")
	}
}

func TestWith(t *testing.T) {
	b := Record{Name: "b"}.Declare(Properties{Mode: LWW}, writer(1))
	g, err := Registry{b}.With(Record{Name: "a"}.Drop(writer(1)))
	if err != nil || len(g) != 2 || g[0].Name != "a" || g.Find("b") != b {
		t.Fatalf("%+v, %v", g, err)
	}
	if same, err := g.With(Record{Name: "b", Version: 1, Declared: true}); err != nil || !reflect.DeepEqual(same, g) {
		t.Errorf("a record that is no further: %+v, %v", same, err)
	}
	for _, bad := range []Record{{Name: "a~1", Version: 1, Declared: true}, b.Declare(Properties{R: MaxReplicas + 1}, writer(1))} {
		if same, err := g.With(bad); !errors.Is(err, ErrInvalid) || !reflect.DeepEqual(same, g) {
			t.Errorf("%+v: %+v, %v", bad, same, err)
		}
	}
}

// TestGrowth: changes stop at MaxRecords; what came to more by merging may be changed.
func TestGrowth(t *testing.T) {
	some := func(from, n int) (g Registry) {
		for i := range n {
			g = append(g, Record{Name: numbered(from + i)}.Declare(Properties{}, writer(1)))
		}
		return g
	}
	g, err := some(0, MaxRecords-1).With(some(MaxRecords, 1)[0])
	if err != nil || len(g) != MaxRecords {
		t.Fatalf("%d records, %v", len(g), err)
	}
	one := some(2*MaxRecords, 1)[0]
	if full, err := g.With(one); !errors.Is(err, ErrInvalid) || len(full) != MaxRecords {
		t.Errorf("%d records, %v", len(full), err)
	}
	if err := Step(g, Merge(g, Registry{one})); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "4096 buckets") {
		t.Errorf("a step beyond the bound: %v", err)
	}
	merged := Merge(g, some(5*MaxRecords, 10))
	changed, err := merged.With(merged[3].Drop(writer(2)))
	if err != nil || len(changed) != MaxRecords+10 || changed[3].Incarnation != 1 {
		t.Errorf("a change of what was merged: %d records, %v", len(changed), err)
	}
	if err := Step(merged, changed); err != nil {
		t.Error(err)
	}
	if _, err := merged.With(one); !errors.Is(err, ErrInvalid) {
		t.Errorf("growth beyond the bound: %v", err)
	}
}

func TestStep(t *testing.T) {
	a, b := Record{Name: "a"}.Declare(Properties{Mode: LWW}, writer(1)), Record{Name: "b"}.Declare(Properties{}, writer(1)).Declare(Properties{}, writer(1))
	from := Registry{a, b}
	for _, tc := range []struct {
		what string
		to   Registry
		ok   bool
	}{
		{"nothing", from, true},
		{"another version", Registry{a, b.Declare(Properties{Mode: Max}, writer(1))}, true},
		{"a drop", Registry{a.Drop(writer(1)), b}, true},
		{"a new bucket", Registry{a, b, Record{Name: "c"}.Drop(writer(1))}, true},
		{"one lost", Registry{b}, false},
		{"all lost", nil, false},
		{"a version back", Registry{a, Record{Name: "b"}.Declare(Properties{}, writer(1))}, false},
		{"several versions on", Registry{a, {Name: "b", Version: 9, Declared: true}}, true},
		{"other content", Registry{Record{Name: "a"}.Declare(Properties{Mode: Max}, writer(1)), b}, false},
		{"another writer", Registry{Record{Name: "a"}.Declare(Properties{Mode: LWW}, writer(2)), b}, false},
		{"order", Registry{b.Declare(Properties{}, writer(1)), a}, false},
		{"out of bounds", Registry{a, b.Declare(Properties{TTL: 1}, writer(1))}, false},
	} {
		if err := Step(from, tc.to); (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", tc.what, err)
		}
	}
	if err := Step(Registry{a.Drop(writer(1))}, Registry{a.Declare(Properties{}, writer(1))}); !errors.Is(err, ErrInvalid) {
		t.Errorf("an incarnation back: %v", err)
	}
}
