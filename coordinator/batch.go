package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"starling/ring"
	"starling/store/object"
)

// A batch is many gets and puts that share their way to the other nodes, and
// nothing else. Each operation is carried out as if it had come alone: with its
// own core, stamp, hints, operation ID and outcome. Only the transport differs:
// what the operations of one batch have for one node at about the same time
// travels in one message (see batchlane.go). The receiving node too handles each
// entry as if it had come alone, but waits for the syncs of all of them together.
//
// A message has one answer, so entries that share one wait for each other. None
// waits for the deadline of another: a node that coordinates forwarded puts
// gives each up early enough for the answer about the others.

// ErrBatchFull: the gets of a batch before this one read as many bytes as those
// of one batch may. Nothing was read; ask for the key in another batch.
var ErrBatchFull = errors.New("coordinator: the batch has read as many bytes as one may")

// BatchOp is one operation of a batch: exactly one of the two is set.
type BatchOp struct {
	Get *GetRequest
	Put *PutRequest
}

// BatchResult is what became of one operation. Where Err is nil, Get or Put has
// what the operation alone would have answered; else Err is one that
// [Coordinator.Get] or [Coordinator.Put] has, or [ErrBatchFull].
type BatchResult struct {
	Get GetResult
	Put PutResult
	Err error
}

// Answer is the outcome of one entry of a message.
type Answer[T any] struct {
	Value T // meant where Err is nil
	Err   error
}

// BatchPeers carries many requests to another member in one message. The
// answers are those to the first of the requests, in order and at least one:
// what is not answered was not begun, and may be asked for again. An error is
// that of the whole message, and as those of [Peers].
type BatchPeers interface {
	ReadBatch(ctx context.Context, to ring.NodeID, reqs []ReadRequest) ([]Answer[ReadReply], error)
	ReplicateBatch(ctx context.Context, to ring.NodeID, reqs []ReplicateRequest) ([]Answer[struct{}], error)
	ForwardBatch(ctx context.Context, to ring.NodeID, reqs []ForwardRequest) ([]Answer[PutResult], error)
}

// BatchReplica is the answering side of [BatchPeers]; [Coordinator] implements
// it.
type BatchReplica interface {
	HandleReadBatch(ctx context.Context, reqs []ReadRequest) ([]Answer[ReadReply], error)
	HandleReplicateBatch(ctx context.Context, reqs []ReplicateRequest) ([]Answer[struct{}], error)
	HandleForwardBatch(ctx context.Context, reqs []ForwardRequest) ([]Answer[PutResult], error)
}

const (
	// batchPlaces is how many operations of batches are under way at a node at
	// once, and how many forwarded ones beside them; further ones wait. They are
	// counted apart, so that two nodes that are full of each other's puts do
	// not wait for each other.
	batchPlaces = 2048
	// maxTogether is how many operations of one batch are under way at once.
	maxTogether = 256
	// maxReading is how many gets of one batch are under way at once. Those that
	// begin after maxReadBytes were read are refused: so one batch holds that
	// much, and maxReading objects, at most.
	maxReading   = 64
	maxReadBytes = 16 << 20
	// maxReplyBytes bounds the objects in the answer to a read of many keys: it
	// ends behind the one that reaches it.
	maxReplyBytes = 1 << 20
	// forwardMargin is how long before the deadline of a message of forwarded
	// puts each of them is given up, but no more than a quarter of the time.
	forwardMargin = 50 * time.Millisecond
)

// batches is what the batches of a node share.
type batches struct {
	own, forwarded chan struct{} // an element for each operation under way
	metrics        *batchMetrics
}

func newBatches(m *batchMetrics) batches {
	return batches{own: make(chan struct{}, batchPlaces), forwarded: make(chan struct{}, batchPlaces), metrics: m}
}

