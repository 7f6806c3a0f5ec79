package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"starling/coordinator"
	"starling/gossip/state"
	"starling/gossip/topology"
	"starling/ring"
)

// fakeTopology makes changes of a static cluster, and notes what was asked.
type fakeTopology struct {
	t       *testing.T
	cluster *staticCluster
	plan    topology.Plan
	safety  topology.Safety
	err     error // of Plan and SafeToStop
	refuse  error // of Change

	planned []topology.Change
	changed []ChangeRequest
	asked   []ring.NodeID
	// alive says of the last call's context that it had not ended.
	alive error
}

func (f *fakeTopology) Plan(ctx context.Context, c topology.Change) (topology.Plan, error) {
	wantDeadline(f.t, ctx)
	f.planned = append(f.planned, c)
	return f.plan, f.err
}

func (f *fakeTopology) SafeToStop(ctx context.Context, id ring.NodeID) (topology.Safety, error) {
	wantDeadline(f.t, ctx)
	f.asked = append(f.asked, id)
	return f.safety, f.err
}

func (f *fakeTopology) Change(ctx context.Context, req ChangeRequest) error {
	wantDeadline(f.t, ctx)
	f.changed = append(f.changed, req)
	f.alive = ctx.Err()
	if f.refuse != nil {
		return f.refuse
	}
	mem, _ := f.cluster.Map().Member(req.Node)
	mem.State, mem.Heir = state.Removed, req.By
	if req.Kind == ChangeLeave {
		mem.State = state.Leaving
	}
	f.cluster.set(f.t, f.cluster.Map().With(mem))
	return nil
}

func wantDeadline(t *testing.T, ctx context.Context) {
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 2*time.Second {
		t.Errorf("deadline %v", deadline)
	}
}

// serveTopology is a server that can change its members.
func serveTopology(t *testing.T, change ...func(*Options)) (*fixture, *fakeTopology) {
	t.Helper()
	top := &fakeTopology{t: t}
	f := serve(t, append([]func(*Options){func(o *Options) { o.Topology = top }}, change...)...)
	top.cluster = f.cluster
	return f, top
}

const nothingMoves = `"plan":{"nodes":[],"partitions":0,"replicas":0,"bytes":0,"seconds":0,"busy_seconds":0,` +
	`"survives_before":{"nodes":0,"zones":0},"survives_after":{"nodes":0,"zones":0},` +
	`"lost_partitions":[],"at_risk_partitions":[],"unreachable_partitions":[],"warnings":[]}`

// TestChange: each change is planned, made, and answered with the state after
// it; asked for again it is answered and not made.
func TestChange(t *testing.T) {
	leave := topology.Change{Leave: []ring.NodeID{nodeID(3)}}
	for _, tc := range []struct {
		name, path, body string
		req              ChangeRequest
		plan             topology.Change
		state            string
	}{
		{"leave by name", "leave", `{"node":"n3"}`, ChangeRequest{Kind: ChangeLeave, Node: nodeID(3)}, leave, "leaving"},
		{"leave by ID", "leave", fmt.Sprintf(" {\n\"node\" : %q } ", nodeID(3)), ChangeRequest{Kind: ChangeLeave, Node: nodeID(3)}, leave, "leaving"},
		{"leave oneself", "leave", ``, ChangeRequest{Kind: ChangeLeave, Node: nodeID(1)}, topology.Change{Leave: []ring.NodeID{nodeID(1)}}, "leaving"},
		{"leave oneself, without fields", "leave", `{}`, ChangeRequest{Kind: ChangeLeave, Node: nodeID(1)}, topology.Change{Leave: []ring.NodeID{nodeID(1)}}, "leaving"},
		{"remove", "remove", `{"node":"n3"}`, ChangeRequest{Kind: ChangeRemove, Node: nodeID(3)}, topology.Change{Remove: []ring.NodeID{nodeID(3)}}, "removed"},
		{"remove by force", "remove", `{"force":true,"node":"n3"}`, ChangeRequest{Kind: ChangeRemove, Node: nodeID(3), Force: true}, topology.Change{Remove: []ring.NodeID{nodeID(3)}}, "removed"},
		{"replace", "replace", `{"node":"n3","by":"n5","force":false}`, ChangeRequest{Kind: ChangeReplace, Node: nodeID(3), By: nodeID(5)},
			topology.Change{Replace: []topology.Replacement{{Dead: nodeID(3), Heir: topology.NewMember{Name: "n5"}}}}, "removed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log logBuffer
			f, top := serveTopology(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			want := fmt.Sprintf(`{"node":"n%d","id":"%s","state":"%s",%s}`, tc.req.Node[0], tc.req.Node, tc.state, nothingMoves)
			post := func() {
				t.Helper()
				f.do("POST", "/v1/cluster/"+tc.path, tc.body, "Content-Type: application/json").want(202).wantHeader("Cache-Control", "no-store").wantBody(want)
			}
			post()
			if !reflect.DeepEqual(top.changed, []ChangeRequest{tc.req}) || !reflect.DeepEqual(top.planned, []topology.Change{tc.plan}) {
				t.Errorf("changed %+v, planned %+v", top.changed, top.planned)
			}
			if line := log.String(); !strings.Contains(line, "kind="+tc.path) || !strings.Contains(line, "node="+tc.req.Node.String()) || !strings.Contains(line, "from=127.0.0.1:") {
				t.Errorf("the log says %q", line)
			}
			top.refuse = errors.New("it is made already")
			post()
			if len(top.changed) != 1 || !reflect.DeepEqual(top.planned[1:], []topology.Change{{}}) {
				t.Errorf("again: changed %+v, planned %+v", top.changed, top.planned)
			}
		})
	}
}

