package rpc

import (
	"context"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/antientropy"
	"starling/coordinator/rpc/internal/wire"
	"starling/ring"
)

// Repair: a request without repairStart asks for the status alone.
const (
	repairStart protowire.Number = 1

	startPartition protowire.Number = 1 // the number plus 1; absent: all
	startBucket    protowire.Number = 2
	startNode      protowire.Number = 3

	repairID          protowire.Number = 1
	repairRunning     protowire.Number = 2
	repairStarted     protowire.Number = 3 // Unix milliseconds; absent: never
	repairDone        protowire.Number = 4
	repairTotal       protowire.Number = 5
	repairKeys        protowire.Number = 6
	repairBytes       protowire.Number = 7
	repairUnreachable protowire.Number = 8

	memberNode protowire.Number = 1
)

// maxBucketCode bounds a bucket's name in a repair.
const maxBucketCode = 255

// Repair implements antientropy.RepairPeers.
func (t *Transport) Repair(ctx context.Context, to ring.NodeID, start *antientropy.RepairRequest) (antientropy.RepairStatus, error) {
	return callNode(ctx, t, to, methodRepair, start, putRepairRequest, decodeRepairStatus)
}

func serveMend(ctx context.Context, r antientropy.Repairer, payload []byte, reply *wire.Buffer) error {
	return answer(ctx, payload, reply, decodeRepairRequest, r.HandleRepair, putRepairStatus)
}

func putRepairRequest(b *wire.Buffer, q *antientropy.RepairRequest) {
	b.B = appendRepairRequest(b.B, q)
}

func putRepairStatus(b *wire.Buffer, a antientropy.RepairStatus) { b.B = appendRepairStatus(b.B, a) }

func appendRepairRequest(dst []byte, q *antientropy.RepairRequest) []byte {
	if q == nil {
		return dst
	}
	return appendNested(dst, repairStart, func(b []byte) []byte {
		if q.Partition != nil {
			b = appendUint(b, startPartition, uint64(*q.Partition)+1)
		}
		return appendID(appendText(b, startBucket, q.Bucket), startNode, q.Node)
	})
}

func decodeRepairRequest(b []byte) (q *antientropy.RepairRequest, err error) {
	f := fields{b: b}
	for f.next() {
		if f.num == repairStart {
			have := 0
			if q != nil {
				have = 1
			}
			q = decodeRepairStart(&f, have)
		}
	}
	return q, f.err
}

func decodeRepairStart(f *fields, have int) *antientropy.RepairRequest {
	q := new(antientropy.RepairRequest)
	e := fields{b: f.element(have, 1)} // it may be empty
	for e.next() {
		switch e.num {
		case startPartition:
			if n := e.uint(maxPartitionCode + 1); n > 0 {
				p := uint32(n - 1)
				q.Partition = &p
			}
		case startBucket:
			q.Bucket = e.text(maxBucketCode)
		case startNode:
			q.Node = e.id()
		}
	}
	f.fail(e.err)
	return q
}

func appendRepairStatus(dst []byte, a antientropy.RepairStatus) []byte {
	dst = appendFlag(appendUint(dst, repairID, a.ID), repairRunning, a.Running)
	if !a.Started.IsZero() {
		dst = appendUint(dst, repairStarted, uint64(max(a.Started.UnixMilli(), 0)))
	}
	dst = appendUint(dst, repairDone, uint64(max(a.PairsDone, 0)))
	dst = appendUint(dst, repairTotal, uint64(max(a.PairsTotal, 0)))
	dst = appendUint(appendUint(dst, repairKeys, a.KeysShipped), repairBytes, a.BytesShipped)
	for _, id := range a.Unreachable {
		dst = appendNested(dst, repairUnreachable, func(b []byte) []byte { return appendID(b, memberNode, id) })
	}
	return dst
}

func decodeRepairStatus(b []byte) (a antientropy.RepairStatus, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case repairID:
			a.ID = f.uint(math.MaxUint64)
		case repairRunning:
			a.Running = f.flag()
		case repairStarted:
			a.Started = time.UnixMilli(int64(f.uint(maxAgeMS)))
		case repairDone:
			a.PairsDone = int(f.uint(maxPairs))
		case repairTotal:
			a.PairsTotal = int(f.uint(maxPairs))
		case repairKeys:
			a.KeysShipped = f.uint(math.MaxUint64)
		case repairBytes:
			a.BytesShipped = f.uint(math.MaxUint64)
		case repairUnreachable:
			a.Unreachable = append(a.Unreachable, decodeMember(&f, len(a.Unreachable)))
		}
	}
	return a, f.err
}

func decodeMember(f *fields, have int) (id ring.NodeID) {
	e := fields{b: f.element(have, ring.MaxMembers)}
	for e.next() {
		if e.num == memberNode {
			id = e.id()
		}
	}
	f.fail(e.err)
	return id
}
