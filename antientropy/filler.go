package antientropy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/coordinator/quorum"
	"starling/ring"
	"starling/store/object"
)

// Membership is what filling needs of the cluster map.
type Membership interface {
	// Alive is the failure detector's opinion of a member.
	Alive(id ring.NodeID) bool
	// Refresh exchanges cluster maps with a member.
	Refresh(ctx context.Context, id ring.NodeID) error
	// SetSettled sets or clears this node's settled bits, durably, and
	// spreads them.
	SetSettled(partitions []int, settled bool) error
}

// FillerOptions configures a [Filler].
type FillerOptions struct {
	Self       ring.NodeID
	Views      Views
	Peers      Peers
	Applier    Applier
	Membership Membership
	// RetryInterval is the pause before a round that settled nothing is
	// repeated; default 200 ms. A new view starts a round at once.
	RetryInterval time.Duration
	// PageBytes is the size of a pull's page; default 1 MiB.
	PageBytes uint32
	// CallTimeout bounds one request to a peer; default 10 s.
	CallTimeout time.Duration
	// Prepare is called before each round, and between two, and names
	// partitions that the round is to leave alone; may be nil.
	Prepare func(ctx context.Context) (leave []uint32)
	// OnSettled is called after a round that left nothing pending; may be nil.
	OnSettled func()
	Logger    *slog.Logger
	Metrics   prometheus.Registerer
}

// Filler fills the partitions that this node is to own.
type Filler struct {
	opts   FillerOptions
	kick   chan struct{}
	pulled *prometheus.CounterVec
}

// NewFiller checks the options and registers the metrics.
func NewFiller(o FillerOptions) (*Filler, error) {
	if o.Views == nil || o.Peers == nil || o.Applier == nil || o.Membership == nil {
		return nil, errors.New("antientropy: Views, Peers, Applier and Membership must be set")
	}
	if o.RetryInterval == 0 {
		o.RetryInterval = 200 * time.Millisecond
	}
	if o.PageBytes == 0 {
		o.PageBytes = 1 << 20
	}
	if o.CallTimeout == 0 {
		o.CallTimeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	f := &Filler{opts: o, kick: make(chan struct{}, 1)}
	f.pulled = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_fill_pulled_total",
		Help: "What this node pulled from owners to fill its partitions, in objects and in bytes."}, []string{"unit"})
	pending := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "starling_pending_partitions",
		Help: "Partitions that this node is to own and does not yet hold."}, func() float64 { return float64(len(f.pending())) })
	if o.Metrics == nil {
		return f, nil
	}
	return f, errors.Join(o.Metrics.Register(f.pulled), o.Metrics.Register(pending))
}

// Kick starts a round; call it after every change of the view.
func (f *Filler) Kick() {
	select {
	case f.kick <- struct{}{}:
	default: // one is waiting already
	}
}

// Run fills until ctx ends.
func (f *Filler) Run(ctx context.Context) error {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.kick:
		case <-retry.C:
		}
		if err := f.round(ctx); err != nil && ctx.Err() == nil {
			f.opts.Logger.Debug("antientropy: filling", "pending", len(f.pending()), "err", err)
		}
		if len(f.pending()) > 0 || len(f.displaced()) > 0 {
			retry.Reset(f.opts.RetryInterval)
		}
	}
}

func (f *Filler) pending() []int {
	v := f.opts.Views.View()
	if v == nil {
		return nil
	}
	return v.PendingFor(f.opts.Self)
}

func (f *Filler) displaced() []int {
	v := f.opts.Views.View()
	if v == nil {
		return nil
	}
	return v.Displaced(f.opts.Self)
}

// released lists the partitions that this node is displaced from and need not
// vote in any more: every owner confirms that it is one, under the same stamp.
// Without that, nodes that go by different maps could all give up their votes
// to each other, and leave the partition without an owner.
func (f *Filler) released(ctx context.Context, v *ring.View) (parts []int) {
	displaced := v.Displaced(f.opts.Self)
	if len(displaced) == 0 {
		return nil
	}
	p := emptyPlan()
	for _, part := range displaced {
		p.add(v.Placement(part))
	}
	if err := f.confirm(ctx, p); err != nil {
		f.opts.Logger.Debug("antientropy: confirming new owners", "err", err)
	}
	for _, part := range displaced {
		if n := p.owners[uint32(part)]; n > 0 && len(p.confirmed[uint32(part)]) == n {
			parts = append(parts, part)
		}
	}
	return parts
}

