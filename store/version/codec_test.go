package version

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares lines with a file in testdata.
func golden(t *testing.T, name string, lines []string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	got := strings.Join(lines, "\n") + "\n"
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
		t.Errorf("%s has changed: got\n%swant\n%s", path, got, want)
	}
}

// bigContext has n entries and n exceptions, each as long as they come.
func bigContext(n int) Context {
	var c Context
	for i := range n {
		a := Actor(math.MaxUint64 - uint64(n) + uint64(i))
		c.Vector = append(c.Vector, Dot{a, math.MaxUint64})
		c.Except = append(c.Except, Dot{a, math.MaxUint64 - 1})
	}
	return c
}

var goldenContexts = []struct {
	name string
	c    Context
}{
	{"empty", Context{}},
	{"one actor", Context{Vector: Vector{{0x0123456789abcdef, 1}}}},
	{"three actors", Context{Vector: Vector{{1, 127}, {2, 128}, {math.MaxUint64, math.MaxUint64}}}},
	{"exceptions", Context{Vector: Vector{{7, 300}, {8, 2}}, Except: []Dot{{7, 1}, {7, 299}, {8, 1}}}},
}

func TestGoldenEncoding(t *testing.T) {
	var lines []string
	for _, g := range goldenContexts {
		lines = append(lines,
			g.name+": vector "+hex.EncodeToString(AppendVector(nil, g.c.Vector)),
			g.name+": context "+hex.EncodeToString(AppendContext(nil, g.c)))
	}
	golden(t, "encoding.golden", lines)
}

func TestEncodingRoundTrip(t *testing.T) {
	check := func(t *testing.T, c Context) {
		t.Helper()
		b := AppendContext([]byte("head"), c)
		if len(b) != 4+SizeContext(c) {
			t.Errorf("%v: %d bytes, size says %d", c, len(b)-4, SizeContext(c))
		}
		got, rest, err := DecodeContext(append(b, "tail"...)[4:])
		if err != nil || string(rest) != "tail" || !got.Vector.Equal(c.Vector) || !slices.Equal(got.Except, c.Except) {
			t.Errorf("%v came back as %v, rest %q, error %v", c, got, rest, err)
		}
		v, rest, err := DecodeVector(AppendVector(nil, c.Vector))
		if err != nil || len(rest) != 0 || !v.Equal(c.Vector) {
			t.Errorf("%v came back as %v, error %v", c.Vector, v, err)
		}
		if n := len(AppendVector(nil, c.Vector)); n != SizeVector(c.Vector) {
			t.Errorf("%v: %d bytes, size says %d", c.Vector, n, SizeVector(c.Vector))
		}
	}
	forSeeds(t, func(t *testing.T, r *rand.Rand) { check(t, randomContext(r)) })
	check(t, bigContext(MaxDecoded))
}

func dots(n uint64, list ...Dot) []byte {
	b := binary.AppendUvarint(nil, n)
	for _, d := range list {
		b = AppendDot(b, d)
	}
	return b
}

func TestDecodeRefuses(t *testing.T) {
	vectors := map[string][]byte{
		"nothing":           nil,
		"count too high":    dots(2, Dot{1, 1}),
		"count huge":        append(binary.AppendUvarint(nil, math.MaxUint64), make([]byte, 64)...),
		"count over bound":  AppendVector(nil, bigContext(MaxDecoded+1).Vector),
		"cut in an actor":   dots(1, Dot{1, 1})[:5],
		"cut in a sequence": dots(1, Dot{1, 1000})[:10],
		"unsorted":          dots(2, Dot{2, 1}, Dot{1, 1}),
		"actor twice":       dots(2, Dot{1, 1}, Dot{1, 2}),
		"sequence 0":        dots(1, Dot{1, 0}),
		"padded count":      append([]byte{0x81, 0}, AppendDot(nil, Dot{1, 1})...),
		"padded sequence":   append([]byte{1}, 0, 0, 0, 0, 0, 0, 0, 1, 0x81, 0),
		"sequence too long": append([]byte{1}, 0, 0, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2),
	}
	for name, b := range vectors {
		if v, _, err := DecodeVector(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, error %v", name, v, err)
		}
	}
	contexts := map[string][]byte{
		"no exceptions":       dots(1, Dot{1, 3}),
		"exception uncovered": append(dots(1, Dot{1, 3}), dots(1, Dot{1, 4})...),
		"exceptions unsorted": append(dots(1, Dot{1, 3}), dots(2, Dot{1, 2}, Dot{1, 1})...),
		"exception twice":     append(dots(1, Dot{1, 3}), dots(2, Dot{1, 2}, Dot{1, 2})...),
	}
	for name, b := range contexts {
		if c, _, err := DecodeContext(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, error %v", name, c, err)
		}
	}
}

func FuzzDecodeVector(f *testing.F) {
	f.Add(dots(0))
	f.Add(dots(2, Dot{1, 1}, Dot{2, 300}))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, rest, err := DecodeVector(b)
		if err != nil {
			return
		}
		checkVector(t, v)
		if again := AppendVector(nil, v); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Errorf("%x decodes and encodes as %x", b, again)
		}
	})
}

func FuzzDecodeContext(f *testing.F) {
	f.Add(append(dots(0), dots(0)...))
	f.Add(append(dots(1, Dot{1, 300}), dots(1, Dot{1, 7})...))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, rest, err := DecodeContext(b)
		if err != nil {
			return
		}
		checkContext(t, c)
		if again := AppendContext(nil, c); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Errorf("%x decodes and encodes as %x", b, again)
		}
	})
}
