package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// batch sends operations on bucket b to node i and gives the results.
func (c *cluster) batch(i int, query string, ops ...map[string]any) (results []map[string]any) {
	c.t.Helper()
	body, err := json.Marshal(map[string]any{"operations": ops})
	if err != nil {
		c.t.Fatal(err)
	}
	a := c.do(200, "POST", i, "/v1/buckets/b/batch"+query, string(body), "Content-Type", "application/json")
	var doc struct{ Results []map[string]any }
	if err := json.Unmarshal(a.body, &doc); err != nil || len(doc.Results) != len(ops) {
		c.t.Fatalf("%d results for %d operations, %v", len(doc.Results), len(ops), err)
	}
	return doc.Results
}

// wrongLines counts the lines that node i does not read as they were imported,
// and gives the first of them.
func (c *cluster) wrongLines(i, lines int, query string) (wrong int, first string) {
	c.t.Helper()
	for from := 0; from < lines; from += 1000 {
		var ops []map[string]any
		for n := from; n < min(lines, from+1000); n++ {
			ops = append(ops, map[string]any{"op": "get", "key": lineKey(n)})
		}
		for k, r := range c.batch(i, query, ops...) {
			if r["status"] != 200.0 || r["value"] != lineValue(from+k) {
				if wrong++; wrong == 1 {
					first = fmt.Sprint(lineKey(from+k), ": ", r)
				}
			}
		}
	}
	return wrong, first
}

func lineKey(n int) string   { return fmt.Sprintf("line-%05d", n) }
func lineValue(n int) string { return fmt.Sprintf("value of line %d", n) }

// An import that is killed goes on where it was, with a node down at that: all
// lines are there, each once, and also at the node that was down.
func TestImportKilledAndResumed(t *testing.T) {
	t.Parallel()
	const lines = 5000
	// Held back, so that there is a middle to be killed in.
	c := up(t, 5, "STARLING_TEST_REPLICA_DELAY=30ms")
	file := filepath.Join(t.TempDir(), "lines.ndjson")
	var text strings.Builder
	for n := range lines {
		fmt.Fprintf(&text, `{"key":%q,"value":%q,"content_type":"text/plain"}`+"\n", lineKey(n), lineValue(n))
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	first := exec.Command(filepath.Join(root, "bin", "starling"), "import", "b", file, "--concurrency", "2", "--endpoint", c.url(1, ""))
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "line 2000 to be there", func() bool {
		a, err := c.try("GET", 2, keys+lineKey(2000), "")
		return err == nil && a.StatusCode == 200
	})
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // it was killed
	if status := first.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
		t.Fatalf("the import was over before it was killed: %v", first.ProcessState)
	}
	if wrong, _ := c.wrongLines(2, lines, ""); wrong == 0 {
		t.Fatal("nothing was left to be imported")
	}

	const down = 3
	c.run("kill", fmt.Sprint(down))
	out := c.starling(0, 1, "import", "b", file, "-o", "json")
	var done struct {
		Lines    int
		Complete bool
	}
	if err := json.Unmarshal([]byte(out), &done); err != nil || done.Lines != lines || !done.Complete {
		t.Errorf("resumed: %s", out)
	}
	if _, err := os.Stat(file + ".import-state"); !os.IsNotExist(err) {
		t.Errorf("the state of a complete import: %v", err)
	}
	if wrong, first := c.wrongLines(4, lines, ""); wrong > 0 {
		t.Errorf("with a node down %d lines are wrong, first %s", wrong, first)
	}
	c.run("start", fmt.Sprint(down))
	var wrongAt string
	c.eventually("every line at all replicas", func() bool {
		wrong, first := c.wrongLines(down, lines, "?consistency=all&sloppy=false")
		wrongAt = first
		return wrong == 0
	}, func() string { return wrongAt })

	c.starling(0, 2, "import", "b", file) // once more: the same values, each once
	exported := c.starling(0, 5, "export", "b")
	if exported != text.String() {
		t.Errorf("the export has %d bytes, the import %d: %.300s", len(exported), text.Len(), exported)
	}
}

// What a batch answers is what single requests see, at every node.
func TestBatchAndSinglesAgree(t *testing.T) {
	t.Parallel()
	c := up(t, 5)
	put := c.batch(1, "",
		map[string]any{"op": "put", "key": "a", "value": "apple", "content_type": "text/plain"},
		map[string]any{"op": "put", "key": "b", "value": "bird"},
		map[string]any{"op": "put", "key": "", "value": "bad"},
		map[string]any{"op": "delete", "key": "never"})
	for i, want := range []float64{204, 204, 400, 204} {
		if put[i]["status"] != want {
			t.Errorf("operation %d: %v, want %v", i, put[i], want)
		}
	}
	for i := 1; i <= c.n; i++ {
		if a := c.doAbout(200, "GET", i, "a", "", ""); string(a.body) != "apple" || a.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("a at n%d: %s", i, a.text())
		}
	}
	seen := c.doAbout(200, "GET", 2, "b", "", "")
	again := c.batch(3, "",
		map[string]any{"op": "put", "key": "b", "value": "heron", "context": seen.context()},
		map[string]any{"op": "delete", "key": "a"})
	if again[0]["status"] != 204.0 || again[1]["status"] != 204.0 {
		t.Errorf("with a context: %v", again)
	}
	got := c.batch(4, "?consistency=all", map[string]any{"op": "get", "key": "b"}, map[string]any{"op": "get", "key": "a"})
	if got[0]["value"] != "heron" || got[1]["status"] != 404.0 {
		t.Errorf("in the end: %v", got)
	}
	c.doAbout(404, "GET", 5, "a", "", "")
}
