package api

import (
	"bytes"
	"encoding/base64"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"strings"
	"testing"
	"time"
)

const testKey = "/v1/buckets/b/keys/k"

// TestSiblingConversation: two writers that do not know of each other, a
// reader in each form, a resolution, a delete and a write after it.
func TestSiblingConversation(t *testing.T) {
	f := serve(t)
	absent := f.do("GET", testKey, "")
	absent.wantProblem(404, "key-not-found")
	if c := f.seen(absent, "k"); !c.Empty() {
		t.Errorf("the context of an absent key has seen %v", c)
	}

	first := f.do("PUT", testKey, "milk", withContext(absent.context()), "Content-Type: text/plain", "X-Starling-Meta-From: Anna").want(204)
	one := f.do("GET", testKey, "").want(200).wantBody("milk")
	f.now.advance(time.Second)
	f.do("PUT", testKey, "milk, eggs", withContext(one.context()), "Content-Type: text/plain").want(204)
	f.now.advance(time.Second)
	second := f.do("PUT", testKey, "\xff\x00", withContext(first.context())).want(204)

	two := f.do("GET", testKey, "").want(300)
	two.wantHeader("Content-Type", "application/json").wantHeader("Vary", "Accept").
		wantHeader("Last-Modified", "Mon, 02 Nov 2026 10:00:02 GMT")
	var doc siblingsDoc
	two.decode(&doc)
	if doc.Context != two.context() || len(doc.Siblings) != 2 {
		t.Fatalf("%s", two.body)
	}
	a, b := doc.Siblings[0], doc.Siblings[1]
	if a.Value != "milk, eggs" || a.Encoding != "utf-8" || a.ContentType != "text/plain" || a.Modified != "2026-11-02T10:00:01.125Z" || a.Dot == b.Dot {
		t.Errorf("first sibling %+v", a)
	}
	raw, err := base64.StdEncoding.DecodeString(b.Value)
	if err != nil || string(raw) != "\xff\x00" || b.Encoding != "base64" || b.ContentType != "application/octet-stream" {
		t.Errorf("second sibling %+v", b)
	}
	// What the second writer was told does not cover what it has not read.
	if c := f.seen(second, "k"); c.Covers(f.kv.objects["b/k"].Siblings[0].Dot) || !c.Covers(f.kv.objects["b/k"].Siblings[1].Dot) {
		t.Errorf("the second writer's context %v", c)
	}

	parts := readMultipart(t, f.do("GET", testKey, "", "Accept: multipart/mixed").want(300))
	if !maps.Equal(parts, map[string]string{"milk, eggs": "text/plain", "\xff\x00": "application/octet-stream"}) {
		t.Errorf("parts %q", parts)
	}

	f.do("PUT", testKey, "milk, eggs, \xff", withContext(two.context())).want(204)
	resolved := f.do("GET", testKey, "").want(200).wantBody("milk, eggs, \xff")
	f.do("DELETE", testKey, "", withContext(resolved.context())).want(204)
	gone := f.do("GET", testKey, "")
	gone.wantProblem(404, "key-not-found")
	if c := f.seen(gone, "k"); c.Empty() {
		t.Error("the context of a deleted key has seen nothing")
	}
	f.do("PUT", testKey, "again", withContext(gone.context())).want(204)
	f.do("GET", testKey, "").want(200).wantBody("again")
	if n := len(f.kv.objects["b/k"].Siblings); n != 1 {
		t.Errorf("%d siblings are left, the tombstone among them", n)
	}
}

// TestDeleteLosesToAConcurrentWrite, and the value's context covers the tombstone.
func TestDeleteLosesToAConcurrentWrite(t *testing.T) {
	f := serve(t)
	old := f.do("PUT", testKey, "old").want(204)
	f.do("DELETE", testKey, "", withContext(old.context())).want(204)
	f.do("PUT", testKey, "new", withContext(old.context())).want(204)
	value := f.do("GET", testKey, "").want(200).wantBody("new")
	f.do("PUT", testKey, "newer", withContext(value.context())).want(204)
	if n := len(f.kv.objects["b/k"].Siblings); n != 1 {
		t.Errorf("%d siblings are left", n)
	}
}

