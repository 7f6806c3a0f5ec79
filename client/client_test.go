package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPutGetDelete(t *testing.T) {
	c, _ := storeClient(t, Options{})
	ctx := context.Background()
	data := []byte("two \x00 apples \xff")
	w, err := c.Put(ctx, "carts", "alice", data, &PutOptions{
		ContentType: "text/x-cart", Meta: map[string]string{"Owner": "Alice"}, TTL: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	if w.Context != "1" || w.Replicas != "acked=2 hinted=0 required=2" || w.Coordinator != "n1" {
		t.Errorf("written %+v", w)
	}
	v, err := c.Get(ctx, "carts", "alice", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(v.Data, data) || v.ContentType != "text/x-cart" || !maps.Equal(v.Meta, map[string]string{"owner": "Alice"}) {
		t.Errorf("got %+v", v)
	}
	if !v.Modified.Equal(fakeModified) || !v.Expires.Equal(fakeModified.Add(time.Hour)) || v.ETag != `"1"` || v.Context != "1" || v.Siblings != nil {
		t.Errorf("got %+v", v)
	}
	if _, err := c.Delete(ctx, "carts", "alice", nil); err != nil {
		t.Fatal(err)
	}
	_, err = c.Get(ctx, "carts", "alice", nil)
	var absent *NotFoundError
	if !errors.Is(err, ErrNotFound) || !errors.As(err, &absent) || absent.Context != "1,2" {
		t.Errorf("after the delete: %v (%+v)", err, absent)
	}
}

func TestRequestsOnTheWire(t *testing.T) {
	var got *http.Request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.WriteHeader(http.StatusNoContent)
	}))
	defer srv.Close()
	c := newClient(t, Options{Endpoints: []string{srv.URL}, DisableRing: true})
	ctx := context.Background()
	every := Consistency{Level: Two, R: 1, W: 2, PR: 3, PW: 4, Strict: true}
	check := func(err error, query string, headers map[string]string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if got.URL.RawQuery != query {
			t.Errorf("%s query %q, want %q", got.Method, got.URL.RawQuery, query)
		}
		for name, want := range headers {
			if v := got.Header.Get(name); v != want {
				t.Errorf("%s header %s: %q, want %q", got.Method, name, v, want)
			}
		}
	}
	_, err := c.Get(ctx, "b", "k", &GetOptions{Consistency: every, Timeout: 750 * time.Millisecond, Context: "seen"})
	check(err, "consistency=two&pr=3&r=1&sloppy=false&timeout=750ms", map[string]string{"X-Starling-Context": "seen", "Idempotency-Key": ""})
	_, err = c.Put(ctx, "b", "k", []byte("v"), &PutOptions{Consistency: every, TTL: time.Minute, Context: "c", IdempotencyKey: "mine"})
	check(err, "consistency=two&pw=4&sloppy=false&ttl=1m0s&w=2", map[string]string{"X-Starling-Context": "c", "Idempotency-Key": "mine", "Content-Type": "application/octet-stream"})
	if got.ContentLength != 1 {
		t.Errorf("Content-Length %d", got.ContentLength)
	}
	_, err = c.Put(ctx, "b", "k", nil, nil)
	check(err, "", map[string]string{"X-Starling-Context": ""})
	if got.ContentLength != 0 || len(got.TransferEncoding) != 0 {
		t.Errorf("an empty value was sent with length %d, %v", got.ContentLength, got.TransferEncoding)
	}
	_, err = c.Delete(ctx, "b", "k", &DeleteOptions{Consistency: every})
	check(err, "consistency=two&pr=3&pw=4&r=1&sloppy=false&w=2", nil)
	_, err = c.Delete(ctx, "b", "k", &DeleteOptions{Consistency: every, Context: "c"})
	check(err, "consistency=two&pw=4&sloppy=false&w=2", map[string]string{"X-Starling-Context": "c"})
}

