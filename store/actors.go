package store

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"sync"

	"starling/store/version"
)

// sequenceBlock is how many sequences are reserved by one synced write.
const sequenceBlock = 1 << 16

// Bounds of the rows of which a store remembers the dot that was minted last.
const (
	maxHintActors = 1 << 16
	maxReaped     = 1 << 16
)

// tenancy is the use of one partition under one actor.
type tenancy struct {
	actor version.Actor
	// inherited marks an actor that a clean stop kept. It must not mint
	// before the store was vouched for: the directory could be an old copy.
	inherited bool
}

// actors mints dots. It gives every partition an actor when it first needs
// one, every hint row one of its own, and a new one whenever the old may have
// forgotten a write of its own.
type actors struct {
	rand    io.Reader
	reserve func(next uint64) // makes durable that sequences below next are spent
	minted  func()            // a new actor was made

	mu      sync.Mutex
	held    map[uint32]tenancy
	hinted  map[uint64]version.Dot // the last dot minted in a hint row, by rowID
	reaped  map[uint64]version.Dot // the last dot minted in a purged data row, by rowID
	seed    maphash.Seed
	vouched bool
	next    uint64 // the next sequence
	limit   uint64 // the first that is not reserved
}

// mint makes a new dot for a data row of the partition. held is the vector of
// the stored object; claimed is what the writer says it has seen of the key.
func (a *actors) mint(row []byte, partition uint32, held, claimed version.Vector) (version.Dot, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.held[partition]
	if !ok || (t.inherited && !a.vouched) || a.forgotData(row, t.actor, held, claimed) {
		actor, err := a.fresh(held, claimed)
		if err != nil {
			return version.Dot{}, err
		}
		t = tenancy{actor: actor}
		a.held[partition] = t
	}
	return version.Dot{Actor: t.actor, Seq: a.sequence()}, nil
}

// mintHint makes a new dot for a hint row of a key of the partition. The row's
// last actor mints again only if the row shows all that it minted: then it has
// forgotten nothing, whatever became of the row in between. The dot must be
// kept once it is in the row.
func (a *actors) mintHint(row []byte, partition uint32, held, claimed version.Vector) (version.Dot, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, ok := a.hinted[a.rowID(row)]
	if !ok || held.Max(last.Actor) != last.Seq || forgot(last.Actor, held, claimed) {
		data := version.Vector{{Actor: a.held[partition].actor, Seq: 1}}
		actor, err := a.fresh(held, claimed, data)
		if err != nil {
			return version.Dot{}, err
		}
		last.Actor = actor
	}
	return version.Dot{Actor: last.Actor, Seq: a.sequence()}, nil
}

// keep remembers the dot that was minted last in a hint row.
func (a *actors) keep(row []byte, d version.Dot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	keepDot(a.hinted, maxHintActors, a.rowID(row), d)
}

// keepDot remembers the dot of a row among so many. To forget a row, here any
// other one, is always safe: it costs an entry of its vector.
func keepDot(dots map[uint64]version.Dot, most int, id uint64, d version.Dot) {
	if _, ok := dots[id]; !ok && len(dots) == most {
		for other := range dots {
			delete(dots, other)
			break
		}
	}
	dots[id] = d
}

// purged takes note that a data row of the partition is deleted because all
// that its actor wrote to the key is dead. held is the vector of its object.
func (a *actors) purged(row []byte, partition uint32, held version.Vector) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.held[partition]
	d, id := version.Dot{Actor: t.actor, Seq: held.Max(t.actor)}, a.rowID(row)
	if last := a.reaped[id]; d.Seq > 0 && (last.Actor != d.Actor || last.Seq < d.Seq) {
		keepDot(a.reaped, maxReaped, id, d)
	}
}

// dropHint ends the use of a hint row's actor.
func (a *actors) dropHint(row []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.hinted, a.rowID(row))
}

