package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// listCluster is a cluster whose nodes list.
type listCluster struct {
	*cluster
	listers map[ring.NodeID]*Lister
	reads   map[ring.NodeID]*readCount
	// hook, when set, runs once, before the next read of any node.
	hook atomic.Pointer[func(at ring.NodeID)]
}

// readCount is what a node's listings cost.
type readCount struct{ calls, seeks, rows atomic.Int64 }

func newListCluster(t *testing.T, n int, set func(*Options)) *listCluster {
	t.Helper()
	c := &listCluster{cluster: newCluster(t, n, set), listers: map[ring.NodeID]*Lister{}, reads: map[ring.NodeID]*readCount{}}
	for _, id := range c.ids {
		c.reads[id] = &readCount{}
		l, err := NewLister(ListerOptions{Coordinator: c.nodes[id], Peers: listPeers{c}, Store: func(bucket, prefix string) (ListReader, error) {
			c.reads[id].calls.Add(1)
			return &memReader{c: c, at: id, rows: sortedRows(c.stores[id], bucket, prefix)}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		c.listers[id] = l
	}
	return c
}

type listPeers struct{ c *listCluster }

func (p listPeers) List(ctx context.Context, to ring.NodeID, req ScanRequest) (a ScanReply, err error) {
	err = p.c.call(ctx, to, func(ctx context.Context, n *Coordinator) (err error) {
		a, err = p.c.listers[to].HandleList(ctx, req)
		return err
	})
	return a, err
}

// sortedRows are a store's rows of a bucket by partition, without values.
func sortedRows(s *memStore, bucket, prefix string) map[uint32][]object.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := map[uint32][]object.Entry{}
	for ref, o := range s.objects {
		if ref.Bucket != bucket || len(ref.Key) < len(prefix) || ref.Key[:len(prefix)] != prefix {
			continue
		}
		bare := object.Object{Vector: o.Vector}
		for _, sib := range o.Siblings {
			sib.Value = nil
			bare.Siblings = append(bare.Siblings, sib)
		}
		rows[ref.Partition] = append(rows[ref.Partition], object.Entry{Ref: ref, Object: bare})
	}
	for _, list := range rows {
		slices.SortFunc(list, compareKeys)
	}
	return rows
}

// memReader reads sorted rows and counts.
type memReader struct {
	c    *listCluster
	at   ring.NodeID
	rows map[uint32][]object.Entry
}

func (r *memReader) Read(partition uint32, after string, limit int) ([]object.Entry, error) {
	if hook := r.c.hook.Swap(nil); hook != nil {
		(*hook)(r.at)
		r.rows = sortedRows(r.c.stores[r.at], "b", "")
	}
	list := r.rows[partition]
	i, found := slices.BinarySearchFunc(list, after, func(e object.Entry, key string) int { return compareKeys(e, object.Entry{Ref: object.Ref{Key: key}}) })
	if found {
		i++
	}
	list = list[i:min(len(list), i+limit)]
	r.c.reads[r.at].seeks.Add(1)
	r.c.reads[r.at].rows.Add(int64(len(list)))
	return list, nil
}

func (r *memReader) Close() error { return nil }

// list gives one page.
func (c *listCluster) list(at ring.NodeID, req ListRequest) (ListPage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req.Bucket = "b"
	return c.listers[at].List(ctx, req)
}

// listAll pages through all keys and holds each page against its request.
func (c *listCluster) listAll(at ring.NodeID, req ListRequest) (entries []object.Entry, pages int) {
	c.t.Helper()
	for {
		page, err := c.list(at, req)
		if err != nil {
			c.t.Fatalf("page after %q: %v", req.After, err)
		}
		pages++
		if len(page.Entries) > req.Limit {
			c.t.Fatalf("%d keys of at most %d", len(page.Entries), req.Limit)
		}
		for _, e := range page.Entries {
			if e.Ref.Key <= req.After || page.More && e.Ref.Key > page.Next {
				c.t.Fatalf("key %q of a page from %q to %q", e.Ref.Key, req.After, page.Next)
			}
		}
		entries = append(entries, page.Entries...)
		if !page.More {
			return entries, pages
		}
		if page.Next <= req.After {
			c.t.Fatalf("a page after %q goes on at %q", req.After, page.Next)
		}
		req.After = page.Next
	}
}

// store gives an object to some owners of its key.
func (c *listCluster) store(key string, o object.Object, owners ...int) {
	c.t.Helper()
	for _, i := range owners {
		if _, err := c.stores[c.owners(key)[i]].Merge(refOf(key), o); err != nil {
			c.t.Fatal(err)
		}
	}
}

// written is an object of one actor with a value or a tombstone, written n-th.
func written(n uint64, value string, deleted bool) object.Object {
	d := version.Dot{Actor: 7, Seq: n}
	return object.Object{Vector: version.Vector{d}, Siblings: []object.Sibling{{
		Dot: d, Op: object.OpID{1, byte(n)}, Value: []byte(value), Tombstone: deleted, ModifiedMS: int64(n)}}}
}

func names(entries []object.Entry) (keys []string) {
	for _, e := range entries {
		keys = append(keys, e.Ref.Key)
	}
	return keys
}

func randomKey(rng *rand.Rand) string {
	const letters = "ab/\x00\xff"
	b := make([]byte, 1+rng.IntN(6))
	for i := range b {
		b[i] = letters[rng.IntN(len(letters))]
	}
	return string(b)
}

// Every write is at two owners or three, as a quorum leaves it; an owner that
// missed one may have the one before. Whatever the sizes and budgets of the
// pages are, together they are exactly what was last written, in order.
func TestPagesTogetherAreTheModel(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 6))
			c := newListCluster(t, 5, nil)
			model, used := map[string]string{}, map[string]bool{}
			for range rng.IntN(600) {
				key := randomKey(rng)
				value, deleted := fmt.Sprint("v", rng.IntN(1000)), rng.IntN(3) == 0
				if used[key] {
					continue
				}
				used[key] = true
				if rng.IntN(3) > 0 { // an earlier write
					c.store(key, written(1, "old", rng.IntN(3) == 0), rng.Perm(3)[:2+rng.IntN(2)]...)
				}
				c.store(key, written(2, value, deleted), rng.Perm(3)[:2+rng.IntN(2)]...)
				if model[key] = value; deleted {
					delete(model, key)
				}
			}
			req := ListRequest{Limit: 1 + rng.IntN(50), Values: seed%2 == 0}
			if rng.IntN(3) == 0 {
				req.Prefix = randomKey(rng)[:1]
			}
			bounds := listBounds{rows: 1 + rng.IntN(400), bytes: 1 + rng.IntN(4000), rounds: 1 + rng.IntN(4)}
			at := c.ids[rng.IntN(len(c.ids))]
			c.listers[at].bounds = bounds
			got, _ := c.listAll(at, req)
			want := slices.DeleteFunc(slices.Sorted(maps.Keys(model)), func(k string) bool { return req.Prefix != "" && k[0] != req.Prefix[0] })
			if !slices.Equal(names(got), want) {
				t.Fatalf("seed %d, %+v, %+v: %d keys\n%q\nwant %d\n%q", seed, req, bounds, len(got), names(got), len(want), want)
			}
			for _, e := range got {
				value := ""
				if req.Values {
					value = model[e.Ref.Key]
				}
				if len(e.Object.Siblings) != 1 || string(e.Object.Siblings[0].Value) != value {
					t.Fatalf("seed %d: %q has %v, want %q", seed, e.Ref.Key, e.Object.Siblings, value)
				}
			}
		})
	}
}