// TestChangeOfTheGone: who has left for good leaves no more; a replacement by
// another than the heir is for the topology to refuse.
func TestChangeOfTheGone(t *testing.T) {
	f, top := serveTopology(t)
	gone, _ := f.cluster.Map().Member(nodeID(3))
	gone.State, gone.Heir = state.Removed, nodeID(5)
	f.cluster.set(t, f.cluster.Map().With(gone))
	for _, path := range []string{"leave", "remove"} {
		f.do("POST", "/v1/cluster/"+path, `{"node":"n3"}`).want(202)
	}
	if top.changed != nil {
		t.Errorf("changed %+v", top.changed)
	}
	top.refuse = fmt.Errorf("gossip: %w: n3 was replaced by %s already", state.ErrInvalid, nodeID(5))
	f.do("POST", "/v1/cluster/replace", `{"node":"n3","by":"n4"}`).wantProblem(409, "precondition", "n3 was replaced by n5 already")
	if len(top.changed) != 1 {
		t.Errorf("changed %+v", top.changed)
	}
}

// TestForceAgain: a removal that was made is asked for again where force is to
// give up what nobody holds, and not where it was given up already.
func TestForceAgain(t *testing.T) {
	for _, tc := range []struct {
		name, body     string
		lost, forced   bool
		wantAskedAgain bool
	}{
		{"nothing is lost", `{"node":"n3","force":true}`, false, false, false},
		{"lost", `{"node":"n3","force":true}`, true, false, true},
		{"lost, without force", `{"node":"n3"}`, true, false, false},
		{"given up", `{"node":"n3","force":true}`, true, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, top := serveTopology(t)
			m := f.cluster.Map()
			for _, mem := range m.Members {
				if tc.lost {
					mem.Settled = mem.Settled.Without(0)
				}
				if mem.ID == nodeID(3) {
					mem.State, mem.Forced = state.Removed, tc.forced
				}
				m = m.With(mem)
			}
			f.cluster.set(t, m)
			f.do("POST", "/v1/cluster/remove", tc.body, "Content-Type: application/json").want(202)
			if asked := len(top.changed) > 0; asked != tc.wantAskedAgain || !reflect.DeepEqual(top.planned, []topology.Change{{}}) {
				t.Errorf("changed %+v, planned %+v", top.changed, top.planned)
			}
		})
	}
}

