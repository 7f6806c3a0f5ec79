package rpc

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"starling/coordinator"
	"starling/gossip/state"
	"starling/ring"
)

// A node that has not joined may exchange maps and nothing else; once it has,
// all is open without a restart.
func TestJoining(t *testing.T) {
	n := &fakeNode{
		read: func(context.Context, coordinator.ReadRequest) (coordinator.ReadReply, error) {
			return coordinator.ReadReply{}, nil
		},
		exchange: func(_ context.Context, m state.Map) (state.Map, error) { return m, nil },
	}
	for _, newcomer := range []string{"caller", "node"} {
		t.Run(newcomer, func(t *testing.T) {
			c := newCluster(t)
			oa, ob := c.options(nodeA), c.options(nodeB)
			if newcomer == "caller" {
				oa.Cluster = [16]byte{}
			} else {
				ob.Cluster = [16]byte{}
			}
			caller, node := c.transport(oa), c.transport(ob)
			node.SetServices(n.services())
			c.serve(node, listen(t, "127.0.0.1:0"))
			addr, _ := c.resolve(nodeB)

			_, err := caller.Read(short(t), nodeB, coordinator.ReadRequest{})
			wantErr(t, err, coordinator.ErrNotReady)
			certain(t, err)
			_, err = caller.Exchange(short(t), addr, state.Map{})
			wantErr(t, err, nil)
			caller.SetCluster(testCluster)
			node.SetCluster(testCluster)
			_, err = caller.Read(short(t), nodeB, coordinator.ReadRequest{})
			wantErr(t, err, nil)
		})
	}
}

func TestOtherCluster(t *testing.T) {
	_, _, c := pair(t, nil)
	o := c.options(nodeA)
	o.Cluster = [16]byte{0xc2}
	stranger := c.transport(o)
	addr, _ := c.resolve(nodeB)
	_, err := stranger.Exchange(short(t), addr, state.Map{})
	wantErr(t, err, ErrWrongCluster, state.ErrForeignCluster, coordinator.ErrUnreachable)
	certain(t, err)
	var wrong *WrongClusterError
	if !errors.As(err, &wrong) || wrong.Ours != o.Cluster || wrong.Theirs != testCluster {
		t.Errorf("got %v", err)
	}
}

// An address that another node has taken over is not that node.
func TestAddressOfAnotherNode(t *testing.T) {
	n := &fakeNode{exchange: func(_ context.Context, m state.Map) (state.Map, error) { return m, nil }}
	caller, _, c := pair(t, n)
	addr, _ := c.resolve(nodeB)
	gone := ring.NodeID{0xdd}
	c.locate(gone, addr)
	err := caller.Ping(short(t), gone)
	wantErr(t, err, coordinator.ErrUnreachable)
	for _, id := range []ring.NodeID{gone, nodeB} {
		if !strings.Contains(err.Error(), id.String()) {
			t.Errorf("%q does not name %s", err, id)
		}
	}
	wantErr(t, caller.Ping(short(t), nodeB), nil)
	_, err = caller.Exchange(short(t), addr, state.Map{})
	wantErr(t, err, nil)
	wantErr(t, caller.Ping(short(t), ring.NodeID{0xee}), coordinator.ErrUnreachable)
}

func TestRestartOnTheSameAddress(t *testing.T) {
	c := newCluster(t)
	first := c.transport(c.options(nodeB))
	ln := listen(t, "127.0.0.1:0")
	stop := c.serve(first, ln)
	caller := c.transport(c.options(nodeA))
	wantErr(t, caller.Ping(short(t), nodeB), nil)
	stop()
	start := time.Now()
	err := caller.Ping(short(t), nodeB)
	wantErr(t, err, coordinator.ErrUnreachable)
	certain(t, err)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("a refused connection took %v", took)
	}
	c.serve(c.transport(c.options(nodeB)), listen(t, ln.Addr().String()))
	ctx := short(t)
	for caller.Ping(ctx, nodeB) != nil {
		if ctx.Err() != nil {
			t.Fatal("no connection to the restarted node")
		}
	}
}
