package rpc

import (
	"context"

	"starling/antientropy"
	"starling/coordinator/rpc/internal/wire"
	"starling/ring"
)

// Both sides of the calls by which a cluster converges without traffic: the
// exchanges of owners, the reports, and the purges.

// Compare implements antientropy.ReplicaPeers. The answer has a comparison for
// each root.
func (t *Transport) Compare(ctx context.Context, to ring.NodeID, req antientropy.CompareRequest) ([]antientropy.Comparison, error) {
	decode := checked(decodeComparisons, func(a []antientropy.Comparison) error {
		return parallel("comparisons", len(a), len(req.Roots))
	})
	return callNode(ctx, t, to, methodCompare, req, putCompareRequest, decode)
}

// Keys implements antientropy.ReplicaPeers.
func (t *Transport) Keys(ctx context.Context, to ring.NodeID, req antientropy.KeysRequest) (antientropy.KeysPage, error) {
	return callNode(ctx, t, to, methodKeys, req, putKeysRequest, decodeKeysPage)
}

// Fetch implements antientropy.ReplicaPeers. The answer is about no more refs
// than were asked for.
func (t *Transport) Fetch(ctx context.Context, to ring.NodeID, req antientropy.FetchRequest) (antientropy.FetchPage, error) {
	decode := checked(decodeFetchPage, func(a antientropy.FetchPage) error {
		if int(a.Done) > len(req.Refs) || len(a.Entries) > int(a.Done) {
			return malformed("%d objects of %d references, asked for %d", len(a.Entries), a.Done, len(req.Refs))
		}
		return nil
	})
	return callNode(ctx, t, to, methodFetch, req, putFetchRequest, decode)
}

// Push implements antientropy.ReplicaPeers. A request that exceeds a frame,
// wire.MaxPayload, is refused with coordinator.ErrInvalid and not sent.
func (t *Transport) Push(ctx context.Context, to ring.NodeID, req antientropy.PushRequest) (news uint32, err error) {
	return callNode(ctx, t, to, methodPush, req, putPushRequest, decodeCount)
}

// Report implements antientropy.ReportPeers.
func (t *Transport) Report(ctx context.Context, to ring.NodeID) (antientropy.Report, error) {
	return callNode(ctx, t, to, methodReport, struct{}{}, putEmpty, decodeReport)
}

// Candidates implements antientropy.ReapPeers.
func (t *Transport) Candidates(ctx context.Context, to ring.NodeID, req antientropy.CandidatesRequest) (antientropy.CandidatesPage, error) {
	return callNode(ctx, t, to, methodCandidates, req, putCandidatesRequest, decodeCandidatesPage)
}

// Verify implements antientropy.ReapPeers. The answer has a state and a count
// of hint writes for each key.
func (t *Transport) Verify(ctx context.Context, to ring.NodeID, req antientropy.VerifyRequest) (antientropy.VerifyReply, error) {
	decode := checked(decodeVerifyReply, func(a antientropy.VerifyReply) error {
		if err := parallel("states", len(a.States), len(req.Keys)); err != nil {
			return err
		}
		return parallel("counts of hint writes", len(a.HintWrites), len(req.Keys))
	})
	return callNode(ctx, t, to, methodVerify, req, putVerifyRequest, decode)
}

// Purge implements antientropy.ReapPeers.
func (t *Transport) Purge(ctx context.Context, to ring.NodeID, req antientropy.PurgeRequest) (purged uint32, err error) {
	return callNode(ctx, t, to, methodPurge, req, putPurgeRequest, decodeCount)
}

// checked is a decoder of a reply that also holds it against its request.
func checked[A any](decode func([]byte) (A, error), check func(A) error) func([]byte) (A, error) {
	return func(b []byte) (A, error) {
		a, err := decode(b)
		if err == nil {
			err = check(a)
		}
		if err != nil {
			var none A
			return none, err
		}
		return a, nil
	}
}

// parallel refuses a list that is not as long as the request's.
func parallel(what string, got, want int) error {
	if got != want {
		return malformed("%d %s, asked for %d", got, what, want)
	}
	return nil
}

