package api

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"starling/antientropy"
	"starling/gossip/state"
	"starling/ring"
)

func TestRepairStatus(t *testing.T) {
	c := &fakeConvergence{t: t}
	f := serve(t, func(o *Options) { o.Convergence = c })
	const nobody = `{"node":"n1","running":false,"pairs_done":0,"pairs_total":0,"keys_shipped":0,"bytes_shipped":0,"members":[],"unreachable":["n1","n2","n3","n4","n5"]}`
	f.do("GET", "/v1/repair", "").want(200).wantHeader("Cache-Control", "no-store").wantBody(nobody)
	f.do("HEAD", "/v1/repair", "").want(200)
	c.statuses = map[ring.NodeID]antientropy.RepairStatus{
		nodeID(1): {},
		nodeID(2): {ID: 7, Started: f.now.Now(), PairsDone: 40, PairsTotal: 40, KeysShipped: 3, BytesShipped: 300},
		nodeID(3): {ID: 1, Running: true, Started: f.now.Now().Add(time.Second), PairsDone: 5, PairsTotal: 30, KeysShipped: 1, BytesShipped: 100,
			Unreachable: []ring.NodeID{nodeID(9), nodeID(4)}},
		nodeID(9): {ID: 1, Running: true}, // nobody has asked for it
	}
	gone, _ := f.cluster.Map().Member(nodeID(5))
	gone.State = state.Removed
	f.cluster.set(t, f.cluster.Map().With(gone))
	var doc repairDoc
	f.do("GET", "/v1/repair", "").want(200).decode(&doc)
	none := []string{}
	want := repairDoc{
		Node: "n1", Running: true, repairCount: repairCount{PairsDone: 45, PairsTotal: 70, KeysShipped: 4, BytesShipped: 400}, Unreachable: []string{"n4"},
		Members: []memberRepair{
			{Node: "n1", Unreachable: none},
			{Node: "n2", ID: 7, Started: "2026-11-02T10:00:00.125Z", repairCount: repairCount{40, 40, 3, 300}, Unreachable: none},
			{Node: "n3", ID: 1, Running: true, Started: "2026-11-02T10:00:01.125Z", repairCount: repairCount{5, 30, 1, 100}, Unreachable: []string{nodeID(9).String(), "n4"}},
		},
	}
	if !reflect.DeepEqual(doc, want) {
		t.Errorf("got\n%+v\nwant\n%+v", doc, want)
	}
	f.do("GET", "/v1/repair?node=n1", "").wantProblem(400, "bad-parameter", "takes none")
}

func TestRepairStart(t *testing.T) {
	c := &fakeConvergence{t: t, statuses: map[ring.NodeID]antientropy.RepairStatus{
		nodeID(1): {ID: 1, Running: true, PairsTotal: 10}, nodeID(2): {ID: 4, Running: true, PairsTotal: 5},
	}}
	f := serve(t, func(o *Options) { o.Convergence = c })
	all := antientropy.RepairRequest{}
	number := func(n uint32) *uint32 { return &n }
	for query, want := range map[string]struct {
		req   antientropy.RepairRequest
		local bool
	}{
		"":                              {all, false},
		"?local=false":                  {all, false},
		"?local=true":                   {all, true},
		"?partition=0":                  {antientropy.RepairRequest{Partition: number(0)}, false},
		"?partition=15":                 {antientropy.RepairRequest{Partition: number(15)}, false},
		"?bucket=carts":                 {antientropy.RepairRequest{Bucket: "carts"}, false},
		"?node=n3":                      {antientropy.RepairRequest{Node: nodeID(3)}, false},
		"?node=" + nodeID(2).String():   {antientropy.RepairRequest{Node: nodeID(2)}, false},
		"?node=n2&partition=1&bucket=b": {antientropy.RepairRequest{Partition: number(1), Bucket: "b", Node: nodeID(2)}, false},
	} {
		c.asked, c.local = nil, nil
		var doc repairDoc
		f.do("POST", "/v1/repair"+query, "").want(202).wantHeader("Cache-Control", "no-store").decode(&doc)
		if !reflect.DeepEqual(c.asked, []antientropy.RepairRequest{want.req}) || c.local[0] != want.local {
			t.Errorf("%q asked for %+v, local %v", query, c.asked, c.local)
		}
		members, silent := 2, 3
		if want.local {
			members, silent = 1, 0
		}
		if len(doc.Members) != members || len(doc.Unreachable) != silent || !doc.Running {
			t.Errorf("%q: %+v", query, doc)
		}
	}
}

func TestRepairRefused(t *testing.T) {
	f := serve(t)
	f.do("GET", "/v1/repair", "").wantProblem(503, "not-ready", "does not offer")
	f.do("POST", "/v1/repair", "").wantProblem(503, "not-ready", "does not offer")
	c := &fakeConvergence{t: t}
	f = serve(t, func(o *Options) { o.Convergence = c })
	gone, _ := f.cluster.Map().Member(nodeID(5))
	gone.State = state.Removed
	f.cluster.set(t, f.cluster.Map().With(gone))
	for query, want := range map[string]struct{ parameter, says string }{
		"partition=16":            {"partition", `"16": a whole number from 0 to 15`},
		"partition=-1":            {"partition", "0 to 15"},
		"partition=":              {"partition", "0 to 15"},
		"partition=1.0":           {"partition", "0 to 15"},
		"partition=4294967296":    {"partition", "0 to 15"},
		"bucket=":                 {"bucket", "A-Z a-z"},
		"bucket=a%2Fb":            {"bucket", `"a/b"`},
		"local=yes":               {"local", "true and false"},
		"target=n1":               {"target", "takes partition, bucket, node, local"},
		"partition=1&partition=1": {"partition", "twice"},
	} {
		if doc := f.do("POST", "/v1/repair?"+query, "").wantProblem(400, "bad-parameter", want.says); doc["parameter"] != want.parameter {
			t.Errorf("%s: the problem names %v", query, doc["parameter"])
		}
	}
	f.do("POST", "/v1/repair?node=n7", "").wantProblem(404, "no-such-node", `"n7"`)
	f.do("POST", "/v1/repair?node=", "").wantProblem(404, "no-such-node", `""`)
	f.do("POST", "/v1/repair?node=n5", "").wantProblem(404, "no-such-node", `"n5"`)
	f.do("PUT", "/v1/repair", "").wantProblem(405, "method-not-allowed", "GET, HEAD, POST")
	if c.asked != nil {
		t.Errorf("a refused request asked for %v", c.asked)
	}
	for _, tc := range []struct {
		err    error
		status int
		slug   string
		says   string
	}{
		{antientropy.ErrNotRunning, 503, "not-ready", "Nothing happened"},
		{fmt.Errorf("node: %w", antientropy.ErrRepairRunning), 409, "repair-running", "Wait for it"},
		{fmt.Errorf("%w: 15 of 8", antientropy.ErrNoPartition), 400, "invalid-request", "It said: no such partition: 15 of 8."},
		{context.DeadlineExceeded, 504, "deadline-exceeded", "deadline"},
		{errors.New("secret"), 500, "internal", "log"},
	} {
		c.err = tc.err
		f.do("POST", "/v1/repair", "").wantProblem(tc.status, tc.slug, tc.says)
	}
	f.cluster.m, f.cluster.view = state.Map{}, nil
	f.do("GET", "/v1/repair", "").wantProblem(503, "not-ready", "not joined")
	f.do("POST", "/v1/repair", "").wantProblem(503, "not-ready", "not joined")
}
