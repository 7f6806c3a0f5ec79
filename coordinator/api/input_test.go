package api

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"starling/store/version"
)

// TestKeysAreDecodedOnce: the KV gets the key that the API promises for a
// path, from PUT, GET, HEAD, DELETE and /v1/ring alike.
func TestKeysAreDecodedOnce(t *testing.T) {
	f := serve(t)
	long := strings.Repeat("k", maxKeyBytes)
	for path, key := range map[string]string{
		"a":                                "a",
		"a/b":                              "a/b",
		"a%2Fb":                            "a/b",
		"a%2fb":                            "a/b",
		"a%252Fb":                          "a%2Fb",
		"%00":                              "\x00",
		"a%00/%00":                         "a\x00/\x00",
		"caf%C3%A9":                        "café",
		"café":                             "café",
		"café%2Fx%252F":                    "café/x%2F",
		"%ff%FE":                           "\xff\xfe",
		"..":                               "..",
		".":                                ".",
		"../../v1/cluster":                 "../../v1/cluster",
		"a/../b":                           "a/../b",
		"a/./b":                            "a/./b",
		"/":                                "/",
		"//a":                              "//a",
		"a//b":                             "a//b",
		"a/":                               "a/",
		"%2F":                              "/",
		"%2E%2E%2F":                        "../",
		"a+b":                              "a+b",
		"a%20b":                            "a b",
		"a%3Fb%23c":                        "a?b#c",
		"a;b=c&d":                          "a;b=c&d",
		"keys/keys/":                       "keys/keys/",
		"*":                                "*",
		"{key}":                            "{key}",
		long:                               long,
		strings.Repeat("%6b", maxKeyBytes): long,
	} {
		for _, method := range []string{"PUT", "GET", "HEAD", "DELETE"} {
			before := f.kv.calls()
			a := f.do(method, "/v1/buckets/b/keys/"+path, "")
			if a.status >= 400 || f.kv.calls() != before+1 {
				t.Errorf("%s %q: answered %d after %d calls: %s", method, path, a.status, f.kv.calls()-before, a.body)
				continue
			}
			got := ""
			if method == "PUT" || method == "DELETE" {
				got = f.kv.lastPut().Key
			} else {
				got = f.kv.lastGet().Key
			}
			if got != key {
				t.Errorf("%s %q: key %q, want %q", method, path, got, key)
			}
		}
		f.do("GET", "/v1/ring/b/"+path, "").want(200)
	}
}

// TestBucketNames: the bounds of a bucket's name.
func TestBucketNames(t *testing.T) {
	f := serve(t)
	for _, bucket := range []string{"b", "A-Z.a_z-09", ".", "..", strings.Repeat("x", 64), "%62"} {
		f.do("PUT", "/v1/buckets/"+bucket+"/keys/k", "v").want(204)
	}
	for _, bucket := range []string{"", strings.Repeat("x", 65), "a%2Fb", "a b", "%20", "é", "%C3%A9", "a%00", "a:b", "a+b", "%2e%2e%2f", "b%2Fkeys%2Fé"} {
		before := f.kv.calls()
		target := "/v1/buckets/" + strings.ReplaceAll(bucket, " ", "%20") + "/keys/k"
		f.do("PUT", target, "v").wantProblem(400, "bad-bucket", "1 to 64")
		f.do("GET", strings.Replace(target, "/keys/", "/keys/é", 1), "").wantProblem(400, "bad-bucket")
		if f.kv.calls() != before {
			t.Errorf("bucket %q reached the KV", bucket)
		}
	}
}

