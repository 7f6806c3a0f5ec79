package client

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A node that hangs costs one attempt's time, and the next calls pass it by.
func TestAHangingNodeIsSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hosts []string
		start := time.Now()
		c := newClient(t, Options{
			Endpoints: []string{"hangs:1", "well:1"}, DisableRing: true,
			HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				hosts = append(hosts, r.URL.Host)
				if r.URL.Host == "hangs:1" {
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				return ok(), nil
			})},
		})
		get := func() {
			t.Helper()
			if _, err := c.Get(context.Background(), "b", "k", nil); err != nil {
				t.Fatal(err)
			}
		}
		for len(hosts) < 2 || hosts[len(hosts)-2] != "hangs:1" {
			get()
		}
		if got := time.Since(start); got != DefaultAttemptTimeout {
			t.Errorf("the first failure took %v", got)
		}
		hosts = nil
		for range 4 {
			get()
		}
		if got := strings.Join(hosts, " "); got != "well:1 well:1 well:1 well:1" {
			t.Errorf("while it is set aside: %s", got)
		}
		time.Sleep(asideFirst)
		hosts = nil
		for range 2 {
			get()
		}
		if !strings.Contains(strings.Join(hosts, " "), "hangs:1") {
			t.Errorf("it is never tried again: %v", hosts)
		}
	})
}

// A node without a quorum is not to blame: the next calls ask it as before.
func TestANodeWithoutAQuorumIsNotSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{play: []any{func() *http.Response { return problemReply(503, `,"required":2`, "Retry-After", "7") }, ok}}
		c := s.client(t, Options{Endpoints: []string{"a:1", "b:1"}})
		for range 4 {
			if _, err := c.Get(context.Background(), "b", "k", nil); err != nil {
				t.Fatal(err)
			}
		}
		asked := 0
		for _, a := range s.sent[1:] {
			if a.host == s.sent[0].host {
				asked++
			}
		}
		if asked == 0 {
			t.Errorf("it was not asked again: %v", s.sent)
		}
	})
}

// A dead endpoint costs one call an attempt, not every call.
func TestADeadEndpointIsRemembered(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	_ = l.Close()
	srv := httptest.NewServer(newFakeStore())
	defer srv.Close()
	dials := 0
	transport := newTransport()
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == dead {
			dials++
		}
		return dial(ctx, network, addr)
	}
	defer transport.CloseIdleConnections()
	start := time.Now()
	c := newClient(t, Options{Endpoints: []string{dead, srv.URL}, DisableRing: true, HTTPClient: &http.Client{Transport: transport}})
	for i := range 20 {
		if _, err := c.Put(context.Background(), "b", fmt.Sprint(i), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	// It is tried again after asideFirst, so that much time explains one more.
	if most := 1 + int(time.Since(start)/asideFirst); dials < 1 || dials > most {
		t.Errorf("%d dials of a dead endpoint in 20 calls", dials)
	}
}

func TestABusyNodeIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{play: []any{func() *http.Response { return problemReply(503, "", "Retry-After", "7") }, ok}}
		c := s.client(t, Options{Endpoints: []string{"a:1", "b:1"}})
		for range 5 {
			if _, err := c.Get(context.Background(), "b", "k", nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, a := range s.sent[1:] {
			if a.host == s.sent[0].host {
				t.Errorf("%s asked for a pause and was asked at %v", a.host, a.at)
			}
		}
		time.Sleep(7 * time.Second)
		for range 2 {
			if _, err := c.Get(context.Background(), "b", "k", nil); err != nil {
				t.Fatal(err)
			}
		}
		if last := s.sent[len(s.sent)-2:]; last[0].host == last[1].host {
			t.Errorf("after the pause: %v", last)
		}
	})
}

func TestEndpointIsSetAsideLongerEachTime(t *testing.T) {
	e := &endpoint{}
	for _, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 15 * time.Second} {
		if got := e.failed(time.Hour); got != want || !e.aside(time.Hour+want-1) || e.aside(time.Hour+want) {
			t.Errorf("set aside for %v, want %v", got, want)
		}
	}
	for range 100 {
		if got := e.failed(0); got != asideLongest {
			t.Fatalf("set aside for %v", got)
		}
	}
	e.answered()
	if e.aside(0) {
		t.Error("still set aside after an answer")
	}
	if got := e.failed(0); got != asideFirst {
		t.Errorf("set aside for %v after an answer", got)
	}
}
