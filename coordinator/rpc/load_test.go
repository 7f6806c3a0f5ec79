package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"starling/coordinator"
	"starling/coordinator/rpc/internal/wire"
)

// Beyond a bound, on either side, a call is refused and does not run.
func TestOverload(t *testing.T) {
	for name, set := range map[string]func(caller, node *Options){
		"calls that wait":       func(caller, _ *Options) { caller.MaxPending = 2 },
		"requests of a peer":    func(_, node *Options) { node.MaxInFlight = 2 },
		"requests of all peers": func(_, node *Options) { node.MaxServerInFlight = 2 },
		"bytes of all its peers": func(_, node *Options) {
			node.MaxServerInFlightBytes = 2*len(appendReplicateRequest(nil, testReplicate())) + 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gate := make(chan struct{})
				open := sync.OnceFunc(func() { close(gate) })
				defer open()
				var ran atomic.Int64
				caller, _, _ := pipePair(t, &fakeNode{replicate: func(context.Context, coordinator.ReplicateRequest) error {
					ran.Add(1)
					<-gate
					return nil
				}}, set)
				var wg sync.WaitGroup
				for range 2 {
					wg.Go(func() { wantErr(t, caller.Replicate(t.Context(), nodeB, testReplicate()), nil) })
				}
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				err := caller.Replicate(ctx, nodeB, testReplicate())
				wantErr(t, err, coordinator.ErrOverloaded)
				certain(t, err)
				if ran.Load() != 2 {
					t.Errorf("%d ran", ran.Load())
				}
				open()
				wg.Wait()
				wantErr(t, caller.Replicate(t.Context(), nodeB, testReplicate()), nil)
			})
		})
	}
}

// A peer that hangs leaves the calls that wait for it open, and those after
// them certain. A ping waits until it is back.
func TestHungPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		defer ln.Close()
		var wg sync.WaitGroup
		defer wg.Wait()
		accept := func() net.Conn {
			nc, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := wire.ReadPreface(nc); err != nil {
				t.Fatal(err)
			}
			nc.Write(wire.AppendPreface(nil, wire.Preface{
				Versions: wire.Versions{Min: wire.MinVersion, Max: wire.MaxVersion}, Cluster: testCluster, Node: nodeB,
			}))
			return nc
		}
		c := newCluster(t)
		o := c.options(nodeA)
		o.Dial, o.BusyPingEvery, o.BusyDeadAfter = ln.dial, 100*time.Millisecond, 400*time.Millisecond
		c.locate(nodeB, "pipe")
		caller := c.transport(o)
		defer caller.Close()

		wg.Go(func() { io.Copy(io.Discard, accept()) })
		start := time.Now()
		wantErr(t, caller.Replicate(t.Context(), nodeB, testReplicate()), coordinator.ErrUnknown)
		if took := time.Since(start); took < o.BusyDeadAfter || took > o.BusyDeadAfter+o.BusyPingEvery {
			t.Errorf("noticed after %v", took)
		}
		start = time.Now()
		err := caller.Replicate(t.Context(), nodeB, testReplicate())
		wantErr(t, err, coordinator.ErrUnreachable)
		certain(t, err)
		if took := time.Since(start); took != 0 {
			t.Errorf("a call to a peer known to be hung took %v", took)
		}

		pinged := make(chan error, 1)
		wg.Go(func() { pinged <- caller.Ping(t.Context(), nodeB) })
		synctest.Wait()
		nc := accept()
		defer nc.Close()
		frame := make([]byte, wire.HeaderBytes)
		if _, err := io.ReadFull(nc, frame); err != nil {
			t.Fatal(err)
		}
		if method(frame[17]) != methodPing {
			t.Errorf("frame %x came first", frame)
		}
		caller.Close()
		wantErr(t, <-pinged, coordinator.ErrUnknown)
	})
}

// A node stops while many call it: what ran was answered, the rest was refused,
// and nobody is left in doubt.
func TestStopUnderLoad(t *testing.T) {
	var ran, answered atomic.Int64
	c := newCluster(t)
	node := c.transport(c.options(nodeB))
	node.SetServices((&fakeNode{replicate: func(context.Context, coordinator.ReplicateRequest) error {
		time.Sleep(time.Duration(ran.Add(1)%3) * time.Millisecond)
		return nil
	}}).services())
	stop := c.serve(node, listen(t, "127.0.0.1:0"))
	caller := c.transport(c.options(nodeA))
	stopping := make(chan struct{})
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for {
				err := caller.Replicate(short(t), nodeB, testReplicate())
				if err == nil {
					if answered.Add(1) == 200 {
						close(stopping)
					}
					continue
				}
				if !errors.Is(err, coordinator.ErrNotReady) && !errors.Is(err, coordinator.ErrUnreachable) {
					t.Errorf("got %v", err)
				}
				certain(t, err)
				return
			}
		})
	}
	<-stopping
	stop()
	wg.Wait()
	if ran.Load() != answered.Load() {
		t.Errorf("%d ran, %d were answered", ran.Load(), answered.Load())
	}
}

func testReplicate() coordinator.ReplicateRequest {
	return coordinator.ReplicateRequest{Ref: testRef, Stamp: 1, Object: testObject}
}
