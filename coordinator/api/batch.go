package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf8"

	"starling/coordinator"
	"starling/store/object"
	"starling/store/version"
)

const (
	// maxBatchOps bounds the operations of one batch.
	maxBatchOps = 1000
	// leastBatchBytes is the bound of a batch's body where values are small.
	leastBatchBytes = 8 << 20
)

// maxBatchBytes bounds the body of a batch: there is room for the largest value
// in base64. The body and what is decoded from it are held at once.
func (s *Server) maxBatchBytes() int64 {
	return min(max(leastBatchBytes, 2*int64(s.opts.MaxValueBytes)), s.opts.MaxInflightBytes/2)
}

// admitBatch decides what can be decided of a batch before its body is read.
func (s *Server) admitBatch(q *keyRequest) (p *problem) {
	if q.bucket, p = parseBucketPath(q.r.URL, "/v1/buckets/", "/batch"); p != nil {
		return p
	}
	switch {
	case crossOrigin.Check(q.r) != nil:
		return &problem{kind: &kindOrigin, detail: "A page of another origin must not write. Nothing was written."}
	case s.opts.Cluster.View() == nil:
		return s.notReady(q.op)
	case s.opts.Batches == nil:
		return notOffered()
	case q.r.ContentLength > s.maxBatchBytes():
		return s.batchTooLarge()
	}
	if q.admitted = s.admission.enter(); !q.admitted {
		s.metrics.refused[refusedRequests].Inc()
		return refusal(&kindOverloaded, q.op, fmt.Sprintf("This node is serving %d requests, as many as it may.", s.opts.MaxInflight))
	}
	s.lookUp(q)
	if p = refuseUnsupported(q.r.Header, q.op); p != nil {
		return p
	}
	for _, name := range [...]string{hContext, hIdempotencyKey} {
		if _, ok := q.r.Header[name]; ok {
			return badHeader(name, name+" is about one key: give it with the operation, as context or idempotency_key.")
		}
	}
	q.params.timeout = s.opts.DefaultTimeout
	scope := paramScope{op: q.op, replicas: int(q.cluster.Settings.Replicas), maxTimeout: s.opts.MaxTimeout, mode: q.record.Properties.Mode}
	return scope.parse(q.r.URL.RawQuery, &q.params)
}

// batch carries out a batch: every operation that can be understood, whatever
// becomes of the others.
func (s *Server) batch(q *keyRequest) (p *problem, mine bool) {
	raws, p := s.readBatch(q)
	if p != nil {
		return p, true
	}
	b := batch{s: s, q: q, ops: make([]batchOp, len(raws))}
	ctx, cancel := q.deadline()
	defer cancel()
	s.overdue.enter(q, ctx)
	b.carryOut(ctx, raws, func(*batchOp) bool { return true })
	gone := func(o *batchOp) bool { return errors.Is(o.result.Err, coordinator.ErrGone) }
	if slices.ContainsFunc(b.ops, func(o batchOp) bool { return gone(&o) }) && s.lookUp(q) {
		b.carryOut(ctx, raws, gone) // once more, in the bucket's next incarnation
	}
	if !s.overdue.leave(q) {
		return nil, false
	}
	return b.answer(), true
}

// carryOut reads the operations that are due, and carries out those that can be
// understood.
func (b *batch) carryOut(ctx context.Context, raws []json.RawMessage, due func(*batchOp) bool) {
	carried := make([]coordinator.BatchOp, 0, len(raws))
	from := make([]*batchOp, 0, len(raws))
	for i, raw := range raws {
		o := &b.ops[i]
		if !due(o) {
			continue
		}
		*o = batchOp{stored: b.q.stored}
		if o.problem = b.parse(o, raw); o.problem == nil {
			carried, from = append(carried, o.carried), append(from, o)
		}
	}
	for i, r := range b.s.opts.Batches.Batch(ctx, carried) {
		from[i].result = r
	}
}

