package api

import (
	"context"
	"fmt"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"starling/coordinator"
	"starling/store/bucket"
	"starling/store/bucket/resolve"
	"starling/store/object"
	"starling/store/version"
)

// serveMode serves a bucket b of a mode.
func serveMode(t *testing.T, m bucket.Mode, change ...func(*Options)) *fixture {
	f := serveBatches(t, change...)
	f.declare("b", bucket.Properties{Mode: m})
	return f
}

const addPath = testKey + "/add"

func delta(n int64) string { return fmt.Sprintf(`{"delta":%d}`, n) }

// TestAdd: increments count, and a counter reads as a number.
func TestAdd(t *testing.T) {
	f := serveMode(t, bucket.Counter)
	f.do("GET", testKey, "").want(404)
	a := f.do("POST", addPath, delta(5)).want(200).wantHeader("Content-Type", "application/json").wantHeader("Cache-Control", "no-store").
		wantHeader("X-Starling-Replicas", "acked=2 hinted=0 required=2").wantHeader("X-Starling-Coordinator", "n2").wantHeader("Etag", "")
	var doc countDoc
	a.decode(&doc)
	if want := (countDoc{keyDoc: keyDoc{Bucket: "b", Key: "k"}, Value: 5, Dot: doc.Dot, Acked: 2, Required: 2, Coordinator: "n2"}); doc != want || doc.Dot == "" {
		t.Errorf("%+v, want %+v", doc, want)
	}
	if put := f.kv.lastPut(); !put.Increment || put.Delta != 5 || put.Bucket != "b" || put.Key != "k" || !put.Sibling.Op.IsZero() || put.Sibling.Value != nil || put.ReadFirst {
		t.Errorf("%+v", put)
	}
	for _, d := range []int64{-7, 0, math.MaxInt64, -1} {
		f.do("POST", addPath, delta(d)).want(200)
	}
	const count = "9223372036854775804"
	if a = f.do("POST", addPath, delta(0)).want(200); !strings.Contains(string(a.body), `"value":`+count+",") {
		t.Errorf("%s", a.body)
	}
	read := f.do("GET", testKey, "").want(200).wantBody(count).wantHeader("Content-Type", "application/json")
	f.do("HEAD", testKey, "").want(200).wantHeader("Content-Length", fmt.Sprint(len(count))).wantHeader("Etag", read.header.Get("Etag"))
	f.do("GET", testKey, "", "If-None-Match: "+read.header.Get("Etag")).want(304)
	f.do("POST", addPath, delta(1)).want(200)
	f.do("GET", testKey, "", "If-None-Match: "+read.header.Get("Etag")).want(200)

	f.do("DELETE", testKey, "").want(204) // without a context
	f.do("GET", testKey, "").want(404)
	f.do("POST", addPath, delta(3)).want(200)
	f.do("DELETE", testKey, "", withContext(f.do("GET", testKey, "").wantBody("3").context())).want(204)
	f.do("POST", addPath, delta(2)).want(200)
	f.do("GET", testKey, "").want(200).wantBody("2")
}

// TestAddOfAnyKey: what stands before /add is the key, decoded once.
func TestAddOfAnyKey(t *testing.T) {
	f := serveMode(t, bucket.Counter)
	for path, key := range map[string]string{
		"a/b/add": "a/b", "a%2Fb/add": "a/b", "add/add": "add", "x/add/add": "x/add", "//add": "/", "a%252Fb/add": "a%2Fb",
		"café/add": "café", "%ff/add": "\xff", "../add": "..", "keys/add/keys/add": "keys/add/keys",
	} {
		f.do("POST", "/v1/buckets/b/keys/"+path, delta(1)).want(200)
		if got := f.kv.lastPut().Key; got != key {
			t.Errorf("%q: key %q, want %q", path, got, key)
		}
	}
	calls := f.kv.calls()
	for _, path := range []string{"k", "add", "k/Add", "k%2Fadd", "k/add/", "k/%61dd"} {
		f.do("POST", "/v1/buckets/b/keys/"+path, delta(1)).wantHeader("Allow", "DELETE, GET, HEAD, PUT").wantProblem(405, "method-not-allowed")
	}
	f.do("POST", "/v1/buckets/b/keys//add", delta(1)).wantProblem(400, "bad-key")
	f.do("PATCH", addPath, delta(1)).wantHeader("Allow", "DELETE, GET, HEAD, POST, PUT").wantProblem(405, "method-not-allowed")
	if f.kv.calls() != calls {
		t.Error("one of them reached the KV")
	}
	f.do("GET", "/v1/buckets/b/keys/x/add", "").want(200).wantBody("1") // a key as any other
}

