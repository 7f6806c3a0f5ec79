package api

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"starling/coordinator"
	"starling/store/object"
	"starling/store/version"
)

// read answers GET and HEAD; mine is as in [Server.carryOut].
func (s *Server) read(q *keyRequest) (p *problem, mine bool) {
	ctx, cancel := q.deadline()
	defer cancel()
	s.overdue.enter(q, ctx)
	res, err := s.getValue(ctx, q)
	if s.moved(q, err) {
		res, err = s.getValue(ctx, q)
	}
	if !s.overdue.leave(q) {
		return nil, false
	}
	if err != nil {
		return s.problemOf(err, false, q.cluster), true
	}
	return s.answerRead(q, &res), true
}

func (s *Server) getValue(ctx context.Context, q *keyRequest) (coordinator.GetResult, error) {
	return s.opts.KV.Get(ctx, coordinator.GetRequest{Bucket: q.stored, Key: q.key, Consistency: q.consistency(), Session: q.context})
}

// answerRead answers with what the replicas have.
func (s *Server) answerRead(q *keyRequest, res *coordinator.GetResult) *problem {
	view := s.view(&q.inBucket, res.Object)
	live := view.Live
	s.metrics.siblings.Observe(float64(len(live)))
	if !s.holdAnswer(q, answerBytes(live)+2*answerBytes(q.previous(view.Previous))) {
		return s.crowded(q)
	}
	seen := version.Context{Vector: res.Object.Vector}
	token := q.seal(seen)
	h := q.Header()
	set := headerSetter(make([]string, 0, 8))
	set.add(h, hContext, token)
	set.add(h, hReplicas, replicaCounts(res.Received-res.Hinted, res.Hinted, res.Required))
	set.add(h, hCoordinator, s.opts.Name)
	if q.params.previous {
		q.answerPrevious(token, view.Previous)
		return nil
	}
	if len(live) == 0 {
		return absent()
	}
	h["Cache-Control"] = noCache
	h["X-Content-Type-Options"] = noSniff
	h["Content-Security-Policy"] = sandbox
	if len(live) == 1 {
		q.answerValue(&set, etagOf(seen, view.made...), &live[0])
		return nil
	}
	return q.answerSiblings(&set, token, "W/"+etagOf(seen, view.made...), live)
}

func absent() *problem {
	return &problem{kind: &kindAbsent, detail: "The key has no value. Its X-Starling-Context still says what a later write supersedes."}
}

// answerBytes is about what an answer takes in memory: values, and for several
// of them the document that they are copied to.
func answerBytes(live []object.Sibling) (n int64) {
	for i := range live {
		n += int64(len(live[i].Value))
	}
	if len(live) > 1 {
		n *= 2
	}
	return n
}

// replicaCounts is the X-Starling-Replicas of reads and writes.
func replicaCounts(acked, hinted, required int) string {
	return "acked=" + strconv.Itoa(acked) + " hinted=" + strconv.Itoa(hinted) + " required=" + strconv.Itoa(required)
}

// answerValue answers 200 with the only value, or 304.
func (q *keyRequest) answerValue(set *headerSetter, etag string, sib *object.Sibling) {
	h := q.Header()
	set.add(h, "Etag", etag)
	set.add(h, "Last-Modified", httpTime(sib.ModifiedMS))
	if matchesETag(q.r.Header["If-None-Match"], etag) {
		q.WriteHeader(http.StatusNotModified)
		return
	}
	set.add(h, "Content-Type", sib.ContentType)
	set.add(h, "Content-Length", strconv.Itoa(len(sib.Value)))
	setMeta(h, sib)
	q.WriteHeader(http.StatusOK)
	if q.op != opHead {
		_, _ = q.Write(sib.Value) // a caller who went away cannot be told
	}
}

// answerSiblings answers 300 with all values in the form that the caller
// accepts, 304, or 406. That the form depends on Accept makes the tag a weak
// one; a 304 for a 300 is more than RFC 9110 asks for, and saves a poller the
// values that it has already.
func (q *keyRequest) answerSiblings(set *headerSetter, token, etag string, live []object.Sibling) *problem {
	h := q.Header()
	h["Vary"] = varyAccept
	form := negotiate(q.r.Header["Accept"])
	if form == formNone {
		return &problem{kind: &kindNoAccepted,
			detail: fmt.Sprintf("The key has %d siblings, which come as multipart/mixed or application/json; Accept allows neither.", len(live))}
	}
	set.add(h, "Etag", etag)
	newest := live[0].ModifiedMS
	for _, sib := range live {
		newest = max(newest, sib.ModifiedMS)
	}
	set.add(h, "Last-Modified", httpTime(newest))
	if matchesETag(q.r.Header["If-None-Match"], etag) {
		q.WriteHeader(http.StatusNotModified)
		return nil
	}
	var body []byte
	var contentType string
	if form == formMultipart {
		body, contentType = siblingsMultipart(live)
	} else {
		body, contentType = siblingsJSON(token, live), jsonType[0]
	}
	set.add(h, "Content-Type", contentType)
	set.add(h, "Content-Length", strconv.Itoa(len(body)))
	q.WriteHeader(http.StatusMultipleChoices)
	if q.op != opHead {
		_, _ = q.Write(body)
	}
	return nil
}

// setMeta gives back what is kept with a value.
func setMeta(h http.Header, sib *object.Sibling) {
	if sib.ExpiresMS != 0 {
		h.Set(hExpires, isoTime(sib.ExpiresMS))
	}
	for _, f := range sib.Meta {
		h.Set(hMetaPrefix+f.Name, f.Value)
	}
}

func dotsOf(siblings []object.Sibling) []version.Dot {
	dots := make([]version.Dot, len(siblings))
	for i := range siblings {
		dots[i] = siblings[i].Dot
	}
	return dots
}

// etagOf is a digest of what a caller has seen and of the versions that it is
// shown, or that what it is shown was made of.
// The vector alone would not do: when a sibling expires it stays the same.
func etagOf(seen version.Context, shown ...version.Dot) string {
	b := version.AppendContext(make([]byte, 0, 128), seen)
	for _, d := range shown {
		b = version.AppendDot(b, d)
	}
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], xxhash.Sum64(b))
	const digits = "0123456789abcdef"
	var tag [2 + 2*len(sum)]byte
	tag[0], tag[len(tag)-1] = '"', '"'
	for i, c := range sum {
		tag[1+2*i], tag[2+2*i] = digits[c>>4], digits[c&15]
	}
	return string(tag[:])
}

// matchesETag reports whether an If-None-Match lists etag, compared weakly
// (RFC 9110, section 13.1.2), or is *.
func matchesETag(header []string, etag string) bool {
	etag = strings.TrimPrefix(etag, "W/")
	for _, line := range header {
		for line != "" {
			line = strings.TrimLeft(line, " \t,")
			if strings.HasPrefix(line, "*") {
				return true
			}
			line = strings.TrimPrefix(line, "W/")
			if !strings.HasPrefix(line, `"`) {
				break // not an entity tag: what follows cannot be trusted to be one
			}
			end := strings.IndexByte(line[1:], '"')
			if end < 0 {
				break
			}
			if line[:end+2] == etag {
				return true
			}
			line = line[end+2:]
		}
	}
	return false
}

// headerSetter sets headers whose values share one allocation.
type headerSetter []string

// add sets a header whose name is in canonical form.
func (s *headerSetter) add(h http.Header, name, value string) {
	*s = append(*s, value)
	n := len(*s)
	h[name] = (*s)[n-1 : n : n]
}