// readBatch reads the document down to its operations.
func (s *Server) readBatch(q *keyRequest) ([]json.RawMessage, *problem) {
	body, p := s.readBatchBody(q)
	if p != nil {
		return nil, p
	}
	if !utf8.Valid(body) {
		return nil, badBatch("The document is not UTF-8: give such keys and values as key_base64 and value_base64.")
	}
	var doc struct {
		Operations []json.RawMessage `json:"operations"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return nil, badBatch(`The body must be one JSON object with the one field "operations", a list of objects: ` + plainText(err) + ".")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, badBatch("There is something after the JSON object.")
	}
	if n := len(doc.Operations); n == 0 || n > maxBatchOps {
		return nil, badBatch(fmt.Sprintf("The batch has %d operations: 1 to %d are allowed.", n, maxBatchOps))
	}
	return doc.Operations, nil
}

func badBatch(detail string) *problem {
	return &problem{kind: &kindBody, detail: detail + " Nothing was done."}
}

func (s *Server) batchTooLarge() *problem {
	return &problem{kind: &kindValueSize, detail: fmt.Sprintf("The body of a batch may have at most %d bytes. Nothing was done.", s.maxBatchBytes())}
}

// readBatchBody reads the body and reserves room for it twice: for what it is
// decoded to as well.
func (s *Server) readBatchBody(q *keyRequest) ([]byte, *problem) {
	limit := s.maxBatchBytes()
	b := bodyReader{from: q.r.Body, size: int(q.r.ContentLength), exact: q.r.ContentLength >= 0}
	if b.exact {
		if !s.reserve(q, 2*q.r.ContentLength) {
			return nil, s.crowded(q)
		}
	} else {
		b.from, b.size = http.MaxBytesReader(q.ResponseWriter, q.r.Body, limit), int(limit)
		b.room = func(n int) bool { return s.reserve(q, int64(n)) }
	}
	body, err := b.read()
	if err == nil && !b.exact && !s.reserve(q, int64(len(body))) {
		err = errNoRoom
	}
	var over *http.MaxBytesError
	switch {
	case err == nil:
		q.bodyRead = true
		return body, nil
	case errors.As(err, &over):
		return nil, s.batchTooLarge()
	case errors.Is(err, errNoRoom):
		return nil, s.crowded(q)
	default:
		return nil, badBatch(fmt.Sprintf("The body ended or stalled after %d bytes, before it was whole.", len(body)))
	}
}

// batch is one batch while it is served.
type batch struct {
	s   *Server
	q   *keyRequest
	ops []batchOp
}

// batchOp is one operation of a batch.
type batchOp struct {
	op  op // opAdmin where it could not be understood
	key string
	// stored is the name that the bucket's objects were stored under when it was
	// carried out.
	stored string
	// problem, unless nil, is its answer; else carried was done, with this result.
	problem *problem
	carried coordinator.BatchOp
	result  coordinator.BatchResult
}

// batchAnswersDoc is the JSON of the answer to a batch.
type batchAnswersDoc struct {
	Results []batchAnswerDoc `json:"results"`
}

// batchAnswerDoc is what became of one operation: what the headers and the body
// of the answer to it alone would say.
type batchAnswerDoc struct {
	Status   int    `json:"status"`
	Context  string `json:"context,omitempty"`
	ETag     string `json:"etag,omitempty"`
	Replicas string `json:"replicas,omitempty"`
	// Coordinator did a write.
	Coordinator string       `json:"coordinator,omitempty"`
	*siblingDoc              // of a 200
	Siblings    []siblingDoc `json:"siblings,omitempty"`
	Problem     *problemDoc  `json:"problem,omitempty"`
}

func (b *batch) answer() *problem {
	doc := batchAnswersDoc{Results: make([]batchAnswerDoc, len(b.ops))}
	for i := range b.ops {
		a, o := &doc.Results[i], &b.ops[i]
		switch {
		case o.problem != nil:
			a.fail(o.problem)
		case o.result.Err != nil:
			a.fail(b.s.problemOf(o.result.Err, o.op.write(), b.q.cluster))
		case o.op == opGet:
			b.answerGet(a, o, &o.result.Get)
		case o.op == opAdd:
			b.answerAdd(a, o, &o.result.Put)
		default:
			b.answerPut(a, o, &o.result.Put)
		}
		b.s.metrics.countBatched(o.op, a.Status)
	}
	body := mustJSON(doc)
	if !b.s.holdAnswer(b.q, int64(len(body))) {
		return b.s.crowdedBatch(b.q)
	}
	h := b.q.Header()
	h.Set(hCoordinator, b.s.opts.Name)
	h["Content-Type"] = jsonType
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	h.Set("Content-Length", strconv.Itoa(len(body)))
	b.q.WriteHeader(http.StatusOK)
	_, _ = b.q.Write(body) // a caller who went away cannot be told
	return nil
}

// crowdedBatch is for answers that there is no room for: the writes are done.
func (s *Server) crowdedBatch(q *keyRequest) *problem {
	p := s.crowded(q)
	maybe := true
	p.maybeApplied = &maybe
	p.detail = "There is no room for the answer among those being given." + outcome(true, true)
	return p
}

func (a *batchAnswerDoc) fail(p *problem) {
	doc := p.doc()
	a.Status, a.Problem = p.kind.status, &doc
}

// answerGet says what a GET would.
func (b *batch) answerGet(a *batchAnswerDoc, o *batchOp, res *coordinator.GetResult) {
	view := b.s.view(&b.q.inBucket, res.Object)
	live := view.Live
	b.s.metrics.siblings.Observe(float64(len(live)))
	seen := version.Context{Vector: res.Object.Vector}
	a.Context = b.seal(o, seen)
	a.Replicas = replicaCounts(res.Received-res.Hinted, res.Hinted, res.Required)
	switch len(live) {
	case 0:
		a.fail(absent())
	case 1:
		a.Status, a.ETag = http.StatusOK, etagOf(seen, view.made...)
		a.siblingDoc = &siblingDocs(live)[0]
	default:
		a.Status, a.ETag = http.StatusMultipleChoices, "W/"+etagOf(seen, view.made...)
		a.Siblings = siblingDocs(live)
	}
}

// answerPut says what a PUT or a DELETE would.
func (b *batch) answerPut(a *batchAnswerDoc, o *batchOp, res *coordinator.PutResult) {
	a.Status = http.StatusNoContent
	a.Context = b.seal(o, res.Context)
	a.Replicas = replicaCounts(res.Acked, res.Hinted, res.Required)
	a.Coordinator = nodeName(b.q.cluster, res.Coordinator)
	if o.op == opPut && b.q.keeps() {
		a.ETag = etagOf(res.Context, res.Dot)
	}
}

// answerAdd shows the counter as a get does.
func (b *batch) answerAdd(a *batchAnswerDoc, o *batchOp, res *coordinator.PutResult) {
	b.answerPut(a, o, res)
	a.Status = http.StatusOK
	a.siblingDoc = &siblingDocs([]object.Sibling{{
		Dot: res.Dot, ModifiedMS: res.ModifiedMS, ExpiresMS: o.carried.Put.Sibling.ExpiresMS,
		ContentType: jsonType[0], Value: fmt.Append(nil, res.Count),
	}})[0]
}

// seal is the token of c for the key of an operation.
func (b *batch) seal(o *batchOp, c version.Context) string {
	return version.Seal(b.q.cluster.Settings.Secret[:], o.stored, o.key, c)
}

// countBatched counts an operation of a batch.
func (m *metrics) countBatched(o op, status int) {
	name := o.String()
	if o == opAdmin {
		name = "unknown"
	}
	m.batched.WithLabelValues(name, strconv.Itoa(status)).Inc()
}
