package store

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"starling/store/version"
)

// flushDelay is how soon the space of a dropped partition begins to be freed.
const flushDelay = 10 * time.Second

// Store is one replica's objects on disk. Its methods may be called by many
// goroutines at once.
type Store struct {
	opts Options
	log  *slog.Logger
	db   *pebble.DB
	dir  *pebble.Lock

	gate    *gate
	stripes [stripeCount]stripe
	actors  actors
	recent  *recent
	hints   *hints
	states  partitionStates
	space   *space
	losses  *losses
	pacer   pacer
	horizon horizon
	counts  counts

	syncWaits prometheus.Histogram

	serving  atomic.Bool // Open is through
	unsynced atomic.Bool // the log has writes that Interval has yet to sync

	metaMu   sync.Mutex
	identity Identity

	cancel    context.CancelFunc
	tasks     sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

// Open opens the store in a directory, or makes a new one there. When it
// returns, the boot counter has been raised on disk. The errors wrap
// [ErrLocked], [ErrFormat], [ErrCorrupt], [ErrDiskFull] or [ErrInvalid].
func Open(o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Store{
		opts: o, log: o.Logger, gate: newGate(), cancel: cancel,
		recent: newRecent(), hints: newHints(o), space: newSpace(o, ctx.Done()), losses: newLosses(), syncWaits: newSyncWaits(),
	}
	s.actors = actors{
		rand: o.Rand, reserve: s.reserve, minted: func() { s.counts.actors.Add(1) },
		held: make(map[uint32]tenancy), hinted: make(map[uint64]version.Dot), reaped: make(map[uint64]version.Dot), seed: maphash.MakeSeed(),
	}
	if err := s.lockDir(); err != nil {
		cancel()
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		cancel()
		return nil, errors.Join(err, s.closeEngine())
	}
	return s, nil
}

// start does what Open does once it has the directory. What it opened is to be
// closed if it fails.
func (s *Store) start(ctx context.Context) error {
	if err := s.space.startable(); err != nil {
		return err
	}
	if err := s.openEngine(); err != nil {
		return err
	}
	known, err := s.known()
	if err != nil {
		return err
	}
	if !known {
		if err := s.reopenEngine(); err != nil {
			return err
		}
		if err := s.create(); err != nil {
			return err
		}
	}
	if err := s.boot(); err != nil {
		return err
	}
	s.space.measure()
	if err := s.registerMetrics(); err != nil {
		return fmt.Errorf("store: metrics: %w", err)
	}
	s.serving.Store(true)
	s.tasks.Go(s.space.run)
	s.tasks.Go(func() { s.watchLosses(ctx) })
	if s.opts.Durability == Interval {
		s.tasks.Go(func() { s.syncEvery(ctx) })
	}
	return nil
}

// lockDir makes the directory and takes its lock.
func (s *Store) lockDir() error {
	if err := makeDir(s.opts.FS, s.opts.Dir); err != nil {
		return wrap("making the directory", err)
	}
	lock, err := pebble.LockDirectory(s.opts.Dir, s.opts.FS)
	switch {
	case err == nil:
		s.dir = lock
		return nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist), isDiskFull(err):
		return wrap("locking the directory", err)
	}
	return fmt.Errorf("%w: %s is open in another process or in this one: %w", ErrLocked, s.opts.Dir, err)
}

// makeDir makes a directory with its parents, durably.
func makeDir(fsys vfs.FS, dir string) error {
	var missing []string
	for d := dir; ; d = fsys.PathDir(d) {
		if _, err := fsys.Stat(d); err == nil || fsys.PathDir(d) == d {
			break
		}
		missing = append(missing, d)
	}
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, d := range missing {
		if err := syncDir(fsys, fsys.PathDir(d)); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openEngine opens Pebble. A directory that an older version wrote gets the
// newer file formats on the way, except for the log that is already begun: so
// it is opened once more.
func (s *Store) openEngine() error {
	old, err := pebble.Peek(s.opts.Dir, s.opts.FS)
	if err != nil {
		return s.explain(err)
	}
	if err := s.openOnce(); err != nil {
		return err
	}
	if old.Exists && old.FormatMajorVersion < engineFormat {
		return s.reopenEngine()
	}
	return nil
}

// reopenEngine closes Pebble and opens it again, so that the log in use was
// begun under the current format and damage in its middle is found. A new
// store needs it too: Pebble begins its first log under the oldest format.
func (s *Store) reopenEngine() error {
	db := s.db
	s.db = nil
	if err := db.Close(); err != nil {
		return wrap("closing the engine", err)
	}
	return s.openOnce()
}

func (s *Store) openOnce() error {
	o := s.engineOptions()
	defer o.Cache.Unref()
	db, err := pebble.Open(s.opts.Dir, o)
	if err != nil {
		return s.explain(err)
	}
	s.db = db
	return nil
}

// explain names the error of an engine that does not open.
func (s *Store) explain(err error) error {
	if m := err.Error(); strings.Contains(m, "unknown format major version") || strings.Contains(m, "no longer supported") {
		return fmt.Errorf("%w: %s: %w", ErrFormat, s.opts.Dir, err)
	}
	if isDiskFull(err) {
		return fmt.Errorf("%w: opening %s: %w", ErrDiskFull, s.opts.Dir, err)
	}
	return wrap("opening "+s.opts.Dir, err)
}

// Vouch says that this directory is the only one of its ID, and no older copy:
// a peer that knew the store before has met no boot of it that is later, nor
// another use of this one. Actors that a clean stop kept may be used from then
// on; before, a put takes a new actor.
func (s *Store) Vouch() { s.actors.vouch() }

// Actors lists the actors that may yet mint a dot for a key of the partition, in
// no order: the partition's own, be it vouched for or not, and those of hints,
// of whatever partition. All others that the store had mint no more, and one
// that it takes later is in no vector yet. There are 65,537 at most.
func (s *Store) Actors(partition uint32) []version.Actor { return s.actors.able(partition) }

// Close lets the operations in flight end, writes everything to disk, marks
// the stop as clean and gives the directory free. Operations that come later
// get [ErrClosed]. Every call returns the same.
//
// If the disk is full and operations do not end for that reason, the error is
// [ErrDiskFull] and the directory stays locked until the process ends. As
// after a crash, acknowledged writes are in the log.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.stop() })
	return s.closeErr
}

func (s *Store) stop() error {
	drained := s.drain()
	s.cancel()
	s.tasks.Wait()
	s.unregisterMetrics()
	if !drained {
		return fmt.Errorf("%w: writes are held up, so the engine is left as it is", ErrDiskFull)
	}
	var err error
	if s.space.check() == nil {
		// A full disk would hold up the flush for as long as it is full. The
		// log has everything; without the mark the next boot takes new actors.
		if err = s.flush(); err == nil {
			s.markClean()
			s.horizon.raise(math.MaxUint64)
		}
	}
	return errors.Join(wrap("flushing", err), s.closeEngine())
}

// drain closes the gate and waits for the operations in flight. It reports
// whether all have ended; it gives up on them only while the disk is full.
func (s *Store) drain() bool {
	drained := s.gate.close()
	tick := time.NewTicker(spacePatience)
	defer tick.Stop()
	for {
		select {
		case <-drained:
			return true
		case <-tick.C:
			if s.space.check() != nil {
				return false
			}
		}
	}
}

// closeEngine closes what is open and gives the directory free.
func (s *Store) closeEngine() error {
	var err error
	if s.db != nil {
		err = wrap("closing the engine", s.db.Close())
	}
	return errors.Join(err, wrap("unlocking the directory", s.dir.Close()))
}
