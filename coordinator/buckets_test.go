package coordinator

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"starling/ring"
	"starling/store/bucket"
	"starling/store/object"
	"starling/store/version"
)

// learning is a membership whose exchanges of maps carry buckets too.
type learning struct {
	Membership
	c    *cluster
	self ring.NodeID
}

func (l learning) Refresh(ctx context.Context, id ring.NodeID) error {
	if err := l.Membership.Refresh(ctx, id); err != nil {
		return err
	}
	merged := bucket.Merge(l.c.nodes[l.self].Buckets(), l.c.nodes[id].Buckets())
	l.c.nodes[l.self].SetBuckets(merged)
	l.c.nodes[id].SetBuckets(merged)
	return nil
}

// learningCluster is a cluster of n nodes that keep hints and exchange what they
// know of buckets.
func learningCluster(t *testing.T, n int) *cluster {
	c := newCluster(t, n, nil).withHints()
	for _, id := range c.ids {
		c.nodes[id].opts.Membership = learning{c.nodes[id].opts.Membership, c, id}
	}
	return c
}

// dropped knows that bucket "b" was dropped once.
func dropped() bucket.Registry {
	return bucket.Registry{bucket.Record{Name: "b"}.Drop([16]byte{1})}
}

// rowsOf counts the copies and hints of a key over all nodes.
func (c *cluster) rowsOf(key string) (n int) {
	for _, s := range c.stores {
		s.mu.Lock()
		if !s.objects[refOf(key)].Absent() {
			n++
		}
		s.mu.Unlock()
	}
	for _, h := range c.hints {
		h.mu.Lock()
		for row := range h.rows {
			if row.ref == refOf(key) {
				n++
			}
		}
		h.mu.Unlock()
	}
	return n
}

var atAll = Consistency{Level: LevelAll}

func TestNothingIsWrittenToABucketThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := learningCluster(t, 5)
		for _, id := range c.ids {
			c.nodes[id].SetBuckets(dropped())
		}
		for _, at := range c.ids { // owners and others
			if _, err := c.put(at, putReq("k", "v", Consistency{Level: LevelAny})); !errors.Is(err, ErrGone) {
				t.Fatalf("a put at %s: %v", at, err)
			}
			if _, err := c.get(at, GetRequest{Key: "k"}); !errors.Is(err, ErrGone) {
				t.Fatalf("a get at %s: %v", at, err)
			}
		}
		owner, ref, stamp := c.nodes[c.owners("k")[0]], refOf("k"), c.placement("k").Stamp
		o := oneValue("v")
		if _, err := owner.Apply(ref, stamp, o); !errors.Is(err, ErrGone) {
			t.Fatalf("a copy from another owner: %v", err)
		}
		for _, target := range []ring.NodeID{{}, c.owners("k")[1]} { // a copy, a hint
			req := ReplicateRequest{Ref: ref, Stamp: stamp, Object: o, For: target}
			if err := owner.HandleReplicate(t.Context(), req); !errors.Is(err, ErrGone) {
				t.Fatalf("a write for %s: %v", target, err)
			}
		}
		if err := owner.Under(ref, stamp, func() error { t.Error("ran"); return nil }); !errors.Is(err, ErrGone) {
			t.Fatalf("a purge: %v", err)
		}
		if n := c.rowsOf("k"); n != 0 {
			t.Fatalf("%d rows", n)
		}
		// The next incarnation has a name of its own.
		next := putReq("k", "v", atAll)
		next.Bucket = "b~1"
		if _, err := c.put(c.ids[0], next); err != nil {
			t.Fatal(err)
		}
	})
}

// A node that has not heard of the drop learns of it from the first replica that
// has, whatever it asks it for, and answers that the bucket is gone.
func TestWhoHasNotHeardOfADropLearnsOfIt(t *testing.T) {
	for name, request := range map[string]func(c *cluster, at ring.NodeID) error{
		"put": func(c *cluster, at ring.NodeID) error { _, err := c.put(at, putReq("k", "late", atAll)); return err },
		"get": func(c *cluster, at ring.NodeID) error {
			_, err := c.get(at, GetRequest{Key: "k", Consistency: atAll})
			return err
		},
		"delete": func(c *cluster, at ring.NodeID) error {
			req := putReq("k", "", Consistency{W: 2, R: 2})
			req.Sibling.Tombstone, req.ReadFirst = true, true
			_, err := c.put(at, req)
			return err
		},
	} {
		for _, owner := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := learningCluster(t, 5)
					at := c.others("k")[0]
					if owner {
						at = c.owners("k")[0]
					}
					c.mustPut(c.owners("k")[1], putReq("k", "old", atAll))
					synctest.Wait()
					for _, id := range c.ids {
						if id != at {
							c.nodes[id].SetBuckets(dropped())
						}
					}
					for range 2 {
						var q *QuorumError
						if err := request(c, at); !errors.Is(err, ErrGone) || errors.As(err, &q) {
							t.Fatalf("error %v, want ErrGone alone", err)
						}
					}
					synctest.Wait()
					if !c.nodes[at].Gone("b") {
						t.Fatal("it has not learned of the drop")
					}
					if n := c.held(c.owners("k")[2]); n != 0 {
						t.Fatalf("%d hints of a bucket that is gone", n)
					}
				})
			})
		}
	}
}

