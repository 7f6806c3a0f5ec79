package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"starling/client"
)

// bucketNode is a node with one bucket in memory that takes batches and lists
// keys.
type bucketNode struct {
	mu       sync.Mutex
	values   map[string][]string // siblings, the newest last
	ops      map[string]bool     // idempotency keys of puts
	types    map[string]string
	batches  int
	replaced int
	// refuse, unless nil, is the status of the puts of a key; 0: done. It may
	// block.
	refuse func(key string) int
}

func newBucketNode() *bucketNode {
	return &bucketNode{values: map[string][]string{}, ops: map[string]bool{}, types: map[string]string{}}
}

type nodeOp struct {
	Op, Key, Value, Idempotency_Key, Content_Type string
	Replace                                       bool
}

func (n *bucketNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v1/buckets/b/batch":
		n.batch(w, r)
	case "/v1/buckets/b/keys":
		n.list(w, r)
	default:
		problem(w, http.StatusNotFound, "no-such-resource", "")
	}
}

func (n *bucketNode) batch(w http.ResponseWriter, r *http.Request) {
	var doc struct{ Operations []nodeOp }
	if err := json.NewDecoder(r.Body).Decode(&doc); err != nil {
		problem(w, http.StatusBadRequest, "bad-body", "")
		return
	}
	results := []map[string]any{}
	for _, op := range doc.Operations {
		results = append(results, n.put(op))
	}
	n.mu.Lock()
	n.batches++
	n.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{"results": results})
}

func (n *bucketNode) put(op nodeOp) map[string]any {
	if n.refuse != nil {
		if status := n.refuse(op.Key); status != 0 {
			return map[string]any{"status": status, "problem": map[string]any{"type": "/problems/x", "title": "Refused", "status": status, "detail": "no"}}
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if op.Replace {
		n.replaced++
	}
	if !n.ops[op.Idempotency_Key] {
		n.ops[op.Idempotency_Key] = true
		if op.Replace {
			n.values[op.Key] = nil
		}
		n.values[op.Key] = append(n.values[op.Key], op.Value)
		n.types[op.Key] = op.Content_Type
	}
	return map[string]any{"status": 204, "context": "c"}
}

func (n *bucketNode) list(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	keys := []map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(n.values)) {
		if key <= r.URL.Query().Get("after") {
			continue
		}
		siblings := []map[string]any{}
		for i, v := range n.values[key] {
			siblings = append(siblings, map[string]any{"dot": "d", "content_type": n.types[key], "modified": fmt.Sprintf("2026-11-02T10:00:0%d.000Z", i), "encoding": "utf-8", "value": v})
		}
		doc := map[string]any{"key": key, "context": "c", "siblings": siblings}
		if len(siblings) == 1 {
			doc = siblings[0]
			doc["key"] = key
		}
		keys = append(keys, doc)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"bucket": "b", "keys": keys, "complete": true})
}

