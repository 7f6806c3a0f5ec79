package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shape lists the members of a JSON document and their kinds, one a line.
// Elements of an array share their lines.
func shape(path string, doc any, lines map[string]bool) {
	kind := "null"
	switch v := doc.(type) {
	case map[string]any:
		kind = "object"
		for name, member := range v {
			shape(path+"."+name, member, lines)
		}
	case []any:
		kind = "array"
		for _, element := range v {
			shape(path+"[]", element, lines)
		}
	case string:
		kind = "string"
	case bool:
		kind = "boolean"
	case float64:
		kind = "number"
	}
	lines[path+" "+kind] = true
}

// The documents whose contents differ from run to run keep their members and
// kinds; all others are held by golden files of their own.
func TestJSONShapes(t *testing.T) {
	store, stop := echoServer(t)
	defer stop()
	nodes := fakeNodes(t)
	dir := t.TempDir()
	bucket := newBucketNode()
	bucketCLI := bucket.cli(t)
	text := map[string]bool{}
	for _, tc := range []struct {
		name string
		c    *cli
		args []string
	}{
		{"config show", newCLI(t), []string{"config", "show"}},
		{"bench", newCLI(t, store), []string{"bench", "--workload", "a", "--duration", "50ms", "--warm-up", "1ms", "--records", "5", "--connections", "2"}},
		{"diag", newCLI(t, nodes[0].URL), []string{"diag", filepath.Join(dir, "d.tar.gz")}},
		{"import", bucketCLI, []string{"import", "b", writeFile(t, linesOf(3))}},
	} {
		got := tc.c.run(append(tc.args, "-o", "json")...)
		var doc any
		if err := json.Unmarshal([]byte(got.out), &doc); err != nil || got.code != exitDone {
			t.Errorf("%s: %+v, %v", tc.name, got, err)
		}
		shape(tc.name, doc, text)
	}
	golden(t, "shapes.txt", fmt.Sprintln(strings.Join(slices.Sorted(maps.Keys(text)), "\n")))
}
