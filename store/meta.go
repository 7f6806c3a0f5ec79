package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// formatVersion is the version of the key space and of the records below.
const formatVersion = 1

// The store's own records, under 'x' 's'. Numbers are big end first.
const (
	metaFormat   = "format"   // 4 bytes: formatVersion
	metaID       = "id"       // 16 bytes
	metaCluster  = "cluster"  // 16 bytes, once it is known
	metaBoot     = "boot"     // 8 bytes: how often the store was opened
	metaSequence = "sequence" // 8 bytes: no sequence from here on was given out
	metaClean    = "clean"    // 8 bytes: the boot that stopped cleanly; gone while open
	metaActors   = "actors"   // the actors that a clean stop kept; gone while open
)

// Bounds of the records that [Store.SaveMeta] takes.
const (
	MaxMetaNameBytes = 64
	MaxMetaBytes     = 32 << 20
)

// Identity says which store this is and how it was left.
type Identity struct {
	// ID is the UUID that was minted when the store was created.
	ID [16]byte
	// Boot counts how often the store was opened, from 1. It is on disk.
	Boot uint64
	// Cluster is the cluster that the store belongs to, zero for none yet.
	Cluster [16]byte
	// Clean tells whether the last stop was clean. That of a new store is not.
	Clean bool
	// Created tells whether this is the first boot.
	Created bool
}

// Identity says which store this is.
func (s *Store) Identity() Identity {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	return s.identity
}

// SetCluster makes the store a part of a cluster for ever. It is durable when
// SetCluster returns. Another cluster than before is refused with
// [ErrClusterSet], as is the zero ID with [ErrInvalid].
func (s *Store) SetCluster(id [16]byte) error {
	if !s.gate.enter() {
		return ErrClosed
	}
	defer s.gate.leave()
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	switch s.identity.Cluster {
	case id:
		if id == ([16]byte{}) {
			return fmt.Errorf("%w: zero cluster ID", ErrInvalid)
		}
		return nil
	case [16]byte{}:
	default:
		return fmt.Errorf("%w: %x, not %x", ErrClusterSet, s.identity.Cluster, id)
	}
	if err := s.stuck(); err != nil {
		return err
	}
	b := s.db.NewBatch()
	setMeta(b, metaCluster, id[:])
	s.saveRows(b)
	s.identity.Cluster = id
	return nil
}

// SaveMeta stores a record under a name of 1 to [MaxMetaNameBytes] bytes, on
// disk when it returns. It is for the state of other parts of a node, such as
// the cluster map, and works on a disk that is full for puts, as long as the
// engine has memory to take it: [ErrDiskFull] if not.
func (s *Store) SaveMeta(name string, b []byte) error {
	if name == "" || len(name) > MaxMetaNameBytes || len(b) > MaxMetaBytes {
		return fmt.Errorf("%w: record of %d bytes under a name of %d", ErrInvalid, len(b), len(name))
	}
	if !s.gate.enter() {
		return ErrClosed
	}
	defer s.gate.leave()
	if err := s.stuck(); err != nil {
		return err
	}
	batch := s.db.NewBatch()
	_ = batch.Set(metaKey(scopeUser, name), b, nil) // fails for indexed batches alone
	s.saveRows(batch)
	return nil
}

// LoadMeta reads the record under a name, nil if there is none.
func (s *Store) LoadMeta(name string) ([]byte, error) {
	if !s.gate.enter() {
		return nil, ErrClosed
	}
	defer s.gate.leave()
	return s.meta(scopeUser, name)
}

