package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"starling/antientropy"
	"starling/coordinator"
	"starling/gossip/state"
	"starling/store/object"
)

func TestEveryMethod(t *testing.T) {
	read := coordinator.ReadRequest{Ref: testRef, Stamp: 5, Have: 6, Hints: true}
	replicate := coordinator.ReplicateRequest{Ref: testRef, Stamp: 5, Object: testObject, For: nodeA}
	caller, _, _ := pair(t, &fakeNode{
		read: func(_ context.Context, q coordinator.ReadRequest) (coordinator.ReadReply, error) {
			same(t, q, read)
			return coordinator.ReadReply{Object: testObject, Same: true}, nil
		},
		replicate: func(_ context.Context, q coordinator.ReplicateRequest) error {
			same(t, q, replicate)
			return nil
		},
		forward: func(_ context.Context, q coordinator.ForwardRequest) (coordinator.PutResult, error) {
			same(t, q, testForward())
			return testResult(nodeA, nodeB), nil
		},
		confirm: func(_ context.Context, q []antientropy.Claim) ([]antientropy.Claim, error) {
			same(t, q, testClaims)
			return q[1:], nil
		},
		pull: func(_ context.Context, q antientropy.PullRequest) (antientropy.PullPage, error) {
			same(t, q, testPull())
			return testPage(), nil
		},
		sizes: func(_ context.Context, q antientropy.SizesRequest) (antientropy.SizesReply, error) {
			same(t, q, testSizes)
			return testSizesReply, nil
		},
		exchange: func(_ context.Context, m state.Map) (state.Map, error) {
			same(t, m, state.Map{})
			return testMap(), nil
		},
		inspect: func(_ context.Context, ref object.Ref) (coordinator.InspectReply, error) {
			same(t, ref, testRef)
			return testInspectReply(), nil
		},
		status: func(context.Context) (coordinator.NodeStatus, error) { return testStatus(), nil },
	})
	ctx := short(t)
	reply, err := caller.Read(ctx, nodeB, read)
	wantErr(t, err, nil)
	same(t, reply, coordinator.ReadReply{Object: testObject, Same: true})
	wantErr(t, caller.Replicate(ctx, nodeB, replicate), nil)
	result, err := caller.Forward(ctx, nodeB, testForward())
	wantErr(t, err, nil)
	same(t, result, testResult(nodeA, nodeB))
	agreed, err := caller.Confirm(ctx, nodeB, testClaims)
	wantErr(t, err, nil)
	same(t, agreed, testClaims[1:])
	page, err := caller.Pull(ctx, nodeB, testPull())
	wantErr(t, err, nil)
	same(t, page, testPage())
	sizes, err := caller.Sizes(ctx, nodeB, testSizes)
	wantErr(t, err, nil)
	same(t, sizes, testSizesReply)
	addr, _ := caller.opts.Resolve(nodeB)
	theirs, err := caller.Exchange(ctx, addr, state.Map{})
	wantErr(t, err, nil)
	same(t, theirs, testMap())
	inspected, err := caller.Inspect(ctx, nodeB, testRef)
	wantErr(t, err, nil)
	same(t, inspected, testInspectReply())
	said, err := caller.Status(ctx, nodeB)
	wantErr(t, err, nil)
	same(t, said, testStatus())
	wantErr(t, caller.Ping(ctx, nodeB), nil)
}

func TestHandlerErrorReachesCaller(t *testing.T) {
	caller, _, _ := pair(t, &fakeNode{
		read: func(context.Context, coordinator.ReadRequest) (coordinator.ReadReply, error) {
			return coordinator.ReadReply{}, fmt.Errorf("%w: partition 3", coordinator.ErrStaleRing)
		},
		forward: func(context.Context, coordinator.ForwardRequest) (coordinator.PutResult, error) {
			return coordinator.PutResult{}, testQuorumError()
		},
		replicate: func(context.Context, coordinator.ReplicateRequest) error { return errors.New("disk on fire") },
	})
	_, err := caller.Read(short(t), nodeB, coordinator.ReadRequest{})
	wantErr(t, err, coordinator.ErrStaleRing)
	certain(t, err)
	_, err = caller.Forward(short(t), nodeB, testForward())
	var q *coordinator.QuorumError
	if !errors.As(err, &q) || q.Received != 1 || !q.MaybeApplied {
		t.Errorf("got %v", err)
	}
	err = caller.Replicate(short(t), nodeB, coordinator.ReplicateRequest{})
	wantErr(t, err, coordinator.ErrUnknown)
	if !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("got %v", err)
	}
}

