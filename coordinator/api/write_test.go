package api

import (
	"bufio"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"starling/coordinator"
	"starling/store/object"
	"starling/store/version"
)

// TestReceipt: what a PUT tells, with and without asking for it.
func TestReceipt(t *testing.T) {
	f := serve(t)
	for _, prefer := range []string{"return=representation", "respond-async, RETURN = \"representation\"; x=1", "return=representation, return=minimal"} {
		a := f.do("PUT", "/v1/buckets/b/keys/a%2Fb?consistency=two", "v", "Prefer: "+prefer).want(200).
			wantHeader("Content-Type", "application/json").wantHeader("Preference-Applied", "return=representation").
			wantHeader("X-Starling-Replicas", "acked=2 hinted=0 required=2").wantHeader("X-Starling-Coordinator", "n2")
		var doc receiptDoc
		a.decode(&doc)
		if doc.Bucket != "b" || doc.Key != "a/b" || doc.KeyEncoding != "" || doc.Context != a.context() || doc.Coordinator != "n2" ||
			doc.Acked != 2 || doc.Hinted != 0 || doc.Required != 2 || doc.Modified != "2026-11-02T10:00:00.125Z" || !strings.HasPrefix(doc.Dot, testActor.String()) {
			t.Errorf("receipt %+v", doc)
		}
		if got := doc.Replicas; len(got) != 3 || got[0] != (replicaDoc{Node: "n2", Outcome: "acked"}) || got[1] != (replicaDoc{Node: "n1", Outcome: "acked"}) || got[2] != (replicaDoc{Node: "n3", Outcome: "unknown"}) {
			t.Errorf("replicas %+v", got)
		}
	}
	for _, prefer := range []string{"", "return=minimal", "return", "wait=5", "return=minimal, return=representation", "xreturn=representation"} {
		f.do("PUT", testKey, "v", "Prefer: "+prefer, withContext(f.do("GET", testKey, "").context())).want(204).
			wantBody("").wantHeader("Preference-Applied", "").wantHeader("X-Starling-Replicas", "acked=2 hinted=0 required=2")
	}
	var doc receiptDoc
	f.do("PUT", "/v1/buckets/b/keys/%ff", "v", "Prefer: return=representation").want(200).decode(&doc)
	if key, err := base64.StdEncoding.DecodeString(doc.Key); err != nil || string(key) != "\xff" || doc.KeyEncoding != "base64" {
		t.Errorf("receipt %+v", doc)
	}
	// A hinted write names the node that keeps it.
	f.kv.onPut = func(context.Context, coordinator.PutRequest) (coordinator.PutResult, error) {
		return coordinator.PutResult{Dot: version.Dot{Actor: 1, Seq: 1}, Acked: 1, Hinted: 1, Required: 2, Replicas: []coordinator.Receipt{
			{Node: nodeID(3), Outcome: coordinator.OutcomeHinted, Holder: nodeID(5)}, {Node: nodeID(1), Outcome: coordinator.OutcomeFailed}}}, nil
	}
	var hinted receiptDoc
	f.do("PUT", testKey, "v", "Prefer: return=representation").want(200).decode(&hinted)
	if want := []replicaDoc{{"n3", "hinted", "n5"}, {"n1", "failed", ""}}; !slices.Equal(hinted.Replicas, want) {
		t.Errorf("replicas %+v, want %+v", hinted.Replicas, want)
	}
	// A coordinator that the map does not know (yet) is told by its ID.
	f.kv.onPut = func(context.Context, coordinator.PutRequest) (coordinator.PutResult, error) {
		return coordinator.PutResult{Acked: 1, Hinted: 2, Required: 3, Coordinator: nodeID(9)}, nil
	}
	f.do("PUT", testKey, "v").want(204).wantHeader("X-Starling-Coordinator", nodeID(9).String()).
		wantHeader("X-Starling-Replicas", "acked=1 hinted=2 required=3")
}

// TestIdempotency: the same write has the same operation, anything else another.
func TestIdempotency(t *testing.T) {
	f := serve(t)
	op := func(method, target, body string, headers ...string) object.OpID {
		t.Helper()
		if a := f.do(method, target, body, headers...); a.status != 204 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return f.kv.lastPut().Sibling.Op
	}
	idem := "Idempotency-Key: order 7"
	base := op("PUT", testKey, "v", idem, "X-Starling-Meta-A: 1")
	f.now.advance(time.Minute)
	if got := op("PUT", testKey, "v", idem, "X-Starling-Meta-A: 1", withContext(f.do("GET", testKey, "").context())); got != base {
		t.Error("a repetition is another write")
	}
	f.do("GET", testKey, "").want(200)
	seen := map[object.OpID]string{base: "base"}
	for name, got := range map[string]object.OpID{
		"other idempotency key": op("PUT", testKey, "v", "Idempotency-Key: order 8", "X-Starling-Meta-A: 1"),
		"other key":             op("PUT", testKey+"2", "v", idem, "X-Starling-Meta-A: 1"),
		"other bucket":          op("PUT", "/v1/buckets/c/keys/k", "v", idem, "X-Starling-Meta-A: 1"),
		"other value":           op("PUT", testKey+"3", "w", idem, "X-Starling-Meta-A: 1"),
		"other type":            op("PUT", testKey, "v", idem, "X-Starling-Meta-A: 1", "Content-Type: a/b"),
		"other metadata":        op("PUT", testKey, "v", idem, "X-Starling-Meta-A: 2"),
		"other metadata name":   op("PUT", testKey, "v", idem, "X-Starling-Meta-B: 1"),
		"no metadata":           op("PUT", testKey+"4", "v", idem),
		"other ttl":             op("PUT", "/v1/buckets/c/keys/k?ttl=1h", "v", idem, "X-Starling-Meta-A: 1"),
		"a delete":              op("DELETE", testKey, "", idem),
		"no idempotency key":    op("PUT", testKey+"5", "v", "X-Starling-Meta-A: 1"),
		"none again":            op("PUT", testKey+"5", "v", "X-Starling-Meta-A: 1"),
	} {
		if was := seen[got]; was != "" || got.IsZero() {
			t.Errorf("%s has the operation of %s", name, was)
		}
		seen[got] = name
	}
}

