package api

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"starling/gossip/state"
	"starling/gossip/topology"
	"starling/ring"
)

// TestPlan: the whole document.
func TestPlan(t *testing.T) {
	f, top := serveTopology(t)
	top.plan = topology.Plan{
		Nodes: []topology.NodePlan{
			{ID: nodeID(2), Name: "n2", State: state.Leaving, Down: true, PartitionsBefore: 10, Out: 10, BytesOut: 1000, BytesSent: 40},
			{ID: topology.NewID("n6"), Name: "n6", State: state.Joining, PartitionsAfter: 10, In: 10, BytesIn: 1000},
		},
		Partitions: 9, Replicas: 10, Bytes: 1000, Seconds: 2.5, BusySeconds: 40.5,
		SurvivesBefore: topology.Failures{Nodes: 1, Zones: -1}, SurvivesAfter: topology.Failures{Nodes: 2, Zones: 1},
		Lost: []int{1}, AtRisk: []int{2, 3}, Unreachable: []int{4},
		Warnings: []string{"think of " + nodeID(2).String()},
	}
	f.do("GET", "/v1/cluster/plan?leave=n2&join=n6", "").want(200).wantHeader("Cache-Control", "no-store").wantBody(
		`{"nodes":[{"node":"n2","id":"` + nodeID(2).String() + `","state":"leaving","down":true,"partitions_before":10,"partitions_after":0,"in":0,"out":10,"bytes_in":0,"bytes_out":1000,"bytes_sent":40},` +
			`{"node":"n6","state":"joining","down":false,"partitions_before":0,"partitions_after":10,"in":10,"out":0,"bytes_in":1000,"bytes_out":0,"bytes_sent":0}],` +
			`"partitions":9,"replicas":10,"bytes":1000,"seconds":2.5,"busy_seconds":40.5,"survives_before":{"nodes":1,"zones":-1},"survives_after":{"nodes":2,"zones":1},` +
			`"lost_partitions":[1],"at_risk_partitions":[2,3],"unreachable_partitions":[4],"warnings":["think of n2"]}`)
	f.do("HEAD", "/v1/cluster/plan?leave=n2", "").want(200)
}

// TestPlanParameters: what the query means.
func TestPlanParameters(t *testing.T) {
	f, top := serveTopology(t)
	colon, _ := f.cluster.Map().Member(nodeID(5))
	colon.Name = "eu:5"
	f.cluster.set(t, f.cluster.Map().With(colon))
	for query, want := range map[string]topology.Change{
		"":                                    {},
		"leave=n3":                            {Leave: []ring.NodeID{nodeID(3)}},
		"leave=n3&remove=n4&leave=n1":         {Leave: []ring.NodeID{nodeID(3), nodeID(1)}, Remove: []ring.NodeID{nodeID(4)}},
		"leave=" + nodeID(2).String():         {Leave: []ring.NodeID{nodeID(2)}},
		"leave=eu:5":                          {Leave: []ring.NodeID{nodeID(5)}},
		"join=n6":                             {Join: []topology.NewMember{{Name: "n6"}}},
		"join=n6:eu&join=n7%3Aus%3A250":       {Join: []topology.NewMember{{Name: "n6", Zone: "eu"}, {Name: "n7", Zone: "us", Weight: 250}}},
		"join=n6::10000":                      {Join: []topology.NewMember{{Name: "n6", Weight: 10000}}},
		"weight=n1:200&weight=n2:1":           {Weights: map[ring.NodeID]uint32{nodeID(1): 200, nodeID(2): 1}},
		"weight=" + nodeID(5).String() + ":7": {Weights: map[ring.NodeID]uint32{nodeID(5): 7}},
		"zone=n1:eu&zone=n2:&zone=n3:a:b":     {Zones: map[ring.NodeID]string{nodeID(1): "eu", nodeID(2): "", nodeID(3): "a:b"}},
		"replace=n4:n6&replace=n3:n7:x":       {Replace: []topology.Replacement{{Dead: nodeID(4), Heir: topology.NewMember{Name: "n6"}}, {Dead: nodeID(3), Heir: topology.NewMember{Name: "n7:x"}}}},
		"join=n6&replace=n4:n6&remove=n3&weight=n1:5": {Join: []topology.NewMember{{Name: "n6"}}, Replace: []topology.Replacement{{Dead: nodeID(4), Heir: topology.NewMember{Name: "n6"}}}, Remove: []ring.NodeID{nodeID(3)}, Weights: map[ring.NodeID]uint32{nodeID(1): 5}},
	} {
		top.planned = nil
		f.do("GET", "/v1/cluster/plan?"+query, "").want(200)
		got := top.planned[0]
		if len(want.Weights) == 0 && len(got.Weights) == 0 {
			got.Weights = want.Weights
		}
		if len(want.Zones) == 0 && len(got.Zones) == 0 {
			got.Zones = want.Zones
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: planned\n%+v\nwant\n%+v", query, got, want)
		}
	}
	if top.changed != nil {
		t.Errorf("a plan changed %+v", top.changed)
	}
}

