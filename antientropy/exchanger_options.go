package antientropy

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/ring"
)

// Defaults of ExchangerOptions.
const (
	DefaultInterval       = 10 * time.Second
	DefaultBytesPerSecond = 64 << 20
	DefaultPageBytes      = 1 << 20
	DefaultCallTimeout    = 10 * time.Second
)

// MaxPeers is how many peers a node exchanges with at once, as the one that
// begins.
const MaxPeers = 2

// turnTime is how long a pass with one peer goes on while there is work: then
// the peers that wait come first.
const turnTime = time.Second

// Liveness is what the exchanger needs of the cluster map.
type Liveness interface {
	// Alive is the failure detector's opinion of a member.
	Alive(id ring.NodeID) bool
	// Boot numbers the start of a member's store, as known here; it only ever
	// rises. 0: not known.
	Boot(id ring.NodeID) uint64
	// Refresh exchanges cluster maps with a member.
	Refresh(ctx context.Context, id ring.NodeID) error
}

// ExchangerOptions configures an [Exchanger]. Zero values are the defaults.
type ExchangerOptions struct {
	Self     ring.NodeID
	Views    Views
	Peers    ReplicaPeers
	Store    ReplicaStore
	Applier  Applier
	Liveness Liveness
	// Enabled: partitions are compared by themselves. Else only a repair that
	// is asked for begins exchanges here; those of other owners are answered,
	// and their proofs noted, all the same.
	Enabled bool
	// Interval is the time in which this node begins an exchange of each of
	// its pairs once, if the peer is there.
	Interval time.Duration
	// BytesPerSecond is the most that all exchanges together fetch and push,
	// in encoded objects with their names.
	BytesPerSecond int64
	// Pressure says how busy this node is with requests of clients: 0 idle, 1
	// as busy as it may be. May be nil: always idle.
	Pressure func() float64
	// PageBytes ends the page of a fetch and of a push
	// ([MinPageBytes]..[MaxPageBytes]).
	PageBytes int
	// CallTimeout bounds one request to a peer.
	CallTimeout time.Duration
	// Tombstones, Hints and Blockers answer parts of [Report]; each may be nil.
	Tombstones func() (int64, error)
	Hints      func() int64
	Blockers   func() []Blocker
	// PeerName labels a peer in logs; default its ID.
	PeerName func(ring.NodeID) string
	// Logger may be nil: nothing is logged.
	Logger *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// complete checks the options and fills in the defaults.
func (o ExchangerOptions) complete() (ExchangerOptions, error) {
	switch {
	case o.Self.IsZero() || o.Views == nil || o.Peers == nil || o.Store == nil || o.Applier == nil || o.Liveness == nil:
		return o, errors.New("antientropy: Self, Views, Peers, Store, Applier and Liveness must be set")
	case o.Interval < 0 || o.BytesPerSecond < 0 || o.PageBytes < 0 || o.CallTimeout < 0:
		return o, errors.New("antientropy: an option is below zero")
	}
	setDefault(&o.Interval, DefaultInterval)
	setDefault(&o.BytesPerSecond, DefaultBytesPerSecond)
	setDefault(&o.PageBytes, DefaultPageBytes)
	o.PageBytes = min(max(o.PageBytes, MinPageBytes), MaxPageBytes)
	setDefault(&o.CallTimeout, DefaultCallTimeout)
	if o.Pressure == nil {
		o.Pressure = func() float64 { return 0 }
	}
	if o.PeerName == nil {
		o.PeerName = ring.NodeID.String
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
