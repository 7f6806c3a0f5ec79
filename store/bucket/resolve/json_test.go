package resolve

import (
	"bytes"
	"encoding/json"
	"math/big"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"starling/store/bucket"
)

// Numbers compare as exact fractions do, and their text is that of an equal one.
func TestDecimals(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	texts := []string{"0", "-0", "0.0e5", "10", "1e1", "0.1", "1e-1", "100e-2", "-1", "-1.0", "1e21", "1e22", "1e-21", "1e-22", "123.456e-40"}
	for range 60 {
		text := strconv.Itoa(rng.IntN(2000) - 1000)
		if rng.IntN(2) == 0 {
			text += "." + strings.Repeat("0", rng.IntN(3)) + strconv.Itoa(rng.IntN(30))
		}
		if rng.IntN(2) == 0 {
			text += "E" + []string{"", "+", "-"}[rng.IntN(3)] + strconv.Itoa(rng.IntN(30))
		}
		texts = append(texts, text)
	}
	for _, x := range texts {
		for _, y := range texts {
			a, errA := parseDecimal(x)
			b, errB := parseDecimal(y)
			must(errA)
			must(errB)
			want := rational(x).Cmp(rational(y))
			if got := a.compare(b); got != want {
				t.Fatalf("%s and %s compare as %d, want %d", x, y, got, want)
			}
			if same := string(a.append(nil)) == string(b.append(nil)); same != (want == 0) {
				t.Fatalf("%s is written %s, %s %s", x, a.append(nil), y, b.append(nil))
			}
		}
	}
}

// FuzzParse takes anything as a value of each mode: it is refused or has one text,
// which the mode takes for the same value again, and which the standard library
// takes for the same as well.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"1", "-0.0", "1e-7", "1e1000000000", `["b","a",["a"],{"x":[1.0,1]}]`, `{"a":{"b":null},"c":"\u0000\ud83d\ude00"}`,
		`{"a":1,"a":2}`, `{"\ud800":1}`, "[\"\xff\"]", strings.Repeat("[", 200) + strings.Repeat("]", 200), strings.Repeat("[", 5000), "[1,]", `[1}`, "1 1",
		`{"a":"\\\ud800\""}`, "\"\u2028<>&\x7f\"", strings.Repeat("9", 2000), "0." + strings.Repeat("0", 2000) + "1",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, m := range []bucket.Mode{bucket.Max, bucket.Union, bucket.JSONMerge} {
			n, err := parse(m, value)
			if err != nil {
				wantErr(t, err, ErrUnfit)
				continue
			}
			text := n.append(nil)
			again, err := parse(m, text)
			if err != nil || compare(n, again) != 0 || !bytes.Equal(again.append(nil), text) {
				t.Fatalf("%q is written %q, which is read as %q, %v", value, text, again.append(nil), err)
			}
			if joined := folded[m].join(n, again); compare(joined, n) != 0 {
				t.Fatalf("%q merged with itself is %q", value, joined.append(nil))
			}
			if m == bucket.JSONMerge && !reflect.DeepEqual(exact(decoded(t, value)), exact(decoded(t, text))) {
				t.Fatalf("%q is written %q", value, text)
			}
		}
	})
}

// decoded is what the standard library reads.
func decoded(t *testing.T, value []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", value, err)
	}
	return v
}

// exact replaces numbers by fractions, as far as those stay small.
func exact(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i := strings.IndexAny(string(v), "eE"); i >= 0 && len(v)-i > 4 {
			return "a large exponent"
		}
		x, _ := new(big.Rat).SetString(string(v))
		return x.String()
	case []any:
		for i := range v {
			v[i] = exact(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = exact(v[name])
		}
	}
	return v
}

// randomNode is a small value in which kinds meet.
func randomNode(r *rand.Rand, depth int) node {
	k := kind(r.IntN(int(isObject) + 1))
	if depth == 0 {
		k = kind(r.IntN(int(isArray)))
	}
	n := node{kind: k}
	switch k {
	case isNumber:
		d, err := parseDecimal(strconv.Itoa(r.IntN(3)))
		must(err)
		n.number = d
	case isString:
		n.text = string(rune('a' + r.IntN(2)))
	case isArray:
		for range r.IntN(3) {
			n.items = append(n.items, randomNode(r, depth-1))
		}
	case isObject:
		for _, name := range []string{"a", "b"} {
			if r.IntN(2) == 0 {
				n.fields = append(n.fields, member{name, randomNode(r, depth-1)})
			}
		}
	}
	return n
}

// The order is total, and every join idempotent, commutative and associative.
func TestJoinLaws(t *testing.T) {
	forSeeds(t, 500, func(seed uint64) error {
		r := rand.New(rand.NewPCG(seed, 1))
		a, b, c := randomNode(r, 3), randomNode(r, 3), randomNode(r, 3)
		text := func(n node) string { return string(n.append(nil)) }
		if compare(a, b) != -compare(b, a) || (compare(a, b) == 0) != (text(a) == text(b)) {
			t.Errorf("%s and %s compare as %d and %d", text(a), text(b), compare(a, b), compare(b, a))
		}
		if compare(a, b) <= 0 && compare(b, c) <= 0 && compare(a, c) > 0 {
			t.Errorf("%s, %s, %s are not in order", text(a), text(b), text(c))
		}
		asSet := func(n node) node {
			set, err := parse(bucket.Union, node{kind: isArray, items: []node{n, n}}.append(nil))
			must(err)
			return set
		}
		laws(t, mergeJSON, a, b, c)
		laws(t, greater, a, b, c)
		laws(t, lesser, a, b, c)
		laws(t, union, union(asSet(a), asSet(b)), asSet(b), union(asSet(a), asSet(c)))
		return nil
	})
}

func laws(t *testing.T, join func(a, b node) node, a, b, c node) {
	t.Helper()
	text := func(n node) string { return string(n.append(nil)) }
	switch {
	case text(join(a, a)) != text(a):
		t.Errorf("not idempotent: %s", text(a))
	case text(join(a, b)) != text(join(b, a)):
		t.Errorf("not commutative: %s, %s", text(a), text(b))
	case text(join(join(a, b), c)) != text(join(a, join(b, c))):
		t.Errorf("not associative: %s, %s, %s", text(a), text(b), text(c))
	}
}
