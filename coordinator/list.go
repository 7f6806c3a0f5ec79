package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"starling/ring"
	"starling/store/bucket"
	"starling/store/bucket/resolve"
	"starling/store/object"
)

// A listing gives the keys of one bucket in byte order. Keys are hashed to
// partitions, so each page is merged from all of them: from R owners of each, as
// a read of every key of it would be. One node is asked once for all the
// partitions that it is asked for, and merges those itself (listmerge.go).
//
// Fallbacks and hints are not asked, whatever the request allows: a node that
// stands in for an owner holds some keys of a partition and not the others, so it
// has no vote about which there are. A listing is therefore as strict a read as
// sloppy=false makes one: with too few owners in reach it fails. A write that was
// taken by stand-ins alone is listed once it was brought to an owner.
//
// # Bounds
//
// A page is gathered in at most maxListRounds rounds. In each every partition is
// read by R owners, and a node reads no more than its share of [MaxListRows] rows
// or two rows a partition, whichever is more, be they live, deleted or expired.
// When that was not enough the page is shorter than was asked for, and says where
// to go on.

// Bounds of a listing.
const (
	// MaxListLimit is the most keys of one page.
	MaxListLimit = 1000
	// MaxListRows is how many rows the R copies of all partitions are read up to,
	// each, in one round; see "Bounds".
	MaxListRows = 8192
	// MaxListBytes is the size of keys and objects at which a page ends, and of a
	// node's answers the share by its partitions. It is passed by one object at
	// most, at each of the nodes.
	MaxListBytes = 4 << 20
	// maxListRounds bounds how often the nodes are asked for one page.
	maxListRounds = 4
)

// ListRequest asks for a page of the keys of a bucket.
type ListRequest struct {
	// Bucket is the name under which its objects are stored. The keys are those
	// that begin with Prefix and are greater than After, in byte order.
	Bucket, Prefix, After string
	// Limit is the most keys that are wanted, 1 to [MaxListLimit].
	Limit int
	// Consistency says by its level, R or PR how many owners of each partition
	// are read. It is strict, whatever it says.
	Consistency Consistency
	// Values asks for the values too; without, the siblings of the answer have
	// none, and neither content types nor metadata.
	Values bool
}

// ListPage is a page of keys.
type ListPage struct {
	// Entries are in byte order of their keys, which are all that is set of their
	// Refs. Each has something live.
	Entries []object.Entry
	// More: there may be keys greater than Next, which is greater than the
	// request's After and not less than any key of the page. Not more: these
	// were all. A page without any key may have more.
	More bool
	Next string
}

// ListClaim is a partition that a node is asked for, with its sender's stamp.
type ListClaim struct {
	Partition uint32
	Stamp     uint64
}

// ScanRequest asks one owner for its rows of some partitions.
type ScanRequest struct {
	Bucket, Prefix, After string
	// Claims are in ascending order of their partitions.
	Claims []ListClaim
	// Limit is how many rows with something live are enough, MaxRows how many
	// rows may be read, but one of each partition always is, and MaxBytes the
	// size of keys and objects at which the answer ends. Each is 1 or more.
	Limit, MaxRows, MaxBytes uint32
	// Values: objects come whole. Else without values, content types and metadata.
	Values bool
}

// Bounds of a [ScanRequest].
const (
	MaxScanRows  = 1 << 17
	MaxScanBytes = 16 << 20
)

// ScanReply is what an owner has.
type ScanReply struct {
	// Rows are in byte order of their keys, which are all that is set of their
	// Refs. Deleted and expired objects are among them: another owner may not
	// know of the delete.
	Rows []object.Entry
	// Done: there are no more rows. Else UpTo, which is greater than the
	// request's After, is the key up to which all the partitions that were not
	// refused were gone through; there is no row behind it.
	Done bool
	UpTo string
	// Refused are the partitions, ascending, that the node does not own under
	// the stamp that was claimed. No row is of these.
	Refused []uint32
}

// ListPeers carries a scan to another member. Its error means as those of [Peers].
type ListPeers interface {
	List(ctx context.Context, to ring.NodeID, req ScanRequest) (ScanReply, error)
}

// ListReplica is the answering side of [ListPeers]; [Lister] implements it.
type ListReplica interface {
	HandleList(ctx context.Context, req ScanRequest) (ScanReply, error)
}

// ListStore opens this node's keys of a bucket that have a prefix, as they are
// now.
type ListStore func(bucket, prefix string) (ListReader, error)

// ListReader reads what a [ListStore] opened.
type ListReader interface {
	// Read gives the first rows of a partition whose keys are greater than after,
	// in byte order: at most limit, and all that there are if fewer. Siblings
	// have neither values, content types nor metadata.
	Read(partition uint32, after string, limit int) ([]object.Entry, error)
	Close() error
}

// ListerOptions configures a [Lister]. All must be set.
type ListerOptions struct {
	Coordinator *Coordinator
	Store       ListStore
	Peers       ListPeers
}

