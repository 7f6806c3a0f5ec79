package client

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestConvergence(t *testing.T) {
	d := &documents{answers: map[string]string{"GET /v1/convergence": `{"node":"n1","converged":false,"oldest_proof_seconds":7.25,"partitions":8,"pairs_total":24,
		"stale":2,"unproven":1,"pairs":[{"partition":3,"a":"n1","b":"n4","proven_seconds_ago":7.25,"holds":true},{"partition":4,"a":"n1","b":"n4","proven_seconds_ago":null,"holds":false}],
		"unreachable":["n4"],"filling":5,"hints":6,"tombstones":9,"purge_blockers":[{"node":"n4","reason":"peer unreachable"}]}`}}
	c, _ := documentsClient(t, d)
	got, err := c.Convergence(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	age := 7.25
	want := &Convergence{
		Node: "n1", OldestProofSeconds: &age, Partitions: 8, PairsTotal: 24, Stale: 2, Unproven: 1,
		Pairs:       []ConvergencePair{{Partition: 3, A: "n1", B: "n4", ProvenSecondsAgo: &age, Holds: true}, {Partition: 4, A: "n1", B: "n4"}},
		Unreachable: []string{"n4"}, Filling: 5, Hints: 6, Tombstones: 9, PurgeBlockers: []PurgeBlocker{{"n4", "peer unreachable"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	d.answers["GET /v1/convergence"] = `{"converged":true,"oldest_proof_seconds":null}`
	if got, err = c.Convergence(context.Background()); err != nil || !got.Converged || got.OldestProofSeconds != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRepair(t *testing.T) {
	const body = `{"node":"n1","running":true,"pairs_done":4,"pairs_total":24,"keys_shipped":2,"bytes_shipped":200,"unreachable":["n5"],"members":[
		{"node":"n1","id":7,"running":true,"started":"2026-03-01T12:00:00.125Z","pairs_done":4,"pairs_total":24,"keys_shipped":2,"bytes_shipped":200,"unreachable":["n4"]},
		{"node":"n2","id":0,"running":false,"pairs_done":0,"pairs_total":0,"keys_shipped":0,"bytes_shipped":0,"unreachable":[]}]}`
	d := &documents{answers: map[string]string{"GET /v1/repair": body, "POST /v1/repair": body}}
	c, _ := documentsClient(t, d)
	ctx := context.Background()
	want := &RepairStatus{Node: "n1", Running: true, RepairCount: RepairCount{4, 24, 2, 200}, Unreachable: []string{"n5"}, Members: []MemberRepair{
		{Node: "n1", ID: 7, Running: true, Started: time.Date(2026, 3, 1, 12, 0, 0, 125e6, time.UTC), RepairCount: RepairCount{4, 24, 2, 200}, Unreachable: []string{"n4"}},
		{Node: "n2", Unreachable: []string{}},
	}}
	first := 0
	for _, o := range []*RepairOptions{nil, {}, {Partition: &first}, {Bucket: "b", Node: "n 4"}} {
		if got, err := c.Repair(ctx, o); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v: %+v, %v", o, got, err)
		}
	}
	if got, err := c.RepairStatus(ctx); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if got := strings.Join(d.asked, " "); got != "POST /v1/repair? POST /v1/repair? POST /v1/repair?partition=0 POST /v1/repair?bucket=b&node=n+4 GET /v1/repair?" {
		t.Errorf("asked %s", got)
	}
	if _, err := c.Repair(ctx, &RepairOptions{Bucket: "a/b"}); !errors.Is(err, ErrInvalid) || len(d.asked) != 5 {
		t.Errorf("no bucket: %v, %v", err, d.asked)
	}
	delete(d.answers, "POST /v1/repair")
	var p *Problem
	if _, err := c.Repair(ctx, &RepairOptions{Node: "n7"}); !errors.As(err, &p) || p.Type != "/problems/no-such-node" || MaybeApplied(err) ||
		!strings.HasPrefix(err.Error(), "client: repair: status 404: T no-such-node") {
		t.Errorf("an unknown node: %v", err)
	}
}

// A repair that one node cannot begin is begun by another.
func TestRepairAtAnotherNode(t *testing.T) {
	s := &script{play: []any{errDial, plain503, func() *http.Response { return reply(202, "application/json", `{"node":"n3"}`) }}}
	c := s.client(t, Options{Endpoints: []string{"a:1", "b:1", "c:1"}})
	if got, err := c.Repair(context.Background(), nil); err != nil || got.Node != "n3" || len(s.sent) != 3 {
		t.Errorf("%+v, %v, after %v", got, err, s.sent)
	}
}
