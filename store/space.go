package store

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// spaceEvery is how often free space is measured.
	spaceEvery = time.Second
	// spaceQuiet is how long no write may have met a full disk before writes
	// are taken again. The engine's background work goes on trying.
	spaceQuiet = time.Second
	// spacePause holds back each write that met a full disk, so that the
	// engine's retries do not burn a core.
	spacePause = 100 * time.Millisecond
	// spacePatience is how long Close waits for the operations in flight while
	// the disk is full. A write that had passed the check may hang inside the
	// engine until there is space.
	spacePatience = 10 * time.Second
	// spaceBytes of writes trigger a measurement between two ticks.
	spaceBytes = 16 << 20
	// spaceLeast is the space that must be free to start, and to go on after
	// a write met a full disk, when there is no higher floor.
	spaceLeast = 16 << 20
)

// space decides whether there is room for writes.
type space struct {
	fs    vfs.FS
	dir   string
	floor int64
	log   *slog.Logger

	full    atomic.Bool
	avail   atomic.Int64 // bytes, at the last measurement; -1: not known
	total   atomic.Int64 // bytes of the whole disk; -1: not known
	written atomic.Int64 // since the last measurement
	kick    chan struct{}
	stop    <-chan struct{}

	mu      sync.Mutex
	refused time.Time // when a write last met a full disk
}

func newSpace(o Options, stop <-chan struct{}) *space {
	return &space{
		fs: o.FS, dir: o.Dir, floor: max(0, o.FreeFloorBytes), log: o.Logger,
		kick: make(chan struct{}, 1), stop: stop,
	}
}

// check answers ErrDiskFull while writes must not add data.
func (s *space) check() error {
	if s.full.Load() {
		return ErrDiskFull
	}
	return nil
}

// wrote counts written bytes and asks for a measurement when they are many.
func (s *space) wrote(n int) {
	if s.written.Add(int64(n)) < spaceBytes {
		return
	}
	s.written.Store(0)
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// onFull is called by the file system when a write met a full disk. The write
// is tried once more when onFull returns.
func (s *space) onFull() {
	s.note(ErrDiskFull)
	t := time.NewTimer(spacePause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.stop:
	}
}

// note records that a write met a full disk just now.
func (s *space) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = time.Now()
	s.set(true, "reason", err)
}

// run measures until stop is closed.
func (s *space) run() {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		case <-s.kick:
		}
		s.measure()
	}
}

// measure looks at the free space. Writes stop below the floor, and go on a
// quarter above it, so that they do not flutter.
func (s *space) measure() {
	usage, err := s.fs.GetDiskUsage(s.dir)
	known := err == nil
	avail, total := int64(-1), int64(-1)
	if known {
		avail, total = int64(min(usage.AvailBytes, 1<<62)), int64(min(usage.TotalBytes, 1<<62))
	}
	s.avail.Store(avail)
	s.total.Store(total)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case known && avail < s.floor:
		s.set(true, "free_bytes", avail, "floor_bytes", s.floor)
	case known && avail < max(s.floor+s.floor/4, spaceLeast):
	case time.Since(s.refused) >= spaceQuiet:
		s.set(false, "free_bytes", avail)
	}
}

// set changes the state and says so. mu is held.
func (s *space) set(full bool, why ...any) {
	if s.full.Swap(full) == full {
		return
	}
	if full {
		s.log.Error("disk is full: writes are refused until there is space", why...)
	} else {
		s.log.Info("disk has space again: writes are taken", why...)
	}
}

// startable refuses to open a store where not even its bookkeeping can be
// written, which would end the process on the way.
func (s *space) startable() error {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err == nil && usage.AvailBytes < spaceLeast {
		return fmt.Errorf("%w: %d bytes are free in %s, %d are needed to start", ErrDiskFull, usage.AvailBytes, s.dir, spaceLeast)
	}
	return nil
}
