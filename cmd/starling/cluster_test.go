package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
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

// planDoc is a plan in which n3 leaves and n4 joins.
func planDoc() map[string]any {
	node := func(name, state string, before, after, in, out int, bytesIn, bytesOut int64) map[string]any {
		return map[string]any{
			"node": name, "id": strings.Repeat(name[1:], 32), "state": state, "partitions_before": before, "partitions_after": after,
			"in": in, "out": out, "bytes_in": bytesIn, "bytes_out": 2 * bytesOut, "bytes_sent": bytesOut,
		}
	}
	return map[string]any{
		"nodes": []any{
			node("n1", "active", 5, 6, 1, 0, 1536<<20, 0), node("n3", "leaving", 5, 0, 0, 5, 0, 7680<<20), node("n4", "joining", 0, 4, 4, 0, 6<<30, 0),
		},
		"partitions": 5, "replicas": 5, "bytes": 7680 << 20, "seconds": 117.2, "busy_seconds": 1054.8,
		"survives_before": map[string]any{"nodes": 1, "zones": 1}, "survives_after": map[string]any{"nodes": 1, "zones": 1},
		"lost_partitions": []int{}, "at_risk_partitions": []int{}, "unreachable_partitions": []int{}, "warnings": []string{},
	}
}

// illPlanDoc has everything that a plan can warn of.
func illPlanDoc() map[string]any {
	doc := planDoc()
	nodes := doc["nodes"].([]any)
	nodes[1].(map[string]any)["state"], nodes[1].(map[string]any)["down"] = "removed", true
	nodes[1].(map[string]any)["node"] = "n3\x1b[2J"
	maps.Copy(doc, map[string]any{
		"survives_before": map[string]any{"nodes": 1, "zones": 0}, "survives_after": map[string]any{"nodes": 0, "zones": 0},
		"lost_partitions": []int{7}, "at_risk_partitions": []int{0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12}, "unreachable_partitions": []int{13},
		"warnings": []string{"n3 answers: it is not dead\x1b[2J"},
	})
	return doc
}

// changeDoc is the answer to a change that was taken.
func changeDoc(state string) map[string]any {
	return map[string]any{"node": "n3", "id": strings.Repeat("3", 32), "state": state, "plan": planDoc()}
}

// wantGolden runs a command line as a table and as JSON.
func wantGolden(t *testing.T, c *cli, name string, code int, args ...string) {
	t.Helper()
	for format, suffix := range map[string]string{outputTable: "txt", outputJSON: "json"} {
		got := c.run(append(args, "-o", format)...)
		if got.code != code || strings.Contains(got.err, "\x1b") {
			t.Errorf("%s as %s: exit code %d, want %d; %q", name, format, got.code, code, got.err)
		}
		golden(t, name+"."+suffix, got.out)
		if format == outputJSON && !json.Valid([]byte(got.out)) {
			t.Errorf("%s: no JSON", name)
		}
	}
}

func TestClusterGolden(t *testing.T) {
	f := newFakeNode(t)
	f.cluster(func([]map[string]any) {})
	c := newCLI(t, f.URL)
	f.docs["/v1/cluster/leave"], f.docs["/v1/cluster/remove"], f.docs["/v1/cluster/replace"] = changeDoc("leaving"), changeDoc("removed"), changeDoc("removed")
	f.docs["/v1/cluster/plan"] = planDoc()
	wantGolden(t, c, "plan", exitDone, "cluster", "plan", "--leave", "n3", "--join", "n4")
	wantGolden(t, c, "leave", exitDone, "cluster", "leave", "n3", "--yes")
	wantGolden(t, c, "removed", exitDone, "cluster", "remove", "n3", "--yes")
	wantGolden(t, c, "removed", exitDone, "cluster", "replace", "n3", "--by", "n4", "--yes")
	f.docs["/v1/cluster/plan"] = illPlanDoc()
	wantGolden(t, c, "plan-ill", exitDone, "cluster", "remove", "n3", "--dry-run")
}

