package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// batchServer answers the operations of batches by a function of the
// operation and how often its key has been asked for.
type batchServer struct {
	mu       sync.Mutex
	requests []string // bodies
	queries  []string
	tries    map[string]int
	answer   func(op map[string]any, try int) any
	fail     func(w http.ResponseWriter, request int) bool // answers in place of the results
}

func (s *batchServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path != "/v1/buckets/b/batch" || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		fakeProblem(w, http.StatusNotFound, "no-such-resource", nil)
		return
	}
	var doc struct{ Operations []map[string]any }
	var raw json.RawMessage
	if json.NewDecoder(r.Body).Decode(&raw) != nil || json.Unmarshal(raw, &doc) != nil {
		fakeProblem(w, http.StatusBadRequest, "bad-body", nil)
		return
	}
	s.requests, s.queries = append(s.requests, string(raw)), append(s.queries, r.URL.RawQuery)
	if s.fail != nil && s.fail(w, len(s.requests)) {
		return
	}
	results := []any{}
	for _, op := range doc.Operations {
		key, _ := op["key"].(string)
		s.tries[key]++
		results = append(results, s.answer(op, s.tries[key]))
	}
	w.Header().Set(headerCoordinator, "n1")
	_ = json.NewEncoder(w).Encode(map[string]any{"results": results})
}

func batchClient(t *testing.T, answer func(op map[string]any, try int) any) (*Client, *batchServer) {
	t.Helper()
	s := &batchServer{tries: map[string]int{}, answer: answer}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return newClient(t, Options{Endpoints: []string{srv.URL}, DisableRing: true, Backoff: time.Millisecond, Attempts: 3}), s
}

type object = map[string]any

func failed(status int, slug string, more object) object {
	p := object{"type": "/problems/" + slug, "title": "T", "status": status, "detail": "D", "retryable": true}
	for k, v := range more {
		p[k] = v
	}
	return object{"status": status, "problem": p, "context": "seen"}
}

