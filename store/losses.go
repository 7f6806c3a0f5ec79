package store

import (
	"bytes"
	"context"
	"errors"
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
	err = wrap(doing, err)
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
	defer func() { _ = it.Close() }() // its error was reported by searchPartition
	for _, kind := range partitionKinds {
		first, last, ok := sp.partitions(kind)
		for p := first; ok && p <= last && ctx.Err() == nil; p++ {
			s.searchPartition(ctx, it, kind, p)
		}
	}
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
