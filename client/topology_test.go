package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

const (
	planBody = `{"nodes":[{"node":"n1","id":"01","state":"leaving","down":true,"partitions_before":9,"partitions_after":8,"in":2,"out":3,"bytes_in":20,"bytes_out":30,"bytes_sent":40},
		{"node":"n6","state":"joining"}],"partitions":4,"replicas":5,"bytes":50,"seconds":2.5,"survives_before":{"nodes":1,"zones":0},"survives_after":{"nodes":2,"zones":-1},
		"lost_partitions":[7],"at_risk_partitions":[8,9],"unreachable_partitions":[10],"warnings":["w"]}`
	safetyBody = `{"node":"n3","safe":false,"reasons":[{"kind":"quorum","partitions":12,"detail":"d"}]}`
)

var wantPlan = Plan{
	Nodes: []NodePlan{{Node: "n1", ID: "01", State: "leaving", Down: true, PartitionsBefore: 9, PartitionsAfter: 8, In: 2, Out: 3, BytesIn: 20, BytesOut: 30, BytesSent: 40},
		{Node: "n6", State: "joining"}},
	Partitions: 4, Replicas: 5, Bytes: 50, Seconds: 2.5, SurvivesBefore: Failures{1, 0}, SurvivesAfter: Failures{2, -1},
	LostPartitions: []int{7}, AtRiskPartitions: []int{8, 9}, UnreachablePartitions: []int{10}, Warnings: []string{"w"},
}

func TestPlan(t *testing.T) {
	d := &documents{answers: map[string]string{"GET /v1/cluster/plan": planBody}}
	c, _ := documentsClient(t, d)
	got, err := c.Plan(context.Background(), Proposal{
		Leave: []string{"n 1", "n2"}, Remove: []string{"n3"}, Join: []string{"n6:eu:200"}, Replace: []string{"n4:n7"}, Weight: []string{"n5:50"}, Zone: []string{"n5:"},
	})
	if err != nil || !reflect.DeepEqual(got, &wantPlan) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, wantPlan)
	}
	if _, err = c.Plan(context.Background(), Proposal{}); err != nil {
		t.Error(err)
	}
	if got := strings.Join(d.asked, " "); got != "GET /v1/cluster/plan?join=n6%3Aeu%3A200&leave=n+1&leave=n2&remove=n3&replace=n4%3An7&weight=n5%3A50&zone=n5%3A GET /v1/cluster/plan?" {
		t.Errorf("asked %s", got)
	}
}

func TestSafeToStop(t *testing.T) {
	d := &documents{answers: map[string]string{"GET /v1/cluster/safe-to-stop": safetyBody}}
	c, _ := documentsClient(t, d)
	got, err := c.SafeToStop(context.Background(), "n&3")
	want := &Safety{Node: "n3", Reasons: []SafetyReason{{"quorum", 12, "d"}}}
	if err != nil || !reflect.DeepEqual(got, want) || d.asked[0] != "GET /v1/cluster/safe-to-stop?node=n%263" {
		t.Errorf("%+v, %v, asked %v", got, err, d.asked)
	}
	if _, err := c.SafeToStop(context.Background(), ""); !errors.Is(err, ErrInvalid) || len(d.asked) != 1 {
		t.Errorf("of no node: %v", err)
	}
}

// TestChanges: each change is one JSON document that names its member.
func TestChanges(t *testing.T) {
	var sent []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent = append(sent, r.Method+" "+r.URL.Path+" "+r.Header.Get("Content-Type")+" "+string(body))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"node":"n3","id":"03","state":"leaving","plan":`+planBody+`}`)
	}))
	t.Cleanup(srv.Close)
	c := newClient(t, Options{Endpoints: []string{srv.URL}, DisableRing: true})
	ctx := context.Background()
	want := &Change{Node: "n3", ID: "03", State: "leaving", Plan: wantPlan}
	for _, call := range []struct {
		sent string
		do   func() (*Change, error)
	}{
		{`leave application/json {"node":"n\"3"}`, func() (*Change, error) { return c.Leave(ctx, `n"3`) }},
		{`remove application/json {"node":"n3","force":false}`, func() (*Change, error) { return c.Remove(ctx, "n3", false) }},
		{`remove application/json {"node":"n3","force":true}`, func() (*Change, error) { return c.Remove(ctx, "n3", true) }},
		{`replace application/json {"node":"n3","by":"n6","force":true}`, func() (*Change, error) { return c.Replace(ctx, "n3", "n6", true) }},
	} {
		sent = nil
		if got, err := call.do(); err != nil || !reflect.DeepEqual(got, want) || len(sent) != 1 || sent[0] != "POST /v1/cluster/"+call.sent {
			t.Errorf("%+v, %v; sent %q, want %s", got, err, sent, call.sent)
		}
	}
	sent = nil
	for name, do := range map[string]func() (*Change, error){
		"leave":   func() (*Change, error) { return c.Leave(ctx, "") },
		"remove":  func() (*Change, error) { return c.Remove(ctx, "", true) },
		"replace": func() (*Change, error) { return c.Replace(ctx, "", "n6", false) },
		"by":      func() (*Change, error) { return c.Replace(ctx, "n3", "", false) },
	} {
		if _, err := do(); !errors.Is(err, ErrInvalid) || len(sent) != 0 {
			t.Errorf("%s of nobody: %v, sent %v", name, err, sent)
		}
	}
}

// TestChangeRefused: a precondition is told with its partitions, is final, and
// nothing has changed.
func TestChangeRefused(t *testing.T) {
	s := &script{play: []any{func() *http.Response {
		body, _ := json.Marshal(map[string]any{"type": ProblemPrecondition, "title": "T", "status": 409, "detail": "D", "lost_partitions": []int{3}, "at_risk_partitions": []int{4, 5}})
		return reply(409, "application/problem+json", string(body))
	}}}
	c := s.client(t, Options{Endpoints: []string{"a:1", "b:1"}})
	_, err := c.Remove(context.Background(), "n3", false)
	var p *Problem
	if !errors.As(err, &p) || p.Type != ProblemPrecondition || !reflect.DeepEqual(p.LostPartitions, []int{3}) || !reflect.DeepEqual(p.AtRiskPartitions, []int{4, 5}) ||
		MaybeApplied(err) || len(s.sent) != 1 || err.Error() != "client: remove: status 409: T: D" {
		t.Errorf("%v, %+v, after %v", err, p, s.sent)
	}
}

// TestChangeAtAnotherNode: a change that one node did not answer is asked of
// another, with the same body; where nobody answers it may have been made.
func TestChangeAtAnotherNode(t *testing.T) {
	s := &script{play: []any{errDial, errReset, func() *http.Response { return reply(202, "application/json", `{"node":"n3"}`) }}}
	c := s.client(t, Options{Endpoints: []string{"a:1", "b:1", "c:1"}})
	if got, err := c.Leave(context.Background(), "n3"); err != nil || got.Node != "n3" || len(s.sent) != 3 {
		t.Errorf("%+v, %v, after %v", got, err, s.sent)
	}
	for i, r := range s.sent {
		if r.body != `{"node":"n3"}` {
			t.Errorf("attempt %d sent %q", i, r.body)
		}
	}
	s = &script{play: []any{errReset}}
	c = s.client(t, Options{Endpoints: []string{"a:1"}, Attempts: 1})
	if _, err := c.Leave(context.Background(), "n3"); !MaybeApplied(err) || !strings.HasSuffix(err.Error(), "(the change may have been made; asking again does no harm)") {
		t.Errorf("cut off: %v", err)
	}
}
