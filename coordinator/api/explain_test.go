package api

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"starling/coordinator"
	"starling/coordinator/health"
	"starling/ring"
	"starling/store/version"
)

// fakeDiagnostics answers what it was given.
type fakeDiagnostics struct {
	explain  func(ctx context.Context, bucket, key string) (coordinator.Explanation, error)
	peers    []coordinator.PeerStatus
	statuses func(ctx context.Context) map[ring.NodeID]coordinator.NodeStatus
}

func (d *fakeDiagnostics) Explain(ctx context.Context, bucket, key string) (coordinator.Explanation, error) {
	return d.explain(ctx, bucket, key)
}

func (d *fakeDiagnostics) Peers() []coordinator.PeerStatus { return d.peers }

func (d *fakeDiagnostics) Statuses(ctx context.Context) map[ring.NodeID]coordinator.NodeStatus {
	return d.statuses(ctx)
}

// version1 < version2, and versionB knows neither.
var (
	version1 = copyOf(0x11, version.Vector{{Actor: 0xfeed, Seq: 1}})
	version2 = copyOf(0x22, version.Vector{{Actor: 0xfeed, Seq: 2}})
	versionB = copyOf(0xbb, version.Vector{{Actor: 0xbeef, Seq: 1}})
)

func copyOf(hash uint64, v version.Vector) coordinator.Copy {
	return coordinator.Copy{Hash: hash, Vector: v, Siblings: []coordinator.SiblingInfo{{Dot: v[0], Bytes: 12, ModifiedMS: 1_800_000_000_125}}}
}

// node is one part of an explanation, with hints in pairs of target and copy.
func node(n byte, role coordinator.Role, c coordinator.Copy, hints ...coordinator.HintCopy) coordinator.ExplainedReplica {
	return coordinator.ExplainedReplica{Node: nodeID(n), Role: role, Alive: true, Reply: coordinator.InspectReply{Copy: c, Hints: hints}}
}

func hintFor(n byte, c coordinator.Copy) coordinator.HintCopy {
	return coordinator.HintCopy{For: nodeID(n), Copy: c}
}

// silent is a node that did not answer.
func silent(n byte, role coordinator.Role, alive bool) coordinator.ExplainedReplica {
	return coordinator.ExplainedReplica{Node: nodeID(n), Role: role, Alive: alive,
		Err: fmt.Errorf("rpc: %w: node %s: dial tcp: refused", coordinator.ErrUnreachable, nodeID(n))}
}

// TestExplain: the whole document, for a key however it is escaped.
func TestExplain(t *testing.T) {
	two := version2
	two.Siblings = append([]coordinator.SiblingInfo{{Dot: version.Dot{Actor: 0xbeef, Seq: 7}, Tombstone: true, ModifiedMS: 1_800_000_000_000, ExpiresMS: 1_800_000_001_000}}, two.Siblings...)
	owner := node(1, coordinator.RoleOwner, two, hintFor(4, version1))
	owner.Reply.Leaf, owner.Reply.LeafKeys, owner.Reply.LeafSum = 7, 3, 0xabc
	var asked [2]string
	d := &fakeDiagnostics{explain: func(ctx context.Context, bucket, key string) (coordinator.Explanation, error) {
		asked = [2]string{bucket, key}
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 5*time.Second {
			t.Errorf("deadline %v", deadline)
		}
		return coordinator.Explanation{Partition: 9, Replicas: []coordinator.ExplainedReplica{
			owner, silent(4, coordinator.RoleOwner, false), node(5, coordinator.RoleFallback, coordinator.Copy{}, hintFor(4, version1), hintFor(9, version2)),
			node(3, coordinator.RoleFallback, coordinator.Copy{}),
		}}, nil
	}}
	f := serve(t, func(o *Options) { o.Diagnostics = d })
	for path, key := range map[string]string{"a/b": "a/b", "a%2Fb": "a/b", "a%252Fb": "a%2Fb", "../%00": "../\x00"} {
		f.do("GET", "/v1/explain/b/"+path, "").want(200)
		if asked != [2]string{"b", key} {
			t.Errorf("%s: asked for %q", path, asked)
		}
	}
	f.do("HEAD", "/v1/explain/b/k", "").want(200)
	var binary explainDoc
	f.do("GET", "/v1/explain/b/%ff", "").want(200).decode(&binary)
	if binary.KeyEncoding != "base64" || binary.Key != "/w==" {
		t.Errorf("a key of bytes: %+v", binary.keyDoc)
	}
	var doc explainDoc
	f.do("GET", "/v1/explain/carts/a/b", "").want(200).wantHeader("Cache-Control", "no-store").decode(&doc)
	leaf := &explainLeaf{Number: 7, Keys: 3, Sum: "0000000000000abc"}
	none, nobody := []explainedValue{}, []heldFor{}
	want := explainDoc{
		keyDoc: keyDoc{Bucket: "carts", Key: "a/b"}, Node: "n1", Partition: 9, Verdict: doc.Verdict,
		Replicas: []explainedNode{
			{Node: "n1", Role: "owner", Alive: true, Hash: "0000000000000022", Vector: map[string]uint64{"000000000000feed": 2},
				Siblings: []explainedValue{
					{Dot: "000000000000beef:7", Modified: "2027-01-15T08:00:00.000Z", Expires: "2027-01-15T08:00:01.000Z", Deleted: true},
					{Dot: "000000000000feed:2", Bytes: 12, Modified: "2027-01-15T08:00:00.125Z"},
				},
				Hints: 1, HeldFor: []heldFor{{"n4", "0000000000000011"}}, Leaf: leaf},
			{Node: "n4", Role: "owner", Vector: map[string]uint64{}, Siblings: none, HeldFor: nobody, Error: "peer unreachable: node n4: dial tcp: refused"},
			{Node: "n5", Role: "fallback", Alive: true, Hash: "0000000000000011", Hinted: true, Vector: map[string]uint64{"000000000000feed": 1},
				Siblings: []explainedValue{{Dot: "000000000000feed:1", Bytes: 12, Modified: "2027-01-15T08:00:00.125Z"}},
				Hints:    2, HeldFor: []heldFor{{"n4", "0000000000000011"}, {nodeID(9).String(), "0000000000000022"}}},
			{Node: "n3", Role: "fallback", Alive: true, Vector: map[string]uint64{}, Siblings: none, HeldFor: nobody},
		},
	}
	if !reflect.DeepEqual(doc, want) {
		t.Errorf("got\n%+v\nwant\n%+v", doc, want)
	}
}

