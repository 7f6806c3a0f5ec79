package api

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"starling/coordinator"
	"starling/gossip/state"
	"starling/ring"
)

// TestRing: a client can compute the owners of any key from /v1/ring, and
// they are those of /v1/ring/{bucket}/{key}.
func TestRing(t *testing.T) {
	f := serve(t)
	f.cluster.dead[nodeID(4)] = true
	m := testMap()
	joining, _ := m.Member(nodeID(5))
	joining.State, joining.Settled = state.Joining, state.Bits(nil).With(0)
	f.cluster.set(t, m.With(joining))
	a := f.do("GET", "/v1/ring", "").want(200)
	var doc struct {
		ringDoc
		Owners  [][]int `json:"owners"`
		Pending [][]int `json:"pending"`
	}
	a.decode(&doc)
	if doc.Partitions != testPartitions || doc.Replicas != 3 || doc.Hash != "xxh64" || len(doc.Members) != 5 ||
		len(doc.Owners) != testPartitions || len(doc.Pending) != testPartitions {
		t.Fatalf("%s", a.body)
	}
	owns, pending := make([]int, 5), 0
	for p := range doc.Owners {
		for _, i := range doc.Owners[p] {
			owns[i]++
		}
		pending += len(doc.Pending[p])
	}
	if pending == 0 {
		t.Error("nothing is pending")
	}
	for i, mem := range doc.Members {
		if mem.Owns != owns[i] || mem.Alive != (mem.Name != "n4") || mem.ID != nodeID(byte(i+1)).String() ||
			(mem.State == "joining") != (mem.Name == "n5") || mem.HTTP != "127.0.0.1:47"+mem.Name[1:]+"0" || mem.Weight != 100 {
			t.Errorf("member %d: %+v; it owns %d", i, mem, owns[i])
		}
	}
	for _, key := range []string{"a", "a/b", "c", "d", "\x00"} {
		p := ring.Partition("b", key, doc.Partitions)
		path := key
		if key == "\x00" {
			path = "%00"
		}
		var one keyRingDoc
		f.do("GET", "/v1/ring/b/"+path, "").want(200).decode(&one)
		names := func(indices []int) (names []string) {
			for _, i := range indices {
				names = append(names, doc.Members[i].Name)
			}
			return names
		}
		all := slices.Concat(one.Owners, one.Pending, one.Fallbacks)
		slices.Sort(all)
		if one.Partition != p || !slices.Equal(one.Owners, names(doc.Owners[p])) || !slices.Equal(one.Pending, names(doc.Pending[p])) ||
			!slices.Equal(all, []string{"n1", "n2", "n3", "n4", "n5"}) {
			t.Errorf("key %q: %+v, want partition %d, owners %v, pending %v", key, one, p, names(doc.Owners[p]), names(doc.Pending[p]))
		}
	}
}

// TestRingETag: the ring is sent again only when the map has changed.
func TestRingETag(t *testing.T) {
	f := serve(t)
	a := f.do("GET", "/v1/ring", "").want(200)
	tag := a.header.Get("Etag")
	var doc ringDoc
	a.decode(&doc)
	if tag != `W/"`+doc.MapHash+`"` {
		t.Errorf("tag %s of the map %s", tag, doc.MapHash)
	}
	for _, have := range []string{tag, `"` + doc.MapHash + `"`, "*"} {
		f.do("GET", "/v1/ring", "", "If-None-Match: "+have).want(304).wantHeader("Etag", tag).wantBody("")
	}
	f.do("HEAD", "/v1/ring", "").want(200).wantHeader("Etag", tag)
	m := testMap()
	leaving, _ := m.Member(nodeID(2))
	leaving.State = state.Leaving
	f.cluster.set(t, m.With(leaving))
	b := f.do("GET", "/v1/ring", "", "If-None-Match: "+tag).want(200)
	if b.header.Get("Etag") == tag {
		t.Error("the tag of another map is the same")
	}
}

