package rpc

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/coordinator"
	"starling/coordinator/rpc/internal/wire"
	"starling/store/object"
)

// A batch is served by the functions of single requests.

func (n *fakeNode) HandleReadBatch(ctx context.Context, reqs []coordinator.ReadRequest) ([]coordinator.Answer[coordinator.ReadReply], error) {
	return each(ctx, reqs, n.read)
}

func (n *fakeNode) HandleReplicateBatch(ctx context.Context, reqs []coordinator.ReplicateRequest) ([]coordinator.Answer[struct{}], error) {
	return each(ctx, reqs, func(ctx context.Context, q coordinator.ReplicateRequest) (struct{}, error) {
		return struct{}{}, n.replicate(ctx, q)
	})
}

func (n *fakeNode) HandleForwardBatch(ctx context.Context, reqs []coordinator.ForwardRequest) ([]coordinator.Answer[coordinator.PutResult], error) {
	return each(ctx, reqs, n.forward)
}

func each[Q, A any](ctx context.Context, reqs []Q, one func(context.Context, Q) (A, error)) (answers []coordinator.Answer[A], _ error) {
	for _, q := range reqs {
		a, err := one(ctx, q)
		answers = append(answers, coordinator.Answer[A]{Value: a, Err: err})
	}
	return answers, nil
}

func batchMessages() []message {
	hint := coordinator.ReplicateRequest{Ref: testRef, Stamp: 1, Object: testObject, For: nodeB}
	refused := remoteOf(coordinator.ErrStaleRing)
	return []message{
		messageOf("read-batch", []coordinator.ReadRequest{{Ref: testRef, Stamp: 1, Have: 1 << 60, Hints: true}, {Ref: testRef, Stamp: 2, Have: 3, Hints: true}},
			appendReadBatch, decodeReadBatch),
		messageOf("replicate-batch", []coordinator.ReplicateRequest{hint, hint}, appendReplicateBatch, decodeReplicateBatch),
		messageOf("forward-batch", []coordinator.ForwardRequest{testForward(), testForward()}, appendForwardBatch, decodeForwardBatch),
		messageOf("read-answers", []coordinator.Answer[coordinator.ReadReply]{
			{Value: coordinator.ReadReply{Object: testObject, Same: true}}, {}, {Err: refused},
		}, appendReadAnswers, decodeReadAnswers),
		messageOf("replicate-answers", []coordinator.Answer[struct{}]{{}, {Err: refused}, {}}, appendReplicateAnswers, decodeReplicateAnswers),
		messageOf("forward-answers", []coordinator.Answer[coordinator.PutResult]{
			{Value: testResult(nodeB, nodeA)}, {Err: remoteOf(testQuorumError())},
		}, appendForwardAnswers, decodeForwardAnswers),
	}
}

func TestBatchesCarryEveryOutcome(t *testing.T) {
	boom := errors.New("boom")
	n := &fakeNode{
		read: func(_ context.Context, q coordinator.ReadRequest) (coordinator.ReadReply, error) {
			if q.Stamp == 2 {
				return coordinator.ReadReply{}, coordinator.ErrStaleRing
			}
			return coordinator.ReadReply{Object: testObject}, nil
		},
		replicate: func(_ context.Context, q coordinator.ReplicateRequest) error {
			if q.Stamp == 2 {
				return boom
			}
			return nil
		},
		forward: func(_ context.Context, q coordinator.ForwardRequest) (coordinator.PutResult, error) {
			if q.Stamp == 2 {
				return coordinator.PutResult{}, testQuorumError()
			}
			return testResult(nodeB, nodeA), nil
		},
	}
	caller, _, _ := pair(t, n)
	reads, err := caller.ReadBatch(short(t), nodeB, []coordinator.ReadRequest{{Ref: testRef, Stamp: 2}, {Ref: testRef, Stamp: 1}})
	wantErr(t, err, nil)
	wantErr(t, reads[0].Err, coordinator.ErrStaleRing)
	certain(t, reads[0].Err)
	same(t, reads[1], coordinator.Answer[coordinator.ReadReply]{Value: coordinator.ReadReply{Object: testObject}})

	copies, err := caller.ReplicateBatch(short(t), nodeB, []coordinator.ReplicateRequest{{Ref: testRef, Stamp: 1}, {Ref: testRef, Stamp: 2}, {Ref: testRef, Stamp: 3}})
	wantErr(t, err, nil)
	wantErr(t, copies[1].Err, coordinator.ErrUnknown) // what went wrong is not said
	if len(copies) != 3 || copies[0].Err != nil || copies[2].Err != nil {
		t.Errorf("copies: %v", copies)
	}

	put := testForward()
	put.Stamp = 2
	puts, err := caller.ForwardBatch(short(t), nodeB, []coordinator.ForwardRequest{testForward(), put})
	wantErr(t, err, nil)
	same(t, puts[0], coordinator.Answer[coordinator.PutResult]{Value: testResult(nodeB, nodeA)})
	var q *coordinator.QuorumError
	if !errors.As(puts[1].Err, &q) || q.Required != 2 || !q.MaybeApplied {
		t.Errorf("a put without a quorum: %v", puts[1].Err)
	}
}