// maxScans bounds the scans that a node does at once for all that ask it.
const maxScans = 64

// Lister lists the keys of buckets, for this node's clients and, as a replica,
// for other nodes. Make it with [NewLister]. What it starts [Coordinator.Run]
// waits for.
type Lister struct {
	c      *Coordinator
	opts   ListerOptions
	scans  chan struct{} // an element for each scan under way
	bounds listBounds
}

// listBounds are those of a page: rows of each copy of all partitions in a round,
// bytes, and rounds.
type listBounds struct{ rows, bytes, rounds int }

var _ ListReplica = (*Lister)(nil)

// NewLister makes a lister.
func NewLister(o ListerOptions) (*Lister, error) {
	if o.Coordinator == nil || o.Store == nil || o.Peers == nil {
		return nil, errors.New("coordinator: Coordinator, Store and Peers of a lister must be set")
	}
	return &Lister{c: o.Coordinator, opts: o, scans: make(chan struct{}, maxScans),
		bounds: listBounds{rows: MaxListRows, bytes: MaxListBytes, rounds: maxListRounds}}, nil
}

// List gives a page of keys. Its errors are those of [Coordinator.Get] but for
// [ErrNotVisible], and [ErrInvalid] for a request out of bounds. The context
// must have a deadline. Where it passes, or owners fail, after part of the page
// was gathered, that part is the page.
func (l *Lister) List(ctx context.Context, req ListRequest) (ListPage, error) {
	if _, ok := ctx.Deadline(); !ok || req.Bucket == "" || req.Limit < 1 || req.Limit > MaxListLimit {
		return ListPage{}, fmt.Errorf("%w: a listing needs a deadline, a bucket and a limit of 1 to %d", ErrInvalid, MaxListLimit)
	}
	p := pageOf{req: req, mode: l.c.properties(req.Bucket).Mode, bounds: l.bounds, after: req.After}
	for range l.bounds.rounds {
		err := l.untilPlaced(ctx, &p)
		switch {
		case err != nil && p.after > req.After && !errors.Is(err, ErrGone):
			return p.page(), nil
		case err != nil:
			return ListPage{}, l.c.metrics.failure("list", err)
		case p.full():
			return p.page(), nil
		}
	}
	return p.page(), nil
}

// untilPlaced adds one round to a page. It is repeated where owners refused the
// placement, as a get is.
func (l *Lister) untilPlaced(ctx context.Context, p *pageOf) error {
	for try := 1; ; try++ {
		before := l.c.View()
		g, err := l.gather(ctx, p.scan(), p.req.Consistency)
		if err == nil {
			p.add(g, l.c.nowMS())
			return nil
		}
		if !l.c.again(ctx, err, try, before) {
			return err
		}
	}
}

// pageOf is a page on its way.
type pageOf struct {
	req     ListRequest
	mode    bucket.Mode
	bounds  listBounds
	entries []object.Entry
	bytes   int
	after   string // gone through up to here
	more    bool   // an entry beyond the limit was seen
	done    bool   // gone through to the end
}

// scan is what is still to be asked: one key more than is wanted, so as to know
// whether there is one.
func (p *pageOf) scan() ScanRequest {
	return ScanRequest{
		Bucket: p.req.Bucket, Prefix: p.req.Prefix, After: p.after, Values: p.req.Values,
		Limit: uint32(p.req.Limit-len(p.entries)) + 1, MaxRows: uint32(p.bounds.rows), MaxBytes: uint32(max(1, p.bounds.bytes-p.bytes)),
	}
}

// add takes what a round gathered.
func (p *pageOf) add(g *gathering, nowMS int64) {
	for _, e := range g.merged() {
		if !live(p.mode, e.Object, nowMS) {
			continue
		}
		if len(p.entries) == p.req.Limit || p.bytes >= p.bounds.bytes {
			p.more = true
			return
		}
		p.entries = append(p.entries, e)
		p.bytes += rowBytes(e)
		p.after = e.Ref.Key
	}
	if p.done = g.done; !p.done {
		p.after = g.upTo
	}
}

func (p *pageOf) full() bool {
	return p.done || p.more || len(p.entries) == p.req.Limit || p.bytes >= p.bounds.bytes
}

func (p *pageOf) page() ListPage {
	if p.done {
		return ListPage{Entries: p.entries}
	}
	return ListPage{Entries: p.entries, More: true, Next: p.after}
}

// live says whether a reader sees anything of an object, with or without the
// values of its siblings.
func live(m bucket.Mode, o object.Object, nowMS int64) bool {
	if m == bucket.LWW {
		return len(resolve.Read(m, o, nowMS).Live) > 0
	}
	return slices.ContainsFunc(o.Siblings, func(s object.Sibling) bool { return !s.Tombstone && !s.Expired(nowMS) })
}

// rowBytes is what a row counts for in the bounds of bytes.
func rowBytes(e object.Entry) int { return len(e.Ref.Key) + e.Object.Size() }