// TestRefusedRequests: everything that is wrong with a request has its
// documented answer, says what, and never reaches the KV.
func TestRefusedRequests(t *testing.T) {
	const limit = 4096
	f := serve(t, func(o *Options) { o.MaxValueBytes = limit })
	secret := f.cluster.Map().Settings.Secret
	other := version.Context{Vector: version.Vector{{Actor: testActor, Seq: 3}}}
	good := version.Seal(secret[:], "b", "k", other)
	forged := version.Seal(make([]byte, 32), "b", "k", other)
	key := "/v1/buckets/b/keys/k"
	meta := func(n int, value string) (lines []string) {
		for i := range n {
			lines = append(lines, fmt.Sprintf("X-Starling-Meta-F%d: %s", i, value))
		}
		return lines
	}
	tests := []struct {
		name, method, target, body string
		headers                    []string
		status                     int
		slug                       string
		words                      []string
	}{
		{"empty key", "GET", "/v1/buckets/b/keys/", "", nil, 400, "bad-key", []string{"0 bytes"}},
		{"key of 1025 bytes", "GET", "/v1/buckets/b/keys/" + strings.Repeat("k", 1025), "", nil, 400, "bad-key", []string{"1025 bytes", "1 to 1024"}},
		{"key of 1025 bytes, escaped", "PUT", "/v1/buckets/b/keys/" + strings.Repeat("%00", 1025), "v", nil, 400, "bad-key", []string{"1025"}},
		{"empty key of the ring", "GET", "/v1/ring/b/", "", nil, 400, "bad-key", nil},
		{"empty bucket of the ring", "GET", "/v1/ring//k", "", nil, 400, "bad-bucket", nil},

		{"no such route", "GET", "/v2", "", nil, 404, "no-such-resource", nil},
		{"post to the console", "POST", "/", "", nil, 405, "method-not-allowed", []string{"GET, HEAD"}},
		{"no such file of the console", "GET", "/console/none.js", "", nil, 404, "no-such-resource", nil},
		{"no key in the path", "GET", "/v1/buckets/b/key", "", nil, 404, "no-such-resource", nil},
		{"no keys in the path", "GET", "/v1/buckets/b/", "", nil, 404, "no-such-resource", nil},
		{"dot segments are not cleaned", "GET", "/v1/buckets/../cluster", "", nil, 404, "no-such-resource", nil},
		{"post", "POST", key, "v", nil, 405, "method-not-allowed", []string{"DELETE, GET, HEAD, PUT"}},
		{"patch", "PATCH", key, "v", nil, 405, "method-not-allowed", nil},
		{"options", "OPTIONS", key, "", nil, 405, "method-not-allowed", nil},
		{"unknown method", "BREW", key, "", nil, 405, "method-not-allowed", nil},
		{"unknown method, unknown path", "BREW", "/tea", "", nil, 404, "no-such-resource", nil},
		{"put to the ring", "PUT", "/v1/ring", "v", nil, 405, "method-not-allowed", []string{"GET, HEAD"}},

		{"unknown parameter", "GET", key + "?foo=1", "", nil, 400, "bad-parameter", []string{`"foo"`, "a GET takes consistency, r, pr, sloppy, timeout, previous, conflicts"}},
		{"unknown parameter without value", "GET", key + "?foo", "", nil, 400, "bad-parameter", []string{`"foo"`}},
		{"empty name", "GET", key + "?=1", "", nil, 400, "bad-parameter", nil},
		{"case matters", "GET", key + "?R=1", "", nil, 400, "bad-parameter", []string{`"R"`}},
		{"parameter twice", "GET", key + "?r=1&r=1", "", nil, 400, "bad-parameter", []string{`"r"`, "twice"}},
		{"parameter twice, escaped", "GET", key + "?r=1&%72=2", "", nil, 400, "bad-parameter", []string{`"r"`, "twice"}},
		{"semicolon", "GET", key + "?r=1;pr=1", "", nil, 400, "bad-parameter", []string{"malformed"}},
		{"bad escape in a value", "GET", key + "?r=%zz", "", nil, 400, "bad-parameter", []string{`"r"`}},
		{"bad escape in a name", "GET", key + "?%zz=1", "", nil, 400, "bad-parameter", nil},
		{"long unknown name", "GET", key + "?" + strings.Repeat("x", 5000) + "=1", "", nil, 400, "bad-parameter", nil},
		{"w on a read", "GET", key + "?w=1", "", nil, 400, "bad-parameter", []string{`"w"`, "a GET takes"}},
		{"pw on a read", "HEAD", key + "?pw=1", "", nil, 400, "", nil},
		{"ttl on a read", "GET", key + "?ttl=1h", "", nil, 400, "bad-parameter", nil},
		{"r on a put", "PUT", key + "?r=1", "v", nil, 400, "bad-parameter", []string{"a PUT takes consistency, w, pw, sloppy, timeout, ttl, conflicts"}},
		{"r on a delete with a context", "DELETE", key + "?r=1", "", []string{withContext(good)}, 400, "bad-parameter", []string{"a DELETE takes consistency, w, pw"}},
		{"ttl on a delete", "DELETE", key + "?ttl=1h", "", nil, 400, "bad-parameter", nil},
		{"w=9", "PUT", key + "?w=9", "v", nil, 400, "bad-parameter", []string{`w="9"`, "1 to 3"}},
		{"w=4 of 3", "PUT", key + "?w=4", "v", nil, 400, "bad-parameter", []string{"1 to 3"}},
		{"w=0", "PUT", key + "?w=0", "v", nil, 400, "bad-parameter", []string{"1 to 3"}},
		{"w=-1", "PUT", key + "?w=-1", "v", nil, 400, "bad-parameter", nil},
		{"w=01", "PUT", key + "?w=01", "v", nil, 400, "bad-parameter", nil},
		{"w empty", "PUT", key + "?w=", "v", nil, 400, "bad-parameter", nil},
		{"w without value", "PUT", key + "?w", "v", nil, 400, "bad-parameter", nil},
		{"pw=x", "PUT", key + "?pw=x", "v", nil, 400, "bad-parameter", []string{"pw"}},
		{"r=4", "GET", key + "?r=4", "", nil, 400, "bad-parameter", []string{"1 to 3"}},
		{"pr=1.5", "GET", key + "?pr=1.5", "", nil, 400, "bad-parameter", nil},
		{"unknown level", "GET", key + "?consistency=most", "", nil, 400, "bad-parameter", []string{"one, two, three, quorum, all"}},
		{"level in capitals", "GET", key + "?consistency=ONE", "", nil, 400, "bad-parameter", nil},
		{"empty level", "PUT", key + "?consistency=", "v", nil, 400, "bad-parameter", nil},
		{"any is for writes", "GET", key + "?consistency=any", "", nil, 400, "bad-parameter", []string{"any is for writes"}},
		{"sloppy=yes", "PUT", key + "?sloppy=yes", "v", nil, 400, "bad-parameter", []string{"true and false"}},
		{"sloppy=1", "GET", key + "?sloppy=1", "", nil, 400, "bad-parameter", nil},
		{"timeout without unit", "GET", key + "?timeout=5", "", nil, 400, "bad-parameter", []string{"750ms"}},
		{"timeout zero", "GET", key + "?timeout=0s", "", nil, 400, "bad-parameter", nil},
		{"timeout negative", "GET", key + "?timeout=-1s", "", nil, 400, "bad-parameter", nil},
		{"timeout too long", "GET", key + "?timeout=61s", "", nil, 400, "bad-parameter", []string{"1m0s"}},
		{"timeout overflows", "GET", key + "?timeout=9999999999999h", "", nil, 400, "bad-parameter", nil},
		{"ttl in days", "PUT", key + "?ttl=1d", "v", nil, 400, "bad-parameter", nil},
		{"ttl zero", "PUT", key + "?ttl=0s", "v", nil, 400, "bad-parameter", nil},
		{"ttl under a millisecond", "PUT", key + "?ttl=999us", "v", nil, 400, "bad-parameter", nil},
		{"ttl over ten years", "PUT", key + "?ttl=87601h", "v", nil, 400, "bad-parameter", []string{"87600h"}},
		{"conflicts that the bucket has not", "PUT", key + "?conflicts=lww", "v", nil, 400, "bad-parameter", []string{"the bucket has conflicts=siblings"}},
		{"unknown conflicts", "GET", key + "?conflicts=none", "", nil, 400, "bad-parameter", []string{"siblings"}},
		{"parameter where there are none", "GET", "/v1/cluster?x=1", "", nil, 400, "bad-parameter", []string{`"x"`, "takes none"}},
		{"parameter of a probe", "GET", "/healthz?verbose", "", nil, 400, "bad-parameter", nil},

		{"context that is none", "PUT", key, "v", []string{withContext("not a token!")}, 400, "bad-context", []string{"base64url"}},
		{"context truncated", "PUT", key, "v", []string{withContext(good[:len(good)-5])}, 400, "bad-context", nil},
		{"context of one byte", "GET", key, "", []string{withContext("A")}, 400, "bad-context", nil},
		{"context forged", "DELETE", key, "", []string{withContext(forged)}, 400, "bad-context", []string{"not issued for this key"}},
		{"context of another key", "PUT", "/v1/buckets/b/keys/l", "v", []string{withContext(good)}, 400, "bad-context", []string{"not issued for this key"}},
		{"context of another bucket", "GET", "/v1/buckets/c/keys/k", "", []string{withContext(good)}, 400, "bad-context", nil},
		{"context of a megabyte", "GET", key, "", []string{withContext(strings.Repeat("A", 1<<20))}, 400, "bad-context", []string{"too long"}},
		{"context twice", "PUT", key, "v", []string{withContext(good), withContext(good)}, 400, "bad-header", []string{"more than once"}},

		{"if-match", "PUT", key, "v", []string{`If-Match: "x"`}, 400, "bad-header", []string{"If-Match", "X-Starling-Context"}},
		{"if-match on a read", "GET", key, "", []string{`If-Match: "x"`}, 400, "bad-header", nil},
		{"if-none-match on a put", "PUT", key, "v", []string{"If-None-Match: *"}, 400, "bad-header", []string{"If-None-Match"}},
		{"if-none-match on a delete", "DELETE", key, "", []string{`If-None-Match: "x"`}, 400, "bad-header", nil},
		{"if-unmodified-since", "PUT", key, "v", []string{"If-Unmodified-Since: Mon, 02 Nov 2026 10:00:00 GMT"}, 400, "bad-header", nil},
		{"content-range", "PUT", key, "v", []string{"Content-Range: bytes 0-0/5"}, 400, "bad-header", []string{"whole"}},
		{"content-encoding", "PUT", key, "v", []string{"Content-Encoding: gzip"}, 400, "bad-header", []string{"Content-Encoding"}},
		{"content type too long", "PUT", key, "v", []string{"Content-Type: text/" + strings.Repeat("x", 252)}, 400, "bad-header", []string{"257 bytes", "256"}},
		{"content type that is none", "PUT", key, "v", []string{"Content-Type: text"}, 400, "bad-header", []string{"media type"}},
		{"content type without subtype", "PUT", key, "v", []string{"Content-Type: text/; a=b"}, 400, "bad-header", nil},
		{"content type not UTF-8", "PUT", key, "v", []string{"Content-Type: text/plain; a=\xff"}, 400, "bad-header", nil},
		{"content type twice", "PUT", key, "v", []string{"Content-Type: a/b", "Content-Type: a/b"}, 400, "bad-header", nil},
		{"too much metadata", "PUT", key, "v", meta(33, "x"), 400, "bad-header", []string{"33", "at most 32"}},
		{"metadata too large", "PUT", key, "v", meta(3, strings.Repeat("x", 3000)), 400, "bad-header", []string{"9006 bytes", "8192"}},
		{"metadata name too long", "PUT", key, "v", []string{"X-Starling-Meta-" + strings.Repeat("n", 65) + ": x"}, 400, "bad-header", []string{"1 to 64"}},
		{"metadata without name", "PUT", key, "v", []string{"X-Starling-Meta-: x"}, 400, "bad-header", []string{"1 to 64"}},
		{"metadata twice", "PUT", key, "v", []string{"X-Starling-Meta-A: x", "x-starling-meta-a: y"}, 400, "bad-header", []string{"more than once"}},
		{"metadata not UTF-8", "PUT", key, "v", []string{"X-Starling-Meta-A: \xff"}, 400, "bad-header", []string{"UTF-8"}},
		{"idempotency key empty", "PUT", key, "v", []string{"Idempotency-Key:"}, 400, "bad-header", []string{"1 to 255"}},
		{"idempotency key too long", "PUT", key, "v", []string{"Idempotency-Key: " + strings.Repeat("i", 256)}, 400, "bad-header", nil},
		{"idempotency key not ASCII", "DELETE", key, "", []string{"Idempotency-Key: é"}, 400, "bad-header", nil},
		{"idempotency key twice", "PUT", key, "v", []string{"Idempotency-Key: a", "Idempotency-Key: a"}, 400, "bad-header", nil},

		{"one byte too many", "PUT", key, strings.Repeat("x", limit+1), nil, 413, "value-too-large", []string{"4096"}},
		{"one byte too many, chunked", "PUT", key, chunked(strings.Repeat("x", limit+1)), []string{"Transfer-Encoding: chunked"}, 413, "value-too-large", nil},
		{"body that ends early", "PUT", key, "1234", []string{"Content-Length: 10"}, 400, "bad-body", []string{"4 bytes"}},
		{"large body that ends early", "PUT", key, strings.Repeat("x", 3000), []string{"Content-Length: 4096"}, 400, "bad-body", []string{"3000 bytes"}},
		{"chunked body that ends early", "PUT", key, "5\r\nhel", []string{"Transfer-Encoding: chunked"}, 400, "bad-body", nil},
		{"chunked body without its last chunk", "PUT", key, "5\r\nhello\r\n", []string{"Transfer-Encoding: chunked"}, 400, "bad-body", nil},
		{"malformed chunk", "PUT", key, "zz\r\nhello\r\n0\r\n\r\n", []string{"Transfer-Encoding: chunked"}, 400, "bad-body", nil},
		{"body on a get", "GET", key, "v", nil, 400, "bad-body", []string{"a GET"}},
		{"body on a head", "HEAD", key, "v", nil, 400, "", nil},
		{"body on a delete", "DELETE", key, "v", nil, 400, "bad-body", []string{"a DELETE"}},
		{"chunked body on a delete", "DELETE", key, chunked("v"), []string{"Transfer-Encoding: chunked"}, 400, "bad-body", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := *f
			f.t = t
			a := f.do(tt.method, tt.target, tt.body, tt.headers...).want(tt.status)
			if tt.method != "HEAD" {
				doc := a.wantProblem(tt.status, tt.slug, tt.words...)
				if tt.slug == "bad-parameter" && tt.name != "empty name" && (doc["parameter"] == nil || len(doc["parameter"].(string)) > 80) {
					t.Errorf("parameter %v", doc["parameter"])
				}
				if strings.HasPrefix(tt.slug, "bad-header") && doc["header"] == nil {
					t.Error("the header is not named")
				}
			}
			if n := f.kv.calls(); n != 0 {
				t.Fatalf("the KV was called %d times", n)
			}
		})
	}
}

