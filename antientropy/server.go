package antientropy

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"starling/ring"
	"starling/store/object"
)

// Views gives the placement that this node's replica obeys: once it is
// returned here, no write placed by an older one is taken.
type Views interface {
	View() *ring.View
}

// Scanner reads one partition of the local store in the order of bucket and
// key, from after the given object.
type Scanner interface {
	Scan(partition uint32, after object.Ref) iter.Seq2[object.Entry, error]
}

// The bounds of a pull's page, in bytes.
const (
	MinPageBytes = 4 << 10
	MaxPageBytes = 8 << 20
)

// ServerOptions configures a [Server]. All of it is needed but Pressure and Pace.
type ServerOptions struct {
	Self   ring.NodeID
	Views  Views
	Store  Scanner
	Copies Copies
	// Pressure says how busy this node is with requests of clients: 0 idle, 1
	// as busy as it may be. May be nil: always idle.
	Pressure func() float64
	// Pace is what pages go by while this node has requests of clients: an eighth
	// of it, down to a tenth the busier it is, where each object counts for some
	// KiB more than its bytes. At 0 each stream gets an object every other second.
	// Default [DefaultTransferBytesPerSecond].
	Pace *Limit
}

// Server is the owner's side of filling a partition.
type Server struct {
	opts ServerOptions
	toll *toll
}

var _ Source = (*Server)(nil)

// NewServer checks the options.
func NewServer(o ServerOptions) (*Server, error) {
	if o.Self.IsZero() || o.Views == nil || o.Store == nil || o.Copies == nil {
		return nil, errors.New("antientropy: Self, Views, Store and Copies must be set")
	}
	setDefaultPace(&o.Pace)
	return &Server{opts: o, toll: newToll(o.Pace.Rate, transferPressure(o.Pressure))}, nil
}

// HandleConfirm answers the claims whose stamp is this node's own, of partitions
// that it owns or waits to own, or that have no owner.
func (s *Server) HandleConfirm(_ context.Context, claims []Claim) ([]Claim, error) {
	var agreed []Claim
	for _, c := range claims {
		pl, ok := s.placement(c.Partition)
		if ok && pl.Stamp == c.Stamp && (gives(pl, s.opts.Self) || contains(pl.Pending, s.opts.Self)) {
			agreed = append(agreed, c)
		}
	}
	return agreed, nil
}

// HandlePull answers the next page. It is [ErrRefused] if this node does not own
// the first partition under the stamp of its claim (any more): its copy may lack
// newer writes. Where nobody owns it, this copy is as good as any. A page ends
// before a partition that is to be refused. While this node has requests of
// clients, it waits before it answers, so that its part in all transfers
// together stays small.
func (s *Server) HandlePull(ctx context.Context, req PullRequest) (PullPage, error) {
	page, toll, err := s.pull(ctx, req)
	if err != nil {
		return page, err
	}
	return page, s.toll.pay(ctx, toll)
}

// pull reads a page, and says what it counts for.
func (s *Server) pull(ctx context.Context, req PullRequest) (page PullPage, toll int, err error) {
	limit, most := int(min(max(req.MaxBytes, MinPageBytes), MaxPageBytes)), s.toll.limit()
	bytes := 0
	after := req.After
	for _, c := range req.Claims {
		if pl, ok := s.placement(c.Partition); !ok || pl.Stamp != c.Stamp || !gives(pl, s.opts.Self) {
			if page.Done > 0 {
				break
			}
			return PullPage{}, 0, fmt.Errorf("%w: partition %d", ErrRefused, c.Partition)
		}
		for e, err := range s.opts.Store.Scan(c.Partition, after) {
			if err != nil {
				return PullPage{}, 0, fmt.Errorf("antientropy: partition %d: %w", c.Partition, err)
			}
			size := e.Object.Size()
			if n := len(page.Entries); n > 0 && (bytes+size > limit || s.toll.of(bytes+size, n+1) > most) {
				return page, s.toll.of(bytes, n), nil
			}
			bytes += size
			page.Entries = append(page.Entries, e)
		}
		page.Done++
		after = object.Ref{}
		if bytes >= limit || ctx.Err() != nil {
			break
		}
	}
	return page, s.toll.of(bytes, len(page.Entries)), ctx.Err()
}

// HandleSizes answers estimates of what this node holds, whoever owns it.
func (s *Server) HandleSizes(ctx context.Context, req SizesRequest) (SizesReply, error) {
	if len(req.Partitions) > MaxSizes {
		return SizesReply{}, fmt.Errorf("%w: the sizes of %d partitions", ErrTooMuch, len(req.Partitions))
	}
	reply := SizesReply{Bytes: make([]uint64, len(req.Partitions))}
	for i, p := range req.Partitions {
		if err := ctx.Err(); err != nil {
			return SizesReply{}, err
		}
		if _, ok := s.placement(p); !ok {
			continue
		}
		if bytes, err := s.opts.Copies.Bytes(p); err == nil && bytes > 0 {
			reply.Bytes[i] = uint64(bytes)
		}
	}
	return reply, nil
}

func (s *Server) placement(p uint32) (ring.Placement, bool) {
	return placementOf(s.opts.Views.View(), p)
}

// gives says whether a node gives its copy to one that is filled: as an owner,
// or, where there is none, for what it has left.
func gives(pl ring.Placement, id ring.NodeID) bool {
	return len(pl.Owners) == 0 || contains(pl.Owners, id)
}

func contains(ids []ring.NodeID, id ring.NodeID) bool {
	for _, o := range ids {
		if o == id {
			return true
		}
	}
	return false
}
