package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"starling/coordinator"
)

// listRoute is the path of the keys of a bucket.
const listRoute = "/v1/buckets/{bucket}/keys"

// Lists gives pages of the keys of a bucket; [coordinator.Lister] is one.
type Lists interface {
	// List must end when its context does.
	List(ctx context.Context, req coordinator.ListRequest) (coordinator.ListPage, error)
}

const (
	// maxListings bounds the pages that are gathered at once; the requests for
	// further ones wait.
	maxListings = 32
	// What a page counts for among MaxInflightBytes, from before it is gathered
	// until it was sent.
	listBytes      = 512 << 10
	listValueBytes = 2 * coordinator.MaxListBytes
)

// listing is a request for keys while it is served.
type listing struct {
	*keyRequest
	want listParams
	form listForm
}

// listKeys answers GET of the keys of a bucket.
func (s *Server) listKeys(w http.ResponseWriter, r *http.Request) {
	var l listing
	admit := func(q *keyRequest) *problem {
		l.keyRequest = q
		return s.admitListing(&l)
	}
	carryOut := func(*keyRequest) (p *problem, mine bool) {
		if l.form == listNDJSON {
			return s.streamKeys(&l), true
		}
		return s.answerKeys(&l), true
	}
	s.valueHandler(opList, admit, carryOut)(w, r)
}

// admitListing decides all that can be decided before anything is read.
func (s *Server) admitListing(q *listing) (p *problem) {
	if q.bucket, p = parseBucketPath(q.r.URL, "/v1/buckets/", "/keys"); p != nil {
		return p
	}
	switch {
	case s.opts.Cluster.View() == nil:
		return s.notReady(q.op)
	case s.opts.Lists == nil:
		return notOffered()
	}
	if q.admitted = s.admission.enter(); !q.admitted {
		s.metrics.refused[refusedRequests].Inc()
		return refusal(&kindOverloaded, q.op, fmt.Sprintf("This node is serving %d requests, as many as it may.", s.opts.MaxInflight))
	}
	s.lookUp(q.keyRequest)
	if q.form = negotiateList(q.r.Header["Accept"]); q.form == listNone {
		return &problem{kind: &kindNoAccepted, detail: "Keys come as application/json or application/x-ndjson; Accept allows neither."}
	}
	q.params.timeout, q.want.limit = s.opts.DefaultTimeout, defaultListLimit
	most := coordinator.MaxListLimit
	if q.form == listNDJSON {
		q.want.limit, most = 0, maxStreamLimit
	}
	scope := listScope{
		paramScope: paramScope{op: opList, replicas: int(q.cluster.Settings.Replicas), maxTimeout: s.opts.MaxTimeout},
		maxLimit:   most, common: &q.params,
	}
	if p = scope.parse(q.r.URL.RawQuery, &q.want); p != nil {
		return p
	}
	if q.r.ContentLength != 0 {
		return &problem{kind: &kindBody, detail: "Only a PUT has a body, and a GET came with one."}
	}
	return nil
}

// parseBucketPath takes the bucket from prefix{bucket}suffix; see [parseKeyPath].
func parseBucketPath(u *url.URL, prefix, suffix string) (string, *problem) {
	raw := strings.TrimSuffix(strings.TrimPrefix(rawPath(u), prefix), suffix)
	bucket, err := url.PathUnescape(raw)
	if err != nil || !validBucket(bucket) {
		return "", &problem{kind: &kindBucket,
			detail: fmt.Sprintf("The bucket %q is not 1 to %d of the characters A-Z a-z 0-9 . _ -", clip(raw), maxBucketBytes)}
	}
	return bucket, nil
}

// page gathers the next page of at most limit keys. What it holds of the bytes
// of all requests is given back by release.
func (s *Server) page(q *listing, after string, limit int) (_ coordinator.ListPage, release func(), _ *problem) {
	ctx, cancel := context.WithTimeout(q.r.Context(), q.params.timeout)
	defer cancel()
	select {
	case s.listings <- struct{}{}:
		defer func() { <-s.listings }()
	case <-ctx.Done():
		if q.r.Context().Err() != nil {
			return coordinator.ListPage{}, nil, s.problemOf(ctx.Err(), false, q.cluster) // the caller has gone
		}
		s.metrics.refused[refusedRequests].Inc()
		return coordinator.ListPage{}, nil, refusal(&kindOverloaded, q.op, fmt.Sprintf("This node is gathering keys for %d callers, as many as it may.", maxListings))
	}
	held := int64(listBytes)
	if q.want.values {
		held = listValueBytes
	}
	if !s.admission.overdraw(held) {
		return coordinator.ListPage{}, nil, s.crowded(q.keyRequest)
	}
	q.reserved += held
	release = func() {
		s.admission.bytes.Add(-held)
		q.reserved -= held
	}
	list := func() (coordinator.ListPage, error) {
		return s.opts.Lists.List(ctx, coordinator.ListRequest{
			Bucket: q.stored, Prefix: q.want.prefix, After: after, Limit: limit,
			Consistency: q.consistency(), Values: q.want.values,
		})
	}
	page, err := list()
	if s.moved(q.keyRequest, err) {
		page, err = list()
	}
	if err != nil {
		release()
		return coordinator.ListPage{}, nil, s.problemOf(err, false, q.cluster)
	}
	return page, release, nil
}