// deleteMost fills a bucket with n keys, of which one in ten is live.
func (c *listCluster) deleteMost(n int) {
	for i := range n {
		c.store(fmt.Sprintf("key-%06d", i), written(1, "", i%10 != 0), 0, 1, 2)
	}
}

// Among ten times as many deleted keys a page costs no more than the rows that it
// goes through and a few for each partition, and every node is asked once.
func TestWorkAmongDeletedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newListCluster(t, 5, nil)
		c.deleteMost(5000)
		page, err := c.list(c.ids[0], ListRequest{Limit: 100})
		if err != nil || len(page.Entries) != 100 || !page.More || page.Next != "key-000990" {
			t.Fatalf("%d keys, more %v after %q, %v", len(page.Entries), page.More, page.Next, err)
		}
		total := int64(0)
		for _, id := range c.ids {
			n := c.reads[id]
			total += n.rows.Load()
			if n.calls.Load() > 1 {
				t.Errorf("%s was asked %d times", id, n.calls.Load())
			}
		}
		// 1000 rows of two copies, and what is read ahead.
		if total < 2000 || total > 6000 {
			t.Errorf("%d rows were read", total)
		}
	})
}

// With nothing but deleted keys a page reads what it may and not more, and says
// how far it came.
func TestAPageReadsNoMoreThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newListCluster(t, 5, nil)
		for i := range 3000 {
			c.store(fmt.Sprintf("key-%06d", i), written(1, "", true), 0, 1, 2)
		}
		l := c.listers[c.ids[0]]
		l.bounds.rows = 300
		page, err := c.list(c.ids[0], ListRequest{Limit: 100})
		if err != nil || len(page.Entries) != 0 || !page.More || page.Next < "key-000300" {
			t.Fatalf("%+v, %v", page, err)
		}
		total := int64(0)
		for _, id := range c.ids {
			n := c.reads[id]
			total += n.rows.Load()
			if n.calls.Load() > maxListRounds {
				t.Errorf("%s was asked %d times", id, n.calls.Load())
			}
		}
		if most := int64(maxListRounds * 2 * 300); total > most {
			t.Errorf("%d rows were read, at most %d may be", total, most)
		}
		if got, pages := c.listAll(c.ids[0], ListRequest{Limit: 100}); len(got) != 0 || pages < 4 {
			t.Errorf("%q in %d pages", names(got), pages)
		}
	})
}