func TestPlanRefused(t *testing.T) {
	f := serve(t)
	f.do("GET", "/v1/cluster/plan", "").wantProblem(503, "not-ready", "does not offer")
	f, top := serveTopology(t)
	for query, want := range map[string]struct{ parameter, says string }{
		"leaves=n3":                     {"leaves", "takes leave, remove, join, replace, weight, zone"},
		"join=":                         {"join", "NAME:ZONE:WEIGHT with a weight from 1 to 10000"},
		"join=:eu":                      {"join", `":eu"`},
		"join=n6:eu:0":                  {"join", "1 to 10000"},
		"join=n6:eu:10001":              {"join", "1 to 10000"},
		"join=n6:eu:":                   {"join", "1 to 10000"},
		"join=n6:eu:1:2":                {"join", "1 to 10000"},
		"weight=n1":                     {"weight", `"n1": wanted is MEMBER:WEIGHT`},
		"weight=n1:0":                   {"weight", "1 to 10000"},
		"weight=n1:%2B5":                {"weight", "1 to 10000"},
		"weight=n1:1&weight=n1:2":       {"weight", "given twice for n1"},
		"remove=":                       {"remove", "the name or ID of a member"},
		"replace=:n6":                   {"replace", "the name or ID of a member"},
		"weight=:5":                     {"weight", "the name or ID of a member"},
		"zone=:":                        {"zone", "the name or ID of a member"},
		"zone=n1":                       {"zone", "MEMBER:ZONE"},
		"zone=n1:a&zone=n1:a":           {"zone", "given twice for n1"},
		"replace=n4":                    {"replace", "DEAD:NEW"},
		"replace=n4:":                   {"replace", "DEAD:NEW"},
		strings.Repeat("&join=x", 1025): {"join", "more than 1024 changes"},
	} {
		if doc := f.do("GET", "/v1/cluster/plan?"+query, "").wantProblem(400, "bad-parameter", want.says); doc["parameter"] != want.parameter {
			t.Errorf("%s: the problem names %v", query, doc["parameter"])
		}
	}
	for _, query := range []string{"leave=n9", "remove=n9", "replace=n9:n6", "weight=n9:1", "zone=n9:eu"} {
		f.do("GET", "/v1/cluster/plan?"+query, "").wantProblem(404, "no-such-node", "n1 (")
	}
	f.do("POST", "/v1/cluster/plan", "").wantProblem(405, "method-not-allowed", "GET, HEAD")
	for range maxDiagnoses {
		f.server.diagnoses <- struct{}{}
	}
	f.do("GET", "/v1/cluster/plan", "").wantProblem(503, "overloaded", "64 callers")
	f.do("GET", "/v1/cluster/safe-to-stop", "").wantProblem(503, "overloaded", "64 callers")
	for range maxDiagnoses {
		<-f.server.diagnoses
	}
	if top.planned != nil {
		t.Errorf("planned %+v", top.planned)
	}
	for range maxDiagnoses + 1 { // each gives its place back
		f.do("GET", "/v1/cluster/plan", "").want(200)
	}
	top.err = fmt.Errorf("node: %w: n3 is removed already", topology.ErrChange)
	f.do("GET", "/v1/cluster/plan?leave=n3", "").wantProblem(409, "precondition", "n3 is removed already")
	top.err = errors.New("secret")
	f.do("GET", "/v1/cluster/plan", "").wantProblem(500, "internal", "log")
	top.err = context.DeadlineExceeded
	f.do("GET", "/v1/cluster/plan", "").wantProblem(504, "deadline-exceeded", "deadline")
	f.cluster.m, f.cluster.view = state.Map{}, nil
	f.do("GET", "/v1/cluster/plan", "").wantProblem(503, "not-ready", "not joined")
}

