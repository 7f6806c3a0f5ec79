package main

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"starling/client"
)

// repairOf is how far one member's repair is.
func repairOf(node string, id, done, total int, unreachable ...string) map[string]any {
	doc := map[string]any{
		"node": node, "id": id, "running": done < total, "pairs_done": done, "pairs_total": total,
		"keys_shipped": done / 2, "bytes_shipped": 100 * done, "unreachable": unreachable,
	}
	if id > 0 {
		doc["started"] = "2026-03-01T12:00:00.125Z"
	}
	return doc
}

// gaveUp is the end of a repair that has given pairs up.
func gaveUp(node string, id, done, total int) map[string]any {
	doc := repairOf(node, id, done, total)
	doc["running"] = false
	return doc
}

// repairs is the answer about those of some members.
func repairs(silent []string, members ...map[string]any) map[string]any {
	sum := map[string]int{}
	running := false
	for _, m := range members {
		running = running || m["running"].(bool)
		for _, name := range []string{"pairs_done", "pairs_total", "keys_shipped", "bytes_shipped"} {
			sum[name] += m[name].(int)
		}
	}
	doc := map[string]any{"node": "n1", "running": running, "members": members, "unreachable": silent}
	for name, n := range sum {
		doc[name] = n
	}
	return doc
}

func TestRepairGolden(t *testing.T) {
	f := newFakeNode(t)
	c := newCLI(t, f.URL)
	for name, tc := range map[string]struct {
		doc  map[string]any
		says string
	}{
		"repair":            {repairs([]string{}, repairOf("n1", 3, 20, 20), repairOf("n2", 1, 14, 14), repairOf("n3", 0, 0, 0)), ""},
		"repair-ill":        {repairs([]string{"n4\x1b[2J"}, repairOf("n1", 3, 5, 20, "n4\x1b[2J"), repairOf("n2", 1, 14, 14)), "did not answer and was passed over\n"},
		"repair-incomplete": {repairs([]string{}, gaveUp("n1", 3, 18, 20), repairOf("n2", 1, 14, 14)), ""},
		"repair-none":       {repairs([]string{}), ""},
	} {
		f.docs["/v1/repair"] = tc.doc
		for _, args := range [][]string{{"repair", "status"}, {"repair", "start"}} {
			for _, format := range []string{outputTable, outputJSON} {
				got := c.run(append(args, "-o", format)...)
				if got.code != exitDone || !strings.HasSuffix(got.err, tc.says) || (got.err == "") != (tc.says == "") || strings.Contains(got.err, "\x1b") {
					t.Errorf("%s: %+v", name, got)
				}
				golden(t, name+"."+map[string]string{outputTable: "txt", outputJSON: "json"}[format], got.out)
				if format == outputJSON && !json.Valid([]byte(got.out)) {
					t.Errorf("%s: no JSON", name)
				}
			}
		}
	}
}

// Flags reach the request.
func TestRepairRequests(t *testing.T) {
	f := newFakeNode(t)
	f.docs["/v1/repair"] = repairs([]string{}, repairOf("n1", 1, 0, 0))
	c := newCLI(t, f.URL)
	for args, want := range map[string]struct {
		method string
		query  url.Values
	}{
		"repair start":               {http.MethodPost, url.Values{}},
		"repair start --partition 0": {http.MethodPost, url.Values{"partition": {"0"}}},
		"repair start --bucket b --node n%4 --partition 7": {http.MethodPost, url.Values{"partition": {"7"}, "bucket": {"b"}, "node": {"n%4"}}},
		"repair start --node=":                             {http.MethodPost, url.Values{"node": {""}}}, // the node refuses it
		"repair start --wait":                              {http.MethodPost, url.Values{}},
		"repair status":                                    {http.MethodGet, url.Values{}},
	} {
		if got := c.run(strings.Fields(args)...); got.code != exitDone {
			t.Fatalf("%s: %+v", args, got)
		}
		if f.last.Method != want.method || !maps.EqualFunc(f.last.URL.Query(), want.query, slices.Equal[[]string]) {
			t.Errorf("%s: %s %s", args, f.last.Method, f.last.URL)
		}
	}
}

// What a node refuses has the exit code of its status.
func TestRepairRefused(t *testing.T) {
	for status, want := range map[int]int{400: exitUsage, 404: exitFailed, 409: exitPrecondition, 503: exitFailed} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { problem(w, status, "x", "") }))
		if got := newCLI(t, srv.URL).run("repair", "start", "--wait"); got.code != want || !strings.Contains(got.err, "The detail.") {
			t.Errorf("%d: %+v", status, got)
		}
		srv.Close()
	}
}

// await runs a wait against answers that follow each other; the last is
// repeated. It tells what was printed as progress, too.
func await(t *testing.T, timeout time.Duration, begun map[string]any, answers ...any) (last *repairAnswer, progress string, failed error) {
	t.Helper()
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		doc := answers[min(asked, len(answers)-1)]
		asked++
		if r.Method != http.MethodGet || doc == nil {
			problem(w, http.StatusServiceUnavailable, "not-ready", "")
			return
		}
		_ = json.NewEncoder(w).Encode(doc)
	}))
	defer srv.Close()
	var out bytes.Buffer
	a := &app{err: &out, endpointFlag: []string{srv.URL}, timeout: timeout, env: func(string) string { return "" }}
	raw, err := json.Marshal(begun)
	if err != nil {
		t.Fatal(err)
	}
	first := &repairAnswer{raw: raw}
	if err := json.Unmarshal(raw, &first.doc); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	last, failed = a.awaitRepair(ctx, first, time.Millisecond)
	return last, out.String(), failed
}

