package store

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sort"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// maxSpans bounds how many damaged files a store looks into.
const maxSpans = 256

// span is the range of keys of a damaged file; both ends belong to it.
type span struct {
	file       string
	start, end []byte
}

// losses keeps the partitions that lost rows, and tells of each once.
type losses struct {
	mu      sync.Mutex
	lost    map[uint32]bool
	reports []report
	spans   []span
	files   map[string]bool // already looked into, or waiting for it
	work    chan struct{}
}

type report struct {
	partition uint32
	reason    error
}

func newLosses() *losses {
	return &losses{lost: make(map[uint32]bool), files: make(map[string]bool), work: make(chan struct{}, 1)}
}

// add reports whether the loss of the partition is news.
func (l *losses) add(partition uint32, reason error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost[partition] {
		return false
	}
	l.lost[partition] = true
	l.reports = append(l.reports, report{partition, reason})
	l.wake()
	return true
}

// suspect asks for a look at the rows of a damaged file.
func (l *losses) suspect(s span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files[s.file] || len(l.files) == maxSpans {
		return
	}
	l.files[s.file] = true
	l.spans = append(l.spans, span{s.file, bytes.Clone(s.start), bytes.Clone(s.end)})
	l.wake()
}

// wake lets the worker look for work. mu is held.
func (l *losses) wake() {
	select {
	case l.work <- struct{}{}:
	default:
	}
}

// forget lets a partition that was dropped be reported again.
func (l *losses) forget(partition uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.lost, partition)
}

// take empties the lists of work.
func (l *losses) take() ([]report, []span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, s := l.reports, l.spans
	l.reports, l.spans = nil, nil
	return r, s
}

// failed wraps an error of the engine. When rows of a partition are damaged,
// the partition lost its memory: its actor must not mint again.
func (s *Store) failed(doing string, partition uint32, err error) error {
	return s.lost(partition, wrap(doing, err))
}

// lost is failed for an error that is wrapped already, or nil.
func (s *Store) lost(partition uint32, err error) error {
	if errors.Is(err, ErrCorrupt) && s.losses.add(partition, err) {
		s.actors.drop(partition)
	}
	return err
}

// watchLosses tells of lost partitions and searches damaged files for more,
// until ctx is done.
func (s *Store) watchLosses(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.losses.work:
		}
		reports, spans := s.losses.take()
		for _, r := range reports {
			s.log.Error("partition lost rows", "partition", r.partition, "reason", r.reason)
			s.opts.OnAmnesia(r.partition, r.reason)
		}
		for _, sp := range spans {
			s.log.Error("file is damaged: looking for what it held", "file", sp.file)
			s.search(ctx, sp)
		}
	}
}

// search reads all rows in the range of a damaged file, to learn which
// partitions lost some. A file of a high level spans many that lost nothing.
func (s *Store) search(ctx context.Context, sp span) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		s.log.Error("searching a damaged file", "file", sp.file, "error", err)
		return
	}
	defer func() { _ = it.Close() }() // searchPartition reported its errors
	most := uint32(MaxPartitions)
	if s.opts.Partitions > 0 {
		most = uint32(s.opts.Partitions)
	}
	for _, p := range sp.held(ctx, it, most) {
		for _, kind := range keyKinds {
			s.searchPartition(ctx, it, kind, p)
		}
		// A partition without candidates has lost none, though a look for
		// them may meet a damaged block.
		if c, err := s.countsOf(p); err == nil && c.candidates > 0 {
			s.searchPartition(ctx, it, kindCandidate, p)
		}
	}
}

// held lists those of so many partitions that have rows and may have some in
// the file. Any
// kind of row would do; leaves are the shortest way. Only if some of those
// cannot be read the others are asked, for every read of a damaged block is
// slow: the engine looks for a flipped bit in it.
func (sp span) held(ctx context.Context, it *pebble.Iterator, partitions uint32) []uint32 {
	first, last := uint32(MaxPartitions), uint32(0)
	for _, kind := range partitionKinds {
		if from, to, ok := sp.partitions(kind); ok {
			first, last = min(first, from), max(last, to)
		}
	}
	last = min(last, partitions-1)
	held := make(map[uint32]bool)
	for _, kind := range []byte{kindLeaf, kindIndex, kindData} {
		if addHeld(ctx, it, kind, first, last, held) {
			break
		}
	}
	return slices.Sorted(maps.Keys(held))
}

// addHeld adds the partitions from first to last of which the store has rows
// of a kind that can be read, and reports whether all can be.
func addHeld(ctx context.Context, it *pebble.Iterator, kind byte, first, last uint32, held map[uint32]bool) (whole bool) {
	end := appendPrefix(nil, kind, last+1)
	seek := func(p uint32) (found, readable bool) {
		it.SetBounds(appendPrefix(nil, kind, p), end)
		found = it.First()
		return found, it.Error() == nil
	}
	whole = true
	for p := first; p <= last && ctx.Err() == nil; p++ {
		found, readable := seek(p)
		switch {
		case found:
			p = partitionOf(it.Key())
			held[p] = true
		case readable:
			return whole
		default:
			whole = false
			p += damaged(last-p, func(n uint32) bool {
				_, readable := seek(p + n)
				return readable || ctx.Err() != nil
			})
		}
	}
	return whole
}

// damaged returns a distance n of up to far behind which partitions can be
// read again, with leaps that grow and then halve: a seek into the gap behind
// a damaged block fails for as many partitions as the gap has.
func damaged(far uint32, readable func(n uint32) bool) uint32 {
	bad, leap := uint32(0), uint32(1)
	for leap <= far && !readable(leap) {
		bad, leap = leap, leap*2
	}
	good := min(leap, far+1)
	return bad + uint32(sort.Search(int(good-bad-1), func(i int) bool { return readable(bad + 1 + uint32(i)) }))
}

// partitions gives the partitions of which a file may hold rows of a kind.
func (sp span) partitions(kind byte) (first, last uint32, ok bool) {
	if bytes.Compare(sp.start, []byte{kind + 1}) >= 0 || bytes.Compare(sp.end, []byte{kind}) < 0 {
		return 0, 0, false
	}
	last = MaxPartitions - 1
	if len(sp.start) >= partitionBytes && sp.start[0] == kind {
		first = partitionOf(sp.start)
	}
	if len(sp.end) >= partitionBytes && sp.end[0] == kind {
		last = min(last, partitionOf(sp.end))
	}
	return first, last, true
}

// searchPartition reads the rows of one kind and partition.
func (s *Store) searchPartition(ctx context.Context, it *pebble.Iterator, kind byte, partition uint32) {
	it.SetBounds(partitionRange(kind, partition))
	for ok := it.First(); ok && ctx.Err() == nil; ok = it.Next() {
		if _, err := it.ValueAndErr(); err != nil {
			break // it.Error has it too
		}
	}
	if err := it.Error(); err != nil {
		_ = s.failed("searching a damaged file", partition, err) // reported by the worker itself
	}
}