// TestRefusedAdds: what is wrong with an increment is said, and nothing is done.
func TestRefusedAdds(t *testing.T) {
	f := serveMode(t, bucket.Counter)
	f.declare("plain", bucket.Properties{})
	f.declare("max", bucket.Properties{Mode: bucket.Max})
	seen := f.do("GET", testKey, "").context()
	calls := f.kv.calls()
	for _, body := range []string{
		"", "{", "{}", "1", "null", `[1]`, `{"delta":null}`, `{"delta":"1"}`, `{"delta":1.5}`, `{"delta":1.0}`, `{"delta":1e3}`, `{"delta":true}`,
		`{"delta":9223372036854775808}`, `{"delta":-9223372036854775809}`, `{"Delta":1}`, `{"delta":1,"delta":1}`, `{"delta":1,"x":1}`,
		`{"delta":1}}`, `{"delta":1} 2`, `{"delta":01}`, `{"delta":1}` + strings.Repeat(" ", maxAddBytes),
	} {
		f.do("POST", addPath, body).wantProblem(400, "bad-body", `{"delta": N}`, "Nothing was added")
	}
	f.do("POST", addPath, delta(1), "Content-Length: 50").wantProblem(400, "bad-body", "11 bytes")
	f.do("POST", addPath, delta(1), withContext(seen)).wantProblem(400, "bad-header", "takes no X-Starling-Context")
	f.do("POST", addPath, delta(1), withContext("")).wantProblem(400, "bad-header")
	f.do("POST", addPath, delta(1), "If-Match: *").wantProblem(400, "bad-header")
	f.do("POST", addPath, delta(1), "Idempotency-Key:").wantProblem(400, "bad-header")
	f.do("POST", addPath, delta(1), "Sec-Fetch-Site: cross-site").wantProblem(403, "cross-origin")
	f.do("POST", addPath, delta(1), "Origin: http://elsewhere").wantProblem(403, "cross-origin")
	f.do("POST", "/v1/buckets/a:b/keys/k/add", delta(1)).wantProblem(400, "bad-bucket")
	f.do("POST", "/v1/buckets/b/keys/"+strings.Repeat("k", 1025)+"/add", delta(1)).wantProblem(400, "bad-key", "1025")
	for query, words := range map[string]string{
		"r=1": "an increment takes consistency, w, pw, sloppy, timeout, ttl, conflicts", "previous=true": "previous", "w=4": "1 to 3", "timeout=10001ms": "10s",
		"ttl=0s": "1h", "ttl=87601h": "87600h", "conflicts=lww": "conflicts=counter",
	} {
		f.do("POST", addPath+"?"+query, delta(1)).wantProblem(400, "bad-parameter", words)
	}
	for _, b := range []string{"plain", "max", "never-declared"} {
		f.do("POST", "/v1/buckets/"+b+"/keys/k/add", delta(1)).wantProblem(422, "value-does-not-fit", "conflicts=counter", "Nothing was added")
	}
	if f.kv.calls() != calls {
		t.Error("one of them reached the KV")
	}
	f.do("POST", addPath+"?consistency=all&w=3&pw=1&sloppy=false&timeout=10s&ttl=1h&conflicts=counter", delta(math.MaxInt64)).want(200)
	want := coordinator.Consistency{Level: coordinator.LevelAll, W: 3, PW: 1, Strict: true}
	if put := f.kv.lastPut(); put.Consistency != want || put.Sibling.ExpiresMS != f.now.Now().Add(time.Hour).UnixMilli() {
		t.Errorf("%+v", put)
	}
	f.do("GET", testKey, "").want(200).wantHeader("Starling-Expires-At", "2026-11-02T11:00:00.125Z")
	f.do("POST", addPath, delta(1)).wantProblem(422, "counter-out-of-range", "9223372036854775807 and 1 more", "Nothing was added")
	f.kv.onPut = func(context.Context, coordinator.PutRequest) (coordinator.PutResult, error) {
		return coordinator.PutResult{}, resolve.ErrBusy
	}
	f.do("POST", addPath, delta(1)).wantHeader("Retry-After", "1").wantProblem(503, "counter-busy", "15 s")
}

