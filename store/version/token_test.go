package version

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var testSecret = []byte("0123456789abcdef0123456789abcdef")

func TestGoldenTokens(t *testing.T) {
	var lines []string
	for _, g := range goldenContexts {
		lines = append(lines, g.name+": "+Seal(testSecret, "photos", "a/b", g.c))
	}
	golden(t, "token.golden", lines)
}

func TestTokenRoundTrip(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		c := randomContext(r)
		token := Seal(testSecret, "b", "k", c)
		got, err := Open(testSecret, "b", "k", token)
		if err != nil || !got.Vector.Equal(c.Vector) || !slices.Equal(got.Except, c.Except) {
			t.Errorf("%v came back as %v, error %v", c, got, err)
		}
	})
}

func TestEmptyContextHasAToken(t *testing.T) {
	token := Seal(testSecret, "b", "k", Context{})
	if token == "" {
		t.Fatal("the empty context was sealed as no token")
	}
	for _, in := range []string{token, ""} {
		if c, err := Open(testSecret, "b", "k", in); err != nil || !c.Empty() {
			t.Errorf("%q opens as %v, error %v", in, c, err)
		}
	}
}

func TestLongestTokenOpens(t *testing.T) {
	c := bigContext(MaxEntries)
	token := Seal(testSecret, "b", "k", c)
	if len(token) != MaxTokenBytes {
		t.Errorf("%d bytes, MaxTokenBytes is %d", len(token), MaxTokenBytes)
	}
	got, err := Open(testSecret, "b", "k", token)
	if err != nil || !got.Vector.Equal(c.Vector) || !slices.Equal(got.Except, c.Except) {
		t.Errorf("came back different, error %v", err)
	}
}

