package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/coordinator"
	"starling/store/version"
)

// Batch carries out the operations one by one.
func (kv *memoryKV) Batch(ctx context.Context, ops []coordinator.BatchOp) []coordinator.BatchResult {
	results := make([]coordinator.BatchResult, len(ops))
	for i, op := range ops {
		if op.Get != nil {
			results[i].Get, results[i].Err = kv.Get(ctx, *op.Get)
		} else {
			results[i].Put, results[i].Err = kv.Put(ctx, *op.Put)
		}
	}
	return results
}

func serveBatches(t *testing.T, change ...func(*Options)) *fixture {
	return serve(t, append([]func(*Options){func(o *Options) { o.Batches = o.KV.(*memoryKV) }}, change...)...)
}

type fields = map[string]any

// batchOf is a document of these operations.
func batchOf(t *testing.T, ops ...any) string {
	t.Helper()
	b, err := json.Marshal(fields{"operations": ops})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// batch sends operations to bucket b and wants an answer to each.
func (f *fixture) batch(query string, ops ...any) []fields {
	f.t.Helper()
	a := f.do("POST", "/v1/buckets/b/batch"+query, batchOf(f.t, ops...), "Content-Type: application/json").want(200)
	var doc struct{ Results []fields }
	a.decode(&doc)
	if len(doc.Results) != len(ops) {
		f.t.Fatalf("%d results for %d operations: %s", len(doc.Results), len(ops), a.body)
	}
	return doc.Results
}

func wantStatuses(t *testing.T, results []fields, want ...int) {
	t.Helper()
	for i, r := range results {
		if int(r["status"].(float64)) != want[i] {
			t.Errorf("result %d: %v, want %d", i, r, want[i])
		}
	}
}

func TestBatchSaysWhatSinglesSay(t *testing.T) {
	f := serveBatches(t)
	results := f.batch("",
		fields{"op": "put", "key": "a", "value": "apple", "content_type": "text/plain", "meta": fields{"Colour": "red"}, "ttl": "1h"},
		fields{"op": "put", "key_base64": base64.StdEncoding.EncodeToString([]byte("\xff")), "value_base64": "/w=="},
		fields{"op": "get", "key": "absent"},
		fields{"op": "delete", "key": "absent"})
	wantStatuses(t, results, 204, 204, 404, 204)
	a := f.do("GET", "/v1/buckets/b/keys/a", "").want(200).wantBody("apple").wantHeader("Content-Type", "text/plain").
		wantHeader("X-Starling-Meta-Colour", "red").wantHeader("Starling-Expires-At", "2026-11-02T11:00:00.125Z")
	if results[0]["context"] != a.context() || results[0]["etag"] != a.header.Get("Etag") || results[0]["replicas"] != "acked=2 hinted=0 required=2" || results[0]["coordinator"] != "n2" {
		t.Errorf("the put: %v", results[0])
	}
	f.do("GET", "/v1/buckets/b/keys/%FF", "").want(200).wantBody("\xff")
	if p := results[2]["problem"].(fields); p["type"] != "/problems/key-not-found" || results[2]["context"] == nil {
		t.Errorf("the absent key: %v", results[2])
	}

	again := f.batch("",
		fields{"op": "get", "key": "a"},
		fields{"op": "put", "key": "a", "value": "pear", "context": results[0]["context"]},
		fields{"op": "put", "key": "s", "value": "one"}, fields{"op": "put", "key": "s", "value": "two"},
		fields{"op": "get", "key": "s"},
		fields{"op": "delete", "key": "a"}, fields{"op": "get", "key": "a"},
		fields{"op": "get", "key_base64": "/w=="})
	wantStatuses(t, again, 200, 204, 204, 204, 300, 204, 404, 200)
	want := fields{"status": 200.0, "context": a.context(), "etag": a.header.Get("Etag"), "replicas": "acked=2 hinted=0 required=2",
		"dot": again[0]["dot"], "content_type": "text/plain", "modified": "2026-11-02T10:00:00.125Z", "expires_at": "2026-11-02T11:00:00.125Z",
		"meta": fields{"colour": "red"}, "encoding": "utf-8", "value": "apple"}
	if !maps.EqualFunc(again[0], want, func(x, y any) bool { return fmt.Sprint(x) == fmt.Sprint(y) }) {
		t.Errorf("the get: %v, want %v", again[0], want)
	}
	if s := again[4]["siblings"].([]any); len(s) != 2 || s[0].(fields)["value"] != "one" {
		t.Errorf("the siblings: %v", again[4])
	}
	if again[7]["encoding"] != "base64" || again[7]["value"] != "/w==" {
		t.Errorf("the value that is no text: %v", again[7])
	}
	wantStatuses(t, f.batch("", fields{"op": "put", "key": "s", "value": "three", "replace": true}), 204)
	if put := f.kv.lastPut(); !put.ReadFirst || put.Sibling.Tombstone {
		t.Errorf("the put that replaces: %+v", put)
	}
	f.batch("", fields{"op": "delete", "key": "a"})
	if f.kv.lastPut().Sibling.Tombstone != true || !f.kv.lastPut().ReadFirst {
		t.Errorf("the delete: %+v", f.kv.lastPut())
	}
}

// A put of a batch and the same one alone are one put.
func TestBatchIdempotency(t *testing.T) {
	f := serveBatches(t)
	put := fields{"op": "put", "key": "k", "value": "v", "content_type": "text/plain", "idempotency_key": "row 1", "ttl": "1h", "meta": fields{"a": "b"}}
	wantStatuses(t, f.batch("", put, put), 204, 204)
	f.do("PUT", "/v1/buckets/b/keys/k?ttl=1h", "v", "Content-Type: text/plain", "Idempotency-Key: row 1", "X-Starling-Meta-A: b").want(204)
	f.do("GET", "/v1/buckets/b/keys/k", "").want(200).wantBody("v")
}

func TestBatchParameters(t *testing.T) {
	f := serveBatches(t)
	ops := []any{fields{"op": "put", "key": "k", "value": "v"}, fields{"op": "get", "key": "k"}}
	f.batch("?consistency=all&sloppy=false", ops...)
	want := coordinator.Consistency{Level: coordinator.LevelAll, Strict: true}
	if f.kv.lastPut().Consistency != want || f.kv.lastGet().Consistency != want {
		t.Errorf("put %+v, get %+v", f.kv.lastPut(), f.kv.lastGet())
	}
	f.batch("?r=1&w=3&pw=2&pr=1", ops...)
	if want = (coordinator.Consistency{R: 1, W: 3, PW: 2, PR: 1}); f.kv.lastPut().Consistency != want {
		t.Errorf("put %+v", f.kv.lastPut())
	}
	results := f.batch("?consistency=any", append(ops, fields{"op": "delete", "key": "k"})...)
	wantStatuses(t, results, 204, 400, 204)
	if f.kv.lastPut().Consistency.R != 1 {
		t.Errorf("a delete by a hint alone reads nothing: %+v", f.kv.lastPut())
	}
	f.do("POST", "/v1/buckets/b/batch?ttl=1h", batchOf(t, ops...)).wantProblem(400, "bad-parameter", "ttl")
	f.do("POST", "/v1/buckets/b/batch?w=9", batchOf(t, ops...)).wantProblem(400, "bad-parameter", "w=")
}

// A bad operation is its own 400, and the others are done.
func TestBadOperations(t *testing.T) {
	f := serveBatches(t, func(o *Options) { o.MaxValueBytes = 100 })
	good := fields{"op": "put", "key": "good", "value": "v", "idempotency_key": "always the same"}
	seen := f.do("GET", "/v1/buckets/b/keys/other", "").context()
	for name, bad := range map[string]struct {
		op     any
		status int
		slug   string
		field  any
	}{
		"no object":           {[]int{1}, 400, "bad-body", nil},
		"null":                {nil, 400, "bad-body", "op"},
		"no op":               {fields{"key": "k"}, 400, "bad-body", "op"},
		"unknown op":          {fields{"op": "increment", "key": "k"}, 400, "bad-body", "op"},
		"unknown field":       {fields{"op": "get", "key": "k", "keys": "k"}, 400, "bad-body", nil},
		"field of a put":      {fields{"op": "get", "key": "k", "value": "v"}, 400, "bad-body", "value"},
		"field of a write":    {fields{"op": "get", "key": "k", "idempotency_key": "v"}, 400, "bad-body", "idempotency_key"},
		"delta of a put":      {fields{"op": "put", "key": "k", "value": "", "delta": 1}, 400, "bad-body", "delta"},
		"add without a delta": {fields{"op": "add", "key": "k"}, 400, "bad-body", "delta"},
		"add of a fraction":   {fields{"op": "add", "key": "k", "delta": 0.5}, 400, "bad-body", nil},
		"add with a value":    {fields{"op": "add", "key": "k", "delta": 1, "value": "1"}, 400, "bad-body", "value"},
		"add with a context":  {fields{"op": "add", "key": "other", "delta": 1, "context": seen}, 400, "bad-body", "context"},
		"add in this bucket":  {fields{"op": "add", "key": "k", "delta": 1}, 422, "value-does-not-fit", "op"},
		"ttl of a delete":     {fields{"op": "delete", "key": "k", "ttl": "1h"}, 400, "bad-body", "ttl"},
		"replace of a delete": {fields{"op": "delete", "key": "k", "replace": true}, 400, "bad-body", "replace"},
		"replace and context": {fields{"op": "put", "key": "other", "value": "", "replace": true, "context": seen}, 400, "bad-body", "replace"},
		"no key":              {fields{"op": "get"}, 400, "bad-body", "key"},
		"empty key":           {fields{"op": "get", "key": ""}, 400, "bad-key", "key"},
		"long key":            {fields{"op": "get", "key": strings.Repeat("k", 1025)}, 400, "bad-key", "key"},
		"two keys":            {fields{"op": "get", "key": "k", "key_base64": "aw=="}, 400, "bad-body", "key"},
		"bad base64":          {fields{"op": "get", "key_base64": "a"}, 400, "bad-body", "key_base64"},
		"half a pair":         {json.RawMessage(`{"op":"get","key":"\ud83d"}`), 400, "bad-body", nil},
		"no value":            {fields{"op": "put", "key": "k"}, 400, "bad-body", "value"},
		"large value":         {fields{"op": "put", "key": "k", "value": strings.Repeat("v", 101)}, 413, "value-too-large", nil},
		"content type":        {fields{"op": "put", "key": "k", "value": "", "content_type": "text"}, 400, "bad-header", "content_type"},
		"content type's line": {fields{"op": "put", "key": "k", "value": "", "content_type": "a/b;\nc"}, 400, "bad-body", "content_type"},
		"meta name":           {fields{"op": "put", "key": "k", "value": "", "meta": fields{"a b": "c"}}, 400, "bad-body", "meta"},
		"meta twice":          {fields{"op": "put", "key": "k", "value": "", "meta": fields{"a": "c", "A": "d"}}, 400, "bad-header", "meta"},
		"meta value":          {fields{"op": "put", "key": "k", "value": "", "meta": fields{"a": "c\r\nX: y"}}, 400, "bad-body", "meta"},
		"ttl":                 {fields{"op": "put", "key": "k", "value": "", "ttl": "1 hour"}, 400, "bad-body", "ttl"},
		"idempotency key":     {fields{"op": "put", "key": "k", "value": "", "idempotency_key": ""}, 400, "bad-header", "idempotency_key"},
		"foreign context":     {fields{"op": "put", "key": "k", "value": "", "context": seen}, 400, "bad-context", "context"},
		"forged context":      {fields{"op": "get", "key": "k", "context": "AQ"}, 400, "bad-context", "context"},
	} {
		before := f.kv.calls()
		results := f.batch("", good, bad.op, good)
		wantStatuses(t, results, 204, bad.status, 204)
		p, _ := results[1]["problem"].(fields)
		if p["type"] != "/problems/"+bad.slug || p["parameter"] != bad.field {
			t.Errorf("%s: %v", name, results[1])
		}
		if f.kv.calls() != before+2 {
			t.Errorf("%s: %d operations were carried out", name, f.kv.calls()-before)
		}
	}
	// What only looks like half a pair is not one.
	wantStatuses(t, f.batch("", json.RawMessage(`{"op":"put","key":"\ud83d\ude00 \uFFFD","value":"`+"\uFFFD"+`"}`)), 204)
}

func TestBadBatches(t *testing.T) {
	f := serveBatches(t)
	get := `{"op":"get","key":"k"}`
	for name, body := range map[string]string{
		"no document":     "",
		"no JSON":         "{",
		"a list":          "[" + get + "]",
		"another field":   `{"operations":[` + get + `],"atomic":true}`,
		"no operations":   `{"operations":[]}`,
		"null":            `{"operations":null}`,
		"an object":       `{"operations":` + get + `}`,
		"something after": `{"operations":[` + get + `]}{}`,
		"no UTF-8":        `{"operations":[{"op":"get","key":"` + "\xff" + `"}]}`,
		"too many":        `{"operations":[` + strings.Repeat(get+",", maxBatchOps) + get + `]}`,
	} {
		f.do("POST", "/v1/buckets/b/batch", body).wantProblem(400, "bad-body", "Nothing was done")
		if f.kv.calls() > 0 {
			t.Fatalf("%s: something was carried out", name)
		}
	}
	good := `{"operations":[` + get + `]}`
	f.do("POST", "/v1/buckets/b!/batch", good).wantProblem(400, "bad-bucket")
	f.do("POST", "/v1/buckets/b/batch", good, withContext("AQ")).wantProblem(400, "bad-header", "context")
	f.do("POST", "/v1/buckets/b/batch", good, "Idempotency-Key: x").wantProblem(400, "bad-header", "idempotency_key")
	f.do("POST", "/v1/buckets/b/batch", good, "Sec-Fetch-Site: cross-site").wantProblem(403, "cross-origin")
	f.do("GET", "/v1/buckets/b/batch", "").want(405)
	serve(t).do("POST", "/v1/buckets/b/batch", good).wantProblem(503, "not-ready")
	f.do("POST", "/v1/buckets/b/batch", strings.Repeat(get+",", maxBatchOps-1)).want(400)
	f.do("POST", "/v1/buckets/b/batch", `{"operations":[`+strings.Repeat(get+",", maxBatchOps-1)+get+`]}`).want(200)
}

func TestBatchBounds(t *testing.T) {
	f := serveBatches(t, func(o *Options) { o.MaxValueBytes, o.MaxInflightBytes = 1000, 8000 })
	body := func(n int) string {
		empty := len(batchOf(t, fields{"op": "put", "key": "k", "value": ""}))
		return batchOf(t, fields{"op": "put", "key": "k", "value": strings.Repeat("v", n-empty)})
	}
	chunked := func(b string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(b), b) }
	f.do("POST", "/v1/buckets/b/batch", body(900)).want(200)
	f.do("POST", "/v1/buckets/b/batch", chunked(body(900)), "Transfer-Encoding: chunked").want(200)
	f.do("POST", "/v1/buckets/b/batch", body(4001)).wantProblem(413, "value-too-large", "4000 bytes")
	f.do("POST", "/v1/buckets/b/batch", chunked(body(4001)), "Transfer-Encoding: chunked").wantProblem(413, "value-too-large", "4000 bytes")
	if !f.server.admission.reserve(5000) {
		t.Fatal("there is no room")
	}
	f.do("POST", "/v1/buckets/b/batch", body(1600)).wantProblem(503, "overloaded")
	f.server.admission.bytes.Add(-5000)
	f.do("POST", "/v1/buckets/b/batch", body(1600)).want(200)
	if n := f.server.admission.bytes.Load(); n != 0 {
		t.Errorf("%d bytes are still held", n)
	}
}