// TestDeleteWithoutContextReadsFirst, but one that has seen nothing deletes nothing.
func TestDeleteWithoutContextReadsFirst(t *testing.T) {
	f := serve(t)
	absent := f.do("GET", testKey, "").want(404)
	f.do("PUT", testKey, "v").want(204)
	f.do("DELETE", testKey, "", withContext(absent.context())).want(204)
	if f.kv.lastPut().ReadFirst {
		t.Error("a DELETE with a context read first")
	}
	f.do("GET", testKey, "").want(200).wantBody("v")
	a := f.do("DELETE", testKey, "").want(204).wantHeader("X-Starling-Coordinator", "n2").
		wantHeader("X-Starling-Replicas", "acked=2 hinted=0 required=2")
	if put := f.kv.lastPut(); !put.ReadFirst || !put.Sibling.Tombstone || put.Sibling.ContentType != "" {
		t.Errorf("put %+v", put)
	}
	f.do("GET", testKey, "").want(404)
	f.do("DELETE", testKey, "", "Prefer: return=representation").want(204) // receipts are for a PUT
	f.do("DELETE", testKey, "", "X-Starling-Context:").want(204)
	if !f.kv.lastPut().ReadFirst {
		t.Error("an empty context counts as one")
	}
	f.do("PUT", testKey, "w", withContext(a.context())).want(204)
	f.do("GET", testKey, "").want(200).wantBody("w")
}

// TestSiblingCap: 409, and a write with the context of a read gets through.
func TestSiblingCap(t *testing.T) {
	f := serve(t)
	for range testLimits.Siblings {
		f.do("PUT", testKey, "v").want(204)
	}
	doc := f.do("PUT", testKey, "v").wantProblem(409, "too-many-siblings", "nothing was written", "context")
	if doc["retryable"] != false {
		t.Errorf("%v", doc)
	}
	f.do("PUT", testKey, "one", withContext(f.do("GET", testKey, "").want(300).context())).want(204)
	f.do("GET", testKey, "").want(200).wantBody("one")
}