// Batch carries out gets and puts of any keys at once, and answers when all of
// them have ended, in their order. It is not atomic, and its operations run
// beside each other, in no order: two puts of one key are concurrent writes.
// The deadline of ctx, which must be set, is that of each.
func (c *Coordinator) Batch(ctx context.Context, ops []BatchOp) []BatchResult {
	results := make([]BatchResult, len(ops))
	c.batches.metrics.operations[batchOwn].Add(float64(len(ops)))
	reads := &reading{c: c, places: make(chan struct{}, maxReading)}
	c.together(ctx, c.batches.own, len(ops), func(ctx context.Context, i int, err error) {
		r := &results[i]
		switch op := ops[i]; {
		case err != nil:
			r.Err = err
		case op.Get != nil:
			r.Get, r.Err = reads.get(ctx, *op.Get)
		case op.Put != nil:
			r.Put, r.Err = c.Put(ctx, *op.Put)
		default:
			r.Err = fmt.Errorf("%w: an operation that is neither a get nor a put", ErrInvalid)
		}
	})
	return results
}

// reading is the gets of one batch.
type reading struct {
	c      *Coordinator
	places chan struct{} // an element for each get under way
	bytes  atomic.Int64  // read so far
}

func (r *reading) get(ctx context.Context, req GetRequest) (GetResult, error) {
	r.places <- struct{}{} // those before end with ctx
	defer func() { <-r.places }()
	if r.bytes.Load() >= maxReadBytes {
		return GetResult{}, ErrBatchFull
	}
	res, err := r.c.Get(ctx, req)
	r.bytes.Add(int64(res.Object.Size()))
	return res, err
}

// together calls do for each of n operations, maxTogether at once and as the
// places allow, with a context by which they share messages. err is why an
// operation cannot be begun.
func (c *Coordinator) together(ctx context.Context, places chan struct{}, n int, do func(ctx context.Context, i int, err error)) {
	if n > 1 && c.opts.Batches != nil {
		ctx = context.WithValue(ctx, batchKey{}, newBatch(c))
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	for range min(n, maxTogether) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				select {
				case places <- struct{}{}:
					do(ctx, i, nil)
					<-places
				case <-ctx.Done():
					do(ctx, i, fmt.Errorf("%w: %d operations of batches are under way", ErrOverloaded, cap(places)))
				}
			}
		})
	}
}

// HandleReadBatch answers this node's copies, until they are enough for one
// answer.
func (c *Coordinator) HandleReadBatch(ctx context.Context, reqs []ReadRequest) ([]Answer[ReadReply], error) {
	answers := make([]Answer[ReadReply], 0, len(reqs))
	bytes := 0
	for i, req := range reqs {
		if i > 0 && (bytes >= maxReplyBytes || ctx.Err() != nil) {
			break
		}
		reply, err := c.HandleRead(ctx, req)
		bytes += reply.Object.Size()
		answers = append(answers, Answer[ReadReply]{reply, err})
	}
	return answers, nil
}

// HandleReplicateBatch merges objects as HandleReplicate does, and returns when
// all are durable that could be merged.
func (c *Coordinator) HandleReplicateBatch(ctx context.Context, reqs []ReplicateRequest) ([]Answer[struct{}], error) {
	answers := make([]Answer[struct{}], 0, len(reqs))
	written := make([]object.Written, 0, len(reqs))
	for i, req := range reqs {
		if i > 0 && ctx.Err() != nil {
			break
		}
		w, err := c.receive(req)
		written, answers = append(written, w), append(answers, Answer[struct{}]{Err: err})
	}
	for i := range answers {
		if answers[i].Err == nil {
			answers[i].Err = durable(written[i])
		}
	}
	return answers, nil
}

// HandleForwardBatch coordinates puts for a node that is no owner of their
// keys. These too share their messages.
func (c *Coordinator) HandleForwardBatch(ctx context.Context, reqs []ForwardRequest) ([]Answer[PutResult], error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-min(forwardMargin, time.Until(deadline)/4)))
		defer cancel()
	}
	answers := make([]Answer[PutResult], len(reqs))
	c.batches.metrics.operations[batchForwarded].Add(float64(len(reqs)))
	c.together(ctx, c.batches.forwarded, len(reqs), func(ctx context.Context, i int, err error) {
		if err == nil {
			answers[i].Value, err = c.HandleForward(ctx, reqs[i])
		}
		answers[i].Err = err
	})
	return answers, nil
}
