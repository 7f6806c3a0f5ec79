package antientropy

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"starling/antientropy/merkle"
	"starling/ring"
	"starling/store/object"
)

// ReplicaStore is the local store, as exchanges read it. Each method fails
// rather than leave out what it cannot read.
type ReplicaStore interface {
	// Root sums up the leaves of a partition. It is to be cheap: it is asked
	// for every partition in every interval.
	Root(partition uint32) (merkle.Node, error)
	// Leaves are the merkle.Leaves leaves, by number; the caller keeps them.
	Leaves(partition uint32) ([]merkle.Node, error)
	// KeyDigests ranges over the keys of a leaf in the order of bucket and
	// key, from behind after, or from the first if after is zero.
	KeyDigests(partition uint32, leaf uint16, after object.Ref) iter.Seq2[KeyDigest, error]
	// Get reads an object; the zero Object is absent.
	Get(ref object.Ref) (object.Object, error)
}

// Applier merges an object into this node's copy while the placement stamp of
// its partition is in force, and fails with [ErrRefused] when it is not. From
// the moment on that Views returns another placement, it refuses this one's
// stamp, and nothing that it let in before is still under way.
type Applier interface {
	Apply(ref object.Ref, stamp uint64, o object.Object) (object.Written, error)
}

// Meter hears what this node's answers prove. [Exchanger] is one.
type Meter interface {
	// Compared: the roots of this node and of the peer that asked, another
	// owner, were compared under one stamp, and were equal or not.
	Compared(peer ring.NodeID, partition uint32, equal bool)
	// Admits says whether the peer may compare the partition now, or, if it
	// begins, exchange it: not while it is held, nor begin while it is
	// exchanged with another. It is exchanged with the peer from then on,
	// until the roots are equal, the peer is down or a while has passed. Only
	// an owner begins.
	Admits(peer ring.NodeID, partition uint32, begins bool) bool
}

// ReplicaServerOptions configures a [ReplicaServer]. All of it is needed.
type ReplicaServerOptions struct {
	Self    ring.NodeID
	Views   Views
	Store   ReplicaStore
	Applier Applier
	Meter   Meter
}

// ReplicaServer answers the exchanges that other owners begin. Every answer is
// bounded, whatever the request asks for.
type ReplicaServer struct{ opts ReplicaServerOptions }

var _ Replica = (*ReplicaServer)(nil)

// NewReplicaServer checks the options.
func NewReplicaServer(o ReplicaServerOptions) (*ReplicaServer, error) {
	if o.Views == nil || o.Store == nil || o.Applier == nil || o.Meter == nil {
		return nil, errors.New("antientropy: Views, Store, Applier and Meter must be set")
	}
	return &ReplicaServer{opts: o}, nil
}

// ErrTooMuch: a request passes the bounds of a message.
var ErrTooMuch = errors.New("antientropy: request too large")

