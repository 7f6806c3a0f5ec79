package antientropy

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/ring"
)

// Defaults of FillerOptions and ParterOptions.
const (
	DefaultStreams                = 4
	DefaultTransferBytesPerSecond = 64 << 20
)

func setDefaultPace(l **Limit) {
	if *l == nil {
		*l = NewLimit(DefaultTransferBytesPerSecond)
	}
}

// MaxStreams bounds FillerOptions.Streams.
const MaxStreams = 64

// Membership is what filling needs of the cluster map.
type Membership interface {
	// Alive is the failure detector's opinion of a member.
	Alive(id ring.NodeID) bool
	// Refresh exchanges cluster maps with a member.
	Refresh(ctx context.Context, id ring.NodeID) error
	// SetSettled sets or clears this node's settled bits of the claims whose
	// stamp is in force here all the while, durably, and spreads them. It gives
	// those claims.
	SetSettled(claims []Claim, settled bool) (done []Claim, err error)
}

// FillerOptions configures a [Filler]. Zero values are the defaults.
type FillerOptions struct {
	Self  ring.NodeID
	Views Views
	// Peers and Replicas are asked for what is to be copied: whole partitions,
	// and single keys.
	Peers    Peers
	Replicas ReplicaPeers
	// Store and Copies read the local store, Applier writes to it.
	Store      ReplicaStore
	Copies     Copies
	Applier    Applier
	Membership Membership
	// Streams is how many transfers are under way at once (1..[MaxStreams]).
	Streams int
	// PageBytes is the size of a page, of which each stream has one at most;
	// default [DefaultPageBytes].
	PageBytes uint32
	// Pace is the most that all streams together receive, in encoded objects with
	// their names. A busy node receives less, but never less than a tenth of it.
	// At 0 nothing is begun. Default [DefaultTransferBytesPerSecond].
	Pace *Limit
	// Pressure says how busy this node is with requests of clients: 0 idle, 1
	// as busy as it may be. May be nil: always idle.
	Pressure func() float64
	// RetryInterval is the pause before a round that could not settle all is
	// repeated; default 200 ms. A new view starts a round at once.
	RetryInterval time.Duration
	// CallTimeout bounds one request to a peer; default [DefaultCallTimeout].
	CallTimeout time.Duration
	// Prepare is called before each round, and between two; may be nil. It names
	// partitions that the round is to leave alone, and those whose copy was
	// dropped, wholly or in part, since it was called before: whatever was
	// known to be here of these is to be filled anew.
	Prepare func(ctx context.Context) (leave, anew []uint32)
	// GivenUp says whether an administrator gave up partitions that have no owner
	// any more, by a removal by force: then they begin again with what members
	// have left of them. May be nil: they wait.
	GivenUp func() bool
	// HandOver gives the owners of a partition, under the stamp of a claim, what
	// they lack of this node's copy; see [Parter.HandOver]. May be nil: then
	// nobody gives up a vote where that is asked for.
	HandOver func(ctx context.Context, c Claim, owners []ring.NodeID) error
	// OnSettled is called after a round that left nothing pending; may be nil.
	OnSettled func()
	Logger    *slog.Logger
	Metrics   prometheus.Registerer
}

// complete checks the options and fills in the defaults.
func (o FillerOptions) complete() (FillerOptions, error) {
	switch {
	case o.Self.IsZero() || o.Views == nil || o.Peers == nil || o.Replicas == nil || o.Store == nil || o.Copies == nil ||
		o.Applier == nil || o.Membership == nil:
		return o, errors.New("antientropy: Self, Views, Peers, Replicas, Store, Copies, Applier and Membership must be set")
	case o.Streams < 0 || o.Streams > MaxStreams || o.RetryInterval < 0 || o.CallTimeout < 0:
		return o, errors.New("antientropy: an option is out of bounds")
	}
	setDefault(&o.Streams, DefaultStreams)
	setDefaultPace(&o.Pace)
	setDefault(&o.RetryInterval, 200*time.Millisecond)
	setDefault(&o.CallTimeout, DefaultCallTimeout)
	if o.PageBytes == 0 {
		o.PageBytes = DefaultPageBytes
	}
	o.PageBytes = min(max(o.PageBytes, MinPageBytes), MaxPageBytes)
	o.Pressure = transferPressure(o.Pressure)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, nil
}
