package load

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cell is one node of a pretended cluster: all share the values of one
// recorder, and each may be told to lose or spoil its copies.
type cell struct {
	all   *recorder
	names []string // of all nodes
	urls  []string
	self  int
	hints int
	// copyOf changes what a read at consistency one is answered.
	copyOf func(key string, value []byte) []byte
}

func (n *cell) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/v1/cluster":
		type member struct {
			Name  string `json:"name"`
			HTTP  string `json:"http"`
			Hints int    `json:"hints"`
		}
		doc := struct {
			Node    string   `json:"node"`
			Members []member `json:"members"`
		}{Node: n.names[n.self]}
		for i, name := range n.names {
			m := member{Name: name, HTTP: strings.TrimPrefix(n.urls[i], "http://"), Hints: 1000}
			if i == n.self {
				m.Hints = n.hints
			}
			doc.Members = append(doc.Members, m)
		}
		_ = json.NewEncoder(w).Encode(doc)
	case strings.HasPrefix(r.URL.Path, "/v1/ring/"):
		_ = json.NewEncoder(w).Encode(map[string][]string{"owners": n.names})
	case r.URL.RawQuery == "consistency=one" && n.copyOf != nil:
		n.all.mu.Lock()
		value := n.copyOf(r.URL.Path, n.all.values[r.URL.Path])
		n.all.mu.Unlock()
		if value == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(value)
	default:
		n.all.ServeHTTP(w, r)
	}
}

// pretendCluster starts n cells.
func pretendCluster(t *testing.T, n int) (*recorder, []*cell) {
	t.Helper()
	all := newRecorder()
	cells := make([]*cell, n)
	var names, urls []string
	for i := range cells {
		cells[i] = &cell{all: all, self: i}
		names, urls = append(names, fmt.Sprint("c", i)), append(urls, serve(t, cells[i]))
	}
	for _, c := range cells {
		c.names, c.urls = names, urls
	}
	return all, cells
}

func newClients(t *testing.T, o ClientOptions) *Clients {
	t.Helper()
	c, err := NewClients(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// runFor drives clients until enough has happened.
func (c *Clients) runFor(t *testing.T, enough func() bool) Trace {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx) })
	for !enough() && ctx.Err() == nil {
		time.Sleep(time.Millisecond) // what the clients do can only be asked
	}
	gaveUp := ctx.Err() != nil
	cancel()
	wg.Wait()
	if gaveUp {
		t.Fatalf("the clients did too little in 20 s; failures: %q", c.Failures())
	}
	return c.Trace()
}

func (s *recorder) handled(n int) func() bool {
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.methods[http.MethodGet]+s.methods[http.MethodPut] >= n
	}
}

func TestClientsWriteTheirOwnKeysWithContexts(t *testing.T) {
	all, cells := pretendCluster(t, 3)
	c := newClients(t, ClientOptions{Endpoints: cells[0].urls, Clients: 6, KeysEach: 5, ValueBytes: 100})
	trace := c.runFor(t, all.handled(1000))
	if n := c.Done(); n != int64(len(trace.Requests)) || n < 1000 {
		t.Errorf("%d requests done, %d recorded", n, len(trace.Requests))
	}
	var puts, gets, at [3]int
	for _, r := range trace.Requests {
		kind := &gets
		if r.Put {
			kind = &puts
		}
		kind[r.Endpoint]++
		at[r.Endpoint]++
		if r.Failed || r.Stale || r.Moved || r.Took <= 0 {
			t.Fatalf("%+v", r)
		}
	}
	for i := range at {
		if puts[i] < at[i]/3 || gets[i] < at[i]/3 {
			t.Errorf("endpoint %d: %d puts and %d gets", i, puts[i], gets[i])
		}
	}
	if all.stale != 0 || len(all.values) > 6*5 || !all.queries["consistency=quorum&timeout=2s"] {
		t.Errorf("%d stale puts, %d keys, queries %v", all.stale, len(all.values), all.queries)
	}
	check, err := c.Verify(t.Context())
	if err != nil || len(check.Findings) > 0 || check.Keys != len(all.values) || check.Copies != 3*30 {
		t.Errorf("%+v, %v", check, err)
	}
	for path, value := range all.values {
		if len(value) != 100 {
			t.Errorf("%s has %d bytes", path, len(value))
		}
	}
}

func TestFreshKeysLeavesTheOldOnesAlone(t *testing.T) {
	all, cells := pretendCluster(t, 1)
	c := newClients(t, ClientOptions{Endpoints: cells[0].urls, Clients: 2, KeysEach: 3})
	c.runFor(t, all.handled(100))
	before := maps.Clone(all.writes)
	c.FreshKeys()
	c.runFor(t, all.handled(200))
	for path, n := range before {
		if all.writes[path] != n {
			t.Errorf("%s was written again after FreshKeys", path)
		}
	}
	if check, err := c.Verify(t.Context()); err != nil || check.Keys != len(all.values) || check.Keys <= len(before) {
		t.Errorf("%+v, %v; %d keys at first, %d at last", check, err, len(before), len(all.values))
	}
}

