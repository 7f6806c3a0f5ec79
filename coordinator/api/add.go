package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"starling/coordinator"
	"starling/store/bucket"
	"starling/store/object"
)

const (
	// addSuffix ends the path of an increment, behind that of the key.
	addSuffix = "/add"
	// maxAddBytes bounds the body of an increment.
	maxAddBytes = 1 << 10
)

// admitAdd decides all that can be decided about an increment before its body
// is read.
func (s *Server) admitAdd(q *keyRequest) *problem {
	path := q.r.URL.RawPath
	if path == "" {
		path = q.r.URL.EscapedPath()
	}
	key, ok := strings.CutSuffix(path, addSuffix)
	if !ok {
		return &problem{kind: &kindNoRoute, detail: "A POST to a key ends in /add: it increments a counter."}
	}
	u := *q.r.URL
	u.RawPath = key
	if p := s.admitKey(q, &u); p != nil {
		return p
	}
	switch {
	case q.given:
		return &problem{kind: &kindContext, header: hContext, detail: "An increment supersedes nothing, so it takes no X-Starling-Context."}
	case q.record.Properties.Mode != bucket.Counter:
		return &problem{kind: &kindUnfit, detail: fmt.Sprintf("Increments are for buckets with conflicts=counter; this one has %s. Nothing was added.", q.record.Properties.Mode)}
	}
	return nil
}

// addDoc is the body of an increment.
type addDoc struct {
	Delta *int64 `json:"delta"`
}

// countDoc is the answer to an increment.
type countDoc struct {
	keyDoc
	Value       int64  `json:"value"`
	Dot         string `json:"dot"`
	Acked       int    `json:"acked"`
	Hinted      int    `json:"hinted"`
	Required    int    `json:"required"`
	Coordinator string `json:"coordinator"`
}

// add carries an increment out; mine is as in [Server.carryOut].
func (s *Server) add(q *keyRequest) (p *problem, mine bool) {
	idempotency, p := idempotencyKey(q.r.Header)
	if p != nil {
		return p, true
	}
	body, err := io.ReadAll(http.MaxBytesReader(q.ResponseWriter, q.r.Body, maxAddBytes))
	var doc addDoc
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err == nil {
		err = d.Decode(&doc)
	}
	if err != nil || doc.Delta == nil || d.More() {
		return &problem{kind: &kindBody, detail: `The body of an increment is {"delta": N}, where N is a whole number of 64 bits. Nothing was added.`}, true
	}
	q.bodyRead, q.delta = true, *doc.Delta
	sib := object.Sibling{Value: fmt.Append(nil, q.delta)}
	sib = object.Sibling{Op: operationID(idempotency, q.bucket, q.key, &sib, q.params.ttl)}
	ctx, cancel := q.deadline()
	defer cancel()
	s.overdue.enter(q, ctx)
	res, err := s.put(ctx, q, sib)
	if s.moved(q, err) && q.record.Properties.Mode == bucket.Counter {
		res, err = s.put(ctx, q, sib)
	}
	if !s.overdue.leave(q) {
		return nil, false
	}
	if err != nil {
		return s.problemOf(err, true, q.cluster), true
	}
	q.answerAdd(&res)
	return nil, true
}

func (q *keyRequest) answerAdd(res *coordinator.PutResult) {
	coordinatedBy := nodeName(q.cluster, res.Coordinator)
	h := q.Header()
	set := headerSetter(make([]string, 0, 3))
	set.add(h, hContext, q.seal(res.Context))
	set.add(h, hReplicas, replicaCounts(res.Acked, res.Hinted, res.Required))
	set.add(h, hCoordinator, coordinatedBy)
	h["Cache-Control"] = noStore
	writeJSON(q, http.StatusOK, countDoc{
		keyDoc: newKeyDoc(q.bucket, q.key), Value: res.Count, Dot: dotText(res.Dot),
		Acked: res.Acked, Hinted: res.Hinted, Required: res.Required, Coordinator: coordinatedBy,
	})
}

// previousDoc is the answer to a read of what lost.
type previousDoc struct {
	Context  string       `json:"context"`
	Previous []siblingDoc `json:"previous"`
}

// previous is what of a view the request asks for besides the values.
func (q *keyRequest) previous(lost []object.Sibling) []object.Sibling {
	if !q.params.previous {
		return nil
	}
	return lost
}

// answerPrevious answers the values that lost, newest first; there may be none.
func (q *keyRequest) answerPrevious(token string, lost []object.Sibling) {
	q.Header()["Cache-Control"] = noCache
	writeJSON(q, http.StatusOK, previousDoc{Context: token, Previous: siblingDocs(lost)})
}
