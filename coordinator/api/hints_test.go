package api

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"starling/coordinator/hint"
	"starling/ring"
)

// fakeHints keeps numbers of hints.
type fakeHints struct {
	targets  []hint.Target
	replayed []ring.NodeID
	err      error
}

func (h *fakeHints) Targets() []hint.Target { return h.targets }

func (h *fakeHints) Replay(target ring.NodeID) (int64, error) {
	h.replayed = append(h.replayed, target)
	var pending int64
	for _, t := range h.targets {
		if target.IsZero() || t.Node == target {
			pending += t.Hints
		}
	}
	return pending, h.err
}

func TestHints(t *testing.T) {
	h := &fakeHints{}
	f := serve(t, func(o *Options) { o.Hints = h })
	f.do("GET", "/v1/hints", "").want(200).wantBody(`{"node":"n1","hints":0,"bytes":0,"targets":[]}`)
	h.targets = []hint.Target{
		{Node: nodeID(4), Hints: 3, Bytes: 300, State: hint.Waiting, LastError: fmt.Sprintf("coordinator: peer unreachable: %s", nodeID(4))},
		{Node: nodeID(9), Hints: 2, Bytes: 50, State: hint.Draining, Delivered: 40},
	}
	var doc hintsDoc
	f.do("GET", "/v1/hints", "").want(200).wantHeader("Cache-Control", "no-store").decode(&doc)
	want := hintsDoc{Node: "n1", Hints: 5, Bytes: 350, Targets: []hintTarget{
		{Target: "n4", ID: nodeID(4).String(), Hints: 3, Bytes: 300, State: "waiting", LastError: "peer unreachable: n4"},
		{Target: nodeID(9).String(), ID: nodeID(9).String(), Hints: 2, Bytes: 50, State: "draining", Delivered: 40},
	}}
	if !reflect.DeepEqual(doc, want) {
		t.Errorf("got\n%+v\nwant\n%+v", doc, want)
	}
	f.do("HEAD", "/v1/hints", "").want(200)
	f.do("GET", "/v1/hints?target=n4", "").wantProblem(400, "bad-parameter", "takes none")
}

func TestReplay(t *testing.T) {
	h := &fakeHints{targets: []hint.Target{{Node: nodeID(4), Hints: 3}, {Node: nodeID(9), Hints: 2}}}
	f := serve(t, func(o *Options) { o.Hints = h })
	for query, want := range map[string]struct {
		pending  int
		replayed []ring.NodeID
	}{
		"":                                    {5, []ring.NodeID{{}}},
		"?target=n4":                          {3, []ring.NodeID{nodeID(4)}},
		"?target=n%34":                        {3, []ring.NodeID{nodeID(4)}},
		"?target=" + nodeID(4).String():       {3, []ring.NodeID{nodeID(4)}},
		"?target=" + nodeID(9).String():       {2, []ring.NodeID{nodeID(9)}},
		"?target=n2":                          {0, []ring.NodeID{nodeID(2)}},
		"?&target=" + nodeID(2).String() + "": {0, []ring.NodeID{nodeID(2)}},
	} {
		h.replayed = nil
		f.do("POST", "/v1/hints/replay"+query, "").want(202).wantBody(fmt.Sprintf(`{"pending":%d}`, want.pending))
		if !reflect.DeepEqual(h.replayed, want.replayed) {
			t.Errorf("%q replayed %v", query, h.replayed)
		}
	}
	h.replayed = nil
	f.do("POST", "/v1/hints/replay?target=n7", "").wantProblem(404, "no-such-node", `"n7"`)
	f.do("POST", "/v1/hints/replay?target=", "").wantProblem(404, "no-such-node", `""`)
	f.do("POST", "/v1/hints/replay?target=n4&target=n2", "").wantProblem(400, "bad-parameter", "twice")
	f.do("POST", "/v1/hints/replay?for=n4", "").wantProblem(400, "bad-parameter", "takes target")
	f.do("GET", "/v1/hints/replay", "").wantProblem(405, "method-not-allowed", "POST")
	f.do("POST", "/v1/hints", "").wantProblem(405, "method-not-allowed", "GET, HEAD")
	if h.replayed != nil {
		t.Errorf("a refused request replayed %v", h.replayed)
	}
	h.err = hint.ErrNotRunning
	f.do("POST", "/v1/hints/replay?target=n4", "").wantProblem(503, "not-ready")
	h.err = errors.New("secret")
	f.do("POST", "/v1/hints/replay?target=n4", "").wantProblem(500, "internal")
}

// TestWithoutHints: a node that was made without them says so.
func TestWithoutHints(t *testing.T) {
	f := serve(t)
	f.do("GET", "/v1/hints", "").wantProblem(503, "not-ready", "does not offer")
	f.do("POST", "/v1/hints/replay", "").wantProblem(503, "not-ready", "does not offer")
}
