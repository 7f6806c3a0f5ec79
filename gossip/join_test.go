package gossip

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"starling/gossip/state"
)

func TestCandidates(t *testing.T) {
	for join, want := range map[string][]string{
		"n1":              {"n1:4701", "n1:4700", "n1:4702"},
		"n1:4700":         {"n1:4700", "n1:4699", "n1:4701"},
		"10.0.0.1":        {"10.0.0.1:4701", "10.0.0.1:4700", "10.0.0.1:4702"},
		"[::1]:9":         {"[::1]:9", "[::1]:8", "[::1]:10"},
		"::1":             {"[::1]:4701", "[::1]:4700", "[::1]:4702"},
		"[::1]":           {"[::1]:4701", "[::1]:4700", "[::1]:4702"},
		"n1:1":            {"n1:1", "n1:2"},
		"n1:65535":        {"n1:65535", "n1:65534"},
		"":                nil,
		":4701":           nil,
		"n1:":             nil,
		"n1:0":            nil,
		"n1:http":         nil,
		"n1:65536":        nil,
		"n1:4701:4702":    nil,
		"http://n1:4700/": nil,
	} {
		got, err := candidates(join)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: %v, %v, want %v", join, got, err, want)
		}
	}
}

func TestJoinFindsTheRightPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		first := newNode(t, net, 1)
		first.found()
		fresh := newNode(t, net, 2)
		for _, addr := range []string{"10.0.0.1", "10.0.0.1:4700", "10.0.0.1:4701", "10.0.0.1:4702"} {
			start := time.Now()
			m, err := Join(t.Context(), fresh.joinOptions("10.0.0.99", addr))
			if err != nil || m.Settings != testSettings() {
				t.Fatalf("%s: %+v, %v", addr, m, err)
			}
			if took := time.Since(start); took > 50*time.Millisecond {
				t.Errorf("%s: waited %v for the address that does not answer", addr, took)
			}
		}
		if got := len(first.g.Map().Members); got != 1 {
			t.Fatalf("asking made %d members", got)
		}
	})
}

func TestJoinWaitsForAPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		first, fresh := newNode(t, net, 1), newNode(t, net, 2)
		var log bytes.Buffer
		o := fresh.joinOptions(first.self.RPC)
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		time.AfterFunc(3*time.Hour, first.found)
		start := time.Now()
		m, err := Join(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 3*time.Hour || took > 3*time.Hour+5*time.Second {
			t.Errorf("took %v", took)
		}
		if m.Settings != testSettings() {
			t.Errorf("got %v", m.Settings)
		}
		for _, want := range []string{"waiting for a join address", first.self.RPC, "found the cluster"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not say %q", want)
			}
		}
		if lines := strings.Count(log.String(), "\n"); lines < 900 || lines > 1100 {
			t.Errorf("%d lines of log in 3 hours, want one every 10 s", lines)
		}
	})
}

// TestJoinTakesNoMapWithoutACluster: two fresh nodes that ask each other found no cluster.
func TestJoinTakesNoMapWithoutACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetch := exchangeFunc(func(context.Context, string, state.Map) (state.Map, error) { return state.Map{}, nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := Join(ctx, JoinOptions{Addrs: []string{"n1"}, Fetch: fetch, ID: nodeID(1), Name: "n1"})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no cluster yet") {
			t.Fatalf("got %v", err)
		}
	})
}

type exchangeFunc func(ctx context.Context, addr string, mine state.Map) (state.Map, error)

func (f exchangeFunc) Exchange(ctx context.Context, addr string, mine state.Map) (state.Map, error) {
	return f(ctx, addr, mine)
}

