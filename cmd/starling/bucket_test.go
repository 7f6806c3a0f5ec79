package main

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"
)

// withBuckets gives the fake node two buckets.
func (f *fakeNode) withBuckets(pending ...string) {
	sessions := map[string]any{"name": "sessions", "declared": true, "incarnation": 2, "properties": map[string]any{
		"conflicts": "lww", "consistency": "one", "r": nil, "w": 2, "ttl": "24h", "max_siblings": 7, "max_value_bytes": 65536}}
	old := map[string]any{"name": "old", "declared": false, "incarnation": 1, "properties": map[string]any{
		"conflicts": "siblings", "consistency": "quorum", "r": nil, "w": nil, "ttl": nil, "max_siblings": nil, "max_value_bytes": nil}}
	f.docs["/v1/buckets"] = map[string]any{"buckets": []any{old, sessions}}
	f.docs["/v1/buckets/old"] = old
	f.docs["/v1/buckets/sessions"] = func(r *http.Request) any {
		switch {
		case r.Method == http.MethodDelete:
			return map[string]any{"pending": pending}
		case len(pending) > 0:
			sessions["pending"] = pending
		}
		return sessions
	}
}

func TestBucketCommands(t *testing.T) {
	f := newFakeNode(t)
	f.withBuckets()
	c := newCLI(t, f.URL)
	wantGolden(t, c, "buckets", exitDone, "bucket", "ls")
	wantGolden(t, c, "bucket", exitDone, "bucket", "show", "sessions")
	wantGolden(t, c, "bucket", exitDone, "bucket", "drop", "sessions", "--dry-run")
	if f.last.Method != http.MethodGet {
		t.Errorf("a dry run sent %s", f.last.Method)
	}
	f.withBuckets("n2", "n4")
	wantGolden(t, c, "bucket-drop", exitDone, "bucket", "drop", "sessions", "--yes")
	if f.last.Method != http.MethodDelete {
		t.Errorf("drop sent %s", f.last.Method)
	}
	wantGolden(t, c, "bucket-create", exitDone, "bucket", "create", "sessions", "--conflicts", "lww", "--consistency", "one", "--w", "2",
		"--ttl", "24h", "--max-siblings", "7", "--max-value-bytes", "65536")
	var sent map[string]any
	want := map[string]any{"conflicts": "lww", "consistency": "one", "w": 2.0, "ttl": "24h0m0s", "max_siblings": 7.0, "max_value_bytes": 65536.0}
	if err := json.Unmarshal(f.body, &sent); err != nil || !reflect.DeepEqual(sent, want) || f.last.Method != http.MethodPut {
		t.Errorf("create sent %s %s", f.last.Method, f.body)
	}
}

func TestBucketUsage(t *testing.T) {
	f := newFakeNode(t)
	f.withBuckets()
	c := newCLI(t, f.URL)
	for _, args := range [][]string{
		{"bucket", "drop", "sessions"}, {"bucket", "drop"}, {"bucket", "show", "a", "b"}, {"bucket", "list"},
		{"bucket", "create", "b", "--consistency", "any"}, {"bucket", "create", "b", "--r", "0"}, {"bucket", "create", "b", "--ttl", "-1s"},
		{"bucket", "create", "b", "--max-siblings", "0"}, {"bucket", "create", "a/b"}, {"bucket", "drop", "a/b", "--yes"},
	} {
		f.last = nil
		if out := c.run(args...); out.code != exitUsage || f.last != nil {
			t.Errorf("%v: code %d, asked %v: %s", args, out.code, f.last != nil, out.err)
		}
	}
	f = newFakeNode(t)
	f.answer = func(w http.ResponseWriter) { problem(w, http.StatusConflict, "conflicts-differ", "") }
	if out := newCLI(t, f.URL).run("bucket", "create", "b", "--conflicts", "counter"); out.code != exitPrecondition {
		t.Errorf("code %d: %s", out.code, out.err)
	}
}