// What is asked for reaches the node, and a dry run changes nothing.
func TestClusterRequests(t *testing.T) {
	f := newFakeNode(t)
	f.cluster(func([]map[string]any) {})
	f.docs["/v1/cluster/leave"], f.docs["/v1/cluster/remove"], f.docs["/v1/cluster/replace"] = changeDoc("leaving"), changeDoc("removed"), changeDoc("removed")
	f.docs["/v1/cluster/plan"] = planDoc()
	c := newCLI(t, f.URL)
	for args, want := range map[string]struct {
		request string
		query   url.Values
		body    string
	}{
		"plan": {"GET /v1/cluster/plan", url.Values{}, ""},
		"plan --leave n1 --leave n2 --remove n3 --join n4:rack-2:50 --weight n1:200 --zone n1:eu --replace n5:n6": {"GET /v1/cluster/plan",
			url.Values{"leave": {"n1", "n2"}, "remove": {"n3"}, "join": {"n4:rack-2:50"}, "weight": {"n1:200"}, "zone": {"n1:eu"}, "replace": {"n5:n6"}}, ""},
		"leave --yes":                        {"POST /v1/cluster/leave", url.Values{}, `{"node":"n1"}`}, // the one that was asked
		"leave n3 --yes":                     {"POST /v1/cluster/leave", url.Values{}, `{"node":"n3"}`},
		"leave n3 --dry-run":                 {"GET /v1/cluster/plan", url.Values{"leave": {"n3"}}, ""},
		"leave n3 --wait --yes --dry-run":    {"GET /v1/cluster/plan", url.Values{"leave": {"n3"}}, ""},
		"remove n3 --yes":                    {"POST /v1/cluster/remove", url.Values{}, `{"node":"n3","force":false}`},
		"remove n3 --yes --force":            {"POST /v1/cluster/remove", url.Values{}, `{"node":"n3","force":true}`},
		"remove n3 --dry-run":                {"GET /v1/cluster/plan", url.Values{"remove": {"n3"}}, ""},
		"replace n3 --by n4 --yes":           {"POST /v1/cluster/replace", url.Values{}, `{"node":"n3","by":"n4","force":false}`},
		"replace n3 --by n4 --yes --force":   {"POST /v1/cluster/replace", url.Values{}, `{"node":"n3","by":"n4","force":true}`},
		"replace n3 --by=n4 --dry-run --yes": {"GET /v1/cluster/plan", url.Values{"replace": {"n3:n4"}}, ""},
	} {
		if got := c.run(append([]string{"cluster"}, strings.Fields(args)...)...); got.code != exitDone {
			t.Errorf("%s: %+v", args, got)
			continue
		}
		if got := f.last.Method + " " + f.last.URL.EscapedPath(); got != want.request {
			t.Errorf("%s: %s", args, got)
		}
		if !maps.EqualFunc(f.last.URL.Query(), want.query, slices.Equal[[]string]) || string(f.body) != want.body {
			t.Errorf("%s: %s with %q", args, f.last.URL, f.body)
		}
	}
}

