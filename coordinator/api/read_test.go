package api

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"starling/coordinator"
)

// TestValueRoundTrip: a value comes back as it was written, with all that is
// kept with it, and cannot run in a browser.
func TestValueRoundTrip(t *testing.T) {
	f := serve(t)
	f.do("PUT", testKey+"?ttl=90m", "<script>", "Content-Type: text/html; charset=utf-8", "X-Starling-Meta-AUTHOR:  Zoë ", "X-Starling-Meta-Empty:").want(204)
	a := f.do("GET", testKey, "").want(200).wantBody("<script>")
	for name, value := range map[string]string{
		"Content-Type":            "text/html; charset=utf-8",
		"Content-Length":          "8",
		"X-Starling-Meta-Author":  "Zoë",
		"X-Starling-Meta-Empty":   "",
		"Last-Modified":           "Mon, 02 Nov 2026 10:00:00 GMT",
		"Starling-Expires-At":     "2026-11-02T11:30:00.125Z",
		"X-Content-Type-Options":  "nosniff",
		"Content-Security-Policy": "default-src 'none'; sandbox",
		"Cache-Control":           "no-cache",
		"X-Starling-Replicas":     "acked=2 hinted=0 required=2",
		"X-Starling-Coordinator":  "n1",
	} {
		a.wantHeader(name, value)
	}
	if _, ok := a.header["X-Starling-Meta-Empty"]; !ok {
		t.Error("empty metadata was lost")
	}
	head := f.do("HEAD", testKey, "").want(200).wantHeader("Content-Length", "8").wantBody("")
	for _, name := range []string{"Etag", hContext, "Content-Type", hExpires, "X-Starling-Meta-Author", "Last-Modified"} {
		head.wantHeader(name, a.header.Get(name))
	}
	if got := f.kv.objects["b/k"].Siblings[0].Meta; len(got) != 2 || got[0].Name != "author" || got[1].Name != "empty" {
		t.Errorf("stored metadata %v", got)
	}
	f.now.advance(90 * time.Minute)
	gone := f.do("GET", testKey, "")
	gone.wantProblem(404, "key-not-found")
	gone.wantHeader("X-Starling-Context", a.context()).wantHeader("Etag", "")
}

// TestHintedReads: answers from hints are told from those of owners.
func TestHintedReads(t *testing.T) {
	f := serve(t)
	f.kv.onGet = func(context.Context, coordinator.GetRequest) (coordinator.GetResult, error) {
		return coordinator.GetResult{Received: 3, Hinted: 1, Required: 2}, nil
	}
	f.do("GET", testKey, "").want(404).wantHeader("X-Starling-Replicas", "acked=2 hinted=1 required=2")
}

// TestValues of awkward sizes and forms.
func TestValues(t *testing.T) {
	f := serve(t)
	for name, value := range map[string]string{
		"empty": "", "zero": "\x00", "first read": strings.Repeat("f", firstReadBytes), "over it": strings.Repeat("o", firstReadBytes+1),
		"one mebibyte": strings.Repeat("m", 1<<20), "http": "HTTP/1.1 200 OK\r\n\r\n",
	} {
		key := "/v1/buckets/b/keys/" + strings.ReplaceAll(name, " ", "%20")
		f.do("PUT", key, value, "Content-Length: "+strconv.Itoa(len(value))).want(204)
		a := f.do("GET", key, "").want(200).wantHeader("Content-Length", strconv.Itoa(len(value)))
		if string(a.body) != value {
			t.Errorf("%s: got %d bytes back", name, len(a.body))
		}
		f.do("PUT", key, chunked(value), "Transfer-Encoding: chunked", withContext(a.context())).want(204)
		a = f.do("GET", key, "").want(200)
		if string(a.body) != value {
			t.Errorf("%s, chunked: got %d bytes back", name, len(a.body))
		}
		stored := f.kv.lastPut().Sibling.Value
		if cap(stored) > 2*len(value)+8<<10 {
			t.Errorf("%s: %d bytes are kept for a value of %d", name, cap(stored), len(value))
		}
	}
	// A PUT without any framing has an empty body.
	f.raw("PUT /v1/buckets/b/keys/bare HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").want(204)
	f.do("GET", "/v1/buckets/b/keys/bare", "").want(200).wantBody("")
	f.do("PUT", "/v1/buckets/b/keys/over", strings.Repeat("x", 1<<20+1)).wantProblem(413, "value-too-large", "1048576")
	before := f.kv.calls()
	f.raw("PUT /v1/buckets/b/keys/old HTTP/1.0\r\nHost: x\r\n\r\nvalue").wantProblem(411, "length-required")
	if f.kv.calls() != before {
		t.Error("an HTTP/1.0 PUT without length reached the KV")
	}
	f.raw("PUT /v1/buckets/b/keys/old HTTP/1.0\r\nHost: x\r\nContent-Length: 5\r\n\r\nvalue").want(204)
}

