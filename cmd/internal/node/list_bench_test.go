package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/coordinator"
	"starling/ring"
	"starling/store"
	"starling/store/object"
	"starling/store/version"
)

// listWorld is five nodes, each with a store in memory, that list by calling each
// other without a wire.
type listWorld struct {
	coordinator.Peers // none of them is called
	view              *ring.View
	stores            map[ring.NodeID]*store.Store
	listers           map[ring.NodeID]*coordinator.Lister
	calls, rows       atomic.Int64
}

func (w *listWorld) List(ctx context.Context, to ring.NodeID, req coordinator.ScanRequest) (coordinator.ScanReply, error) {
	return w.listers[to].HandleList(ctx, req)
}

func (w *listWorld) Alive(ring.NodeID) bool { return true }

func (w *listWorld) Refresh(context.Context, ring.NodeID) error { return nil }

// countedList counts the rows that are read.
type countedList struct {
	*store.KeyList
	w *listWorld
}

func (l countedList) Read(partition uint32, after string, limit int) ([]object.Entry, error) {
	rows, err := l.KeyList.Read(partition, after, limit)
	l.w.calls.Add(1)
	l.w.rows.Add(int64(len(rows)))
	return rows, err
}

func newListWorld(b *testing.B) (*listWorld, *coordinator.Lister) {
	b.Helper()
	w := &listWorld{stores: map[ring.NodeID]*store.Store{}, listers: map[ring.NodeID]*coordinator.Lister{}}
	var members []ring.Member
	for i := range 5 {
		members = append(members, ring.Member{ID: ring.NodeID{byte(i + 1)}, Weight: 100})
	}
	r, err := ring.New(ring.Config{Partitions: 1024, Replicas: 3}, members)
	if err != nil {
		b.Fatal(err)
	}
	targets := func(id ring.NodeID, p int) bool {
		return r.Targets(p)[0] == id || r.Targets(p)[1] == id || r.Targets(p)[2] == id
	}
	w.view = ring.NewView(r, targets)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	b.Cleanup(func() { stop(); running.Wait() })
	for _, m := range members {
		s, err := store.Open(store.Options{Dir: "data", FS: vfs.NewMem(), Durability: store.None, FreeFloorBytes: -1})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() })
		c, err := coordinator.New(coordinator.Options{Self: m.ID, Store: keptObjects{s}, Peers: w, Membership: w, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		c.SetView(w.view)
		running.Go(func() { _ = c.Run(ctx) })
		w.stores[m.ID] = s
		w.listers[m.ID], err = coordinator.NewLister(coordinator.ListerOptions{Coordinator: c, Peers: w, Store: func(bucket, prefix string) (coordinator.ListReader, error) {
			l, err := s.List(bucket, prefix)
			return countedList{l, w}, err
		}})
		if err != nil {
			b.Fatal(err)
		}
	}
	return w, w.listers[members[0].ID]
}

// fill writes n keys to all their owners; all but every tenth are deleted where
// most is set.
func (w *listWorld) fill(b *testing.B, n int, most bool) {
	b.Helper()
	for k := range n {
		key := fmt.Sprintf("key-%06d", k)
		p := ring.Partition("b", key, 1024)
		d := version.Dot{Actor: 7, Seq: 1}
		sib := object.Sibling{Dot: d, Value: make([]byte, 100), ModifiedMS: 1}
		if most && k%10 != 0 {
			sib = object.Sibling{Dot: d, Tombstone: true, ModifiedMS: 1}
		}
		o := object.Object{Vector: version.Vector{d}, Siblings: []object.Sibling{sib}}
		for _, id := range w.view.Placement(p).Owners {
			if _, err := w.stores[id].Merge(object.Ref{Partition: uint32(p), Bucket: "b", Key: key}, o); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkListPage gathers pages of 100 of 100,000 keys at quorum, one after the
// other through the bucket: where all are live, and where 9 of 10 are deleted.
func BenchmarkListPage(b *testing.B) {
	for name, most := range map[string]bool{"live": false, "deleted": true} {
		b.Run(name, func(b *testing.B) {
			w, l := newListWorld(b)
			w.fill(b, 100_000, most)
			b.Run("keys", func(b *testing.B) { w.bench(b, l, false) })
			b.Run("values", func(b *testing.B) { w.bench(b, l, true) })
		})
	}
}

func (w *listWorld) bench(b *testing.B, l *coordinator.Lister, values bool) {
	w.calls.Store(0)
	w.rows.Store(0)
	after, longest, pages := "", time.Duration(0), 0
	for b.Loop() {
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		page, err := l.List(ctx, coordinator.ListRequest{Bucket: "b", After: after, Limit: 100, Values: values})
		cancel()
		if err != nil || page.More && len(page.Entries) != 100 {
			b.Fatalf("%d keys, %v", len(page.Entries), err)
		}
		after, longest, pages = page.Next, max(longest, time.Since(start)), pages+1
	}
	b.ReportMetric(float64(w.rows.Load())/float64(pages), "rows/page")
	b.ReportMetric(float64(w.calls.Load())/float64(pages), "seeks/page")
	b.ReportMetric(float64(longest.Microseconds()), "max-us/page")
}
