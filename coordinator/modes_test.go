package coordinator

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"starling/ring"
	"starling/store/bucket"
	"starling/store/bucket/resolve"
	"starling/store/object"
	"starling/store/version"
)

// inMode declares bucket "b" at some nodes, all if none are named.
func (c *cluster) inMode(p bucket.Properties, at ...ring.NodeID) *cluster {
	if len(at) == 0 {
		at = c.ids
	}
	r := bucket.Record{Name: "b"}.Declare(p, [16]byte{1})
	for _, id := range at {
		c.nodes[id].SetBuckets(bucket.Registry{r})
	}
	return c
}

// shown are the values of what a reader sees, and those that lost.
func shown(m bucket.Mode, o object.Object) string {
	v := resolve.Read(m, o, time.Now().UnixMilli())
	var live, lost []string
	for _, s := range v.Live {
		live = append(live, string(s.Value))
	}
	for _, s := range v.Previous {
		lost = append(lost, string(s.Value))
	}
	if len(lost) > 0 {
		return fmt.Sprint(strings.Join(live, " | "), " after ", strings.Join(lost, " | "))
	}
	return strings.Join(live, " | ")
}

// show reads a key in a mode.
func (c *cluster) show(at ring.NodeID, m bucket.Mode, req GetRequest) (string, GetResult) {
	c.t.Helper()
	res, err := c.get(at, req)
	if err != nil {
		c.t.Fatalf("get %q at %s: %v", req.Key, at, err)
	}
	return shown(m, res.Object), res
}

// Two writers who know nothing of each other, then one who has read.
func TestAPutByTheModeOfItsBucket(t *testing.T) {
	for _, test := range []struct {
		mode                         bucket.Mode
		first, second, third         string
		together, corrected, another string
	}{
		{bucket.Siblings, "a", "b", "c", "a | b", "c", "c | a"},
		{bucket.LWW, "a", "b", "c", "b after a", "c", "a after c"},
		{bucket.Max, "7", "3.0", "5", "7", "5", "7"},
		{bucket.Min, "7", "3", "5", "3", "5", "5"},
		{bucket.Union, `["a","b"]`, `["b","c"]`, `["c"]`, `["a","b","c"]`, `["c"]`, `["a","b","c"]`},
		{bucket.JSONMerge, `{"x":1,"y":{"z":2}}`, `{"x":4,"y":{"w":3}}`, `{}`, `{"x":4,"y":{"w":3,"z":2}}`, `{}`, `{"x":1,"y":{"z":2}}`},
	} {
		t.Run(test.mode.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 5, nil).inMode(bucket.Properties{Mode: test.mode})
				other := c.others("k")[0]
				c.mustPut(c.owners("k")[0], putReq("k", test.first, atAll))
				time.Sleep(time.Millisecond) // of the bubble's clock: a later stamp
				c.mustPut(other, putReq("k", test.second, atAll))
				got, seen := c.show(other, test.mode, GetRequest{Key: "k"})
				if got != test.together {
					t.Fatalf("both are %s, want %s", got, test.together)
				}
				time.Sleep(time.Millisecond)
				third := putReq("k", test.third, atAll)
				third.Context = version.Context{Vector: seen.Object.Vector}
				c.mustPut(other, third)
				if got, _ := c.show(other, test.mode, GetRequest{Key: "k"}); got != test.corrected {
					t.Fatalf("after who has read: %s, want %s", got, test.corrected)
				}
				time.Sleep(time.Millisecond)
				c.mustPut(c.owners("k")[1], putReq("k", test.first, atAll))
				if got, _ := c.show(other, test.mode, GetRequest{Key: "k"}); got != test.another {
					t.Fatalf("with one more: %s, want %s", got, test.another)
				}
			})
		})
	}
}

// What the mode refuses reaches the caller from whichever node, and leaves
// nothing behind, no hint either.
func TestWhatAModeRefuses(t *testing.T) {
	stamped := func(aheadMS int64) object.Object {
		o, err := object.Object{}.Update(version.Context{}, object.Sibling{Dot: version.Dot{Actor: 7, Seq: 1}, Value: []byte("v"),
			ModifiedMS: time.Now().UnixMilli() + aheadMS}, object.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	for _, test := range []struct {
		name    string
		mode    bucket.Mode
		there   func() object.Object
		req     PutRequest
		refused error
	}{
		{"unfit", bucket.Max, nil, putReq("k", "many", atAll), resolve.ErrUnfit},
		{"a put to a counter", bucket.Counter, nil, putReq("k", "1", atAll), resolve.ErrUnfit},
		{"far ahead", bucket.LWW, func() object.Object { return stamped(resolve.MaxAheadMS + 1000) }, putReq("k", "v", atAll), resolve.ErrFuture},
		{"out of range", bucket.Counter, func() object.Object { return counted(t, 1, 1<<62, 1<<62-1) }, addReq("k", 1), resolve.ErrRange},
		{"busy", bucket.Counter, func() object.Object { return remembering(t, resolve.MaxRecent) }, addReq("k", 1), resolve.ErrBusy},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 5, nil).withHints().inMode(bucket.Properties{Mode: test.mode})
				var before object.Object
				if test.there != nil {
					before = test.there()
				}
				c.everywhere("k", before)
				c.credulous.Store(true)
				c.setFault(c.owners("k")[2], refused)
				for _, at := range []ring.NodeID{c.owners("k")[0], c.others("k")[0]} {
					req := test.req
					req.Consistency = Consistency{}
					var q *QuorumError
					if _, err := c.put(at, req); !errors.Is(err, test.refused) || errors.As(err, &q) {
						t.Fatalf("at %s: %v, want %v", at, err, test.refused)
					}
				}
				synctest.Wait()
				for _, id := range c.owners("k") {
					if o, _ := c.stores[id].Get(refOf("k")); !o.Equal(before) {
						t.Errorf("%s holds something new", id)
					}
				}
				if n := c.held(c.owners("k")[2]); n != 0 {
					t.Errorf("%d hints", n)
				}
			})
		})
	}
}

