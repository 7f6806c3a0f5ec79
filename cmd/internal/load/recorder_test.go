package load

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// recorder is a server that keeps values, and each key's count of writes as
// its context.
type recorder struct {
	mu      sync.Mutex
	values  map[string][]byte
	writes  map[string]int
	methods map[string]int
	queries map[string]bool
	stale   int // puts whose context is not the last one
	busy    int
	most    int // requests under way at once
	// before, if it answers true, has answered the request.
	before func(w http.ResponseWriter, r *http.Request) bool
}

func newRecorder() *recorder {
	return &recorder{values: map[string][]byte{}, writes: map[string]int{}, methods: map[string]int{}, queries: map[string]bool{}}
}

func (s *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.busy++
	s.most = max(s.most, s.busy)
	s.methods[r.Method]++
	s.queries[r.URL.RawQuery] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.busy--
		s.mu.Unlock()
	}()
	if s.before != nil && s.before(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.URL.Path
	if r.Method == http.MethodGet {
		s.context(w, key)
		if v, ok := s.values[key]; ok {
			_, _ = w.Write(v)
		} else {
			w.WriteHeader(http.StatusNotFound)
		}
		return
	}
	if r.Header.Get(headerContext) != s.token(key) {
		s.stale++
	}
	s.values[key] = body
	s.writes[key]++
	s.context(w, key)
	w.WriteHeader(http.StatusNoContent)
}

func (s *recorder) token(key string) string {
	if s.writes[key] == 0 {
		return ""
	}
	return "after-" + strconv.Itoa(s.writes[key])
}

func (s *recorder) context(w http.ResponseWriter, key string) {
	if token := s.token(key); token != "" {
		w.Header().Set(headerContext, token)
	}
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func newLoad(t *testing.T, o Options) *Load {
	t.Helper()
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func mustRun(t *testing.T, l *Load, w Workload) Result {
	t.Helper()
	r, err := l.Run(context.Background(), Phase{Workload: w, WarmUp: 20 * time.Millisecond, Duration: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// runUntil repeats short runs until enough has happened: how many operations
// one of them does depends on the machine.
func runUntil(t *testing.T, l *Load, w Workload, enough func(Result) bool) Result {
	t.Helper()
	for range 50 {
		if r := mustRun(t, l, w); enough(r) {
			return r
		}
	}
	t.Fatalf("workload %s: fifty runs were not enough", w.Name)
	return Result{}
}
