package store

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// lonely is the number of writers up to which a sync is not put off.
	lonely = 2
	// groupEvery is the shortest time between two syncs for more writers than
	// that; see BenchmarkPut.
	groupEvery = 200 * time.Microsecond
)

// pacer spaces the syncs of the log, so that many writers share one. A lone
// writer never waits for company.
type pacer struct {
	writers atomic.Int64 // inside Put, Merge or a Wait
}

func (p *pacer) begin() { p.writers.Add(1) }
func (p *pacer) end()   { p.writers.Add(-1) }

// interval is the time from a sync to the next, asked for after each.
func (p *pacer) interval() time.Duration {
	if p.writers.Load() <= lonely {
		return 0
	}
	return groupEvery
}

// horizon is how far the log is known to be on disk, as an engine sequence
// number: the log holds batches in the order of these numbers, and a sync of
// one covers all before it, in older log files too, for those are synced when
// they are closed.
type horizon struct{ seq atomic.Uint64 }

func (h *horizon) reaches(seq uint64) bool { return h.seq.Load() >= seq }

func (h *horizon) raise(seq uint64) {
	for {
		cur := h.seq.Load()
		if cur >= seq || h.seq.CompareAndSwap(cur, seq) {
			return
		}
	}
}

// durable is the Wait of a write that is as durable as it will be.
func durable() error { return nil }

// apply commits a batch to the log and the memtable. It returns the batch's
// engine sequence number, 0 if it does not matter, and what to call for
// durability. The batch belongs to the engine then.
func (s *Store) apply(b *pebble.Batch) (seq uint64, wait func() error) {
	s.space.wrote(b.Len())
	if s.opts.Durability != Sync {
		s.applyLazily(b)
		return 0, durable
	}
	return s.applySynced(b)
}

// applySynced does what apply does, and its wait is for the disk whatever the
// durability of puts.
func (s *Store) applySynced(b *pebble.Batch) (seq uint64, wait func() error) {
	defer s.endOnPanic()
	s.must(s.db.ApplyNoSyncWait(b, pebble.Sync))
	seq = uint64(b.SeqNum())
	if seq == 0 {
		// The batch was too large for a memtable and gave its bytes away, the
		// number with them. The caller holds the key's lock, so waiting here
		// makes what follows true for any reader of the key.
		s.must(b.SyncWait())
		return 0, durable
	}
	return seq, func() error {
		s.pacer.begin()
		defer s.pacer.end()
		begun := time.Now()
		s.must(b.SyncWait())
		s.syncWaits.Observe(time.Since(begun).Seconds())
		s.horizon.raise(seq)
		return b.Close() // it only gives back memory
	}
}

// applyLazily commits a batch that gets to the disk with whatever is synced
// next. The batch belongs to the engine then.
func (s *Store) applyLazily(b *pebble.Batch) {
	defer s.endOnPanic()
	s.must(s.db.Apply(b, pebble.NoSync))
	s.unsynced.Store(true)
	_ = b.Close() // it only gives back memory
}

// waitFor is the Wait of a write that changed nothing because the key already
// holds it. What it holds may be in the memtable alone, put there by a writer
// that is still waiting for its sync, or never will: seq is the last commit to
// the key's stripe.
func (s *Store) waitFor(seq uint64) func() error {
	if s.horizon.reaches(seq) {
		return durable
	}
	return func() error {
		s.pacer.begin()
		defer s.pacer.end()
		if s.horizon.reaches(seq) {
			return nil
		}
		if !s.gate.enter() {
			return ErrClosed
		}
		defer s.gate.leave()
		s.syncLog()
		s.horizon.raise(seq)
		return nil
	}
}

// syncLog returns when all that is in the log now is on disk.
func (s *Store) syncLog() {
	defer s.endOnPanic()
	s.must(s.db.LogData(nil, pebble.Sync))
}

// flush writes the memtables out.
func (s *Store) flush() error {
	defer s.endOnPanic()
	return s.db.Flush()
}

// stuck answers ErrDiskFull while a commit would hang in the engine, because
// its memtables are full and cannot be written out.
func (s *Store) stuck() error {
	if s.counts.stalling() {
		return s.space.check()
	}
	return nil
}

// saveRows commits bookkeeping rows and waits until they are on disk, whatever
// the durability of puts. The batch belongs to the engine then.
func (s *Store) saveRows(b *pebble.Batch) {
	defer s.endOnPanic()
	s.must(s.db.Apply(b, pebble.Sync))
	_ = b.Close() // it only gives back memory
}

// syncEvery syncs the log for Interval until ctx is done.
func (s *Store) syncEvery(ctx context.Context) {
	tick := time.NewTicker(s.opts.SyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.unsynced.Swap(false) {
			s.syncLog()
		}
	}
}

// must ends the process when the log could not be written or synced: a later
// sync that succeeds would say nothing about the bytes that this one lost.
func (s *Store) must(err error) {
	if err != nil {
		s.fatal(fmt.Errorf("store: writing the log: %w", err))
	}
}

// endOnPanic ends the process when the engine panicked, as it does when it
// cannot write the log. Its locks are held then, so a server that recovered
// from the panic would hang instead.
func (s *Store) endOnPanic() {
	if r := recover(); r != nil {
		s.fatal(fmt.Errorf("store: engine: %v", r))
	}
}

// fatal does not return.
func (s *Store) fatal(err error) {
	s.log.Error("the store cannot go on", "error", err)
	if s.opts.OnFatal == nil {
		os.Exit(1)
	}
	s.opts.OnFatal(err)
	panic(fmt.Errorf("store: OnFatal returned after %w", err))
}