// everywhere makes o the copy of every owner.
func (c *cluster) everywhere(key string, o object.Object) {
	c.t.Helper()
	if o.Absent() {
		return
	}
	for _, id := range c.owners(key) {
		if _, err := c.stores[id].Merge(refOf(key), o); err != nil {
			c.t.Fatal(err)
		}
	}
}

// A node that has not heard of the mode stores what it was given; readers see
// what the mode makes of it.
func TestANodeThatDoesNotKnowTheMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.inMode(bucket.Properties{Mode: bucket.Max}, c.ids[0])
		for i, value := range []string{"3", "9", "5"} {
			c.mustPut(c.ids[i], putReq("k", value, atAll))
		}
		got, seen := c.show(c.ids[1], bucket.Max, GetRequest{Key: "k"})
		if got != "9" || len(seen.Object.Siblings) != 3 {
			t.Fatalf("%s of %d siblings, want 9 of 3", got, len(seen.Object.Siblings))
		}
		c.mustPut(c.ids[0], putReq("k", "1", atAll)) // which does, and folds them
		got, seen = c.show(c.ids[1], bucket.Max, GetRequest{Key: "k"})
		if got != "9" || len(seen.Object.Siblings) != 1 {
			t.Fatalf("%s of %d siblings, want 9 of one", got, len(seen.Object.Siblings))
		}
	})
}

// What values become together is held against the bucket's bound; what a counter
// remembers is not.
func TestABucketBoundsWhatAModeMakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil).inMode(bucket.Properties{Mode: bucket.Union, MaxValueBytes: 12})
		c.mustPut(c.ids[0], putReq("k", `["a","b"]`, atAll))
		if _, err := c.put(c.ids[1], putReq("k", `["c","d"]`, atAll)); !errors.Is(err, object.ErrTooLarge) {
			t.Errorf("a set that would be too large: %v", err)
		}
		if got, _ := c.show(c.ids[2], bucket.Union, GetRequest{Key: "k"}); got != `["a","b"]` {
			t.Errorf("the set is %s", got)
		}
		c.inMode(bucket.Properties{Mode: bucket.Counter, MaxValueBytes: 12})
		for range 20 {
			c.mustPut(c.ids[0], addReq("n", 1))
		}
		if got, _ := c.show(c.ids[2], bucket.Counter, GetRequest{Key: "n"}); got != "20" {
			t.Errorf("the counter is %s", got)
		}
	})
}

// The values that lost are none of the siblings that a bucket bounds.
func TestWhatLostIsNoSibling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil).inMode(bucket.Properties{Mode: bucket.LWW, MaxSiblings: 1})
		for i := range 6 {
			c.mustPut(c.ids[i%3], putReq("k", fmt.Sprint(i), atAll))
		}
		if got, _ := c.show(c.ids[0], bucket.LWW, GetRequest{Key: "k"}); got != "5 after 4 | 3 | 2" {
			t.Errorf("%s", got)
		}
	})
}

// Whoever reads and then writes wins, also through a node whose clock is behind.
func TestWhoReadsThenWritesWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		behind := nodeID(1)
		c := newCluster(t, 5, func(o *Options) {
			if o.Self == behind {
				o.Now = func() time.Time { return time.Now().Add(-time.Hour) }
			}
		}).withHints().inMode(bucket.Properties{Mode: bucket.LWW})
		for k := range 12 {
			key := fmt.Sprint("k", k)
			for i := range 10 {
				away := c.ids[(k+i)%5] // so that some owners have not seen what the writer has
				c.setFault(away, refused)
				at, reader := c.ids[(i+k)%5], c.ids[(3*i+k)%5]
				if i%2 == 1 {
					at = behind
				}
				if at == away || reader == away {
					at, reader = c.ids[(k+i+1)%5], c.ids[(k+i+1)%5]
				}
				_, seen := c.show(reader, bucket.LWW, GetRequest{Key: key})
				req := putReq(key, fmt.Sprint(i), Consistency{})
				req.Context = version.Context{Vector: seen.Object.Vector}
				c.mustPut(at, req)
				for _, id := range c.ids {
					if id == away {
						continue
					}
					if got, _ := c.show(id, bucket.LWW, GetRequest{Key: key}); got != fmt.Sprint(i) {
						t.Fatalf("%s, written at %s, is %s at %s", req.Sibling.Value, at, got, id)
					}
				}
				c.setFault(away, healthy)
				for _, id := range c.ids {
					c.untilUsable(id)
				}
			}
		}
	})
}