func TestListWithOneOwnerDown(t *testing.T) {
	for name, f := range map[string]fault{"refused": refused, "hung": hung, "lost": lostReply} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newListCluster(t, 5, nil)
				for i := range 500 { // each at two owners
					c.store(fmt.Sprintf("key-%03d", i), written(1, "v", false), i%3, (i+1)%3)
				}
				c.credulous.Store(true) // the failure detector has not noticed
				c.setFault(c.ids[3], f)
				start := time.Now()
				got, _ := c.listAll(c.ids[0], ListRequest{Limit: 1000})
				if len(got) != 500 {
					t.Errorf("%d keys", len(got))
				}
				if took := time.Since(start); took > 2*listSlowAfter {
					t.Errorf("it took %v", took)
				}
				_, err := c.list(c.ids[0], ListRequest{Limit: 10, Consistency: all})
				var q *QuorumError
				if !errors.As(err, &q) || q.Op != "list" || q.Required != 3 || q.Received != 2 || q.Timeout != (f == hung) {
					t.Errorf("at all: %v", err)
				}
				got, _ = c.listAll(c.ids[0], ListRequest{Limit: 1000, Consistency: Consistency{R: 2}})
				if len(got) != 500 {
					t.Errorf("with r=2: %d keys", len(got))
				}
			})
		})
	}
}

// The few that are asked are asked for much.
func TestListAsksFewNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newListCluster(t, 5, nil)
		c.listAll(c.ids[0], ListRequest{Limit: 10, Consistency: Consistency{Level: LevelOne}})
		asked := 0
		for _, id := range c.ids {
			asked += int(c.reads[id].calls.Load())
		}
		if asked > 3 || c.reads[c.ids[0]].calls.Load() != 1 {
			t.Errorf("%d nodes were asked", asked)
		}
	})
}

func TestListNeedsEnoughOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newListCluster(t, 2, nil)
		_, err := c.list(c.ids[0], ListRequest{Limit: 1, Consistency: Consistency{Level: LevelThree}})
		if !errors.Is(err, ErrTooFewOwners) {
			t.Errorf("%v", err)
		}
		for _, req := range []ListRequest{{}, {Limit: MaxListLimit + 1}, {Limit: -1}} {
			if _, err := c.list(c.ids[0], req); !errors.Is(err, ErrInvalid) {
				t.Errorf("limit %d: %v", req.Limit, err)
			}
		}
	})
}

// A node that coordinates by an old ring learns the new one from those that
// refuse, and asks for what they refused once more.
func TestListUnderAnotherRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newListCluster(t, 5, nil)
		for i := range 200 {
			c.store(fmt.Sprintf("key-%03d", i), written(1, "v", false), 0, 1, 2)
		}
		r := ringOf(t, 5)
		// Half of the partitions were taken from their first owner.
		next := ring.NewView(r, func(id ring.NodeID, p int) bool {
			targets := r.Targets(p)
			return slices.Contains(targets, id) && (p%2 == 0 || id != targets[0])
		})
		for _, id := range c.ids[1:] {
			c.nodes[id].SetView(next)
		}
		c.latest = next
		got, _ := c.listAll(c.ids[0], ListRequest{Limit: 1000})
		if len(got) != 200 || c.nodes[c.ids[0]].View() != next {
			t.Errorf("%d keys", len(got))
		}
		// And one that is asked by a ring that it does not know yet.
		c.latest = settledView(t, 5)
		c.nodes[c.ids[0]].SetView(c.latest)
		if got, _ := c.listAll(c.ids[0], ListRequest{Limit: 1000}); len(got) != 200 {
			t.Errorf("%d keys by the newer ring", len(got))
		}
	})
}

