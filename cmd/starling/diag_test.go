package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"starling/client"
)

// untar reads an archive.
func untar(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := files[h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		files[h.Name] = string(body)
	}
}

func TestDiag(t *testing.T) {
	nodes := fakeNodes(t)
	for _, f := range nodes {
		f.docs["/v1/hints"], f.docs["/v1/repair"], f.docs["/v1/buckets"] = struct{}{}, struct{}{}, struct{}{}
		f.docs["/v1/cluster/plan"] = map[string]any{"moves": []any{}}
		for _, p := range append(diagProfiles, struct{ name, path string }{"", "/debug/pprof/profile"}) {
			path, _, _ := strings.Cut(p.path, "?")
			f.docs[path] = func(r *http.Request) any { return r.URL.String() }
		}
	}
	c := newCLI(t, nodes[0].URL)
	path := filepath.Join(t.TempDir(), "d.tar.gz")
	if got := c.run("diag", path); got.code != exitDone || !strings.Contains(got.out, "from 3 nodes") || strings.Contains(got.out, "missing") {
		t.Errorf("%+v", got)
	}
	files := untar(t, path)
	if len(files) != 5+3*len(diagFiles) || files["starling-diag/errors.txt"] != "" || !strings.Contains(files["starling-diag/nodes/n2/node.json"], "v1.2.0") {
		t.Errorf("%d files: %v", len(files), files)
	}
	if !strings.Contains(files["starling-diag/doctor.json"], `"healthy": true`) {
		t.Errorf("the doctor says %s", files["starling-diag/doctor.json"])
	}

	// One node is dead, and one does not have all.
	nodes[2].Close()
	delete(nodes[1].docs, "/v1/hints")
	got := c.run("diag", path, "--profiles", "--cpu", "3s", "-o", "json")
	var doc diagDoc
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || got.code != exitDone || doc.File != path || doc.Bytes == 0 || len(doc.Nodes) != 3 || len(doc.Failed) != 2 {
		t.Fatalf("%v: %+v", err, got)
	}
	files = untar(t, path)
	slices.Sort(doc.Failed)
	if !strings.HasPrefix(doc.Failed[0], "nodes/n2/hints.json: ") || !strings.HasPrefix(doc.Failed[1], "nodes/n3/node.json: ") {
		t.Errorf("missing: %v", doc.Failed)
	}
	if !strings.Contains(files["starling-diag/errors.txt"], "nodes/n3/node.json") || files["starling-diag/nodes/n1/cpu.pprof"] != "\"/debug/pprof/profile?seconds=3\"\n" {
		t.Errorf("%v", files)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 1 {
		t.Errorf("files are left behind: %v", left)
	}

	for _, args := range [][]string{{"diag", "--cpu", "31s"}, {"diag", "a", "b"}, {"diag", filepath.Join(path, "x")}} {
		if got := c.run(args...); got.code != exitUsage {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// Names are any text, and two nodes may have one.
func TestFoldersOfNodes(t *testing.T) {
	var members []client.Member
	for _, name := range []string{"n1", "../a b\x1b/..", "n1", ".."} {
		members = append(members, client.Member{Name: name, ID: "7"})
	}
	want := []string{"nodes/n1/", "nodes/_a_b__../", "nodes/n1-7/", "nodes/_/"}
	if got := newDiag(io.Discard).begin(members); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
