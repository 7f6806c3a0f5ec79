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
	DefaultQueueBytes             = 16 << 20
	DefaultMaxPending             = 4096
	DefaultMaxInFlight            = 4096
	DefaultMaxInFlightBytes       = 64 << 20
	DefaultMaxServerInFlight      = 8192
	DefaultMaxServerInFlightBytes = 256 << 20
	DefaultMaxConns               = 4096
	DefaultPingEvery              = 5 * time.Second
	DefaultDeadAfter              = 10 * time.Second
	DefaultBusyPingEvery          = 250 * time.Millisecond
	DefaultBusyDeadAfter          = time.Second
	DefaultPrefaceTimeout         = time.Second
	DefaultDialTimeout            = time.Second
	DefaultDrainTimeout           = 10 * time.Second
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
	// MaxServerInFlight and MaxServerInFlightBytes bound what it runs for
	// all of them together, but for a small part that each is sure of.
	MaxServerInFlight, MaxServerInFlightBytes int
	// MaxConns bounds a server's connections, and a pool's peers.
	MaxConns int

	// PingEvery is how long a side reads nothing before it pings, DeadAfter
	// (at least twice that) before it gives up.
	PingEvery, DeadAfter time.Duration
	// BusyPingEvery and BusyDeadAfter (at least twice that) take their
	// place at the calling end while calls wait. What is on its way to the
	// peer must fit into BusyDeadAfter: on links under 4 MB/s, whose send
	// buffers take longer to empty, it has to be longer.
	BusyPingEvery, BusyDeadAfter time.Duration
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
	orDefault(&o.MaxServerInFlight, DefaultMaxServerInFlight)
	orDefault(&o.MaxServerInFlightBytes, DefaultMaxServerInFlightBytes)
	orDefault(&o.MaxConns, DefaultMaxConns)
	orDefault(&o.PingEvery, DefaultPingEvery)
	orDefault(&o.DeadAfter, max(DefaultDeadAfter, 2*o.PingEvery))
	orDefault(&o.BusyPingEvery, DefaultBusyPingEvery)
	orDefault(&o.BusyDeadAfter, max(DefaultBusyDeadAfter, 2*o.BusyPingEvery))
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
	return &o, o.check()
}

// check is about options whose defaults are filled in.
func (o *Options) check() error {
	for name, v := range map[string]int64{
		"QueueBytes": int64(o.QueueBytes), "MaxPending": int64(o.MaxPending),
		"MaxInFlight": int64(o.MaxInFlight), "MaxInFlightBytes": int64(o.MaxInFlightBytes),
		"MaxServerInFlight": int64(o.MaxServerInFlight), "MaxServerInFlightBytes": int64(o.MaxServerInFlightBytes),
		"MaxConns": int64(o.MaxConns), "PingEvery": int64(o.PingEvery), "BusyPingEvery": int64(o.BusyPingEvery),
		"PrefaceTimeout": int64(o.PrefaceTimeout), "DialTimeout": int64(o.DialTimeout), "DrainTimeout": int64(o.DrainTimeout),
	} {
		if v < 0 {
			return fmt.Errorf("wire: %s is negative", name)
		}
	}
	if o.DeadAfter < 2*o.PingEvery {
		return fmt.Errorf("wire: DeadAfter (%v) must be at least twice PingEvery (%v)", o.DeadAfter, o.PingEvery)
	}
	if o.BusyDeadAfter < 2*o.BusyPingEvery {
		return fmt.Errorf("wire: BusyDeadAfter (%v) must be at least twice BusyPingEvery (%v)", o.BusyDeadAfter, o.BusyPingEvery)
	}
	return nil
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
