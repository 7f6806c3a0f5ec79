package antientropy

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"starling/antientropy/purge"
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// ReapRows reads what a purge is about from the local store. A row that cannot
// be read is an error, never an absent key.
type ReapRows interface {
	// Candidates ranges over the candidates of a partition that are due before a
	// time, Unix milliseconds, in the order of bucket and key, from behind
	// after, or from the first if after is zero.
	Candidates(partition uint32, after object.Ref, dueBeforeMS int64) iter.Seq2[Candidate, error]
	Get(ref object.Ref) (object.Object, error)
}

// ReapHints knows the hints that this node keeps, and has kept.
type ReapHints interface {
	// Hinted gives the hints of a key, for whichever target.
	Hinted(ref object.Ref) ([]object.Hint, error)
	// HintWrites counts the hints ever written in a partition since the store
	// was opened. A hint is counted before its writer gets the answer and
	// before it can be dropped.
	HintWrites(partition uint32) uint64
	// Actors are those that may still mint in a partition here.
	Actors(partition uint32) []version.Actor
}

// Purger forgets what is proven to be needed no more. Both methods do nothing
// unless the key's object has this hash. The wait is for what the key is now,
// changed or not, to be durable; it is nil only with an error.
type Purger interface {
	Purge(ref object.Ref, hash uint64) (purged bool, wait func() error, err error)
	Prune(ref object.Ref, hash uint64, v version.Vector) (pruned bool, wait func() error, err error)
}

// Gate runs do while the view in force has this stamp for the key's partition,
// and fails without running it when that is not so. A new view comes into force
// between two such runs, never during one, and the same gate stands before every
// copy and hint that is written.
type Gate interface {
	Under(ref object.Ref, stamp uint64, do func() error) error
}

// ReapedOptions configures a [ReapedServer]. All is needed but Hold, MinAge and
// Now.
type ReapedOptions struct {
	Self ring.NodeID
	// Boot numbers the start of the store. It is never the same for two starts.
	Boot   uint64
	Views  Views
	Gate   Gate
	Rows   ReapRows
	Hints  ReapHints
	Purger Purger
	// Hold has this node's exchanges leave partitions alone for a while; may be
	// nil.
	Hold func(partitions []uint32, d time.Duration)
	// MinAge is how old, by this node's clock, a tombstone must be before it is
	// a candidate, and how long ago a value must have expired.
	MinAge time.Duration
	// Now is the wall clock; default time.Now.
	Now func() time.Time
}

// ReapedServer does a member's part of a purge.
type ReapedServer struct{ opts ReapedOptions }

var _ Reaped = (*ReapedServer)(nil)