// TestChangeRefused: what is wrong with a request is named, and nothing is
// planned or changed.
func TestChangeRefused(t *testing.T) {
	f := serve(t)
	for _, path := range []string{"leave", "remove", "replace"} {
		f.do("POST", "/v1/cluster/"+path, `{}`).wantProblem(503, "not-ready", "does not offer")
		f.do("GET", "/v1/cluster/"+path, "").wantProblem(405, "method-not-allowed", "POST")
	}
	f, top := serveTopology(t)
	for _, tc := range []struct {
		path, body string
		says       []string
	}{
		{"leave", `{"node":"n3","force":true}`, []string{`no field "force"`, "allowed are node."}},
		{"remove", `{"name":"n3"}`, []string{`no field "name"`, "allowed are force, node."}},
		{"replace", `{"Node":"n3"}`, []string{`no field "Node"`, "allowed are by, force, node."}},
		{"remove", `{"node":"n3","node":"n4"}`, []string{`"node" is given twice`}},
		{"leave", `{"node":null}`, []string{`"node" is null: it must be a string`}},
		{"leave", `{"node":""}`, []string{`"node" must be the name or ID`}},
		{"leave", `{"node":3}`, []string{`"node" is 3: it must be a string`}},
		{"leave", `{"node":["n3"]}`, []string{`it must be a string`}},
		{"remove", `{"node":"n3","force":"yes"}`, []string{`"force" is "yes": it must be true or false`}},
		{"remove", `{"node":"n3","force":null}`, []string{`it must be true or false`}},
		{"remove", `{}`, []string{`"node" must be the name or ID`}},
		{"remove", ``, []string{`"node" must be the name or ID`}},
		{"replace", `{"node":"n3"}`, []string{`"by" must be the name or ID`}},
		{"replace", `{"node":"n3","by":"` + nodeID(3).String() + `"}`, []string{"both n3"}},
		{"remove", `["n3"]`, []string{"one JSON object with fields among force, node"}},
		{"remove", `"n3"`, []string{"one JSON object"}},
		{"remove", `node=n3`, []string{"one JSON object"}},
		{"remove", ` `, []string{"one JSON object"}},
		{"remove", `{"node":"n3"`, []string{"one JSON object"}},
		{"remove", `{"node":`, []string{"one JSON object"}},
		{"remove", `{"node":"n3",}`, []string{"one JSON object"}},
		{"remove", `{"node":"n3"}{"force":true}`, []string{"one JSON object"}},
		{"remove", `{"node":"n3"} n4`, []string{"one JSON object"}},
		{"leave", `{"node":"` + strings.Repeat("n", maxFieldsBytes) + `"}`, []string{"more than 4096 bytes"}},
	} {
		f.do("POST", "/v1/cluster/"+tc.path, tc.body).wantProblem(400, "bad-body", append(tc.says, "Nothing changed")...)
	}
	f.raw("POST /v1/cluster/remove HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 99\r\n\r\n{\"node\":\"n3\"}").wantProblem(400, "bad-body", "after 13 bytes")
	f.do("POST", "/v1/cluster/leave?node=n3", "").wantProblem(400, "bad-parameter", "takes none")
	f.do("POST", "/v1/cluster/leave", `{"node":"n9"}`).wantProblem(404, "no-such-node", `"n9"`, "n1 (", "n5 (")
	f.do("POST", "/v1/cluster/replace", `{"node":"n3","by":"n9"}`).wantProblem(404, "no-such-node", `"n9"`)
	for _, header := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: http://elsewhere.example", "Origin: null"} {
		f.do("POST", "/v1/cluster/leave", "", header).wantProblem(403, "cross-origin", "Nothing changed")
	}
	for range maxDiagnoses {
		f.server.diagnoses <- struct{}{}
	}
	f.do("POST", "/v1/cluster/leave", `{"node":"n3"}`).wantProblem(503, "overloaded", "64 callers")
	for range maxDiagnoses {
		<-f.server.diagnoses
	}
	if top.planned != nil || top.changed != nil {
		t.Errorf("planned %+v, changed %+v", top.planned, top.changed)
	}
	f.do("POST", "/v1/cluster/leave", `{"node":"n3"}`, "Origin: http://starling").want(202)
	for range maxDiagnoses + 1 { // each gives its place back
		f.do("POST", "/v1/cluster/leave", `{"node":"n3"}`).want(202)
	}
	f.cluster.m, f.cluster.view = state.Map{}, nil
	f.do("POST", "/v1/cluster/leave", `{}`).wantProblem(503, "not-ready", "not joined")
}

