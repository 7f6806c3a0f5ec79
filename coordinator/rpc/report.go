package rpc

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/antientropy"
	"starling/ring"
)

// The bounds of a report.
const (
	// maxPairs is that of a node that owns every partition.
	maxPairs    = ring.MaxPartitions * (ring.MaxReplicas - 1)
	maxBlockers = 4 * ring.MaxMembers // further ones are left out
	maxAgeMS    = uint64(math.MaxInt64 / time.Millisecond)
)

// Report: the request is empty. A pair takes some 30 bytes.
const (
	reportPair       protowire.Number = 1
	reportTombstones protowire.Number = 2
	reportHints      protowire.Number = 3
	reportBlocker    protowire.Number = 4
	reportFilling    protowire.Number = 5

	pairPartition protowire.Number = 1
	pairPeer      protowire.Number = 2
	pairProven    protowire.Number = 3
	pairAge       protowire.Number = 4 // milliseconds
	pairHolds     protowire.Number = 5

	blockerNode   protowire.Number = 1
	blockerReason protowire.Number = 2
)

func appendReport(dst []byte, a antientropy.Report) []byte {
	for _, p := range a.Pairs {
		dst = appendNested(dst, reportPair, func(b []byte) []byte { return appendPair(b, p) })
	}
	dst = appendUint(dst, reportTombstones, uint64(a.Tombstones))
	dst = appendUint(dst, reportHints, uint64(a.Hints))
	for _, c := range a.Blockers[:min(len(a.Blockers), maxBlockers)] {
		dst = appendNested(dst, reportBlocker, func(b []byte) []byte {
			return appendText(appendID(b, blockerNode, c.Node), blockerReason, cut(c.Reason))
		})
	}
	return appendUint(dst, reportFilling, uint64(a.Filling))
}

func appendPair(dst []byte, p antientropy.Pair) []byte {
	dst = appendID(appendUint(dst, pairPartition, uint64(p.Partition)), pairPeer, p.Peer)
	dst = appendFlag(dst, pairProven, p.Proven)
	dst = appendUint(dst, pairAge, uint64(max(p.Age.Milliseconds(), 0)))
	return appendFlag(dst, pairHolds, p.Holds)
}

// reportBytes is more than a report takes.
func reportBytes(a antientropy.Report) int {
	n := 64 + 40*len(a.Pairs)
	for _, c := range a.Blockers {
		n += 24 + min(len(c.Reason), maxMessageBytes)
	}
	return n
}

func decodeReport(b []byte) (a antientropy.Report, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case reportPair:
			a.Pairs = append(a.Pairs, decodePair(&f, len(a.Pairs)))
		case reportTombstones:
			a.Tombstones = int64(f.uint(math.MaxInt64))
		case reportHints:
			a.Hints = int64(f.uint(math.MaxInt64))
		case reportBlocker:
			a.Blockers = append(a.Blockers, decodeBlocker(&f, len(a.Blockers)))
		case reportFilling:
			a.Filling = int(f.uint(ring.MaxPartitions))
		}
	}
	return a, f.err
}

// decodePair insists on the peer: without one, a few bytes of a message would
// become many in memory.
func decodePair(f *fields, have int) (p antientropy.Pair) {
	e := fields{b: f.element(have, maxPairs)}
	for e.next() {
		switch e.num {
		case pairPartition:
			p.Partition = uint32(e.uint(maxPartitionCode))
		case pairPeer:
			p.Peer = e.id()
		case pairProven:
			p.Proven = e.flag()
		case pairAge:
			p.Age = time.Duration(e.uint(maxAgeMS)) * time.Millisecond
		case pairHolds:
			p.Holds = e.flag()
		}
	}
	if p.Peer == (ring.NodeID{}) {
		e.fail(malformed("pair without a peer"))
	}
	f.fail(e.err)
	return p
}

func decodeBlocker(f *fields, have int) (c antientropy.Blocker) {
	e := fields{b: f.element(have, maxBlockers)}
	for e.next() {
		switch e.num {
		case blockerNode:
			c.Node = e.id()
		case blockerReason:
			c.Reason = e.text(maxMessageBytes)
		}
	}
	f.fail(e.err)
	return c
}