// NewReapedServer checks the options.
func NewReapedServer(o ReapedOptions) (*ReapedServer, error) {
	switch {
	case o.Self.IsZero() || o.Views == nil || o.Gate == nil || o.Rows == nil || o.Hints == nil || o.Purger == nil:
		return nil, errors.New("antientropy: Self, Views, Gate, Rows, Hints and Purger must be set")
	case o.MinAge < 0:
		return nil, errors.New("antientropy: MinAge is below zero")
	}
	if o.Hold == nil {
		o.Hold = func([]uint32, time.Duration) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &ReapedServer{opts: o}, nil
}

// holdTime is how long exchanges leave a partition alone that is purged: longer
// than it takes all owners to do it, so that none gives its tombstones back to
// another that has purged already. Should one, they are purged again.
const holdTime = 5 * time.Second

// HandleCandidates lists candidates of the partitions that this node owns. It
// fails if one of them cannot be read.
func (s *ReapedServer) HandleCandidates(ctx context.Context, req CandidatesRequest) (CandidatesPage, error) {
	var page CandidatesPage
	v := s.opts.Views.View()
	if v == nil {
		return page, errors.New("antientropy: no ring yet")
	}
	due := s.opts.Now().Add(-s.opts.MinAge).UnixMilli()
	room, bytes := int(min(max(req.Max, 1), MaxCandidates)), purge.MaxBytes
	for p := int64(req.After.Partition); p < int64(v.Ring().Config().Partitions); p++ {
		if !contains(v.Placement(int(p)).Owners, s.opts.Self) {
			continue
		}
		var after object.Ref
		if p == int64(req.After.Partition) {
			after = req.After
		}
		for c, err := range s.opts.Rows.Candidates(uint32(p), after, due) {
			if err = errors.Join(err, ctx.Err()); err != nil {
				return CandidatesPage{}, fmt.Errorf("antientropy: candidates of partition %d: %w", p, err)
			}
			if len(page.Candidates) == room || bytes < 0 {
				page.More = true
				return page, nil
			}
			page.Candidates = append(page.Candidates, c)
			bytes -= purge.Size(c.Ref, c.Vector)
		}
	}
	return page, ctx.Err()
}

// HandleVerify answers a state for each key. Each is looked at under the gate:
// so the answer is about a time at which this node went by the key's stamp, and
// all that was written under another before is done.
func (s *ReapedServer) HandleVerify(ctx context.Context, req VerifyRequest) (VerifyReply, error) {
	v, err := s.viewFor(len(req.Keys))
	if err != nil {
		return VerifyReply{}, err
	}
	reply := VerifyReply{Fence: v.Fence(), Boot: s.opts.Boot,
		States: make([]KeyState, len(req.Keys)), HintWrites: make([]uint64, len(req.Keys))}
	actors := map[version.Actor]struct{}{}
	for i := range req.Keys {
		if err := ctx.Err(); err != nil {
			return VerifyReply{}, err
		}
		if v.Fence() < req.Fence {
			continue // refused
		}
		seen := s.look(v, &req.Keys[i])
		reply.States[i], reply.HintWrites[i] = seen.state, seen.writes
		for _, d := range seen.siblings {
			actors[d] = struct{}{}
		}
	}
	s.addActors(&req, actors)
	if len(actors) > MaxActors {
		refusePrunes(&req, &reply)
	} else {
		reply.Actors = slices.Collect(maps.Keys(actors))
	}
	return reply, nil
}

// viewFor is the view in force, for a request about so many keys.
func (s *ReapedServer) viewFor(keys int) (*ring.View, error) {
	if keys > MaxCandidates {
		return nil, fmt.Errorf("antientropy: purge of %d keys, at most %d", keys, MaxCandidates)
	}
	v := s.opts.Views.View()
	if v == nil {
		return nil, errors.New("antientropy: no ring yet")
	}
	return v, nil
}

// addActors adds those that may mint in the partitions of the keys to prune.
// They are read after the rows: whoever minted in one before is named.
func (s *ReapedServer) addActors(req *VerifyRequest, actors map[version.Actor]struct{}) {
	asked := map[uint32]bool{}
	for i := range req.Keys {
		p := req.Keys[i].Ref.Partition
		if req.Keys[i].Reap != ReapPrune || asked[p] || len(actors) > MaxActors {
			continue
		}
		asked[p] = true
		for _, a := range s.opts.Hints.Actors(p) {
			actors[a] = struct{}{}
		}
	}
}

func refusePrunes(req *VerifyRequest, reply *VerifyReply) {
	for i := range req.Keys {
		if req.Keys[i].Reap == ReapPrune {
			reply.States[i] = StateRefused
		}
	}
}

// sighting is what this node found out about a key.
type sighting struct {
	state  KeyState
	writes uint64
	// siblings are the actors of the siblings of a key to prune.
	siblings []version.Actor
}

// look finds out about a key under the gate. What cannot be read is refused.
func (s *ReapedServer) look(v *ring.View, k *VerifyKey) (seen sighting) {
	pl, ok := placementOf(v, k.Ref.Partition)
	if !ok || pl.Stamp != k.Stamp {
		return seen
	}
	_ = s.opts.Gate.Under(k.Ref, k.Stamp, func() error {
		seen = s.lookUnder(contains(pl.Owners, s.opts.Self), k)
		return nil
	}) // not run: refused
	return seen
}

func (s *ReapedServer) lookUnder(owner bool, k *VerifyKey) (seen sighting) {
	// The count is read on both sides of the look at the hints, so that no
	// hint comes between the two unseen.
	seen.writes = s.opts.Hints.HintWrites(k.Ref.Partition)
	hints, err := s.opts.Hints.Hinted(k.Ref)
	if err != nil {
		return seen
	}
	if len(hints) > 0 || s.opts.Hints.HintWrites(k.Ref.Partition) != seen.writes {
		seen.state = StateHinted
		return seen
	}
	o, err := s.opts.Rows.Get(k.Ref)
	if err != nil {
		return seen
	}
	seen.state = StateDiffers
	switch {
	case !owner && k.Vector.Descends(o.Vector):
		seen.state = StateAgreed
	case owner && o.Hash(k.Ref.Bucket, k.Ref.Key) == k.Hash && (k.Reap == ReapPrune || mayGo(o)):
		seen.state = StateAgreed
		if k.Reap == ReapPrune {
			for i := range o.Siblings {
				seen.siblings = append(seen.siblings, o.Siblings[i].Dot.Actor)
			}
		}
	}
	return seen
}

// mayGo: nothing in the object lives for ever. A leader that asks for anything
// else is wrong.
func mayGo(o object.Object) bool {
	return !slices.ContainsFunc(o.Siblings, func(s object.Sibling) bool { return !s.Tombstone && s.ExpiresMS == 0 })
}
