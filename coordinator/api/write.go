package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"starling/coordinator"
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// write answers PUT and DELETE; mine is as in [Server.carryOut].
func (s *Server) write(q *keyRequest) (p *problem, mine bool) {
	idempotency, p := idempotencyKey(q.r.Header)
	if p != nil {
		return p, true
	}
	sib := object.Sibling{Tombstone: q.op == opDelete}
	if q.op == opPut {
		if p := s.readSibling(q, &sib); p != nil {
			return p, true
		}
	}
	sib.Op = operationID(idempotency, q.bucket, q.key, &sib, q.params.ttl)
	ctx, cancel := q.deadline()
	defer cancel()
	s.overdue.enter(q, ctx)
	res, err := s.put(ctx, q, sib)
	if s.moved(q, err) {
		res, err = s.put(ctx, q, sib)
	}
	if !s.overdue.leave(q) {
		return nil, false
	}
	if err != nil {
		return s.problemOf(err, true, q.cluster), true
	}
	q.answerWrite(&res)
	return nil, true
}

func (s *Server) put(ctx context.Context, q *keyRequest, sib object.Sibling) (coordinator.PutResult, error) {
	if q.op == opPut || q.op == opAdd {
		sib.ExpiresMS = s.expiresMS(q, q.params.ttl)
	}
	return s.opts.KV.Put(ctx, coordinator.PutRequest{
		Bucket: q.stored, Key: q.key, Consistency: q.consistency(),
		Context: q.context, ReadFirst: q.op == opDelete && !q.given, Sibling: sib,
		Increment: q.op == opAdd, Delta: q.delta,
	})
}

// readSibling reads what is to be stored: first the headers, then the body.
func (s *Server) readSibling(q *keyRequest, sib *object.Sibling) (p *problem) {
	if sib.ContentType, p = contentType(q.r.Header); p != nil {
		return p
	}
	if sib.Meta, p = metaFields(q.r.Header); p != nil {
		return p
	}
	if sib.Value, p = s.readBody(q); p != nil {
		return p
	}
	return q.unfit(sib.Value)
}

// readBody reads the value, for which it reserves room first. The slice is not
// pooled: the store may keep it.
func (s *Server) readBody(q *keyRequest) ([]byte, *problem) {
	r, limit := q.r, s.valueLimit(q)
	if !r.ProtoAtLeast(1, 1) && r.ContentLength == 0 && r.Header.Get("Content-Length") == "" {
		return nil, &problem{kind: &kindLength, detail: "An HTTP/1.0 PUT needs a Content-Length: without it an empty value cannot be told from a lost one."}
	}
	if r.ContentLength > int64(limit) {
		return nil, tooLarge(limit)
	}
	b := bodyReader{from: r.Body, size: int(r.ContentLength), exact: r.ContentLength >= 0}
	if b.exact {
		if !s.reserve(q, r.ContentLength) {
			return nil, s.crowded(q)
		}
	} else {
		b.from, b.size = http.MaxBytesReader(q.ResponseWriter, r.Body, int64(limit)), limit
		b.room = func(n int) bool { return s.reserve(q, int64(n)) }
	}
	value, err := b.read()
	var over *http.MaxBytesError
	switch {
	case err == nil:
		q.bodyRead = true
		return value, nil
	case errors.As(err, &over):
		return nil, tooLarge(limit)
	case errors.Is(err, errNoRoom):
		return nil, s.crowded(q)
	default:
		return nil, &problem{kind: &kindBody, detail: fmt.Sprintf("The body ended or stalled after %d bytes, before it was whole. Nothing was written.", len(value))}
	}
}

func tooLarge(limit int) *problem {
	return &problem{kind: &kindValueSize, detail: fmt.Sprintf("A value may have at most %d bytes. Nothing was written.", limit)}
}

// What is set aside for a body before any of it has come: a caller must send
// bytes to make this node hold more.
const (
	firstReadBytes    = 64 << 10 // of a known length
	firstUnknownBytes = 4 << 10
)

// errNoRoom ends the reading of a body whose length was not known.
var errNoRoom = errors.New("api: no room for the body")

