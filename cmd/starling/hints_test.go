package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// hintedCluster is three fake nodes that keep hints: the first knows where
// all are.
func hintedCluster(t *testing.T) []*fakeNode {
	var nodes []*fakeNode
	for i := range 3 {
		f := newFakeNode(t)
		f.docs["/v1/hints"] = map[string]any{"node": fmt.Sprint("n", i+1), "hints": 0, "bytes": 0, "targets": []any{}}
		f.docs["/v1/hints/replay"] = map[string]any{"pending": 0}
		nodes = append(nodes, f)
	}
	nodes[0].docs["/v1/hints"] = map[string]any{"node": "n1", "hints": 5, "bytes": 50, "targets": []map[string]any{
		{"target": "n4", "id": "04", "hints": 2, "bytes": 20, "state": "waiting", "delivered": 0, "last_error": "peer unreachable\x1b[2J"},
		{"target": "n5", "id": "05", "hints": 3, "bytes": 30, "state": "draining", "delivered": 7, "last_error": ""},
		{"target": "n6", "id": "06", "hints": 0, "bytes": 0, "state": "idle", "delivered": 9, "last_error": ""},
	}}
	nodes[2].docs["/v1/hints"] = map[string]any{"node": "n3", "hints": 1, "bytes": 10, "targets": []map[string]any{
		{"target": "n4", "id": "04", "hints": 1, "bytes": 10, "state": "waiting", "delivered": 0, "last_error": ""},
	}}
	nodes[0].docs["/v1/hints/replay"] = map[string]any{"pending": 5}
	nodes[2].docs["/v1/hints/replay"] = map[string]any{"pending": 1}
	reach(nodes, func([]map[string]any) {})
	return nodes
}

// reach gives the members their addresses, and then a change.
func reach(nodes []*fakeNode, change func(members []map[string]any)) {
	nodes[0].cluster(func(m []map[string]any) {
		for i, f := range nodes {
			m[i]["http"] = strings.TrimPrefix(f.URL, "http://")
		}
		change(m)
	})
}

// refusing is an address that nobody listens on.
func refusing(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestHintsGolden(t *testing.T) {
	nodes := hintedCluster(t)
	c := newCLI(t, nodes[0].URL)
	dead := refusing(t)
	for _, ill := range []bool{false, true} {
		if ill {
			// The second is dead, and a fourth has left for good.
			reach(nodes, func(m []map[string]any) { m[1]["alive"], m[1]["http"] = false, dead })
		}
		for name, args := range map[string][]string{"hints": {"hints", "ls"}, "replay": {"hints", "replay"}} {
			if ill {
				name += "-ill"
			}
			for _, format := range []string{outputTable, outputJSON} {
				got := c.run(append(args, "-o", format)...)
				if got.code != 0 || strings.Contains(got.err, "n2 is not alive") != ill {
					t.Errorf("%s: %+v", name, got)
				}
				golden(t, name+"."+map[string]string{outputTable: "txt", outputJSON: "json"}[format], strings.ReplaceAll(got.out, dead, "ADDRESS"))
				if format == outputJSON && !json.Valid([]byte(got.out)) {
					t.Errorf("%s: no JSON", name)
				}
			}
		}
	}
}

func TestHintsOfSilentMembers(t *testing.T) {
	nodes := hintedCluster(t)
	c := newCLI(t, nodes[0].URL)
	dead := refusing(t)
	for name, tc := range map[string]struct {
		change func(m []map[string]any)
		code   int
		says   string
	}{
		"one that is alive": {func(m []map[string]any) { m[1]["http"] = dead }, exitFailed, "n2 did not answer: "},
		"one that has left": {func(m []map[string]any) { m[1]["http"], m[1]["state"], m[1]["alive"] = dead, "removed", false }, exitDone, ""},
		"all, of whom some are dead": {func(m []map[string]any) {
			m[0]["http"], m[1]["http"], m[2]["http"], m[1]["alive"] = dead, dead, dead, false
		}, exitUnreachable, "refused"},
		"all, and all dead": {func(m []map[string]any) {
			for i := range m {
				m[i]["http"], m[i]["alive"] = dead, false
			}
		}, exitUnreachable, "refused"},
	} {
		reach(nodes, tc.change)
		if got := c.run("hints", "ls"); got.code != tc.code || !strings.Contains(got.err, tc.says) || tc.code == 0 && got.err != "" {
			t.Errorf("%s: exit code %d, want %d; %s", name, got.code, tc.code, got.err)
		}
	}
}

func TestReplayOfATarget(t *testing.T) {
	nodes := hintedCluster(t)
	c := newCLI(t, nodes[0].URL)
	if got := c.run("hints", "replay", "--target", "n 4"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	for i, f := range nodes {
		if f.last.Method != http.MethodPost || f.last.URL.Query().Get("target") != "n 4" {
			t.Errorf("n%d was asked %s %s", i+1, f.last.Method, f.last.URL)
		}
	}
	// One that has left the map is known to those alone that keep something.
	delete(nodes[1].docs, "/v1/hints/replay")
	nodes[1].missing = "no-such-node"
	got := c.run("hints", "replay", "--target", "n4", "-o", "json")
	var doc replayDoc
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || got.code != 0 || doc.Pending != 6 || len(doc.Holders) != 3 || len(doc.Unanswered) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, f := range nodes {
		delete(f.docs, "/v1/hints/replay")
		f.missing = "no-such-node"
	}
	if got := c.run("hints", "replay", "--target", "n7"); got.code != exitFailed || !strings.Contains(got.err, "no-such-node") {
		t.Errorf("nobody knows it: %+v", got)
	}
}