// chunked is body in two chunks and the last.
func chunked(body string) string {
	half := len(body) / 2
	var b strings.Builder
	for _, part := range []string{body[:half], body[half:]} {
		if part != "" {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(part), part)
		}
	}
	return b.String() + "0\r\n\r\n"
}

// TestBeforeTheHandlers: what net/http refuses by itself, as documented.
func TestBeforeTheHandlers(t *testing.T) {
	f := serve(t)
	for request, status := range map[string]int{
		"GET /v1/buckets/b/keys/%zz HTTP/1.1\r\nHost: x\r\n\r\n":                                            400,
		"GET /v1/buckets/b/keys/a%2 HTTP/1.1\r\nHost: x\r\n\r\n":                                            400,
		"GET /v1/buckets/b/keys/a b HTTP/1.1\r\nHost: x\r\n\r\n":                                            400,
		"GET /v1/buckets/b/keys/k HTTP/1.1\r\n\r\n":                                                         400,
		"GET /v1/buckets/b/keys/k HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n\r\n":                                 400,
		"PUT /v1/buckets/b/keys/k HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n":                        400,
		"GET /v1/buckets/b/keys/k HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("x", 2<<20) + "\r\n\r\n":   431,
		"PUT /v1/buckets/b/keys/k HTTP/1.1\r\nHost: x\r\nExpect: something\r\nContent-Length: 1\r\n\r\nv":   417,
		"PUT /v1/buckets/b/keys/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n": 501,
	} {
		conn := f.dial()
		go func() { _, _ = io.WriteString(conn, request) }()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%.60q: %v", request, err)
		}
		if resp.StatusCode != status {
			t.Errorf("%.60q: %d, want %d", request, resp.StatusCode, status)
		}
		conn.Close()
	}
	if n := f.kv.calls(); n != 0 {
		t.Errorf("the KV was called %d times", n)
	}
}

