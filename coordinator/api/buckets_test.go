package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"starling/coordinator"
	"starling/ring"
	"starling/store/bucket"
	"starling/store/version"
)

// fakeBuckets changes the buckets of a static cluster.
type fakeBuckets struct {
	t       *testing.T
	cluster *staticCluster
	pending []ring.NodeID
	refuse  error
	changes int
}

func (f *fakeBuckets) ChangeBuckets(ctx context.Context, change func(bucket.Registry) (bucket.Registry, error)) (bucket.Registry, []ring.NodeID, error) {
	wantDeadline(f.t, ctx)
	if f.refuse != nil {
		return nil, nil, f.refuse
	}
	m := f.cluster.Map()
	next, err := change(m.Buckets)
	if err != nil {
		return nil, nil, err
	}
	if err := bucket.Step(m.Buckets, next); err != nil {
		return nil, nil, err
	}
	f.changes++
	m.Buckets = next
	f.cluster.set(f.t, m)
	return next, f.pending, nil
}

// serveBuckets is a server that can change buckets.
func serveBuckets(t *testing.T) (*fixture, *fakeBuckets) {
	t.Helper()
	b := &fakeBuckets{t: t}
	f := serve(t, func(o *Options) { o.Buckets = b })
	b.cluster = f.cluster
	return f, b
}

// drop drops a bucket behind the server's back.
func (b *fakeBuckets) drop(name string) {
	b.t.Helper()
	_, _, err := b.ChangeBuckets(testDeadline(b.t), func(g bucket.Registry) (bucket.Registry, error) { return g.With(g.Find(name).Drop([16]byte{1})) })
	if err != nil {
		b.t.Fatal(err)
	}
}

