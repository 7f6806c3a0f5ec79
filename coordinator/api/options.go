package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/antientropy"
	"starling/coordinator"
	"starling/coordinator/hint"
	"starling/gossip/state"
	"starling/gossip/topology"
	"starling/ring"
)

// KV carries out reads and writes of keys; [coordinator.Coordinator] is one.
type KV interface {
	Get(ctx context.Context, req coordinator.GetRequest) (coordinator.GetResult, error)
	Put(ctx context.Context, req coordinator.PutRequest) (coordinator.PutResult, error)
}

// Batches carries out many reads and writes at once, each with its own result,
// in their order; [coordinator.Coordinator] does.
type Batches interface {
	Batch(ctx context.Context, ops []coordinator.BatchOp) []coordinator.BatchResult
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

// Diagnostics says how the other members and their copies of a key are.
type Diagnostics interface {
	// Explain asks every replica and fallback of a key what it holds.
	Explain(ctx context.Context, bucket, key string) (coordinator.Explanation, error)
	// Peers is how the other members look from this node.
	Peers() []coordinator.PeerStatus
	// Statuses asks all members, this node included. Those that did not
	// answer within a fraction of a second are left out.
	Statuses(ctx context.Context) map[ring.NodeID]coordinator.NodeStatus
}

// Hints are the writes that this node keeps for others.
type Hints interface {
	// Targets are the nodes that something is kept for.
	Targets() []hint.Target
	// Replay asks for the delivery of a target's hints now, or of all for the
	// zero ID, and says how many there are.
	Replay(target ring.NodeID) (int64, error)
}

// Convergence says how equal the replicas are, and has them compared now.
type Convergence interface {
	// Reports asks all members, this node included. Those that did not answer
	// before ctx ended are missing.
	Reports(ctx context.Context) (reports map[ring.NodeID]antientropy.Report, missing []ring.NodeID)
	// Repair makes the pairs that req means due now, at this node alone where
	// local is set, else at all members, and answers how each that was reached
	// before ctx ended begins; one that is still at an earlier repair is
	// answered with that. It is an error only where this node itself cannot.
	Repair(ctx context.Context, req antientropy.RepairRequest, local bool) (map[ring.NodeID]antientropy.RepairStatus, error)
	// RepairStatuses asks all members, this node included, how their last
	// repair is. Those that did not answer before ctx ended are left out.
	RepairStatuses(ctx context.Context) map[ring.NodeID]antientropy.RepairStatus
}

// Topology makes changes of the members, and says what they would do.
type Topology interface {
	// Change makes one change durable, here and on its way to all members, and
	// does not wait for what it moves. One that has been made already is no
	// error, and nothing is done. A [PreconditionError] is why the cluster is
	// not as the change needs it; then nothing has changed.
	Change(ctx context.Context, req ChangeRequest) error
	// Plan says what a change would move; the zero Change is what is still to
	// be moved. It is [topology.ErrChange] for one that cannot be made.
	Plan(ctx context.Context, c topology.Change) (topology.Plan, error)
	// SafeToStop says whether a member may be stopped for a while.
	SafeToStop(ctx context.Context, id ring.NodeID) (topology.Safety, error)
}

// ChangeKind is what a [ChangeRequest] does.
type ChangeKind string

// The changes of the members.
const (
	// ChangeLeave has a member hand on what it holds and go.
	ChangeLeave ChangeKind = "leave"
	// ChangeRemove takes a member out that is gone for good.
	ChangeRemove ChangeKind = "remove"
	// ChangeReplace does so too, and gives its place to another.
	ChangeReplace ChangeKind = "replace"
)

// ChangeRequest asks for a change of the members.
type ChangeRequest struct {
	Kind ChangeKind
	// Node is the member that leaves or is taken out.
	Node ring.NodeID
	// By is the member that takes its place; zero but for [ChangeReplace].
	By ring.NodeID
	// Force has a member taken out although data is lost with it; never set
	// for [ChangeLeave].
	Force bool
}

// ErrPrecondition is what every [PreconditionError] is.
var ErrPrecondition = errors.New("api: precondition not met")

// PreconditionError is why a change of the members was refused.
type PreconditionError struct {
	// Reason is told to the caller: names or IDs of members and what is to be
	// done, without an end mark.
	Reason string
	// Lost are the partitions that the change would leave without a complete
	// copy, AtRisk those with fewer than a quorum, both ascending. Where there
	// are any the caller is told that Force does it all the same.
	Lost, AtRisk []int
}

// Error implements error.
func (e *PreconditionError) Error() string { return ErrPrecondition.Error() + ": " + e.Reason }

// Is makes errors.Is(err, ErrPrecondition) hold.
func (e *PreconditionError) Is(target error) bool { return target == ErrPrecondition }

// Options configures a [Server]. KV and Cluster must be set.
type Options struct {
	KV      KV
	Cluster Cluster
	// Batches, Lists, Buckets, Diagnostics, Hints, Convergence, Topology, Host and
	// Pace may be nil: then what depends on them is answered 503, and /v1/cluster
	// shows no member's status.
	Batches     Batches
	Lists       Lists
	Buckets     Buckets
	Diagnostics Diagnostics
	Hints       Hints
	Convergence Convergence
	Topology    Topology
	Host        Host
	Pace        Pace
	// Profiles serves profiles of this process under /debug/pprof/.
	Profiles bool

	// Self and Name are this node's identity and its name in answers; Name
	// defaults to Self in hex.
	Self ring.NodeID
	Name string
	// Version is the release of this program, shown by /healthz.
	Version string

	// Ready and Live answer /readyz and /healthz: nil, or the reason why
	// not, which is shown to the caller. A nil func is always ready or live.
	Ready, Live func() error
	// Draining, unless nil, says that the node is about to stop: /readyz
	// fails, and every answer asks its connection to be closed, so that
	// clients move on. Requests are served all the same.
	Draining func() bool

	// MaxValueBytes bounds a value (default 1 MiB).
	MaxValueBytes int
	// MaxInflight bounds the key requests being served at once, their
	// bodies included (default 1024); beyond it they are refused with 503.
	MaxInflight int
	// MaxInflightBytes bounds the values of these requests together: those
	// being read or held for a write, and large ones being answered. Default
	// 256 MiB, or MaxValueBytes where that is more; no less than that.
	MaxInflightBytes int64
	// MaxConnections bounds the connections that [Server.Serve] keeps open
	// (default 8192); one more is answered 503 and closed.
	MaxConnections int
	// DefaultTimeout and MaxTimeout bound the coordination of a request
	// once it has been read (defaults 5 s and 60 s).
	DefaultTimeout, MaxTimeout time.Duration
	// ShutdownGrace is how long [Server.Serve] waits for requests being
	// served before it cuts their connections (default 10 s).
	ShutdownGrace time.Duration
	// DrainDelay is how long [Server.Serve] goes on serving, not ready, before
	// that (default 0).
	DrainDelay time.Duration

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
	if o.Draining == nil {
		o.Draining = func() bool { return false }
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
	setDefault(&o.MaxInflightBytes, max(256<<20, int64(o.MaxValueBytes)))
	setDefault(&o.MaxConnections, 8192)
	setDefault(&o.DefaultTimeout, 5*time.Second)
	setDefault(&o.MaxTimeout, time.Minute)
	setDefault(&o.ShutdownGrace, 10*time.Second)
	if o.MaxValueBytes < 0 || o.MaxInflight < 0 || o.MaxConnections < 0 || o.ShutdownGrace < 0 || o.DrainDelay < 0 {
		return o, errors.New("api: MaxValueBytes, MaxInflight, MaxConnections, ShutdownGrace and DrainDelay must not be negative")
	}
	if o.MaxInflightBytes < int64(o.MaxValueBytes) {
		return o, errors.New("api: MaxInflightBytes must be at least MaxValueBytes, or the largest values could never be written")
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
