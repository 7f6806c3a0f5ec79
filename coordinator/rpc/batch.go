package rpc

import (
	"context"
	"errors"
	"math"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/coordinator"
	"starling/coordinator/rpc/internal/wire"
	"starling/ring"
)

// The messages of batches: many reads, copies or forwarded puts at once, each
// entry coded as the message of a single one. The reply has an answer for each
// of the first entries.
const (
	listEntry protowire.Number = 1

	answersAnswer protowire.Number = 1

	answerValue protowire.Number = 1 // of an answer, left out where it is empty
	answerError protowire.Number = 2 // instead of the value
)

// maxBatch bounds the entries of a message, several times what a node sends.
const maxBatch = 1024

// ReadBatch implements coordinator.BatchPeers.
func (t *Transport) ReadBatch(ctx context.Context, to ring.NodeID, reqs []coordinator.ReadRequest) ([]coordinator.Answer[coordinator.ReadReply], error) {
	return callBatch(ctx, t, to, methodReadBatch, reqs, putReadBatch, decodeReadAnswers, t.Read)
}

// ReplicateBatch implements coordinator.BatchPeers.
func (t *Transport) ReplicateBatch(ctx context.Context, to ring.NodeID, reqs []coordinator.ReplicateRequest) ([]coordinator.Answer[struct{}], error) {
	one := func(ctx context.Context, to ring.NodeID, q coordinator.ReplicateRequest) (struct{}, error) {
		return struct{}{}, t.Replicate(ctx, to, q)
	}
	return callBatch(ctx, t, to, methodReplicateBatch, reqs, putReplicateBatch, decodeReplicateAnswers, one)
}

// ForwardBatch implements coordinator.BatchPeers.
func (t *Transport) ForwardBatch(ctx context.Context, to ring.NodeID, reqs []coordinator.ForwardRequest) ([]coordinator.Answer[coordinator.PutResult], error) {
	return callBatch(ctx, t, to, methodForwardBatch, reqs, putForwardBatch, decodeForwardAnswers, t.Forward)
}

// callBatch sends one message. A peer that is too old to know it gets the
// entries one by one, all at once.
func callBatch[Q, A any](ctx context.Context, t *Transport, to ring.NodeID, m method, reqs []Q,
	put func(*wire.Buffer, []Q), decode func([]byte) ([]coordinator.Answer[A], error),
	one func(context.Context, ring.NodeID, Q) (A, error)) ([]coordinator.Answer[A], error) {
	answers, err := callNode(ctx, t, to, m, reqs, put, checked(decode, func(answers []coordinator.Answer[A]) error {
		if len(answers) == 0 || len(answers) > len(reqs) {
			return malformed("%d answers to the %d entries of %s", len(answers), len(reqs), m)
		}
		return nil
	}))
	if !errors.Is(err, ErrMethod) {
		return answers, err
	}
	answers = make([]coordinator.Answer[A], len(reqs))
	var wg sync.WaitGroup
	for i, q := range reqs {
		wg.Go(func() { answers[i].Value, answers[i].Err = one(ctx, to, q) })
	}
	wg.Wait()
	return answers, nil
}

func serveBatch(ctx context.Context, m method, r coordinator.BatchReplica, payload []byte, reply *wire.Buffer) error {
	switch m {
	case methodReadBatch:
		return answer(ctx, payload, reply, decodeReadBatch, r.HandleReadBatch, putReadAnswers)
	case methodReplicateBatch:
		return answer(ctx, payload, reply, decodeReplicateBatch, r.HandleReplicateBatch, putReplicateAnswers)
	default:
		return answer(ctx, payload, reply, decodeForwardBatch, r.HandleForwardBatch, putForwardAnswers)
	}
}

// appendList appends requests, each as one field.
func appendList[Q any](dst []byte, reqs []Q, put func([]byte, Q) []byte) []byte {
	for _, q := range reqs {
		dst = appendNested(dst, listEntry, func(b []byte) []byte { return put(b, q) })
	}
	return dst
}

// decodeList insists on a key in each request, see decodeKeyDigest.
func decodeList[Q any](b []byte, decode func([]byte) (Q, error), key func(*Q) string) (reqs []Q, err error) {
	f := fields{b: b}
	for f.next() {
		if f.num != listEntry {
			continue
		}
		entry := f.element(len(reqs), maxBatch)
		if f.err != nil {
			break
		}
		q, err := decode(entry)
		if err == nil && key(&q) == "" {
			err = malformed("entry without a key")
		}
		f.fail(err)
		reqs = append(reqs, q)
	}
	return reqs, f.err
}

func appendAnswers[A any](dst []byte, answers []coordinator.Answer[A], put func([]byte, A) []byte) []byte {
	for _, a := range answers {
		dst = appendNested(dst, answersAnswer, func(b []byte) []byte {
			if a.Err != nil {
				return appendNested(b, answerError, func(b []byte) []byte { return appendError(b, a.Err) })
			}
			n := len(b)
			b = appendNested(b, answerValue, func(b []byte) []byte { return put(b, a.Value) })
			if len(b) == n+2 { // the head of an empty value
				b = b[:n]
			}
			return b
		})
	}
	return dst
}