// HandleCompare answers a verdict for each root. What it cannot read it
// refuses.
func (s *ReplicaServer) HandleCompare(ctx context.Context, req CompareRequest) ([]Comparison, error) {
	if err := req.bounded(); err != nil {
		return nil, err
	}
	listable := MaxListedBytes
	answers := make([]Comparison, len(req.Roots))
	for i := range req.Roots {
		answers[i] = s.compare(ctx, &req, i, &listable)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

func (req *CompareRequest) bounded() error {
	sketches := len(req.Sketches)
	switch {
	case len(req.Roots) > MaxRoots:
		return fmt.Errorf("%w: %d roots", ErrTooMuch, len(req.Roots))
	case sketches > MaxSketches || sketches > 0 && sketches != len(req.Roots):
		return fmt.Errorf("%w: %d sketches for %d roots", ErrTooMuch, sketches, len(req.Roots))
	}
	return nil
}

// compare answers about one root. listable is how many bytes of keys there is
// still room for.
func (s *ReplicaServer) compare(ctx context.Context, req *CompareRequest, i int, listable *int) Comparison {
	theirs := &req.Roots[i]
	// The stamp is checked first: what is read after it is newer than it.
	pl, err := s.given(theirs.Claim)
	if err != nil {
		return Comparison{}
	}
	owner := contains(pl.Owners, req.From)
	if !s.opts.Meter.Admits(req.From, theirs.Partition, req.Inner && owner) {
		return Comparison{Verdict: VerdictBusy}
	}
	root, err := s.opts.Store.Root(theirs.Partition)
	if err != nil {
		return Comparison{}
	}
	c := Comparison{Verdict: VerdictEqual}
	if root != theirs.Root {
		if c, err = s.differs(ctx, req, i, listable); err != nil {
			return Comparison{}
		}
	}
	if owner {
		s.opts.Meter.Compared(req.From, theirs.Partition, c.Verdict == VerdictEqual)
	}
	return c
}

// differs is the answer about a root that differs.
func (s *ReplicaServer) differs(ctx context.Context, req *CompareRequest, i int, listable *int) (c Comparison, err error) {
	c.Verdict = VerdictDiffers
	if !req.Inner {
		return c, nil
	}
	partition := req.Roots[i].Partition
	tree, err := readTree(s.opts.Store, partition)
	if err != nil {
		return c, err
	}
	if len(req.Sketches) > 0 {
		mine := tree.Sketch(req.Salt)
		if leaves, few := mine.Differ(&req.Sketches[i]); few {
			r := keyReader{store: s.opts.Store, partition: partition, maxKeys: MaxKeysPage, maxBytes: *listable}
			if c.Leaves, err = r.leaves(ctx, leaves, KeyPosition{}); err != nil {
				return c, err
			}
			if !r.full() {
				c.Verdict, *listable = VerdictListed, r.maxBytes
				return c, nil
			}
		}
	}
	return Comparison{Verdict: VerdictDiffers, Inner: tree.InnerDigests(req.Salt)}, nil
}

// given is the placement of a partition of which this node gives its copy, if it
// is the one that the claim was made under; else [ErrRefused].
func (s *ReplicaServer) given(c Claim) (ring.Placement, error) {
	pl, ok := placementOf(s.opts.Views.View(), c.Partition)
	if !ok || pl.Stamp != c.Stamp || !gives(pl, s.opts.Self) {
		return pl, fmt.Errorf("%w: partition %d", ErrRefused, c.Partition)
	}
	return pl, nil
}

// obeyed is given for a partition that this node owns.
func (s *ReplicaServer) obeyed(c Claim) (ring.Placement, error) {
	pl, err := s.given(c)
	if err == nil && !contains(pl.Owners, s.opts.Self) {
		err = fmt.Errorf("%w: partition %d", ErrRefused, c.Partition)
	}
	return pl, err
}

func placementOf(v *ring.View, partition uint32) (ring.Placement, bool) {
	if v == nil || int64(partition) >= int64(v.Ring().Config().Partitions) {
		return ring.Placement{}, false
	}
	return v.Placement(int(partition)), true
}

func readTree(s ReplicaStore, partition uint32) (*merkle.Tree, error) {
	leaves, err := s.Leaves(partition)
	if err != nil {
		return nil, err
	}
	return merkle.Build(leaves)
}

// HandleKeys answers a page of the keys in the leaves that differ. A page may
// be asked for while the leaves change: it is about those that differ now.
func (s *ReplicaServer) HandleKeys(ctx context.Context, req KeysRequest) (KeysPage, error) {
	if _, err := s.given(req.Claim); err != nil {
		return KeysPage{}, err
	}
	tree, err := readTree(s.opts.Store, req.Partition)
	if err != nil {
		return KeysPage{}, fmt.Errorf("antientropy: partition %d: %w", req.Partition, err)
	}
	leaves, err := tree.DiffLeaves(req.Salt, req.Inner, req.Leaves)
	if err != nil {
		return KeysPage{}, err
	}
	r := keyReader{store: s.opts.Store, partition: req.Partition,
		maxKeys: int(min(max(req.MaxKeys, 1), MaxKeysPage)), maxBytes: MaxKeysBytes}
	page, err := r.leaves(ctx, leaves, req.After)
	if err != nil {
		return KeysPage{}, err
	}
	return KeysPage{Leaves: page, More: r.full()}, nil
}

// HandleFetch answers the objects of the leading refs. They are read after the
// stamp was found to be in force.
func (s *ReplicaServer) HandleFetch(ctx context.Context, req FetchRequest) (FetchPage, error) {
	if len(req.Refs) > MaxRefs {
		return FetchPage{}, fmt.Errorf("%w: %d keys", ErrTooMuch, len(req.Refs))
	}
	if _, err := s.given(req.Claim); err != nil {
		return FetchPage{}, err
	}
	limit := int(min(max(req.MaxBytes, MinPageBytes), MaxPageBytes))
	var page FetchPage
	for _, ref := range req.Refs {
		if ref.Partition != req.Partition {
			return FetchPage{}, fmt.Errorf("%w: key of another partition", errPage)
		}
		o, err := s.opts.Store.Get(ref)
		if err = errors.Join(err, ctx.Err()); err != nil {
			return FetchPage{}, fmt.Errorf("antientropy: partition %d: %w", ref.Partition, err)
		}
		if limit -= sizeOf(ref, o); limit < 0 && len(page.Entries) > 0 {
			break
		}
		page.Done++
		if !o.Absent() {
			page.Entries = append(page.Entries, object.Entry{Ref: ref, Object: o})
		}
	}
	return page, nil
}

// sizeOf is what an object counts for in the bounds and the pace, in bytes.
func sizeOf(ref object.Ref, o object.Object) int { return o.Size() + len(ref.Bucket) + len(ref.Key) }

// HandlePush merges objects and returns when all that were merged are durable,
// also when one of them was refused or failed.
func (s *ReplicaServer) HandlePush(ctx context.Context, req PushRequest) (uint32, error) {
	if _, err := s.obeyed(req.Claim); err != nil {
		return 0, err
	}
	if err := req.bounded(); err != nil {
		return 0, err
	}
	b := batch{applier: s.opts.Applier, stamp: req.Stamp}
	var err error
	for _, e := range req.Entries {
		if err = ctx.Err(); err != nil {
			break
		}
		if _, err = b.apply(e); err != nil {
			break
		}
	}
	return uint32(b.news), errors.Join(err, b.wait())
}

func (req *PushRequest) bounded() error {
	if len(req.Entries) > MaxRefs {
		return fmt.Errorf("%w: %d objects", ErrTooMuch, len(req.Entries))
	}
	bytes := 0
	for _, e := range req.Entries {
		if bytes > MaxPageBytes {
			return fmt.Errorf("%w: objects of %d bytes", ErrTooMuch, bytes)
		}
		if e.Ref.Partition != req.Partition {
			return fmt.Errorf("%w: key of another partition", errPage)
		}
		bytes += sizeOf(e.Ref, e.Object)
	}
	return nil
}

// batch merges objects here that came from another owner.
type batch struct {
	applier Applier
	stamp   uint64
	news    int
	waits   []func() error
}

// apply merges one, without waiting until it is durable.
func (b *batch) apply(e object.Entry) (object.Object, error) {
	w, err := b.applier.Apply(e.Ref, b.stamp, e.Object)
	if err != nil {
		return object.Object{}, fmt.Errorf("antientropy: merging: %w", err)
	}
	b.waits = append(b.waits, w.Wait)
	if w.Changed {
		b.news++
	}
	return w.Object, nil
}

// wait returns when all that was merged is durable. It is called once.
func (b *batch) wait() error {
	var errs []error
	for _, wait := range b.waits {
		errs = append(errs, wait())
	}
	return errors.Join(errs...)
}