func serveRepair(ctx context.Context, m method, r antientropy.Replica, payload []byte, reply *wire.Buffer) error {
	switch m {
	case methodCompare:
		return answer(ctx, payload, reply, decodeCompareRequest, r.HandleCompare, putComparisons)
	case methodKeys:
		return answer(ctx, payload, reply, decodeKeysRequest, r.HandleKeys, putKeysPage)
	case methodFetch:
		return answer(ctx, payload, reply, decodeFetchRequest, r.HandleFetch, putFetchPage)
	default:
		return answer(ctx, payload, reply, decodePushRequest, r.HandlePush, putCount)
	}
}

func serveReport(ctx context.Context, r antientropy.Reporter, payload []byte, reply *wire.Buffer) error {
	report := func(ctx context.Context, _ struct{}) (antientropy.Report, error) { return r.HandleReport(ctx) }
	return answer(ctx, payload, reply, decodeEmpty, report, putReport)
}

func serveReap(ctx context.Context, m method, r antientropy.Reaped, payload []byte, reply *wire.Buffer) error {
	switch m {
	case methodCandidates:
		return answer(ctx, payload, reply, decodeCandidatesRequest, r.HandleCandidates, putCandidatesPage)
	case methodVerify:
		return answer(ctx, payload, reply, decodeVerifyRequest, r.HandleVerify, putVerifyReply)
	default:
		return answer(ctx, payload, reply, decodePurgeRequest, r.HandlePurge, putCount)
	}
}

func putCompareRequest(b *wire.Buffer, q antientropy.CompareRequest) {
	b.Grow(compareBytes(q))
	b.B = appendCompareRequest(b.B, q)
}

func putComparisons(b *wire.Buffer, a []antientropy.Comparison) {
	b.Grow(comparisonsBytes(a))
	b.B = appendComparisons(b.B, a)
}

func putKeysRequest(b *wire.Buffer, q antientropy.KeysRequest) {
	b.Grow(keysRequestBytes(q))
	b.B = appendKeysRequest(b.B, q)
}

func putKeysPage(b *wire.Buffer, a antientropy.KeysPage) {
	b.Grow(keysPageBytes(a))
	b.B = appendKeysPage(b.B, a)
}

func putFetchRequest(b *wire.Buffer, q antientropy.FetchRequest) {
	b.Grow(fetchBytes(q))
	b.B = appendFetchRequest(b.B, q)
}

func putFetchPage(b *wire.Buffer, a antientropy.FetchPage) {
	b.Grow(entriesBytes(a.Entries))
	b.B = appendFetchPage(b.B, a)
}

func putPushRequest(b *wire.Buffer, q antientropy.PushRequest) {
	b.Grow(entriesBytes(q.Entries))
	b.B = appendPushRequest(b.B, q)
}

func putCount(b *wire.Buffer, n uint32) { b.B = appendCount(b.B, n) }

func putReport(b *wire.Buffer, a antientropy.Report) {
	b.Grow(reportBytes(a))
	b.B = appendReport(b.B, a)
}

func putCandidatesRequest(b *wire.Buffer, q antientropy.CandidatesRequest) {
	b.B = appendCandidatesRequest(b.B, q)
}

func putCandidatesPage(b *wire.Buffer, a antientropy.CandidatesPage) {
	b.Grow(candidatesPageBytes(a))
	b.B = appendCandidatesPage(b.B, a)
}

func putVerifyRequest(b *wire.Buffer, q antientropy.VerifyRequest) {
	b.Grow(reapBytes(q.Keys))
	b.B = appendVerifyRequest(b.B, q)
}

func putVerifyReply(b *wire.Buffer, a antientropy.VerifyReply) {
	b.Grow(verifyReplyBytes(a))
	b.B = appendVerifyReply(b.B, a)
}

func putPurgeRequest(b *wire.Buffer, q antientropy.PurgeRequest) {
	b.Grow(reapBytes(q.Keys))
	b.B = appendPurgeRequest(b.B, q)
}
