package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/coordinator"
	"starling/gossip/state"
	"starling/ring"
)

// KV carries out reads and writes of keys; [coordinator.Coordinator] is one.
type KV interface {
	Get(ctx context.Context, req coordinator.GetRequest) (coordinator.GetResult, error)
	Put(ctx context.Context, req coordinator.PutRequest) (coordinator.PutResult, error)
}

// Cluster is what this node knows of the cluster.
type Cluster interface {
	// Map is the cluster map; the zero map before the node has joined.
	Map() state.Map
	// View is what this node routes by; nil before it has joined.
	View() *ring.View
	// Alive is the failure detector's opinion of a member.
	Alive(id ring.NodeID) bool
}

// Options configures a [Server]. KV and Cluster must be set.
type Options struct {
	KV      KV
	Cluster Cluster

	// Self and Name are this node's identity and its name in answers; Name
	// defaults to Self in hex.
	Self ring.NodeID
	Name string
	// Version is the release of this program, shown by /healthz.
	Version string

	// Ready and Live answer /readyz and /healthz: nil, or the reason why
	// not, which is shown to the caller. A nil func is always ready or live.
	Ready, Live func() error

	// MaxValueBytes bounds a value (default 1 MiB).
	MaxValueBytes int
	// MaxInflight bounds the key requests being served at once, their
	// bodies included (default 1024); beyond it they are refused with 503.
	MaxInflight int
	// DefaultTimeout and MaxTimeout bound the coordination of a request
	// once it has been read (defaults 5 s and 60 s).
	DefaultTimeout, MaxTimeout time.Duration
	// ShutdownGrace is how long [Server.Serve] waits for requests being
	// served before it cuts their connections (default 10 s).
	ShutdownGrace time.Duration

	// Now is the wall clock that ttl and expiry go by; default time.Now.
	Now func() time.Time
	// Logger defaults to slog.Default. Metrics and Gatherer may be nil:
	// then nothing is registered, and /metrics is empty.
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
	Gatherer prometheus.Gatherer
}

func (o Options) withDefaults() (Options, error) {
	if o.KV == nil || o.Cluster == nil {
		return o, errors.New("api: KV and Cluster must be set")
	}
	always := func() error { return nil }
	if o.Ready == nil {
		o.Ready = always
	}
	if o.Live == nil {
		o.Live = always
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Gatherer == nil {
		o.Gatherer = prometheus.NewRegistry()
	}
	setDefault(&o.Name, o.Self.String())
	setDefault(&o.MaxValueBytes, 1<<20)
	setDefault(&o.MaxInflight, 1024)
	setDefault(&o.DefaultTimeout, 5*time.Second)
	setDefault(&o.MaxTimeout, time.Minute)
	setDefault(&o.ShutdownGrace, 10*time.Second)
	if o.MaxValueBytes < 0 || o.MaxInflight < 0 || o.ShutdownGrace < 0 {
		return o, errors.New("api: MaxValueBytes, MaxInflight and ShutdownGrace must be positive")
	}
	if o.DefaultTimeout < minTimeout || o.MaxTimeout < o.DefaultTimeout {
		return o, errors.New("api: 1ms <= DefaultTimeout <= MaxTimeout must hold")
	}
	return o, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
