package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"
	"unicode/utf8"
)

// fakeKeys answers pages of some sorted keys, page of them at most.
type fakeKeys struct {
	names   []string
	page    int
	queries []url.Values
	fail    func(w http.ResponseWriter, n int) bool
}

func (f *fakeKeys) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Path != "/v1/buckets/b/keys" {
		fakeProblem(w, http.StatusNotFound, "no-such-resource", nil)
		return
	}
	q := r.URL.Query()
	f.queries = append(f.queries, q)
	if f.fail != nil && f.fail(w, len(f.queries)) {
		return
	}
	limit, _ := strconv.Atoi(q.Get("limit"))
	doc := map[string]any{"bucket": "b", "complete": true}
	keys := []any{}
	for _, name := range f.names {
		if name <= q.Get("after") || len(name) < len(q.Get("prefix")) || name[:len(q.Get("prefix"))] != q.Get("prefix") {
			continue
		}
		if len(keys) == min(limit, f.page) {
			doc["complete"] = false
			break
		}
		key := map[string]any{}
		fakeText(key, "key", name)
		delete(doc, "next")
		delete(doc, "next_base64")
		fakeText(doc, "next", name)
		if q.Get("values") == "true" {
			key["context"] = "seen"
			one := map[string]any{"dot": "a:1", "content_type": "text/plain", "modified": "2026-03-01T12:00:00Z", "encoding": "utf-8", "value": "of " + name}
			if name == "siblings" {
				key["siblings"] = []any{one, one}
			} else {
				for k, v := range one {
					key[k] = v
				}
			}
		}
		keys = append(keys, key)
	}
	doc["keys"] = keys
	_ = json.NewEncoder(w).Encode(doc)
}

func fakeText(doc map[string]any, name, text string) {
	if utf8.ValidString(text) {
		doc[name] = text
	} else {
		doc[name+"_base64"] = base64.StdEncoding.EncodeToString([]byte(text))
	}
}

func keysClient(t *testing.T, f *fakeKeys) *Client {
	t.Helper()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return newClient(t, Options{Endpoints: []string{srv.URL}, DisableRing: true, Backoff: time.Millisecond})
}

func collect(t *testing.T, c *Client, o *KeysOptions) (keys []Key, names []string) {
	t.Helper()
	for k, err := range c.Keys(t.Context(), "b", o) {
		if err != nil {
			t.Fatal(err)
		}
		keys, names = append(keys, k), append(names, k.Name)
	}
	return keys, names
}

func TestKeys(t *testing.T) {
	f := &fakeKeys{names: []string{"a", "a&b=c", "a\xff", "b", "b/c", "siblings"}, page: 2}
	c := keysClient(t, f)
	if _, got := collect(t, c, nil); !slices.Equal(got, f.names) || len(f.queries) != 3 || f.queries[0].Get("limit") != "1000" {
		t.Errorf("%q in %d pages, %v", got, len(f.queries), f.queries[0])
	}
	for limit := 1; limit <= 7; limit++ {
		if _, got := collect(t, c, &KeysOptions{Limit: limit}); !slices.Equal(got, f.names[:min(limit, 6)]) {
			t.Errorf("limit %d: %q", limit, got)
		}
	}
	f.queries = nil
	o := &KeysOptions{Prefix: "a", After: "a&b=c", Level: All, R: 2, Timeout: 750 * time.Millisecond}
	if _, got := collect(t, c, o); !slices.Equal(got, []string{"a\xff"}) || o.After != "a&b=c" {
		t.Errorf("%q, options %+v", got, o)
	}
	want := url.Values{"limit": {"1000"}, "prefix": {"a"}, "after": {"a&b=c"}, "consistency": {"all"}, "r": {"2"}, "timeout": {"750ms"}}
	if got := f.queries[0]; got.Encode() != want.Encode() {
		t.Errorf("query %v, want %v", got, want)
	}
	for range c.Keys(t.Context(), "b", nil) {
		break // a range may be left
	}
}

func TestKeysWithValues(t *testing.T) {
	c := keysClient(t, &fakeKeys{names: []string{"k", "siblings"}, page: 9})
	keys, _ := collect(t, c, &KeysOptions{Values: true})
	if v := keys[0].Value; string(v.Data) != "of k" || v.Context != "seen" || v.ContentType != "text/plain" || v.Modified.IsZero() || v.Siblings != nil {
		t.Errorf("%+v", v)
	}
	if v := keys[1].Value; len(v.Siblings) != 2 || string(v.Siblings[1].Data) != "of siblings" || v.Data != nil || v.Context != "seen" {
		t.Errorf("%+v", v)
	}
}

// A page that fails for now is asked for again, and nothing comes twice; what
// fails for good ends the range.
func TestKeysThroughFailures(t *testing.T) {
	f := &fakeKeys{page: 3}
	for i := range 10 {
		f.names = append(f.names, fmt.Sprint("key-", i))
	}
	f.fail = func(w http.ResponseWriter, n int) bool {
		if n%2 == 1 {
			fakeProblem(w, http.StatusServiceUnavailable, "quorum-not-reached", map[string]any{"maybe_applied": false})
		}
		return n%2 == 1
	}
	c := keysClient(t, f)
	if _, got := collect(t, c, nil); !slices.Equal(got, f.names) {
		t.Errorf("%q", got)
	}
	f.queries = nil
	f.fail = func(w http.ResponseWriter, n int) bool {
		if n == 2 {
			fakeProblem(w, http.StatusBadRequest, "bad-parameter", nil)
		}
		return n == 2
	}
	n := 0
	var failed error
	for _, err := range c.Keys(t.Context(), "b", nil) {
		if err == nil {
			n++
		} else if failed != nil {
			t.Error("it went on behind an error")
		}
		failed = err
	}
	var e *Error
	if n != 3 || !errors.As(failed, &e) || e.Op != "keys" {
		t.Errorf("%d keys, %v", n, failed)
	}
}

func TestKeysThatGoRound(t *testing.T) {
	f := &fakeKeys{fail: func(w http.ResponseWriter, _ int) bool {
		_, _ = w.Write([]byte(`{"keys":[],"next":"a","complete":false}`))
		return true
	}}
	c := keysClient(t, f)
	for _, err := range c.Keys(t.Context(), "b", nil) {
		if err == nil {
			t.Error("a key")
		}
	}
	if len(f.queries) != 2 {
		t.Errorf("%d pages were asked for", len(f.queries))
	}
}

func TestKeysOfWrongArguments(t *testing.T) {
	c := keysClient(t, &fakeKeys{})
	for name, o := range map[string]*KeysOptions{
		"limit": {Limit: -1}, "prefix": {Prefix: string(make([]byte, 1025))}, "after": {After: string(make([]byte, 1025))}, "r": {R: -1}, "timeout": {Timeout: -1},
	} {
		for _, err := range c.Keys(context.Background(), "b", o) {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, err := range c.Keys(context.Background(), "a/b", nil) {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("bucket: %v", err)
		}
	}
}
