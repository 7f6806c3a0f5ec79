package api

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// fakeHost is a node that reaches others as it is told.
type fakeHost struct{ ways []Reachability }

func (h *fakeHost) Report() HostReport {
	return HostReport{Version: "v1", Revision: "abc", Go: "go1", OS: "linux", Arch: "amd64", CPUs: 2, Started: time.UnixMilli(1000),
		Settings: []HostSetting{{"zone", "z", "default"}}}
}

func (h *fakeHost) Reach(ctx context.Context) []Reachability {
	if _, ok := ctx.Deadline(); !ok {
		panic("no deadline")
	}
	return h.ways
}

func TestHost(t *testing.T) {
	now := time.UnixMilli(5678)
	f := serve(t, func(o *Options) { o.Host, o.Now = &fakeHost{}, func() time.Time { return now } })
	var doc hostDoc
	f.do("GET", "/v1/node", "").want(200).wantHeader("Cache-Control", "no-store").decode(&doc)
	want := hostDoc{Node: "n1", ID: nodeID(1).String(), ClusterID: doc.ClusterID, Version: "v1", Revision: "abc", Go: "go1", OS: "linux", Arch: "amd64", CPUs: 2,
		Started: "1970-01-01T00:00:01.000Z", Now: "1970-01-01T00:00:05.678Z", Settings: []HostSetting{{"zone", "z", "default"}}}
	if !reflect.DeepEqual(doc, want) || len(doc.ClusterID) != 32 {
		t.Errorf("got\n%+v\nwant\n%+v", doc, want)
	}
	f.do("GET", "/v1/node?x=1", "").wantProblem(400, "bad-parameter", "takes none")
	serve(t).do("GET", "/v1/node", "").want(503)
}

func TestReach(t *testing.T) {
	h := &fakeHost{}
	f := serve(t, func(o *Options) { o.Host = h })
	f.do("GET", "/v1/node/peers", "").want(200).wantBody(`{"node":"n1","peers":[]}`)
	h.ways = []Reachability{{Node: nodeID(4), Alive: true, UDP: Way{Err: fmt.Errorf("gossip: %w", errors.New("no answer"))}, RPC: Way{Took: 420 * time.Microsecond}}}
	var doc reachDoc
	f.do("GET", "/v1/node/peers", "").want(200).decode(&doc)
	want := reachDoc{Node: "n1", Peers: []peerReach{{Name: "n4", ID: nodeID(4).String(), Alive: true, UDP: wayDoc{Error: doc.Peers[0].UDP.Error}, RPC: wayDoc{OK: true, RoundTripMS: 0.42}}}}
	if !reflect.DeepEqual(doc, want) || !strings.Contains(doc.Peers[0].UDP.Error, "no answer") {
		t.Errorf("got\n%+v\nwant\n%+v", doc, want)
	}
	serve(t).do("GET", "/v1/node/peers", "").want(503)
}

func TestProfiles(t *testing.T) {
	f := serve(t, func(o *Options) { o.Profiles = true })
	for _, name := range []string{"heap", "goroutine", "allocs", "mutex", "block", "threadcreate"} {
		if a := f.do("GET", "/debug/pprof/"+name, "").want(200); string(a.body[:2]) != "\x1f\x8b" {
			t.Errorf("%s is not what pprof reads: %.40q", name, a.body)
		}
	}
	if a := f.do("GET", "/debug/pprof/goroutine?debug=2", "").want(200); !strings.Contains(string(a.body), "goroutine 1 [") {
		t.Errorf("goroutines as text: %.100s", a.body)
	}
	if a := f.do("GET", "/debug/pprof/profile?seconds=1", "").want(200); string(a.body[:2]) != "\x1f\x8b" {
		t.Errorf("the CPU's profile: %.40q", a.body)
	}
	f.do("GET", "/debug/pprof/profile?seconds=31", "").wantProblem(400, "bad-parameter", "1 to 30")
	f.do("GET", "/debug/pprof/heap?debug=x", "").wantProblem(400, "bad-parameter", "0 to 2")
	f.do("GET", "/debug/pprof/keys", "").wantProblem(404, "no-such-resource", "heap")
	serve(t).do("GET", "/debug/pprof/heap", "").want(503)
}