// TestAddsAreToldApart: an increment is the same as another by its idempotency
// key and all that it says.
func TestAddsAreToldApart(t *testing.T) {
	f := serveMode(t, bucket.Counter)
	f.declare("c", bucket.Properties{Mode: bucket.Counter})
	const idem = "Idempotency-Key: click 7"
	var ops []object.OpID
	for _, q := range []struct{ target, body, key string }{
		{addPath, delta(1), idem}, {addPath, delta(2), idem}, {addPath + "?ttl=1h", delta(1), idem}, {addPath, delta(1), idem + "1"},
		{testKey + "2/add", delta(1), idem}, {"/v1/buckets/c/keys/k/add", delta(1), idem},
	} {
		f.do("POST", q.target, q.body, q.key).want(200)
		if f.kv.lastPut().Sibling.Op.IsZero() {
			t.Errorf("%+v has no operation", q)
		}
		ops = append(ops, f.kv.lastPut().Sibling.Op)
	}
	slices.SortFunc(ops, func(a, b object.OpID) int { return slices.Compare(a[:], b[:]) })
	if n := len(slices.Compact(slices.Clone(ops))); n != len(ops) {
		t.Errorf("%d of %d increments are told apart", n, len(ops))
	}
	before := f.do("GET", testKey, "").want(200)
	f.do("POST", addPath, delta(1), idem).want(200)
	f.do("GET", testKey, "").wantBody(string(before.body))
	if a := f.do("POST", addPath, "\n{ \"delta\" : 1 }\n", idem).want(200); !strings.Contains(string(a.body), `"value":`+string(before.body)+",") {
		t.Errorf("a repetition was answered %s, and the counter is %s", a.body, before.body)
	}
}

// TestAddOutlivesItsCaller: as every write it is not cancelled with its request, and
// it has a deadline, which is short enough for a repetition to come in time.
func TestAddOutlivesItsCaller(t *testing.T) {
	f := serveMode(t, bucket.Counter, func(o *Options) { o.DefaultTimeout = 30 * time.Second })
	for query, want := range map[string]time.Duration{"": 10 * time.Second, "?timeout=7s": 7 * time.Second} {
		ctx, leave := context.WithCancel(context.Background())
		f.kv.onPut = func(ctx context.Context, _ coordinator.PutRequest) (coordinator.PutResult, error) {
			leave()
			deadline, _ := ctx.Deadline()
			if left := time.Until(deadline); left > want || left < want-2*time.Second || ctx.Err() != nil {
				t.Errorf("%q: %s are left of %s; after the caller left: %v", query, left, want, ctx.Err())
			}
			return coordinator.PutResult{}, nil
		}
		f.server.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", addPath+query, strings.NewReader(delta(1))).WithContext(ctx))
		if ctx.Err() == nil {
			t.Errorf("%q: the KV was not called", query)
		}
	}
}

// TestAddIntoABucketThatWasDropped: the increment goes to its next incarnation, if
// that counts.
func TestAddIntoABucketThatWasDropped(t *testing.T) {
	for _, m := range []bucket.Mode{bucket.Counter, bucket.LWW} {
		f, b := serveBuckets(t)
		b.declare("b", bucket.Properties{Mode: bucket.Counter})
		f.kv.onPut = func(_ context.Context, req coordinator.PutRequest) (coordinator.PutResult, error) {
			if req.Bucket == "b" {
				b.drop("b")
				b.declare("b", bucket.Properties{Mode: m})
				return coordinator.PutResult{}, coordinator.ErrGone
			}
			return coordinator.PutResult{Count: 1, Dot: version.Dot{Actor: 1, Seq: 1}}, nil
		}
		if a := f.do("POST", addPath, delta(1)); m == bucket.Counter {
			a.want(200)
		} else {
			a.wantProblem(503, "bucket-dropping")
		}
	}
}