// TestOptionsOfTheServer: OPTIONS * is not answered by net/http.
func TestOptionsOfTheServer(t *testing.T) {
	serve(t).do("OPTIONS", "*", "").wantProblem(404, "no-such-resource")
}

// TestParametersReachTheKV: what parameters stand for.
func TestParametersReachTheKV(t *testing.T) {
	f := serve(t)
	key := "/v1/buckets/b/keys/k"
	get := func(query string) string {
		f.do("GET", key+query, "").want(404)
		return fmt.Sprintf("%+v", f.kv.lastGet().Consistency)
	}
	put := func(query string) string {
		f.do("PUT", key+query, "v").want(204)
		return fmt.Sprintf("%+v", f.kv.lastPut().Consistency)
	}
	del := func(query string, headers ...string) string {
		f.do("DELETE", key+query, "", headers...).want(204)
		return fmt.Sprintf("%+v", f.kv.lastPut().Consistency)
	}
	for i, pair := range [][2]string{
		{get(""), "{Level:quorum R:0 W:0 PR:0 PW:0 Strict:false}"},
		{get("?"), "{Level:quorum R:0 W:0 PR:0 PW:0 Strict:false}"},
		{get("?consistency=one"), "{Level:one R:0 W:0 PR:0 PW:0 Strict:false}"},
		{get("?consistency=three&&"), "{Level:three R:0 W:0 PR:0 PW:0 Strict:false}"},
		{get("?r=3&pr=2&sloppy=false&timeout=60s&conflicts=siblings"), "{Level:quorum R:3 W:0 PR:2 PW:0 Strict:true}"},
		{get("?%72=%31&sloppy=true"), "{Level:quorum R:1 W:0 PR:0 PW:0 Strict:false}"},
		{put("?consistency=any"), "{Level:any R:0 W:0 PR:0 PW:0 Strict:false}"},
		{put("?consistency=all&w=1&pw=1"), "{Level:all R:0 W:1 PR:0 PW:1 Strict:false}"},
		{del("?consistency=two&r=1&pr=1&w=2&pw=2"), "{Level:two R:1 W:2 PR:1 PW:2 Strict:false}"},
		{del("?consistency=any"), "{Level:any R:1 W:0 PR:0 PW:0 Strict:false}"},
		{del("?consistency=any&r=2"), "{Level:any R:2 W:0 PR:0 PW:0 Strict:false}"},
		{del("?consistency=any", withContext(f.do("GET", key, "").context())), "{Level:any R:0 W:0 PR:0 PW:0 Strict:false}"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%d: %s, want %s", i, pair[0], pair[1])
		}
	}
}

// TestLevelsAboveN: a level that the cluster can never reach is the caller's mistake.
func TestLevelsAboveN(t *testing.T) {
	f := serve(t)
	m := testMap()
	m.Settings.Replicas = 2
	f.cluster.set(t, m)
	f.do("GET", "/v1/buckets/b/keys/k?consistency=two", "").want(404)
	f.do("GET", "/v1/buckets/b/keys/k?consistency=three", "").wantProblem(400, "bad-parameter", "no more than 2")
	f.do("PUT", "/v1/buckets/b/keys/k?w=3", "v").wantProblem(400, "bad-parameter", "1 to 2")
}