// meta reads one record, nil if there is none.
func (s *Store) meta(scope byte, name string) ([]byte, error) {
	b, closer, err := s.db.Get(metaKey(scope, name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("reading record "+name, err)
	}
	b = append([]byte{}, b...)
	return b, wrap("reading record "+name, closer.Close())
}

// fixedMeta reads one of the store's own records that has a fixed size, nil if
// there is none.
func (s *Store) fixedMeta(name string, size int) ([]byte, error) {
	b, err := s.meta(scopeStore, name)
	if err == nil && b != nil && len(b) != size {
		err = fmt.Errorf("%w: record %s of %d bytes", ErrCorrupt, name, len(b))
	}
	return b, err
}

func setMeta(b *pebble.Batch, name string, value []byte) {
	_ = b.Set(metaKey(scopeStore, name), value, nil) // fails for indexed batches alone
}

func setMetaNumber(b *pebble.Batch, name string, n uint64) {
	setMeta(b, name, binary.BigEndian.AppendUint64(nil, n))
}

func deleteMeta(b *pebble.Batch, name string) {
	_ = b.Delete(metaKey(scopeStore, name), nil) // fails for indexed batches alone
}

// known reports whether the directory holds a store. It refuses one that
// another version or another program made.
func (s *Store) known() (bool, error) {
	b, err := s.fixedMeta(metaFormat, 4)
	if err != nil {
		return false, err
	}
	if b != nil {
		if v := binary.BigEndian.Uint32(b); v != formatVersion {
			return false, fmt.Errorf("%w: %s has version %d, this program knows %d", ErrFormat, s.opts.Dir, v, formatVersion)
		}
		return true, nil
	}
	it, err := s.db.NewIter(nil)
	if err != nil {
		return false, wrap("looking for rows", err)
	}
	foreign := it.First()
	if err := it.Close(); err != nil {
		return false, wrap("looking for rows", err)
	}
	if foreign {
		return false, fmt.Errorf("%w: %s holds a database that is not a store", ErrFormat, s.opts.Dir)
	}
	return false, nil
}

// create writes the records of a new store.
func (s *Store) create() error {
	var id [16]byte
	if _, err := io.ReadFull(s.opts.Rand, id[:]); err != nil {
		return fmt.Errorf("store: drawing an ID: %w", err)
	}
	id[6] = id[6]&0x0f | 0x40 // a random UUID, RFC 9562
	id[8] = id[8]&0x3f | 0x80
	b := s.db.NewBatch()
	setMeta(b, metaFormat, binary.BigEndian.AppendUint32(nil, formatVersion))
	setMeta(b, metaID, id[:])
	setMetaNumber(b, metaBoot, 0)
	setMetaNumber(b, metaSequence, 1)
	s.saveRows(b)
	return nil
}

// boot reads the store's records and the totals of its hints, and begins a new
// boot, all in one durable step: the counter is raised, the clean mark and the
// kept actors are removed, and the sequences that might have been given out are
// left behind.
func (s *Store) boot() error {
	id, err1 := s.fixedMeta(metaID, 16)
	cluster, err2 := s.fixedMeta(metaCluster, 16)
	boot, err3 := s.fixedMeta(metaBoot, 8)
	sequence, err4 := s.fixedMeta(metaSequence, 8)
	clean, err5 := s.fixedMeta(metaClean, 8)
	kept, err6 := s.meta(scopeStore, metaActors)
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return err
	}
	if id == nil || boot == nil || sequence == nil {
		return fmt.Errorf("%w: identity of the store", ErrCorrupt)
	}
	last := binary.BigEndian.Uint64(boot)
	s.identity = Identity{ID: [16]byte(id), Boot: last + 1, Created: last == 0}
	if cluster != nil {
		s.identity.Cluster = [16]byte(cluster)
	}
	if clean != nil && binary.BigEndian.Uint64(clean) == last {
		s.identity.Clean = true
		if err := s.actors.inherit(kept); err != nil {
			return err
		}
	}
	s.actors.next = binary.BigEndian.Uint64(sequence)
	s.actors.limit = s.actors.next + sequenceBlock
	b := s.db.NewBatch()
	if err := s.loadHints(b); err != nil {
		return errors.Join(err, b.Close())
	}
	setMetaNumber(b, metaBoot, s.identity.Boot)
	setMetaNumber(b, metaSequence, s.actors.limit)
	deleteMeta(b, metaClean)
	deleteMeta(b, metaActors)
	s.saveRows(b)
	return nil
}

// reserve makes durable that sequences below next are spent.
func (s *Store) reserve(next uint64) {
	b := s.db.NewBatch()
	setMetaNumber(b, metaSequence, next)
	s.saveRows(b)
}

// markClean makes durable that the store stopped as it should, with the actors
// that the next boot may go on with.
func (s *Store) markClean() {
	b := s.db.NewBatch()
	setMetaNumber(b, metaClean, s.identity.Boot)
	setMeta(b, metaActors, s.actors.encode())
	s.saveRows(b)
}