// TestValuesThatDoNotFit: a mode refuses what it cannot merge, and says why.
func TestValuesThatDoNotFit(t *testing.T) {
	for m, values := range map[bucket.Mode]map[string]string{
		bucket.Max:       {"x": "not JSON", `"1"`: "a JSON number", "": "not JSON", "1 2": "not JSON", "1e9999999999": "exponent"},
		bucket.Min:       {"[1]": "a JSON number", "\xff": "UTF-8"},
		bucket.Union:     {"1": "a JSON array", `{"a":1}`: "a JSON array", `["\ud800"]`: "surrogate"},
		bucket.JSONMerge: {"[]": "a JSON object", `{"a":1,"a":2}`: "twice", `{"a":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`: "64"},
		bucket.Counter:   {"1": "increments", "": "increments"},
	} {
		f := serveMode(t, m)
		for value, why := range values {
			f.do("PUT", testKey, value).wantProblem(422, "value-does-not-fit", "conflicts="+m.String(), why, "Nothing was written")
			r := f.batch("", fields{"op": "put", "key": "k", "value": strings.ToValidUTF8(value, "\ufffd")})
			wantStatuses(t, r, 422)
			if p := r[0]["problem"].(fields); p["parameter"] != "value" {
				t.Errorf("%v", p)
			}
		}
		if f.kv.calls() != 0 {
			t.Errorf("%s: one of them reached the KV", m)
		}
	}
}

// TestMergedValues: what is read of concurrent values, and how one is corrected.
func TestMergedValues(t *testing.T) {
	for _, tt := range []struct {
		mode                bucket.Mode
		a, b, both, instead string
	}{
		{bucket.Max, "3", "7.5", "7.5", "1"},
		{bucket.Min, "3", "7.5", "3", "9"},
		{bucket.Union, `["b","a"]`, `["c",1]`, `[1,"a","b","c"]`, `[2]`},
		{bucket.JSONMerge, `{"a":{"x":1}}`, `{"a":{"y":2},"b":3}`, `{"a":{"x":1,"y":2},"b":3}`, `{}`},
	} {
		f := serveMode(t, tt.mode)
		f.do("PUT", testKey+"?conflicts="+tt.mode.String(), tt.a, "Content-Type: application/json").want(204).wantHeader("Etag", "")
		f.do("PUT", testKey, tt.b, "Content-Type: application/json", "Prefer: return=representation").want(200).wantHeader("Etag", "")
		a := f.do("GET", testKey+"?conflicts="+tt.mode.String(), "").want(200).wantBody(tt.both).wantHeader("Content-Type", "application/json")
		f.do("GET", testKey, "", "If-None-Match: "+a.header.Get("Etag")).want(304)
		f.do("GET", testKey+"?previous=true", "").wantProblem(400, "bad-parameter", "conflicts=lww", tt.mode.String())
		f.do("GET", testKey+"?previous=false", "").want(200)
		f.do("PUT", testKey+"?conflicts=siblings", tt.a).wantProblem(400, "bad-parameter", "conflicts="+tt.mode.String())
		r := f.batch("", fields{"op": "get", "key": "k"}, fields{"op": "put", "key": "l", "value": tt.a})
		if wantStatuses(t, r, 200, 204); r[0]["value"] != tt.both || r[0]["etag"] != a.header.Get("Etag") || r[1]["etag"] != nil {
			t.Errorf("%s: %v", tt.mode, r)
		}
		f.do("PUT", testKey, tt.instead, withContext(a.context())).want(204)
		f.do("GET", testKey, "").want(200).wantBody(tt.instead)
		f.do("DELETE", testKey, "").want(204)
		f.do("GET", testKey, "").want(404)
	}
}

