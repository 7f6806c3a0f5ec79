package store

import "github.com/cockroachdb/pebble/v2"

// DropPartition removes all that the store holds of a partition, on disk when
// it returns. The partition's next put takes a new actor, and retries of puts
// that are gone are new puts. Hints for keys of the partition stay: they are
// other nodes', and may be the only copy of a write. The disk space comes back
// in the background. Like [Store.SaveMeta] it works on most full disks.
func (s *Store) DropPartition(partition uint32) error {
	if err := checkPartitionNumber(partition); err != nil {
		return err
	}
	if !s.gate.enter() {
		return ErrClosed
	}
	defer s.gate.leave()
	if err := s.stuck(); err != nil {
		return err
	}
	for i := range s.stripes {
		s.stripes[i].mu.Lock()
		defer s.stripes[i].mu.Unlock()
	}
	b := s.db.NewBatch()
	for _, kind := range partitionKinds {
		start, end := partitionRange(kind, partition)
		_ = b.DeleteRange(start, end, nil) // fails for indexed batches alone
	}
	s.saveRows(b)
	s.states.of(partition).dropped()
	s.actors.drop(partition)
	s.losses.forget(partition)
	return nil
}

// Checkpoint writes a copy of the store, as it is now, to a directory that
// must not exist, on the same file system. The copy shares files with the
// store where it can. A store opened from it has the same ID, is no clean
// stop, and so takes new actors.
func (s *Store) Checkpoint(dir string) error {
	if !s.gate.enter() {
		return ErrClosed
	}
	defer s.gate.leave()
	return wrap("writing a checkpoint", s.db.Checkpoint(dir, pebble.WithFlushedWAL()))
}
