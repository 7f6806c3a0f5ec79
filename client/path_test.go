package client

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestEscapeKey(t *testing.T) {
	for key, want := range map[string]string{
		"alice":         "alice",
		"a/b":           "a%2Fb",
		"a%2Fb":         "a%252Fb",
		".":             "%2E",
		"..":            "%2E%2E",
		"a/../b":        "a%2F%2E%2E%2Fb",
		"...":           "...",
		"photo.jpg":     "photo.jpg",
		"/":             "%2F",
		"a\x00b":        "a%00b",
		"a b?c#d+e&f":   "a%20b%3Fc%23d%2Be%26f",
		"h\u00e9\xff~;": "h%C3%A9%FF~%3B",
	} {
		if got := EscapeKey(key); got != want {
			t.Errorf("EscapeKey(%q) = %s, want %s", key, got, want)
		}
	}
}

func FuzzEscapeKey(f *testing.F) {
	for _, s := range []string{"a/../b", ".", "%2F", "\x00\xff", "a//b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		escaped := EscapeKey(key)
		if got, err := url.PathUnescape(escaped); err != nil || got != key {
			t.Fatalf("%q comes back as %q, %v", key, got, err)
		}
		if strings.ContainsAny(escaped, "/?#") || escaped == "." || escaped == ".." {
			t.Fatalf("%q became %q", key, escaped)
		}
	})
}

// What a server sees must be exactly the escaped path: net/http and net/url
// rewrite some of them when given half a chance.
func TestKeysArriveExactly(t *testing.T) {
	var uri string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uri = r.RequestURI
		w.WriteHeader(http.StatusNoContent)
	}))
	defer srv.Close()
	c := newClient(t, Options{Endpoints: []string{srv.URL}, DisableRing: true})
	for _, key := range []string{"a/b", "a%2Fb", "..", "../../etc", "a/./b", "a//b", "/", "\x00", "x\x00y", "\xff\xfe", "ü", "a?b=c", "#", "%", "a;b", "+", " "} {
		if _, err := c.Put(context.Background(), "b", key, nil, nil); err != nil {
			t.Fatal(err)
		}
		path, query, _ := strings.Cut(uri, "?")
		if want := "/v1/buckets/b/keys/" + EscapeKey(key); path != want || query != "" {
			t.Errorf("%q was sent as %s, want %s", key, uri, want)
		}
	}
}
