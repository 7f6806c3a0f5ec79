package hint

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/ring"
)

// Errors of this package.
var (
	// ErrBusy: the target refused because it is overloaded. A [Deliverer] wraps
	// it; the drainer then sends less at once.
	ErrBusy = errors.New("hint: target is overloaded")
	// ErrNotRunning: [Drainer.Run] is not running.
	ErrNotRunning = errors.New("hint: not running")
	// ErrOptions: an option is missing or wrong.
	ErrOptions = errors.New("hint: invalid options")
)

// Defaults of Options.
const (
	DefaultBytesPerSecond = 8 << 20
	DefaultTick           = 250 * time.Millisecond
	DefaultMaxWindow      = 32
	DefaultTimeout        = 5 * time.Second
)

// Options configures a [Drainer]. Zero values are the defaults.
type Options struct {
	Store     Store
	Deliverer Deliverer
	// Mover may be nil: hints wait for their targets.
	Mover Mover
	// BytesPerSecond is the rate of this node's deliveries to all targets
	// together, counted in encoded objects with their names.
	BytesPerSecond int64
	// Tick is how often the totals of the hints are looked at.
	Tick time.Duration
	// MaxWindow bounds the deliveries under way to one target.
	MaxWindow int
	// Timeout bounds one delivery.
	Timeout time.Duration
	// Logger may be nil: nothing is logged.
	Logger *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
	// PeerName labels a target in metrics and logs; default its ID.
	PeerName func(ring.NodeID) string
}

// complete checks the options and fills in the defaults.
func (o Options) complete() (Options, error) {
	switch {
	case o.Store == nil || o.Deliverer == nil:
		return o, fmt.Errorf("%w: Store and Deliverer are needed", ErrOptions)
	case o.BytesPerSecond < 0 || o.Tick < 0 || o.MaxWindow < 0 || o.Timeout < 0:
		return o, fmt.Errorf("%w: below zero", ErrOptions)
	}
	setDefault(&o.BytesPerSecond, DefaultBytesPerSecond)
	setDefault(&o.Tick, DefaultTick)
	setDefault(&o.MaxWindow, DefaultMaxWindow)
	setDefault(&o.Timeout, DefaultTimeout)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.PeerName == nil {
		o.PeerName = ring.NodeID.String
	}
	return o, nil
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
