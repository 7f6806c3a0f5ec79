package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"
)

// bucketNode answers requests about buckets, and notes the last.
type bucketNode struct {
	status       int
	body         string
	method, path string
	sent         map[string]any
}

func (n *bucketNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.method, n.path, n.sent = r.Method, r.URL.EscapedPath(), nil
	if b, _ := io.ReadAll(r.Body); len(b) > 0 {
		_ = json.Unmarshal(b, &n.sent)
	}
	if n.status >= 400 {
		fakeProblem(w, n.status, "conflicts-differ", nil)
		return
	}
	w.WriteHeader(n.status)
	_, _ = io.WriteString(w, n.body)
}

func bucketClient(t *testing.T, status int, body string) (*Client, *bucketNode) {
	t.Helper()
	n := &bucketNode{status: status, body: body}
	srv := httptest.NewServer(n)
	t.Cleanup(srv.Close)
	return newClient(t, Options{Endpoints: []string{srv.URL}, DisableRing: true}), n
}

const sessionsDoc = `{"name":"sessions","declared":true,"incarnation":2,"properties":{"conflicts":"lww","consistency":"one","r":1,"w":2,"ttl":"1h30m","max_siblings":7,"max_value_bytes":1000}}`

var sessions = Bucket{Name: "sessions", Declared: true, Incarnation: 2, Properties: BucketProperties{
	Conflicts: "lww", Consistency: One, R: 1, W: 2, TTL: 90 * time.Minute, MaxSiblings: 7, MaxValueBytes: 1000}}

func TestBuckets(t *testing.T) {
	c, n := bucketClient(t, 200, `{"buckets":[`+sessionsDoc+`,{"name":"x","declared":false,"incarnation":1,"properties":{"conflicts":"siblings","consistency":"quorum","r":null,"w":null,"ttl":null,"max_siblings":null,"max_value_bytes":null}}]}`)
	got, err := c.Buckets(context.Background())
	want := []Bucket{sessions, {Name: "x", Incarnation: 1, Properties: BucketProperties{Conflicts: "siblings", Consistency: Quorum}}}
	if err != nil || !reflect.DeepEqual(got, want) || n.method+n.path != "GET/v1/buckets" {
		t.Errorf("%s %s: %+v, %v", n.method, n.path, got, err)
	}
	c, n = bucketClient(t, 200, sessionsDoc)
	one, err := c.ShowBucket(context.Background(), "sessions")
	if err != nil || !reflect.DeepEqual(*one, sessions) || n.method+n.path != "GET/v1/buckets/sessions" {
		t.Errorf("%s %s: %+v, %v", n.method, n.path, one, err)
	}
	text, err := json.Marshal(sessions)
	var again Bucket
	if err != nil || json.Unmarshal(text, &again) != nil || !reflect.DeepEqual(again, sessions) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestCreateBucket(t *testing.T) {
	c, n := bucketClient(t, 200, sessionsDoc)
	if _, err := c.CreateBucket(context.Background(), "sessions", sessions.Properties); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"conflicts": "lww", "consistency": "one", "r": 1.0, "w": 2.0, "ttl": "1h30m0s", "max_siblings": 7.0, "max_value_bytes": 1000.0}
	if !reflect.DeepEqual(n.sent, want) || n.method+n.path != "PUT/v1/buckets/sessions" {
		t.Errorf("%s %s %v", n.method, n.path, n.sent)
	}
	if _, err := c.CreateBucket(context.Background(), "sessions", BucketProperties{}); err != nil || len(n.sent) != 0 {
		t.Errorf("defaults were sent: %v, %v", n.sent, err)
	}
	n.status = 409
	var p *Problem
	if _, err := c.CreateBucket(context.Background(), "sessions", sessions.Properties); !errors.As(err, &p) || p.Status != 409 || MaybeApplied(err) {
		t.Errorf("error %v", err)
	}
	if _, err := c.CreateBucket(context.Background(), "a/b", BucketProperties{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v", err)
	}
}

func TestDropBucket(t *testing.T) {
	c, n := bucketClient(t, 204, "")
	if pending, err := c.DropBucket(context.Background(), "b"); err != nil || pending != nil || n.method+n.path != "DELETE/v1/buckets/b" {
		t.Errorf("%s %s: %v, %v", n.method, n.path, pending, err)
	}
	n.status, n.body = 200, `{"pending":["n2","n4"]}`
	if pending, err := c.DropBucket(context.Background(), "b"); err != nil || !reflect.DeepEqual(pending, []string{"n2", "n4"}) {
		t.Errorf("%v, %v", pending, err)
	}
	if _, err := c.DropBucket(context.Background(), ""); !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v", err)
	}
}
