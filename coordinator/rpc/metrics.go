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
