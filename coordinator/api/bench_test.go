package api

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"starling/coordinator"
	"starling/store/object"
	"starling/store/version"
)

// instantKV answers at once, so that a benchmark measures the handler.
type instantKV struct {
	get coordinator.GetResult
	put coordinator.PutResult
}

func (kv *instantKV) Get(context.Context, coordinator.GetRequest) (coordinator.GetResult, error) {
	return kv.get, nil
}

func (kv *instantKV) Put(context.Context, coordinator.PutRequest) (coordinator.PutResult, error) {
	return kv.put, nil
}

// sink is a ResponseWriter that keeps nothing but the header map.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkHandler is a GET and a PUT of 1 KB, everything but net/http.
func BenchmarkHandler(b *testing.B) {
	vector := version.Vector{{Actor: 1, Seq: 5}, {Actor: 2, Seq: 7}, {Actor: 3, Seq: 1}}
	sib := object.Sibling{Dot: version.Dot{Actor: 2, Seq: 7}, ContentType: "application/octet-stream", Value: make([]byte, 1024), ModifiedMS: 1.8e12}
	kv := &instantKV{
		get: coordinator.GetResult{Object: object.Object{Vector: vector, Siblings: []object.Sibling{sib}}, Required: 2, Received: 2},
		put: coordinator.PutResult{Context: version.Context{Vector: vector}, Dot: sib.Dot, Acked: 2, Required: 2, Coordinator: nodeID(2)},
	}
	m := testMap()
	view, err := m.View()
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(Options{KV: kv, Cluster: &staticCluster{m: m, view: view}, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	token := version.Seal(m.Settings.Secret[:], "carts", "user/42", version.Context{Vector: vector})
	value := make([]byte, 1024)
	for _, bm := range []struct {
		name, method, query string
		header              http.Header
		status              int
	}{
		{"get", "GET", "", http.Header{}, 200},
		{"get-with-query", "GET", "consistency=one&timeout=750ms", http.Header{}, 200},
		{"put", "PUT", "", http.Header{}, 204},
		{"put-with-context", "PUT", "", http.Header{hContext: {token}, "Content-Type": {"text/plain"}}, 204},
	} {
		b.Run(bm.name, func(b *testing.B) {
			u := &url.URL{Path: "/v1/buckets/carts/keys/user/42", RawQuery: bm.query}
			body := bytes.NewReader(nil)
			w := &sink{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				r := &http.Request{Method: bm.method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: bm.header, Body: http.NoBody}
				if bm.method == "PUT" {
					body.Reset(value)
					r.Body, r.ContentLength = io.NopCloser(body), int64(len(value))
				}
				s.Handler().ServeHTTP(w, r)
				if w.status != bm.status {
					b.Fatal(w.status)
				}
			}
		})
	}
}
