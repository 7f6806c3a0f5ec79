package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// cli runs command lines in this process.
type cli struct {
	t   *testing.T
	env map[string]string
	in  string
}

// outcome is what a command line came to.
type outcome struct {
	code     int
	out, err string
}

func newCLI(t *testing.T, endpoints ...string) *cli {
	return &cli{t: t, env: map[string]string{"STARLING_ENDPOINT": strings.Join(endpoints, ",")}}
}

func (c *cli) run(args ...string) outcome {
	c.t.Helper()
	var out, err bytes.Buffer
	a := &app{in: strings.NewReader(c.in), out: &out, err: &err, env: func(name string) string { return c.env[name] }}
	code := execute(context.Background(), a, args)
	return outcome{code, out.String(), err.String()}
}

// golden compares with a file under testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
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
		t.Errorf("%s: got\n%swant\n%s", name, got, want)
	}
}

// fakeNode answers documents by path, some of which are made by a function of
// the request, and has one key, carts/alice.
type fakeNode struct {
	*httptest.Server
	docs   map[string]any
	mu     sync.Mutex // guards last and body while nodes are asked at once
	last   *http.Request
	body   []byte
	answer func(w http.ResponseWriter) // for the keys; nil: 204 or the value
	// missing is the problem of a path without a document.
	missing string
}

func newFakeNode(t *testing.T) *fakeNode {
	f := &fakeNode{docs: map[string]any{}, missing: "no-such-resource"}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Server.Close)
	return f
}

func (f *fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.last, f.body = r, body
	f.mu.Unlock()
	if doc, ok := f.docs[r.URL.EscapedPath()]; ok {
		if made, ok := doc.(func(*http.Request) any); ok {
			doc = made(r)
		}
		_ = json.NewEncoder(w).Encode(doc)
		return
	}
	if !strings.HasPrefix(r.URL.Path, "/v1/buckets/") {
		problem(w, http.StatusNotFound, f.missing, "")
		return
	}
	w.Header().Set("X-Starling-Context", "seen")
	w.Header().Set("X-Starling-Coordinator", "n1")
	switch {
	case f.answer != nil:
		f.answer(w)
	case r.URL.Query().Get("previous") == "true":
		w.Header().Set("X-Starling-Replicas", "acked=1 hinted=1 required=2")
		_, _ = io.WriteString(w, `{"context":"seen","previous":[
			{"dot":"feed:7","content_type":"text/plain","modified":"2026-03-01T12:00:01.5Z","expires_at":"2026-03-02T12:00:00Z","encoding":"utf-8","value":"3 apples\u001b[2J"},
			{"dot":"feed:6","content_type":"image/png","modified":"2026-03-01T12:00:00Z","meta":{"owner":"Al"},"encoding":"base64","value":"/w=="}]}`)
	case r.Method == http.MethodPost:
		w.Header().Set("X-Starling-Replicas", "acked=2 hinted=1 required=2")
		_, _ = io.WriteString(w, `{"value":-42,"dot":"feed:7"}`)
	case r.Method == http.MethodGet:
		w.Header().Set("X-Starling-Replicas", "acked=1 hinted=1 required=2")
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Last-Modified", "Sun, 01 Mar 2026 12:00:00 GMT")
		w.Header().Set("X-Starling-Meta-Owner", "Al")
		_, _ = io.WriteString(w, "2 apples")
	default:
		w.Header().Set("Etag", `"e1"`)
		w.Header().Set("X-Starling-Replicas", "acked=2 hinted=1 required=2")
		if r.Header.Get("Prefer") == "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = io.WriteString(w, `{"dot":"feed:7","replicas":[{"node":"n1","outcome":"acked"},{"node":"n2","outcome":"hinted","holder":"n3"}]}`)
	}
}