func TestBatchFailures(t *testing.T) {
	f := serveBatches(t)
	f.kv.onPut = func(_ context.Context, req coordinator.PutRequest) (coordinator.PutResult, error) {
		switch req.Key {
		case "quorum":
			return coordinator.PutResult{}, &coordinator.QuorumError{Op: "put", Required: 2, Received: 1, MaybeApplied: true}
		case "boom":
			return coordinator.PutResult{}, errors.New("secret")
		}
		return coordinator.PutResult{Context: version.Context{Vector: version.Vector{{Actor: 1, Seq: 1}}}, Coordinator: nodeID(2)}, nil
	}
	f.kv.onGet = func(context.Context, coordinator.GetRequest) (coordinator.GetResult, error) {
		return coordinator.GetResult{}, coordinator.ErrBatchFull
	}
	results := f.batch("", fields{"op": "put", "key": "quorum", "value": ""}, fields{"op": "put", "key": "boom", "value": ""},
		fields{"op": "get", "key": "k"}, fields{"op": "put", "key": "k", "value": ""})
	wantStatuses(t, results, 503, 500, 413, 204)
	if p := results[0]["problem"].(fields); p["maybe_applied"] != true || p["required"] != 2.0 {
		t.Errorf("no quorum: %v", p)
	}
	if p := results[1]["problem"].(fields); strings.Contains(fmt.Sprint(p), "secret") {
		t.Errorf("an inner error is told: %v", p)
	}
	metrics := f.server.metrics
	var counted []string
	for _, want := range []struct {
		op   string
		code string
	}{{"put", "503"}, {"put", "500"}, {"get", "413"}, {"put", "204"}} {
		if testutil.ToFloat64(metrics.batched.WithLabelValues(want.op, want.code)) == 1 {
			counted = append(counted, want.op+want.code)
		}
	}
	if !slices.Equal(counted, []string{"put503", "put500", "get413", "put204"}) {
		t.Errorf("counted: %v", counted)
	}
}

// A batch that the coordinator does not come back from is answered at its
// deadline.
func TestBatchDeadline(t *testing.T) {
	f := serveBatches(t)
	release := make(chan struct{})
	f.kv.onPut = func(context.Context, coordinator.PutRequest) (coordinator.PutResult, error) {
		<-release
		return coordinator.PutResult{}, nil
	}
	start := time.Now()
	doc := f.do("POST", "/v1/buckets/b/batch?timeout=20ms", batchOf(t, fields{"op": "put", "key": "k", "value": ""})).wantProblem(504, "deadline-exceeded")
	if took := time.Since(start); doc["maybe_applied"] != true || took > 2*time.Second {
		t.Errorf("%v after %v", doc, took)
	}
	close(release)
}
