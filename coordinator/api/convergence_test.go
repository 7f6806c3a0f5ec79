package api

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"starling/antientropy"
	"starling/gossip/state"
	"starling/ring"
)

// fakeConvergence answers what it was given, and notes what was asked.
type fakeConvergence struct {
	t        *testing.T
	reports  map[ring.NodeID]antientropy.Report
	missing  []ring.NodeID
	statuses map[ring.NodeID]antientropy.RepairStatus
	err      error

	asked []antientropy.RepairRequest
	local []bool
}

func (c *fakeConvergence) Reports(ctx context.Context) (map[ring.NodeID]antientropy.Report, []ring.NodeID) {
	c.wantDeadline(ctx)
	return c.reports, c.missing
}

func (c *fakeConvergence) Repair(ctx context.Context, req antientropy.RepairRequest, local bool) (map[ring.NodeID]antientropy.RepairStatus, error) {
	c.wantDeadline(ctx)
	c.asked, c.local = append(c.asked, req), append(c.local, local)
	return c.statuses, c.err
}

func (c *fakeConvergence) RepairStatuses(ctx context.Context) map[ring.NodeID]antientropy.RepairStatus {
	c.wantDeadline(ctx)
	return c.statuses
}

func (c *fakeConvergence) wantDeadline(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 2*time.Second {
		c.t.Errorf("deadline %v", deadline)
	}
}

// TestConvergence: the whole answer, and its lists.
func TestConvergence(t *testing.T) {
	c := &fakeConvergence{t: t, reports: map[ring.NodeID]antientropy.Report{}}
	f := serve(t, func(o *Options) { o.Convergence = c })
	members, view := trio(t)
	f.cluster.m, f.cluster.view = members, view
	for n, r := range wellReports() {
		c.reports[nodeID(n)] = *r
	}
	f.do("GET", "/v1/convergence", "").want(200).wantHeader("Cache-Control", "no-store").wantBody(
		`{"node":"n1","converged":true,"oldest_proof_seconds":8,"partitions":1,"pairs_total":3,"stale":0,"unproven":0,"pairs":[` +
			`{"partition":0,"a":"n1","b":"n2","proven_seconds_ago":4,"holds":true},` +
			`{"partition":0,"a":"n1","b":"n3","proven_seconds_ago":8,"holds":true},` +
			`{"partition":0,"a":"n2","b":"n3","proven_seconds_ago":6,"holds":true}],` +
			`"unreachable":[],"filling":0,"hints":0,"tombstones":0,"purge_blockers":[]}`)
	f.do("HEAD", "/v1/convergence", "").want(200)
	const wellWithout = `{"node":"n1","converged":true,"oldest_proof_seconds":8,"partitions":1,"pairs_total":3,"stale":0,"unproven":0,`
	const rest = `"unreachable":[],"filling":0,"hints":0,"tombstones":0,"purge_blockers":[]}`
	f.do("GET", "/v1/convergence?pairs=false", "").want(200).wantBody(wellWithout + rest)
	f.do("GET", "/v1/convergence?stale=true&pairs=false", "").want(200).wantBody(wellWithout + rest)
	f.do("GET", "/v1/convergence?stale=true", "").want(200).wantBody(wellWithout + `"pairs":[],` + rest)
	f.do("GET", "/v1/convergence?stale=false&pairs=t%72ue", "").want(200)

	delete(c.reports, nodeID(3))
	c.reports[nodeID(2)] = antientropy.Report{
		Pairs: []antientropy.Pair{said(0, 1, 5250*time.Millisecond, true), said(0, 3, -1, false)}, Tombstones: 4, Hints: 1,
		Blockers: []antientropy.Blocker{{Node: nodeID(3), Reason: "coordinator: peer unreachable"}},
	}
	c.missing = []ring.NodeID{nodeID(3)}
	r := c.reports[nodeID(1)]
	r.Pairs[0].Age = time.Minute
	r.Tombstones = 3
	r.Pairs[1] = said(0, 3, -1, false)
	c.reports[nodeID(1)] = r
	f.do("GET", "/v1/convergence?stale=true", "").want(200).wantBody(
		`{"node":"n1","converged":false,"oldest_proof_seconds":null,"partitions":1,"pairs_total":3,"stale":2,"unproven":2,"pairs":[` +
			`{"partition":0,"a":"n1","b":"n3","proven_seconds_ago":null,"holds":false},` +
			`{"partition":0,"a":"n2","b":"n3","proven_seconds_ago":null,"holds":false}],` +
			`"unreachable":["n3"],"filling":0,"hints":1,"tombstones":7,"purge_blockers":[{"node":"n3","reason":"peer unreachable"}]}`)
}