// TestOperationIDParts: what is hashed is told apart by its lengths, so that a
// chosen ttl and value cannot pass for metadata.
func TestOperationIDParts(t *testing.T) {
	with := object.Sibling{ContentType: "a/b", Meta: []object.Field{{Name: "n"}}, Value: []byte("v")}
	// 00000001 'n' 00000000 is how the field is hashed; here it is the ttl
	// (8 bytes), the mark of a delete, and the hash of the ttl of with.
	without := object.Sibling{ContentType: "a/b", Value: append(make([]byte, 9), 'v')}
	if operationID("i", "b", "k", &with, 0) == operationID("i", "b", "k", &without, 0x00000001_6e000000) {
		t.Error("two different writes have the same operation")
	}
}

// TestReadBody: a body is whole or an error, however it arrives.
func TestReadBody(t *testing.T) {
	const body = "0123456789"
	for _, size := range []int{0, 1, 9, 10} {
		got, err := (&bodyReader{from: iotest.OneByteReader(strings.NewReader(body)), size: size, exact: true}).read()
		if err != nil || string(got) != body[:size] {
			t.Errorf("%d bytes of it: %q %v", size, got, err)
		}
	}
	for _, r := range []io.Reader{strings.NewReader(body), iotest.DataErrReader(strings.NewReader(body))} {
		if got, err := (&bodyReader{from: r, size: 11, exact: true}).read(); err != io.ErrUnexpectedEOF || string(got) != body {
			t.Errorf("one byte is missing: %q %v", got, err)
		}
	}
	for _, r := range []io.Reader{strings.NewReader(body), iotest.DataErrReader(strings.NewReader(body)), iotest.HalfReader(strings.NewReader(body))} {
		if got, err := (&bodyReader{from: r, size: 10, exact: false}).read(); err != nil || string(got) != body {
			t.Errorf("to its end: %q %v", got, err)
		}
	}
	if _, err := (&bodyReader{from: iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(body))), size: 10, exact: true}).read(); err != iotest.ErrTimeout {
		t.Errorf("a stalled body: %v", err)
	}
}

// TestWriteOutlivesItsCaller: a write is not cancelled when the caller goes
// away, and still has a deadline.
func TestWriteOutlivesItsCaller(t *testing.T) {
	f := serve(t)
	for _, method := range []string{"PUT", "DELETE"} {
		ctx, leave := context.WithCancel(context.Background())
		called := false
		f.kv.onPut = func(ctx context.Context, _ coordinator.PutRequest) (coordinator.PutResult, error) {
			called = true
			leave()
			deadline, _ := ctx.Deadline()
			if left := time.Until(deadline); left < 30*time.Second || left > 40*time.Second || ctx.Err() != nil {
				t.Errorf("%s: %s are left of 40 s; after the caller left: %v", method, left, ctx.Err())
			}
			return coordinator.PutResult{}, nil
		}
		req := httptest.NewRequest(method, testKey+"?timeout=40s", nil).WithContext(ctx)
		f.server.Handler().ServeHTTP(httptest.NewRecorder(), req)
		if !called || ctx.Err() == nil {
			t.Errorf("%s: the KV was not called", method)
		}
	}
}

// TestExpectContinue: a refusal comes instead of the 100, which otherwise
// comes before the body is sent.
func TestExpectContinue(t *testing.T) {
	f := serve(t, func(o *Options) { o.MaxValueBytes = 10 })
	for head, want := range map[string]string{
		"Content-Length: 11\r\n":               "HTTP/1.1 413",
		"Content-Length: 5\r\nIf-Match: *\r\n": "HTTP/1.1 400",
		"Content-Length: 5\r\n":                "HTTP/1.1 100",
		"Transfer-Encoding: chunked\r\n":       "HTTP/1.1 100",
	} {
		conn := f.dial()
		request := "PUT " + testKey + " HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" + head + "\r\n"
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, want) {
			t.Fatalf("%q: %q %v, want %s", head, line, err, want)
		}
		if strings.HasSuffix(want, "100") {
			body := "hello"
			if strings.HasPrefix(head, "Transfer") {
				body = chunked(body)
			}
			if _, err := io.WriteString(conn, body); err != nil {
				t.Fatal(err)
			}
			if line, err = r.ReadString('\n'); err != nil || line != "\r\n" {
				t.Fatalf("after the 100: %q %v", line, err)
			}
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != 204 {
				t.Fatalf("%v %v", resp, err)
			}
		}
		conn.Close()
	}
	if n := f.kv.calls(); n != 2 {
		t.Errorf("the KV was called %d times", n)
	}
}
