package client

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// fakeStore is a store of one perfect replica that speaks the key routes of
// the HTTP interface. A context is the list of dots that were seen.
type fakeStore struct {
	mu      sync.Mutex
	next    int
	objects map[string]*fakeObject
	ops     map[string]bool // idempotency keys that were applied
	cap     int             // siblings a key may have; 0: any number
	context string          // of the last write
}

type fakeObject struct {
	seen     []int // all dots ever
	siblings []fakeSibling
}

type fakeSibling struct {
	dot         int
	data        []byte
	contentType string
	meta        map[string]string
	expires     time.Time
}

func newFakeStore() *fakeStore {
	return &fakeStore{objects: map[string]*fakeObject{}, ops: map[string]bool{}}
}

var fakeModified = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ServeHTTP serves /v1/buckets/{b}/keys/{k}.
func (f *fakeStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), "/v1/buckets/")
	bucket, rawKey, ok2 := strings.Cut(rest, "/keys/")
	key, err := url.PathUnescape(rawKey)
	if !ok || !ok2 || err != nil {
		fakeProblem(w, http.StatusNotFound, "no-such-resource", nil)
		return
	}
	id := bucket + "\x00" + key
	o := f.objects[id]
	if o == nil {
		o = &fakeObject{}
		f.objects[id] = o
	}
	switch r.Method {
	case http.MethodGet:
		o.get(w, r)
	case http.MethodPut, http.MethodDelete:
		f.write(w, r, o)
	}
}

func (f *fakeStore) write(w http.ResponseWriter, r *http.Request, o *fakeObject) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.context = r.Header.Get(headerContext)
	covered := fakeDots(f.context)
	if r.Method == http.MethodDelete && len(covered) == 0 {
		covered = slices.Clone(o.seen)
	}
	kept := slices.DeleteFunc(slices.Clone(o.siblings), func(s fakeSibling) bool { return slices.Contains(covered, s.dot) })
	if f.cap > 0 && r.Method == http.MethodPut && len(kept) >= f.cap {
		fakeProblem(w, http.StatusConflict, "too-many-siblings", nil)
		return
	}
	if op := r.Header.Get("Idempotency-Key"); !f.ops[op] {
		f.ops[op] = true
		f.next++
		o.seen = append(o.seen, f.next)
		if r.Method == http.MethodPut {
			s := fakeSibling{dot: f.next, data: body, contentType: r.Header.Get("Content-Type"), meta: readMeta(r.Header)}
			if ttl, err := time.ParseDuration(r.URL.Query().Get("ttl")); err == nil {
				s.expires = fakeModified.Add(ttl)
			}
			kept = append(kept, s)
		}
		o.siblings = kept
		covered = append(covered, f.next)
	}
	w.Header().Set(headerContext, fakeContext(covered))
	w.Header().Set(headerReplicas, "acked=2 hinted=0 required=2")
	w.Header().Set(headerCoordinator, "n1")
	w.WriteHeader(http.StatusNoContent)
}

func (o *fakeObject) get(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set(headerContext, fakeContext(o.seen))
	h.Set(headerReplicas, "acked=2 hinted=0 required=2")
	h.Set(headerCoordinator, "n1")
	switch len(o.siblings) {
	case 0:
		fakeProblem(w, http.StatusNotFound, "key-not-found", nil)
	case 1:
		s := o.siblings[0]
		h.Set("Content-Type", s.contentType)
		h.Set("Last-Modified", fakeModified.Format(http.TimeFormat))
		h.Set("Etag", strconv.Quote(fmt.Sprint(s.dot)))
		for name, value := range s.meta {
			h.Set(headerMeta+name, value)
		}
		if !s.expires.IsZero() {
			h.Set(headerExpires, s.expires.Format(time.RFC3339))
		}
		_, _ = w.Write(s.data)
	default:
		if !strings.HasPrefix(r.Header.Get("Accept"), "application/json") {
			w.WriteHeader(http.StatusNotAcceptable)
			return
		}
		h.Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusMultipleChoices)
		_, _ = w.Write(fakeSiblings(fakeContext(o.seen), o.siblings))
	}
}

func fakeSiblings(context string, siblings []fakeSibling) []byte {
	list := []map[string]any{}
	for _, s := range siblings {
		doc := map[string]any{
			"dot": fmt.Sprint(s.dot), "content_type": s.contentType, "meta": s.meta,
			"modified": fakeModified.Add(time.Duration(s.dot) * time.Millisecond).Format(time.RFC3339Nano),
			"encoding": "utf-8", "value": string(s.data),
		}
		if !utf8.Valid(s.data) {
			doc["encoding"], doc["value"] = "base64", base64.StdEncoding.EncodeToString(s.data)
		}
		list = append(list, doc)
	}
	b, err := json.Marshal(map[string]any{"context": context, "siblings": list})
	if err != nil {
		panic(err)
	}
	return b
}

func fakeContext(dots []int) string {
	slices.Sort(dots)
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(dots), " ", ","), "[]")
}

func fakeDots(token string) (dots []int) {
	for s := range strings.SplitSeq(token, ",") {
		if n, err := strconv.Atoi(s); err == nil {
			dots = append(dots, n)
		}
	}
	return dots
}

// fakeProblem answers problem+json; more overrides its members.
func fakeProblem(w http.ResponseWriter, status int, slug string, more map[string]any) {
	doc := map[string]any{"type": "/problems/" + slug, "title": "T " + slug, "status": status, "detail": "D " + slug}
	for k, v := range more {
		doc[k] = v
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// newClient makes a client that the test closes.
func newClient(t testing.TB, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// storeClient is a client of a fresh fake store.
func storeClient(t testing.TB, o Options) (*Client, *fakeStore) {
	t.Helper()
	f := newFakeStore()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	o.Endpoints, o.DisableRing = []string{srv.URL}, true
	return newClient(t, o), f
}