// TestETags: a tag is as stable as what it stands for.
func TestETags(t *testing.T) {
	f := serve(t)
	put := f.do("PUT", testKey, "a").want(204)
	a := f.do("GET", testKey, "").want(200).wantHeader("Etag", put.header.Get("Etag"))
	first := a.header.Get("Etag")
	f.do("GET", testKey, "").wantHeader("Etag", first)
	for value, status := range map[string]int{
		first: 304, "W/" + first: 304, "*": 304, `"x", ` + first: 304, `W/"x",W/` + first: 304, `"x"` + "," + first + `,"y"`: 304,
		`"x"`: 200, "": 200, `"x`: 200, strings.Trim(first, `"`): 200, `"x" junk ` + first: 200, `"*"`: 200, first[:5] + `"`: 200,
	} {
		for _, method := range []string{"GET", "HEAD"} {
			got := f.do(method, testKey, "", "If-None-Match: "+value).want(status).wantHeader("Etag", first).wantHeader(hContext, a.context())
			if status == 304 {
				got.wantBody("").wantHeader("Content-Type", "")
			}
		}
	}
	f.do("PUT", testKey, "a", withContext(a.context())).want(204)
	second := f.do("GET", testKey, "", "If-None-Match: "+first).want(200).header.Get("Etag")
	if second == first {
		t.Error("the tag of the same bytes written again is the same")
	}
	// Two siblings, one of which expires: the vector stays, the tag must not.
	f.do("PUT", testKey+"?ttl=1m", "b").want(204)
	two := f.do("GET", testKey, "", "If-None-Match: "+second).want(300)
	tag := two.header.Get("Etag")
	if !strings.HasPrefix(tag, `W/"`) {
		t.Errorf("siblings have the strong tag %s", tag)
	}
	f.do("GET", testKey, "", "If-None-Match: "+tag, "Accept: multipart/mixed").want(304).wantHeader(hContext, two.context()).wantHeader("Vary", "Accept")
	f.do("GET", testKey, "", "If-None-Match: "+tag, "Accept: text/html").want(406)
	f.now.advance(time.Minute)
	one := f.do("GET", testKey, "", "If-None-Match: "+tag).want(200).wantBody("a").wantHeader(hContext, two.context())
	if one.header.Get("Etag") == strings.TrimPrefix(tag, "W/") {
		t.Error("the tag did not change when a sibling expired")
	}
	f.do("DELETE", testKey, "").want(204)
	f.do("GET", testKey, "", "If-None-Match: *").want(404)
}

// TestSession: the context of a GET is what the read must not be older than.
func TestSession(t *testing.T) {
	f := serve(t)
	token := f.do("PUT", testKey, "v").want(204).context()
	f.do("GET", testKey, "", withContext(token)).want(200)
	if got := f.kv.lastGet().Session; len(got.Vector) != 1 || got.Vector[0].Actor != testActor {
		t.Errorf("session %v", got)
	}
	f.do("HEAD", testKey, "", withContext(token)).want(200)
	delete(f.kv.objects, "b/k") // a replica that lags
	doc := f.do("GET", testKey, "", withContext(token)).wantProblem(412, "context-not-visible", "Try again later")
	if doc["retryable"] != true {
		t.Errorf("%v", doc)
	}
	f.do("GET", testKey, "").want(404)
}

// TestReadDeadline: reads run under the timeout asked for and end with their caller.
func TestReadDeadline(t *testing.T) {
	f := serve(t, func(o *Options) { o.DefaultTimeout = 3 * time.Second })
	left := make(chan time.Duration, 1)
	f.kv.onGet = func(ctx context.Context, _ coordinator.GetRequest) (coordinator.GetResult, error) {
		deadline, ok := ctx.Deadline()
		if !ok {
			t.Error("no deadline")
		}
		left <- time.Until(deadline)
		return coordinator.GetResult{}, nil
	}
	f.do("GET", testKey+"?timeout=40s", "").want(404)
	if d := <-left; d < 30*time.Second || d > 40*time.Second {
		t.Errorf("%s are left of 40 s", d)
	}
	f.do("GET", testKey, "").want(404)
	if d := <-left; d < time.Second || d > 3*time.Second {
		t.Errorf("%s are left of the default", d)
	}
	started, ended := make(chan struct{}), make(chan error, 1)
	f.kv.onGet = func(ctx context.Context, _ coordinator.GetRequest) (coordinator.GetResult, error) {
		close(started)
		<-ctx.Done()
		ended <- ctx.Err()
		return coordinator.GetResult{}, ctx.Err()
	}
	conn := f.dial()
	if _, err := conn.Write([]byte("GET " + testKey + "?timeout=50s HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	<-started
	conn.Close()
	if err := <-ended; err != context.Canceled {
		t.Errorf("a read whose caller went away ended with %v", err)
	}
}