// TestMetadataOfSiblings is given back in both forms, as is the time of expiry.
func TestMetadataOfSiblings(t *testing.T) {
	f := serve(t)
	f.do("PUT", testKey, "a", "X-Starling-Meta-aUTHOR: Zoë").want(204)
	f.do("PUT", testKey+"?ttl=1h", "b", "X-Starling-Meta-Author: Bob", "X-Starling-Meta-x_Y: z").want(204)
	var doc siblingsDoc
	f.do("GET", testKey, "").want(300).decode(&doc)
	a, b := doc.Siblings[0], doc.Siblings[1]
	if !maps.Equal(a.Meta, map[string]string{"author": "Zoë"}) || a.ExpiresAt != "" {
		t.Errorf("%+v", a)
	}
	if !maps.Equal(b.Meta, map[string]string{"author": "Bob", "x_y": "z"}) || b.ExpiresAt != "2026-11-02T11:00:00.125Z" {
		t.Errorf("%+v", b)
	}
	answer := f.do("GET", testKey, "", "Accept: multipart/*").want(300)
	_, params, err := mime.ParseMediaType(answer.header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	r := multipart.NewReader(bytes.NewReader(answer.body), params["boundary"])
	first, err := r.NextPart()
	if err != nil || first.Header.Get("X-Starling-Meta-Author") != "Zoë" || first.Header.Get(hDot) != a.Dot {
		t.Errorf("%v %v", first, err)
	}
	second, err := r.NextPart()
	if err != nil || second.Header.Get(hExpires) != b.ExpiresAt || second.Header.Get("X-Starling-Meta-X_y") != "z" {
		t.Errorf("%v %v", second, err)
	}
}

// readMultipart is the content type of each part by its value.
func readMultipart(t *testing.T, a *answer) map[string]string {
	t.Helper()
	typ, params, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || typ != "multipart/mixed" {
		t.Fatalf("Content-Type %q: %v", a.header.Get("Content-Type"), err)
	}
	parts := map[string]string{}
	r := multipart.NewReader(bytes.NewReader(a.body), params["boundary"])
	for {
		part, err := r.NextPart()
		if err == io.EOF {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		value, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		if part.Header.Get("Last-Modified") == "" || part.Header.Get(hDot) == "" {
			t.Errorf("part headers %v", part.Header)
		}
		parts[string(value)] = part.Header.Get("Content-Type")
	}
}

// TestNegotiation: which form siblings have for an Accept. The HTTP answer
// must agree with the pure function.
func TestNegotiation(t *testing.T) {
	f := serve(t)
	f.do("PUT", testKey, "a").want(204)
	f.do("PUT", testKey, "b").want(204)
	for accept, want := range map[string]form{
		"*/*":                               formJSON,
		"":                                  formNone,
		"application/json":                  formJSON,
		"APPLICATION/JSON; charset=utf-8":   formJSON,
		"application/*":                     formJSON,
		"multipart/mixed":                   formMultipart,
		"Multipart/Mixed":                   formMultipart,
		"multipart/*":                       formMultipart,
		"multipart/mixed, */*":              formMultipart,
		"multipart/mixed;q=0.5, */*":        formJSON,
		"multipart/mixed, application/json": formMultipart,
		"application/json, multipart/mixed": formMultipart,
		"application/json, multipart/mixed;q=0.9":      formJSON,
		"application/json;q=0.8, multipart/mixed;q=.9": formMultipart,
		"multipart/mixed;q=0, */*":                     formJSON,
		"application/json;q=0, */*;q=0.1":              formMultipart,
		"application/json;q=0":                         formNone,
		"multipart/mixed;q=0":                          formNone,
		"text/html":                                    formNone,
		"text/html, */*;q=0.1":                         formJSON,
		"text/html;q=1, multipart/mixed;q=0.001":       formMultipart,
		"multipart/form-data":                          formNone,
		"*/json":                                       formNone,
		"garbage":                                      formNone,
		"application/json;q=2":                         formNone,
		"application/json;q=nan":                       formNone,
		"application/json;q=x, multipart/mixed;q=0.1":  formMultipart,
		", ,application/json;level=1;q=0.3 , ":         formJSON,
	} {
		if got := negotiate([]string{accept}); got != want {
			t.Errorf("negotiate(%q) = %d, want %d", accept, got, want)
		}
		for _, method := range []string{"GET", "HEAD"} {
			a := f.do(method, testKey, "", "Accept: "+accept)
			switch contentType := a.header.Get("Content-Type"); {
			case want == formNone && a.status == 406 && a.context() != "":
			case want == formJSON && a.status == 300 && contentType == "application/json":
			case want == formMultipart && a.status == 300 && strings.HasPrefix(contentType, "multipart/mixed; boundary="):
			default:
				t.Errorf("%s with Accept %q: %d %s", method, accept, a.status, contentType)
			}
		}
	}
	if negotiate(nil) != formJSON || negotiate([]string{"text/html", "multipart/mixed"}) != formMultipart {
		t.Error("without Accept, or with two lines of it")
	}
	f.do("GET", testKey, "", "Accept: text/html").wantProblem(406, "not-acceptable", "2 siblings", "multipart/mixed or application/json")
	// A single value is what it is.
	f.do("PUT", testKey, "one", withContext(f.do("GET", testKey, "").context())).want(204)
	f.do("GET", testKey, "", "Accept: text/html").want(200).wantBody("one")
}
