package store

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// engineFormat is the version of Pebble's own files. From it on a damaged log
// is told from one that ends early, and table footers have checksums.
const engineFormat = pebble.FormatTableFormatV6

// engineOptions is how Pebble is set up. The cache must be released by the
// caller once Pebble is open.
func (s *Store) engineOptions() *pebble.Options {
	o := &pebble.Options{
		Cache:                       pebble.NewCache(s.opts.CacheBytes),
		FS:                          s.guarded(),
		Lock:                        s.dir,
		FormatMajorVersion:          engineFormat,
		Merger:                      leafMerger,
		Logger:                      engineLogger{s},
		EventListener:               s.events(),
		MemTableSize:                uint64(s.opts.MemtableBytes),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0CompactionFileThreshold:   500,
		L0StopWritesThreshold:       36,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                2048,
		BytesPerSync:                512 << 10,
		WALBytesPerSync:             512 << 10,
		WALMinSyncInterval:          s.pacer.interval,
		FlushDelayDeleteRange:       flushDelay,
		CompactionConcurrencyRange:  func() (int, int) { return 1, min(4, max(1, runtime.NumCPU()/2)) },
	}
	o.TargetFileSizes[0] = 4 << 20 // doubles with every level
	for i := range o.Levels {
		o.Levels[i].BlockSize = 16 << 10
		o.Levels[i].IndexBlockSize = 256 << 10
		// The filter serves the last level too: a put of a new key looks for
		// the old one and would else read a block to learn that there is none.
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	if s.opts.FS == vfs.Default {
		o.WithFSDefaults() // watches for a disk that hangs
	}
	return o
}

// guarded is the file system as the engine sees it: a write that meets a full
// disk is tried once more, and a log that cannot be written ends the process.
func (s *Store) guarded() vfs.FS {
	return &guardedFS{FS: vfs.OnDiskFull(s.opts.FS, s.space.onFull), dir: s.opts.Dir, fatal: s.fatal, serving: &s.serving}
}

// events listens to Pebble. A callback may run under Pebble's locks, so it
// only counts, logs and leaves work for others.
func (s *Store) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: s.onBackgroundError,
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			s.counts.corruptions.Add(1)
			s.losses.suspect(span{i.Path, i.Bounds.Start, i.Bounds.End.Key})
		},
		DiskSlow: func(i pebble.DiskSlowInfo) {
			s.counts.slowDisk.Add(1)
			s.log.Warn("disk is slow", "what", i.String())
		},
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			s.counts.stallBegins()
			s.log.Warn("writes stall", "reason", i.Reason)
		},
		WriteStallEnd: s.counts.stallEnds,
	}
}

func (s *Store) onBackgroundError(err error) {
	s.counts.backgroundErrors.Add(1)
	if isDiskFull(err) {
		s.space.note(err) // logs when the state changes; Pebble tries again and again
		return
	}
	s.log.Error("background work of the engine failed", "error", err)
}

// engineLogger is Pebble's logger. Its word is worth an operator's time only
// when something failed.
type engineLogger struct{ s *Store }

func (l engineLogger) Infof(format string, args ...any) {
	if l.s.log.Enabled(context.Background(), slog.LevelDebug) {
		l.s.log.Debug(fmt.Sprintf(format, args...))
	}
}

func (l engineLogger) Errorf(format string, args ...any) {
	l.s.log.Error(fmt.Sprintf(format, args...))
}

// Fatalf is called where Pebble cannot go on. It does not return.
func (l engineLogger) Fatalf(format string, args ...any) {
	l.s.fatal(fmt.Errorf("store: engine: "+format, args...))
}