// What changes the members needs --yes where nobody can be asked, and then
// nothing is sent.
func TestChangesNeedYes(t *testing.T) {
	f := newFakeNode(t)
	c := newCLI(t, f.URL)
	c.in = "y\n" // not from a terminal
	for _, args := range []string{"cluster leave n3", "cluster leave n3 --wait", "cluster remove n3 --force", "cluster replace n3 --by n4"} {
		if got := c.run(strings.Fields(args)...); got.code != exitUsage || !strings.Contains(got.err, "--yes is missing") || got.out != "" {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if f.last != nil {
		t.Errorf("sent %s", f.last.URL)
	}
}

func TestAskYes(t *testing.T) {
	for answer, want := range map[string]error{"y\n": nil, "yes\n": nil, "\n": errKept, "": errKept, "n\n": errKept, "yesterday\n": errKept, "no y\n": errKept} {
		var out bytes.Buffer
		if err := askYes(strings.NewReader(answer), &out, "n3\x1b leaves"); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", answer, err, want)
		}
		if out.String() != "n3\uFFFD leaves. Go on? [y/N] " {
			t.Errorf("asked %q", out.String())
		}
	}
}

// A node that is not named is the one endpoint, or nobody.
func TestWhichNodeIsMeant(t *testing.T) {
	f := newFakeNode(t)
	f.cluster(func([]map[string]any) {})
	f.docs["/v1/cluster/leave"], f.docs["/v1/cluster/safe-to-stop"] = changeDoc("leaving"), safetyDoc(true)
	for _, command := range [][]string{{"cluster", "leave", "--yes"}, {"safe-to-stop"}} {
		if got := newCLI(t, f.URL, f.URL).run(command...); got.code != exitUsage || !strings.Contains(got.err, "NODE is missing") {
			t.Errorf("%v at two endpoints: %+v", command, got)
		}
		if got := newCLI(t, f.URL, f.URL).run(append(command, "n3")...); got.code != exitDone {
			t.Errorf("%v n3 at two endpoints: %+v", command, got)
		}
	}
	f.docs["/v1/cluster"] = map[string]any{"cluster_id": "", "members": []any{}}
	if got := newCLI(t, f.URL).run("cluster", "leave", "--yes"); got.code != exitFailed || !strings.Contains(got.err, "not joined") {
		t.Errorf("a node without a cluster: %+v", got)
	}
}

// A refusal is final, whatever other endpoints there are, and says what would
// be lost.
func TestRefusedChange(t *testing.T) {
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		problem(w, http.StatusConflict, "precondition", `,"lost_partitions":[4,2],"at_risk_partitions":[7]`)
	}))
	defer srv.Close()
	got := newCLI(t, srv.URL, "127.0.0.1:1").run("cluster", "remove", "n3", "--yes")
	for _, want := range []string{"The detail.", "2 partitions (4, 2)", "1 partition (7)"} {
		if got.code != exitPrecondition || !strings.Contains(got.err, want) || asked != 1 {
			t.Errorf("%+v, asked %d times; want %q", got, asked, want)
		}
	}
}

// leaveAt has a member leave, as a node tells it in one answer after the
// other; nil is none. From then on the last is repeated.
func leaveAt(t *testing.T, timeout time.Duration, answers ...map[string]any) (told string, failed error) {
	t.Helper()
	asked := 0
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		doc := answers[min(asked, len(answers)-1)]
		asked++
		if doc == nil {
			problem(w, http.StatusServiceUnavailable, "not-ready", "")
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"cluster_id": "ab", "node": "n1", "members": []any{doc}})
	}))
	defer other.Close()
	var out bytes.Buffer
	a := &app{err: &out, endpointFlag: []string{refusing(t)}, timeout: timeout, env: func(string) string { return "" }}
	failed = a.awaitLeft(context.Background(), "03", []string{other.URL}, time.Millisecond)
	return out.String(), failed
}

func TestLeaveWaits(t *testing.T) {
	member := func(state string, alive bool) map[string]any {
		return map[string]any{"name": "n3", "id": "03", "state": state, "alive": alive, "settled": 2}
	}
	gone, going, dead := member("removed", false), member("leaving", true), member("leaving", false)
	for name, tc := range map[string]struct {
		answers    []map[string]any
		told, says string
	}{
		"to the end":        {[]map[string]any{going, nil, going, gone}, "", ""},
		"through its death": {[]map[string]any{going, dead, dead, going, gone}, "n3 is not alive; it goes on leaving when it is started again\n", ""},
		"nobody answers":    {[]map[string]any{going, nil}, "", "not-ready"},
		"nobody knows it":   {[]map[string]any{{"id": "04"}}, "", "does not know"},
	} {
		told, err := leaveAt(t, 0, tc.answers...)
		if told != tc.told || (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %q, %v", name, told, err)
		}
	}
	if _, err := leaveAt(t, 30*time.Millisecond, going); err == nil || !strings.Contains(err.Error(), "goes on leaving") || exitCode(err) != exitFailed {
		t.Errorf("a wait that is cut short: %v", err)
	}
}

