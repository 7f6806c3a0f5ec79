package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// MaxBatch is how many operations one [Client.Batch] takes.
const MaxBatch = 1000

// OpKind is what an [Op] does.
type OpKind string

// The operations of a batch.
const (
	OpGet    OpKind = "get"
	OpPut    OpKind = "put"
	OpDelete OpKind = "delete"
	OpAdd    OpKind = "add"
)

// Op is one operation of a batch. Its fields are what [Client.Get], [Client.Put],
// [Client.Delete] and [Client.Add] take; those that its kind does not take must be
// zero.
type Op struct {
	Kind OpKind
	Key  string
	// Data is what a put writes; ContentType, Meta and TTL go with it. TTL is for
	// an add too.
	Data        []byte
	ContentType string
	Meta        map[string]string
	TTL         time.Duration
	// Context is what a write supersedes, or what a get must have seen.
	Context string
	// IdempotencyKey names a write. Empty: drawn at random.
	IdempotencyKey string
	// Replace makes a put without a context supersede what a read of the key at
	// the same consistency sees, as a delete without one does.
	Replace bool
	// Delta is what an add adds.
	Delta int64
}

// Result is what became of one operation.
type Result struct {
	// Value is that of a get, Written that of a write; nil where Err is not.
	Value   *Value
	Written *Written
	// Count is what an add brought the counter to.
	Count int64
	// Err is what the call for this key alone would have answered: a
	// [*NotFoundError], a [*SiblingsError] or an [*Error].
	Err error
}

// BatchOptions refine a [Client.Batch]. Nil and the zero value are quorum reads
// and writes.
type BatchOptions struct {
	// Consistency of all operations: R and PR of gets, W and PW of writes.
	Consistency Consistency
	// Timeout is the deadline given to the server. 0: the server's own.
	Timeout time.Duration
	// Resolve takes the place of [Options.Resolve] for this call.
	Resolve Resolver
}

// Batch carries out many operations on keys of one bucket, at most [MaxBatch],
// in few requests, and gives their results in order. It is not atomic: each has
// its own outcome, and they run beside each other, in no order.
//
// Operations that failed for now are sent again, as single ones would be, up to
// Options.Attempts times, but a batch with increments only as [Client.Add] would
// be. The error is about the whole: arguments that are wrong
// ([ErrInvalid]; nothing was sent), or a request that failed as such, after
// which writes that had no result yet may have been applied ([MaybeApplied]);
// the results are nil then.
func (c *Client) Batch(ctx context.Context, bucket string, ops []Op, o *BatchOptions) ([]Result, error) {
	if o == nil {
		o = &BatchOptions{}
	}
	b, err := c.newBatch(bucket, ops, o)
	if err != nil || len(ops) == 0 {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(c.opts.Timeout, o.Timeout+deadlineSlack))
		defer cancel()
	}
	for round := 1; len(b.pending) > 0; round++ {
		if err := b.send(ctx, round); err != nil {
			return nil, err
		}
		if len(b.pending) > 0 && !b.rest(ctx, round) {
			break
		}
	}
	return b.results, nil
}

// batch is one call of Batch.
type batch struct {
	c       *Client
	bucket  string
	call    *call
	resolve Resolver
	ops     []Op
	docs    []opDoc
	results []Result
	// maybe says of each operation whether it may have been applied.
	maybe []bool
	// pending are the operations without a final result, by number; full says
	// that only the bound of an answer kept them from one.
	pending []int
	full    bool
}

