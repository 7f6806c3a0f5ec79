package store

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// counts are the store's own counters since it was opened.
type counts struct {
	actors, retries, corruptions, backgroundErrors, slowDisk atomic.Uint64
	hintsStored, hintsRefused, hintsDeleted                  atomic.Uint64
	purged, pruned                                           atomic.Uint64

	mu         sync.Mutex
	stalls     uint64
	stalled    time.Duration
	stallSince time.Time // zero while writes flow
}

func (c *counts) stallBegins() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalls++
	c.stallSince = time.Now()
}

func (c *counts) stallEnds() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stallSince.IsZero() {
		c.stalled += time.Since(c.stallSince)
		c.stallSince = time.Time{}
	}
}

// stalling reports whether writes are held up now.
func (c *counts) stalling() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.stallSince.IsZero()
}

// stallTotals gives the number of stalls and their time, the one now included.
func (c *counts) stallTotals() (n uint64, total time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	total = c.stalled
	if !c.stallSince.IsZero() {
		total += time.Since(c.stallSince)
	}
	return c.stalls, total
}

// sample is what a scrape sees.
type sample struct {
	*pebble.Metrics
	store      *Store
	levels     pebble.LevelMetrics // all of them together
	hints      hintTotals
	purge      purgeCounts
	stalls     uint64
	stallTime  time.Duration
	diskFull   float64
	freeBytes  float64
	totalBytes float64
	fsyncCount float64
}

// metric is one value of a sample under its name.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	get  func(sample) float64
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("starling_store_"+name, help, labels, nil)
}

func counter(name, help string, get func(sample) float64) metric {
	return metric{describe(name, help), prometheus.CounterValue, get}
}

func gauge(name, help string, get func(sample) float64) metric {
	return metric{describe(name, help), prometheus.GaugeValue, get}
}

func load(c *atomic.Uint64) float64 { return float64(c.Load()) }