// The command line waits, and says in the end that the node has left.
func TestLeaveOfTheCommandLineWaits(t *testing.T) {
	f := newFakeNode(t)
	f.docs["/v1/cluster/leave"] = changeDoc("leaving")
	left := false
	f.docs["/v1/cluster"] = func(*http.Request) any {
		state := "active"
		if left {
			state = "removed"
		}
		left = true
		return map[string]any{"cluster_id": "ab", "node": "n1", "members": []any{map[string]any{"name": "n3", "id": strings.Repeat("3", 32), "state": state}}}
	}
	if got := newCLI(t, f.URL).run("cluster", "leave", "n3", "--yes", "--wait"); got.code != exitDone || !strings.HasPrefix(got.out, "n3 is removed\n") {
		t.Errorf("%+v", got)
	}
}

func TestPlanTexts(t *testing.T) {
	for want, got := range map[string]string{
		"nothing is to be copied":                         movesText(&client.Plan{}),
		"1 copy to make, of 1 partition, 7 B together":    movesText(&client.Plan{Partitions: 1, Replicas: 1, Bytes: 7}),
		"nothing, a partition is without a quorum":        failuresText(client.Failures{Nodes: -1, Zones: -1}),
		"0 nodes or 2 zones":                              failuresText(client.Failures{Zones: 2}),
		"3 partitions (4, 2, 9)":                          partitionsText([]int{4, 2, 9}),
		"11 partitions (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, …)": partitionsText(make([]int, 11)),
		"0 B":         bytesText(0),
		"1023 B":      bytesText(1023),
		"1.0 KiB":     bytesText(1 << 10),
		"999.9 KiB":   bytesText(1023897),
		"1.0 MiB":     bytesText(1<<20 - 1),
		"1.5 GiB":     bytesText(3 << 29),
		"8.0 EiB":     bytesText(1<<63 - 1),
		"1 s":         durationText(0.2),
		"119 s":       durationText(118.5),
		"10 min 10 s": durationText(610),
		"2 min 00 s":  durationText(120),
		"1 h 00 min":  durationText(3600),
		"30 h 05 min": durationText(30*3600 + 359),
		"lost, no complete copy is left: 1 partition (3)": strings.Join(verdict([]int{3}, nil), ";"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestConfirmOfFilesIsNone(t *testing.T) {
	a := &app{in: strings.NewReader("y\n"), err: io.Discard, env: func(string) string { return "" }}
	if err := a.confirm(context.Background(), memberChange{question: "q"}); exitCode(err) != exitUsage {
		t.Error(err)
	}
}

// safetyDoc is an answer to the question whether n3 may be stopped.
func safetyDoc(safe bool) map[string]any {
	doc := map[string]any{"node": "n3", "safe": safe, "reasons": []any{}}
	if !safe {
		doc["reasons"] = []map[string]any{
			{"kind": "quorum", "partitions": 12, "detail": "12 partitions would have fewer owners than a quorum\x1b[2J"},
			{"kind": "hints", "partitions": 0, "detail": "it keeps 4 hints for n2"},
		}
	}
	return doc
}

func TestSafeToStop(t *testing.T) {
	f := newFakeNode(t)
	f.cluster(func([]map[string]any) {})
	c := newCLI(t, f.URL)
	f.docs["/v1/cluster/safe-to-stop"] = safetyDoc(true)
	wantGolden(t, c, "safe", exitDone, "safe-to-stop", "n3")
	if f.last.URL.RawQuery != "node=n3" {
		t.Errorf("asked %s", f.last.URL)
	}
	f.docs["/v1/cluster/safe-to-stop"] = safetyDoc(false)
	wantGolden(t, c, "safe-ill", exitUnhealthy, "safe-to-stop")
	if f.last.URL.RawQuery != "node=n1" {
		t.Errorf("asked %s", f.last.URL)
	}
	noted := safetyDoc(true)
	noted["reasons"] = []map[string]any{{"kind": "down", "partitions": 0, "detail": "it is down already"}}
	f.docs["/v1/cluster/safe-to-stop"] = noted
	if got := c.run("safe-to-stop", "n3"); got.code != exitDone || !strings.Contains(got.out, "it is down already") {
		t.Errorf("%+v", got)
	}
}
