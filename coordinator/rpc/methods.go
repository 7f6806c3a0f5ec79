package rpc

import (
	"context"
	"fmt"
	"time"

	"starling/antientropy"
	"starling/coordinator"
	"starling/coordinator/rpc/internal/wire"
	"starling/gossip/state"
	"starling/store/object"
)

// method is a request's number on the wire. Numbers are never given anew.
type method uint8

const (
	methodPing method = 1 + iota
	methodExchange
	methodRead
	methodReplicate
	methodForward
	methodConfirm
	methodPull
	methodInspect
	methodStatus
	methodCompare
	methodKeys
	methodFetch
	methodPush
	methodReport
	methodCandidates
	methodVerify
	methodPurge
	methodRepair
	methodSizes
	methodReadBatch
	methodReplicateBatch
	methodForwardBatch
	methodList

	methods // one more than the last
)

var methodNames = [methods]string{
	"unknown", "ping", "exchange", "read", "replicate", "forward", "confirm", "pull", "inspect", "status",
	"compare", "keys", "fetch", "push", "report", "candidates", "verify", "purge", "repair",
	"sizes", "read_batch", "replicate_batch", "forward_batch", "list",
}

// known is m, or 0 for a method that this build has never heard of.
func known(m uint8) method {
	if m < uint8(methods) {
		return method(m)
	}
	return 0
}

func (m method) String() string { return methodNames[m] }

// class keeps what fills a connection away from what somebody waits for. Bulk
// is what carries objects, and what says something of thousands of keys: a page
// of 4096 takes a few 100 KB, and some MB where the names are long, which would
// delay a quorum behind it; and nobody who asks for one minds waiting behind a
// page of objects. A comparison takes some KB, and a report some 10 KB and
// somebody who wants to know what is wrong, perhaps because bulk is stuck.
func (m method) class() wire.Class {
	switch m {
	case methodExchange, methodPull, methodKeys, methodFetch, methodPush,
		methodCandidates, methodVerify, methodPurge, methodList:
		return wire.Bulk
	}
	return wire.Interactive
}

// unjoined reports whether a method is for nodes without a common cluster too.
func unjoined(m uint8) bool { return method(m) == methodExchange }

// Services are what a node does for others. A field that is nil answers
// coordinator.ErrNotReady.
type Services struct {
	Replica   coordinator.Replica
	Batch     coordinator.BatchReplica
	List      coordinator.ListReplica
	Diagnosis coordinator.Diagnosis
	Source    antientropy.Source
	// Exchange merges a peer's map and returns the outcome.
	Exchange func(ctx context.Context, theirs state.Map) (state.Map, error)
	// Convergence reports, Repair answers the exchanges that other owners
	// begin, and Reap does this node's part of a purge.
	Convergence antientropy.Reporter
	Repair      antientropy.Replica
	Reap        antientropy.Reaped
	// Mend begins repairs for other members.
	Mend antientropy.Repairer
}

func notReady(m method) error {
	return fmt.Errorf("%w: this node does not serve %s yet", coordinator.ErrNotReady, m)
}

// serve runs one request of a peer.
func (t *Transport) serve(ctx context.Context, number uint8, payload []byte, reply *wire.Buffer) error {
	s := t.services.Load()
	switch m := known(number); m {
	case methodPing:
		_, err := decodeEmpty(payload)
		return err
	case methodExchange:
		if s.Exchange == nil {
			return notReady(m)
		}
		return answer(ctx, payload, reply, decodeMap, s.Exchange, putMap)
	case methodRead, methodReplicate, methodForward:
		if s.Replica == nil {
			return notReady(m)
		}
		err := serveReplica(ctx, m, s.Replica, payload, reply)
		if late := t.delayReply(ctx); late != nil {
			return late
		}
		return err
	case methodReadBatch, methodReplicateBatch, methodForwardBatch:
		if s.Batch == nil {
			return notReady(m)
		}
		err := serveBatch(ctx, m, s.Batch, payload, reply)
		if late := t.delayReply(ctx); late != nil {
			return late
		}
		return err
	case methodList:
		if s.List == nil {
			return notReady(m)
		}
		return serveList(ctx, s.List, payload, reply)
	case methodConfirm, methodPull, methodSizes:
		if s.Source == nil {
			return notReady(m)
		}
		return serveSource(ctx, m, s.Source, payload, reply)
	case methodInspect, methodStatus:
		if s.Diagnosis == nil {
			return notReady(m)
		}
		return serveDiagnosis(ctx, m, s.Diagnosis, payload, reply)
	case methodCompare, methodKeys, methodFetch, methodPush:
		if s.Repair == nil {
			return notReady(m)
		}
		return serveRepair(ctx, m, s.Repair, payload, reply)
	case methodReport:
		if s.Convergence == nil {
			return notReady(m)
		}
		return serveReport(ctx, s.Convergence, payload, reply)
	case methodCandidates, methodVerify, methodPurge:
		if s.Reap == nil {
			return notReady(m)
		}
		return serveReap(ctx, m, s.Reap, payload, reply)
	case methodRepair:
		if s.Mend == nil {
			return notReady(m)
		}
		return serveMend(ctx, s.Mend, payload, reply)
	default:
		return fmt.Errorf("%w: number %d", ErrMethod, number)
	}
}