// A copy that is dropped while it is listed counts for nothing: the node has
// another ring by then, and says so.
func TestACopyDroppedWhileItIsListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newListCluster(t, 4, nil)
		for i := range 200 {
			c.store(fmt.Sprintf("key-%03d", i), written(1, "v", false), 0, 1, 2)
		}
		var once sync.Once
		hook := func(at ring.NodeID) {
			once.Do(func() {
				gone := leavingView(t, 4, nothing, at)
				c.latest = gone
				c.nodes[at].SetView(gone)
				for p := range uint32(testPartitions) {
					err := c.nodes[at].Drop(p, gone.Placement(int(p)).Stamp, func() error {
						c.stores[at].mu.Lock()
						defer c.stores[at].mu.Unlock()
						clear(c.stores[at].objects)
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
				// What it had was handed to those that are owners now.
				for i := range 200 {
					key := fmt.Sprintf("key-%03d", i)
					for _, id := range gone.Placement(int(refOf(key).Partition)).Owners {
						if _, err := c.stores[id].Merge(refOf(key), written(1, "v", false)); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		c.hook.Store(&hook)
		got, _ := c.listAll(c.ids[1], ListRequest{Limit: 1000, Consistency: Consistency{Level: LevelOne}})
		if len(got) != 200 {
			t.Errorf("%d keys", len(got))
		}
	})
}

func TestScansOutOfBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newListCluster(t, 3, nil)
		l := c.listers[c.ids[0]]
		claim := func(p uint32) ListClaim { return ListClaim{p, c.latest.Placement(int(p)).Stamp} }
		good := ScanRequest{Bucket: "b", Claims: []ListClaim{claim(1), claim(2)}, Limit: 1, MaxRows: 1, MaxBytes: 1}
		for name, change := range map[string]func(*ScanRequest){
			"bucket": func(q *ScanRequest) { q.Bucket = "" }, "claims": func(q *ScanRequest) { q.Claims = nil },
			"order": func(q *ScanRequest) { q.Claims = []ListClaim{claim(2), claim(1)} },
			"twice": func(q *ScanRequest) { q.Claims = []ListClaim{claim(2), claim(2)} },
			"limit": func(q *ScanRequest) { q.Limit = 0 }, "rows": func(q *ScanRequest) { q.MaxRows = MaxScanRows + 1 },
			"bytes":     func(q *ScanRequest) { q.MaxBytes = MaxScanBytes + 1 },
			"partition": func(q *ScanRequest) { q.Claims = []ListClaim{{testPartitions, 1}} },
		} {
			q := good
			change(&q)
			if _, err := l.HandleList(t.Context(), q); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		good.Claims[1].Stamp++
		a, err := l.HandleList(t.Context(), good)
		if err != nil || !a.Done || !slices.Equal(a.Refused, []uint32{2}) {
			t.Errorf("%+v, %v", a, err)
		}
		for range maxScans {
			l.scans <- struct{}{}
		}
		if _, err := l.HandleList(t.Context(), good); !errors.Is(err, ErrOverloaded) {
			t.Errorf("one too many: %v", err)
		}
	})
}

// Answers that would make a listing wrong or endless are refused.
func TestAnswersThatLeadAstray(t *testing.T) {
	row := func(key string) object.Entry {
		return object.Entry{Ref: object.Ref{Key: key}, Object: written(1, "", false)}
	}
	claims := []ListClaim{{1, 1}, {3, 1}, {5, 1}}
	for name, a := range map[string]ScanReply{
		"not behind":      {Rows: []object.Entry{row("a")}, Done: true},
		"out of order":    {Rows: []object.Entry{row("c"), row("b")}, Done: true},
		"twice":           {Rows: []object.Entry{row("b"), row("b")}, Done: true},
		"no progress":     {UpTo: "a"},
		"rows beyond":     {Rows: []object.Entry{row("c")}, UpTo: "b"},
		"not asked for":   {Refused: []uint32{1, 2}, Done: true},
		"refused twice":   {Refused: []uint32{3, 3}, Done: true},
		"refused unknown": {Refused: []uint32{1 << 30}, Done: true},
	} {
		if err := checkReply("a", &listCall{claims: claims, reply: a}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := ScanReply{Rows: []object.Entry{row("b"), row("c")}, UpTo: "c", Refused: []uint32{1, 5}}
	if err := checkReply("a", &listCall{claims: claims, reply: good}); err != nil {
		t.Error(err)
	}
}
