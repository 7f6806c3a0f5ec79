package client

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const countReply = `{"bucket":"b","key":"a/b","value":9223372036854775807,"dot":"feed:1","acked":2,"hinted":0,"required":2,"coordinator":"n1"}`

func TestAdd(t *testing.T) {
	var got *http.Request
	body := countReply
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		text := make([]byte, r.ContentLength)
		_, _ = r.Body.Read(text)
		r.Header.Set("Body", string(text))
		w.Header().Set(headerContext, "seen")
		w.Header().Set(headerReplicas, "acked=2 hinted=0 required=2")
		_, _ = w.Write([]byte(body))
	}))
	defer srv.Close()
	c := newClient(t, Options{Endpoints: []string{srv.URL}, DisableRing: true})
	n, err := c.Add(t.Context(), "b", "a/b", -9223372036854775808, &AddOptions{
		Consistency: Consistency{Level: All, R: 9, W: 2, PR: 9, PW: 1, Strict: true}, TTL: time.Hour, IdempotencyKey: "click 7"})
	want := &Counted{Written: Written{Context: "seen", Replicas: "acked=2 hinted=0 required=2"}, Value: 9223372036854775807}
	if err != nil || !reflect.DeepEqual(n, want) {
		t.Fatalf("%+v, %v, want %+v", n, err, want)
	}
	if got.Method != http.MethodPost || got.URL.EscapedPath() != "/v1/buckets/b/keys/a%2Fb/add" || got.Header.Get("Body") != `{"delta":-9223372036854775808}` ||
		got.URL.RawQuery != "consistency=all&pw=1&sloppy=false&timeout=3s&ttl=1h0m0s&w=2" || got.Header.Get("Idempotency-Key") != "click 7" || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s %v", got.Method, got.URL, got.Header)
	}
	if _, err := c.Add(t.Context(), "b", "k", 1, &AddOptions{Timeout: time.Second}); err != nil || got.URL.RawQuery != "timeout=1s" || got.Header.Get("Idempotency-Key") == "" {
		t.Errorf("%v, %s, %v", err, got.URL, got.Header)
	}
	body = "{}"
	if _, err := c.Add(t.Context(), "b", "k", 1, nil); err == nil || !MaybeApplied(err) {
		t.Errorf("an answer without a count: %v", err)
	}
	for _, bad := range []error{
		second(c.Add(t.Context(), "b/c", "k", 1, nil)), second(c.Add(t.Context(), "b", "", 1, nil)), second(c.Add(t.Context(), "b", "k", 1, &AddOptions{TTL: -1})),
		second(c.Add(t.Context(), "b", "k", 1, &AddOptions{Consistency: Consistency{W: -1}})),
	} {
		if !errors.Is(bad, ErrInvalid) {
			t.Errorf("%v", bad)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// The attempts of one Add are one increment, and none begins that may end after
// the cluster has forgotten the first.
func TestAddIsRepeatedInTime(t *testing.T) {
	for _, tt := range []struct {
		attempt, timeout, last time.Duration
	}{
		{3 * time.Second, 0, 12 * time.Second},
		{20 * time.Second, 0, 5 * time.Second},
		{3 * time.Second, 9 * time.Second, 6 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{play: []any{func() *http.Response { return problemReply(503, `,"maybe_applied":true`, "Retry-After", "1") }}}
			c := s.client(t, Options{Endpoints: []string{"a:1"}, Attempts: 1000, Timeout: time.Hour, AttemptTimeout: tt.attempt})
			_, err := c.Add(t.Context(), "b", "k", 1, &AddOptions{Timeout: tt.timeout})
			if err == nil || !MaybeApplied(err) || !strings.Contains(err.Error(), "may have been applied") {
				t.Errorf("%v", err)
			}
			first, last := s.sent[0], s.sent[len(s.sent)-1]
			if len(s.sent) < 3 || last.at > tt.last || last.at < tt.last-2500*time.Millisecond {
				t.Errorf("%+v: %d attempts, the last after %v", tt, len(s.sent), last.at)
			}
			for _, a := range s.sent {
				if a.idempotency == "" || a.idempotency != first.idempotency || a.body != `{"delta":1}` {
					t.Errorf("%+v", a)
				}
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := &script{play: []any{func() *http.Response { return problemReply(503, `,"maybe_applied":false`) }}}
		_, err := s.client(t, Options{Endpoints: []string{"a:1"}, Attempts: 2}).Add(t.Context(), "b", "k", 1, nil)
		if err == nil || MaybeApplied(err) || !strings.Contains(err.Error(), "(nothing was added)") {
			t.Errorf("%v", err)
		}
	})
}

func TestBatchOfAdds(t *testing.T) {
	c, s := batchClient(t, func(op object, try int) any {
		switch {
		case op["op"] != "add":
			return object{"status": 204}
		case try == 1:
			return failed(503, "quorum-not-reached", object{"maybe_applied": true})
		}
		return object{"status": 200, "value": "-3", "encoding": "utf-8", "content_type": "application/json", "dot": "d", "modified": "2026-03-01T12:00:00Z"}
	})
	r, err := c.Batch(t.Context(), "b", []Op{{Kind: OpAdd, Key: "k", Delta: 0, TTL: time.Hour, IdempotencyKey: "i"}, {Kind: OpPut, Key: "l"}}, nil)
	if err != nil || r[0].Err != nil || r[0].Count != -3 || r[0].Written == nil || r[0].Value != nil || r[1].Err != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	if len(s.requests) != 2 || s.queries[0] != "timeout=3s" || !strings.Contains(s.requests[1], `{"op":"add","key":"k","ttl":"1h0m0s","idempotency_key":"i","delta":0}`) {
		t.Errorf("%q %q", s.queries, s.requests)
	}
	for _, op := range []Op{
		{Kind: OpAdd, Key: "k", Context: "c"}, {Kind: OpAdd, Key: "k", Data: []byte{1}}, {Kind: OpPut, Key: "k", Delta: 1}, {Kind: OpDelete, Key: "k", TTL: 1},
		{Kind: OpAdd, Key: "k", Replace: true}, {Kind: OpAdd},
	} {
		if _, err := c.Batch(t.Context(), "b", []Op{op}, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", op, err)
		}
	}
}

func TestPrevious(t *testing.T) {
	answer := `{"context":"seen","previous":[{"dot":"d","content_type":"text/plain","modified":"2026-03-01T12:00:00.5Z","encoding":"base64","value":"/w=="}]}`
	var got *http.Request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set(headerReplicas, "acked=2 hinted=0 required=2")
		w.Header().Set(headerCoordinator, "n1")
		_, _ = w.Write([]byte(answer))
	}))
	defer srv.Close()
	c := newClient(t, Options{Endpoints: []string{srv.URL}, DisableRing: true})
	p, err := c.Previous(t.Context(), "b", "k", &GetOptions{Consistency: Consistency{R: 2}, Context: "c"})
	want := &Previous{Context: "seen", Replicas: "acked=2 hinted=0 required=2", Coordinator: "n1", Values: []Sibling{
		{Dot: "d", Data: []byte{0xff}, ContentType: "text/plain", Modified: time.Date(2026, 3, 1, 12, 0, 0, 5e8, time.UTC)}}}
	if err != nil || !reflect.DeepEqual(p, want) {
		t.Errorf("%+v, %v", p, err)
	}
	if got.Method != http.MethodGet || got.URL.RawQuery != "r=2&previous=true" || got.Header.Get(headerContext) != "c" {
		t.Errorf("%s %s", got.Method, got.URL)
	}
	answer = `{"context":"seen","previous":[]}`
	if p, err = c.Previous(t.Context(), "b", "k", nil); err != nil || len(p.Values) != 0 || got.URL.RawQuery != "previous=true" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, answer = range []string{"", `{"previous":[{"encoding":"x"}]}`} {
		if _, err = c.Previous(t.Context(), "b", "k", nil); err == nil {
			t.Errorf("%q is no answer", answer)
		}
	}
}
