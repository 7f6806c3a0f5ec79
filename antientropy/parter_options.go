package antientropy

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/ring"
)

// Defaults of ParterOptions.
const (
	DefaultPartInterval = 2 * time.Second
	DefaultDropPause    = 20 * time.Millisecond
	DefaultPartStreams  = 3
)

// ParterOptions configures a [Parter]. Zero values are the defaults.
type ParterOptions struct {
	Self  ring.NodeID
	Views Views
	// Peers are the owners, to be compared with and given what they lack.
	Peers ReplicaPeers
	// Store and Copies read the local store, Dropper removes from it.
	Store   ReplicaStore
	Copies  Copies
	Dropper Dropper
	// Interval is the pause between two looks for old copies.
	Interval time.Duration
	// Streams is how many copies are compared at once (1..[MaxStreams]): most of
	// the time is spent waiting for owners.
	Streams int
	// DropPause is the least time between two drops at an idle node; at a busy
	// one it grows, up to ten times as long.
	DropPause time.Duration
	// Pace is the most that is pushed to owners, in encoded objects with their
	// names. A busy node pushes less, but never less than a tenth of it. At 0
	// no copy is compared or dropped. Default [DefaultTransferBytesPerSecond].
	Pace *Limit
	// Pressure says how busy this node is with requests of clients: 0 idle, 1
	// as busy as it may be. May be nil: always idle.
	Pressure func() float64
	// PageBytes ends the page of a push ([MinPageBytes]..[MaxPageBytes]).
	PageBytes int
	// CallTimeout bounds one request to a peer.
	CallTimeout time.Duration
	// PeerName labels a peer in logs; default its ID.
	PeerName func(ring.NodeID) string
	// Logger may be nil: nothing is logged.
	Logger *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// complete checks the options and fills in the defaults.
func (o ParterOptions) complete() (ParterOptions, error) {
	switch {
	case o.Self.IsZero() || o.Views == nil || o.Peers == nil || o.Store == nil || o.Copies == nil || o.Dropper == nil:
		return o, errors.New("antientropy: Self, Views, Peers, Store, Copies and Dropper must be set")
	case o.Streams < 0 || o.Streams > MaxStreams:
		return o, errors.New("antientropy: Streams is out of bounds")
	case o.Interval < 0 || o.DropPause < 0 || o.PageBytes < 0 || o.CallTimeout < 0:
		return o, errors.New("antientropy: an option is below zero")
	}
	setDefault(&o.Interval, DefaultPartInterval)
	setDefault(&o.Streams, DefaultPartStreams)
	setDefault(&o.DropPause, DefaultDropPause)
	setDefaultPace(&o.Pace)
	setDefault(&o.PageBytes, DefaultPageBytes)
	o.PageBytes = min(max(o.PageBytes, MinPageBytes), MaxPageBytes)
	setDefault(&o.CallTimeout, DefaultCallTimeout)
	o.Pressure = transferPressure(o.Pressure)
	if o.PeerName == nil {
		o.PeerName = ring.NodeID.String
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
