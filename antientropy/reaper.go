package antientropy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/antientropy/purge"
	"starling/ring"
	"starling/store/object"
)

// Roster knows the members of the cluster map.
type Roster interface {
	// Members lists all that are not removed, and the leader among them: the
	// active one with the lowest ID; zero if there is none. The list is that of
	// a map at least as new as the one that Views goes by.
	Members() (all []ring.NodeID, leader ring.NodeID)
}

// Fence raises the fence of the cluster map.
type Fence interface {
	// Raise raises it above every fence heard of, durably, and exchanges maps
	// with every member. When it returns nil all of them, and this node, have
	// saved the fence with a sync of their stores and go by it or a higher one.
	// A [*FenceError] names those who do not.
	Raise(ctx context.Context) (fence uint64, err error)
}

// FenceError says who has not got a new fence.
type FenceError struct {
	Missing []ring.NodeID
	Err     error
}

// Error implements error.
func (e *FenceError) Error() string {
	return fmt.Sprintf("antientropy: %d members did not get the new fence: %v", len(e.Missing), e.Err)
}

// Unwrap gives the causes.
func (e *FenceError) Unwrap() error { return e.Err }

// DefaultReapInterval is the default of ReaperOptions.Interval.
const DefaultReapInterval = 10 * time.Second

// reapCalls is how many members are asked at a time.
const reapCalls = 16

// ReaperOptions configures a [Reaper]. Zero values are the defaults.
type ReaperOptions struct {
	Self   ring.NodeID
	Views  Views
	Roster Roster
	Fence  Fence
	// Local does this node's own part, Peers asks the others.
	Local Reaped
	Peers ReapPeers
	// Hold has this node's exchanges leave partitions alone for a while; may be
	// nil.
	Hold func(partitions []uint32, d time.Duration)
	// Interval is the pause between two rounds.
	Interval time.Duration
	// CallTimeout bounds one request to a member, and the raising of the fence.
	CallTimeout time.Duration
	// PeerName labels a member in logs; default its ID.
	PeerName func(ring.NodeID) string
	// Logger may be nil: nothing is logged.
	Logger *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

func (o ReaperOptions) complete() (ReaperOptions, error) {
	switch {
	case o.Self.IsZero() || o.Views == nil || o.Roster == nil || o.Fence == nil || o.Local == nil || o.Peers == nil:
		return o, errors.New("antientropy: Self, Views, Roster, Fence, Local and Peers must be set")
	case o.Interval < 0 || o.CallTimeout < 0:
		return o, errors.New("antientropy: an option is below zero")
	}
	setDefault(&o.Interval, DefaultReapInterval)
	setDefault(&o.CallTimeout, DefaultCallTimeout)
	if o.Hold == nil {
		o.Hold = func([]uint32, time.Duration) {}
	}
	if o.PeerName == nil {
		o.PeerName = ring.NodeID.String
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Reaper leads the purge while its node is the leader. Every node runs one.
type Reaper struct {
	opts    ReaperOptions
	metrics *reapMetrics

	// after is where the next round begins. sweep has the blockers of the rounds
	// since the last one that began at the first key.
	after object.Ref
	sweep map[ring.NodeID]string

	mu       sync.Mutex
	blockers []Blocker
}

// NewReaper checks the options and registers the metrics.
func NewReaper(o ReaperOptions) (*Reaper, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	r := &Reaper{opts: o, sweep: map[ring.NodeID]string{}}
	r.metrics, err = newReapMetrics(r)
	return r, err
}

// Run purges until ctx ends. There is one round at a time.
func (r *Reaper) Run(ctx context.Context) error {
	pause := time.NewTimer(r.opts.Interval)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		pause.Reset(r.pauseAfter(r.round(ctx)))
	}
}

// pauseAfter is shorter while rounds get something done and there is more.
func (r *Reaper) pauseAfter(res purge.Result) time.Duration {
	const hurry = 8
	if res.Purged+res.Pruned > 0 && res.Next != (object.Ref{}) {
		return r.opts.Interval / hurry
	}
	return r.opts.Interval
}

// Blockers says what kept keys from being purged when they were last looked at,
// sorted by node. It is empty at nodes that do not lead.
func (r *Reaper) Blockers() []Blocker {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.blockers)
}

// round is one round, if this node leads.
func (r *Reaper) round(ctx context.Context) purge.Result {
	v, ok := r.view()
	if _, leader := r.opts.Roster.Members(); !ok || leader != r.opts.Self {
		r.after = object.Ref{}
		r.publish(nil)
		return purge.Result{}
	}
	core := purge.New(v, purge.Options{After: r.after})
	for core.Step() != purge.Done {
		r.carryOut(ctx, core)
	}
	res := core.Result()
	if ctx.Err() != nil {
		return res // what was given up here says nothing of others
	}
	r.learn(res)
	return res
}

// view is what this node goes by now. The members are read after the placement.
func (r *Reaper) view() (purge.View, bool) {
	v := r.opts.Views.View()
	if v == nil {
		return purge.View{}, false
	}
	members, _ := r.opts.Roster.Members()
	return purge.View{Fence: v.Fence(), Members: members, Place: func(p uint32) (ring.Placement, bool) {
		return placementOf(v, p)
	}}, true
}

// learn takes in how a round went.
func (r *Reaper) learn(res purge.Result) {
	if r.after == (object.Ref{}) {
		clear(r.sweep)
	}
	for _, b := range res.Blockers {
		r.sweep[b.Node] = b.Reason
	}
	whole := res.Next == object.Ref{}
	now := r.sweep
	if !whole {
		now = r.withPublished(r.sweep)
	}
	r.after = res.Next
	r.publish(now)
	r.metrics.count(res)
	if res.Purged+res.Pruned > 0 {
		r.opts.Logger.Info("antientropy: purged", "deleted", res.Purged, "pruned", res.Pruned)
	}
}

// withPublished adds the blockers that are known from the last sweep: the keys
// that they were about may come yet in this one.
func (r *Reaper) withPublished(sweep map[ring.NodeID]string) map[ring.NodeID]string {
	all := map[ring.NodeID]string{}
	for _, b := range r.Blockers() {
		all[b.Node] = b.Reason
	}
	for id, reason := range sweep {
		all[id] = reason
	}
	return all
}

func (r *Reaper) publish(reasons map[ring.NodeID]string) {
	var list []Blocker
	for id, reason := range reasons {
		list = append(list, Blocker{Node: id, Reason: reason})
	}
	slices.SortFunc(list, func(a, b Blocker) int { return a.Node.Compare(b.Node) })
	r.mu.Lock()
	before := r.blockers
	r.blockers = list
	r.mu.Unlock()
	if sameNodes(before, list) {
		return
	}
	for _, b := range list {
		r.opts.Logger.Info("antientropy: a purge has to wait", "peer", r.opts.PeerName(b.Node), "reason", b.Reason)
	}
}

func sameNodes(a, b []Blocker) bool {
	return slices.EqualFunc(a, b, func(a, b Blocker) bool { return a.Node == b.Node })
}