// TestPrecondition: a change that would cost data names the partitions, and
// what to do about it.
func TestPrecondition(t *testing.T) {
	f, top := serveTopology(t)
	many := make([]int, 1200)
	for i := range many {
		many[i] = i
	}
	for _, tc := range []struct {
		err          *PreconditionError
		lost, atRisk int
		detail       string
	}{
		{&PreconditionError{Reason: "n3 is alive: have it leave"}, 0, 0, "n3 is alive: have it leave. Nothing changed."},
		{&PreconditionError{Reason: nodeID(4).String() + " is down too", Lost: []int{3}}, 1, 0,
			`n4 is down too. 1 partition would be left without a complete copy. With "force": true it is done all the same, and what other copies lack is gone for good. Nothing changed.`},
		{&PreconditionError{Reason: "n4 is down too", Lost: many, AtRisk: []int{7, 9}}, 1000, 2,
			`n4 is down too. 1200 partitions would be left without a complete copy. 2 partitions would keep fewer complete copies than a quorum. With "force": true it is done all the same, and what other copies lack is gone for good. Nothing changed.`},
	} {
		top.refuse = fmt.Errorf("node: %w", tc.err)
		doc := f.do("POST", "/v1/cluster/remove", `{"node":"n3"}`).wantProblem(409, "precondition")
		lost, _ := doc["lost_partitions"].([]any)
		atRisk, _ := doc["at_risk_partitions"].([]any)
		if doc["detail"] != tc.detail || len(lost) != tc.lost || len(atRisk) != tc.atRisk || doc["retryable"] != true {
			t.Errorf("%v", doc)
		}
		for name, list := range map[string][]any{"lost_partitions": lost, "at_risk_partitions": atRisk} {
			if _, shown := doc[name]; shown != (len(list) > 0) {
				t.Errorf("%s: %v", name, doc[name])
			}
		}
	}
	if mem, _ := f.cluster.Map().Member(nodeID(3)); mem.State != state.Active {
		t.Errorf("n3 is %v", mem.State)
	}
}

// TestChangeFails: the answer says whether the change may have been made.
func TestChangeFails(t *testing.T) {
	f, top := serveTopology(t)
	for _, tc := range []struct {
		err    error
		status int
		slug   string
		maybe  any
	}{
		{context.DeadlineExceeded, 504, "deadline-exceeded", true},
		{coordinator.ErrNotReady, 503, "not-ready", false},
		{fmt.Errorf("%w: n4", coordinator.ErrUnreachable), 503, "unreachable", false},
		{errors.New("secret"), 500, "internal", true},
	} {
		top.refuse = tc.err
		says := "Nothing changed"
		if tc.maybe == true {
			says = "may have been made"
		}
		if doc := f.do("POST", "/v1/cluster/remove", `{"node":"n3"}`).wantProblem(tc.status, tc.slug, says); doc["maybe_applied"] != tc.maybe {
			t.Errorf("%v: %v", tc.err, doc)
		}
	}
	// What cannot be planned is not made.
	top.changed = nil
	top.err = fmt.Errorf("%w: nobody would be left", topology.ErrChange)
	f.do("POST", "/v1/cluster/leave", `{"node":"n3"}`).wantProblem(409, "precondition", "nobody would be left", "Nothing changed")
	top.err = context.DeadlineExceeded
	f.do("POST", "/v1/cluster/leave", `{"node":"n3"}`).wantProblem(504, "deadline-exceeded", "Nothing changed")
	if top.changed != nil {
		t.Errorf("changed %+v", top.changed)
	}
}

// TestChangeOutlivesItsCaller: a caller who goes away while the plan is made
// does not leave the change half made.
func TestChangeOutlivesItsCaller(t *testing.T) {
	f, top := serveTopology(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	req := ChangeRequest{Kind: ChangeLeave, Node: nodeID(3)}
	if _, p := f.server.change(ctx, req, f.cluster.Map()); p != nil || !slices.Equal(top.changed, []ChangeRequest{req}) || top.alive != nil {
		t.Errorf("%+v, changed %+v under %v", p, top.changed, top.alive)
	}
}
