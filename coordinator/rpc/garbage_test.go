package rpc

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"starling/coordinator"
	"starling/coordinator/rpc/internal/wire"
	"starling/gossip/state"
)

// raw sends bytes that are no message.
func raw(t *testing.T, tr *Transport, m uint8, payload string) error {
	t.Helper()
	conn, err := tr.connect(short(t), targetOf(t, tr), methodPing)
	if err != nil {
		t.Fatal(err)
	}
	b := wire.NewBuffer(len(payload))
	b.B = append(b.B, payload...)
	if _, err = conn.Call(short(t), m, b); err != nil {
		err = outcome(context.Background(), target{}, err)
	}
	return err
}

func targetOf(t *testing.T, tr *Transport) target {
	t.Helper()
	addr, ok := tr.opts.Resolve(nodeB)
	if !ok {
		t.Fatal("no address")
	}
	return target{addr, nodeB}
}

func TestGarbageIsRefused(t *testing.T) {
	n := &fakeNode{exchange: func(_ context.Context, m state.Map) (state.Map, error) { return m, nil }}
	caller, _, _ := pair(t, n)
	for m := methodPing; m < methods; m++ {
		err := raw(t, caller, uint8(m), "\x02\x00")
		wantErr(t, err, coordinator.ErrInvalid)
		certain(t, err)
	}
	for _, m := range []uint8{0, uint8(methods), 255} {
		err := raw(t, caller, m, "")
		wantErr(t, err, ErrMethod)
		certain(t, err)
	}
}

// A reply that cannot be read leaves the outcome open.
func TestGarbageInReply(t *testing.T) {
	c := newCluster(t)
	metrics, err := wire.NewMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := wire.NewServer(wire.ServerOptions{
		Options: wire.Options{
			Node: nodeB, Cluster: func() [16]byte { return testCluster },
			Metrics: metrics, Logger: slog.New(slog.DiscardHandler),
		},
		Handle: func(_ context.Context, m uint8, _ []byte, reply *wire.Buffer) error {
			if method(m) == methodPing {
				return errors.New("x")
			}
			reply.B = append(reply.B, 0x02, 0x00)
			return nil
		},
		EncodeError: func(dst []byte, _ error) []byte { return append(dst, 0x02, 0x00) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	c.locate(nodeB, ln.Addr().String())
	caller := c.transport(c.options(nodeA))
	_, err = caller.Forward(short(t), nodeB, testForward())
	wantErr(t, err, coordinator.ErrUnknown, ErrMalformed)
	wantErr(t, caller.Ping(short(t), nodeB), coordinator.ErrUnknown, ErrMalformed)
	caller.Close()
	cancel()
	wantErr(t, <-done, nil)
}
