package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"starling/store/object"
)

// partitionState is what a store keeps in memory of one partition.
type partitionState struct {
	mu      sync.Mutex
	writing int // batches that may be readable and are not yet in the numbers below
	// sum is the partition's root once it is known. Until then it is what the
	// leaves have changed by since the store was opened.
	sum        Leaf
	known      bool
	hintWrites uint64 // see HintWrites
}

// begin announces a batch with rows of the partition. end must follow.
func (p *partitionState) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writing++
}

// end says that the announced batch can be read: what it changed the leaves by,
// and how many hints it wrote.
func (p *partitionState) end(change Leaf, hintWrites uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writing--
	p.sum = p.sum.plus(change)
	p.hintWrites += hintWrites
}

// dropped says that the partition's rows are gone. No batch may be announced.
func (p *partitionState) dropped() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum, p.known = Leaf{}, true
}

// statePage is how many partitions' states are made at a time, so that a store
// of few partitions needs few.
const statePage = 256

// partitionStates finds the state of a partition without a lock.
type partitionStates struct {
	pages [MaxPartitions / statePage]atomic.Pointer[[statePage]partitionState]
}

// of gives the state of a partition below MaxPartitions.
func (p *partitionStates) of(partition uint32) *partitionState {
	page := &p.pages[partition/statePage]
	if page.Load() == nil {
		page.CompareAndSwap(nil, new([statePage]partitionState))
	}
	return &page.Load()[partition%statePage]
}

// Root is the sum of a partition's leaves. It is added up once, and then follows
// every write. It has every write that returned before Root was called, a purge
// and a drop included; one that is under way it has wholly or not at all. The
// errors are [ErrInvalid], [ErrCorrupt] and [ErrClosed].
func (s *Store) Root(partition uint32) (Leaf, error) {
	if err := checkPartitionNumber(partition); err != nil {
		return Leaf{}, err
	}
	if !s.gate.enter() {
		return Leaf{}, ErrClosed
	}
	defer s.gate.leave()
	p := s.states.of(partition)
	p.mu.Lock()
	if p.known {
		defer p.mu.Unlock()
		return p.sum, nil
	}
	// While no batch is announced, what can be read and what was told of are
	// the same writes, so the sum over the leaves as they are now stands for
	// the changes up to here, and those that come later can be added to it.
	start, end := partitionRange(kindLeaf, partition)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	exact, changed := p.writing == 0, p.sum
	p.mu.Unlock()
	var root Leaf
	if err == nil {
		err = visitAll(it, leafVisitor(func(_ int, l Leaf) { root = root.plus(l) }))
	}
	if err != nil {
		return Leaf{}, s.failed("adding up leaves", partition, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if exact && !p.known {
		p.sum, p.known = p.sum.plus(root).minus(changed), true
	}
	return root, nil
}

// LeafOf gives the number of the Merkle leaf that a key lies in, and the leaf.
// The errors are those of [Store.Get].
func (s *Store) LeafOf(ref object.Ref) (leaf int, l Leaf, err error) {
	if !s.gate.enter() {
		return 0, Leaf{}, ErrClosed
	}
	defer s.gate.leave()
	hash := nameHash(appendDataKey(nil, ref))
	if err := s.checkRef(ref, hash); err != nil {
		return 0, Leaf{}, err
	}
	leaf = int(leafOf(hash))
	l, err = s.readLeaf(appendLeafKey(nil, ref.Partition, leafOf(hash)))
	return leaf, l, s.lost(ref.Partition, err)
}

// readLeaf reads one row that has the form of a leaf. One that is not there is
// zero.
func (s *Store) readLeaf(key []byte) (Leaf, error) {
	b, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return Leaf{}, nil
	}
	if err != nil {
		return Leaf{}, wrap("reading a leaf", err)
	}
	l, err := decodeLeaf(b)
	return l, errors.Join(err, wrap("reading a leaf", closer.Close()))
}

// checkPartitionNumber refuses what is no number of a partition.
func checkPartitionNumber(partition uint32) error {
	if partition >= MaxPartitions {
		return fmt.Errorf("%w: partition %d", ErrInvalid, partition)
	}
	return nil
}