func serveReplica(ctx context.Context, m method, r coordinator.Replica, payload []byte, reply *wire.Buffer) error {
	switch m {
	case methodRead:
		return answer(ctx, payload, reply, decodeReadRequest, r.HandleRead, putReadReply)
	case methodReplicate:
		q, err := decodeReplicateRequest(payload)
		if err != nil {
			return err
		}
		return r.HandleReplicate(ctx, q)
	default:
		return answer(ctx, payload, reply, decodeForwardRequest, r.HandleForward, putPutResult)
	}
}

func serveSource(ctx context.Context, m method, s antientropy.Source, payload []byte, reply *wire.Buffer) error {
	switch m {
	case methodConfirm:
		return answer(ctx, payload, reply, decodeClaims, s.HandleConfirm, putClaims)
	case methodPull:
		return answer(ctx, payload, reply, decodePullRequest, s.HandlePull, putPullPage)
	default:
		return answer(ctx, payload, reply, decodeSizesRequest, s.HandleSizes, putSizesReply)
	}
}

func serveDiagnosis(ctx context.Context, m method, d coordinator.Diagnosis, payload []byte, reply *wire.Buffer) error {
	if m == methodInspect {
		return answer(ctx, payload, reply, decodeInspectRequest, d.HandleInspect, putInspectReply)
	}
	status := func(ctx context.Context, _ struct{}) (coordinator.NodeStatus, error) { return d.HandleStatus(ctx) }
	return answer(ctx, payload, reply, decodeEmpty, status, putNodeStatus)
}

// answer decodes a request, handles it and encodes the reply.
func answer[Q, A any](ctx context.Context, payload []byte, reply *wire.Buffer,
	decode func([]byte) (Q, error), handle func(context.Context, Q) (A, error), put func(*wire.Buffer, A)) error {
	q, err := decode(payload)
	if err != nil {
		return err
	}
	a, err := handle(ctx, q)
	if err != nil {
		return err
	}
	put(reply, a)
	return nil
}

// delayReply holds a replica's answer back, in tests. When the deadline comes
// first the answer is that, and not one that comes just in time.
func (t *Transport) delayReply(ctx context.Context) error {
	if t.opts.ReplyDelay <= 0 {
		return nil
	}
	timer := time.NewTimer(t.opts.ReplyDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The put functions append a message to a frame, and make room for the large
// ones at once.

func putMap(b *wire.Buffer, m state.Map) { b.B = appendMap(b.B, m) }

func putReadRequest(b *wire.Buffer, q coordinator.ReadRequest) { b.B = appendReadRequest(b.B, q) }

func putReadReply(b *wire.Buffer, a coordinator.ReadReply) {
	b.Grow(a.Object.Size() + 16)
	b.B = appendReadReply(b.B, a)
}

func putReplicateRequest(b *wire.Buffer, q coordinator.ReplicateRequest) {
	b.Grow(replicateBytes(q))
	b.B = appendReplicateRequest(b.B, q)
}

func putForwardRequest(b *wire.Buffer, q coordinator.ForwardRequest) {
	b.Grow(forwardBytes(q))
	b.B = appendForwardRequest(b.B, q)
}

func putPutResult(b *wire.Buffer, a coordinator.PutResult) { b.B = appendPutResult(b.B, a) }

func putEmpty(*wire.Buffer, struct{}) {}

func putInspectRequest(b *wire.Buffer, r object.Ref) { b.B = appendRef(b.B, r) }

func putInspectReply(b *wire.Buffer, a coordinator.InspectReply) { b.B = appendInspectReply(b.B, a) }

func putNodeStatus(b *wire.Buffer, a coordinator.NodeStatus) { b.B = appendNodeStatus(b.B, a) }

func putClaims(b *wire.Buffer, claims []antientropy.Claim) { b.B = appendClaims(b.B, claims) }

func putPullRequest(b *wire.Buffer, q antientropy.PullRequest) { b.B = appendPullRequest(b.B, q) }

func putPullPage(b *wire.Buffer, a antientropy.PullPage) {
	b.Grow(entriesBytes(a.Entries))
	b.B = appendPullPage(b.B, a)
}
