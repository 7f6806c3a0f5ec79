package rpc

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/antientropy"
	"starling/coordinator"
	"starling/ring"
	"starling/store/object"
)

func TestReplyDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 300 * time.Millisecond
		var handled, observed atomic.Int64 // when, and for how long
		reg := prometheus.NewRegistry()
		now := func() { handled.Store(time.Now().UnixNano()) }
		caller, _, _ := pipePair(t, &fakeNode{
			read: func(context.Context, coordinator.ReadRequest) (coordinator.ReadReply, error) {
				now()
				return coordinator.ReadReply{}, nil
			},
			replicate: func(context.Context, coordinator.ReplicateRequest) error {
				now()
				return coordinator.ErrStaleRing
			},
			forward: func(context.Context, coordinator.ForwardRequest) (coordinator.PutResult, error) {
				now()
				return coordinator.PutResult{}, nil
			},
			confirm: func(context.Context, []antientropy.Claim) ([]antientropy.Claim, error) { return nil, nil },
			inspect: func(context.Context, object.Ref) (coordinator.InspectReply, error) {
				return coordinator.InspectReply{}, nil
			},
			status: func(context.Context) (coordinator.NodeStatus, error) { return coordinator.NodeStatus{}, nil },
		}, func(caller, node *Options) {
			node.ReplyDelay, node.Metrics = delay, reg
			caller.Observe = func(to ring.NodeID, _ string, took time.Duration, _ error) {
				if to != nodeB {
					t.Errorf("observed %v", to)
				}
				observed.Store(int64(took))
			}
		})
		for _, c := range []struct {
			name string
			call func(ctx context.Context) error
			err  error
			want time.Duration
		}{
			{"read", func(ctx context.Context) error {
				_, err := caller.Read(ctx, nodeB, coordinator.ReadRequest{})
				return err
			}, nil, delay},
			{"replicate", func(ctx context.Context) error {
				return caller.Replicate(ctx, nodeB, coordinator.ReplicateRequest{})
			}, coordinator.ErrStaleRing, delay},
			{"forward", func(ctx context.Context) error {
				_, err := caller.Forward(ctx, nodeB, testForward())
				return err
			}, nil, delay},
			{"confirm", func(ctx context.Context) error { _, err := caller.Confirm(ctx, nodeB, nil); return err }, nil, 0},
			{"ping", func(ctx context.Context) error { return caller.Ping(ctx, nodeB) }, nil, 0},
			{"inspect", func(ctx context.Context) error { _, err := caller.Inspect(ctx, nodeB, testRef); return err }, nil, 0},
			{"status", func(ctx context.Context) error { _, err := caller.Status(ctx, nodeB); return err }, nil, 0},
		} {
			start := time.Now()
			wantErr(t, c.call(t.Context()), c.err)
			if took := time.Since(start); took != c.want || observed.Load() != int64(c.want) {
				t.Errorf("%s took %v, observed %v", c.name, took, time.Duration(observed.Load()))
			}
			if c.want == 0 {
				continue
			}
			if handled.Load() != start.UnixNano() {
				t.Errorf("%s: the request was held back, not the answer", c.name)
			}
			ctx, cancel := context.WithTimeout(t.Context(), delay/3)
			start = time.Now()
			// The deadline ends the delay too, so the answer and the end of the
			// call come at the same instant, and either may win.
			if err := c.call(ctx); !errors.Is(err, c.err) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s with a deadline: %v", c.name, err)
			}
			cancel()
			if took := time.Since(start); took != delay/3 {
				t.Errorf("%s with a deadline took %v", c.name, took)
			}
			synctest.Wait()
			if n := gather(t, reg)["starling_rpc_in_flight_requests side=server"]; n != 0 {
				t.Errorf("%s: %v still run behind their deadline", c.name, n)
			}
		}
	})
}
