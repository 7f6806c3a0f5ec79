package store

import (
	"math"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/store/object"
	"starling/store/version"
)

// scrape reads all metrics by name, those of one name summed; that of a histogram is its count.
func scrape(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch {
			case m.GetHistogram() != nil:
				h := m.GetHistogram()
				out[f.GetName()] = float64(h.GetSampleCount())
				if mean := h.GetSampleSum() / float64(h.GetSampleCount()); mean > 10 {
					t.Errorf("%s has a mean of %v seconds", f.GetName(), mean)
				}
			default:
				out[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return out
}

func TestMetrics(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 41})
	r := prometheus.NewPedanticRegistry()
	o := small(fs)
	o.Metrics, o.CacheBytes = r, 64<<20
	o.HintsMaxBytes, o.HintsMaxTargetBytes = 1000, 1000
	s := mustOpen(t, o)
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	before := scrape(t, r)
	for p := range uint32(3) {
		for range 2 {
			w, err := s.Put(testRef(p, "k"), version.Context{}, object.Sibling{Value: []byte("v"), Op: op(1)})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 3 {
		mustMergeHint(t, s, hintName{testTarget(1), testRef(1, key(i))}, foreign(7, 1, "v"))
	}
	mustDropHint(t, s, hintName{testTarget(1), testRef(1, key(0))}, foreign(7, 1, "v"))
	_, err := s.MergeHint(testTarget(1), testRef(1, "k"), foreign(7, 1, strings.Repeat("v", 1000)))
	wantError(t, err, ErrHintsFull)
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	mustGet(t, s, testRef(1, "k"))
	mustGet(t, s, testRef(1, "k"))
	s.counts.stallBegins()
	s.space.note(ErrDiskFull)
	now := scrape(t, r)
	change := func(name string) float64 { return now["starling_store_"+name] - before["starling_store_"+name] }
	for name, want := range map[string]float64{
		"actors_minted_total": 3, "retries_answered_total": 3, "flushes_total": 1, "disk_full": 1, "write_stalls_total": 1,
		"hints_stored_total": 3, "hints_deleted_total": 1, "hints_refused_total": 1, "hints": 2, "hint_bytes": float64(s.HintTotals()[0].Bytes),
		"corruption_events_total": 0, "background_errors_total": 0, "disk_free_bytes": 0,
	} {
		if got := change(name); got != want {
			t.Errorf("%s changed by %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"wal_bytes_total", "wal_fsyncs_total", "wal_fsync_seconds", "sync_wait_seconds", "flushed_bytes_total", "block_cache_hits_total", "block_cache_misses_total", "write_stall_seconds_total", "l0_files", "l0_sublevels"} {
		if change(name) <= 0 {
			t.Errorf("%s did not rise: %v", name, now["starling_store_"+name])
		}
	}
	for _, name := range []string{"memtable_bytes", "memtables", "disk_used_bytes", "block_cache_bytes", "wal_files", "wal_size_bytes", "level_files", "level_bytes"} {
		if now["starling_store_"+name] <= 0 {
			t.Errorf("%s is %v", name, now["starling_store_"+name])
		}
	}
	for name, want := range map[string]float64{
		"disk_free_bytes": 1 << 40, "disk_total_bytes": 1 << 41, "disk_floor_bytes": float64(s.space.floor),
		"hints_limit_bytes": 1000, "block_cache_limit_bytes": 64 << 20,
	} {
		if got := now["starling_store_"+name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for name, v := range now {
		if !strings.HasPrefix(name, "starling_store_") || math.IsNaN(v) {
			t.Errorf("metric %s is %v", name, v)
		}
	}
	if others := 4; len(now) != len(metricList)+others { // histograms, and those of the levels
		t.Errorf("%d metrics, want %d", len(now), len(metricList)+others)
	}
	// Two stores in one registry need labels to tell them apart.
	o.FS = vfs.NewMem()
	if second, err := Open(o); err == nil {
		t.Error("the metrics of two stores got mixed up")
		mustClose(t, second)
	}
	shared := prometheus.NewPedanticRegistry()
	for _, node := range []string{"n1", "n2"} {
		o.FS, o.Metrics = vfs.NewMem(), prometheus.WrapRegistererWith(prometheus.Labels{"node": node}, shared)
		openFor(t, o)
	}
	scrape(t, shared)
	s.counts.stallEnds()
	s.counts.stallEnds()
	mustClose(t, s)
	if left := scrape(t, r); len(left) != 0 {
		t.Errorf("a closed store still has %v", left)
	}
	o.FS, o.Metrics = fs, r
	openFor(t, o) // and its place is free
}
