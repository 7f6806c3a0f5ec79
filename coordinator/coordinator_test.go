package coordinator

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestWithoutAViewNothingIsServed(t *testing.T) {
	c, err := New(Options{Store: newMemStore(1), Peers: netPeers{}, Membership: netMembers{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Put(ctx, putReq("k", "v", one)); !errors.Is(err, ErrNotReady) {
		t.Errorf("put: %v", err)
	}
	if _, err := c.Get(ctx, GetRequest{Bucket: "b", Key: "k"}); !errors.Is(err, ErrNotReady) {
		t.Errorf("get: %v", err)
	}
	if _, err := c.HandleRead(ctx, ReadRequest{Ref: refOf("k")}); !errors.Is(err, ErrNotReady) {
		t.Errorf("read: %v", err)
	}
	if _, err := c.Put(t.Context(), putReq("k", "v", one)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a put without a deadline: %v", err)
	}
}

func TestAStoppedCoordinatorRefuses(t *testing.T) {
	c, err := New(Options{Self: nodeID(0), Store: newMemStore(1), Peers: netPeers{}, Membership: netMembers{}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetView(settledView(t, 1))
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := c.Run(stopped); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Put(ctx, putReq("k", "v", one)); !errors.Is(err, ErrNotReady) {
		t.Fatalf("error %v, want ErrNotReady", err)
	}
	if o, _ := c.opts.Store.Get(refOf("k")); !o.Absent() {
		t.Fatal("the refused put left a copy")
	}
}