var metricList = []metric{
	counter("wal_bytes_total", "Bytes written to the write-ahead log.", func(s sample) float64 { return float64(s.WAL.BytesWritten) }),
	counter("wal_fsyncs_total", "Syncs of the write-ahead log.", func(s sample) float64 { return s.fsyncCount }),
	gauge("wal_files", "Files of the write-ahead log that are needed yet.", func(s sample) float64 { return float64(s.WAL.Files) }),
	gauge("wal_size_bytes", "Disk space of the write-ahead log.", func(s sample) float64 { return float64(s.WAL.PhysicalSize + s.WAL.ObsoletePhysicalSize) }),
	counter("write_stalls_total", "Times that writes were held up by memtables or level 0.", func(s sample) float64 { return float64(s.stalls) }),
	counter("write_stall_seconds_total", "Time that writes were held up.", func(s sample) float64 { return s.stallTime.Seconds() }),
	counter("block_cache_hits_total", "Blocks found in the cache.", func(s sample) float64 { return float64(s.BlockCache.Hits) }),
	counter("block_cache_misses_total", "Blocks read from disk.", func(s sample) float64 { return float64(s.BlockCache.Misses) }),
	counter("file_cache_hits_total", "Tables found open.", func(s sample) float64 { return float64(s.FileCache.Hits) }),
	counter("file_cache_misses_total", "Tables that were opened.", func(s sample) float64 { return float64(s.FileCache.Misses) }),
	gauge("open_files", "Tables that are kept open.", func(s sample) float64 { return float64(s.FileCache.TableCount) }),
	gauge("open_iterators", "Iterators over tables that are open now.", func(s sample) float64 { return float64(s.TableIters) }),
	counter("flushed_bytes_total", "Bytes of tables written out from memtables.", func(s sample) float64 { return float64(s.levels.TableBytesFlushed) }),
	counter("flushes_total", "Memtables written out.", func(s sample) float64 { return float64(s.Flush.Count) }),
	counter("compactions_total", "Compactions.", func(s sample) float64 { return float64(s.Compact.Count) }),
	counter("compaction_seconds_total", "Time that compactions took, of all together.", func(s sample) float64 { return s.Compact.Duration.Seconds() }),
	counter("compaction_read_bytes_total", "Bytes of tables that compactions read.", func(s sample) float64 { return float64(s.levels.TableBytesRead) }),
	counter("compaction_written_bytes_total", "Bytes of tables that compactions wrote.", func(s sample) float64 { return float64(s.levels.TableBytesCompacted) }),
	gauge("compactions_running", "Compactions under way.", func(s sample) float64 { return float64(s.Compact.NumInProgress) }),
	counter("background_errors_total", "Flushes and compactions that failed.", func(s sample) float64 { return load(&s.store.counts.backgroundErrors) }),
	counter("slow_disk_total", "Disk operations that hung for seconds.", func(s sample) float64 { return load(&s.store.counts.slowDisk) }),
	counter("corruption_events_total", "Damaged blocks or files that the engine met.", func(s sample) float64 { return load(&s.store.counts.corruptions) }),
	counter("actors_minted_total", "New actors: one for a partition's first put, more after unclean starts and losses, and one for each hint that coordinates puts.", func(s sample) float64 { return load(&s.store.counts.actors) }),
	counter("retries_answered_total", "Puts that were stored already, here or at another replica, and got the same dot.", func(s sample) float64 { return load(&s.store.counts.retries) }),
	counter("hints_stored_total", "Writes that were kept as hints for other nodes.", func(s sample) float64 { return load(&s.store.counts.hintsStored) }),
	counter("hints_refused_total", "Writes of hints that were refused for want of room.", func(s sample) float64 { return load(&s.store.counts.hintsRefused) }),
	counter("hints_deleted_total", "Hints that were deleted, which is after their delivery.", func(s sample) float64 { return load(&s.store.counts.hintsDeleted) }),
	gauge("hints", "Hints that wait for other nodes.", func(s sample) float64 { return float64(s.hints.hints) }),
	gauge("hint_bytes", "Keys and values of the hints.", func(s sample) float64 { return float64(s.hints.bytes) }),
	counter("purged_total", "Keys that were purged.", func(s sample) float64 { return load(&s.store.counts.purged) }),
	counter("pruned_total", "Objects whose vectors lost entries of retired actors.", func(s sample) float64 { return load(&s.store.counts.pruned) }),
	gauge("tombstones", "Keys that hold tombstones alone; -1: not known.", func(s sample) float64 { return float64(s.purge.tombstones) }),
	gauge("purge_candidates", "Keys that hold nothing that lives for ever, or whose vectors have many entries; -1: not known.", func(s sample) float64 { return float64(s.purge.candidates) }),
	gauge("hints_limit_bytes", "Most bytes that hints may have; beyond it writes that need another are refused.", func(s sample) float64 { return float64(s.store.opts.HintsMaxBytes) }),
	gauge("block_cache_limit_bytes", "Memory that the block cache and the memtables may have together.", func(s sample) float64 { return float64(s.store.opts.CacheBytes) }),
	gauge("block_cache_bytes", "Size of the cached blocks.", func(s sample) float64 { return float64(s.BlockCache.Size) }),
	gauge("memtable_bytes", "Memory of the memtables.", func(s sample) float64 { return float64(s.MemTable.Size) }),
	gauge("memtables", "Memtables, those that wait to be written out included.", func(s sample) float64 { return float64(s.MemTable.Count) }),
	gauge("compaction_debt_bytes", "Bytes that wait to be compacted.", func(s sample) float64 { return float64(s.Compact.EstimatedDebt) }),
	gauge("l0_files", "Tables in level 0.", func(s sample) float64 { return float64(s.Levels[0].TablesCount) }),
	gauge("l0_sublevels", "Tables of level 0 that a read may visit.", func(s sample) float64 { return float64(s.Levels[0].Sublevels) }),
	gauge("disk_used_bytes", "Disk space that the store uses.", func(s sample) float64 { return float64(s.DiskSpaceUsage()) }),
	gauge("disk_free_bytes", "Free disk space as last measured; -1: not known.", func(s sample) float64 { return s.freeBytes }),
	gauge("disk_total_bytes", "Size of the disk as last measured; -1: not known.", func(s sample) float64 { return s.totalBytes }),
	gauge("disk_floor_bytes", "Free disk space below which writes are refused.", func(s sample) float64 { return float64(s.store.space.floor) }),
	gauge("read_amplification", "Tables that a read of an absent key may visit.", func(s sample) float64 { return float64(s.ReadAmp()) }),
	gauge("disk_full", "1 while writes are refused for want of space.", func(s sample) float64 { return s.diskFull }),
}

