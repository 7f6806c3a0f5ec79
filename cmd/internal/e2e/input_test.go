package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// raw sends a request whose path arrives exactly as it is written here.
func (c *cluster) raw(method, target string, body io.Reader, header ...string) answer {
	c.t.Helper()
	req, err := http.NewRequest(method, c.url(1, "/"), body)
	if err != nil {
		c.t.Fatal(err)
	}
	path, query, _ := strings.Cut(target, "?")
	req.URL = &url.URL{Scheme: "http", Host: req.URL.Host, Opaque: path, RawQuery: query}
	for k := 0; k < len(header); k += 2 {
		req.Header.Set(header[k], header[k+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatalf("%s %.80s: %v", method, target, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("%s %.80s: %v", method, target, err)
	}
	return answer{resp, b}
}

// unsized hides a body's length, so that it is sent in chunks.
type unsized struct{ io.Reader }

// Each bad input has its documented answer, and stores nothing.
func TestBadInputIsRefusedAndStoresNothing(t *testing.T) {
	t.Parallel()
	c := up(t, 3)
	foreign := c.raw("GET", keys+"another", nil).context()
	mebibyte := strings.Repeat("v", 1<<20)
	for _, tt := range []struct {
		name, method, target string
		body                 io.Reader
		header               []string
		want                 int
		says                 string
	}{
		{"forged context", "PUT", keys + "bad", nil, []string{"X-Starling-Context", strings.Repeat("A", 60)}, 400, "context"},
		{"truncated context", "PUT", keys + "bad", nil, []string{"X-Starling-Context", foreign[:len(foreign)-5]}, 400, "context"},
		{"context of another key", "PUT", keys + "bad", nil, []string{"X-Starling-Context", foreign}, 400, "context"},
		{"context of 1 MiB", "PUT", keys + "bad", nil, []string{"X-Starling-Context", mebibyte}, 400, "context"},
		{"key of 1025 bytes", "PUT", keys + strings.Repeat("k", 1025), nil, nil, 400, "1024"},
		{"no key", "PUT", keys, nil, nil, 400, "key"},
		{"bad bucket", "PUT", "/v1/buckets/b%20b/keys/bad", nil, nil, 400, "bucket"},
		{"one byte too many", "PUT", keys + "bad", strings.NewReader(mebibyte + "v"), nil, 413, ""},
		{"one byte too many, chunked", "PUT", keys + "bad", unsized{strings.NewReader(mebibyte + "v")}, nil, 413, ""},
		{"unknown parameter", "PUT", keys + "bad?colour=red", nil, nil, 400, "colour"},
		{"repeated parameter", "PUT", keys + "bad?w=1&w=2", nil, nil, 400, "w"},
		{"w=9", "PUT", keys + "bad?w=9", nil, nil, 400, "w"},
		{"r=0", "GET", keys + "bad?r=0", nil, nil, 400, "r"},
		{"unknown level", "PUT", keys + "bad?consistency=most", nil, nil, 400, "consistency"},
		{"bad timeout", "PUT", keys + "bad?timeout=soon", nil, nil, 400, "timeout"},
		{"wrong method", "POST", keys + "bad", nil, nil, 405, ""},
		{"no such route", "GET", "/v2/buckets", nil, nil, 404, ""},
	} {
		a := c.raw(tt.method, tt.target, tt.body, tt.header...)
		if a.StatusCode != tt.want {
			t.Errorf("%s: status %d, want %d: %.300s", tt.name, a.StatusCode, tt.want, a.body)
			continue
		}
		if p := a.problem(t); p.Status != tt.want || !strings.HasPrefix(p.Type, "/problems/") || !strings.Contains(p.Detail, tt.says) {
			t.Errorf("%s: problem %+v, want the status and %q in the detail", tt.name, p, tt.says)
		}
	}
	// What is no HTTP at all never reaches a handler: net/http answers itself.
	if a := c.raw("PUT", keys+"bad%zz", nil); a.StatusCode != 400 {
		t.Errorf("bad escape: status %d, want 400: %s", a.StatusCode, a.body)
	}
	for i := 1; i <= 3; i++ {
		if a := c.do(404, "GET", i, keys+"bad?consistency=one", ""); a.context() == "" {
			t.Errorf("n%d: a 404 without a context", i)
		}
	}
}

// Unusual keys and values arrive and come back exactly.
func TestUnusualKeysAndValues(t *testing.T) {
	t.Parallel()
	c := up(t, 3)
	for i, tt := range []struct{ write, read string }{
		{"a/b", "a%2Fb"},
		{"a%252Fb", "a%252%46b"},
		{"nul%00nul", "nul%00nul"},
		{"gr%C3%BC%C3%9Fe/%E6%98%9F", "gr%c3%bc%c3%9fe%2f%e6%98%9f"},
		{"../up/./here//twice", "..%2Fup%2F.%2Fhere%2F%2Ftwice"},
		{strings.Repeat("k", 1024), strings.Repeat("%6B", 1024)},
	} {
		value := fmt.Sprint("value ", i)
		if a := c.raw("PUT", keys+tt.write, strings.NewReader(value)); a.StatusCode != 204 {
			t.Errorf("PUT %.40s: %d %s", tt.write, a.StatusCode, a.body)
		}
		if a := c.raw("GET", keys+tt.read, nil); a.StatusCode != 200 || string(a.body) != value {
			t.Errorf("GET %.40s: %d %s, want %q", tt.read, a.StatusCode, a.body, value)
		}
	}
	for name, value := range map[string][]byte{"empty": {}, "full": bytes.Repeat([]byte{0xff}, 1<<20)} {
		for form, body := range map[string]io.Reader{"sized": bytes.NewReader(value), "chunked": unsized{bytes.NewReader(value)}} {
			key := keys + name + form
			if a := c.raw("PUT", key, body, "Content-Type", "application/x-odd"); a.StatusCode != 204 {
				t.Errorf("PUT %s %s: %d %s", name, form, a.StatusCode, a.body)
			}
			if a := c.raw("GET", key, nil); a.StatusCode != 200 || !bytes.Equal(a.body, value) || a.Header.Get("Content-Type") != "application/x-odd" {
				t.Errorf("GET %s %s: %d, %d bytes of %s", name, form, a.StatusCode, len(a.body), a.Header.Get("Content-Type"))
			}
		}
	}
}

// A stale context and none at all are good input: they make siblings.
func TestStaleAndMissingContextsMakeSiblings(t *testing.T) {
	t.Parallel()
	c := up(t, 3)
	stale := c.raw("PUT", keys+"k", strings.NewReader("1")).context()
	c.raw("PUT", keys+"k", strings.NewReader("2"), "X-Starling-Context", stale)
	if a := c.raw("PUT", keys+"k", strings.NewReader("3"), "X-Starling-Context", stale); a.StatusCode != 204 {
		t.Fatalf("stale context: %d %s", a.StatusCode, a.body)
	}
	if a := c.raw("PUT", keys+"k", strings.NewReader("4")); a.StatusCode != 204 {
		t.Fatalf("no context: %d %s", a.StatusCode, a.body)
	}
	a := c.raw("GET", keys+"k", nil)
	for _, v := range []string{`"2"`, `"3"`, `"4"`} {
		if a.StatusCode != 300 || !strings.Contains(string(a.body), v) {
			t.Errorf("GET: %d %s, want sibling %s", a.StatusCode, a.body, v)
		}
	}
	if strings.Contains(string(a.body), `"1"`) {
		t.Errorf("the superseded value is still there: %s", a.body)
	}
}
