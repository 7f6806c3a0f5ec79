package antientropy

import (
	"context"
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

// Server is the owner's side of filling a partition.
type Server struct {
	self  ring.NodeID
	views Views
	store Scanner
}

var _ Source = (*Server)(nil)

// NewServer makes the owner's side for a node.
func NewServer(self ring.NodeID, views Views, store Scanner) *Server {
	return &Server{self: self, views: views, store: store}
}

// HandleConfirm answers the claims whose stamp is this node's own.
func (s *Server) HandleConfirm(_ context.Context, claims []Claim) ([]Claim, error) {
	var agreed []Claim
	for _, c := range claims {
		pl, ok := s.placement(c.Partition)
		if ok && pl.Stamp == c.Stamp && contains(pl.Owners, s.self) {
			agreed = append(agreed, c)
		}
	}
	return agreed, nil
}

// HandlePull answers the next page. It is [ErrRefused] if this node does not own
// the first partition under the stamp of its claim (any more): its copy may lack
// newer writes. A page ends before a partition that is to be refused.
func (s *Server) HandlePull(ctx context.Context, req PullRequest) (PullPage, error) {
	limit := int(min(max(req.MaxBytes, MinPageBytes), MaxPageBytes))
	var page PullPage
	after := req.After
	for _, c := range req.Claims {
		if pl, ok := s.placement(c.Partition); !ok || pl.Stamp != c.Stamp || !contains(pl.Owners, s.self) {
			if page.Done > 0 {
				return page, nil
			}
			return PullPage{}, fmt.Errorf("%w: partition %d", ErrRefused, c.Partition)
		}
		for e, err := range s.store.Scan(c.Partition, after) {
			if err != nil {
				return PullPage{}, fmt.Errorf("antientropy: partition %d: %w", c.Partition, err)
			}
			if limit -= e.Object.Size(); limit < 0 && len(page.Entries) > 0 {
				return page, nil
			}
			page.Entries = append(page.Entries, e)
		}
		page.Done++
		after = object.Ref{}
		if limit <= 0 || ctx.Err() != nil {
			break
		}
	}
	return page, ctx.Err()
}

func (s *Server) placement(p uint32) (ring.Placement, bool) {
	v := s.views.View()
	if v == nil || int(p) >= v.Ring().Config().Partitions {
		return ring.Placement{}, false
	}
	return v.Placement(int(p)), true
}

func contains(ids []ring.NodeID, id ring.NodeID) bool {
	for _, o := range ids {
		if o == id {
			return true
		}
	}
	return false
}