func problem(w http.ResponseWriter, status int, slug, members string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"type":"/problems/%s","title":"Title of %s","detail":"The detail."%s}`, slug, slug, members)
}

// cluster gives the fake node a healthy cluster of three, but for a change.
func (f *fakeNode) cluster(change func(members []map[string]any)) {
	members := []map[string]any{}
	ring := []map[string]any{}
	for i, owns := range []int{5, 6, 5} {
		name := fmt.Sprint("n", i+1)
		members = append(members, map[string]any{
			"name": name, "id": strings.Repeat(fmt.Sprint(i+1), 32), "state": "active", "alive": true,
			"http": fmt.Sprintf("127.0.0.1:47%d0", i+1), "rpc": fmt.Sprintf("127.0.0.1:47%d1", i+1),
			"zone": "", "weight": 100, "settled": owns, "pending": 0, "answered": true, "hints": i, "hint_bytes": 10 * i, "draining": false,
		})
		if i > 0 {
			maps.Copy(members[i], map[string]any{"usable": true, "breaker": "closed", "in_flight": i, "read_p95_ms": 1.5, "write_p95_ms": 2})
		}
		ring = append(ring, map[string]any{
			"name": name, "id": strings.Repeat(fmt.Sprint(i+1), 32), "state": "active", "alive": true,
			"http": fmt.Sprintf("127.0.0.1:47%d0", i+1), "zone": "", "weight": 100, "owns": owns,
		})
	}
	ring[1]["zone"], ring[2]["alive"] = "rack-2", false
	change(members)
	f.docs["/v1/cluster"] = map[string]any{
		"cluster_id": strings.Repeat("ab", 16), "map_hash": "00000000deadbeef", "partitions": 8, "replicas": 2, "node": "n1", "members": members,
	}
	f.docs["/v1/ring"] = map[string]any{
		"partitions": 4, "replicas": 2, "hash": "xxh64", "map_hash": "00000000deadbeef", "members": ring,
		"owners": [][]int{{0, 1}, {1, 2}, {2, 0}, {0, 1}}, "pending": [][]int{{}, {0}, {}, {}},
	}
	f.docs["/v1/ring/carts/a%2Fb"] = map[string]any{
		"partition": 3, "owners": []string{"n1", "n2"}, "pending": []string{}, "fallbacks": []string{"n3"},
	}
	f.docs["/v1/convergence"] = wellConvergence()
	f.docs["/v1/explain/carts/a%2Fb"] = map[string]any{
		"bucket": "carts", "key": "a/b", "node": "n1", "partition": 3, "agree": false, "verdict": "1 of 2 owners holds the same version; n2 is down; n3 holds a hint for n2",
		"replicas": []map[string]any{
			{"node": "n1", "role": "owner", "alive": true, "hash": "00000000000000aa", "vector": map[string]any{"feed": 2}, "hints": 0,
				"siblings": []map[string]any{{"dot": "feed:1", "bytes": 0, "deleted": true}, {"dot": "feed:2", "bytes": 12}}, "held_for": []any{}, "error": ""},
			{"node": "n2", "role": "owner", "alive": false, "hash": "", "vector": map[string]any{}, "siblings": []any{}, "hints": 0, "held_for": []any{}, "error": "peer unreachable\x1b[2J"},
			{"node": "n3", "role": "fallback", "alive": true, "hash": "00000000000000aa", "hinted": true, "vector": map[string]any{"feed": 2}, "hints": 2,
				"siblings": []map[string]any{{"dot": "feed:2", "bytes": 12}}, "held_for": []map[string]any{{"node": "n2", "hash": "00000000000000aa"}, {"node": "n9", "hash": "00000000000000bb"}}, "error": ""},
		},
	}
	f.docs["/v1/explain/carts/nothing"] = map[string]any{
		"partition": 1, "agree": true, "verdict": "2 of 2 owners hold no version",
		"replicas": []map[string]any{{"node": "n1", "role": "owner", "alive": true, "hash": ""}},
	}
}
