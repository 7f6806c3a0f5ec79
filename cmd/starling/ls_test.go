package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// listedKeys answers the keys of a bucket in pages of two.
func listedKeys(keys ...map[string]any) func(*http.Request) any {
	return func(r *http.Request) any {
		start := 0
		for start < len(keys) && r.URL.Query().Get("after") >= keys[start]["key"].(string) {
			start++
		}
		doc := map[string]any{"bucket": "carts", "keys": keys[start:], "complete": true}
		if len(keys)-start > 2 {
			doc["keys"], doc["complete"], doc["next"] = keys[start:start+2], false, keys[start+1]["key"]
		}
		return doc
	}
}

func TestLs(t *testing.T) {
	f := newFakeNode(t)
	c := newCLI(t, f.URL)
	value := func(key, value string) map[string]any {
		return map[string]any{"key": key, "context": "seen", "dot": "a:1", "content_type": "text/plain", "modified": "2026-03-01T12:00:00Z",
			"encoding": "utf-8", "value": value, "meta": map[string]string{"owner": "Al"}}
	}
	several := map[string]any{"key": "bob", "context": "seen", "siblings": []map[string]any{
		{"dot": "a:1", "content_type": "text/plain", "modified": "2026-03-01T12:00:00Z", "encoding": "utf-8", "value": "one"},
		{"dot": "b:1", "content_type": "text/plain", "modified": "2026-03-01T12:00:01Z", "encoding": "base64", "value": "/w=="},
	}}
	for name, tc := range map[string]struct {
		keys []map[string]any
		args string
	}{
		"ls":        {[]map[string]any{{"key": "alice"}, {"key": "bob\x1b[2J"}, {"key": "zoë"}}, "ls carts"},
		"ls-none":   {nil, "ls carts"},
		"ls-values": {[]map[string]any{value("alice", "2 apples"), several, value("carol", strings.Repeat("long ", 20))}, "ls carts --values"},
	} {
		f.docs["/v1/buckets/carts/keys"] = listedKeys(tc.keys...)
		for _, format := range []string{outputTable, outputJSON} {
			got := c.run(append(strings.Fields(tc.args), "-o", format)...)
			if got.code != 0 || got.err != "" {
				t.Errorf("%s as %s: %+v", name, format, got)
			}
			golden(t, name+"."+map[string]string{outputTable: "txt", outputJSON: "json"}[format], got.out)
			if format == outputJSON && !json.Valid([]byte(got.out)) {
				t.Errorf("%s: no JSON", name)
			}
		}
	}
}

func TestLsFlags(t *testing.T) {
	f := newFakeNode(t)
	c := newCLI(t, f.URL)
	f.docs["/v1/buckets/carts/keys"] = listedKeys()
	got := c.run("ls", "carts", "--prefix", "user/", "--after", "user/4&", "--limit", "7", "--values", "--consistency", "all", "--r", "2", "--timeout", "750ms")
	want := map[string]string{"prefix": "user/", "after": "user/4&", "limit": "7", "values": "true", "consistency": "all", "r": "2", "timeout": "750ms"}
	q := f.last.URL.Query()
	for name, value := range want {
		if q.Get(name) != value {
			t.Errorf("%s is %q, want %q", name, q.Get(name), value)
		}
	}
	if got.code != 0 || len(q) != len(want) {
		t.Errorf("%+v, query %v", got, q)
	}
	for line, says := range map[string]string{
		"ls": "BUCKET is missing", "ls a b": `unexpected argument "b"`, "ls carts --limit -1": "1 or more", "ls carts --r 0": "1 up to",
		"ls carts --consistency any": "one, two, three, quorum, all are allowed", "ls a/b": "A-Z a-z 0-9",
	} {
		if got := c.run(strings.Fields(line)...); got.code != exitUsage || !strings.Contains(got.err, says) {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

// A list that ends early says where to go on, and its JSON is still whole.
func TestLsThatFails(t *testing.T) {
	f := newFakeNode(t)
	c := newCLI(t, f.URL)
	f.docs["/v1/buckets/carts/keys"] = func(r *http.Request) any {
		if r.URL.Query().Get("after") != "" {
			return "no page"
		}
		return map[string]any{"keys": []any{map[string]any{"key": "alice"}}, "next": "alice", "complete": false}
	}
	got := c.run("ls", "carts", "-o", "json")
	if got.code != exitFailed || !strings.Contains(got.err, `1 key was listed, go on with --after "alice"`) || !json.Valid([]byte(got.out)) {
		t.Errorf("%+v", got)
	}
}

func TestListLine(t *testing.T) {
	if got := listLine(3, "é\x1b"+strings.Repeat("x", 50)); got != "3 keys, up to é\uFFFD"+strings.Repeat("x", 38)+"…" {
		t.Errorf("%q", got)
	}
}
