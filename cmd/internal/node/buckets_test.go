package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/coordinator"
	"starling/store/bucket"
	"starling/store/object"
)

// names are the stored names of the buckets of which a node has rows.
func (p *proc) bucketNames() (names []string) {
	p.t.Helper()
	for part := range uint32(p.partitions()) {
		for name, err := range p.store.Buckets(part) {
			if err != nil {
				p.t.Fatal(err)
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A bucket that is dropped is empty at every node at once, whatever is yet to be
// deleted; the keys go, the next incarnation and other buckets stay.
func TestADroppedBucketIsEmptyEverywhere(t *testing.T) {
	nodes := form(t, 3, "STARLING_PARTITIONS=16")
	const keys = 200
	for i := range keys {
		for _, b := range []string{"b", "other"} {
			if status, text := nodes[i%3].request("PUT", fmt.Sprintf("/v1/buckets/%s/keys/k%d?consistency=all", b, i), "old"); status != 204 {
				t.Fatal(status, text)
			}
		}
	}
	if status, text := nodes[1].request("DELETE", "/v1/buckets/b", ""); status != 204 {
		t.Fatal(status, text)
	}
	for i := range keys {
		at := nodes[i%3]
		for _, level := range []string{"one", "quorum", "all"} {
			if status, text := at.request("GET", fmt.Sprintf("/v1/buckets/b/keys/k%d?consistency=%s", i, level), ""); status != 404 {
				t.Fatalf("at %s: %d %s", level, status, text)
			}
		}
		if status, text := at.request("PUT", fmt.Sprintf("/v1/buckets/b/keys/k%d?consistency=all", i), "new"); status != 204 {
			t.Fatal(status, text)
		}
	}
	for _, p := range nodes {
		eventually(t, "the old keys are deleted", func() bool { return slices.Equal(p.bucketNames(), []string{"b~1", "other"}) })
		eventually(t, "they are counted", func() bool { return testutil.ToFloat64(p.sweeper.dropped) == keys })
	}
	eventually(t, "the copies are equal", func() bool {
		for part := range uint32(16) {
			root, err := nodes[0].store.Root(part)
			for _, p := range nodes[1:] {
				other, bad := p.store.Root(part)
				if err != nil || bad != nil || other != root {
					return false
				}
			}
		}
		return true
	})
	for i := range keys {
		for b, want := range map[string]string{"b": "new", "other": "old"} {
			if status, text := nodes[i%3].request("GET", fmt.Sprintf("/v1/buckets/%s/keys/k%d", b, i), ""); status != 200 || text != want {
				t.Fatalf("%s/k%d: %d %s", b, i, status, text)
			}
		}
	}
	// Properties are the same everywhere once the answer is there.
	if status, text := nodes[2].request("PUT", "/v1/buckets/b", `{"max_value_bytes":3}`); status != 200 || strings.Contains(text, "pending") {
		t.Fatal(status, text)
	}
	for _, p := range nodes {
		if status, text := p.request("PUT", "/v1/buckets/b/keys/k", "four"); status != 413 {
			t.Errorf("%s: %d %s", p.cfg.Name, status, text)
		}
	}
}

// Clients do not see that a bucket is dropped under their requests: each is of the
// bucket that goes or of the empty one. What was written before a drop that was
// answered is not read after it.
func TestRequestsGoOnOverDrops(t *testing.T) {
	nodes := form(t, 3, "STARLING_PARTITIONS=8")
	const drops, clients = 8, 4
	var dropped atomic.Int64 // drops that were answered
	stop := make(chan struct{})
	var busy sync.WaitGroup
	for c := range clients {
		busy.Go(func() {
			for i := c; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				before := dropped.Load()
				path := fmt.Sprintf("/v1/buckets/b/keys/k%d", i%20)
				if status, text := nodes[i%3].request("PUT", path, fmt.Sprint(before)); status != 204 && status != 409 {
					t.Errorf("put: %d %s", status, text)
				}
				since := dropped.Load()
				status, text := nodes[(i+1)%3].request("GET", path, "")
				for _, value := range values(status, text) {
					if n, err := strconv.ParseInt(value, 10, 64); err != nil || n+1 < since {
						// It was begun before the drop that came before the last.
						t.Errorf("get after %d drops: %d %s", since, status, text)
					}
				}
			}
		})
	}
	for range drops {
		time.Sleep(100 * time.Millisecond)
		if status, text := nodes[0].request("DELETE", "/v1/buckets/b", ""); status != 204 {
			t.Errorf("drop: %d %s", status, text)
		}
		dropped.Add(1)
	}
	close(stop)
	busy.Wait()
	for _, p := range nodes {
		eventually(t, "the old keys are deleted", func() bool {
			names := p.bucketNames()
			return len(names) == 0 || slices.Equal(names, []string{bucket.Stored("b", drops)})
		})
	}
}

// values are those of an answer to a read.
func values(status int, text string) (all []string) {
	switch status {
	case 404:
		return nil
	case 200:
		return []string{text}
	case 300:
		var doc struct{ Siblings []struct{ Value string } }
		if json.Unmarshal([]byte(text), &doc) == nil && len(doc.Siblings) > 0 {
			for _, s := range doc.Siblings {
				all = append(all, s.Value)
			}
			return all
		}
	}
	return []string{"an answer that should not be"}
}

// A node that was down during a drop knows of it before it serves anything, by
// those whom it asks before it publishes itself; its gossip does not even run.
func TestADropIsLearntBeforeServing(t *testing.T) {
	nodes := form(t, 2, "STARLING_PARTITIONS=8", "STARLING_REPLICAS=2")
	dir := nodes[1].cfg.DataDir
	if status, text := nodes[1].request("PUT", "/v1/buckets/b/keys/k?consistency=all", "old"); status != 204 {
		t.Fatal(status, text)
	}
	nodes[1].shut()
	if status, text := nodes[0].request("DELETE", "/v1/buckets/b", ""); status != 200 || !strings.Contains(text, `"pending":["n2"]`) {
		t.Fatal(status, text)
	}
	back, err := New(Options{Config: configure(t, dir, "n2")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := back.close(); err != nil {
			t.Error(err)
		}
	}()
	if m, err := back.loadMap(); err != nil || m.Buckets != nil {
		t.Fatalf("its disk knows of %v, %v", m.Buckets, err)
	}
	g, err := back.enterCluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Close() }()
	if !back.coord.Gone("b") {
		t.Error("it serves a bucket that was dropped")
	}
	if m, err := back.loadMap(); err != nil || !m.Buckets.Gone("b") {
		t.Errorf("its disk knows of %v, %v", m.Buckets, err)
	}
}

// What is of a bucket that is gone is not there for exchanges and transfers, and
// what comes of it is merged already.
func TestLiving(t *testing.T) {
	gone := func(stored string) bool { return stored == "gone" }
	failure := errors.New("a row is damaged")
	all := func(yield func(object.Entry, error) bool) {
		for _, b := range []string{"a", "gone", "b", "gone"} {
			if !yield(object.Entry{Ref: object.Ref{Bucket: b}}, nil) {
				return
			}
		}
		yield(object.Entry{}, failure)
	}
	var got []string
	for e, err := range without(gone, iter.Seq2[object.Entry, error](all), func(e object.Entry) string { return e.Ref.Bucket }) {
		got = append(got, fmt.Sprint(e.Ref.Bucket, " ", err))
	}
	if want := []string{"a <nil>", "b <nil>", " a row is damaged"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	o := object.Object{Siblings: []object.Sibling{{Value: []byte("v")}}}
	w, err := orMerged(object.Written{}, fmt.Errorf("%w: b", coordinator.ErrGone), o)
	if err != nil || w.Changed || w.Wait() != nil || len(w.Object.Siblings) != 1 {
		t.Errorf("written %+v, %v", w, err)
	}
	if _, err := orMerged(object.Written{}, failure, o); !errors.Is(err, failure) {
		t.Errorf("another error became %v", err)
	}
}
