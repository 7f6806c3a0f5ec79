package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"starling/coordinator"
	"starling/store/bucket"
	"starling/store/object"
)

const (
	// addSuffix ends the path of an increment, behind that of the key.
	addSuffix = "/add"
	// maxAddBytes bounds the body of an increment.
	maxAddBytes = 1 << 10
	// maxAddTimeout bounds how long an increment may be on its way. A counter
	// knows a repeated one for resolve.RetryForMS, so a caller who begins a
	// repetition in the third of that which this leaves is never counted twice.
	maxAddTimeout = 10 * time.Second
)

// addHandler serves a POST below a bucket's keys: increments, and nothing else.
func (s *Server) addHandler() http.HandlerFunc {
	add, refuse := s.valueHandler(opAdd, s.admitAdd, s.add), s.admin(s.methodNotAllowed)
	return func(w http.ResponseWriter, r *http.Request) {
		if isAdd(rawPath(r.URL)) {
			add(w, r)
			return
		}
		refuse(w, r)
	}
}

// isAdd reports whether a path below a bucket's keys is that of a key's
// increments: something, which is the key, stands before the suffix.
func isAdd(path string) bool {
	_, key, _ := strings.Cut(path, "/keys/")
	return strings.HasSuffix(key, addSuffix)
}

// rawPath is a path as it came.
func rawPath(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	return u.EscapedPath()
}

// admitAdd decides all that can be decided about an increment before its body
// is read.
func (s *Server) admitAdd(q *keyRequest) *problem {
	if crossOrigin.Check(q.r) != nil {
		return &problem{kind: &kindOrigin, detail: "A page of another origin must not write. Nothing was added."}
	}
	u := *q.r.URL
	u.RawPath = strings.TrimSuffix(rawPath(&u), addSuffix)
	if p := s.admitKey(q, &u); p != nil {
		return p
	}
	if _, ok := q.r.Header[hContext]; ok {
		return badHeader(hContext, "An increment replaces nothing, so it takes no "+hContext+".")
	}
	return q.uncounted()
}

// uncounted refuses increments in a bucket without counters.
func (b *inBucket) uncounted() *problem {
	if m := b.record.Properties.Mode; m != bucket.Counter {
		return &problem{kind: &kindUnfit, detail: fmt.Sprintf("Increments are for buckets with conflicts=counter; this one has %s. Nothing was added.", m)}
	}
	return nil
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
	if q.delta, p = q.readDelta(); p != nil {
		return p, true
	}
	sib := object.Sibling{Op: addID(idempotency, q.bucket, q.key, q.delta, q.params.ttl)}
	ctx, cancel := q.deadline()
	defer cancel()
	s.overdue.enter(q, ctx)
	res, err := s.put(ctx, q, sib)
	if s.moved(q, err) && q.uncounted() == nil {
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

// addID names an increment, as [operationID] does a put. One that its caller has
// no name for has none: it is tried once, and nothing is remembered of it.
func addID(idempotencyKey, bucket, key string, delta int64, ttl time.Duration) object.OpID {
	if idempotencyKey == "" {
		return object.OpID{}
	}
	return operationID(idempotencyKey, bucket, key, &object.Sibling{Value: fmt.Append(nil, delta)}, ttl)
}

// readDelta reads the body of an increment.
func (q *keyRequest) readDelta() (int64, *problem) {
	body, err := io.ReadAll(http.MaxBytesReader(q.ResponseWriter, q.r.Body, maxAddBytes))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return 0, badAdd(fmt.Sprintf("It has more than %d bytes.", maxAddBytes))
	case err != nil:
		return 0, badAdd(fmt.Sprintf("It ended or stalled after %d bytes, before it was whole.", len(body)))
	}
	q.bodyRead = true
	delta, ok := parseDelta(body)
	if !ok {
		return 0, badAdd("This one is something else.")
	}
	return delta, nil
}

func badAdd(detail string) *problem {
	return &problem{kind: &kindBody, detail: `The body of an increment is {"delta": N}, where N is a whole number that 64 bits hold, with its sign. ` + detail + " Nothing was added."}
}

// parseDelta reads {"delta": N} and nothing else: not even the same twice.
func parseDelta(body []byte) (delta int64, ok bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	var given *int64
	for _, want := range [...]json.Token{json.Delim('{'), "delta", nil, json.Delim('}')} {
		if want == nil {
			if d.Decode(&given) != nil || given == nil {
				return 0, false
			}
			continue
		}
		if t, err := d.Token(); err != nil || t != want {
			return 0, false
		}
	}
	_, err := d.Token()
	return *given, err == io.EOF
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