func TestSafeToStop(t *testing.T) {
	f := serve(t)
	f.do("GET", "/v1/cluster/safe-to-stop", "").wantProblem(503, "not-ready", "does not offer")
	f, top := serveTopology(t)
	top.safety = topology.Safety{Safe: true}
	f.do("GET", "/v1/cluster/safe-to-stop", "").want(200).wantHeader("Cache-Control", "no-store").wantBody(`{"node":"n1","safe":true,"reasons":[]}`)
	f.do("HEAD", "/v1/cluster/safe-to-stop?node=n2", "").want(200)
	top.safety = topology.Safety{Reasons: []topology.Reason{
		{Kind: topology.KindQuorum, Partitions: 4, Detail: "4 partitions would have 1 owner: " + nodeID(4).String() + " is down."},
		{Kind: topology.KindHints, Detail: "3 hints."}, {Kind: topology.KindTransfer, Partitions: 2, Detail: "t"},
		{Kind: topology.KindUnknown, Detail: "u"}, {Kind: topology.KindDown, Detail: "d"},
	}}
	f.do("GET", "/v1/cluster/safe-to-stop?node="+nodeID(3).String(), "").want(200).wantBody(`{"node":"n3","safe":false,"reasons":[` +
		`{"kind":"quorum","partitions":4,"detail":"4 partitions would have 1 owner: n4 is down."},{"kind":"hints","partitions":0,"detail":"3 hints."},` +
		`{"kind":"transfer","partitions":2,"detail":"t"},{"kind":"unknown","partitions":0,"detail":"u"},{"kind":"down","partitions":0,"detail":"d"}]}`)
	if want := []ring.NodeID{nodeID(1), nodeID(2), nodeID(3)}; !reflect.DeepEqual(top.asked, want) {
		t.Errorf("asked of %v", top.asked)
	}
	f.do("GET", "/v1/cluster/safe-to-stop?node=n9", "").wantProblem(404, "no-such-node", `"n9"`, "n1 (")
	f.do("GET", "/v1/cluster/safe-to-stop?node=", "").wantProblem(400, "bad-parameter", "name or ID")
	f.do("GET", "/v1/cluster/safe-to-stop?node=n1&node=n2", "").wantProblem(400, "bad-parameter", "twice")
	f.do("GET", "/v1/cluster/safe-to-stop?name=n1", "").wantProblem(400, "bad-parameter", "takes node")
	f.do("POST", "/v1/cluster/safe-to-stop", "").wantProblem(405, "method-not-allowed", "GET, HEAD")
	top.err = errors.New("secret")
	f.do("GET", "/v1/cluster/safe-to-stop", "").wantProblem(500, "internal", "log")
	f.cluster.m, f.cluster.view = state.Map{}, nil
	f.do("GET", "/v1/cluster/safe-to-stop", "").wantProblem(503, "not-ready", "not joined")
}
