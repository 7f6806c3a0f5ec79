package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

// documents answers JSON by path, or a problem, and notes what was asked.
type documents struct {
	answers map[string]string // by "METHOD escaped-path"
	asked   []string
}

func (d *documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.Method + " " + r.URL.EscapedPath()
	d.asked = append(d.asked, path+"?"+r.URL.RawQuery)
	body, ok := d.answers[path]
	if !ok {
		fakeProblem(w, http.StatusNotFound, "no-such-node", nil)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusAccepted)
	}
	_, _ = w.Write([]byte(body))
}

func documentsClient(t *testing.T, d *documents) (c *Client, address string) {
	t.Helper()
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	return newClient(t, Options{Endpoints: []string{srv.URL}, DisableRing: true}), strings.TrimPrefix(srv.URL, "http://")
}

func TestClusterDocument(t *testing.T) {
	d := &documents{answers: map[string]string{"GET /v1/cluster": `{"cluster_id":"c1","map_hash":"ab","partitions":8,"replicas":2,"node":"n1","members":[
		{"name":"n1","id":"01","state":"active","alive":true,"http":"h:1","rpc":"h:2","gossip":"h:3","zone":"z","weight":100,"boot":3,"version":"3.1",
		 "settled":5,"pending":1,"answered":true,"hints":7,"hint_bytes":700,"draining":true},
		{"name":"n2","id":"02","state":"joining","answered":false,"hints":0,"usable":true,"breaker":"half_open","in_flight":4,"read_p95_ms":1.5,"write_p95_ms":2}]}`}}
	c, _ := documentsClient(t, d)
	got, err := c.Cluster(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := &Cluster{ID: "c1", MapHash: "ab", Partitions: 8, Replicas: 2, Node: "n1", Members: []Member{
		{Name: "n1", ID: "01", State: "active", Alive: true, HTTP: "h:1", RPC: "h:2", Gossip: "h:3", Zone: "z", Weight: 100,
			Settled: 5, Pending: 1, Answered: true, Hints: 7, HintBytes: 700, Draining: true},
		{Name: "n2", ID: "02", State: "joining", Peer: &Peer{Usable: true, Breaker: "half_open", InFlight: 4, ReadP95MS: 1.5, WriteP95MS: 2}},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestExplain(t *testing.T) {
	d := &documents{answers: map[string]string{"GET /v1/explain/b/a%2F%2E%2E": `{"bucket":"b","key":"a/..","partition":9,"agree":true,"verdict":"well","replicas":[
		{"node":"n1","role":"owner","alive":true,"hash":"22","hinted":false,"vector":{"feed":2},"siblings":[
		 {"dot":"feed:2","bytes":12,"modified":"2026-03-01T12:00:00.125Z","expires":"2026-03-01T13:00:00Z","deleted":true}],
		 "hints":1,"held_for":[{"node":"n4","hash":"11"}],"leaf":{"number":7,"keys":3,"sum":"ab"},"error":""},
		{"node":"n4","role":"fallback","alive":false,"hash":"","hinted":true,"vector":{},"siblings":[],"hints":0,"held_for":[],"error":"peer unreachable"}]}`}}
	c, _ := documentsClient(t, d)
	got, err := c.Explain(context.Background(), "b", "a/..")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 125e6, time.UTC)
	want := &Explanation{Partition: 9, Agree: true, Verdict: "well", Replicas: []ExplainedReplica{
		{Node: "n1", Role: "owner", Alive: true, Hash: "22", Vector: map[string]uint64{"feed": 2},
			Siblings: []ExplainedSibling{{Dot: "feed:2", Bytes: 12, Modified: at, Expires: time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC), Deleted: true}},
			Hints:    1, HeldFor: []HeldFor{{"n4", "11"}}, Leaf: &Leaf{Number: 7, Keys: 3, Sum: "ab"}},
		{Node: "n4", Role: "fallback", Hinted: true, Vector: map[string]uint64{}, Siblings: []ExplainedSibling{}, HeldFor: []HeldFor{}, Error: "peer unreachable"},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if _, err := c.Explain(context.Background(), "b", ""); !errors.Is(err, ErrInvalid) || len(d.asked) != 1 {
		t.Errorf("an empty key: %v, %v", err, d.asked)
	}
}

// Hints are those of the node that is named, and of no other.
func TestHintsOfANode(t *testing.T) {
	one, other := &documents{}, &documents{answers: map[string]string{
		"GET /v1/hints":         `{"node":"n2","hints":3,"bytes":30,"targets":[{"target":"n4","id":"04","hints":3,"bytes":30,"state":"waiting","delivered":2,"last_error":"refused"}]}`,
		"POST /v1/hints/replay": `{"pending":3}`,
	}}
	c, _ := documentsClient(t, one)
	_, address := documentsClient(t, other)
	ctx := context.Background()
	got, err := c.Hints(ctx, address)
	want := &Hints{Node: "n2", Hints: 3, Bytes: 30, Targets: []HintTarget{{"n4", "04", 3, 30, "waiting", 2, "refused"}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, target := range []string{"", "n 4"} {
		if n, err := c.ReplayHints(ctx, address, target); n != 3 || err != nil {
			t.Errorf("replay of %q: %d, %v", target, n, err)
		}
	}
	if got := strings.Join(other.asked, " "); got != "GET /v1/hints? POST /v1/hints/replay? POST /v1/hints/replay?target=n+4" {
		t.Errorf("asked %s", got)
	}
	if len(one.asked) != 0 {
		t.Errorf("another node was asked %v", one.asked)
	}
	delete(other.answers, "POST /v1/hints/replay")
	var p *Problem
	if _, err := c.ReplayHints(ctx, address, "n7"); !errors.As(err, &p) || p.Type != "/problems/no-such-node" || MaybeApplied(err) ||
		!strings.HasPrefix(err.Error(), "client: replay: status 404: T no-such-node") {
		t.Errorf("an unknown target: %v", err)
	}
	if _, err := c.Hints(ctx, "ftp://x"); !errors.Is(err, ErrInvalid) {
		t.Errorf("no address: %v", err)
	}
}

// An answer about the cluster that cannot be had from one node is had from
// another.
func TestClusterFromAnotherNode(t *testing.T) {
	s := &script{play: []any{errDial, plain503, func() *http.Response { return reply(200, "application/json", `{"node":"n3"}`) }}}
	c := s.client(t, Options{Endpoints: []string{"a:1", "b:1", "c:1"}})
	got, err := c.Cluster(context.Background())
	if err != nil || got.Node != "n3" || len(s.sent) != 3 || s.sent[0].host == s.sent[1].host || s.sent[1].host == s.sent[2].host {
		t.Errorf("%+v, %v, after %v", got, err, s.sent)
	}
	s.play = []any{func() *http.Response { return reply(200, "text/html", "<html>") }}
	if got, err := c.Cluster(context.Background()); err == nil || got != nil || !strings.HasPrefix(err.Error(), "client: cluster: ") {
		t.Errorf("no document: %+v, %v", got, err)
	}
}

func TestReceipt(t *testing.T) {
	const body = `{"bucket":"b","key":"k","dot":"feed:2","context":"c","modified":"2026-03-01T12:00:00.125Z","acked":1,"hinted":1,"required":2,"coordinator":"n1",
		"replicas":[{"node":"n1","outcome":"acked"},{"node":"n4","outcome":"hinted","holder":"n5"}]}`
	var prefer string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if prefer = r.Header.Get("Prefer"); prefer == "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body))
	}))
	defer srv.Close()
	c := newClient(t, Options{Endpoints: []string{srv.URL}, DisableRing: true})
	w, err := c.Put(context.Background(), "b", "k", nil, &PutOptions{Receipt: true})
	if err != nil {
		t.Fatal(err)
	}
	want := &Receipt{Dot: "feed:2", Modified: time.Date(2026, 3, 1, 12, 0, 0, 125e6, time.UTC), Acked: 1, Hinted: 1, Required: 2,
		Replicas: []ReplicaReceipt{{Node: "n1", Outcome: "acked"}, {Node: "n4", Outcome: "hinted", Holder: "n5"}}}
	if prefer != "return=representation" || !reflect.DeepEqual(w.Receipt, want) {
		t.Errorf("Prefer %q, receipt %+v", prefer, w.Receipt)
	}
	if w, err = c.Put(context.Background(), "b", "k", nil, nil); err != nil || w.Receipt != nil || prefer != "" {
		t.Errorf("without asking: %+v, %v, Prefer %q", w, err, prefer)
	}
	// A server that does not know the preference has done the put all the same.
	prefer204 := &script{play: []any{ok}}
	c = prefer204.client(t, Options{Endpoints: []string{"a:1"}})
	if w, err = c.Put(context.Background(), "b", "k", nil, &PutOptions{Receipt: true}); err != nil || w.Receipt != nil {
		t.Errorf("from a server that sends none: %+v, %v", w, err)
	}
}

// A problem says which replicas failed, and why.
func TestProblemReplicas(t *testing.T) {
	s := &script{play: []any{func() *http.Response {
		return problemReply(503, `,"required":2,"received":1,"replicas":[{"node":"n4","error":"peer unreachable"}]`)
	}}}
	c := s.client(t, Options{Endpoints: []string{"a:1"}, Attempts: 1})
	_, err := c.Put(context.Background(), "b", "k", nil, nil)
	var p *Problem
	if !errors.As(err, &p) || !reflect.DeepEqual(p.Replicas, []ReplicaError{{"n4", "peer unreachable"}}) {
		t.Errorf("%+v", p)
	}
}