// An answer that is not one to what was asked leaves the outcome open.
func TestBatchAnswersMustFit(t *testing.T) {
	n := &fakeNode{replicate: func(context.Context, coordinator.ReplicateRequest) error { return nil }}
	caller, node, _ := pair(t, n)
	for _, count := range []int{0, 3} {
		node.SetServices(Services{Batch: wrongCount{n, count}})
		_, err := caller.ReplicateBatch(short(t), nodeB, []coordinator.ReplicateRequest{{Ref: testRef}, {Ref: testRef}})
		wantErr(t, err, coordinator.ErrUnknown, ErrMalformed)
	}
	node.SetServices(Services{Batch: wrongCount{n, 1}})
	answers, err := caller.ReplicateBatch(short(t), nodeB, []coordinator.ReplicateRequest{{Ref: testRef}, {Ref: testRef}})
	if err != nil || len(answers) != 1 {
		t.Errorf("a part of the answers: %v, %v", answers, err)
	}
	node.SetServices(Services{Replica: n})
	_, err = caller.ReplicateBatch(short(t), nodeB, []coordinator.ReplicateRequest{{Ref: testRef}})
	wantErr(t, err, coordinator.ErrNotReady)
	certain(t, err)
}

type wrongCount struct {
	*fakeNode
	count int
}

func (w wrongCount) HandleReplicateBatch(context.Context, []coordinator.ReplicateRequest) ([]coordinator.Answer[struct{}], error) {
	return make([]coordinator.Answer[struct{}], w.count), nil
}

// A node that does not know the messages gets the entries one by one.
func TestBatchToAnOlderNode(t *testing.T) {
	c := newCluster(t)
	metrics, err := wire.NewMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := wire.NewServer(wire.ServerOptions{
		Options: wire.Options{Node: nodeB, Cluster: func() [16]byte { return testCluster }, Metrics: metrics, Logger: c.options(nodeB).Logger},
		Handle: func(_ context.Context, m uint8, payload []byte, reply *wire.Buffer) error {
			if method(m) != methodRead {
				return ErrMethod
			}
			q, err := decodeReadRequest(payload)
			if err == nil && q.Ref.Key == "bad" {
				err = coordinator.ErrStaleRing
			}
			putReadReply(reply, coordinator.ReadReply{Object: testObject})
			return err
		},
		EncodeError: appendError,
	})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	c.locate(nodeB, ln.Addr().String())
	caller := c.transport(c.options(nodeA))
	answers, err := caller.ReadBatch(short(t), nodeB, []coordinator.ReadRequest{{Ref: testRef}, {Ref: object.Ref{Key: "bad"}}, {Ref: testRef}})
	if err != nil || len(answers) != 3 || !reflect.DeepEqual(answers[2].Value.Object, testObject) || answers[0].Err != nil {
		t.Errorf("answers %v, %v", answers, err)
	}
	wantErr(t, answers[1].Err, coordinator.ErrStaleRing)
	caller.Close()
	cancel()
	wantErr(t, <-done, nil)
}

func TestMalformedBatches(t *testing.T) {
	reads := func(b []byte) error { _, err := decodeReadBatch(b); return err }
	forwards := func(b []byte) error { _, err := decodeForwardBatch(b); return err }
	copies := func(b []byte) error { _, err := decodeReplicateBatch(b); return err }
	answers := func(b []byte) error { _, err := decodeReadAnswers(b); return err }
	nested := func(num protowire.Number, parts ...[]byte) []byte {
		return appendNested(nil, num, func(b []byte) []byte { return append(b, bytes.Join(parts, nil)...) })
	}
	entry := nested(listEntry, appendText(nil, refKey, "k"))
	value := nested(answerValue, appendFlag(nil, readReplySame, true))
	failed := nested(answerError, appendText(nil, errorMessage, "x"))
	refuses(t, []malformedMessage{
		{"entry is a number", reads, protowire.AppendVarint(protowire.AppendTag(nil, listEntry, protowire.VarintType), 1), "wire type 0"},
		{"too many entries", reads, bytes.Repeat(entry, maxBatch+1), "more than 1024 times"},
		{"read without a key", reads, nested(listEntry), "without a key"},
		{"put without a key", forwards, nested(listEntry), "without a key"},
		{"copy without a key", copies, nested(listEntry), "without a key"},
		{"bad entry", reads, nested(listEntry, []byte{0x80}), "bad tag"},
		{"too many answers", answers, bytes.Repeat(nested(answersAnswer), maxBatch+1), "more than 1024 times"},
		{"value and error", answers, nested(answersAnswer, value, failed), "and something else"},
		{"two errors", answers, nested(answersAnswer, failed, failed), "and something else"},
		{"two values", answers, nested(answersAnswer, value, value), "field 1 twice"},
		{"empty value written out", answers, nested(answersAnswer, nested(answerValue)), "zero value of field 1"},
		{"bad error", answers, nested(answersAnswer, nested(answerError, []byte{0x80})), "bad tag"},
	})
}

func batchCalls(t *testing.T, caller *Transport) map[string]func() error {
	return map[string]func() error{
		"read_batch": func() error {
			_, err := caller.ReadBatch(short(t), nodeB, []coordinator.ReadRequest{{Ref: testRef}})
			return err
		},
		"replicate_batch": func() error {
			_, err := caller.ReplicateBatch(short(t), nodeB, []coordinator.ReplicateRequest{{Ref: testRef}})
			return err
		},
		"forward_batch": func() error {
			_, err := caller.ForwardBatch(short(t), nodeB, []coordinator.ForwardRequest{testForward()})
			return err
		},
	}
}