// TestConvergenceOrder: pairs are sorted by partition and name, whatever the
// order of the IDs is.
func TestConvergenceOrder(t *testing.T) {
	f := serve(t, func(o *Options) { o.Convergence = &fakeConvergence{t: t} })
	m := testMap()
	for n := byte(1); n <= 5; n++ {
		mem, _ := m.Member(nodeID(n))
		mem.Name = string(rune('f' - n)) // e, d, c, b, a
		m = m.With(mem)
	}
	f.cluster.set(t, m)
	var doc convergenceDoc
	f.do("GET", "/v1/convergence", "").want(200).decode(&doc)
	if len(doc.Pairs) != 3*testPartitions || doc.Unproven != len(doc.Pairs) || doc.Stale != len(doc.Pairs) || len(doc.Unreachable) != 5 {
		t.Fatalf("%+v", doc)
	}
	sorted := slices.IsSortedFunc(doc.Pairs, func(x, y pairDoc) int {
		if x.Partition != y.Partition {
			return x.Partition - y.Partition
		}
		return strings.Compare(x.A+x.B, y.A+y.B)
	})
	if !sorted || slices.ContainsFunc(doc.Pairs, func(p pairDoc) bool { return p.A >= p.B }) {
		t.Errorf("%+v", doc.Pairs)
	}
	if !slices.IsSorted(doc.Unreachable) {
		t.Errorf("%v", doc.Unreachable)
	}
}

// TestConvergenceRefused: by a parameter, before joining, without the part of
// the node that knows, and when too many ask.
func TestConvergenceRefused(t *testing.T) {
	f := serve(t)
	f.do("GET", "/v1/convergence", "").wantProblem(503, "not-ready", "does not offer")
	c := &fakeConvergence{t: t}
	f = serve(t, func(o *Options) { o.Convergence = c })
	for query, want := range map[string]struct{ parameter, says string }{
		"pairs=yes":              {"pairs", `"yes"`},
		"pairs=":                 {"pairs", "true and false"},
		"stale=1":                {"stale", `"1"`},
		"node=n1":                {"node", "takes pairs, stale"},
		"stale=true&stale=false": {"stale", "twice"},
	} {
		if doc := f.do("GET", "/v1/convergence?"+query, "").wantProblem(400, "bad-parameter", want.says); doc["parameter"] != want.parameter {
			t.Errorf("%s: the problem names %v", query, doc["parameter"])
		}
	}
	f.do("POST", "/v1/convergence", "").wantProblem(405, "method-not-allowed", "GET, HEAD")
	for range maxDiagnoses {
		f.server.diagnoses <- struct{}{}
	}
	for method, path := range map[string]string{"GET": "/v1/convergence", "HEAD": "/v1/convergence", "POST": "/v1/repair"} {
		a := f.do(method, path, "").want(503).wantHeader("Retry-After", "1")
		if method != "HEAD" {
			a.wantProblem(503, "overloaded", "64 callers")
		}
	}
	f.do("GET", "/v1/repair", "").wantProblem(503, "overloaded", "64 callers")
	for range maxDiagnoses {
		<-f.server.diagnoses
	}
	for range maxDiagnoses + 1 { // each gives its place back
		f.do("GET", "/v1/convergence", "").want(200)
	}
	f.cluster.m, f.cluster.view = state.Map{}, nil
	f.do("GET", "/v1/convergence", "").wantProblem(503, "not-ready", "not joined")
}
