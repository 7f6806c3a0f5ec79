package rpc

import (
	"context"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/coordinator"
	"starling/coordinator/rpc/internal/wire"
	"starling/ring"
)

// List: a part of a bucket's keys. The partitions and their stamps are lists of
// the same length; a row has the fields of an entry, and of its reference the
// key alone.
const (
	listBucket     protowire.Number = 1
	listPrefix     protowire.Number = 2
	listAfter      protowire.Number = 3
	listPartitions protowire.Number = 4
	listStamps     protowire.Number = 5
	listLimit      protowire.Number = 6
	listMaxRows    protowire.Number = 7
	listMaxBytes   protowire.Number = 8
	listValues     protowire.Number = 9

	listRow     protowire.Number = 1
	listDone    protowire.Number = 2
	listUpTo    protowire.Number = 3
	listRefused protowire.Number = 4
)

// List implements coordinator.ListPeers.
func (t *Transport) List(ctx context.Context, to ring.NodeID, req coordinator.ScanRequest) (coordinator.ScanReply, error) {
	return callNode(ctx, t, to, methodList, req, putScanRequest, decodeScanReply)
}

func serveList(ctx context.Context, l coordinator.ListReplica, payload []byte, reply *wire.Buffer) error {
	return answer(ctx, payload, reply, decodeScanRequest, l.HandleList, putScanReply)
}

func putScanRequest(b *wire.Buffer, q coordinator.ScanRequest) {
	b.Grow(scanBytes(q))
	b.B = appendScanRequest(b.B, q)
}

func putScanReply(b *wire.Buffer, a coordinator.ScanReply) {
	b.Grow(scannedBytes(a))
	b.B = appendScanReply(b.B, a)
}

func appendScanRequest(dst []byte, q coordinator.ScanRequest) []byte {
	dst = appendText(dst, listBucket, q.Bucket)
	dst = appendText(dst, listPrefix, q.Prefix)
	dst = appendText(dst, listAfter, q.After)
	partitions, stamps := make([]uint32, len(q.Claims)), make([]uint64, len(q.Claims))
	for i, c := range q.Claims {
		partitions[i], stamps[i] = c.Partition, c.Stamp
	}
	dst = appendPacked32(dst, listPartitions, partitions)
	dst = appendPacked64(dst, listStamps, stamps)
	dst = appendUint(dst, listLimit, uint64(q.Limit))
	dst = appendUint(dst, listMaxRows, uint64(q.MaxRows))
	dst = appendUint(dst, listMaxBytes, uint64(q.MaxBytes))
	return appendFlag(dst, listValues, q.Values)
}

// scanBytes is more than a request takes.
func scanBytes(q coordinator.ScanRequest) int {
	return len(q.Bucket) + len(q.Prefix) + len(q.After) + 12*len(q.Claims) + 64
}

func decodeScanRequest(b []byte) (q coordinator.ScanRequest, err error) {
	f := fields{b: b}
	var partitions []uint32
	var stamps []uint64
	for f.next() {
		switch f.num {
		case listBucket:
			q.Bucket = f.text(maxNameBytes)
		case listPrefix:
			q.Prefix = f.text(maxNameBytes)
		case listAfter:
			q.After = f.text(maxNameBytes)
		case listPartitions:
			partitions = packed32[uint32](&f, ring.MaxPartitions)
		case listStamps:
			stamps = packed64[uint64](&f, ring.MaxPartitions)
		case listLimit:
			q.Limit = uint32(f.uint(math.MaxUint32))
		case listMaxRows:
			q.MaxRows = uint32(f.uint(math.MaxUint32))
		case listMaxBytes:
			q.MaxBytes = uint32(f.uint(math.MaxUint32))
		case listValues:
			q.Values = f.flag()
		}
	}
	if len(partitions) != len(stamps) {
		f.fail(malformed("%d stamps of %d partitions", len(stamps), len(partitions)))
	}
	if f.err != nil {
		return q, f.err
	}
	for i, p := range partitions {
		q.Claims = append(q.Claims, coordinator.ListClaim{Partition: p, Stamp: stamps[i]})
	}
	return q, ascending(partitions)
}

// ascending refuses partitions that are not in order, or too high.
func ascending(partitions []uint32) error {
	for i, p := range partitions {
		if p > maxPartitionCode || i > 0 && p <= partitions[i-1] {
			return malformed("partition %d out of order", p)
		}
	}
	return nil
}

func appendScanReply(dst []byte, a coordinator.ScanReply) []byte {
	dst = appendEntries(dst, listRow, a.Rows)
	dst = appendFlag(dst, listDone, a.Done)
	dst = appendText(dst, listUpTo, a.UpTo)
	return appendPacked32(dst, listRefused, a.Refused)
}

// scannedBytes is more than a reply, and little else, takes.
func scannedBytes(a coordinator.ScanReply) int {
	return entriesBytes(a.Rows) + len(a.UpTo) + 4*len(a.Refused) + 32
}

func decodeScanReply(b []byte) (a coordinator.ScanReply, err error) {
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case listRow:
			a.Rows = append(a.Rows, decodeEntry(&f, len(a.Rows)))
		case listDone:
			a.Done = f.flag()
		case listUpTo:
			a.UpTo = f.text(maxNameBytes)
		case listRefused:
			a.Refused = packed32[uint32](&f, ring.MaxPartitions)
		}
	}
	if f.err != nil {
		return a, f.err
	}
	return a, ascending(a.Refused)
}