// A node listens before it can serve.
func TestServicesComeLater(t *testing.T) {
	caller, node, c := pair(t, nil)
	addr, _ := c.resolve(nodeB)
	calls := map[string]func() error{
		"read":      func() error { _, err := caller.Read(short(t), nodeB, coordinator.ReadRequest{}); return err },
		"replicate": func() error { return caller.Replicate(short(t), nodeB, coordinator.ReplicateRequest{}) },
		"forward":   func() error { _, err := caller.Forward(short(t), nodeB, testForward()); return err },
		"inspect":   func() error { _, err := caller.Inspect(short(t), nodeB, testRef); return err },
		"status":    func() error { _, err := caller.Status(short(t), nodeB); return err },
		"confirm":   func() error { _, err := caller.Confirm(short(t), nodeB, nil); return err },
		"pull":      func() error { _, err := caller.Pull(short(t), nodeB, antientropy.PullRequest{}); return err },
		"list":      func() error { _, err := caller.List(short(t), nodeB, coordinator.ScanRequest{}); return err },
		"sizes":     func() error { _, err := caller.Sizes(short(t), nodeB, antientropy.SizesRequest{}); return err },
		"exchange":  func() error { _, err := caller.Exchange(short(t), addr, state.Map{}); return err },
	}
	for name, call := range convergeCalls(t, caller) {
		calls[name] = call
	}
	for name, call := range batchCalls(t, caller) {
		calls[name] = call
	}
	if want := int(methods) - 2; len(calls) != want {
		t.Errorf("%d calls, want %d: all methods but ping", len(calls), want)
	}
	for name, call := range calls {
		err := call()
		wantErr(t, err, coordinator.ErrNotReady)
		certain(t, err)
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
	node.SetServices(Services{Exchange: func(_ context.Context, m state.Map) (state.Map, error) { return m, nil }})
	wantErr(t, calls["exchange"](), nil)
	wantErr(t, calls["read"](), coordinator.ErrNotReady)
	node.SetServices((&fakeNode{
		read: func(context.Context, coordinator.ReadRequest) (coordinator.ReadReply, error) {
			return coordinator.ReadReply{}, nil
		},
	}).services())
	wantErr(t, calls["read"](), nil)
}

func TestPanicIsInternal(t *testing.T) {
	var logged bytes.Buffer
	c := newCluster(t)
	o := c.options(nodeB)
	o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	node := c.transport(o)
	node.SetServices((&fakeNode{
		replicate: func(context.Context, coordinator.ReplicateRequest) error { panic("feathers everywhere") },
	}).services())
	stop := c.serve(node, listen(t, "127.0.0.1:0"))
	caller := c.transport(c.options(nodeA))
	err := caller.Replicate(short(t), nodeB, coordinator.ReplicateRequest{})
	var remote *RemoteError
	if !errors.As(err, &remote) || !remote.MaybeApplied || remote.Retryable || !strings.Contains(err.Error(), "feathers") {
		t.Errorf("got %v", err)
	}
	wantErr(t, err, coordinator.ErrUnknown)
	wantErr(t, caller.Ping(short(t), nodeB), nil)
	caller.Close()
	stop()
	if !strings.Contains(logged.String(), "feathers") || !strings.Contains(logged.String(), "transport_test.go") {
		t.Errorf("the log has no stack: %s", logged.String())
	}
}

// Many callers at once: every answer belongs to its question, and what was
// decoded is not written over by later frames.
func TestManyCallers(t *testing.T) {
	value := func(n int) []byte { return bytes.Repeat([]byte{byte(n)}, 100+n*37%5000) }
	caller, _, _ := pair(t, &fakeNode{
		read: func(_ context.Context, q coordinator.ReadRequest) (coordinator.ReadReply, error) {
			o := testObject
			o.Siblings = append([]object.Sibling(nil), o.Siblings...)
			o.Siblings[0].Value = value(int(q.Stamp))
			return coordinator.ReadReply{Object: o}, nil
		},
	})
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			kept := map[int][]byte{}
			for i := range 100 {
				n := g*1000 + i
				reply, err := caller.Read(short(t), nodeB, coordinator.ReadRequest{Stamp: uint64(n)})
				if err != nil {
					t.Error(err)
					return
				}
				kept[n] = reply.Object.Siblings[0].Value
			}
			for n, got := range kept {
				if !bytes.Equal(got, value(n)) {
					t.Errorf("reply %d was written over", n)
				}
			}
		})
	}
	wg.Wait()
}

func TestOptionsAreChecked(t *testing.T) {
	c := newCluster(t)
	for name, breakIt := range map[string]func(o *Options){
		"Resolve":     func(o *Options) { o.Resolve = nil },
		"Logger":      func(o *Options) { o.Logger = nil },
		"MaxInFlight": func(o *Options) { o.MaxInFlight = -1 },
	} {
		o := c.options(nodeA)
		breakIt(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
