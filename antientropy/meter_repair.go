package antientropy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"starling/ring"
)

// The errors of [Exchanger.Repair].
var (
	// ErrRepairRunning: an earlier repair has not ended.
	ErrRepairRunning = errors.New("antientropy: a repair is running")
	// ErrNoPartition: the cluster has no partition of that number.
	ErrNoPartition = errors.New("antientropy: no such partition")
	// ErrNotRunning: there is no view of the cluster yet, or [Exchanger.Run]
	// is not running.
	ErrNotRunning = errors.New("antientropy: not running")
)

// RepairRequest says which pairs a repair is for: those whose exchanges this
// node begins, and of these the ones that match. A cluster is repaired by
// asking each of its members.
type RepairRequest struct {
	// Partition is the only one; nil: all.
	Partition *uint32
	// Bucket is in all partitions, and these are compared as a whole: it
	// narrows nothing down.
	Bucket string
	// Node is one of the two owners of a pair; zero: any.
	Node ring.NodeID
}

// RepairStatus is how far the last repair is.
type RepairStatus struct {
	// ID counts the repairs since the start; 0: there was none.
	ID      uint64
	Running bool
	Started time.Time
	// PairsDone counts the pairs that were found equal or whose differences
	// were all shipped; PairsTotal those that the repair is for.
	PairsDone, PairsTotal int
	// KeysShipped and BytesShipped count the objects fetched and pushed for
	// these pairs.
	KeysShipped, BytesShipped uint64
	// Unreachable are the peers for which the repair gave pairs up: they were
	// down, or failed or refused again and again. Pairs that are given up are
	// in PairsTotal and not in PairsDone.
	Unreachable []ring.NodeID
}

// repairMisses is how often a pair's exchange may fail before a repair gives
// it up.
const repairMisses = 5

// repairLedger is the state of the last repair.
type repairLedger struct {
	id          uint64
	started     time.Time
	total       int // the pairs that it is for
	done        int // those of them that are done
	givenUp     int // those that were given up
	keys, bytes uint64
	unreachable []ring.NodeID // bounded by the peers
}

func (r *repairLedger) running() bool { return r.done+r.givenUp < r.total }

func (r *repairLedger) status() RepairStatus {
	return RepairStatus{
		ID: r.id, Running: r.running(), Started: r.started, PairsDone: r.done, PairsTotal: r.total,
		KeysShipped: r.keys, BytesShipped: r.bytes, Unreachable: slices.Clone(r.unreachable),
	}
}

// startRepair makes all pairs that match due now.
func (l *ledger) startRepair(now time.Duration, started time.Time, req RepairRequest) error {
	switch {
	case l.view == nil:
		return ErrNotRunning
	case l.repair.running():
		return ErrRepairRunning
	case req.Partition != nil && int64(*req.Partition) >= int64(len(l.parts)):
		return fmt.Errorf("%w: %d of %d", ErrNoPartition, *req.Partition, len(l.parts))
	}
	l.repair = repairLedger{id: l.repair.id + 1, started: started}
	for _, peer := range l.peers {
		if !req.Node.IsZero() && req.Node != l.self && req.Node != peer.id {
			continue
		}
		for i := range peer.pairs {
			p := &peer.pairs[i]
			if p.begins && (req.Partition == nil || *req.Partition == p.partition) {
				p.wanted, p.missed, p.due, p.tries = true, 0, now, 0
				l.repair.total++
			}
		}
		peer.failures, peer.restUntil = 0, 0
		if !peer.alive {
			l.giveUp(peer)
		}
	}
	return nil
}

// repaired counts an exchange of a pair that the repair is for.
func (l *ledger) repaired(peer *peerLedger, p *pair, o outcome) {
	switch o {
	case outcomeEqual, outcomeRepaired, outcomeVanished:
		p.wanted = false
		l.repair.done++
	case outcomeFailed, outcomeRefused:
		if p.missed++; p.missed >= repairMisses {
			l.giveUpPair(peer, p)
		}
	}
}

// giveUp gives up all pairs of a peer that the repair still waits for.
func (l *ledger) giveUp(peer *peerLedger) {
	for i := range peer.pairs {
		if p := &peer.pairs[i]; p.wanted {
			l.giveUpPair(peer, p)
		}
	}
}

func (l *ledger) giveUpPair(peer *peerLedger, p *pair) {
	p.wanted = false
	l.repair.givenUp++
	if !slices.Contains(l.repair.unreachable, peer.id) {
		l.repair.unreachable = append(l.repair.unreachable, peer.id)
	}
}

// shipped counts objects that were fetched or pushed for a pair.
func (l *ledger) shipped(id ring.NodeID, partition uint32, keys, bytes int) {
	if p := l.peer(id).find(partition); p != nil && p.wanted {
		l.repair.keys += uint64(keys)
		l.repair.bytes += uint64(bytes)
	}
}
