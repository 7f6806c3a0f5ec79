package antientropy

import (
	"cmp"
	"slices"
	"time"

	"starling/ring"
)

// outcome is how an exchange of a pair ended.
type outcome uint8

// The outcomes.
const (
	// outcomeEqual: the roots were equal.
	outcomeEqual outcome = iota
	// outcomeRepaired: all differences that were found were shipped. Whether
	// the two are equal then is for the next comparison to tell.
	outcomeRepaired
	// outcomeUnfinished: the turn was over before that.
	outcomeUnfinished
	// outcomeVanished: the roots differed, but no key did when it was looked at.
	outcomeVanished
	// outcomeRefused: one of the two goes by another placement.
	outcomeRefused
	// outcomeBusy: the partition is held, or being exchanged with another.
	outcomeBusy
	// outcomeFailed: the peer, or this node, could not do its part.
	outcomeFailed
	numOutcomes
)

var outcomeNames = [numOutcomes]string{"equal", "repaired", "unfinished", "vanished", "refused", "busy", "failed"}

const (
	// retryPause is the pause after the first exchange of a pair that proved
	// nothing, and after the first failure of a peer. It doubles each time.
	retryPause = 200 * time.Millisecond
	// maxPause bounds it for peers that fail.
	maxPause = 10 * time.Second
)

// pauseAfter doubles retryPause with each try, up to a bound.
func pauseAfter(tries int, most time.Duration) time.Duration {
	return min(retryPause<<min(max(tries-1, 0), 20), max(most, retryPause))
}

// nextTurn is when a partition's next regular comparison is: once in every
// interval, each at its own time, so that they spread over it.
func nextTurn(now time.Duration, partition uint32, interval time.Duration) time.Duration {
	const golden = 0x9e3779b9 // 2^32 over the golden ratio spreads numbers evenly
	phase := time.Duration(float64(partition*golden) / (1 << 32) * float64(interval))
	return now - (now-phase+interval)%interval + interval
}

// isDue says whether this node is to begin an exchange of the pair now.
func (l *ledger) isDue(now time.Duration, p *pair) bool {
	return p.begins && (l.always || p.wanted) && p.due <= now && l.parts[p.partition].heldUntil <= now
}

// begin gives the peers with which a pass begins now, and marks them as busy:
// those that wait longest, while there is room.
func (l *ledger) begin(now time.Duration) []ring.NodeID {
	var ready []*peerLedger
	for _, p := range l.peers {
		if p.alive && p.restUntil <= now && !contains(l.busy, p.id) && l.hasDue(now, p) {
			ready = append(ready, p)
		}
	}
	slices.SortStableFunc(ready, func(a, b *peerLedger) int { return cmp.Compare(a.served, b.served) })
	room := MaxPeers - len(l.busy)
	for _, p := range ready[:min(len(ready), room)] {
		l.busy = append(l.busy, p.id)
	}
	return l.busy[len(l.busy)-min(len(ready), room):]
}

func (l *ledger) hasDue(now time.Duration, p *peerLedger) bool {
	for i := range p.pairs {
		if l.isDue(now, &p.pairs[i]) {
			return true
		}
	}
	return false
}

// end notes that a pass is over.
func (l *ledger) end(now time.Duration, id ring.NodeID) {
	l.busy = slices.DeleteFunc(slices.Clone(l.busy), func(b ring.NodeID) bool { return b == id })
	if p := l.peer(id); p != nil {
		p.served = now
	}
}

// take appends up to MaxRoots partitions that are due with a peer, and gives
// the epoch that they are compared in. They stay due until they ended.
func (l *ledger) take(now time.Duration, id ring.NodeID, dst []uint32) (due []uint32, epoch uint64) {
	peer := l.peer(id)
	if peer == nil || !peer.alive || peer.restUntil > now {
		return dst, 0
	}
	for i := range peer.pairs {
		if p := &peer.pairs[i]; l.isDue(now, p) {
			if dst = append(dst, p.partition); len(dst) == MaxRoots {
				break
			}
		}
	}
	return dst, peer.epoch
}

// ending is how one exchange went.
type ending struct {
	peer      ring.NodeID
	partition uint32
	// epoch is that of the peer when it was compared, at the time began.
	epoch   uint64
	began   time.Duration
	outcome outcome
}

// ended notes how an exchange went that this node began.
func (l *ledger) ended(now time.Duration, e ending) {
	peer := l.peer(e.peer)
	p := peer.find(e.partition)
	if p == nil {
		return
	}
	if e.outcome != outcomeFailed {
		peer.failures = 0
	}
	equal := e.outcome == outcomeEqual
	again := p.tries == 0 && (e.outcome == outcomeRepaired || e.outcome == outcomeVanished)
	if p.wanted && !again {
		l.repaired(peer, p, e.outcome)
	}
	p.holds = equal && e.epoch == peer.epoch
	switch {
	case again: // it is compared at once: now the two should be equal
		p.tries, p.due = 1, now
	case p.holds:
		p.known, p.proven, p.tries = true, e.began, 0
		p.due = nextTurn(now, p.partition, l.interval)
	case e.outcome == outcomeUnfinished, equal:
		p.due = now
	case e.outcome == outcomeBusy:
		p.due = now + retryPause
	default:
		p.tries++
		p.due = now + pauseAfter(p.tries, l.interval)
	}
}

// failed notes that a peer did not answer: it is left alone for a while.
func (l *ledger) failed(now time.Duration, id ring.NodeID) {
	if p := l.peer(id); p != nil {
		p.failures++
		p.restUntil = now + pauseAfter(p.failures, maxPause)
	}
}

// hold leaves partitions alone until a time.
func (l *ledger) hold(partitions []uint32, until time.Duration) {
	for _, n := range partitions {
		if p := l.part(n); p != nil {
			p.heldUntil = max(p.heldUntil, until)
		}
	}
}

// part gives what is known of a partition, nil if there is none of that number.
func (l *ledger) part(n uint32) *partLedger {
	if int64(n) >= int64(len(l.parts)) {
		return nil
	}
	return &l.parts[n]
}

func (l *ledger) isHeld(now time.Duration, partition uint32) bool {
	p := l.part(partition)
	return p != nil && p.heldUntil > now
}

// reserve has a partition exchanged with one owner and no other until a time,
// and reports whether that can be. Two at once would ship the same objects.
// The reservation of an owner that is down counts no more.
func (l *ledger) reserve(now time.Duration, partition uint32, id ring.NodeID, until time.Duration) bool {
	p := l.part(partition)
	if p == nil || p.heldUntil > now || p.with != id && p.until > now && l.isAlive(p.with) {
		return false
	}
	p.with, p.until = id, until
	return true
}

func (l *ledger) isAlive(id ring.NodeID) bool {
	p := l.peer(id)
	return p != nil && p.alive
}

// release ends a reservation for that owner.
func (l *ledger) release(now time.Duration, partition uint32, id ring.NodeID) {
	if p := l.part(partition); p != nil && p.with == id {
		p.until = now
	}
}