func TestBadArgumentsAreNotSent(t *testing.T) {
	c := newClient(t, Options{DisableRing: true, Endpoints: []string{"http://x:1"}, HTTPClient: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return nil, errors.New("sent")
	})}})
	ctx := context.Background()
	for name, f := range map[string]func() error{
		"1 to 64":   func() error { _, err := c.Get(ctx, "", "k", nil); return err },
		"'/'":       func() error { _, err := c.Get(ctx, "a/b", "k", nil); return err },
		"1 to 1024": func() error { _, err := c.Delete(ctx, "b", strings.Repeat("k", 1025), nil); return err },
		"r is -1":   func() error { _, err := c.Get(ctx, "b", "k", &GetOptions{Consistency: Consistency{R: -1}}); return err },
		"negative":  func() error { _, err := c.Put(ctx, "b", "k", nil, &PutOptions{TTL: -1}); return err },
		"no header": func() error {
			_, err := c.Put(ctx, "b", "k", nil, &PutOptions{Meta: map[string]string{"a b": "c"}})
			return err
		},
		"control ch": func() error { _, err := c.Put(ctx, "b", "k", nil, &PutOptions{ContentType: "a\nb"}); return err },
	} {
		if err := f(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"no endpoints":         {},
		"scheme must be":       {Endpoints: []string{"ftp://a"}},
		"names no host":        {Endpoints: []string{"http://:80"}},
		"only http://":         {Endpoints: []string{"http://a/prefix"}},
		"must not be negative": {Endpoints: []string{"a:1"}, Attempts: -1},
		"Options.Timeout":      {Endpoints: []string{"a:1"}, Timeout: -1},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	c := newClient(t, Options{Endpoints: []string{"a:1", "https://b"}})
	if got := c.configured[0].url.String() + " " + c.configured[1].url.String(); got != "http://a:1 https://b" {
		t.Error(got)
	}
}

// siblingsOf writes values that do not know of each other.
func siblingsOf(t *testing.T, c *Client, key string, values ...string) {
	t.Helper()
	for _, v := range values {
		if _, err := c.Put(context.Background(), "b", key, []byte(v), nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSiblings(t *testing.T) {
	c, _ := storeClient(t, Options{})
	ctx := context.Background()
	siblingsOf(t, c, "k", "one", "t\xffwo")
	v, err := c.Get(ctx, "b", "k", nil)
	if v != nil {
		t.Errorf("a value without a resolver: %+v", v)
	}
	v, ok := Siblings(err)
	if !ok || len(v.Siblings) != 2 || v.Data != nil || v.Context != "1,2" {
		t.Fatalf("siblings %+v, %v", v, err)
	}
	if string(v.Siblings[0].Data) != "one" || string(v.Siblings[1].Data) != "t\xffwo" || v.Siblings[1].Dot != "2" {
		t.Errorf("siblings %+v", v.Siblings)
	}
	v, err = c.Get(ctx, "b", "k", &GetOptions{Resolve: LatestModified})
	if err != nil || string(v.Data) != "t\xffwo" || len(v.Siblings) != 2 || !v.Modified.After(fakeModified) {
		t.Errorf("resolved %+v, %v", v, err)
	}
	v, err = c.Get(ctx, "b", "k", &GetOptions{Resolve: func(s []Sibling) (Sibling, error) { slices.Reverse(s); return s[0], nil }})
	if err != nil || v.Siblings[0].Dot != "1" {
		t.Errorf("a resolver that reorders reaches the value: %+v, %v", v, err)
	}
	refuse := errors.New("no idea")
	if _, err = c.Get(ctx, "b", "k", &GetOptions{Resolve: func([]Sibling) (Sibling, error) { return Sibling{}, refuse }}); !errors.Is(err, refuse) {
		t.Errorf("a failed resolver: %v", err)
	}
	if _, err := c.Put(ctx, "b", "k", []byte("both"), &PutOptions{Context: v.Context}); err != nil {
		t.Fatal(err)
	}
	if v, err = c.Get(ctx, "b", "k", nil); err != nil || string(v.Data) != "both" {
		t.Errorf("after the write that saw both: %+v, %v", v, err)
	}
}

// join resolves to all values, sorted.
func join(siblings []Sibling) (Sibling, error) {
	var all []string
	for _, s := range siblings {
		all = append(all, string(s.Data))
	}
	slices.Sort(all)
	return Sibling{Data: []byte(strings.Join(all, "+")), ContentType: "text/plain"}, nil
}

func TestUpdate(t *testing.T) {
	c, f := storeClient(t, Options{Resolve: join})
	ctx := context.Background()
	add := func(s string) func(*Value) ([]byte, error) {
		return func(current *Value) ([]byte, error) {
			if current == nil {
				return []byte(s), nil
			}
			return fmt.Appendf(nil, "%s,%s", current.Data, s), nil
		}
	}
	update := func(s, want string) {
		t.Helper()
		if _, err := c.Update(ctx, "b", "k", add(s)); err != nil {
			t.Fatal(err)
		}
		o := f.objects["b\x00k"]
		if len(o.siblings) != 1 || string(o.siblings[0].data) != want {
			t.Fatalf("after %s: %+v, want %s", s, o.siblings, want)
		}
	}
	update("a", "a")
	update("b", "a,b")
	siblingsOf(t, c, "k", "x")
	update("c", "a,b+x,c")
	if _, err := c.Delete(ctx, "b", "k", nil); err != nil {
		t.Fatal(err)
	}
	update("d", "d")
	if f.context != "1,2,3,4,5" {
		t.Errorf("the put after a delete has the context %s", f.context)
	}
	if got := f.objects["b\x00k"].siblings[0].contentType; got != "application/octet-stream" {
		t.Errorf("content type %q", got)
	}
	stop := errors.New("enough")
	if _, err := c.Update(ctx, "b", "k", func(*Value) ([]byte, error) { return nil, stop }); !errors.Is(err, stop) || MaybeApplied(err) {
		t.Errorf("an error of the function: %v", err)
	}
}

// A put refused for too many siblings is begun anew: the second read sees
// them all, and the write replaces them.
func TestUpdateStartsOverAtTheSiblingCap(t *testing.T) {
	c, f := storeClient(t, Options{Resolve: join})
	f.cap = 2
	siblingsOf(t, c, "k", "a")
	rounds := 0
	_, err := c.Update(context.Background(), "b", "k", func(current *Value) ([]byte, error) {
		if rounds++; rounds == 1 {
			// Two writers come in between: their siblings alone reach the cap.
			f.mu.Lock()
			f.objects["b\x00k"].seen = []int{1, 2, 3}
			f.objects["b\x00k"].siblings = []fakeSibling{{dot: 2, data: []byte("x")}, {dot: 3, data: []byte("y")}}
			f.next = 3
			f.mu.Unlock()
		}
		return append(current.Data, '!'), nil
	})
	if err != nil || rounds != 2 {
		t.Fatalf("%d rounds, %v", rounds, err)
	}
	if o := f.objects["b\x00k"]; len(o.siblings) != 1 || string(o.siblings[0].data) != "x+y!" {
		t.Errorf("left %+v", o.siblings)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	chunked := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if chunked {
			w.(http.Flusher).Flush()
		}
		_, _ = w.Write(make([]byte, 11))
	}))
	defer srv.Close()
	for _, chunked = range []bool{false, true} {
		for _, tc := range []struct {
			bound int64
			want  error
		}{{10, ErrTooLarge}, {11, nil}} {
			c := newClient(t, Options{Endpoints: []string{srv.URL}, DisableRing: true, MaxAnswerBytes: tc.bound})
			if v, err := c.Get(context.Background(), "b", "k", nil); !errors.Is(err, tc.want) || err == nil && len(v.Data) != 11 {
				t.Errorf("bound %d, chunked %v: %v", tc.bound, chunked, err)
			}
		}
	}
}

func TestMalformedSiblings(t *testing.T) {
	var body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusMultipleChoices)
		_, _ = w.Write([]byte(body))
	}))
	defer srv.Close()
	c := newClient(t, Options{Endpoints: []string{srv.URL}, DisableRing: true})
	for _, body = range []string{
		`--boundary`, `{}`, `{"siblings":[{"encoding":"utf-8"}]}`,
		`{"siblings":[{"encoding":"utf-8"},{"encoding":"rot13"}]}`,
		`{"siblings":[{"encoding":"utf-8"},{"encoding":"base64","value":"?"}]}`,
	} {
		if _, err := c.Get(context.Background(), "b", "k", nil); err == nil {
			t.Errorf("%s was believed", body)
		} else if _, ok := Siblings(err); ok {
			t.Errorf("%s: %v", body, err)
		}
	}
}