// An endpoint that refuses connections costs nothing; one that hangs costs
// each client one request.
func TestClientsMoveOn(t *testing.T) {
	all, cells := pretendCluster(t, 2)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := "http://" + closed.Addr().String()
	_ = closed.Close()
	release := make(chan struct{})
	var hung atomic.Int64
	hanging := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		hung.Add(1)
		<-release
	}))
	t.Cleanup(func() { close(release) })
	endpoints := []string{refusing, cells[0].urls[0], hanging, cells[1].urls[1]}
	c := newClients(t, ClientOptions{Endpoints: endpoints, Clients: 8, KeysEach: 4, Timeout: 50 * time.Millisecond})
	enough := all.handled(500)
	trace := c.runFor(t, func() bool { return enough() && hung.Load() >= 2 })
	failed, moved := 0, 0
	for _, r := range trace.Requests {
		if r.Failed {
			failed++
			if r.Endpoint != 2 || r.Status != 0 || r.Took < 50*time.Millisecond {
				t.Errorf("failed: %+v", r)
			}
		}
		if r.Moved {
			moved++
		}
	}
	// Two clients are at home at each.
	if failed != 2 || moved != 2 || hung.Load() != 2 {
		t.Errorf("%d failed, %d moved, %d hung, want 2 each: %q", failed, moved, hung.Load(), c.Failures())
	}
	if notes := c.Failures(); len(notes) != 2 || !strings.Contains(notes[0], hanging) {
		t.Errorf("failures %q", notes)
	}
	c.GoHome()
	more := all.handled(1000)
	c.runFor(t, func() bool { return more() && hung.Load() >= 4 })
}

// Without an endpoint that answers every request fails, slowly.
func TestClientsDoNotHammer(t *testing.T) {
	var asked atomic.Int64
	refuse := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	c := newClients(t, ClientOptions{Endpoints: []string{refuse}, Clients: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	c.Run(ctx)
	s := c.Trace().Summarize(Window{From: time.Now().Add(-time.Minute), Till: time.Now()})
	if s.Requests == 0 || s.Failed != s.Requests || s.SuccessPercent() != 0 || asked.Load() > 12 {
		t.Errorf("%d asked, %+v", asked.Load(), s)
	}
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	all, cells := pretendCluster(t, 3)
	c := newClients(t, ClientOptions{Endpoints: cells[0].urls, Clients: 1, KeysEach: 1})
	c.runFor(t, all.handled(20))
	cells[0].hints, cells[2].hints = 3, 4
	if n, err := c.Hints(t.Context()); n != 7 || err != nil {
		t.Errorf("%d hints, %v: each node is to be asked for its own", n, err)
	}
	for _, tt := range []struct {
		name   string
		copyOf func(string, []byte) []byte
		want   string
	}{
		{"lost", func(string, []byte) []byte { return nil }, "has nothing of put"},
		{"older", func(string, []byte) []byte { return valueOf(keyName(0, 0), 1, 256) }, "and of put"},
		{"of another key", func(string, []byte) []byte { return valueOf(keyName(0, 1), 1, 256) }, "nobody wrote"},
		{"cut short", func(_ string, v []byte) []byte { return v[:len(v)-1] }, "nobody wrote"},
		{"garbled", func(_ string, v []byte) []byte { return append(v[:len(v)-1:len(v)-1], 'x') }, "nobody wrote"},
		{"not yet written", func(string, []byte) []byte { return valueOf(keyName(0, 0), 1<<20, 256) }, "nothing"},
	} {
		cells[1].copyOf = tt.copyOf
		check, err := c.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(check.Findings) != 1 || check.Findings[0].Owner != "c1" || !strings.Contains(check.Findings[0].String(), tt.want) {
			t.Errorf("%s: %v, want %q at c1", tt.name, check.Findings, tt.want)
		}
	}
}

func TestClientOptions(t *testing.T) {
	good := ClientOptions{Endpoints: []string{"127.0.0.1:1"}}
	if _, err := NewClients(good); err != nil {
		t.Error(err)
	}
	for want, o := range map[string]ClientOptions{
		"endpoints":   {},
		"wanted http": {Endpoints: []string{"http://"}},
		"clients":     {Endpoints: good.Endpoints, Clients: -1},
		"keys":        {Endpoints: good.Endpoints, KeysEach: -1},
		"value bytes": {Endpoints: good.Endpoints, ValueBytes: 10},
		"timeout":     {Endpoints: good.Endpoints, Timeout: -1},
	} {
		if _, err := NewClients(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error about %q", o, err, want)
		}
	}
}
