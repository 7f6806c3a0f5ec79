package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	return f(r)
}

// Scripted outcomes of one attempt.
var (
	errDial  = &net.OpError{Op: "dial", Err: errors.New("refused")}
	errReset = &net.OpError{Op: "read", Err: errors.New("reset")}
)

func reply(status int, contentType, body string, headers ...string) *http.Response {
	h := http.Header{"Content-Type": {contentType}}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1}
}

func problemReply(status int, members string, headers ...string) *http.Response {
	return reply(status, "application/problem+json", fmt.Sprintf(`{"type":"/problems/x","title":"x","detail":"y"%s}`, members), headers...)
}

// sent is one attempt as the script saw it.
type sent struct {
	host, idempotency string
	at                time.Duration
	body              string
}

// script is a transport that plays one outcome an attempt, the last one again
// and again, and notes the attempts.
type script struct {
	start time.Time
	sent  []sent
	play  []any // *http.Response maker, error, or time.Duration of hanging
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	s.sent = append(s.sent, sent{r.URL.Host, r.Header.Get("Idempotency-Key"), time.Since(s.start), string(body)})
	step := s.play[min(len(s.sent), len(s.play))-1]
	switch step := step.(type) {
	case error:
		return nil, step
	case func() *http.Response:
		return step(), nil
	case string: // hang
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	panic("unknown step")
}

func (s *script) client(t *testing.T, o Options) *Client {
	s.start = time.Now()
	o.HTTPClient, o.DisableRing = &http.Client{Transport: s}, true
	return newClient(t, o)
}

func ok() *http.Response       { return reply(204, "", "") }
func plain503() *http.Response { return problemReply(503, "") }

// What an error says of a write's outcome, and how often the write is sent.
func TestOutcomes(t *testing.T) {
	quorum := func(maybe bool) func() *http.Response {
		return func() *http.Response {
			return problemReply(503, fmt.Sprintf(`,"required":2,"received":1,"maybe_applied":%v`, maybe))
		}
	}
	status := func(n int) func() *http.Response { return func() *http.Response { return problemReply(n, "") } }
	for name, tc := range map[string]struct {
		play     []any
		attempts int
		maybe    bool
		done     bool
	}{
		"at once":                        {play: []any{ok}, attempts: 1, done: true},
		"refused connections":            {play: []any{errDial}, attempts: 3},
		"a refused connection, then ok":  {play: []any{errDial, ok}, attempts: 2, done: true},
		"a reset, then ok":               {play: []any{errReset, ok}, attempts: 2, done: true},
		"resets":                         {play: []any{errReset}, attempts: 3, maybe: true},
		"a reset, then refused":          {play: []any{errReset, errDial}, attempts: 3, maybe: true},
		"a reset, then a 400":            {play: []any{errReset, status(400)}, attempts: 2, maybe: true},
		"overload":                       {play: []any{plain503}, attempts: 3},
		"too many requests":              {play: []any{status(429)}, attempts: 3},
		"quorum, nothing applied":        {play: []any{quorum(false)}, attempts: 3},
		"quorum, maybe applied":          {play: []any{quorum(true)}, attempts: 3, maybe: true},
		"quorum maybe, then nothing":     {play: []any{quorum(true), quorum(false)}, attempts: 3, maybe: true},
		"quorum maybe, then ok":          {play: []any{quorum(true), ok}, attempts: 2, done: true},
		"deadline":                       {play: []any{status(504)}, attempts: 3, maybe: true},
		"a proxy's 503":                  {play: []any{func() *http.Response { return reply(503, "text/html", "<h1>") }}, attempts: 3, maybe: true},
		"internal error is not repeated": {play: []any{status(500)}, attempts: 1, maybe: true},
		"disk full is not repeated":      {play: []any{status(507)}, attempts: 1},
		"bad request":                    {play: []any{status(400)}, attempts: 1},
		"sibling cap":                    {play: []any{status(409)}, attempts: 1},
		"hanging":                        {play: []any{"hang"}, attempts: 3, maybe: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{play: tc.play}
			c := s.client(t, Options{Endpoints: []string{"a:1", "b:1"}, Attempts: 3})
			_, err := c.Put(context.Background(), "b", "k", []byte("v"), nil)
			if (err == nil) != tc.done || len(s.sent) != tc.attempts || MaybeApplied(err) != tc.maybe {
				t.Errorf("%s: %d attempts, maybe %v, %v", name, len(s.sent), MaybeApplied(err), err)
			}
			var e *Error
			if err != nil && (!errors.As(err, &e) || e.Attempts != tc.attempts) {
				t.Errorf("%s: %#v", name, err)
			}
			for _, a := range s.sent {
				if len(a.idempotency) != 32 || a.idempotency != s.sent[0].idempotency {
					t.Errorf("%s: idempotency keys %v", name, s.sent)
				}
			}
			for i := 1; i < len(s.sent); i++ {
				if s.sent[i].at == s.sent[i-1].at && s.sent[i].host == s.sent[i-1].host {
					t.Errorf("%s: the same endpoint twice without a pause: %v", name, s.sent)
				}
			}
		})
	}
}