// keysDoc is the JSON of a page.
type keysDoc struct {
	Bucket string      `json:"bucket"`
	Keys   []listedKey `json:"keys"`
	// Next is what to ask for with after; in NextBase64 where it is not UTF-8.
	Next       string `json:"next,omitempty"`
	NextBase64 string `json:"next_base64,omitempty"`
	// Complete: there are no more keys, and no Next.
	Complete bool `json:"complete"`
}

// answerKeys answers with one page.
func (s *Server) answerKeys(q *listing) *problem {
	page, release, p := s.page(q, q.want.after, q.want.limit)
	if p != nil {
		return p
	}
	defer release()
	doc := keysDoc{Bucket: q.bucket, Keys: make([]listedKey, 0, len(page.Entries)), Complete: !page.More}
	for i := range page.Entries {
		if key, ok := s.listedKey(q, &page.Entries[i]); ok {
			doc.Keys = append(doc.Keys, key)
		}
	}
	doc.Next, doc.NextBase64 = eitherText(page.Next)
	s.setListHeaders(q)
	writeJSON(q, http.StatusOK, doc)
	return nil
}

func (s *Server) setListHeaders(q *listing) {
	h := q.Header()
	h["Cache-Control"] = noCache
	h["Vary"] = varyAccept
	h["X-Content-Type-Options"] = noSniff
	h["Content-Security-Policy"] = sandbox
	h.Set(hCoordinator, s.opts.Name)
}

// streamKeys answers with a line for each key, page by page, until the last key
// or the limit. What fails after the first line is the last line.
func (s *Server) streamKeys(q *listing) *problem {
	conn := http.NewResponseController(q.ResponseWriter)
	after, left := q.want.after, q.want.limit
	begun := false
	for {
		limit := coordinator.MaxListLimit
		if q.want.limit > 0 {
			limit = min(limit, left)
		}
		// Between its pages a stream may take longer than a request may. Errors
		// mean that the writer has no connection.
		until := time.Now().Add(q.params.timeout + writeSlack)
		_, _ = conn.SetReadDeadline(until), conn.SetWriteDeadline(until)
		page, release, p := s.page(q, after, limit)
		switch {
		case p != nil && !begun:
			return p
		case p != nil:
			_, _ = q.Write(errorLine(p)) // the caller may have gone
			return nil
		case !begun:
			s.setListHeaders(q)
			q.Header().Set("Content-Type", ndjsonType)
			q.WriteHeader(http.StatusOK)
			begun = true
		}
		err := s.sendLines(q, &page)
		release()
		if err = errors.Join(err, conn.Flush()); err != nil {
			return nil // the caller has gone
		}
		after, left = page.Next, left-len(page.Entries)
		switch {
		case !page.More || q.want.limit > 0 && left <= 0:
			return nil
		case s.stopping.Load():
			_, _ = q.Write(errorLine(s.stoppingProblem()))
			return nil
		}
	}
}

func (s *Server) stoppingProblem() *problem {
	return refusal(&kindNotReady, opList, "This node is stopping. Go on behind the last key at another node.")
}

// sendLines writes a line for each key of a page.
func (s *Server) sendLines(q *listing, page *coordinator.ListPage) error {
	var b bytes.Buffer
	for i := range page.Entries {
		key, ok := s.listedKey(q, &page.Entries[i])
		if !ok {
			continue
		}
		b.Write(mustJSON(key))
		b.WriteByte('\n')
		if b.Len() >= lineBufferBytes {
			if _, err := q.Write(b.Bytes()); err != nil {
				return err
			}
			b.Reset()
		}
	}
	_, err := q.Write(b.Bytes())
	return err
}

// lineBufferBytes is how much of a page is encoded before it is written.
const lineBufferBytes = 64 << 10

// errorLine is the line by which a stream ends that failed.
func errorLine(p *problem) []byte {
	return append(mustJSON(struct {
		Error problemDoc `json:"error"`
	}{p.doc()}), '\n')
}
