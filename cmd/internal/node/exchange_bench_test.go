package node

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/antientropy"
	"starling/antientropy/merkle"
	"starling/ring"
	"starling/store"
	"starling/store/object"
	"starling/store/version"
)

// benchReplica is one of two owners of all partitions, on a store in memory.
type benchReplica struct {
	id     ring.NodeID
	view   *ring.View
	store  *store.Store
	server *antientropy.ReplicaServer
}

func (r *benchReplica) View() *ring.View { return r.view }

func (r *benchReplica) Apply(ref object.Ref, _ uint64, o object.Object) (object.Written, error) {
	return r.store.Merge(ref, o)
}

func (r *benchReplica) Compared(ring.NodeID, uint32, bool) {}

func (r *benchReplica) Admits(ring.NodeID, uint32, bool) bool { return true }

const benchPartitions = 64

// benchReplicas makes two that hold the same, as many keys to a partition as a
// cluster of 1024 partitions and 200,000 keys has.
func benchReplicas(b *testing.B) (mine, theirs *benchReplica) {
	b.Helper()
	ids := []ring.NodeID{{1}, {2}}
	r, err := ring.New(ring.Config{Partitions: benchPartitions, Replicas: 2}, []ring.Member{{ID: ids[0], Weight: 100}, {ID: ids[1], Weight: 100}})
	if err != nil {
		b.Fatal(err)
	}
	view := ring.NewView(r, func(ring.NodeID, int) bool { return true })
	replicas := make([]*benchReplica, len(ids))
	for i, id := range ids {
		s, err := store.Open(store.Options{Dir: "data", FS: vfs.NewMem(), Durability: store.None, FreeFloorBytes: -1})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() })
		rep := &benchReplica{id: id, view: view, store: s}
		rep.server, err = antientropy.NewReplicaServer(antientropy.ReplicaServerOptions{
			Self: id, Views: rep, Store: leaves{s}, Applier: rep, Meter: rep,
		})
		if err != nil {
			b.Fatal(err)
		}
		replicas[i] = rep
	}
	for k := range 200 * benchPartitions {
		write(b, 1, k, replicas...)
	}
	return replicas[0], replicas[1]
}

// write writes a key at some replicas.
func write(b *testing.B, seq uint64, k int, at ...*benchReplica) {
	b.Helper()
	key := fmt.Sprintf("key-%06d", k)
	ref := object.Ref{Partition: uint32(k % benchPartitions), Bucket: "default", Key: key}
	s := object.Sibling{Dot: version.Dot{Actor: 7, Seq: seq}, Value: make([]byte, 100)}
	o, err := object.Object{}.Update(version.Context{}, s, object.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range at {
		if _, err := r.store.Merge(ref, o); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCompare is what both sides of a comparison do, without the wire, for
// each partition: where the roots are equal, which is all of a round that
// repairs nothing, however many writes there were, and where one key differs.
func BenchmarkCompare(b *testing.B) {
	b.Run("equal", func(b *testing.B) { benchCompare(b, 0) })
	b.Run("differs", func(b *testing.B) { benchCompare(b, 1) })
}

func benchCompare(b *testing.B, differing int) {
	mine, theirs := benchReplicas(b)
	for k := range differing * benchPartitions {
		write(b, 2, k, theirs)
	}
	want := []antientropy.Verdict{antientropy.VerdictEqual, antientropy.VerdictListed}[differing]
	b.ReportAllocs()
	for p := uint32(0); b.Loop(); p = (p + antientropy.MaxSketches) % benchPartitions {
		req := antientropy.CompareRequest{From: mine.id, Inner: true, Salt: uint64(p)}
		for i := range uint32(antientropy.MaxSketches) {
			claim := antientropy.Claim{Partition: p + i, Stamp: mine.view.Placement(int(p + i)).Stamp}
			root, err := leaves{mine.store}.Root(p + i)
			if err != nil {
				b.Fatal(err)
			}
			req.Roots = append(req.Roots, antientropy.RootClaim{Claim: claim, Root: root})
			if differing == 0 {
				continue
			}
			nodes, err := leaves{mine.store}.Leaves(p + i)
			if err != nil {
				b.Fatal(err)
			}
			tree, err := merkle.Build(nodes)
			if err != nil {
				b.Fatal(err)
			}
			req.Sketches = append(req.Sketches, tree.Sketch(req.Salt))
		}
		answers, err := theirs.server.HandleCompare(b.Context(), req)
		if err != nil {
			b.Fatal(err)
		}
		for _, a := range answers {
			if a.Verdict != want {
				b.Fatalf("verdict %d, want %d", a.Verdict, want)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/antientropy.MaxSketches, "ns/partition")
}