func TestPutsDrawTheirOwnIdempotencyKeys(t *testing.T) {
	s := &script{play: []any{ok}}
	c := s.client(t, Options{Endpoints: []string{"a:1"}})
	for range 2 {
		if _, err := c.Put(context.Background(), "b", "k", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if s.sent[0].idempotency == s.sent[1].idempotency {
		t.Errorf("two puts with the key %s", s.sent[0].idempotency)
	}
}

func TestRetryAfter(t *testing.T) {
	busy := func() *http.Response { return problemReply(503, "", "Retry-After", "7") }
	quorum := func() *http.Response { return problemReply(503, `,"required":2`, "Retry-After", "7") }
	maybe := func() *http.Response {
		return problemReply(503, `,"required":2,"maybe_applied":true`, "Retry-After", "7")
	}
	for name, tc := range map[string]struct {
		endpoints []string
		play      []any
		// from and to bound the time between the last two attempts.
		from, to time.Duration
	}{
		"one busy node is waited for":     {[]string{"a:1"}, []any{busy, ok}, 7 * time.Second, 7 * time.Second},
		"another node is asked at once":   {[]string{"a:1", "b:1"}, []any{busy, ok}, 0, 0},
		"another node may have a quorum":  {[]string{"a:1", "b:1"}, []any{quorum, ok}, 0, 0},
		"no node has a quorum":            {[]string{"a:1", "b:1"}, []any{quorum, quorum, ok}, 7 * time.Second, 7 * time.Second},
		"what may have happened can wait": {[]string{"a:1", "b:1"}, []any{maybe, ok}, 7 * time.Second, 7 * time.Second},
		"without it the backoff is short": {[]string{"a:1"}, []any{plain503, ok}, 25 * time.Millisecond, 50 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{play: tc.play}
			c := s.client(t, Options{Endpoints: tc.endpoints})
			if _, err := c.Put(context.Background(), "b", "k", nil, nil); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			last := s.sent[len(s.sent)-2:]
			if got := last[1].at - last[0].at; got < tc.from || got > tc.to || len(s.sent) != len(tc.play) {
				t.Errorf("%s: %v between attempts: %v", name, got, s.sent)
			}
			if len(tc.endpoints) > 1 && s.sent[0].host == s.sent[1].host {
				t.Errorf("%s: the same endpoint twice: %v", name, s.sent)
			}
			for _, a := range s.sent {
				if a.idempotency != s.sent[0].idempotency {
					t.Errorf("%s: another put: %v", name, s.sent)
				}
			}
		})
	}
}

// A pause that the deadline would cut short is not begun.
func TestRetryAfterBeyondTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{play: []any{func() *http.Response { return problemReply(503, "", "Retry-After", "60") }}}
		c := s.client(t, Options{Endpoints: []string{"a:1"}})
		_, err := c.Put(context.Background(), "b", "k", nil, nil)
		var p *Problem
		if !errors.As(err, &p) || p.RetryAfter != time.Minute || len(s.sent) != 1 || time.Since(s.start) != 0 {
			t.Errorf("%v after %v and %d attempts", err, time.Since(s.start), len(s.sent))
		}
	})
}

func TestBackoffGrowsToItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{play: []any{plain503}}
		c := s.client(t, Options{Endpoints: []string{"a:1"}, Attempts: 12, Timeout: time.Hour})
		if _, err := c.Get(context.Background(), "b", "k", nil); err == nil {
			t.Fatal("no error")
		}
		longest := 50 * time.Millisecond
		for i := 1; i < len(s.sent); i++ {
			if got := s.sent[i].at - s.sent[i-1].at; got < longest/2 || got > longest {
				t.Errorf("pause %d is %v, want %v to %v", i, got, longest/2, longest)
			}
			longest = min(2*longest, 2*time.Second)
		}
		if len(s.sent) != 12 {
			t.Errorf("%d attempts", len(s.sent))
		}
	})
}

func TestTheCallersContextEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{play: []any{"hang"}}
		c := s.client(t, Options{Endpoints: []string{"a:1", "b:1"}})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.Put(ctx, "b", "k", nil, nil)
		if !errors.Is(err, context.DeadlineExceeded) || !MaybeApplied(err) || len(s.sent) != 1 || time.Since(s.start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(s.start))
		}
		reason := errors.New("the user left")
		ctx2, leave := context.WithCancelCause(context.Background())
		time.AfterFunc(time.Second, func() { leave(reason) })
		if _, err = c.Get(ctx2, "b", "k", nil); !errors.Is(err, reason) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

func TestWithoutADeadlineTimeoutBoundsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{play: []any{"hang"}}
		c := s.client(t, Options{Endpoints: []string{"a:1"}, Attempts: 100, Timeout: 7 * time.Second})
		_, err := c.Get(context.Background(), "b", "k", nil)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(s.start) != 7*time.Second {
			t.Errorf("%v after %v", err, time.Since(s.start))
		}
	})
}

// The server's own deadline is given time to answer with what it knows.
func TestServerTimeoutLengthensTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{play: []any{"hang"}}
		c := s.client(t, Options{Endpoints: []string{"a:1"}, Attempts: 1})
		if _, err := c.Get(context.Background(), "b", "k", &GetOptions{Timeout: 20 * time.Second}); err == nil {
			t.Error("no error")
		}
		if got := time.Since(s.start); got != 20*time.Second+deadlineSlack {
			t.Errorf("it waited %v", got)
		}
	})
}

// The same over real sockets, where the transport tells what was sent.
func TestOutcomesOverSockets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	cut := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer cut.Close()
	for _, tc := range []struct {
		endpoint string
		maybe    bool
	}{{closed, false}, {cut.URL, true}} {
		c := newClient(t, Options{Endpoints: []string{tc.endpoint}, DisableRing: true, Attempts: 2, Backoff: time.Millisecond})
		_, err := c.Put(context.Background(), "b", "k", []byte("v"), nil)
		if !errors.Is(err, ErrUnreachable) || MaybeApplied(err) != tc.maybe {
			t.Errorf("%s: %v", tc.endpoint, err)
		}
	}
	store := newFakeStore()
	first := true
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first {
			// The write happens and its answer is lost.
			first = false
			store.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		store.ServeHTTP(w, r)
	}))
	defer srv.Close()
	c := newClient(t, Options{Endpoints: []string{srv.URL}, DisableRing: true})
	if _, err := c.Put(context.Background(), "b", "k", []byte("v"), nil); err != nil {
		t.Fatal(err)
	}
	if n := len(store.objects["b\x00k"].siblings); n != 1 {
		t.Errorf("one put made %d siblings", n)
	}
}

func TestErrorTexts(t *testing.T) {
	s := &script{play: []any{func() *http.Response { return problemReply(503, `,"required":2,"received":1,"maybe_applied":true`) }}}
	c := s.client(t, Options{Endpoints: []string{"a:1"}, Attempts: 1})
	_, err := c.Put(context.Background(), "b", "k", nil, nil)
	const want = `client: put b/"k": status 503: x: y (1 of 2 required replicas) (the write may have been applied)`
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestA404ThatIsNotAboutTheKey(t *testing.T) {
	s := &script{play: []any{func() *http.Response { return reply(404, "text/plain", "404 page not found") }}}
	c := s.client(t, Options{Endpoints: []string{"a:1"}})
	_, err := c.Get(context.Background(), "b", "k", nil)
	var p *Problem
	if errors.Is(err, ErrNotFound) || !errors.As(err, &p) || p.Status != 404 {
		t.Errorf("%v", err)
	}
	s.play = []any{func() *http.Response {
		return reply(404, "application/problem+json", `{"type":"/problems/key-not-found"}`)
	}}
	if _, err := c.Get(context.Background(), "b", "k", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}