// bodyReader reads a whole body.
type bodyReader struct {
	from io.Reader
	// size is the length of the body if exact is set, else the most that it
	// can be; whoever makes the reader sees to that.
	size  int
	exact bool
	// room, unless nil, is asked for every byte that is set aside.
	room func(n int) bool
}

func (b *bodyReader) read() ([]byte, error) {
	first := firstReadBytes
	if !b.exact {
		first = firstUnknownBytes
	}
	value, err := b.extend(nil, min(b.size, first))
	for err == nil {
		if len(value) == cap(value) {
			if b.exact && len(value) == b.size {
				return value, nil
			}
			if value, err = b.extend(value, grown(cap(value), b.size)); err != nil {
				break
			}
		}
		var n int
		n, err = b.from.Read(value[len(value):cap(value)])
		value = value[:len(value)+n]
		if err == io.EOF {
			if b.exact && len(value) < b.size {
				return value, io.ErrUnexpectedEOF
			}
			return value, nil
		}
	}
	return value, err
}

// extend gives value the capacity, if there is room for that.
func (b *bodyReader) extend(value []byte, capacity int) ([]byte, error) {
	if b.room != nil && !b.room(capacity-cap(value)) {
		return value, errNoRoom
	}
	return append(make([]byte, 0, capacity), value...), nil
}

// grown doubles a capacity up to size. A body whose end has not been seen at
// size bytes gets one more, to see it.
func grown(capacity, size int) int {
	if capacity >= size {
		return capacity + 1
	}
	return max(1, min(2*capacity, size))
}

// answerWrite answers 204, or 200 with a receipt.
func (q *keyRequest) answerWrite(res *coordinator.PutResult) {
	token := q.seal(res.Context)
	coordinatedBy := nodeName(q.cluster, res.Coordinator)
	h := q.Header()
	set := headerSetter(make([]string, 0, 6))
	set.add(h, hContext, token)
	set.add(h, hReplicas, replicaCounts(res.Acked, res.Hinted, res.Required))
	set.add(h, hCoordinator, coordinatedBy)
	h["Cache-Control"] = noStore
	if q.op == opPut && q.keeps() {
		set.add(h, "Etag", etagOf(res.Context, res.Dot))
	}
	if q.op != opPut || !prefersRepresentation(q.r.Header) {
		q.WriteHeader(http.StatusNoContent)
		return
	}
	body := q.receipt(res, token, coordinatedBy)
	h["Content-Type"] = jsonType
	h.Set("Preference-Applied", "return=representation")
	set.add(h, "Content-Length", strconv.Itoa(len(body)))
	q.WriteHeader(http.StatusOK)
	_, _ = q.Write(body)
}

// receiptDoc is the JSON of a write that was done.
type receiptDoc struct {
	keyDoc
	Dot         string       `json:"dot"`
	Context     string       `json:"context"`
	Modified    string       `json:"modified"`
	Acked       int          `json:"acked"`
	Hinted      int          `json:"hinted"`
	Required    int          `json:"required"`
	Coordinator string       `json:"coordinator"`
	Replicas    []replicaDoc `json:"replicas"`
}

type replicaDoc struct {
	Node    string `json:"node"`
	Outcome string `json:"outcome"`
	// Holder keeps the write for Node where the outcome is hinted.
	Holder string `json:"holder,omitempty"`
}

func (q *keyRequest) receipt(res *coordinator.PutResult, token, coordinatedBy string) []byte {
	doc := receiptDoc{
		keyDoc: newKeyDoc(q.bucket, q.key), Dot: dotText(res.Dot), Context: token, Modified: isoTime(res.ModifiedMS),
		Acked: res.Acked, Hinted: res.Hinted, Required: res.Required, Coordinator: coordinatedBy,
		Replicas: make([]replicaDoc, len(res.Replicas)),
	}
	for i, r := range res.Replicas {
		doc.Replicas[i] = replicaDoc{Node: nodeName(q.cluster, r.Node), Outcome: r.Outcome.String()}
		if r.Holder != (ring.NodeID{}) {
			doc.Replicas[i].Holder = nodeName(q.cluster, r.Holder)
		}
	}
	return mustJSON(doc)
}

func dotText(d version.Dot) string {
	if d == (version.Dot{}) {
		return ""
	}
	return d.String()
}
