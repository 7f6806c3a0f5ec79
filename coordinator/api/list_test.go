package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"starling/coordinator"
	"starling/store/bucket"
	"starling/store/object"
	"starling/store/version"
)

// memoryLists lists objects in memory, pageSize at a time.
type memoryLists struct {
	mu       sync.Mutex
	objects  map[string]object.Object
	pageSize int
	asked    []coordinator.ListRequest
	// onList, when set, may answer instead.
	onList func(ctx context.Context, n int) error
}

func (l *memoryLists) List(ctx context.Context, req coordinator.ListRequest) (coordinator.ListPage, error) {
	l.mu.Lock()
	l.asked = append(l.asked, req)
	n := len(l.asked)
	l.mu.Unlock()
	if l.onList != nil {
		if err := l.onList(ctx, n); err != nil {
			return coordinator.ListPage{}, err
		}
	}
	var keys []string
	for key := range l.objects {
		if strings.HasPrefix(key, req.Prefix) && key > req.After {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	page := coordinator.ListPage{}
	for _, key := range keys {
		if len(page.Entries) == min(req.Limit, l.pageSize) {
			page.More = true
			break
		}
		page.Entries = append(page.Entries, object.Entry{Ref: object.Ref{Key: key}, Object: l.objects[key]})
		page.Next = key
	}
	if !page.More {
		page.Next = ""
	}
	return page, nil
}

func (l *memoryLists) last() coordinator.ListRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[len(l.asked)-1]
}

func listedObject(n uint64, values ...string) (o object.Object) {
	for i, v := range values {
		d := version.Dot{Actor: testActor, Seq: n + uint64(i)}
		o.Vector = o.Vector.With(d)
		o.Siblings = append(o.Siblings, object.Sibling{Dot: d, Value: []byte(v), ContentType: "text/plain", ModifiedMS: 1_700_000_000_000})
	}
	return o
}

// serveLists serves objects of bucket b.
func serveLists(t *testing.T, objects map[string]object.Object, change ...func(*Options)) (*fixture, *memoryLists) {
	l := &memoryLists{objects: objects, pageSize: coordinator.MaxListLimit}
	return serve(t, append([]func(*Options){func(o *Options) { o.Lists = l }}, change...)...), l
}

func manyKeys(n int) map[string]object.Object {
	objects := map[string]object.Object{}
	for i := range n {
		objects[fmt.Sprintf("key-%05d", i)] = listedObject(1, "v")
	}
	return objects
}

// list asks for keys on a connection that stays open: a read ends with its caller.
func (f *fixture) list(target, accept string) *answer {
	f.t.Helper()
	conn := f.dial()
	defer conn.Close()
	request := "GET " + target + " HTTP/1.1\r\nHost: starling\r\n"
	if accept != "" {
		request += "Accept: " + accept + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		f.t.Fatal(err)
	}
	return f.receive(bufio.NewReader(conn), request+"\r\n")
}

func TestListKeysByPages(t *testing.T) {
	objects := manyKeys(250)
	objects["\xff\x00"] = listedObject(1, "v")
	objects["~tilde é"] = listedObject(1, "v")
	f, l := serveLists(t, objects)
	query, got := "", []string(nil)
	for pages := 1; ; pages++ {
		var doc keysDoc
		a := f.list("/v1/buckets/b/keys"+query, "").want(200).wantHeader("Content-Type", "application/json")
		a.decode(&doc)
		for _, k := range doc.Keys {
			got = append(got, k.Key+k.KeyBase64)
		}
		if doc.Complete {
			if pages != 3 || doc.Next != "" {
				t.Errorf("complete after %d pages: %s", pages, a.body)
			}
			break
		}
		query = "?after=" + doc.Next
	}
	if len(got) != 252 || got[250] != "~tilde é" || got[251] != "/wA=" {
		t.Errorf("%d keys, the last ones %q", len(got), got[len(got)-2:])
	}
	var doc keysDoc
	f.list("/v1/buckets/b/keys?prefix=%7Etilde+%C3%A9&after=%FF", "").want(200).decode(&doc)
	if len(doc.Keys) != 0 || !doc.Complete || l.last().After != "\xff" || l.last().Prefix != "~tilde é" {
		t.Errorf("%+v of %+v", doc, l.last())
	}
	l.pageSize = 252
	f.list("/v1/buckets/b/keys?limit=252&consistency=all&r=2&timeout=750ms", "").want(200).decode(&doc)
	if c := l.last().Consistency; len(doc.Keys) != 252 || c.R != 2 || c.Level != coordinator.LevelAll || l.last().Values {
		t.Errorf("%d keys of %+v", len(doc.Keys), l.last())
	}
	l.pageSize = 252 - 1
	f.list("/v1/buckets/b/keys?limit=252&prefix=%FF", "").want(200).decode(&doc)
	l.pageSize = 0
	var empty keysDoc
	f.list("/v1/buckets/b/keys", "").want(200).decode(&empty)
	if empty.Complete || empty.Keys == nil || len(empty.Keys) != 0 {
		t.Errorf("a page without keys that has more: %+v", empty)
	}
}

func TestListNextThatIsNotUTF8(t *testing.T) {
	f, l := serveLists(t, map[string]object.Object{"a\xff": listedObject(1, "v"), "b": listedObject(1, "v")})
	l.pageSize = 1
	var doc keysDoc
	f.list("/v1/buckets/b/keys", "").want(200).decode(&doc)
	if doc.Next != "" || doc.NextBase64 != "Yf8=" || doc.Complete || doc.Keys[0].KeyBase64 != "Yf8=" || doc.Keys[0].Key != "" {
		t.Errorf("%+v", doc)
	}
}

func TestListValues(t *testing.T) {
	expiring := listedObject(1, "short-lived")
	expiring.Siblings[0].ExpiresMS = time.Date(2026, 11, 2, 11, 0, 0, 0, time.UTC).UnixMilli()
	expired := listedObject(1, "gone")
	expired.Siblings[0].ExpiresMS = 1
	annotated := listedObject(1, "")
	annotated.Siblings[0].Meta = []object.Field{{Name: "owner", Value: "Al"}}
	f, _ := serveLists(t, map[string]object.Object{
		"annotated": annotated, "binary": listedObject(1, "\xff"), "expired": expired, "expiring": expiring, "siblings": listedObject(1, "one", "\xfe"),
	})
	type key struct {
		siblingDoc
		Key, Context string
		Siblings     []siblingDoc
	}
	var doc struct{ Keys []key }
	a := f.list("/v1/buckets/b/keys?values=true", "").want(200)
	a.decode(&doc)
	if len(doc.Keys) != 4 {
		t.Fatalf("%s", a.body)
	}
	for i, want := range []string{"", "/w==", "short-lived"} {
		if got := doc.Keys[i].Value; got != want {
			t.Errorf("key %d: %q, %s", i, got, a.body)
		}
	}
	if k := doc.Keys[0]; k.Meta["owner"] != "Al" || k.ContentType != "text/plain" || k.Modified != "2023-11-14T22:13:20.000Z" || k.ExpiresAt != "" {
		t.Errorf("%+v", k)
	}
	if doc.Keys[1].Encoding != "base64" || doc.Keys[2].ExpiresAt != "2026-11-02T11:00:00.000Z" {
		t.Errorf("%s", a.body)
	}
	siblings := doc.Keys[3]
	if siblings.Dot != "" || len(siblings.Siblings) != 2 || siblings.Siblings[0].Value != "one" || siblings.Siblings[1].Encoding != "base64" {
		t.Errorf("%+v", siblings)
	}
	// The context is that of a read of the key.
	m := f.cluster.Map()
	c, err := version.Open(m.Settings.Secret[:], "b", "siblings", siblings.Context)
	if err != nil || !c.Covers(version.Dot{Actor: testActor, Seq: 2}) {
		t.Errorf("context %v, %v", c, err)
	}
}

func TestListStream(t *testing.T) {
	f, l := serveLists(t, manyKeys(2500))
	a := f.list("/v1/buckets/b/keys", "application/x-ndjson").want(200).wantHeader("Content-Type", "application/x-ndjson")
	if got := strings.Split(string(a.body), "\n"); len(got) != 2501 || got[2499] != `{"key":"key-02499"}` || got[2500] != "" {
		t.Errorf("%d lines, at last %q", len(got), got[len(got)-2:])
	}
	a = f.list("/v1/buckets/b/keys?limit=1200&after=key-00099", "application/x-ndjson").want(200)
	if got := strings.Split(string(a.body), "\n"); len(got) != 1201 || got[0] != `{"key":"key-00100"}` || l.last().Limit != 200 {
		t.Errorf("%d lines from %q, at last %+v", len(got), got[0], l.last())
	}
	if a := f.list("/v1/buckets/b/keys?prefix=nothing", "application/x-ndjson").want(200); len(a.body) != 0 {
		t.Errorf("of nothing: %q", a.body)
	}
	// What fails after the first page is the last line; what fails before is a problem.
	began := len(l.asked)
	l.onList = func(_ context.Context, n int) error {
		if n == began+2 {
			return &coordinator.QuorumError{Op: "list", Required: 2, Received: 1}
		}
		return nil
	}
	a = f.list("/v1/buckets/b/keys", "application/x-ndjson").want(200)
	got := strings.Split(strings.TrimSpace(string(a.body)), "\n")
	if len(got) != 1001 || !strings.HasPrefix(got[1000], `{"error":{"type":"/problems/quorum-not-reached"`) || !strings.Contains(got[1000], `"received":1`) {
		t.Errorf("%d lines, at last %q", len(got), got[len(got)-1])
	}
	l.onList = func(context.Context, int) error { return coordinator.ErrOverloaded }
	f.list("/v1/buckets/b/keys", "application/x-ndjson").wantProblem(503, "overloaded")
	if used := f.server.admission.bytes.Load(); used != 0 {
		t.Errorf("%d bytes are still held", used)
	}
}

// A page is sent before the next one is gathered, and a caller who goes away
// ends the stream.
func TestListStreamIsSentPageByPage(t *testing.T) {
	f, l := serveLists(t, manyKeys(1500))
	second, ended := make(chan struct{}), make(chan struct{})
	l.onList = func(ctx context.Context, n int) error {
		if n == 2 {
			close(second)
			<-ctx.Done() // the caller has gone
			close(ended)
			return ctx.Err()
		}
		return nil
	}
	conn := f.dial()
	fmt.Fprintf(conn, "GET /v1/buckets/b/keys?timeout=30s HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(resp.Body)
	for i := range 1000 {
		if !lines.Scan() {
			t.Fatalf("%d lines, %v", i, lines.Err())
		}
	}
	<-second
	conn.Close()
	<-ended
}

func TestListRefusals(t *testing.T) {
	f, l := serveLists(t, manyKeys(3))
	for query, want := range map[string][2]string{
		"limit=0":                             {"limit", "1 to 1000"},
		"limit=1001":                          {"limit", "1 to 1000"},
		"limit=%2B5":                          {"limit", "1 to 1000"},
		"limit=":                              {"limit", "1 to 1000"},
		"limit=1&limit=2":                     {"limit", "twice"},
		"values=yes":                          {"values", "true and false"},
		"consistency=any":                     {"consistency", "for writes"},
		"consistency=some":                    {"consistency", "quorum"},
		"r=4":                                 {"r", "1 to 3"},
		"timeout=1h":                          {"timeout", "1ms to 1m0s"},
		"prefix=" + strings.Repeat("p", 1025): {"prefix", "1025 bytes"},
		"after=" + strings.Repeat("p", 1025):  {"after", "1025 bytes"},
		"sloppy=true":                         {"sloppy", "prefix, after, limit, values, consistency, r, timeout"},
		"after=%zz":                           {"after", "percent-encoded"},
	} {
		doc := f.list("/v1/buckets/b/keys?"+query, "").wantProblem(400, "bad-parameter", want[1])
		if doc["parameter"] != want[0] {
			t.Errorf("%s: parameter %v", query, doc["parameter"])
		}
	}
	f.do("GET", "/v1/buckets/b/keys?limit=1000000001", "", "Accept: application/x-ndjson").wantProblem(400, "bad-parameter", "1 to 1000000000")
	f.list("/v1/buckets/b%2Fc/keys", "").wantProblem(400, "bad-bucket", "b%2Fc")
	f.do("GET", "/v1/buckets/b/keys", "body").wantProblem(400, "bad-body")
	f.do("GET", "/v1/buckets/b/keys", "", "Accept: text/html").wantProblem(406, "not-acceptable", "application/x-ndjson")
	f.do("POST", "/v1/buckets/b/keys", "").wantHeader("Allow", "GET").wantProblem(405, "method-not-allowed")
	if len(l.asked) != 0 {
		t.Errorf("%d requests were passed on", len(l.asked))
	}
	l.onList = func(context.Context, int) error { return errors.Join(coordinator.ErrTooFewOwners) }
	f.list("/v1/buckets/b/keys?consistency=three", "").wantProblem(503, "quorum-not-reached")
	l.onList = func(context.Context, int) error {
		return &coordinator.QuorumError{Op: "list", Required: 2, Timeout: true}
	}
	f.list("/v1/buckets/b/keys", "").wantProblem(504, "deadline-exceeded", "answered the read")
	f = serve(t)
	f.list("/v1/buckets/b/keys", "").wantProblem(503, "not-ready")
}

// Callers beyond those whose pages are gathered wait for their turn, and no
// longer than their time.
func TestListingsWaitForEachOther(t *testing.T) {
	f, l := serveLists(t, manyKeys(1), func(o *Options) { o.MaxInflightBytes = 2 * listValueBytes })
	for range maxListings {
		f.server.listings <- struct{}{}
	}
	f.list("/v1/buckets/b/keys?timeout=20ms", "").wantProblem(503, "overloaded", "32 callers")
	<-f.server.listings
	f.list("/v1/buckets/b/keys?timeout=20ms", "").want(200)
	// Pages with values take room, whatever they turn out to be.
	f.server.admission.bytes.Store(2 * listValueBytes)
	f.list("/v1/buckets/b/keys?values=true", "").wantProblem(503, "overloaded", "bytes")
	if len(l.asked) != 1 {
		t.Errorf("%d pages were gathered", len(l.asked))
	}
}

func TestNegotiateList(t *testing.T) {
	for accept, want := range map[string]listForm{
		"": listJSON, "*/*": listJSON, "application/json": listJSON, "application/*": listJSON, "text/html": listNone,
		"application/x-ndjson": listNDJSON, "application/x-ndjson, */*": listNDJSON, "application/x-ndjson;q=0.5, application/json": listJSON,
		"application/json;q=0, application/*": listNDJSON, "application/x-ndjson;q=0, */*": listJSON,
	} {
		var header []string
		if accept != "" {
			header = []string{accept}
		}
		if got := negotiateList(header); got != want {
			t.Errorf("%q: %d, want %d", accept, got, want)
		}
	}
}

// The numbers of listings are counted under their own name.
func TestListMetrics(t *testing.T) {
	f, _ := serveLists(t, manyKeys(1))
	f.list("/v1/buckets/b/keys?consistency=all", "").want(200)
	f.list("/v1/buckets/b/keys?limit=x", "").want(400)
	for _, c := range []struct {
		label, status int
	}{{int(coordinator.LevelAll), 200}, {labelNone, 400}} {
		if f.server.metrics.handles[opList][c.label][c.status-minStatus].Load() == nil {
			t.Errorf("no request counted with label %s and status %d", labelName(c.label), c.status)
		}
	}
}

// A listing is of the bucket's present incarnation, also when that has changed
// since the request was looked at, and goes by the bucket's own consistency.
func TestListOfABucketThatWasDropped(t *testing.T) {
	f, l := serveLists(t, manyKeys(1))
	record := bucket.Record{Name: "b"}.Drop([16]byte{1}).Declare(bucket.Properties{Level: "all"}, [16]byte{1})
	l.onList = func(_ context.Context, n int) error {
		if n > 1 {
			return nil
		}
		m := f.cluster.Map()
		m.Buckets = bucket.Registry{record}
		f.cluster.set(t, m)
		return fmt.Errorf("n2: %w", coordinator.ErrGone)
	}
	var doc struct{ Keys []struct{ Context string } }
	f.list("/v1/buckets/b/keys?values=true", "").want(200).decode(&doc)
	if got := l.last(); len(l.asked) != 2 || got.Bucket != record.Stored() || l.asked[0].Bucket != "b" || got.Consistency.Level != coordinator.LevelAll {
		t.Errorf("asked %+v", l.asked)
	}
	m := f.cluster.Map()
	if _, err := version.Open(m.Settings.Secret[:], record.Stored(), "key-00000", doc.Keys[0].Context); err != nil {
		t.Errorf("the context is not of the present incarnation: %v", err)
	}
}