// TestCluster: the members with their counts of partitions.
func TestCluster(t *testing.T) {
	f := serve(t)
	m := testMap()
	joining, _ := m.Member(nodeID(5))
	joining.State, joining.Settled = state.Joining, nil
	m = m.With(joining)
	f.cluster.set(t, m)
	f.cluster.dead[nodeID(2)] = true
	var doc clusterDoc
	f.do("GET", "/v1/cluster", "").want(200).decode(&doc)
	if doc.ClusterID != "c1000000000000000000000000000000" || doc.MapHash != hexHash(m.Hash()) || doc.Partitions != testPartitions ||
		doc.Replicas != 3 || doc.Node != "n1" || len(doc.Members) != 5 {
		t.Fatalf("%+v", doc)
	}
	settled := 0
	for _, mem := range doc.Members {
		id, err := ring.ParseNodeID(mem.ID)
		if err != nil {
			t.Fatal(err)
		}
		if want := f.cluster.View().Ring().Load(id); mem.Name == "n5" && (mem.Settled != 0 || mem.Pending != want || want == 0) {
			t.Errorf("%+v, a target of %d", mem, want)
		}
		if mem.Name != "n5" && (mem.Pending != 0 || mem.Settled == 0) || mem.Alive != (mem.Name != "n2") || mem.Version != "3.1" || mem.Boot != 3 || mem.RPC == "" {
			t.Errorf("%+v", mem)
		}
		settled += mem.Settled
	}
	if settled != 3*testPartitions {
		t.Errorf("%d partitions are settled, want %d", settled, 3*testPartitions)
	}
	f.do("HEAD", "/v1/cluster", "").want(200)
}

// TestClusterTransfers: a member that is being filled says how far it is, one
// that leaves what it waits for.
func TestClusterTransfers(t *testing.T) {
	d := &fakeDiagnostics{statuses: func(context.Context) map[ring.NodeID]coordinator.NodeStatus {
		return map[ring.NodeID]coordinator.NodeStatus{
			nodeID(1): {TransferDone: 900, TransferTotal: 900},
			nodeID(2): {Pending: 5, TransferDone: 300, TransferTotal: 900},
			nodeID(3): {Pending: 1},
			nodeID(4): {Leaving: "3 hints for " + nodeID(5).String()},
		}
	}}
	f := serve(t, func(o *Options) { o.Diagnostics = d })
	var doc clusterDoc
	f.do("GET", "/v1/cluster", "").want(200).decode(&doc)
	for i, want := range []clusterMember{
		{}, {Transfer: &transferDoc{Pending: 5, BytesDone: 300, BytesTotal: 900}}, {Transfer: &transferDoc{Pending: 1}}, {Leaving: "3 hints for n5"}, {},
	} {
		if got := doc.Members[i]; !reflect.DeepEqual(got.Transfer, want.Transfer) || got.Leaving != want.Leaving {
			t.Errorf("%s: %+v, leaving %q", got.Name, got.Transfer, got.Leaving)
		}
	}
}

// TestBeforeJoin: a node without a cluster says so everywhere, and is alive.
func TestBeforeJoin(t *testing.T) {
	f := serve(t, func(o *Options) {
		o.Ready = func() error { return errors.New("node: not joined: 3 join addresses asked") }
	})
	f.cluster.m, f.cluster.view = state.Map{}, nil
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		doc := f.do(method, testKey, "").wantProblem(503, "not-ready", "not joined")
		if doc["maybe_applied"] != false || doc["retryable"] != true {
			t.Errorf("%s: %v", method, doc)
		}
	}
	f.do("HEAD", testKey, "").want(503).wantHeader("Retry-After", "1")
	f.do("GET", "/v1/ring", "").wantProblem(503, "not-ready")
	f.do("GET", "/v1/ring/b/k", "").wantProblem(503, "not-ready")
	f.do("GET", "/readyz", "").wantProblem(503, "not-ready", "3 join addresses asked")
	f.do("GET", "/healthz", "").want(200)
	var doc clusterDoc
	f.do("GET", "/v1/cluster", "").want(200).decode(&doc)
	if doc.ClusterID != "" || len(doc.Members) != 0 {
		t.Errorf("%+v", doc)
	}
	if n := f.kv.calls(); n != 0 {
		t.Errorf("the KV was called %d times", n)
	}
}
