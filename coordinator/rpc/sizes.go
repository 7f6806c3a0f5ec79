package rpc

import (
	"context"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/antientropy"
	"starling/coordinator/rpc/internal/wire"
	"starling/ring"
)

// Sizes: 4 bytes for a partition that is asked for, one number for its bytes.
const (
	sizesPartitions protowire.Number = 1

	sizesBytes protowire.Number = 1
)

// maxSizes bounds the partitions of a sizes request, several times what a node
// asks for.
const maxSizes = 4 * antientropy.MaxSizes

// Sizes implements antientropy.Peers. A reply of another length than the request
// is refused.
func (t *Transport) Sizes(ctx context.Context, to ring.NodeID, req antientropy.SizesRequest) (antientropy.SizesReply, error) {
	decode := checked(decodeSizesReply, func(a antientropy.SizesReply) error {
		return parallel("sizes", len(a.Bytes), len(req.Partitions))
	})
	return callNode(ctx, t, to, methodSizes, req, putSizesRequest, decode)
}

func putSizesRequest(b *wire.Buffer, q antientropy.SizesRequest) { b.B = appendSizesRequest(b.B, q) }

func putSizesReply(b *wire.Buffer, a antientropy.SizesReply) { b.B = appendSizesReply(b.B, a) }

func appendSizesRequest(dst []byte, q antientropy.SizesRequest) []byte {
	return appendPacked32(dst, sizesPartitions, q.Partitions)
}

func decodeSizesRequest(b []byte) (q antientropy.SizesRequest, err error) {
	f := fields{b: b}
	for f.next() {
		if f.num != sizesPartitions {
			continue
		}
		q.Partitions = packed32[uint32](&f, maxSizes)
		for _, p := range q.Partitions {
			if p > maxPartitionCode {
				f.fail(malformed("partition %d, at most %d", p, maxPartitionCode))
			}
		}
	}
	return q, f.err
}

func appendSizesReply(dst []byte, a antientropy.SizesReply) []byte {
	return appendPacked(dst, sizesBytes, a.Bytes)
}

func decodeSizesReply(b []byte) (a antientropy.SizesReply, err error) {
	f := fields{b: b}
	for f.next() {
		if f.num != sizesBytes {
			continue
		}
		for n := range f.packed(maxSizes) {
			a.Bytes = append(a.Bytes, n)
		}
	}
	return a, f.err
}