// round does one pass of the protocol in the package comment.
func (f *Filler) round(ctx context.Context) error {
	var leave []uint32
	if f.opts.Prepare != nil {
		leave = f.opts.Prepare(ctx)
	}
	v := f.opts.Views.View()
	if v == nil {
		return nil
	}
	if displaced := f.released(ctx, v); len(displaced) > 0 {
		if err := f.opts.Membership.SetSettled(displaced, false); err != nil {
			return err
		}
	}
	if len(v.PendingFor(f.opts.Self)) > 0 {
		plan := newPlan(v, f.opts.Self, leave)
		err := f.confirm(ctx, plan)
		if filled := f.pull(ctx, plan); len(filled) > 0 {
			err = errors.Join(err, f.settle(filled))
		}
		if err != nil {
			return err
		}
	}
	if len(f.pending()) == 0 && f.opts.OnSettled != nil {
		f.opts.OnSettled()
	}
	return nil
}

// confirm asks every live owner. One that sees another placement is brought
// up to date, and its partitions are left for the next round.
func (f *Filler) confirm(ctx context.Context, p *plan) error {
	var errs []error
	for owner, claims := range p.claims {
		if !f.opts.Membership.Alive(owner) {
			continue
		}
		callCtx, cancel := context.WithTimeout(ctx, f.opts.CallTimeout)
		agreed, err := f.opts.Peers.Confirm(callCtx, owner, claims)
		if err != nil || len(agreed) < len(claims) {
			errs = append(errs, err, f.opts.Membership.Refresh(callCtx, owner))
		}
		cancel()
		p.heard(owner, agreed)
	}
	return errors.Join(errs...)
}

// pull fills every partition that may be filled from each owner that
// confirmed it, and returns those that are complete.
func (f *Filler) pull(ctx context.Context, p *plan) []int {
	ready := p.ready()
	for owner, claims := range p.pulls(ready) {
		if err := f.pullFrom(ctx, owner, claims, ready); err != nil {
			f.opts.Logger.Info("antientropy: pull broke off, will start over", "owner", owner, "err", err)
			for _, c := range claims {
				delete(ready, c.Partition)
			}
		}
	}
	filled := make([]int, 0, len(ready))
	for part := range ready {
		filled = append(filled, int(part))
	}
	return filled
}

// pullFrom pulls partitions from one owner. One whose placement changes
// meanwhile, there or here, is taken out of ready, and the others go on.
func (f *Filler) pullFrom(ctx context.Context, owner ring.NodeID, claims []Claim, ready map[uint32]bool) error {
	req := PullRequest{Claims: claims, MaxBytes: f.opts.PageBytes}
	for len(req.Claims) > 0 {
		callCtx, cancel := context.WithTimeout(ctx, f.opts.CallTimeout)
		page, err := f.opts.Peers.Pull(callCtx, owner, req)
		cancel()
		if errors.Is(err, ErrRefused) { // it is about the first, see HandlePull
			delete(ready, req.Claims[0].Partition)
			req.Claims, req.After = req.Claims[1:], object.Ref{}
			continue
		}
		if err != nil {
			return err
		}
		if int(page.Done) > len(req.Claims) || (page.Done == 0 && len(page.Entries) == 0) {
			return fmt.Errorf("antientropy: owner answered a page that makes no progress (%d of %d partitions)", page.Done, len(req.Claims))
		}
		if err := f.mergePage(page, req.Claims, ready); err != nil {
			return err
		}
		req.Claims = req.Claims[page.Done:]
		req.After = object.Ref{}
		if n := len(page.Entries); n > 0 && len(req.Claims) > 0 && page.Entries[n-1].Ref.Partition == req.Claims[0].Partition {
			req.After = page.Entries[n-1].Ref
		}
	}
	return nil
}

