package store

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"starling/store/object"
)

// Durability says when a write is safe from a crash of the process or the
// machine. Whatever it is, a clean stop loses nothing, meta records and the
// store's own bookkeeping are always synced, and an actor that may have
// forgotten a write is never used again.
type Durability uint8

const (
	// Sync: Wait returns when the write is in a write-ahead log that was
	// synced to the disk.
	Sync Durability = iota
	// Interval: Wait returns at once and the log is synced every SyncEvery.
	// A crash of the process or the machine loses up to that much.
	Interval
	// None: the log is synced only when it happens to be rotated. A crash of
	// the process loses the last tens of KiB, one of the machine minutes.
	None
)

var durabilityNames = [...]string{"sync", "interval", "none"}

// String is the name of the durability in a configuration.
func (d Durability) String() string {
	if int(d) < len(durabilityNames) {
		return durabilityNames[d]
	}
	return fmt.Sprintf("durability(%d)", uint8(d))
}

// ParseDurability is the inverse of [Durability.String].
func ParseDurability(s string) (Durability, error) {
	for d, name := range durabilityNames {
		if name == s {
			return Durability(d), nil
		}
	}
	return 0, fmt.Errorf("%w: durability %q: sync, interval or none", ErrInvalid, s)
}

// Defaults of [Options].
const (
	DefaultCacheBytes     = 256 << 20
	DefaultMemtableBytes  = 64 << 20
	DefaultFreeFloorBytes = 256 << 20
	DefaultMaxSiblings    = 100
	DefaultMaxObjectBytes = 32 << 20
	DefaultSyncEvery      = 100 * time.Millisecond
)

// Bounds of [Options].MemtableBytes.
const (
	MinMemtableBytes = 64 << 10
	MaxMemtableBytes = 1 << 30
)

// memtableShare: by default a memtable is one part in so many of the cache, so
// that four of them leave half of it to blocks. Were they to fill it, every read
// of a table would read and decompress its index too.
const memtableShare = 8

// Options configure a store. Without cgo the cache lies in the Go heap: set
// GOMEMLIMIT well above its size, and leave the rest to the requests.
type Options struct {
	// Dir is the data directory; it is made if it is not there.
	Dir string
	// FS is the file system; nil is the operating system's.
	FS vfs.FS
	// Durability of puts and merges, those of hints included.
	Durability Durability
	// SyncEvery is the longest time between two syncs under [Interval].
	SyncEvery time.Duration
	// Partitions, a power of two up to [MaxPartitions], is how many the
	// cluster has. If it is given, a key that lies in another partition than
	// its Ref says is refused. 0 while it is unknown.
	Partitions int
	// CacheBytes is the memory for blocks and memtables together, and
	// MemtableBytes that of one memtable; by default it is
	// [DefaultMemtableBytes], and not more than an eighth of CacheBytes. There
	// are up to four memtables when writes come faster than they are flushed,
	// and what they take is taken from the blocks.
	CacheBytes, MemtableBytes int64
	// Limits bound what a put may bring an object to. 0 takes the default,
	// a negative number is no bound.
	Limits object.Limits
	// HintsMaxBytes bounds the hints for all targets together, and
	// HintsMaxTargetBytes those for one: the keys and values of their rows. A
	// write that would grow them beyond is refused with [ErrHintsFull]. 0 is
	// no room, so that no hint is taken; those that are there stay.
	HintsMaxBytes, HintsMaxTargetBytes int64
	// FreeFloorBytes of disk space are left free by writes. 0 takes the
	// default; a negative number is no floor, and then a full disk may end
	// the process.
	FreeFloorBytes int64
	// Rand is where actors and the store's ID come from; nil is crypto/rand.
	// It must not repeat itself over the stores of a cluster and their restarts.
	Rand io.Reader
	// Logger gets what an operator should know; nil discards it.
	Logger *slog.Logger
	// Metrics gets a collector of starling_store_*; may be nil.
	Metrics prometheus.Registerer
	// OnAmnesia is told of a partition where stored rows cannot be read any
	// more: those reads fail with [ErrCorrupt] until the partition is dropped
	// and filled again. It is told once until then, from a goroutine of the
	// store that Close waits for, so it must not call Close. May be nil.
	OnAmnesia func(partition uint32, reason error)
	// OnFatal is called when the log cannot be written: what was told to be
	// durable might not be, so nothing may go on. It is called with locks
	// held and must neither return nor unwind its goroutine. nil logs the
	// error and exits the process with status 1.
	OnFatal func(err error)
}

// withDefaults returns o with every zero field set, or what is wrong with it.
func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Dir == "":
		return o, fmt.Errorf("%w: no directory", ErrInvalid)
	case int(o.Durability) >= len(durabilityNames):
		return o, fmt.Errorf("%w: %s", ErrInvalid, o.Durability)
	case o.Partitions < 0 || o.Partitions > MaxPartitions || bits.OnesCount(uint(o.Partitions)) > 1:
		return o, fmt.Errorf("%w: %d partitions: a power of two up to %d", ErrInvalid, o.Partitions, MaxPartitions)
	case o.CacheBytes < 0 || o.MemtableBytes < 0 || o.SyncEvery < 0 || o.HintsMaxBytes < 0 || o.HintsMaxTargetBytes < 0:
		return o, fmt.Errorf("%w: negative size or time", ErrInvalid)
	case o.MemtableBytes != 0 && (o.MemtableBytes < MinMemtableBytes || o.MemtableBytes > MaxMemtableBytes):
		return o, fmt.Errorf("%w: memtable of %d bytes: %d to %d", ErrInvalid, o.MemtableBytes, MinMemtableBytes, MaxMemtableBytes)
	}
	if o.FS == nil || o.FS == vfs.Default {
		o.FS = vfs.Default
		// One directory has one name, or the lock would not hold inside a process.
		dir, err := filepath.Abs(o.Dir)
		if err != nil {
			return o, wrap("finding the directory", err)
		}
		o.Dir = dir
	}
	setDefault(&o.SyncEvery, DefaultSyncEvery)
	setDefault(&o.CacheBytes, DefaultCacheBytes)
	setDefault(&o.MemtableBytes, min(DefaultMemtableBytes, max(o.CacheBytes/memtableShare, MinMemtableBytes)))
	setDefault(&o.FreeFloorBytes, DefaultFreeFloorBytes)
	setDefault(&o.Limits.Siblings, DefaultMaxSiblings)
	setDefault(&o.Limits.Bytes, DefaultMaxObjectBytes)
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnAmnesia == nil {
		o.OnAmnesia = func(uint32, error) {}
	}
	return o, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