// A context that does not fit is sealed as one that has seen less, never more.
func TestOversizedContextSealsLess(t *testing.T) {
	manyActors := bigContext(MaxEntries + 5)
	manyActors.Except = manyActors.Except[5:]
	manyExceptions := Context{Vector: Vector{{1, 9}, {2, 10 * MaxExcept}}}
	for i := range uint64(MaxExcept + 1) {
		manyExceptions.Except = append(manyExceptions.Except, Dot{2, 3 + 2*i})
	}
	for name, c := range map[string]Context{"actors": manyActors, "exceptions": manyExceptions, "both": bigContext(2 * MaxEntries)} {
		checkContext(t, c)
		token := Seal(testSecret, "b", "k", c)
		got, err := Open(testSecret, "b", "k", token)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkContext(t, got)
		if got.Empty() || len(got.Vector) > MaxEntries || len(got.Except) > MaxExcept {
			t.Errorf("%s: %d entries and %d exceptions", name, len(got.Vector), len(got.Except))
		}
		if !c.Vector.Descends(got.Vector) {
			t.Errorf("%s: the token has seen more", name)
		}
		for _, e := range c.Except {
			if got.Covers(e) {
				t.Errorf("%s: the token has seen the exception %v", name, e)
			}
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	c := Context{Vector: Vector{{1, 3}, {2, 4}}, Except: []Dot{{1, 2}}}
	token := Seal(testSecret, "bucket", "key", c)
	raw, err := tokenEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(raw ...byte) string {
		return tokenEncoding.EncodeToString(append(raw, tokenMAC(testSecret, "bucket", "key", raw)...))
	}
	tests := []struct {
		name, bucket, key, token, reason string
	}{
		{"other key", "bucket", "kez", token, "not issued for this key"},
		{"other bucket", "bucker", "key", token, "not issued for this key"},
		{"shifted", "bucketk", "ey", token, "not issued for this key"},
		{"other secret", "bucket", "key", Seal([]byte("other"), "bucket", "key", c), "not issued for this key"},
		{"too long", "bucket", "key", strings.Repeat("A", MaxTokenBytes+1), "too long"},
		{"not base64", "bucket", "key", "!" + token[1:], "malformed"},
		{"padded", "bucket", "key", token + "==", "malformed"},
		{"line break", "bucket", "key", token[:8] + "\n" + token[8:], "malformed"},
		{"line breaks at the end", "bucket", "key", token + "\r\n", "malformed"},
		{"standard alphabet", "bucket", "key", "+/" + token[2:], "malformed"},
		{"short", "bucket", "key", token[:8], "malformed"},
		{"cut", "bucket", "key", tokenEncoding.EncodeToString(raw[:len(raw)-3]), "not issued for this key"},
		{"newer version", "bucket", "key", sign(2, 0, 0), "unknown version 2"},
		{"signed rubbish", "bucket", "key", sign(1, 0xff, 0xff, 0xff), "malformed"},
		{"signed excess", "bucket", "key", sign(1, 0, 0, 0), "malformed"},
	}
	for _, tt := range tests {
		c, err := Open(testSecret, tt.bucket, tt.key, tt.token)
		if !errors.Is(err, ErrToken) || !c.Empty() {
			t.Errorf("%s: got %v, error %v", tt.name, c, err)
			continue
		}
		if !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: error %q does not say %q", tt.name, err, tt.reason)
		}
	}
	if _, err := Open(testSecret, "bucket", "key", sign(1, 0, 0)); err != nil {
		t.Errorf("the test signs wrongly: %v", err)
	}
}

// Every single altered character is noticed.
func TestAlteredTokenIsRefused(t *testing.T) {
	token := Seal(testSecret, "b", "k", Context{Vector: Vector{{1, 3}, {2, 400}}, Except: []Dot{{1, 2}}})
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range token {
		for _, ch := range alphabet {
			altered := token[:i] + string(ch) + token[i+1:]
			if altered == token {
				continue
			}
			if c, err := Open(testSecret, "b", "k", altered); !errors.Is(err, ErrToken) {
				t.Fatalf("altered at %d to %c: opens as %v, error %v", i, ch, c, err)
			}
		}
	}
}

// Were key and body joined without a length, whoever gets a token for a key
// of his choice would have one for a shorter key with a body of his choice.
func TestKeyCannotRunIntoBody(t *testing.T) {
	body := AppendContext(nil, Context{Vector: Vector{{1, 3}}})
	for cut := range len(body) {
		mac := tokenMAC(testSecret, "b", "k", append([]byte{tokenVersion}, body...))
		other := tokenMAC(testSecret, "b", "k"+string(body[:cut+1]), append([]byte{tokenVersion}, body[cut+1:]...))
		plain := tokenMAC(testSecret, "b", "k"+string(rune(tokenVersion))+string(body[:cut]), body[cut:])
		if bytes.Equal(mac, other) || bytes.Equal(mac, plain) {
			t.Fatalf("two keys share a token at %d", cut)
		}
	}
}

func TestErrorsHoldNothingOfTheToken(t *testing.T) {
	token := Seal(testSecret, "b", "k", Context{Vector: Vector{{1, 3}}})
	for _, in := range []string{token, token[:30], "?" + token} {
		_, err := Open(testSecret, "b", "other", in)
		if err == nil {
			t.Fatalf("%q opens", in)
		}
		if strings.Contains(err.Error(), in[1:9]) || strings.Contains(err.Error(), string(testSecret)) {
			t.Errorf("error tells too much: %v", err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, g := range goldenContexts {
		token := Seal(testSecret, "b", "k", g.c)
		f.Add(token, AppendContext([]byte{tokenVersion}, g.c))
	}
	f.Add("", []byte{tokenVersion, 0, 0, 0})
	f.Fuzz(func(t *testing.T, token string, raw []byte) {
		signed := tokenEncoding.EncodeToString(append(slices.Clip(raw), tokenMAC(testSecret, "b", "k", raw)...))
		for _, in := range []string{token, signed} {
			c, err := Open(testSecret, "b", "k", in)
			if err != nil {
				if !errors.Is(err, ErrToken) {
					t.Errorf("error %v", err)
				}
				continue
			}
			checkContext(t, c)
			if in != "" && len(c.Vector) <= MaxEntries && len(c.Except) <= MaxExcept && Seal(testSecret, "b", "k", c) != in {
				t.Errorf("%q opens and seals as another", in)
			}
		}
	})
}

func benchmarkContext() Context {
	return Context{Vector: Vector{{1 << 60, 1e6}, {1 << 61, 1e6}, {1 << 62, 1e6}}}
}

func BenchmarkSeal(b *testing.B) {
	c := benchmarkContext()
	b.ReportAllocs()
	for b.Loop() {
		Seal(testSecret, "bucket", "some/ordinary/key", c)
	}
}

func BenchmarkOpen(b *testing.B) {
	token := Seal(testSecret, "bucket", "some/ordinary/key", benchmarkContext())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(testSecret, "bucket", "some/ordinary/key", token); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleContext() {
	// Two clients wrote through the actor 1 without having read.
	second := Without(Vector{{1, 2}}, []Dot{{1, 1}})
	fmt.Println(second.Covers(Dot{1, 2}), second.Covers(Dot{1, 1}))
	// Output: true false
}