// TestETagOfAMergedValue: it changes with the value when a part of it expires.
func TestETagOfAMergedValue(t *testing.T) {
	f := serveMode(t, bucket.Max)
	o := listedObject(1, "9", "1")
	o.Siblings[0].ExpiresMS = f.now.Now().Add(time.Second).UnixMilli()
	f.kv.objects["b/k"] = o
	before := f.do("GET", testKey, "").want(200).wantBody("9")
	f.now.advance(time.Second)
	f.do("GET", testKey, "", "If-None-Match: "+before.header.Get("Etag")).want(200).wantBody("1")
}

// TestLastWriteWins: the newest is read, and what lost with previous=true.
func TestLastWriteWins(t *testing.T) {
	f := serveMode(t, bucket.LWW)
	f.do("GET", testKey+"?previous=true", "").want(200).wantBody(`{"context":"` + f.do("GET", testKey, "").context() + `","previous":[]}`)
	for _, v := range []string{"one", "two", "three"} {
		f.do("PUT", testKey+"?conflicts=lww", v, "Content-Type: text/plain").want(204)
		f.now.advance(time.Second)
	}
	a := f.do("GET", testKey, "").want(200).wantBody("three")
	lost := f.do("GET", testKey+"?previous=true", "").want(200).wantHeader("X-Starling-Context", a.context()).wantHeader("Cache-Control", "no-cache").
		wantHeader("Content-Type", "application/json").wantHeader("Content-Security-Policy", "default-src 'none'; sandbox")
	var doc previousDoc
	lost.decode(&doc)
	if len(doc.Previous) != 2 || doc.Previous[0].Value != "two" || doc.Previous[1].Value != "one" || doc.Context != a.context() ||
		doc.Previous[0].Modified != "2026-11-02T10:00:01.125Z" || doc.Previous[0].ContentType != "text/plain" {
		t.Errorf("%s", lost.body)
	}
	f.do("HEAD", testKey+"?previous=true", "").want(200).wantBody("")
	f.do("GET", testKey+"?previous=yes", "").wantProblem(400, "bad-parameter", "true and false")
	f.do("PUT", testKey+"?previous=true", "v").wantProblem(400, "bad-parameter", "previous")
	r := f.batch("?conflicts=lww", fields{"op": "get", "key": "k"})
	if wantStatuses(t, r, 200); r[0]["value"] != "three" || r[0]["etag"] != a.header.Get("Etag") {
		t.Errorf("%v", r)
	}
	f.do("POST", "/v1/buckets/b/batch?conflicts=siblings", batchOf(t, fields{"op": "get", "key": "k"})).wantProblem(400, "bad-parameter", "conflicts=lww")

	f.do("DELETE", testKey, "").want(204)
	f.do("GET", testKey, "").want(404)
	f.do("PUT", testKey, "four", withContext(a.context())).want(204) // what was read before the delete
	f.do("GET", testKey, "").want(200).wantBody("four")
	f.now.advance(10 * time.Minute)
	f.do("GET", testKey+"?previous=true", "").want(200).wantBody(`{"context":"` + f.do("GET", testKey, "").context() + `","previous":[]}`)
}

// TestPreviousIsForLWW: a bucket that keeps siblings has them, not what lost.
func TestPreviousIsForLWW(t *testing.T) {
	f := serve(t)
	f.do("PUT", testKey, "v").want(204)
	f.do("GET", testKey+"?previous=true", "").wantProblem(400, "bad-parameter", "conflicts=lww", "siblings")
	if n := f.kv.calls(); n != 1 {
		t.Errorf("the KV was called %d times", n)
	}
}