// linesOf is an import of so many lines.
func linesOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"key":"k%04d","value":"value %d","content_type":"text/plain"}`+"\n", i, i)
	}
	return b.String()
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lines.ndjson")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (n *bucketNode) wantLines(t *testing.T, count int) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.values) != count {
		t.Errorf("%d keys, want %d", len(n.values), count)
	}
	for key, values := range n.values {
		var i int
		if _, err := fmt.Sscanf(key, "k%d", &i); err != nil || len(values) != 1 || values[0] != fmt.Sprint("value ", i) {
			t.Fatalf("%s has %q", key, values)
		}
	}
}

func (n *bucketNode) cli(t *testing.T) *cli {
	f := newFakeNode(t)
	f.Config.Handler = n
	return newCLI(t, f.URL)
}

func (o outcome) want(t *testing.T, code int, words ...string) {
	t.Helper()
	if o.code != code {
		t.Fatalf("exit code %d, want %d: %s%s", o.code, code, o.out, o.err)
	}
	for _, w := range words {
		if !strings.Contains(o.out+o.err, w) {
			t.Errorf("%q is not in %s%s", w, o.out, o.err)
		}
	}
}

func TestImportAndExport(t *testing.T) {
	n := newBucketNode()
	c := n.cli(t)
	path := writeFile(t, linesOf(1200))
	c.run("import", "b", path, "--concurrency", "1").want(t, 0, "imported 1200 lines")
	n.wantLines(t, 1200)
	if n.batches != 3 || n.replaced != 0 {
		t.Errorf("%d batches, %d reads of an empty bucket", n.batches, n.replaced)
	}
	if _, err := os.Stat(path + ".import-state"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state of a complete import: %v", err)
	}
	c.run("import", "b", path).want(t, 0) // again: another import, which replaces
	n.wantLines(t, 1200)
	if n.replaced != 1200 {
		t.Errorf("%d of 1200 puts replaced what was there", n.replaced)
	}
	out := path + ".out"
	c.run("export", "b", out).want(t, 0, "1200 keys")
	want, _ := os.ReadFile(path)
	if got, err := os.ReadFile(out); err != nil || string(got) != string(want) {
		t.Errorf("the export is not what was imported: %v, %.200s", err, got)
	}
	c.in = linesOf(3)
	c.run("import", "b").want(t, 0, "imported 3 lines")
	c.run("import", "b", "-", "--state", out).want(t, 2, "cannot be gone on with")
}

// Of several lines of one key the last stays, wherever they are.
func TestImportOfRepeatedKeys(t *testing.T) {
	n := newBucketNode()
	c := n.cli(t)
	c.in = linesOf(600) + `{"key":"k0599","value":"value x"}` + "\n" + `{"key":"k0599","value":"value 599"}` + "\n" + `{"key":"k0001","value":"other"}` + "\n\n" + `{"key":"k0001","value":"value 1"}`
	c.run("import", "b").want(t, 0, "imported 605 lines")
	n.wantLines(t, 600)
	// The same line again is another put: it may have lost its value in between.
	c.in = linesOf(3) + `{"key":"k0001","value":"other"}` + "\n" + linesOf(2)
	c.run("import", "b").want(t, 0)
	n.wantLines(t, 600)
}

func TestImportGoesOn(t *testing.T) {
	n := newBucketNode()
	c := n.cli(t)
	path := writeFile(t, linesOf(3000))
	full := func(key string) int {
		if key >= "k1700" {
			return http.StatusInsufficientStorage
		}
		return 0
	}
	n.refuse = full
	c.run("import", "b", path, "--concurrency", "2").want(t, 1, "line 1701", "stopped behind 1500 lines")
	n.refuse = nil
	before := len(n.ops)
	c.run("import", "c", path).want(t, 2, "bucket b")
	c.run("import", "b", path, "-o", "json").want(t, 0, `"written": 1500`, "going on behind line 1500")
	n.wantLines(t, 3000)
	if doubled := len(n.ops) - 3000; doubled != 0 || before <= 1500 {
		t.Errorf("%d lines were other puts than before (%d done at first)", doubled, before)
	}

	n.refuse = full
	c.run("import", "b", path).want(t, 1)
	text, _ := os.ReadFile(path)
	text[200_00] = '#' // before the place
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	state, err := os.ReadFile(path + ".import-state")
	if err != nil {
		t.Fatal(err)
	}
	var s importState
	if err := json.Unmarshal(state, &s); err != nil || s.Offset < 20_000 {
		t.Fatalf("%v: %s", err, state)
	}
	at := s.Offset - 10
	if err := os.WriteFile(path, append(text[:at:at], append([]byte("x"), text[at:]...)...), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run("import", "b", path).want(t, 2, "of another file")
}

func TestImportOfBadLines(t *testing.T) {
	n := newBucketNode()
	c := n.cli(t)
	for name, line := range map[string]string{
		"no JSON": "x", "no key": `{"value":"v"}`, "two values": `{"key":"k","value":"v","value_base64":"dg=="}`,
		"unknown field": `{"key":"k","value":"v","bucket":"b"}`, "two objects": `{"key":"k","value":"v"} {}`,
		"no UTF-8": "{\"key\":\"\xff\",\"value\":\"v\"}", "ttl": `{"key":"k","value":"v","ttl":"-1s"}`,
		"long key": `{"key":"` + strings.Repeat("k", 1025) + `","value":"v"}`, "empty key": `{"key":"","value":"v"}`,
	} {
		n.values = map[string][]string{}
		c.in = linesOf(2) + line + "\n" + linesOf(5)
		o := c.run("import", "b")
		if o.code == 0 || !strings.Contains(o.err, "line 3") {
			t.Errorf("%s: %+v", name, o)
		}
		n.wantLines(t, 2)
	}
	c.run("import", "b", "x", "y").want(t, 2)
	c.run("import", "b", t.TempDir()).want(t, 2, "is a directory")
	c.run("import", "b", "/dev/null", "--state", "s").want(t, 2, "no regular file")
	c.run("import", "b", "/dev/null").want(t, 0, "imported 0 lines")
	c.run("import", "b", "--concurrency", "0").want(t, 2)
	c.run("import", "b", filepath.Join(t.TempDir(), "none")).want(t, 2)
}

// The first line of a key is not sent again once the second was sent: by then
// it is on disk that the first is acknowledged.
func TestImportKeepsItsPlaceBetweenLinesOfAKey(t *testing.T) {
	path := writeFile(t, linesOf(1)+`{"key":"k0000","value":"second"}`+"\n")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seconds := 0
	imp := &importer{file: f, state: newImportState("b"), progress: func(importState) {},
		opts: importOptions{bucket: "b", concurrency: 4, statePath: path + ".state"}}
	imp.send = func(_ context.Context, ops []client.Op) ([]client.Result, error) {
		for _, op := range ops {
			if string(op.Data) != "second" {
				continue
			}
			seconds++
			s, err := loadImportState(path+".state", "b", f)
			if err != nil || s.Lines != 1 || s.ID != imp.state.ID {
				t.Errorf("before the second line: %+v, %v", s, err)
			}
		}
		return make([]client.Result, len(ops)), nil
	}
	if err := imp.run(t.Context(), f); err != nil || imp.state.Lines != 2 || seconds != 1 {
		t.Errorf("%v after %d lines, %d second ones", err, imp.state.Lines, seconds)
	}
}

// An import that cannot keep its place is not complete, whatever it had done.
func TestImportThatCannotKeepItsPlace(t *testing.T) {
	path := writeFile(t, linesOf(3*maxImportLines))
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	imp := &importer{file: f, state: newImportState("b"), progress: func(importState) {},
		opts: importOptions{bucket: "b", concurrency: 1, statePath: filepath.Join(dir, "state")}}
	imp.send = func(_ context.Context, ops []client.Op) ([]client.Result, error) {
		imp.mu.Lock()
		defer imp.mu.Unlock()
		imp.kept = time.Time{}
		return make([]client.Result, len(ops)), os.RemoveAll(dir)
	}
	if err := imp.run(t.Context(), f); !errors.Is(err, os.ErrNotExist) || imp.state.Lines == 3*maxImportLines {
		t.Errorf("%v after %d lines", err, imp.state.Lines)
	}
}

// What an import writes beside its input goes away with it, and a file that one
// left behind that was killed is no hindrance.
func TestImportLeavesNothingBehind(t *testing.T) {
	n := newBucketNode()
	path := writeFile(t, linesOf(10))
	if err := os.WriteFile(path+".import-state.new", []byte("half a sta"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.cli(t).run("import", "b", path).want(t, 0)
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestExportOfSiblingsAndItsResumption(t *testing.T) {
	n := newBucketNode()
	n.values = map[string][]string{"a": {"1"}, "b": {"old", "new"}, "c": {"3"}}
	c := n.cli(t)
	want := `{"key":"a","value":"1"}
{"key":"b","value":"old"}
{"key":"b","value":"new"}
{"key":"c","value":"3"}
`
	o := c.run("export", "b")
	o.want(t, 0, "1 key has siblings")
	if o.out != want {
		t.Errorf("exported\n%s", o.out)
	}
	path := filepath.Join(t.TempDir(), "out")
	for cut := range len(want) + 1 { // wherever it was ended
		if err := os.WriteFile(exportPart(path, "b", ""), []byte(want[:cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		c.run("export", "b", path).want(t, 0)
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Fatalf("cut at %d: %s", cut, got)
		}
	}
	if err := os.WriteFile(exportPart(path, "b", ""), []byte("something else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run("export", "b", path).want(t, 1, "no part of an export")
	// A part is gone on with by the export that it is of.
	for _, other := range []string{exportPart(path, "c", ""), exportPart(path, "b", "a"), exportPart(path, "b", "b")} {
		if other == exportPart(path, "b", "") {
			t.Errorf("%s is of several exports", other)
		}
	}
	c.run("export", "b", path, "--prefix", "a").want(t, 0)
	c.in = want
	c.run("import", "b").want(t, 0)
	if v := n.values["b"]; len(v) != 1 || v[0] != "new" {
		t.Errorf("imported again: %q", v)
	}
}