func TestVerdict(t *testing.T) {
	owner, pending, fallback, displaced := coordinator.RoleOwner, coordinator.RolePending, coordinator.RoleFallback, coordinator.RoleDisplaced
	deleted, siblings := version2, version2
	deleted.Siblings = []coordinator.SiblingInfo{{Dot: version.Dot{Actor: 1, Seq: 1}, Tombstone: true}}
	siblings.Siblings = append(siblings.Siblings, versionB.Siblings...)
	nothing := coordinator.Copy{}
	for want, replicas := range map[string][]coordinator.ExplainedReplica{
		"3 of 3 owners hold the same version":                                                         {node(1, owner, version2), node(2, owner, version2), node(3, owner, version2), node(4, fallback, nothing)},
		"3 of 3 owners hold no version":                                                               {node(1, owner, nothing), node(2, owner, nothing), node(3, owner, nothing)},
		"1 of 1 owners holds the same version, a delete":                                              {node(1, owner, deleted)},
		"2 of 2 owners hold the same version, with 2 siblings":                                        {node(1, owner, siblings), node(2, owner, siblings)},
		"2 of 3 owners hold the same version; n4 is down; n5 holds a hint for n4":                     {node(1, owner, version2), silent(4, owner, false), node(3, owner, version2), node(5, fallback, nothing, hintFor(4, version2))},
		"2 of 3 owners hold the same version; n4 is down; n1, n5 hold a hint for n4":                  {node(1, owner, version2, hintFor(4, version1)), silent(4, owner, false), node(3, owner, version2), node(5, fallback, nothing, hintFor(4, version2))},
		"1 of 3 owners holds version 0000000000000022; n1 holds an older version; n3 did not answer":  {node(1, owner, version1), node(2, owner, version2), silent(3, owner, true)},
		"2 of 3 owners hold version 0000000000000022; n1 holds no version":                            {node(1, owner, nothing), node(2, owner, version2), node(3, owner, version2)},
		"1 of 2 owners holds version 0000000000000022; n2 holds a version that has seen other writes": {node(1, owner, version2), node(2, owner, versionB)},
		"none of 2 owners answered; n1 is down; n2 is down; n5 holds a hint for n1":                   {silent(1, owner, false), silent(2, owner, false), node(5, fallback, nothing, hintFor(1, version1))},
		"1 of 1 owners holds the same version; pending n2 is down; displaced n3 holds an older version": {
			node(1, owner, version2), silent(2, pending, false), node(3, displaced, version1), silent(4, fallback, false)},
	} {
		if got := verdict(&coordinator.Explanation{Replicas: replicas}, testMap()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestExplainRefused: before joining, without diagnostics, by an error, and
// when too many ask.
func TestExplainRefused(t *testing.T) {
	f := serve(t)
	f.do("GET", "/v1/explain/b/k", "").wantProblem(503, "not-ready", "does not offer")
	err := error(coordinator.ErrNotReady)
	entered, leave := make(chan struct{}, maxDiagnoses), make(chan struct{})
	d := &fakeDiagnostics{explain: func(context.Context, string, string) (coordinator.Explanation, error) {
		if err == nil {
			entered <- struct{}{}
			<-leave
		}
		return coordinator.Explanation{Replicas: []coordinator.ExplainedReplica{node(1, coordinator.RoleOwner, version1)}}, err
	}}
	f = serve(t, func(o *Options) { o.Diagnostics = d })
	f.do("GET", "/v1/explain/b/k", "").wantProblem(503, "not-ready")
	f.do("GET", "/v1/explain/b*/k", "").wantProblem(400, "bad-bucket")
	f.do("GET", "/v1/explain/b/k?timeout=1s", "").wantProblem(400, "bad-parameter")
	err = context.DeadlineExceeded
	f.do("GET", "/v1/explain/b/k", "").wantProblem(504, "deadline-exceeded")
	err = nil
	done := make(chan int)
	for range maxDiagnoses {
		go func() { done <- f.do("GET", "/v1/explain/b/k", "").status }()
	}
	for range maxDiagnoses {
		<-entered
	}
	f.do("GET", "/v1/explain/b/k", "").wantProblem(503, "overloaded", "64 callers")
	close(leave)
	for range maxDiagnoses {
		if status := <-done; status != 200 {
			t.Errorf("one that was let in was answered %d", status)
		}
	}
	f.do("GET", "/v1/explain/b/k", "").want(200)
	f.cluster.view = nil
	f.do("GET", "/v1/explain/b/k", "").wantProblem(503, "not-ready", "not joined")
}

// TestClusterHealth: what members say of themselves and how they look.
func TestClusterHealth(t *testing.T) {
	d := &fakeDiagnostics{
		peers: []coordinator.PeerStatus{
			{Node: nodeID(1), Usable: true},
			{Node: nodeID(2), Usable: true, InFlight: 4, ReadP95: 1500 * time.Microsecond, WriteP95: 2 * time.Millisecond},
			{Node: nodeID(3), Breaker: health.Open}, {Node: nodeID(4), Breaker: health.HalfOpen},
		},
		statuses: func(ctx context.Context) map[ring.NodeID]coordinator.NodeStatus {
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > time.Second {
				t.Errorf("deadline %v", deadline)
			}
			return map[ring.NodeID]coordinator.NodeStatus{nodeID(1): {Hints: 7, HintBytes: 700}, nodeID(2): {Draining: true}}
		},
	}
	f := serve(t, func(o *Options) { o.Diagnostics = d })
	var doc struct {
		Members []map[string]any `json:"members"`
	}
	f.do("GET", "/v1/cluster", "").want(200).decode(&doc)
	names := []string{"answered", "hints", "hint_bytes", "draining", "usable", "breaker", "in_flight", "read_p95_ms", "write_p95_ms"}
	for i, want := range []string{
		"true 7 700 false - - - - -",
		"true 0 0 true true closed 4 1.5 2",
		"false 0 - - false open 0 0 0",
		"false 0 - - false half_open 0 0 0",
		"false 0 - - - - - - -",
	} {
		var got []string
		for _, name := range names {
			text := "-"
			if v, ok := doc.Members[i][name]; ok {
				text = fmt.Sprint(v)
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("n%d: %v are %v, want %s", i+1, names, got, want)
		}
	}
}

// TestNamed: IDs in the texts of errors give way to names, where there is one.
func TestNamed(t *testing.T) {
	m := testMap()
	text := fmt.Sprintf("%s and %s, x%s", nodeID(3), nodeID(9), nodeID(3))
	if got, want := named(m, text), fmt.Sprintf("n3 and %s, x%s", nodeID(9), nodeID(3)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	f := serve(t)
	f.kv.onGet = func(context.Context, coordinator.GetRequest) (coordinator.GetResult, error) {
		return coordinator.GetResult{}, &coordinator.QuorumError{Op: "get", Required: 1, Causes: []coordinator.ReplicaError{
			{Node: nodeID(2), Err: fmt.Errorf("%w: node %s", coordinator.ErrUnreachable, nodeID(2))},
			{Node: nodeID(1), Err: fmt.Errorf("%w: 1", coordinator.ErrTooFewOwners)}}}
	}
	a := f.do("GET", testKey, "")
	a.wantProblem(503, "quorum-not-reached", "n2: peer unreachable: node n2.", "n1: the partition has too few owners: 1.")
	if strings.Contains(string(a.body), nodeID(2).String()) {
		t.Errorf("an ID is told: %s", a.body)
	}
	f.kv.onGet = func(context.Context, coordinator.GetRequest) (coordinator.GetResult, error) {
		return coordinator.GetResult{}, fmt.Errorf("%w: %s", coordinator.ErrUnreachable, nodeID(5))
	}
	f.do("GET", testKey, "").wantProblem(503, "unreachable", "It said: peer unreachable: n5.")
}