var (
	fsyncDesc = describe("wal_fsync_seconds", "Time of the syncs of the write-ahead log, each for all the writes before it.")

	levelFilesDesc = describe("level_files", "Tables of a level.", "level")
	levelBytesDesc = describe("level_bytes", "Bytes of the tables of a level.", "level")
)

// newSyncWaits makes the histogram of what durability costs a write.
func newSyncWaits() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "starling_store_sync_wait_seconds",
		Help:                        "Time that a write waited to be on disk after it was applied, those that other writes' syncs covered included.",
		Buckets:                     prometheus.ExponentialBuckets(0.0001, 2, 16),
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour})
}

// collector gives the metrics of one store.
type collector struct{ s *Store }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	out <- fsyncDesc
	out <- levelFilesDesc
	out <- levelBytesDesc
	c.s.syncWaits.Describe(out)
	for _, m := range metricList {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector. A closed store has no metrics.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.s
	if !s.gate.enter() {
		return
	}
	defer s.gate.leave()
	v := sample{Metrics: s.db.Metrics(), store: s, hints: s.hints.total(),
		freeBytes: float64(s.space.avail.Load()), totalBytes: float64(s.space.total.Load())}
	v.levels = v.Total()
	v.stalls, v.stallTime = s.counts.stallTotals()
	var err error
	if v.purge, err = s.purgeCounts(); err != nil {
		v.purge = purgeCounts{-1, -1} // who asks for the rows themselves gets the error
	}
	if s.space.full.Load() {
		v.diskFull = 1
	}
	if count, h, err := fsyncHistogram(v.LogWriter.FsyncLatency); err == nil {
		v.fsyncCount = float64(count)
		out <- h
	}
	s.syncWaits.Collect(out)
	for i := range v.Levels {
		level, l := strconv.Itoa(i), &v.Levels[i]
		out <- prometheus.MustNewConstMetric(levelFilesDesc, prometheus.GaugeValue, float64(l.TablesCount), level)
		out <- prometheus.MustNewConstMetric(levelBytesDesc, prometheus.GaugeValue, float64(l.TablesSize), level)
	}
	for _, m := range metricList {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.get(v))
	}
}

// fsyncHistogram turns the engine's histogram, in nanoseconds and a hundred
// buckets, into one in seconds and a tenth of the buckets.
func fsyncHistogram(h prometheus.Histogram) (uint64, prometheus.Metric, error) {
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		return 0, nil, err
	}
	from := m.GetHistogram()
	buckets := make(map[float64]uint64)
	bound := 100e3 // nanoseconds
	for _, b := range from.GetBucket() {
		if b.GetUpperBound() >= bound {
			buckets[b.GetUpperBound()/1e9] = b.GetCumulativeCount()
			bound = 1.9 * b.GetUpperBound()
		}
	}
	count := from.GetSampleCount()
	c, err := prometheus.NewConstHistogram(fsyncDesc, count, from.GetSampleSum()/1e9, buckets)
	return count, c, err
}

func (s *Store) registerMetrics() error {
	if s.opts.Metrics == nil {
		return nil
	}
	return s.opts.Metrics.Register(collector{s})
}

func (s *Store) unregisterMetrics() {
	if s.opts.Metrics != nil {
		s.opts.Metrics.Unregister(collector{s})
	}
}