func TestJoinRefuses(t *testing.T) {
	taken := state.Member{ID: nodeID(1), Name: "n1", Weight: 100, State: state.Active, Boot: 1, Version: 1<<32 | 1}
	taken.RPC = "10.0.0.1:4701"
	gone := taken
	gone.ID, gone.Name, gone.State = nodeID(2), "n2", state.Removed
	m := state.Map{Settings: testSettings()}.With(taken).With(gone)
	heir := gone
	heir.Heir = nodeID(1)
	replaced := m.With(heir)
	newer := m
	newer.Settings.HashVersion = 2
	for _, tc := range []struct {
		what   string
		m      state.Map
		change func(*JoinOptions)
		want   error
		says   string
	}{
		{"nothing", m, func(*JoinOptions) {}, nil, ""},
		{"the same settings", m, func(o *JoinOptions) { o.Partitions, o.Replicas = 16, 3 }, nil, ""},
		{"the cluster of the directory", m, func(o *JoinOptions) { o.Cluster = m.Settings.Cluster }, nil, ""},
		{"the name of a removed member", m, func(o *JoinOptions) { o.Name = "n2" }, nil, ""},
		{"its own name and ID", m, func(o *JoinOptions) { o.ID, o.Name = nodeID(1), "n1" }, nil, ""},
		{"a member to replace", m, func(o *JoinOptions) { o.Replace = "n1" }, nil, ""},
		{"it and its name", m, func(o *JoinOptions) { o.Replace, o.Name = nodeID(1).String(), "n1" }, nil, ""},
		{"a removed one to replace", m, func(o *JoinOptions) { o.Replace = "n2" }, nil, ""},
		{"a stranger to replace", m, func(o *JoinOptions) { o.Replace = "n7" }, state.ErrUnknownMember, "n1 (" + nodeID(1).String() + ", active)"},
		{"one that is replaced", replaced, func(o *JoinOptions) { o.Replace = "n2" }, state.ErrInvalid, "was replaced by"},
		{"itself", m, func(o *JoinOptions) { o.ID, o.Replace = nodeID(2), "n2" }, ErrRemoved, "empty data directory"},
		{"the name of a lost disk", m, func(o *JoinOptions) { o.Name, o.RPC = "n1", "10.0.0.1:4701" }, nil, ""},
		{"other partitions", m, func(o *JoinOptions) { o.Partitions = 1024 }, state.ErrSettings, "configure 16, or none"},
		{"other replicas", m, func(o *JoinOptions) { o.Replicas = 2 }, state.ErrSettings, "configure 3, or none"},
		{"a taken name", m, func(o *JoinOptions) { o.Name = "n1" }, state.ErrNameTaken, "choose another name"},
		{"a removed ID", m, func(o *JoinOptions) { o.ID = nodeID(2) }, ErrRemoved, "empty data directory"},
		{"another cluster", m, func(o *JoinOptions) { o.Cluster[0] = 9 }, state.ErrForeignCluster, "empty data directory"},
		{"an unknown hash", newer, func(*JoinOptions) {}, state.ErrSettings, "run a release that knows it"},
		{"no addresses", m, func(o *JoinOptions) { o.Addrs = nil }, ErrOptions, "no join address"},
		{"a malformed address", m, func(o *JoinOptions) { o.Addrs = []string{"a:b"} }, ErrOptions, `"a:b"`},
		{"too many addresses", m, func(o *JoinOptions) { o.Addrs = make([]string, 65) }, ErrOptions, "65"},
		{"no way to ask", m, func(o *JoinOptions) { o.Fetch = nil }, ErrOptions, "Fetch"},
	} {
		o := JoinOptions{Addrs: []string{"n1"}, ID: nodeID(3), Name: "n3"}
		o.Fetch = exchangeFunc(func(context.Context, string, state.Map) (state.Map, error) { return tc.m, nil })
		tc.change(&o)
		_, err := Join(t.Context(), o)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.what, err, tc.want)
		}
		if err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %q does not say %q", tc.what, err, tc.says)
		}
	}
}

func TestNewClusterFillsIn(t *testing.T) {
	self := state.Member{ID: nodeID(1), Name: "n1", Weight: 100, Boot: 1}
	a, err := NewCluster(state.Settings{}, self)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewCluster(state.Settings{Partitions: 64, Replicas: 1}, self)
	if err != nil {
		t.Fatal(err)
	}
	if a.Settings.Partitions != 1024 || a.Settings.Replicas != 3 || b.Settings.Partitions != 64 || b.Settings.Replicas != 1 {
		t.Fatalf("got %v and %v", a.Settings, b.Settings)
	}
	if a.Settings.Cluster == b.Settings.Cluster || a.Settings.Secret == b.Settings.Secret || a.Settings.Secret == [32]byte{} {
		t.Fatal("cluster IDs or secrets are not random")
	}
	if r, _ := a.Member(self.ID); r.State != state.Active || r.Settled.Count() != 1024 {
		t.Fatalf("got %+v", r)
	}
	if _, err := NewCluster(state.Settings{Partitions: 3}, self); !errors.Is(err, state.ErrSettings) {
		t.Fatalf("3 partitions: %v", err)
	}
}