func TestRepairWait(t *testing.T) {
	none := []string{}
	begun := repairs(none, repairOf("n1", 3, 0, 20), repairOf("n2", 1, 0, 14), repairOf("n3", 9, 0, 0))
	half := repairs(none, repairOf("n1", 3, 20, 20), repairOf("n2", 1, 7, 14))
	done := repairs(none, repairOf("n1", 3, 20, 20), repairOf("n2", 1, 14, 14))
	for name, tc := range map[string]struct {
		begun   map[string]any
		answers []any
		says    string // "": all was compared
		pairs   int    // seen last
	}{
		"nothing to do":               {repairs(none, repairOf("n1", 1, 0, 0)), []any{nil}, "", 0},
		"to the end":                  {begun, []any{begun, half, done}, "", 34},
		"through a silence":           {begun, []any{half, nil, repairs([]string{"n2"}), done}, "", 34},
		"one did not begin":           {repairs([]string{"n4"}, repairOf("n1", 3, 0, 20)), []any{done}, "n4 did not begin", 34},
		"one could not reach another": {begun, []any{repairs(none, repairOf("n1", 3, 20, 20, "n4", "n5"), repairOf("n2", 1, 14, 14))}, "compared: n1 could not reach n4, n5", 34},
		"one gave up":                 {begun, []any{repairs(none, gaveUp("n1", 3, 17, 20), repairOf("n2", 1, 14, 14))}, "n1 gave up 3 pairs", 31},
		"one restarted":               {begun, []any{repairs(none, repairOf("n1", 3, 20, 20), repairOf("n2", 0, 0, 0))}, "n2: it restarted or began another repair", 20},
		"one is gone":                 {begun, []any{half, repairs([]string{"n2"}, repairOf("n1", 3, 20, 20))}, "n2: it did not answer", 20},
		"all are gone":                {begun, []any{half, nil}, "n2: GET ", 27},
	} {
		last, progress, err := await(t, 0, tc.begun, tc.answers...)
		if (err == nil) != (tc.says == "") || err != nil && (!strings.Contains(err.Error(), tc.says) || exitCode(err) != exitFailed) {
			t.Errorf("%s: %v", name, err)
		}
		if last.doc.PairsDone != tc.pairs || progress != "" {
			t.Errorf("%s: last %+v, printed %q where there is no terminal", name, last.doc, progress)
		}
	}
	if _, _, err := await(t, 30*time.Millisecond, begun, begun); err == nil || !strings.Contains(err.Error(), "the repair goes on") || exitCode(err) != exitFailed {
		t.Errorf("a wait that is cut short: %v", err)
	}
}

// A member is given up when it is silent for long, not when it is so often.
func TestRepairWatchOfASilentMember(t *testing.T) {
	begun := client.RepairStatus{Members: []client.MemberRepair{{Node: "n1", ID: 1, Running: true}}}
	w := watchRepair(&begun)
	silence := func(polls int) {
		for range polls {
			w.see(&client.RepairStatus{}, "silence")
		}
	}
	for range 3 {
		silence(maxSilentPolls - 1)
		w.see(&begun, "")
		if w.over() {
			t.Fatal("a member that answers now and then was given up")
		}
	}
	silence(maxSilentPolls)
	if err := w.verdict(); !w.over() || err == nil || !strings.Contains(err.Error(), "n1: silence") {
		t.Errorf("over %v, %v", w.over(), err)
	}
}

// The command line waits: it prints what was seen last, and tells of what was
// not compared.
func TestRepairStartWaits(t *testing.T) {
	f := newFakeNode(t)
	asked := 0
	f.docs["/v1/repair"] = func(r *http.Request) any {
		if r.Method == http.MethodPost {
			return repairs([]string{}, repairOf("n1", 3, 0, 20))
		}
		asked++
		return repairs([]string{}, repairOf("n1", 3, 20, 20, "n4"))
	}
	got := newCLI(t, f.URL).run("repair", "start", "--wait", "-o", "json")
	var doc client.RepairStatus
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || doc.PairsDone != 20 || asked != 1 {
		t.Errorf("%+v, %v, asked %d times", got, err, asked)
	}
	if got.code != exitFailed || got.err != "starling: not all was compared: n1 could not reach n4\n" {
		t.Errorf("%+v", got)
	}
}

func TestRepairLine(t *testing.T) {
	for want, c := range map[string]client.RepairCount{
		"[------------------------]   0% repairing: 0 of 34 pairs, 0 keys shipped":  {PairsTotal: 34},
		"[############------------]  50% repairing: 17 of 34 pairs, 7 keys shipped": {PairsDone: 17, PairsTotal: 34, KeysShipped: 7},
		"[########################] 100% repairing: 0 of 0 pairs, 0 keys shipped":   {},
	} {
		if got := repairLine(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
