package bucket

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// numbered are names in ascending order.
func numbered(n int) string { return fmt.Sprintf("b%06d", n) }

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"": false, "b": true, "AZaz09._-": true, ".": true, strings.Repeat("n", MaxNameBytes): true,
		strings.Repeat("n", MaxNameBytes+1): false, "a~b": false, "a/b": false, "a b": false, "a\x00": false, "ä": false, "[": false, "`": false, "{": false, "@": false, ":": false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v", name, got)
		}
	}
}

func TestStored(t *testing.T) {
	for _, tc := range []struct {
		name        string
		incarnation uint64
		want        string
	}{
		{"birds", 0, "birds"},
		{"birds", 1, "birds~1"},
		{"birds", 35, "birds~z"},
		{"birds", 36, "birds~10"},
		{strings.Repeat("n", MaxNameBytes), math.MaxUint64, strings.Repeat("n", MaxNameBytes) + "~3w5e11264sgsf"},
	} {
		if got := Stored(tc.name, tc.incarnation); got != tc.want || len(got) > MaxStoredBytes {
			t.Errorf("Stored(%q, %d) = %q, want %q", tc.name, tc.incarnation, got, tc.want)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	for _, stored := range []string{
		"", "~", "~1", "b~", "b~0", "b~01", "b~+1", "b~-1", "b~1~1", "b~A", "b~ 1", "b~1_0", "b~3w5e11264sgsg", "a b", "a b~1",
		strings.Repeat("n", MaxNameBytes+1) + "~1",
	} {
		if name, n, ok := Split(stored); ok {
			t.Errorf("Split(%q) = %q, %d", stored, name, n)
		}
	}
}

// TestStoredAndSplitAreInverse: what Split takes apart is what Stored puts together, and nothing else. So Stored is
// injective.
func TestStoredAndSplitAreInverse(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	draw := func(letters string, most int) string {
		b := make([]byte, r.IntN(most+1))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	}
	taken := 0
	for range 20000 {
		name, incarnation := "b"+draw("aZ09._-", 5), r.Uint64()>>r.IntN(64)
		if n, i, ok := Split(Stored(name, incarnation)); !ok || n != name || i != incarnation {
			t.Fatalf("Split(Stored(%q, %d)) = %q, %d, %v", name, incarnation, n, i, ok)
		}
		stored := draw("bA01~ ", 6)
		n, i, ok := Split(stored)
		if !ok {
			continue
		}
		taken++
		if back := Stored(n, i); back != stored {
			t.Fatalf("%q is split to %q, %d, which is stored as %q", stored, n, i, back)
		}
	}
	if taken < 1000 {
		t.Errorf("only %d names of 20000 were stored ones", taken)
	}
}
