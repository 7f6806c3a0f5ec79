package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"starling/client"
)

// wellConvergence is the answer of a converged cluster of three.
func wellConvergence() map[string]any {
	return map[string]any{
		"node": "n1", "converged": true, "oldest_proof_seconds": 12.345, "partitions": 8, "pairs_total": 8, "stale": 0, "unproven": 0,
		"pairs": []any{}, "unreachable": []any{}, "filling": 0, "hints": 0, "tombstones": 0, "purge_blockers": []any{},
	}
}

// illConvergence has one of everything that can stand in the way.
func illConvergence() map[string]any {
	doc := wellConvergence()
	pairs := []map[string]any{
		{"partition": 0, "a": "n1", "b": "n2", "proven_seconds_ago": 0.25, "holds": true},
		{"partition": 1, "a": "n1", "b": "n2", "proven_seconds_ago": 3.04, "holds": false},
		{"partition": 2, "a": "n2", "b": "n3", "proven_seconds_ago": 4000.7, "holds": false},
		{"partition": 3, "a": "n2", "b": "n3", "proven_seconds_ago": nil, "holds": false},
		{"partition": 4, "a": "n1", "b": "n3", "proven_seconds_ago": nil, "holds": false},
	}
	for name, value := range map[string]any{
		"converged": false, "oldest_proof_seconds": nil, "stale": 4, "unproven": 2, "pairs": pairs, "unreachable": []string{"n2", "n4\x1b[2J"},
		"filling": 1, "hints": 120, "tombstones": 1, "purge_blockers": []map[string]any{{"node": "n2", "reason": "peer unreachable\x1b[2J"}},
	} {
		doc[name] = value
	}
	return doc
}

func TestConvergenceGolden(t *testing.T) {
	f := newFakeNode(t)
	f.cluster(func([]map[string]any) {})
	c := newCLI(t, f.URL)
	for name, doc := range map[string]map[string]any{"convergence": wellConvergence(), "convergence-ill": illConvergence()} {
		f.docs["/v1/convergence"] = doc
		code, says := exitDone, ""
		if name == "convergence-ill" {
			code, says = exitUnhealthy, "starling: the cluster is not converged\n"
		}
		for _, format := range []string{outputTable, outputJSON} {
			got := c.run("convergence", "-o", format)
			if got.code != code || got.err != says {
				t.Errorf("%s as %s: exit code %d, want %d; %q", name, format, got.code, code, got.err)
			}
			golden(t, name+"."+map[string]string{outputTable: "txt", outputJSON: "json"}[format], got.out)
			if format == outputJSON && !json.Valid([]byte(got.out)) {
				t.Errorf("%s: no JSON", name)
			}
			if f.last.URL.RawQuery != "stale=true" {
				t.Errorf("asked %s", f.last.URL)
			}
		}
	}
}

func TestConvergenceText(t *testing.T) {
	age := func(seconds float64) *float64 { return &seconds }
	for want, doc := range map[string]client.Convergence{
		"converged, oldest proof 0.0 s ago":                 {Converged: true, PairsTotal: 1, OldestProofSeconds: age(0)},
		"converged, oldest proof 9.9 s ago":                 {Converged: true, PairsTotal: 1, OldestProofSeconds: age(9.949)},
		"converged, oldest proof 10 s ago":                  {Converged: true, PairsTotal: 1, OldestProofSeconds: age(10)},
		"converged, oldest proof 2m0s ago":                  {Converged: true, PairsTotal: 1, OldestProofSeconds: age(120.9)},
		"converged, no partition has two owners":            {Converged: true, OldestProofSeconds: age(0)},
		"not converged: 34 pairs, n4 unreachable":           {Stale: 34, Unreachable: []string{"n4"}, PairsTotal: 40},
		"not converged: 1 pair":                             {Stale: 1},
		"not converged: n4, n5 unreachable, 1 hint":         {Unreachable: []string{"n4", "n5"}, Hints: 1},
		"not converged: 2 hints, 3 partitions being filled": {Hints: 2, Filling: 3},
		"not converged: 1 partition being filled":           {Filling: 1},
		"not converged: the node does not say why":          {},
	} {
		if got := convergenceText(&doc); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// status has a line of its own for convergence, and does not depend on it.
func TestStatusOfConvergence(t *testing.T) {
	f := newFakeNode(t)
	f.cluster(func([]map[string]any) {})
	c := newCLI(t, f.URL)
	for name, tc := range map[string]struct {
		doc  any
		says string
	}{
		"converged":     {wellConvergence(), "converged, oldest proof 12 s ago\n"},
		"not converged": {illConvergence(), "not converged: 4 pairs, n2, n4"},
		"unknown":       {nil, "convergence not known: GET "},
	} {
		f.docs["/v1/convergence"] = tc.doc
		if tc.doc == nil {
			delete(f.docs, "/v1/convergence")
		}
		got := c.run("status")
		lines := strings.Split(strings.TrimSuffix(got.out, "\n"), "\n")
		if got.code != exitDone || got.err != "" || !strings.HasPrefix(lines[len(lines)-1]+"\n", tc.says) {
			t.Errorf("%s: %+v", name, got)
		}
		if f.last.URL.String() != "/v1/convergence?pairs=false" {
			t.Errorf("%s: asked %s", name, f.last.URL)
		}
		var doc statusDoc
		if err := json.Unmarshal([]byte(c.run("status", "-o", "json").out), &doc); err != nil || (doc.Convergence == nil) != (tc.doc == nil) {
			t.Errorf("%s: %+v, %v", name, doc.Convergence, err)
		}
	}
}

// A node that has not joined is not asked whether it has converged.
func TestStatusBeforeJoiningAsksNoMore(t *testing.T) {
	f := newFakeNode(t)
	f.docs["/v1/cluster"] = map[string]any{"cluster_id": "", "members": []any{}}
	f.docs["/v1/convergence"] = func(r *http.Request) any {
		t.Errorf("asked %s", r.URL)
		return wellConvergence()
	}
	if got := newCLI(t, f.URL).run("status"); strings.Contains(got.out, "onverge") {
		t.Errorf("%+v", got)
	}
}

// Groups are sorted by how many pairs they have, then by name.
func TestStaleGroups(t *testing.T) {
	var pairs []client.ConvergencePair
	for i, names := range []string{"ac", "ab", "bc", "bc"} {
		pairs = append(pairs, client.ConvergencePair{Partition: i, A: names[:1], B: names[1:]})
	}
	var got []string
	for _, g := range staleGroups(pairs) {
		got = append(got, fmt.Sprint(g.a, g.b, g.pairs))
	}
	if fmt.Sprint(got) != "[bc2 ab1 ac1]" {
		t.Errorf("%v", got)
	}
}
