package rpc

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"starling/coordinator"
	"starling/coordinator/rpc/internal/wire"
)

// result is how a request ended, for the metrics.
type result uint8

const (
	resultOK          result = iota
	resultError              // the handler's own error
	resultRefused            // it did not run: overloaded, stopping, not joined
	resultExpired            // it did not run: its deadline had passed
	resultUnreachable        // client: no connection
	resultUnknown            // client: sent, and no reply
	resultPanic              // server

	results // one more than the last
)

var resultNames = [results]string{"ok", "error", "refused", "expired", "unreachable", "unknown", "panic"}

// requestCounters has a handle for every method and result of one side.
type requestCounters [methods][results]prometheus.Counter

func (c *requestCounters) count(m method, r result) { c[m][r].Inc() }

// newRequestCounters registers the counters of both sides; reg may be nil.
func newRequestCounters(reg prometheus.Registerer) (client, server *requestCounters, err error) {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "starling", Subsystem: "rpc", Name: "requests_total",
		Help: "Requests between nodes, as the side that called or answered saw them end.",
	}, []string{"side", "method", "result"})
	if reg != nil {
		if err := reg.Register(vec); err != nil {
			return nil, nil, err
		}
	}
	client, server = &requestCounters{}, &requestCounters{}
	for m := range methods {
		for r := range results {
			if side := "client"; r != resultPanic && m != 0 {
				client[m][r] = vec.WithLabelValues(side, m.String(), resultNames[r])
			}
			if r != resultUnreachable && r != resultUnknown {
				server[m][r] = vec.WithLabelValues("server", m.String(), resultNames[r])
			}
		}
	}
	return client, server, nil
}

// byteCounters count the bytes of requests and replies, for every method.
type byteCounters [methods]struct{ in, out prometheus.Counter }

// received and sent count one message without its frame's header.
func (c *byteCounters) received(m method, bytes int) { c[m].in.Add(float64(bytes)) }
func (c *byteCounters) sent(m method, bytes int)     { c[m].out.Add(float64(bytes)) }

// newByteCounters registers the counters; reg may be nil.
func newByteCounters(reg prometheus.Registerer) (*byteCounters, error) {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_rpc_message_bytes_total",
		Help: "Bytes of requests and replies between nodes, errors left out, by method: in is what this node received, out what it sent."},
		[]string{"method", "direction"})
	if reg != nil {
		if err := reg.Register(vec); err != nil {
			return nil, err
		}
	}
	c := &byteCounters{}
	for m := range methods {
		c[m].in, c[m].out = vec.WithLabelValues(m.String(), "in"), vec.WithLabelValues(m.String(), "out")
	}
	return c, nil
}

// serveCounted is serve, and counts the bytes.
func (t *Transport) serveCounted(ctx context.Context, number uint8, payload []byte, reply *wire.Buffer) error {
	m := known(number)
	t.bytes.received(m, len(payload))
	err := t.serve(ctx, number, payload, reply)
	if err == nil {
		t.bytes.sent(m, len(reply.B)-wire.HeaderBytes)
	}
	return err
}

// clientResult classifies the outcome of a call.
func clientResult(err error) result {
	var remote *RemoteError
	switch {
	case err == nil:
		return resultOK
	case errors.As(err, &remote):
		return resultError
	case errors.Is(err, coordinator.ErrUnknown):
		return resultUnknown
	case errors.Is(err, coordinator.ErrUnreachable):
		return resultUnreachable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return resultExpired
	default:
		return resultRefused
	}
}

// serverResult classifies how a request ended here.
func serverResult(err error) result {
	var panicked *wire.PanicError
	switch {
	case err == nil:
		return resultOK
	case errors.As(err, &panicked):
		return resultPanic
	case errors.Is(err, wire.ErrExpired):
		return resultExpired
	case errors.Is(err, wire.ErrOverloaded), errors.Is(err, wire.ErrGoingAway),
		errors.Is(err, wire.ErrNotJoined), errors.Is(err, wire.ErrWrongCluster):
		return resultRefused
	default:
		return resultError
	}
}
