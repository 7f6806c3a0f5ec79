package node

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/coordinator/pace"
)

// Pace of the deletion of dropped buckets. Between two batches it rests, while
// there are requests of clients, so that it works for sweepShare of the time and
// no less than leastSweepShare at the highest pressure.
const (
	sweepShare, leastSweepShare = 0.25, 0.02
	maxSweepRest                = time.Second
	// sweepAgain is the pause before keys that could not be deleted are tried
	// again.
	sweepAgain = 10 * time.Second
)

// bucketRows is what a sweeper needs of the store.
type bucketRows interface {
	// Buckets ranges over the stored names of the buckets with keys in a partition.
	Buckets(partition uint32) iter.Seq2[string, error]
	// DropBucket deletes the keys of one, batch by batch, and calls each after
	// every batch.
	DropBucket(partition uint32, stored string, each func(keys int) error) error
}

// sweeper deletes the keys of buckets that were dropped. None of them comes to be
// any more once gone says so of their bucket: the coordinator's gate sees to
// that. So a look through all partitions after each change of the buckets, and
// one at the start, for a node that stopped in the middle, finds all.
type sweeper struct {
	rows       bucketRows
	gone       func(stored string) bool
	partitions func() int
	pressure   func() float64
	log        *slog.Logger

	kicks   chan struct{}
	dropped prometheus.Counter
	left    prometheus.Gauge
}

// register makes the metrics of a sweeper whose other fields are set.
func (s *sweeper) register(reg prometheus.Registerer) error {
	s.kicks = make(chan struct{}, 1)
	s.dropped = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "starling_bucket_rows_dropped_total", Help: "Keys of dropped buckets that were deleted from the store.",
	})
	s.left = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "starling_bucket_drop_partitions", Help: "Partitions that have keys of dropped buckets yet.",
	})
	return errors.Join(reg.Register(s.dropped), reg.Register(s.left))
}

// Kick has the partitions looked through, again if that is under way.
func (s *sweeper) Kick() {
	select {
	case s.kicks <- struct{}{}:
	default:
	}
}

// Run deletes what is to be deleted until ctx ends.
func (s *sweeper) Run(ctx context.Context) error {
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.kicks:
		case <-again:
		}
		again = nil
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("keys of dropped buckets are not deleted yet", "err", err)
			again = time.After(sweepAgain)
		}
	}
}

// sweep looks through all partitions, then deletes what it found.
func (s *sweeper) sweep(ctx context.Context) error {
	var found []uint32
	var errs []error
	for p := range uint32(s.partitions()) {
		start := time.Now()
		names, err := s.goneIn(p)
		if errs = append(errs, err); len(names) > 0 {
			found = append(found, p)
		}
		if err := s.rest(ctx, time.Since(start)); err != nil {
			return err
		}
	}
	s.left.Set(float64(len(found)))
	start, keys := time.Now(), 0
	for _, p := range found {
		n, err := s.drop(ctx, p)
		keys += n
		if errs = append(errs, err); err == nil {
			s.left.Dec()
		}
	}
	if keys > 0 {
		s.log.Info("deleted the keys of dropped buckets", "keys", keys, "partitions", len(found), "took", time.Since(start))
	}
	return errors.Join(errs...)
}

// goneIn lists the buckets that are gone and have keys in a partition.
func (s *sweeper) goneIn(partition uint32) (names []string, err error) {
	for name, err := range s.rows.Buckets(partition) {
		if err != nil {
			return names, err
		}
		if s.gone(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// drop deletes the keys of the buckets that are gone in a partition.
func (s *sweeper) drop(ctx context.Context, partition uint32) (keys int, err error) {
	names, err := s.goneIn(partition)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		start := time.Now()
		err := s.rows.DropBucket(partition, name, func(n int) error {
			keys += n
			s.dropped.Add(float64(n))
			err := s.rest(ctx, time.Since(start))
			start = time.Now()
			return err
		})
		if err != nil {
			return keys, err
		}
	}
	return keys, nil
}

// rest pauses after work that took so long. It returns the error of ctx.
func (s *sweeper) rest(ctx context.Context, worked time.Duration) error {
	pause := sweepRest(worked, s.pressure())
	if pause <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sweepRest is the pause after work that took so long, under a pressure from 0,
// no requests of clients, to 1.
func sweepRest(worked time.Duration, pressure float64) time.Duration {
	if pressure <= 0 {
		return 0
	}
	f := pace.Yielding(pressure)
	share := max(sweepShare*f*f, leastSweepShare)
	return min(time.Duration(float64(worked)*(1/share-1)), maxSweepRest)
}
