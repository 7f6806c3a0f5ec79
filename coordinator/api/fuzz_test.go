package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"starling/ring"
	"starling/store/bucket"
	"starling/store/object"
)

// FuzzKeyPath: however a key is escaped, it is decoded to the same key.
func FuzzKeyPath(f *testing.F) {
	for _, key := range []string{"a", "a/b", "%2F", "..", "//", "\x00", "é", "\xff", "a?b#c;d", " +&=", "%252F/%"} {
		f.Add(key, uint64(0x5555555555555555))
	}
	f.Fuzz(func(t *testing.T, key string, escape uint64) {
		if key == "" || len(key) > maxKeyBytes {
			return
		}
		// Bytes that may stand for themselves do so where the bit says it.
		var path strings.Builder
		for i := range len(key) {
			c := key[i]
			literal := c > ' ' && c < 0x7f && !strings.ContainsRune(`%?#`, rune(c)) || c >= 0x80
			if literal && escape>>(i%64)&1 != 0 {
				path.WriteByte(c)
			} else {
				fmt.Fprintf(&path, "%%%02X", c)
			}
		}
		raw := "GET /v1/buckets/b/keys/" + path.String() + " HTTP/1.1\r\nHost: x\r\n\r\n"
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		bucket, got, p := parseKeyPath(req.URL, "/v1/buckets/", "/keys/")
		if p != nil || bucket != "b" || got != key {
			t.Fatalf("%q: bucket %q, key %q, want %q; %+v", raw, bucket, got, key, p)
		}
	})
}

// FuzzRequest: no request is answered 500, and every refusal is a problem
// document that left the KV alone.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/v1/buckets/b/keys/k?consistency=one&r=2", "Accept", "multipart/mixed;q=0.1", "")
	f.Add("PUT", "/v1/buckets/b/keys/%2F?ttl=1h&timeout=1s", "X-Starling-Context", "AQ", "v")
	f.Add("DELETE", "/v1/buckets/b/keys/k?pr=1&pw=1&sloppy=false", "If-None-Match", `W/"x", *`, "")
	f.Add("HEAD", "/v1/ring/b/k", "Prefer", "return=representation", "")
	f.Add("PUT", "/v1/buckets/b/keys/k", "X-Starling-Meta-A", "b", "v")
	f.Add("PUT", "/v1/buckets/b/keys/k", "Idempotency-Key", "\xff", "v")
	f.Add("POST", "/v1/cluster/replace", "Origin", "x", `{"node":"n3","by":"n5","force":true}`)
	f.Add("POST", "/v1/cluster/leave", "Content-Type", "a", `{"node":{"a":[1e9,null]}}`)
	f.Add("GET", "/v1/cluster/plan?join=n6:eu:7&weight=n1:2&zone=n1:&replace=n4:n6&leave=n3", "A", "b", "")
	f.Add("GET", "/v1/cluster/safe-to-stop?node=n3", "A", "b", "")
	f.Add("POST", "/v1/buckets/c/keys/k%2F/add/add?ttl=1h", "Idempotency-Key", "x", `{"delta":-9223372036854775808}`)
	f.Add("PUT", "/v1/buckets/u/keys/k?conflicts=union", "A", "b", `[1,{"a":[1e9,null]}]`)
	f.Add("PUT", "/v1/buckets/b", "A", "b", `{"conflicts":"lww","r":1,"ttl":"1h"}`)
	f.Add("GET", "/v1/buckets/b/keys?prefix=key&after=key-00000&limit=2&values=true", "Accept", "application/x-ndjson", "")
	f.Add("POST", "/v1/buckets/c/batch?timeout=1s", "A", "b", `{"operations":[{"op":"add","key":"k","delta":1},{"op":"put","key_base64":"/w==","value":"\u0000","replace":true}]}`)
	f.Add("PUT", "/v1/node/pace", "A", "b", `{"bytes_per_second":65536,"seconds":86400}`)
	m := testMap()
	for name, mode := range map[string]bucket.Mode{"c": bucket.Counter, "u": bucket.Union} {
		var err error
		if m.Buckets, err = m.Buckets.With(bucket.Record{Name: name}.Declare(bucket.Properties{Mode: mode}, [16]byte{1})); err != nil {
			f.Fatal(err)
		}
	}
	view, err := m.View()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, target, name, value, body string) {
		modeOf := func(name string) bucket.Mode { return m.Buckets.Find(name).Properties.Mode }
		kv := &memoryKV{objects: map[string]object.Object{}, now: time.Now, modeOf: modeOf}
		cluster := &staticCluster{m: m, view: view, dead: map[ring.NodeID]bool{}}
		top, pace := &fakeTopology{t: t, cluster: cluster}, &fakePace{}
		s, err := New(Options{KV: kv, Cluster: cluster, Topology: top, Pace: pace, Self: nodeID(1),
			Batches: kv, Buckets: &fakeBuckets{t: t, cluster: cluster}, Lists: &memoryLists{objects: manyKeys(3), pageSize: 2}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		raw := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s", method, target, name, value, len(body), body)
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, req)
		switch {
		case w.Code >= 500 && !strings.Contains(w.Body.String(), "does not offer"):
			t.Fatalf("%q: %d %s", raw, w.Code, w.Body)
		case w.Code >= 400:
			var doc problemDoc
			if err := json.Unmarshal(bytes.TrimSpace(w.Body.Bytes()), &doc); err != nil || doc.Status != w.Code || doc.Detail == "" {
				t.Fatalf("%q: %v in %s", raw, err, w.Body)
			}
			if w.Code != 404 && w.Code != 406 && kv.calls() != 0 {
				t.Fatalf("%q was refused with %d after the KV was called", raw, w.Code)
			}
			if len(top.changed) != 0 {
				t.Fatalf("%q was refused with %d after %+v", raw, w.Code, top.changed)
			}
			if pace.calls != nil {
				t.Fatalf("%q was refused with %d after %v", raw, w.Code, pace.calls)
			}
		}
	})
}