// opDoc is the JSON of one operation.
type opDoc struct {
	Op             OpKind            `json:"op"`
	Key            *string           `json:"key,omitempty"`
	KeyBase64      string            `json:"key_base64,omitempty"`
	Value          *string           `json:"value,omitempty"`
	ValueBase64    string            `json:"value_base64,omitempty"`
	ContentType    string            `json:"content_type,omitempty"`
	Meta           map[string]string `json:"meta,omitempty"`
	TTL            string            `json:"ttl,omitempty"`
	Context        string            `json:"context,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	Replace        bool              `json:"replace,omitempty"`
	Delta          *int64            `json:"delta,omitempty"`
}

func (c *Client) newBatch(bucket string, ops []Op, o *BatchOptions) (*batch, error) {
	if err := checkBucket(bucket); err != nil {
		return nil, err
	}
	if len(ops) > MaxBatch {
		return nil, fmt.Errorf("%w: a batch of %d operations; at most %d are allowed", ErrInvalid, len(ops), MaxBatch)
	}
	path := "/v1/buckets/" + bucket + "/batch"
	b := &batch{c: c, bucket: bucket, resolve: o.Resolve, ops: ops, docs: make([]opDoc, len(ops)),
		results: make([]Result, len(ops)), maybe: make([]bool, len(ops)), pending: make([]int, len(ops)),
		call: &call{op: "batch", method: http.MethodPost, path: path, rawPath: path, header: make(http.Header, 1)},
	}
	if b.resolve == nil {
		b.resolve = c.opts.Resolve
	}
	b.call.header.Set("Content-Type", "application/json")
	if slices.ContainsFunc(ops, func(op Op) bool { return op.Kind == OpAdd }) {
		timeout, until := c.addBounds(o.Timeout)
		b.call.until = until
		if err := b.call.params(o.Consistency, timeout, 0); err != nil {
			return nil, err
		}
	} else if err := b.call.params(o.Consistency, o.Timeout, 0); err != nil {
		return nil, err
	}
	for i := range ops {
		b.pending[i] = i
		if err := b.docs[i].set(bucket, &ops[i]); err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
		b.call.write = b.call.write || ops[i].Kind != OpGet
	}
	return b, nil
}

// set checks an operation.
func (d *opDoc) set(bucket string, op *Op) error {
	if err := checkNames(bucket, op.Key); err != nil {
		return err
	}
	value := op.Data != nil || op.ContentType != "" || len(op.Meta) > 0 || op.Replace
	adds := op.Kind == OpAdd
	switch {
	case op.Kind != OpGet && op.Kind != OpPut && op.Kind != OpDelete && !adds:
		return fmt.Errorf("%w: the kind %q", ErrInvalid, op.Kind)
	case value && op.Kind != OpPut, op.IdempotencyKey != "" && op.Kind == OpGet,
		op.TTL != 0 && op.Kind != OpPut && !adds, op.Delta != 0 && !adds, op.Context != "" && adds:
		return fmt.Errorf("%w: a %s with fields of another kind", ErrInvalid, op.Kind)
	case op.Replace && op.Context != "":
		return fmt.Errorf("%w: Replace and a Context", ErrInvalid)
	case op.TTL < 0:
		return fmt.Errorf("%w: a TTL must not be negative", ErrInvalid)
	}
	*d = opDoc{Op: op.Kind, Context: op.Context, ContentType: op.ContentType, Meta: op.Meta, IdempotencyKey: op.IdempotencyKey, Replace: op.Replace}
	d.Key, d.KeyBase64 = textOrBase64([]byte(op.Key))
	switch op.Kind {
	case OpPut:
		d.Value, d.ValueBase64 = textOrBase64(op.Data)
	case OpAdd:
		d.Delta = &op.Delta
	}
	if op.TTL > 0 {
		d.TTL = op.TTL.String()
	}
	if op.Kind != OpGet && op.IdempotencyKey == "" {
		d.IdempotencyKey = newIdempotencyKey()
	}
	return nil
}

// textOrBase64 gives bytes as text if they are UTF-8, else in base64.
func textOrBase64(b []byte) (text *string, encoded string) {
	if utf8.Valid(b) {
		s := string(b)
		return &s, ""
	}
	return nil, base64.StdEncoding.EncodeToString(b)
}

// send asks for what is pending, and keeps of it what should be asked for again.
func (b *batch) send(ctx context.Context, round int) error {
	var doc struct {
		Operations []opDoc `json:"operations"`
	}
	for _, i := range b.pending {
		doc.Operations = append(doc.Operations, b.docs[i])
	}
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false) // a value full of < would be six times as long
	if err := e.Encode(doc); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	b.call.body = body.Bytes()
	a, err := b.c.do(ctx, b.call)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.Bucket = b.bucket
		}
		return err
	}
	var answer struct {
		Results []resultDoc `json:"results"`
	}
	if err := json.Unmarshal(a.body, &answer); err != nil || len(answer.Results) != len(b.pending) {
		return &Error{Op: "batch", Bucket: b.bucket, Attempts: 1, MaybeApplied: b.call.write,
			Err: fmt.Errorf("an answer that is none to %d operations (%w)", len(b.pending), errors.Join(err, errBadAnswer))}
	}
	var again []int
	b.full = true
	for k, i := range b.pending {
		if r := &answer.Results[k]; b.take(i, r, a, round) {
			again = append(again, i)
			b.full = b.full && r.tooLarge()
		}
	}
	b.full = b.full && len(again) < len(b.pending)
	b.pending = again
	return nil
}

var errBadAnswer = errors.New("client: malformed answer")

// take keeps the result of an operation, and reports whether to try again.
func (b *batch) take(i int, r *resultDoc, a *answer, round int) bool {
	op, res := &b.ops[i], &b.results[i]
	*res = Result{}
	switch {
	case r.Status == http.StatusNotFound && op.Kind == OpGet:
		res.Err = &NotFoundError{Bucket: b.bucket, Key: op.Key, Context: r.Context}
	case r.Status >= 400:
		p := r.problem()
		b.maybe[i] = b.maybe[i] || op.Kind != OpGet && p.MaybeApplied
		res.Err = &Error{Op: string(op.Kind), Bucket: b.bucket, Key: op.Key, Attempts: round, MaybeApplied: b.maybe[i], Err: p}
		return r.Status == http.StatusTooManyRequests || r.Status == http.StatusServiceUnavailable ||
			r.Status == http.StatusGatewayTimeout || r.tooLarge()
	case op.Kind == OpGet:
		if res.Value, res.Err = r.value(a, b.resolve); res.Err != nil {
			res.Value, res.Err = nil, fmt.Errorf("client: get %s/%q: %w", b.bucket, op.Key, res.Err)
		}
	default:
		res.Written = &Written{Context: r.Context, ETag: r.ETag, Replicas: r.Replicas, Coordinator: r.Coordinator}
		if op.Kind == OpAdd {
			// The increment is made whatever the answer says of the count.
			res.Count, _ = strconv.ParseInt(r.Value, 10, 64)
		}
	}
	return false
}

// rest waits before the next round. It reports false where there is none.
func (b *batch) rest(ctx context.Context, round int) bool {
	if b.full {
		return ctx.Err() == nil // each round brings some of them
	}
	if round >= b.c.opts.Attempts {
		return false
	}
	tried := make([]*endpoint, round)
	return b.c.pause(ctx, b.call, 0, tried, outcome{}) && !b.c.late(b.call)
}

// resultDoc is the JSON of one result.
type resultDoc struct {
	Status      int    `json:"status"`
	Context     string `json:"context"`
	ETag        string `json:"etag"`
	Replicas    string `json:"replicas"`
	Coordinator string `json:"coordinator"`
	siblingJSON
	Siblings []siblingJSON   `json:"siblings"`
	Problem  json.RawMessage `json:"problem"`
}

func (r *resultDoc) problem() *Problem {
	a := &answer{status: r.Status, header: http.Header{"Content-Type": {"application/problem+json"}}, body: r.Problem}
	return a.problem(time.Now())
}

// tooLarge: the answer to the batch had no room for this value.
func (r *resultDoc) tooLarge() bool {
	return r.Status == http.StatusRequestEntityTooLarge && r.problem().Type == problemBatchFull
}

const problemBatchFull = "/problems/batch-answer-too-large"

// value reads a result of a get.
func (r *resultDoc) value(a *answer, resolve Resolver) (*Value, error) {
	v := &Value{Context: r.Context, ETag: r.ETag, Replicas: r.Replicas, Coordinator: a.header.Get(headerCoordinator)}
	if r.Status == http.StatusMultipleChoices {
		if err := v.setSiblings(r.Siblings); err != nil {
			return nil, err
		}
		return v, v.resolve(resolve)
	}
	s, err := r.siblingJSON.sibling()
	v.Data, v.ContentType, v.Meta, v.Modified, v.Expires = s.Data, s.ContentType, s.Meta, s.Modified, s.Expires
	return v, err
}
