package coordinator

import (
	"context"
	"fmt"

	"starling/ring"
	"starling/store/object"
)

// HandleList reads this node's rows of the partitions that it owns under the
// stamps of the request, and names the others. It is [ErrOverloaded] while
// maxScans others are under way.
func (l *Lister) HandleList(ctx context.Context, req ScanRequest) (ScanReply, error) {
	if err := checkScan(req); err != nil {
		return ScanReply{}, err
	}
	select {
	case l.scans <- struct{}{}:
	default:
		return ScanReply{}, fmt.Errorf("%w: %d listings are being read", ErrOverloaded, maxScans)
	}
	defer func() { <-l.scans }()
	for {
		// As with [Coordinator.readCopy]: no copy is dropped between the look at
		// the stamps and the last read, or all is read again.
		drops := l.c.drops.Load()
		partitions, refused, err := l.owned(req)
		if err != nil {
			return ScanReply{}, err
		}
		reply, err := l.scan(ctx, req, partitions)
		if l.c.drops.Load() == drops || ctx.Err() != nil {
			reply.Refused = refused
			return reply, err
		}
	}
}

// checkScan refuses what no lister asks.
func checkScan(req ScanRequest) error {
	switch {
	case req.Bucket == "":
		return fmt.Errorf("%w: a scan needs a bucket", ErrInvalid)
	case len(req.Claims) == 0 || len(req.Claims) > ring.MaxPartitions:
		return fmt.Errorf("%w: a scan of %d partitions: 1 to %d", ErrInvalid, len(req.Claims), ring.MaxPartitions)
	case req.Limit == 0 || req.MaxRows == 0 || req.MaxRows > MaxScanRows || req.MaxBytes == 0 || req.MaxBytes > MaxScanBytes:
		return fmt.Errorf("%w: a scan of %d keys, %d rows, %d bytes: 1 or more, at most %d rows and %d bytes",
			ErrInvalid, req.Limit, req.MaxRows, req.MaxBytes, MaxScanRows, MaxScanBytes)
	}
	for i := range req.Claims[1:] {
		if req.Claims[i].Partition >= req.Claims[i+1].Partition {
			return fmt.Errorf("%w: the partitions of a scan are not in order", ErrInvalid)
		}
	}
	return nil
}

// owned tells the partitions that this node owns under the claimed stamps from
// the others.
func (l *Lister) owned(req ScanRequest) (owned, refused []uint32, err error) {
	v := l.c.View()
	if v == nil {
		return nil, nil, ErrNotReady
	}
	if err := l.c.checkBucket(req.Bucket); err != nil {
		return nil, nil, err
	}
	if last := req.Claims[len(req.Claims)-1].Partition; int(last) >= v.Ring().Config().Partitions {
		return nil, nil, fmt.Errorf("%w: there is no partition %d", ErrInvalid, last)
	}
	owned = make([]uint32, 0, len(req.Claims))
	for _, claim := range req.Claims {
		if pl := v.Placement(int(claim.Partition)); pl.Stamp == claim.Stamp && ownerIndex(pl, l.c.opts.Self) >= 0 {
			owned = append(owned, claim.Partition)
		} else {
			refused = append(refused, claim.Partition)
		}
	}
	return owned, refused, nil
}

// scan reads the rows.
func (l *Lister) scan(ctx context.Context, req ScanRequest, partitions []uint32) (_ ScanReply, err error) {
	reader, err := l.opts.Store(req.Bucket, req.Prefix)
	if err != nil {
		return ScanReply{}, err
	}
	defer func() {
		if bad := reader.Close(); err == nil {
			err = bad
		}
	}()
	s := scan{req: req, reader: reader, nowMS: l.c.nowMS(), mode: l.c.properties(req.Bucket).Mode}
	if req.Values {
		s.fetch = func(ref object.Ref) (object.Object, error) { return l.c.opts.Store.Get(ref) }
	}
	defer func() { l.c.metrics.listRows.Add(float64(s.read)) }()
	return s.run(ctx, partitions)
}