// rowID stands for a row. It is keyed, so that no client can make two rows share
// one. Should two hint rows do so by chance, they take turns in replacing each
// other's actors. Two data rows that do, one of them purged, would hide from
// forgotData what the other lost: a chance of 2^-48 at most for each loss.
func (a *actors) rowID(row []byte) uint64 { return maphash.Bytes(a.seed, row) }

// forgot reports whether others know a write of the actor to a key that the
// stored object of the key does not.
func forgot(actor version.Actor, held, claimed version.Vector) bool {
	return claimed.Max(actor) > held.Max(actor)
}

// forgotData is forgot for a data row, which may have been purged: what the
// actor wrote to the key up to then is dead and known to be, here or wherever
// it comes back from.
func (a *actors) forgotData(row []byte, actor version.Actor, held, claimed version.Vector) bool {
	if !forgot(actor, held, claimed) {
		return false
	}
	last := a.reaped[a.rowID(row)]
	return last.Actor != actor || claimed.Max(actor) > last.Seq
}

// observe takes in what a replica's object claims of the key of a data row, and
// gives up the partition's actor if it knows more of the actor than the store
// does.
func (a *actors) observe(row []byte, partition uint32, held, claimed version.Vector) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t, ok := a.held[partition]; ok && a.forgotData(row, t.actor, held, claimed) {
		delete(a.held, partition)
	}
}

// drop ends the tenancy of a partition.
func (a *actors) drop(partition uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.held, partition)
}

// able lists the actors that may mint for keys of the partition, in no order.
func (a *actors) able(partition uint32) []version.Actor {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]version.Actor, 0, 1+len(a.hinted))
	if t, ok := a.held[partition]; ok {
		list = append(list, t.actor)
	}
	for _, d := range a.hinted {
		list = append(list, d.Actor)
	}
	return list
}

// vouch lets inherited actors mint.
func (a *actors) vouch() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.vouched = true
}

// fresh draws an actor. It differs from those of the vectors not for chance,
// which is too small, but for a random source that repeats itself.
func (a *actors) fresh(vectors ...version.Vector) (version.Actor, error) {
	var b [8]byte
	for {
		if _, err := io.ReadFull(a.rand, b[:]); err != nil {
			return 0, fmt.Errorf("store: drawing an actor: %w", err)
		}
		actor := version.Actor(binary.BigEndian.Uint64(b[:]))
		known := slices.ContainsFunc(vectors, func(v version.Vector) bool { return v.Max(actor) > 0 })
		if actor != 0 && !known {
			a.minted()
			return actor, nil
		}
	}
}

// sequence gives the next sequence, and makes durable that a further block is
// spent before it gives the first of it.
func (a *actors) sequence() uint64 {
	if a.next == a.limit {
		a.reserve(a.limit + sequenceBlock)
		a.limit += sequenceBlock
	}
	a.next++
	return a.next - 1
}

const tenancyBytes = 4 + 8

// encode lists the actors that may be kept over a clean stop: not those that
// were inherited and never vouched for, as their last user may be another
// copy of the directory.
func (a *actors) encode() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := make([]byte, 0, len(a.held)*tenancyBytes)
	for p, t := range a.held {
		if t.inherited && !a.vouched {
			continue
		}
		b = binary.BigEndian.AppendUint32(b, p)
		b = binary.BigEndian.AppendUint64(b, uint64(t.actor))
	}
	return b
}

// inherit takes the actors that a clean stop kept.
func (a *actors) inherit(b []byte) error {
	if len(b)%tenancyBytes != 0 {
		return fmt.Errorf("%w: list of actors of %d bytes", ErrCorrupt, len(b))
	}
	for ; len(b) > 0; b = b[tenancyBytes:] {
		actor := version.Actor(binary.BigEndian.Uint64(b[4:]))
		a.held[binary.BigEndian.Uint32(b)] = tenancy{actor: actor, inherited: true}
	}
	return nil
}
