package antientropy

import (
	"slices"
	"time"

	"starling/ring"
)

// ledger is what this node knows of the pairs it belongs to: when each was last
// proven equal, and when it is to be compared next. It is pure; times are
// counted from the start of the [Exchanger].
type ledger struct {
	self ring.NodeID
	// interval is the time in which every pair is to be compared once.
	// always: pairs become due by themselves, not for repairs alone.
	interval time.Duration
	always   bool

	view *ring.View
	// peers are those with which partitions are shared now, by ID.
	peers []*peerLedger
	// busy are the peers with which a pass is under way, at most [MaxPeers].
	busy []ring.NodeID
	// parts is about each partition.
	parts  []partLedger
	repair repairLedger
}

// partLedger is about one partition.
type partLedger struct {
	// heldUntil is until when it is left alone.
	heldUntil time.Duration
	// with is the owner that it is exchanged with, until a time.
	with  ring.NodeID
	until time.Duration
}

// peerLedger is about one other member.
type peerLedger struct {
	id ring.NodeID
	// alive and boot are as last seen. epoch counts the times that what was
	// proven became void: an answer to a question of an earlier one is none.
	alive       bool
	boot, epoch uint64
	// served is when the last pass ended.
	served time.Duration
	// failures are those in a row; the peer is left alone until restUntil.
	failures  int
	restUntil time.Duration
	pairs     []pair // by partition
}

// pair is a partition that is shared with a peer.
type pair struct {
	partition uint32
	// begins: this node begins the exchanges of the pair.
	begins bool
	// proven is when equality was last proven, if it ever was (known); holds:
	// nothing has happened since.
	known, holds bool
	proven       time.Duration
	// due is when it is to be compared next, if begins.
	due time.Duration
	// tries counts the exchanges in a row that ended without a proof. Only the
	// first that repaired something is followed by the next at once.
	tries int
	// wanted: a repair is for this pair; missed counts its failures.
	wanted bool
	missed int
}

// beginsExchange says which of two owners begins: the lower ID where the
// partition's number is even, else the other.
func beginsExchange(partition uint32, self, peer ring.NodeID) bool {
	return (self.Compare(peer) < 0) == (partition%2 == 0)
}

// update takes the pairs from a view, and keeps what is known of those that
// were there before. What is new is due now.
func (l *ledger) update(v *ring.View, now time.Duration) {
	if v == nil || v == l.view {
		return
	}
	l.view = v
	before := l.peers
	l.peers = nil
	partitions := v.Ring().Config().Partitions
	if len(l.parts) != partitions { // the first view; the number never changes
		l.parts = make([]partLedger, partitions)
	}
	index := make(map[ring.NodeID]*peerLedger)
	for p := range partitions {
		owners := v.Placement(p).Owners
		if !contains(owners, l.self) {
			continue
		}
		for _, id := range owners {
			if id == l.self {
				continue
			}
			peer, ok := index[id]
			if !ok {
				peer = inherit(before, id)
				index[id] = peer
				l.peers = append(l.peers, peer)
			}
			partition := uint32(p)
			peer.pairs = append(peer.pairs, pair{partition: partition, begins: beginsExchange(partition, l.self, id), due: now})
		}
	}
	slices.SortFunc(l.peers, func(a, b *peerLedger) int { return a.id.Compare(b.id) })
	for _, old := range before {
		l.carryOver(old, index[old.id])
	}
}

// inherit makes the record of a peer that was or was not there before, with no
// pairs.
func inherit(before []*peerLedger, id ring.NodeID) *peerLedger {
	for _, old := range before {
		if old.id == id {
			next := *old
			next.pairs = make([]pair, 0, len(old.pairs))
			return &next
		}
	}
	return &peerLedger{id: id}
}

// carryOver keeps what is known of the pairs that are still there. next may be
// nil.
func (l *ledger) carryOver(old, next *peerLedger) {
	for _, was := range old.pairs {
		if p := next.find(was.partition); p != nil {
			*p = was
		} else if was.wanted {
			l.repair.total-- // it is a pair no more
		}
	}
}

// find gives a pair, or nil.
func (p *peerLedger) find(partition uint32) *pair {
	if p == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(p.pairs, partition, func(p pair, n uint32) int { return int(int64(p.partition) - int64(n)) })
	if !ok {
		return nil
	}
	return &p.pairs[i]
}

// peer gives a peer's record, or nil.
func (l *ledger) peer(id ring.NodeID) *peerLedger {
	i, ok := slices.BinarySearchFunc(l.peers, id, func(p *peerLedger, id ring.NodeID) int { return p.id.Compare(id) })
	if !ok {
		return nil
	}
	return l.peers[i]
}

// see takes the failure detector's opinion of a peer, and its boot. While it is
// down, and when it was restarted, nothing that was proven holds. All pairs of
// a peer that came back are due.
func (l *ledger) see(now time.Duration, id ring.NodeID, alive bool, boot uint64) {
	p := l.peer(id)
	if p == nil {
		return
	}
	came := alive && (!p.alive || boot != p.boot)
	if !alive || came {
		p.void()
	}
	p.alive, p.boot = alive, boot
	switch {
	case came:
		p.failures, p.restUntil = 0, 0
		for i := range p.pairs {
			p.pairs[i].due, p.pairs[i].tries = now, 0
		}
	case !alive:
		l.giveUp(p)
	}
}

func (p *peerLedger) void() {
	p.epoch++
	for i := range p.pairs {
		p.pairs[i].holds = false
	}
}

// compared notes what the answer to a peer's comparison proved.
func (l *ledger) compared(now time.Duration, id ring.NodeID, partition uint32, equal bool) {
	peer := l.peer(id)
	p := peer.find(partition)
	if p == nil {
		return
	}
	p.holds = equal && peer.alive
	if equal {
		p.known, p.proven = true, now
		l.release(now, partition, id)
	}
}

// report lists all pairs.
func (l *ledger) report(now time.Duration) []Pair {
	var pairs []Pair
	for _, peer := range l.peers {
		for i := range peer.pairs {
			p := &peer.pairs[i]
			said := Pair{Partition: p.partition, Peer: peer.id, Proven: p.known, Holds: p.holds}
			if p.known {
				said.Age = now - p.proven
			}
			pairs = append(pairs, said)
		}
	}
	return pairs
}

// oldest is the age of the oldest proof; a pair that was never proven is as
// old as the ledger. open counts the pairs that do not hold.
func (l *ledger) oldest(now time.Duration) (oldest time.Duration, open int) {
	for _, peer := range l.peers {
		for i := range peer.pairs {
			p := &peer.pairs[i]
			age := now
			if p.known {
				age = now - p.proven
			}
			oldest = max(oldest, age)
			if !p.holds {
				open++
			}
		}
	}
	return oldest, open
}