// A put that was done among those who have not heard of the drop came before
// it. The owner that has heard takes no copy, and no hint for it is kept.
func TestAPutAmongThoseWhoHaveNotHeardOfTheDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := learningCluster(t, 3)
		knows := c.owners("k")[2]
		c.nodes[knows].SetBuckets(dropped())
		c.setFault(knows, delayed)
		c.credulous.Store(true)
		c.mustPut(c.owners("k")[0], putReq("k", "v", Consistency{W: 2}))
		close(c.letGo)
		synctest.Wait()
		if !c.stores[knows].objects[refOf("k")].Absent() {
			t.Error("who knows of the drop has a copy")
		}
		if n := c.held(knows); n != 0 {
			t.Errorf("%d hints", n)
		}
	})
}

// A hint of a bucket that is gone is delivered by forgetting it, whoever of the
// two knows.
func TestAHintOfABucketThatIsGoneIsDone(t *testing.T) {
	for _, known := range []string{"keeper", "target"} {
		t.Run(known, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := learningCluster(t, 5)
				away := c.owners("k")[0]
				c.setFault(away, refused)
				c.mustPut(c.owners("k")[1], putReq("k", "v", Consistency{W: 2}))
				synctest.Wait()
				if c.held(away) != 1 {
					t.Fatalf("%d hints, want 1", c.held(away))
				}
				c.setFault(away, healthy)
				for _, id := range c.ids {
					c.untilUsable(id)
					if (id == away) == (known == "target") {
						c.nodes[id].SetBuckets(dropped())
					}
				}
				c.deliverAll()
				if c.held(away) != 0 {
					t.Fatalf("%d hints are left", c.held(away))
				}
				if !c.stores[away].objects[refOf("k")].Absent() {
					t.Error("the target has a copy")
				}
			})
		})
	}
}

// A put that would bring the key over the bucket's bound is refused; one that
// resolves what is there is not.
func TestABucketBoundsSiblings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		few := bucket.Record{Name: "b"}.Declare(bucket.Properties{MaxSiblings: 2}, [16]byte{1})
		for _, id := range c.ids {
			c.nodes[id].SetBuckets(bucket.Registry{few})
		}
		at := c.ids[0]
		c.mustPut(at, putReq("k", "one", atAll))
		c.mustPut(at, putReq("k", "two", atAll))
		if _, err := c.put(at, putReq("k", "three", atAll)); !errors.Is(err, object.ErrTooManySiblings) {
			t.Fatalf("a third sibling: %v", err)
		}
		seen := c.wantValues(at, GetRequest{Key: "k", Consistency: atAll}, "one", "two")
		both := putReq("k", "both", atAll)
		both.Context = version.Context{Vector: seen.Object.Vector}
		c.mustPut(at, both)
		c.wantValues(at, GetRequest{Key: "k", Consistency: atAll}, "both")
	})
}

// The properties are those of the incarnation that the key is of.
func TestPropertiesOfABucket(t *testing.T) {
	var c Coordinator
	if n := c.properties("b").MaxSiblings; n != 0 {
		t.Fatalf("%d without a registry", n)
	}
	r := bucket.Record{Name: "b"}.Drop([16]byte{1}).Declare(bucket.Properties{MaxSiblings: 3}, [16]byte{1})
	c.SetBuckets(bucket.Registry{r})
	for stored, want := range map[string]uint32{"b": 0, "b~1": 3, "b~2": 0, "a": 0, "b~": 0} {
		if n := c.properties(stored).MaxSiblings; n != want {
			t.Errorf("%s: %d, want %d", stored, n, want)
		}
	}
}

// oneValue is an object of one value.
func oneValue(value string) object.Object {
	sib := object.Sibling{Dot: version.Dot{Actor: 7, Seq: 1}, Value: []byte(value), Op: newOp()}
	o, err := object.Object{}.Update(version.Context{}, sib, object.Limits{})
	if err != nil {
		panic(err)
	}
	return o
}
