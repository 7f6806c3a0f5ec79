package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"

	"starling/gossip/state"
	"starling/ring"
)

// Errors of this package, wrapped with what happened and what to do about it.
var (
	// ErrLostTime: the cluster has seen a later life of this node than its data directory remembers.
	ErrLostTime = errors.New("gossip: this data directory has lost time")
	// ErrRemoved: this node is removed from the cluster, for ever.
	ErrRemoved = errors.New("gossip: this node was removed from the cluster")
	// ErrUnknownMember: the map has no such member.
	ErrUnknownMember = errors.New("gossip: no such member")
	// ErrStopped: Run is not running.
	ErrStopped = errors.New("gossip: not running")
	// ErrOptions: an option is missing or wrong.
	ErrOptions = errors.New("gossip: invalid options")
)

// Exchanger gives a peer this node's map and returns the peer's, merged with it: a call of the peer's [Gossip.Merge]
// over RPC. rpcAddr is host:port. It is called concurrently.
type Exchanger interface {
	Exchange(ctx context.Context, rpcAddr string, mine state.Map) (theirs state.Map, err error)
}

// Transport carries memberlist's packets and streams, for tests that have no network.
type Transport = memberlist.Transport

// Packet is what a [Transport] receives.
type Packet = memberlist.Packet

// Defaults of Options.
const (
	DefaultRejoinInterval   = 5 * time.Second
	DefaultExchangeInterval = 10 * time.Second
	DefaultExchangeTimeout  = 5 * time.Second
	DefaultLeaveTimeout     = time.Second
)

// Options configure a [Gossip].
type Options struct {
	// Self is this start of this node: ID, Boot, and the labels (Name, addresses, Zone, Weight) as configured now. Its
	// State and Settled bits are used only if Map has no record of the ID; a zero State is then Joining. If Gossip is
	// empty, or its port is 0, it is completed from the address that was bound.
	Self state.Member
	// Replace, if not zero, is a member that does not run any more and whose seat this node takes when it becomes a member:
	// one saved change adds the one and removes the other. Later starts find it done.
	Replace ring.NodeID
	// Map is what was saved last, or what Join or NewCluster returned. It must have settings.
	Map state.Map
	// Save makes a map durable. It is called for every change, one call at a time, and blocks whoever caused it.
	Save func(state.Map) error
	// Exchanger reaches the peers.
	Exchanger Exchanger
	// Seeds are the configured join addresses, as in JoinOptions. They are asked while no peer is alive, so that a
	// cluster whose members have all moved finds itself again. Optional.
	Seeds []string

	// Bind is the host:port to listen on, TCP and UDP. Port 0 is any free one. Not used with a Transport.
	Bind string
	// Transport replaces the network. Self.Gossip must then be given. Optional.
	Transport Transport

	// RejoinInterval is the mean pause between attempts to reach missing members, ExchangeInterval that between
	// exchanges with a random peer; ExchangeTimeout bounds one exchange, LeaveTimeout the farewell when Run ends. Zero
	// values are the defaults.
	RejoinInterval, ExchangeInterval, ExchangeTimeout, LeaveTimeout time.Duration

	// Logger may be nil: nothing is logged.
	Logger *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// complete checks the options and fills in the defaults.
func (o Options) complete() (Options, error) {
	switch {
	case o.Save == nil || o.Exchanger == nil:
		return o, fmt.Errorf("%w: Save and Exchanger are needed", ErrOptions)
	case o.Self.Boot == 0:
		return o, fmt.Errorf("%w: the boot counter is 0", ErrOptions)
	case o.Transport != nil && o.Self.Gossip == "":
		return o, fmt.Errorf("%w: a Transport needs Self.Gossip", ErrOptions)
	}
	if err := o.Map.Settings.Validate(); err != nil {
		return o, err
	}
	if err := checkAddrs(o.Seeds); err != nil {
		return o, err
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&o.RejoinInterval, DefaultRejoinInterval},
		{&o.ExchangeInterval, DefaultExchangeInterval},
		{&o.ExchangeTimeout, DefaultExchangeTimeout},
		{&o.LeaveTimeout, DefaultLeaveTimeout},
	} {
		if *d.value < 0 {
			return o, fmt.Errorf("%w: negative duration %v", ErrOptions, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