// declare declares one.
func (b *fakeBuckets) declare(name string, p bucket.Properties) {
	b.t.Helper()
	_, _, err := b.ChangeBuckets(testDeadline(b.t), func(g bucket.Registry) (bucket.Registry, error) {
		return g.With(g.Find(name).Declare(p, [16]byte{1}))
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func testDeadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

const noProps = `{"conflicts":"siblings","consistency":"quorum","r":null,"w":null,"ttl":null,"max_siblings":null,"max_value_bytes":null}`

func TestABucketIsDeclaredShownAndDropped(t *testing.T) {
	f, b := serveBuckets(t)
	f.do("GET", "/v1/buckets", "").want(200).wantBody(`{"buckets":[]}`)
	f.do("GET", "/v1/buckets/new", "").want(200).wantBody(`{"name":"new","declared":false,"incarnation":0,"properties":` + noProps + `}`)
	all := `{"conflicts":"lww","consistency":"one","r":1,"w":3,"ttl":"90m","max_siblings":7,"max_value_bytes":1000}`
	shown := strings.Replace(all, "90m", "1h30m", 1)
	declared := `{"name":"b","declared":true,"incarnation":0,"properties":` + shown + `}`
	f.do("PUT", "/v1/buckets/b", all).want(200).wantBody(declared)
	f.do("GET", "/v1/buckets/b", "").want(200).wantBody(declared)
	f.do("PUT", "/v1/buckets/b", shown).want(200).wantBody(declared) // what is shown can be given back
	if v := f.cluster.Map().Buckets.Find("b").Version; v != 1 {
		t.Errorf("version %d after the same was declared twice", v)
	}
	f.do("PUT", "/v1/buckets/c", "").want(200).wantBody(`{"name":"c","declared":true,"incarnation":0,"properties":` + noProps + `}`)
	f.do("DELETE", "/v1/buckets/b", "").want(204).wantBody("")
	gone := `{"name":"b","declared":false,"incarnation":1,"properties":` + noProps + `}`
	f.do("GET", "/v1/buckets", "").want(200).wantBody(`{"buckets":[` + gone + `,{"name":"c","declared":true,"incarnation":0,"properties":` + noProps + `}]}`)
	f.do("HEAD", "/v1/buckets", "").want(200)
	f.do("HEAD", "/v1/buckets/b", "").want(200)
	b.pending = []ring.NodeID{nodeID(2), nodeID(4)}
	f.do("DELETE", "/v1/buckets/b", "").want(200).wantBody(`{"pending":["n2","n4"]}`)
	f.do("PUT", "/v1/buckets/b", `{"ttl":"1h"}`).want(200).wantBody(
		`{"name":"b","declared":true,"incarnation":2,"properties":` + strings.Replace(noProps, `"ttl":null`, `"ttl":"1h"`, 1) + `,"pending":["n2","n4"]}`)
	f.do("POST", "/v1/buckets/b", "").wantHeader("Allow", "DELETE, GET, HEAD, PUT").wantProblem(405, "method-not-allowed")
}

func TestPropertiesAreChecked(t *testing.T) {
	f, b := serveBuckets(t)
	for body, words := range map[string][]string{
		`{"conflict":"lww"}`:                 {`"conflict"`, `"conflicts"`},
		`{"max_sibling":3}`:                  {`"max_siblings"`},
		`{"TTL":"1h"}`:                       {`"TTL"`, `"ttl"`},
		`{"r":1,"r":2}`:                      {`"r"`, "twice"},
		`{"conflicts":"newest"}`:             {"lww", "counter"},
		`{"conflicts":1}`:                    {"string"},
		`{"consistency":"any"}`:              {"quorum", "any"},
		`{"consistency":"most"}`:             {"quorum"},
		`{"r":0}`:                            {"1 to 3"},
		`{"w":4}`:                            {"1 to 3"},
		`{"w":1.5}`:                          {"1 to 3"},
		`{"w":"1"}`:                          {"1 to 3"},
		`{"ttl":3600}`:                       {"string"},
		`{"ttl":"soon"}`:                     {"1h"},
		`{"ttl":"999ms"}`:                    {"1s to 87600h"},
		`{"ttl":"87601h"}`:                   {"1s to 87600h"},
		`{"max_siblings":10001}`:             {"10000"},
		`{"max_value_bytes":1073741825}`:     {"1073741824"},
		`{"max_value_bytes":-1}`:             {"1 to"},
		`[]`:                                 {"JSON object"},
		`{"r":1}{}`:                          {"JSON object"},
		`{"r":1`:                             {"JSON object"},
		`"lww"`:                              {"JSON object"},
		`{"r":` + strings.Repeat(" ", 5000):  {"4096 bytes"},
		`{"` + strings.Repeat("x", 500) + ``: {"JSON object"},
	} {
		f.do("PUT", "/v1/buckets/b", body).wantProblem(400, "bad-body", append(words, "Nothing changed")...)
	}
	f.do("PUT", "/v1/buckets/b%2Fc", "{}").wantProblem(400, "bad-bucket")
	f.do("PUT", "/v1/buckets/b~1", "{}").wantProblem(400, "bad-bucket")
	f.do("DELETE", "/v1/buckets/b", "{}").wantProblem(400, "bad-body")
	f.do("DELETE", "/v1/buckets/b?force=1", "").wantProblem(400, "bad-parameter")
	f.do("GET", "/v1/buckets?limit=1", "").wantProblem(400, "bad-parameter")
	f.do("DELETE", "/v1/buckets/b", "", "Origin: http://elsewhere.example", "Sec-Fetch-Site: cross-site").wantProblem(403, "cross-origin")
	if b.changes != 0 {
		t.Errorf("%d changes", b.changes)
	}
	serve(t).do("PUT", "/v1/buckets/b", "{}").wantProblem(503, "not-ready")
}

// Values keep their form for as long as a bucket is not dropped.
func TestConflictsOfADeclaredBucket(t *testing.T) {
	modes := []string{"siblings", "lww", "max", "min", "union", "json-merge", "counter"}
	plain := map[string]bool{"siblings": true, "lww": true}
	f, _ := serveBuckets(t)
	for i, from := range modes {
		for j, to := range modes {
			name := fmt.Sprintf("b%d-%d", i, j)
			f.do("PUT", "/v1/buckets/"+name, `{"conflicts":"`+from+`"}`).want(200) // whatever an undeclared one holds
			again := f.do("PUT", "/v1/buckets/"+name, `{"conflicts":"`+to+`","ttl":"1h"}`)
			if from == to || plain[from] && plain[to] {
				again.want(200)
				continue
			}
			again.wantProblem(409, "conflicts-differ", from, to, "drop", "Nothing changed")
			f.do("DELETE", "/v1/buckets/"+name, "").want(204)
			f.do("PUT", "/v1/buckets/"+name, `{"conflicts":"`+to+`"}`).want(200)
		}
	}
}

func TestAChangeOfABucketThatFails(t *testing.T) {
	f, b := serveBuckets(t)
	b.refuse = fmt.Errorf("%w: it is stopping", coordinator.ErrNotReady)
	f.do("DELETE", "/v1/buckets/b", "").wantProblem(503, "not-ready", "Nothing changed")
	b.refuse = errors.New("the disk fell out")
	doc := f.do("DELETE", "/v1/buckets/b", "").wantProblem(500, "internal", "may have been made")
	if doc["maybe_applied"] != true {
		t.Errorf("maybe_applied is %v", doc["maybe_applied"])
	}
	b.refuse = fmt.Errorf("%w: 4096 buckets are declared or were dropped", bucket.ErrInvalid)
	f.do("PUT", "/v1/buckets/b", "").wantProblem(400, "invalid-request", "4096 buckets")
}

// What a caller names is looked up: nothing but the bucket's own name is seen,
// and nothing of an incarnation is read or superseded in another.
func TestKeysAreKeptByTheStoredName(t *testing.T) {
	f, b := serveBuckets(t)
	before := f.do("PUT", "/v1/buckets/b/keys/k", "old").want(204).context()
	b.drop("b")
	f.do("GET", "/v1/buckets/b/keys/k", "").want(404)
	if got := f.kv.lastGet().Bucket; got != "b~1" {
		t.Fatalf("bucket %q was read, want b~1", got)
	}
	// A context of before is one of nothing.
	f.do("GET", "/v1/buckets/b/keys/k", "", withContext(before)).want(404)
	f.do("DELETE", "/v1/buckets/b/keys/k", "", withContext(before)).want(204)
	a := f.do("PUT", "/v1/buckets/b/keys/k", "new", withContext(before), "Prefer: return=representation").want(200)
	if put := f.kv.lastPut(); put.Bucket != "b~1" || !put.Context.Empty() {
		t.Fatalf("the put is %+v", put)
	}
	var receipt map[string]any
	if a.decode(&receipt); receipt["bucket"] != "b" {
		t.Errorf("the receipt is of bucket %v", receipt["bucket"])
	}
	after := f.do("GET", "/v1/buckets/b/keys/k", "").want(200).wantBody("new").context()
	secret := f.cluster.Map().Settings.Secret
	if _, err := version.Open(secret[:], "b~1", "k", after); err != nil {
		t.Errorf("a context of the next incarnation: %v", err)
	}
	if _, err := version.Open(secret[:], "b", "k", after); err == nil {
		t.Error("a context of the next incarnation is one of the first")
	}
	other := f.do("GET", "/v1/buckets/b/keys/other", "").want(404).context()
	f.do("GET", "/v1/buckets/b/keys/k", "", withContext(other)).wantProblem(400, "bad-context")
	for range maxOlderContexts {
		b.drop("b")
	}
	f.do("GET", "/v1/buckets/b/keys/k", "", withContext(after)).want(404)
	f.do("GET", "/v1/buckets/b/keys/k", "", withContext(before)).wantProblem(400, "bad-context")

	stored := bucket.Stored("b", 1+maxOlderContexts)
	var where struct{ Partition int }
	f.do("GET", "/v1/ring/b/k", "").want(200).decode(&where)
	if want := ring.Partition(stored, "k", testPartitions); where.Partition != want {
		t.Errorf("the key is said to be in partition %d, want %d", where.Partition, want)
	}
}

// A bucket that is dropped while a request is on its way: the request is carried
// out once more, in the next incarnation.
func TestARequestOverADrop(t *testing.T) {
	f, b := serveBuckets(t)
	seen := f.do("PUT", "/v1/buckets/b/keys/k", "old").want(204).context()
	gone := fmt.Errorf("%w: b", coordinator.ErrGone)
	dropped := false
	f.kv.onPut = func(ctx context.Context, req coordinator.PutRequest) (coordinator.PutResult, error) {
		if req.Bucket == "b" {
			if !dropped {
				b.drop("b")
			}
			dropped = true
			return coordinator.PutResult{}, gone
		}
		return coordinator.PutResult{Acked: 2, Required: 2}, nil
	}
	f.do("PUT", "/v1/buckets/b/keys/k", "new", withContext(seen), "Idempotency-Key: one").want(204)
	first, second := f.kv.puts[len(f.kv.puts)-2], f.kv.lastPut()
	if second.Bucket != "b~1" || !second.Context.Empty() || first.Sibling.Op != second.Sibling.Op || first.Context.Empty() {
		t.Errorf("the put was %+v, then %+v", first, second)
	}
	f.kv.onGet = func(_ context.Context, req coordinator.GetRequest) (coordinator.GetResult, error) {
		if req.Bucket == "b~1" {
			b.drop("b")
			return coordinator.GetResult{}, gone
		}
		return coordinator.GetResult{Required: 2, Received: 2}, nil
	}
	f.do("GET", "/v1/buckets/b/keys/k", "").want(404)
	if got := f.kv.lastGet().Bucket; got != "b~2" {
		t.Errorf("bucket %q was read at last", got)
	}
	// Once: this node does not learn what the bucket is called now.
	f.kv.onGet = func(context.Context, coordinator.GetRequest) (coordinator.GetResult, error) {
		return coordinator.GetResult{}, gone
	}
	calls := f.kv.calls()
	f.do("GET", "/v1/buckets/b/keys/k", "").wantProblem(503, "bucket-dropping")
	if n := f.kv.calls() - calls; n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

// A bucket that is dropped in the midst of a batch: what was done before is told
// as done, with contexts of the bucket that is gone, and the rest is done once
// more.
func TestABatchOverADrop(t *testing.T) {
	b := &fakeBuckets{t: t}
	f := serveBatches(t, func(o *Options) { o.Buckets = b })
	b.cluster = f.cluster
	seen := f.do("PUT", "/v1/buckets/b/keys/second", "old").want(204).context()
	b.declare("b", bucket.Properties{TTL: time.Hour, Level: "one"})
	f.kv.onPut = func(_ context.Context, req coordinator.PutRequest) (coordinator.PutResult, error) {
		switch req.Key {
		case "first":
			if want := f.now.Now().Add(time.Hour).UnixMilli(); req.Sibling.ExpiresMS != want || req.Consistency.Level != coordinator.LevelOne {
				t.Errorf("the bucket's defaults were not taken: %+v", req)
			}
			b.drop("b")
			return coordinator.PutResult{Acked: 1, Required: 1}, nil
		default:
			if req.Bucket == "b" {
				return coordinator.PutResult{}, fmt.Errorf("%w: b", coordinator.ErrGone)
			}
			if req.Sibling.ExpiresMS != 0 || req.Consistency.Level != coordinator.LevelDefault || !req.Context.Empty() {
				t.Errorf("the put in the next incarnation: %+v", req)
			}
			return coordinator.PutResult{Acked: 2, Required: 2}, nil
		}
	}
	results := f.batch("", fields{"op": "put", "key": "first", "value": "v"}, fields{"op": "put", "key": "second", "value": "v", "context": seen})
	wantStatuses(t, results, 204, 204)
	secret := f.cluster.Map().Settings.Secret
	for i, stored := range []string{"b", "b~1"} {
		key := []string{"first", "second"}[i]
		if _, err := version.Open(secret[:], stored, key, results[i]["context"].(string)); err != nil {
			t.Errorf("the context of %s is not of %s: %v", key, stored, err)
		}
	}
	if got := f.kv.lastPut().Bucket; got != "b~1" {
		t.Errorf("the last put was to %q", got)
	}
	if n := len(f.kv.puts); n != 1+2+1 {
		t.Errorf("%d puts", n)
	}
}

func TestAListingOfADroppedBucket(t *testing.T) {
	b := &fakeBuckets{t: t}
	f, l := serveLists(t, manyKeys(2), func(o *Options) { o.Buckets = b })
	b.cluster = f.cluster
	b.drop("b")
	b.declare("b", bucket.Properties{R: 1})
	dropped := false
	l.onList = func(context.Context, int) error {
		if dropped {
			return nil
		}
		dropped = true
		b.drop("b")
		return fmt.Errorf("%w: b~1", coordinator.ErrGone)
	}
	a := f.list("/v1/buckets/b/keys?values=true", "").want(200)
	var page struct {
		Bucket string
		Keys   []struct{ Key, Context string }
	}
	if a.decode(&page); page.Bucket != "b" || len(page.Keys) != 2 {
		t.Fatalf("page %s", a.body)
	}
	secret := f.cluster.Map().Settings.Secret
	if _, err := version.Open(secret[:], "b~2", page.Keys[0].Key, page.Keys[0].Context); err != nil {
		t.Errorf("context: %v in %s", err, a.body)
	}
	if first, then := l.asked[0], l.asked[1]; first.Bucket != "b~1" || first.Consistency.R != 1 || then.Bucket != "b~2" || then.Consistency.R != 0 {
		t.Errorf("asked for %+v, then %+v", first, then)
	}
}

func TestABucketsDefaults(t *testing.T) {
	f, b := serveBuckets(t)
	b.declare("b", bucket.Properties{Level: "one", R: 3, TTL: time.Hour, MaxValueBytes: 10})
	const at = "/v1/buckets/b/keys/k"
	for query, want := range map[string]coordinator.Consistency{
		"":                 {Level: coordinator.LevelOne, R: 3},
		"?pr=1":            {Level: coordinator.LevelOne, R: 3, PR: 1},
		"?r=2":             {Level: coordinator.LevelOne, R: 2},
		"?consistency=two": {Level: coordinator.LevelTwo},
		"?sloppy=false":    {Level: coordinator.LevelOne, R: 3, Strict: true},
	} {
		f.do("GET", at+query, "")
		if got := f.kv.lastGet().Consistency; got != want {
			t.Errorf("GET %s: %+v, want %+v", query, got, want)
		}
	}
	f.do("PUT", at, "v").want(204)
	if got := f.kv.lastPut().Sibling.ExpiresMS; got != f.now.Now().Add(time.Hour).UnixMilli() {
		t.Errorf("it expires at %d", got)
	}
	f.do("PUT", at+"?ttl=1m", "v").want(204)
	if got := f.kv.lastPut().Sibling.ExpiresMS; got != f.now.Now().Add(time.Minute).UnixMilli() {
		t.Errorf("with a time of its own it expires at %d", got)
	}
	f.do("DELETE", at, "").want(204)
	if got := f.kv.lastPut().Sibling; got.ExpiresMS != 0 {
		t.Errorf("a tombstone expires: %+v", got)
	}
	f.do("PUT", at, "0123456789").want(204)
	f.do("PUT", at, "0123456789+").wantProblem(413, "value-too-large", "10 bytes")
	f.do("PUT", at, "b\r\n0123456789+\r\n0\r\n\r\n", "Transfer-Encoding: chunked").wantProblem(413, "value-too-large", "10 bytes")
	b.declare("b", bucket.Properties{MaxValueBytes: 1 << 30}) // the node's bound is less
	f.do("PUT", at, "", "Content-Length: 1048577").wantProblem(413, "value-too-large", "1048576 bytes")
	f.do("PUT", "/v1/buckets/other/keys/k", "v").want(204)
	if got := f.kv.lastPut(); got.Sibling.ExpiresMS != 0 || got.Consistency != (coordinator.Consistency{}) {
		t.Errorf("another bucket has %+v", got)
	}
}

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Second: "1s", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s", 1500 * time.Millisecond: "1.5s", 10 * time.Minute: "10m", 100 * time.Hour: "100h",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