func decodeAnswers[A any](b []byte, decode func([]byte) (A, error)) (answers []coordinator.Answer[A], err error) {
	f := fields{b: b}
	for f.next() {
		if f.num == answersAnswer {
			answers = append(answers, decodeAnswer(&f, len(answers), decode))
		}
	}
	return answers, f.err
}

func decodeAnswer[A any](f *fields, have int, decode func([]byte) (A, error)) (a coordinator.Answer[A]) {
	e := fields{b: f.element(have, maxBatch)}
	valued := false
	for e.next() {
		var err error
		switch e.num {
		case answerValue:
			valued = true
			if b := e.raw(math.MaxInt); e.err == nil {
				a.Value, err = decode(b)
			}
		case answerError:
			if valued || e.again {
				e.fail(malformed("an answer with an error and something else"))
			}
			a.Err, err = decodeAnswerError(&e)
		}
		e.fail(err)
	}
	f.fail(e.err)
	return a
}

func decodeAnswerError(e *fields) (error, error) {
	b := e.element(0, 1) // empty when all of it is zero
	if e.err != nil {
		return nil, e.err
	}
	remote, err := decodeError(b)
	if err != nil {
		return nil, err
	}
	return remote, nil
}

func appendReadBatch(dst []byte, reqs []coordinator.ReadRequest) []byte {
	return appendList(dst, reqs, appendReadRequest)
}

func decodeReadBatch(b []byte) ([]coordinator.ReadRequest, error) {
	return decodeList(b, decodeReadRequest, func(q *coordinator.ReadRequest) string { return q.Ref.Key })
}

func appendReadAnswers(dst []byte, answers []coordinator.Answer[coordinator.ReadReply]) []byte {
	return appendAnswers(dst, answers, appendReadReply)
}

func decodeReadAnswers(b []byte) ([]coordinator.Answer[coordinator.ReadReply], error) {
	return decodeAnswers(b, decodeReadReply)
}

func appendReplicateBatch(dst []byte, reqs []coordinator.ReplicateRequest) []byte {
	return appendList(dst, reqs, appendReplicateRequest)
}

func decodeReplicateBatch(b []byte) ([]coordinator.ReplicateRequest, error) {
	return decodeList(b, decodeReplicateRequest, func(q *coordinator.ReplicateRequest) string { return q.Ref.Key })
}

func appendReplicateAnswers(dst []byte, answers []coordinator.Answer[struct{}]) []byte {
	return appendAnswers(dst, answers, func(b []byte, _ struct{}) []byte { return b })
}

func decodeReplicateAnswers(b []byte) ([]coordinator.Answer[struct{}], error) {
	return decodeAnswers(b, decodeEmpty)
}

func appendForwardBatch(dst []byte, reqs []coordinator.ForwardRequest) []byte {
	return appendList(dst, reqs, appendForwardRequest)
}

func decodeForwardBatch(b []byte) ([]coordinator.ForwardRequest, error) {
	return decodeList(b, decodeForwardRequest, func(q *coordinator.ForwardRequest) string { return q.Put.Key })
}

func appendForwardAnswers(dst []byte, answers []coordinator.Answer[coordinator.PutResult]) []byte {
	return appendAnswers(dst, answers, appendPutResult)
}

func decodeForwardAnswers(b []byte) ([]coordinator.Answer[coordinator.PutResult], error) {
	return decodeAnswers(b, decodePutResult)
}

// The put functions make room at once for what they append.

func putReadBatch(b *wire.Buffer, reqs []coordinator.ReadRequest) {
	n := 0
	for i := range reqs {
		n += refBytes(reqs[i].Ref) + 32
	}
	b.Grow(n)
	b.B = appendReadBatch(b.B, reqs)
}

func putReadAnswers(b *wire.Buffer, answers []coordinator.Answer[coordinator.ReadReply]) {
	n := 0
	for i := range answers {
		n += answers[i].Value.Object.Size() + 32
	}
	b.Grow(n)
	b.B = appendReadAnswers(b.B, answers)
}

func putReplicateBatch(b *wire.Buffer, reqs []coordinator.ReplicateRequest) {
	n := 0
	for i := range reqs {
		n += replicateBytes(reqs[i]) + 8
	}
	b.Grow(n)
	b.B = appendReplicateBatch(b.B, reqs)
}

func putReplicateAnswers(b *wire.Buffer, answers []coordinator.Answer[struct{}]) {
	b.B = appendReplicateAnswers(b.B, answers)
}

func putForwardBatch(b *wire.Buffer, reqs []coordinator.ForwardRequest) {
	n := 0
	for i := range reqs {
		n += forwardBytes(reqs[i])
	}
	b.Grow(n)
	b.B = appendForwardBatch(b.B, reqs)
}

func putForwardAnswers(b *wire.Buffer, answers []coordinator.Answer[coordinator.PutResult]) {
	b.Grow(256 * len(answers))
	b.B = appendForwardAnswers(b.B, answers)
}
