package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// fakeRows has so many keys of each bucket in each partition. To delete ten of
// them takes ten milliseconds.
type fakeRows struct {
	mu   sync.Mutex
	keys map[uint32]map[string]int
	// fails are partitions that cannot be deleted from, so many times.
	fails map[uint32]int
}

func (f *fakeRows) Buckets(partition uint32) iter.Seq2[string, error] {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := slices.Sorted(maps.Keys(f.keys[partition]))
	return func(yield func(string, error) bool) {
		for _, name := range names {
			if !yield(name, nil) {
				return
			}
		}
	}
}

func (f *fakeRows) DropBucket(partition uint32, stored string, each func(keys int) error) error {
	for f.left(partition, stored) > 0 {
		time.Sleep(10 * time.Millisecond)
		f.mu.Lock()
		if f.fails[partition] > 0 {
			f.fails[partition]--
			f.mu.Unlock()
			return errors.New("damaged")
		}
		n := min(10, f.keys[partition][stored])
		if f.keys[partition][stored] -= n; f.keys[partition][stored] == 0 {
			delete(f.keys[partition], stored)
		}
		f.mu.Unlock()
		if err := each(n); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeRows) left(partition uint32, stored string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.keys[partition][stored]
}

func newSweeper(t *testing.T, rows *fakeRows, pressure *float64) *sweeper {
	t.Helper()
	s := &sweeper{rows: rows, gone: func(name string) bool { return strings.HasPrefix(name, "gone") },
		partitions: func() int { return 4 }, pressure: func() float64 { return *pressure }, log: slog.New(slog.DiscardHandler)}
	if err := s.register(prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs a sweeper until the test ends.
func (s *sweeper) running(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestSweeperDeletesWhatIsGone(t *testing.T) {
	for pressure, rest := range map[float64]time.Duration{
		0:   0,
		0.1: 30 * time.Millisecond,  // at work a quarter of the time
		1:   490 * time.Millisecond, // one part in fifty
	} {
		t.Run(fmt.Sprint(pressure), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rows := &fakeRows{keys: map[uint32]map[string]int{0: {"gone": 25, "kept": 7}, 2: {"gone": 30, "gone~1": 40}, 3: {"kept": 1}}}
				s := newSweeper(t, rows, &pressure)
				s.running(t)
				start := time.Now()
				s.Kick()
				synctest.Wait()
				if n := testutil.ToFloat64(s.left); n != 2 {
					t.Errorf("%v partitions are to be swept, want 2", n)
				}
				for rows.left(2, "gone~1") > 0 {
					time.Sleep(time.Millisecond)
				}
				const batches = 10
				if took, want := time.Since(start), batches*10*time.Millisecond+(batches-1)*rest; took < want || took > want+2*time.Millisecond {
					t.Errorf("it took %v, want %v", took, want)
				}
				time.Sleep(time.Second) // the last rest
				synctest.Wait()
				if want := (map[uint32]map[string]int{0: {"kept": 7}, 2: {}, 3: {"kept": 1}}); !maps.EqualFunc(rows.keys, want, maps.Equal[map[string]int]) {
					t.Errorf("left is %v", rows.keys)
				}
				if n := testutil.ToFloat64(s.dropped); n != 95 {
					t.Errorf("%v keys counted, want 95", n)
				}
				if n := testutil.ToFloat64(s.left); n != 0 {
					t.Errorf("%v partitions are left", n)
				}
			})
		})
	}
}

// What cannot be deleted is tried again, and a kick during a sweep is not lost.
func TestSweeperTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := &fakeRows{keys: map[uint32]map[string]int{1: {"gone": 5}, 3: {"gone": 5}}, fails: map[uint32]int{1: 2}}
		idle := 0.0
		s := newSweeper(t, rows, &idle)
		s.running(t)
		s.Kick()
		time.Sleep(time.Second)
		synctest.Wait()
		if rows.left(3, "gone") != 0 || rows.left(1, "gone") != 5 || testutil.ToFloat64(s.left) != 1 {
			t.Errorf("after a failure: %v, %v partitions left", rows.keys, testutil.ToFloat64(s.left))
		}
		time.Sleep(2 * sweepAgain)
		synctest.Wait()
		if rows.left(1, "gone") != 0 || testutil.ToFloat64(s.left) != 0 {
			t.Errorf("then: %v, %v partitions left", rows.keys, testutil.ToFloat64(s.left))
		}
		rows.mu.Lock()
		rows.keys[0] = map[string]int{"gone": 10}
		rows.keys[1] = map[string]int{"gone": 10}
		rows.mu.Unlock()
		s.Kick()
		time.Sleep(5 * time.Millisecond) // in the midst of it
		rows.mu.Lock()
		rows.keys[0]["gone~1"] = 10
		rows.mu.Unlock()
		s.Kick()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(rows.keys[0])+len(rows.keys[1]) != 0 {
			t.Errorf("a bucket that was dropped during a sweep is there: %v", rows.keys)
		}
	})
}