// TestBatchOfCounters: increments in a batch, and what a counter refuses.
func TestBatchOfCounters(t *testing.T) {
	f := serveMode(t, bucket.Counter)
	add := fields{"op": "add", "key": "k", "delta": 4, "idempotency_key": "row 1"}
	r := f.batch("", add, add, fields{"op": "put", "key": "k", "value": "7"}, fields{"op": "add", "key": "k", "delta": -1, "ttl": "1h"}, fields{"op": "get", "key": "k"})
	wantStatuses(t, r, 200, 200, 422, 200, 200)
	if r[1]["value"] != "4" || r[1]["content_type"] != "application/json" || r[1]["replicas"] != "acked=2 hinted=0 required=2" || r[1]["coordinator"] != "n2" || r[1]["etag"] != nil {
		t.Errorf("%v", r[1])
	}
	if p := r[2]["problem"].(fields); p["type"] != "/problems/value-does-not-fit" || !strings.Contains(p["detail"].(string), "takes increments") {
		t.Errorf("%v", p)
	}
	if r[3]["value"] != "3" || r[3]["expires_at"] != "2026-11-02T11:00:00.125Z" || r[4]["value"] != "3" || r[4]["expires_at"] != r[3]["expires_at"] {
		t.Errorf("%v and %v", r[3], r[4])
	}
	if put := f.kv.lastPut(); !put.Increment || put.Delta != -1 {
		t.Errorf("%+v", put)
	}
	f.do("POST", addPath, delta(4), "Idempotency-Key: row 1").want(200) // the same one
	f.do("GET", testKey, "").wantBody("3")
	wantStatuses(t, f.batch("?timeout=10s", add), 200)
	long := f.batch("?timeout=11s", add, fields{"op": "get", "key": "k"})
	if wantStatuses(t, long, 400, 200); long[0]["problem"].(fields)["parameter"] != "timeout" {
		t.Errorf("%v", long)
	}
	f.kv.onPut = func(context.Context, coordinator.PutRequest) (coordinator.PutResult, error) {
		return coordinator.PutResult{}, resolve.ErrRange
	}
	wantStatuses(t, f.batch("", add), 422)
}

// TestListsOfModes: a page has what a read of each key would have.
func TestListsOfModes(t *testing.T) {
	for m, want := range map[bucket.Mode]string{
		bucket.Counter: `"value":"12"`, bucket.Max: `"value":"9"`, bucket.LWW: `"value":"9"`, bucket.Siblings: `"siblings":[`,
	} {
		l := &memoryLists{pageSize: 10, objects: map[string]object.Object{}}
		f := serveMode(t, m, func(o *Options) { o.Lists = l })
		if m == bucket.Counter {
			f.do("POST", addPath, delta(12)).want(200)
		} else {
			f.do("PUT", testKey, "3").want(204)
			f.now.advance(time.Second)
			f.do("PUT", testKey, "9").want(204)
		}
		l.objects["k"] = f.kv.objects["b/k"]
		a := f.list("/v1/buckets/b/keys?values=true", "").want(200)
		if !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %s", m, a.body)
		}
		if m != bucket.Siblings {
			line := f.list("/v1/buckets/b/keys?values=true", "application/x-ndjson").want(200)
			if !strings.Contains(string(line.body), want) {
				t.Errorf("%s: %s", m, line.body)
			}
		}
	}
}

// TestTTLOfABucket: a value lives as long as its own time says, or else the
// bucket's, and a read says until when.
func TestTTLOfABucket(t *testing.T) {
	f := serve(t)
	f.declare("b", bucket.Properties{TTL: time.Hour})
	f.do("PUT", testKey, "v").want(204)
	f.do("PUT", testKey+"2?ttl=1ms", "v").want(204)
	f.do("PUT", testKey+"3?ttl=87600h", "v").want(204)
	f.do("PUT", testKey+"4?ttl=87600h1ns", "v").wantProblem(400, "bad-parameter", "87600h")
	f.do("PUT", testKey+"4?ttl=999us", "v").wantProblem(400, "bad-parameter", "1ms")
	f.do("GET", testKey, "").want(200).wantHeader("Starling-Expires-At", "2026-11-02T11:00:00.125Z")
	f.do("HEAD", testKey, "").want(200).wantHeader("Starling-Expires-At", "2026-11-02T11:00:00.125Z")
	f.do("GET", testKey+"2", "").want(200).wantHeader("Starling-Expires-At", "2026-11-02T10:00:00.126Z")
	f.do("GET", testKey+"3", "").want(200).wantHeader("Starling-Expires-At", "2036-10-30T10:00:00.125Z")
	f.now.advance(time.Millisecond)
	f.do("GET", testKey+"2", "").want(404)
	f.now.advance(time.Hour - 2*time.Millisecond)
	f.do("GET", testKey, "").want(200)
	f.now.advance(time.Millisecond)
	f.do("GET", testKey, "").want(404)
}