func TestBatchResults(t *testing.T) {
	one := object{"dot": "d1", "content_type": "text/plain", "modified": "2026-03-01T12:00:00.5Z", "expires_at": "2026-03-01T13:00:00Z",
		"meta": object{"A": "b"}, "encoding": "base64", "value": "/w=="}
	c, s := batchClient(t, func(op object, _ int) any {
		switch op["key"] {
		case "one":
			r := object{"status": 200, "context": "seen", "etag": `"e"`, "replicas": "acked=2 hinted=0 required=2"}
			for k, v := range one {
				r[k] = v
			}
			return r
		case "two":
			return object{"status": 300, "context": "both", "siblings": []object{one, {"dot": "d2", "modified": "2026-03-02T12:00:00Z", "encoding": "utf-8", "value": "new"}}}
		case "absent":
			return failed(404, "key-not-found", nil)
		case "large":
			return failed(413, "value-too-large", nil)
		}
		return object{"status": 204, "context": "written", "etag": `"w"`, "replicas": "acked=3 hinted=0 required=2", "coordinator": "n2"}
	})
	ops := []Op{
		{Kind: OpGet, Key: "one", Context: "before"}, {Kind: OpGet, Key: "two"}, {Kind: OpGet, Key: "absent"},
		{Kind: OpPut, Key: "large", Data: []byte("x")},
		{Kind: OpPut, Key: "put", Data: []byte("v"), ContentType: "text/plain", TTL: time.Hour, Meta: map[string]string{"a": "b"}, IdempotencyKey: "me"},
		{Kind: OpPut, Key: "\xff", Data: []byte{0xfe}, Replace: true}, {Kind: OpPut, Key: "empty"}, {Kind: OpDelete, Key: "gone"},
	}
	rs, err := c.Batch(t.Context(), "b", ops, &BatchOptions{Consistency: Consistency{Level: All}, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if v := rs[0].Value; v == nil || string(v.Data) != "\xff" || v.ContentType != "text/plain" || v.Meta["a"] != "b" || v.Context != "seen" ||
		v.ETag != `"e"` || v.Coordinator != "n1" || v.Expires.IsZero() || v.Modified.Nanosecond() != 5e8 {
		t.Errorf("a value: %+v, %v", v, rs[0].Err)
	}
	if v, ok := Siblings(rs[1].Err); !ok || len(v.Siblings) != 2 || v.Context != "both" {
		t.Errorf("siblings: %v", rs[1].Err)
	}
	var absent *NotFoundError
	if !errors.As(rs[2].Err, &absent) || absent.Context != "seen" || absent.Key != "absent" {
		t.Errorf("an absent key: %v", rs[2].Err)
	}
	var p *Problem
	var e *Error
	if !errors.As(rs[3].Err, &p) || p.Status != 413 || !errors.As(rs[3].Err, &e) || e.Op != "put" || e.Key != "large" || e.MaybeApplied || e.Attempts != 1 {
		t.Errorf("a large value: %v", rs[3].Err)
	}
	if w := rs[4].Written; w == nil || *w != (Written{Context: "written", ETag: `"w"`, Replicas: "acked=3 hinted=0 required=2", Coordinator: "n2"}) {
		t.Errorf("a put: %+v, %v", w, rs[4].Err)
	}
	for _, want := range []string{`{"op":"get","key":"one","context":"before"}`,
		`{"op":"put","key":"put","value":"v","content_type":"text/plain","meta":{"a":"b"},"ttl":"1h0m0s","idempotency_key":"me"}`,
		`{"op":"put","key_base64":"/w==","value_base64":"/g==","idempotency_key":"`, `"replace":true`, `"key":"empty","value":""`, `{"op":"delete","key":"gone","idempotency_key":"`} {
		if !strings.Contains(s.requests[0], want) {
			t.Errorf("%s is not in %s", want, s.requests[0])
		}
	}
	if len(s.requests) != 1 || s.queries[0] != "consistency=all&timeout=1s" {
		t.Errorf("%d requests, %q", len(s.requests), s.queries)
	}
	rs, err = c.Batch(t.Context(), "b", ops[1:2], &BatchOptions{Resolve: LatestModified})
	if err != nil || rs[0].Err != nil || string(rs[0].Value.Data) != "new" {
		t.Errorf("resolved: %+v, %v", rs, err)
	}
}

// Only what failed for now is sent again, with the same idempotency key.
func TestBatchRetries(t *testing.T) {
	keys := map[any]string{}
	c, s := batchClient(t, func(op object, try int) any {
		if key, ok := op["idempotency_key"].(string); ok && keys[op["key"]] == "" {
			keys[op["key"]] = key
		} else if ok && keys[op["key"]] != key {
			return failed(400, "another-key", nil)
		}
		switch {
		case op["key"] == "never":
			return failed(503, "quorum-not-reached", object{"maybe_applied": try == 1})
		case op["key"] == "soon" && try < 3:
			return failed(504, "deadline-exceeded", object{"maybe_applied": true})
		case op["key"] == "wrong":
			return failed(409, "too-many-siblings", nil)
		}
		return object{"status": 204}
	})
	put := func(key string) Op { return Op{Kind: OpPut, Key: key} }
	rs, err := c.Batch(t.Context(), "b", []Op{put("now"), put("never"), put("soon"), put("wrong")}, nil)
	if err != nil || rs[0].Err != nil || rs[2].Err != nil || rs[2].Written == nil {
		t.Fatalf("%+v, %v", rs, err)
	}
	var e *Error
	if !errors.As(rs[1].Err, &e) || e.Attempts != 3 || !e.MaybeApplied {
		t.Errorf("what may have been applied at first: %+v", rs[1].Err)
	}
	if s.tries["now"] != 1 || s.tries["wrong"] != 1 || s.tries["never"] != 3 || s.tries["soon"] != 3 {
		t.Errorf("tries: %v", s.tries)
	}
}

// Values that one answer has no room for come with the next.
func TestBatchAnswersInParts(t *testing.T) {
	c, s := batchClient(t, nil)
	served := 0
	s.answer = func(op object, try int) any {
		if served++; served%4 == 0 {
			return failed(413, "batch-answer-too-large", nil)
		}
		return object{"status": 200, "encoding": "utf-8", "value": op["key"]}
	}
	var ops []Op
	for i := range 500 {
		ops = append(ops, Op{Kind: OpGet, Key: fmt.Sprint("k", i)})
	}
	rs, err := c.Batch(t.Context(), "b", ops, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rs {
		if r.Err != nil || string(r.Value.Data) != ops[i].Key {
			t.Fatalf("%s: %+v", ops[i].Key, r)
		}
	}
	if len(s.requests) <= 3 {
		t.Errorf("%d requests are no more than attempts", len(s.requests))
	}
	s.answer = func(object, int) any { return failed(413, "batch-answer-too-large", nil) }
	if rs, err := c.Batch(t.Context(), "b", ops[:1], nil); err != nil || rs[0].Err == nil {
		t.Errorf("one that never fits: %+v, %v", rs, err)
	}
}

func TestBatchFailsAsAWhole(t *testing.T) {
	c, s := batchClient(t, func(object, int) any { return object{"status": 204} })
	put := []Op{{Kind: OpPut, Key: "k"}}
	s.fail = func(w http.ResponseWriter, request int) bool {
		if request == 1 {
			fakeProblem(w, http.StatusServiceUnavailable, "overloaded", object{"maybe_applied": false})
		}
		return request == 1
	}
	if rs, err := c.Batch(t.Context(), "b", put, nil); err != nil || rs[0].Err != nil {
		t.Errorf("after a refusal: %+v, %v", rs, err)
	}
	for body, maybe := range map[string]bool{`{"results":[]}`: true, "x": true} {
		s.fail = func(w http.ResponseWriter, _ int) bool { _, _ = w.Write([]byte(body)); return true }
		if rs, err := c.Batch(t.Context(), "b", put, nil); err == nil || rs != nil || MaybeApplied(err) != maybe {
			t.Errorf("%s: %+v, %v", body, rs, err)
		}
	}
	s.fail = func(w http.ResponseWriter, _ int) bool {
		fakeProblem(w, http.StatusRequestEntityTooLarge, "value-too-large", nil)
		return true
	}
	if _, err := c.Batch(t.Context(), "b", put, nil); err == nil || MaybeApplied(err) || !strings.HasPrefix(err.Error(), "client: batch b: status 413") {
		t.Errorf("a refused document: %v", err)
	}
	sent := len(s.requests)
	for name, ops := range map[string][]Op{
		"kind": {{Kind: "increment", Key: "k"}}, "key": {{Kind: OpGet}}, "get with data": {{Kind: OpGet, Key: "k", Data: []byte{}}},
		"named get": {{Kind: OpGet, Key: "k", IdempotencyKey: "x"}}, "TTL": {{Kind: OpPut, Key: "k", TTL: -1}},
		"replace": {{Kind: OpPut, Key: "k", Replace: true, Context: "c"}}, "too many": make([]Op, MaxBatch+1),
	} {
		if _, err := c.Batch(t.Context(), "b", ops, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if rs, err := c.Batch(t.Context(), "b", nil, nil); err != nil || rs != nil || len(s.requests) != sent {
		t.Errorf("nothing: %v, %v, %d requests", rs, err, len(s.requests)-sent)
	}
}
