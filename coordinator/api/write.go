package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"starling/coordinator"
	"starling/store/object"
	"starling/store/version"
)

// write answers PUT and DELETE.
func (s *Server) write(q *keyRequest) *problem {
	idempotency, p := idempotencyKey(q.r.Header)
	if p != nil {
		return p
	}
	sib := object.Sibling{Tombstone: q.op == opDelete}
	if q.op == opPut {
		if p := s.readSibling(q, &sib); p != nil {
			return p
		}
	}
	sib.Op = operationID(idempotency, q.bucket, q.key, &sib, q.params.ttl)
	ctx, cancel := q.deadline()
	defer cancel()
	res, err := s.opts.KV.Put(ctx, coordinator.PutRequest{
		Bucket: q.bucket, Key: q.key, Consistency: q.params.consistency,
		Context: q.context, ReadFirst: q.op == opDelete && !q.given, Sibling: sib,
	})
	if err != nil {
		return s.problemOf(err, true, q.cluster)
	}
	q.answerWrite(&res)
	return nil
}

// readSibling reads what is to be stored: first the headers, then the body.
func (s *Server) readSibling(q *keyRequest, sib *object.Sibling) (p *problem) {
	if sib.ContentType, p = contentType(q.r.Header); p != nil {
		return p
	}
	if sib.Meta, p = metaFields(q.r.Header); p != nil {
		return p
	}
	if sib.Value, p = readBody(q.ResponseWriter, q.r, s.opts.MaxValueBytes); p != nil {
		return p
	}
	if q.params.ttl > 0 {
		sib.ExpiresMS = s.opts.Now().Add(q.params.ttl).UnixMilli()
	}
	return nil
}

// readBody reads a value of at most limit bytes. The slice is not pooled: the
// store may keep it.
func readBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, *problem) {
	if !r.ProtoAtLeast(1, 1) && r.ContentLength == 0 && r.Header.Get("Content-Length") == "" {
		return nil, &problem{kind: &kindLength, detail: "An HTTP/1.0 PUT needs a Content-Length: without it an empty value cannot be told from a lost one."}
	}
	if r.ContentLength > int64(limit) {
		return nil, tooLarge(limit)
	}
	body, size := r.Body, int(r.ContentLength)
	if size < 0 {
		body, size = http.MaxBytesReader(w, r.Body, int64(limit)), limit
	}
	value, err := readUpTo(body, size, r.ContentLength >= 0)
	var over *http.MaxBytesError
	switch {
	case err == nil:
		return value, nil
	case errors.As(err, &over):
		return nil, tooLarge(limit)
	default:
		return nil, &problem{kind: &kindBody, detail: fmt.Sprintf("The body ended or stalled after %d bytes, before it was whole. Nothing was written.", len(value))}
	}
}

func tooLarge(limit int) *problem {
	return &problem{kind: &kindValueSize, detail: fmt.Sprintf("A value may have at most %d bytes. Nothing was written.", limit)}
}

// firstReadBytes is what is set aside for a body before any of it has come. A
// caller must send bytes to make this node hold more.
const firstReadBytes = 64 << 10

// readUpTo reads size bytes if exact, else to the end, which the caller makes
// sure comes after size bytes at most.
func readUpTo(body io.Reader, size int, exact bool) ([]byte, error) {
	first := firstReadBytes
	if !exact {
		first = 4 << 10
	}
	value := make([]byte, 0, min(size, first))
	for {
		if len(value) == cap(value) {
			if exact && len(value) == size {
				return value, nil
			}
			value = append(make([]byte, 0, grown(cap(value), size)), value...)
		}
		n, err := body.Read(value[len(value):cap(value)])
		value = value[:len(value)+n]
		switch {
		case err == io.EOF && exact && len(value) < size:
			return value, io.ErrUnexpectedEOF
		case err == io.EOF:
			return value, nil
		case err != nil:
			return value, err
		}
	}
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
	set.add(h, hReplicas, fmt.Sprintf("acked=%d hinted=%d required=%d", res.Acked, res.Hinted, res.Required))
	set.add(h, hCoordinator, coordinatedBy)
	h["Cache-Control"] = noStore
	if q.op == opPut {
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
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	// KeyEncoding is "base64" where the key is not UTF-8.
	KeyEncoding string       `json:"key_encoding,omitempty"`
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
}

func (q *keyRequest) receipt(res *coordinator.PutResult, token, coordinatedBy string) []byte {
	doc := receiptDoc{
		Bucket: q.bucket, Dot: dotText(res.Dot), Context: token, Modified: isoTime(res.ModifiedMS),
		Acked: res.Acked, Hinted: res.Hinted, Required: res.Required, Coordinator: coordinatedBy,
		Replicas: make([]replicaDoc, len(res.Replicas)),
	}
	encoding, key := textOf([]byte(q.key))
	doc.Key = key
	if encoding != "utf-8" {
		doc.KeyEncoding = encoding
	}
	for i, r := range res.Replicas {
		doc.Replicas[i] = replicaDoc{Node: nodeName(q.cluster, r.Node), Outcome: r.Outcome.String()}
	}
	return mustJSON(doc)
}

func dotText(d version.Dot) string {
	if d == (version.Dot{}) {
		return ""
	}
	return d.String()
}
