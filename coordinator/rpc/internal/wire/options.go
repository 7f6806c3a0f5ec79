package wire

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Defaults of [Options].
const (
	DefaultQueueBytes       = 16 << 20
	DefaultMaxPending       = 4096
	DefaultMaxInFlight      = 4096
	DefaultMaxInFlightBytes = 64 << 20
	DefaultMaxConns         = 4096
	DefaultPingEvery        = 5 * time.Second
	DefaultDeadAfter        = 10 * time.Second
	DefaultPrefaceTimeout   = 5 * time.Second
	DefaultDialTimeout      = 3 * time.Second
	DefaultDrainTimeout     = 10 * time.Second
)

// Options serve both sides of a node. Node, Cluster, Metrics and Logger are
// required; zero elsewhere is the default.
type Options struct {
	Node [16]byte
	// Cluster is this node's cluster ID now; zero until it has joined.
	Cluster func() [16]byte
	// Unjoined says which methods need no common cluster; nil: none.
	Unjoined func(method uint8) bool
	Metrics  *Metrics
	Logger   *slog.Logger

	Versions Versions
	Features uint64

	// QueueBytes bounds what waits to be written on a connection.
	QueueBytes int
	// MaxPending bounds the calls that wait for a reply on a connection.
	MaxPending int
	// MaxInFlight and MaxInFlightBytes (of payload) bound what a server
	// runs for one connection.
	MaxInFlight, MaxInFlightBytes int
	// MaxConns bounds a server's connections, and a pool's peers.
	MaxConns int

	// PingEvery is how long a side reads nothing before it pings, DeadAfter
	// (at least twice that) before it gives up.
	PingEvery, DeadAfter time.Duration
	// PrefaceTimeout bounds the exchange of prefaces, DialTimeout that and
	// the opening of the connection together.
	PrefaceTimeout, DialTimeout time.Duration
	// DrainTimeout is how long a stopping server waits for what runs.
	DrainTimeout time.Duration
	// Dial opens a connection; nil: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	maxPayload int // a smaller MaxPayload, for tests
}

// withDefaults fills in what is zero and checks the rest.
func (o Options) withDefaults() (*Options, error) {
	if o.Cluster == nil || o.Metrics == nil || o.Logger == nil {
		return nil, fmt.Errorf("wire: Cluster, Metrics and Logger are required")
	}
	if o.Unjoined == nil {
		o.Unjoined = func(uint8) bool { return false }
	}
	if o.Versions == (Versions{}) {
		o.Versions = Versions{Min: MinVersion, Max: MaxVersion}
	}
	orDefault(&o.QueueBytes, DefaultQueueBytes)
	orDefault(&o.MaxPending, DefaultMaxPending)
	orDefault(&o.MaxInFlight, DefaultMaxInFlight)
	orDefault(&o.MaxInFlightBytes, DefaultMaxInFlightBytes)
	orDefault(&o.MaxConns, DefaultMaxConns)
	orDefault(&o.PingEvery, DefaultPingEvery)
	orDefault(&o.DeadAfter, max(DefaultDeadAfter, 2*o.PingEvery))
	orDefault(&o.PrefaceTimeout, DefaultPrefaceTimeout)
	orDefault(&o.DialTimeout, DefaultDialTimeout)
	orDefault(&o.DrainTimeout, DefaultDrainTimeout)
	orDefault(&o.maxPayload, MaxPayload)
	if o.Dial == nil {
		d := &net.Dialer{KeepAlive: -1} // the frames have their own
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	for name, v := range map[string]int64{
		"QueueBytes": int64(o.QueueBytes), "MaxPending": int64(o.MaxPending),
		"MaxInFlight": int64(o.MaxInFlight), "MaxInFlightBytes": int64(o.MaxInFlightBytes),
		"MaxConns": int64(o.MaxConns), "PingEvery": int64(o.PingEvery), "PrefaceTimeout": int64(o.PrefaceTimeout),
		"DialTimeout": int64(o.DialTimeout), "DrainTimeout": int64(o.DrainTimeout),
	} {
		if v < 0 {
			return nil, fmt.Errorf("wire: %s is negative", name)
		}
	}
	if o.DeadAfter < 2*o.PingEvery {
		return nil, fmt.Errorf("wire: DeadAfter (%v) must be at least twice PingEvery (%v)", o.DeadAfter, o.PingEvery)
	}
	return &o, nil
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// preface is what this node says of itself now.
func (o *Options) preface() Preface {
	return Preface{Versions: o.Versions, Features: o.Features, Cluster: o.Cluster(), Node: o.Node}
}