// mergePage returns when every object of the page is durable. Each is merged
// under the stamp that it was pulled with; a partition where that is not in
// force any more is taken out of ready.
func (f *Filler) mergePage(page PullPage, claims []Claim, ready map[uint32]bool) error {
	waits := make([]func() error, 0, len(page.Entries))
	var errs []error
	for _, e := range page.Entries {
		for len(claims) > 0 && claims[0].Partition != e.Ref.Partition { // both are in the same order
			claims = claims[1:]
		}
		if len(claims) == 0 {
			errs = append(errs, fmt.Errorf("antientropy: the page has an object of partition %d, which was not asked for", e.Ref.Partition))
			break
		}
		w, err := f.opts.Applier.Apply(e.Ref, claims[0].Stamp, e.Object)
		if errors.Is(err, ErrRefused) {
			delete(ready, e.Ref.Partition)
			continue
		}
		if err != nil {
			errs = append(errs, err)
			break
		}
		waits = append(waits, w.Wait)
		f.pulled.WithLabelValues("bytes").Add(float64(e.Object.Size()))
	}
	f.pulled.WithLabelValues("objects").Add(float64(len(waits)))
	for _, wait := range waits {
		errs = append(errs, wait())
	}
	return errors.Join(errs...)
}

// settle publishes the bits of those partitions that are still pending here.
func (f *Filler) settle(filled []int) error {
	pending := make(map[int]bool)
	for _, p := range f.pending() {
		pending[p] = true
	}
	still := filled[:0]
	for _, p := range filled {
		if pending[p] {
			still = append(still, p)
		}
	}
	if len(still) == 0 {
		return nil
	}
	return f.opts.Membership.SetSettled(still, true)
}

// plan is the state of one round.
type plan struct {
	owners    map[uint32]int           // by partition: how many owners it has
	claims    map[ring.NodeID][]Claim  // by owner: what to ask
	confirmed map[uint32][]ring.NodeID // by partition: who agreed
	refused   map[uint32]bool          // a live owner did not agree
	stamps    map[uint32]uint64
}

func emptyPlan() *plan {
	return &plan{
		owners: map[uint32]int{}, claims: map[ring.NodeID][]Claim{},
		confirmed: map[uint32][]ring.NodeID{}, refused: map[uint32]bool{}, stamps: map[uint32]uint64{},
	}
}

func newPlan(v *ring.View, self ring.NodeID, leave []uint32) *plan {
	p := emptyPlan()
	for _, part := range v.PendingFor(self) {
		if slices.Contains(leave, uint32(part)) {
			continue
		}
		p.add(v.Placement(part))
	}
	return p
}

// add has the owners of a partition asked.
func (p *plan) add(pl ring.Placement) {
	part := uint32(pl.Partition)
	p.owners[part], p.stamps[part] = len(pl.Owners), pl.Stamp
	for _, o := range pl.Owners {
		p.claims[o] = append(p.claims[o], Claim{Partition: part, Stamp: pl.Stamp})
	}
}

// heard notes an owner's answer; what it left out it refused.
func (p *plan) heard(owner ring.NodeID, agreed []Claim) {
	yes := make(map[Claim]bool, len(agreed))
	for _, c := range agreed {
		yes[c] = true
	}
	for _, c := range p.claims[owner] {
		if yes[c] {
			p.confirmed[c.Partition] = append(p.confirmed[c.Partition], owner)
		} else {
			p.refused[c.Partition] = true
		}
	}
}

// ready is the set of partitions that every live owner and a majority of the
// owners confirmed.
func (p *plan) ready() map[uint32]bool {
	ready := map[uint32]bool{}
	for part, who := range p.confirmed {
		if !p.refused[part] && len(who) >= quorum.Majority(p.owners[part]) {
			ready[part] = true
		}
	}
	return ready
}

// pulls lists by owner the ready partitions that it confirmed.
func (p *plan) pulls(ready map[uint32]bool) map[ring.NodeID][]Claim {
	pulls := map[ring.NodeID][]Claim{}
	for part := range ready {
		for _, o := range p.confirmed[part] {
			pulls[o] = append(pulls[o], Claim{Partition: part, Stamp: p.stamps[part]})
		}
	}
	return pulls
}
