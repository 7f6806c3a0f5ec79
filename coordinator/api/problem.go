package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"
)

// kind is one sort of problem. Its slug and status are part of the API; the
// same slug always has the same status and title.
type kind struct {
	status int
	slug   string
	title  string
	// retryable: the same request, unchanged, may succeed later.
	retryable bool
}

// The problems that a request itself can have. Those that come from the
// cluster are in the table of errors.go.
var (
	kindBucket     = kind{400, "bad-bucket", "The bucket name is not valid", false}
	kindKey        = kind{400, "bad-key", "The key is not valid", false}
	kindParameter  = kind{400, "bad-parameter", "A query parameter is not valid", false}
	kindHeader     = kind{400, "bad-header", "A header is not valid", false}
	kindContext    = kind{400, "bad-context", "The context token is not valid", false}
	kindBody       = kind{400, "bad-body", "The request body is not valid", false}
	kindLength     = kind{411, "length-required", "The length of the body must be known", false}
	kindValueSize  = kind{413, "value-too-large", "The value is too large", false}
	kindNoRoute    = kind{404, "no-such-resource", "There is no such resource", false}
	kindMethod     = kind{405, "method-not-allowed", "The resource does not take this method", false}
	kindAbsent     = kind{404, "key-not-found", "The key has no value", false}
	kindNoNode     = kind{404, "no-such-node", "There is no such node", false}
	kindOrigin     = kind{403, "cross-origin", "The request comes from a page of another origin", false}
	kindNoAccepted = kind{406, "not-acceptable", "No representation is acceptable", false}
	kindNotLive    = kind{503, "not-live", "The node makes no progress", true}
	kindInternal   = kind{500, "internal", "The node failed", true}
)

// problem is an answer that is not what was asked for. The zero values of its
// optional members are not shown.
type problem struct {
	kind   *kind
	detail string
	// parameter or header is what a 400 is about.
	parameter, header string
	// maybeApplied is shown where it is not nil.
	maybeApplied *bool
	// quorum holds what a failed quorum heard; nil for other problems.
	quorum *quorumReport
	// change holds what a refused change of the members would cost; nil for
	// other problems.
	change *changeReport
}

// quorumReport is the part of a problem that a failed quorum adds.
type quorumReport struct {
	Required int              `json:"required"`
	Received int              `json:"received"`
	Replicas []replicaProblem `json:"replicas"`
}

// replicaProblem is why one replica did not count.
type replicaProblem struct {
	Node  string `json:"node"`
	Error string `json:"error"`
}

// problemDoc is the JSON of a problem (RFC 9457).
type problemDoc struct {
	Type         string `json:"type"`
	Title        string `json:"title"`
	Status       int    `json:"status"`
	Detail       string `json:"detail"`
	Retryable    bool   `json:"retryable"`
	Parameter    string `json:"parameter,omitempty"`
	Header       string `json:"header,omitempty"`
	MaybeApplied *bool  `json:"maybe_applied,omitempty"`
	*quorumReport
	*changeReport
}

func (p *problem) doc() problemDoc {
	return problemDoc{
		Type: "/problems/" + p.kind.slug, Title: p.kind.title, Status: p.kind.status,
		Detail: p.detail, Retryable: p.kind.retryable,
		Parameter: p.parameter, Header: p.header, MaybeApplied: p.maybeApplied, quorumReport: p.quorum,
		changeReport: p.change,
	}
}

const retryAfterSeconds = "1"

// write sends p, with the headers that were set on w before.
func (p *problem) write(w http.ResponseWriter) {
	body, err := json.Marshal(p.doc())
	if err != nil { // strings, numbers and booleans cannot fail
		panic(err)
	}
	h := w.Header()
	h["Content-Type"] = problemType
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if p.kind.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfterSeconds)
	}
	w.WriteHeader(p.kind.status)
	_, _ = w.Write(body) // the caller has gone: nothing to tell, nobody to tell it to
}

// raw is p as the last answer on a connection, to a request of this method.
func (p *problem) raw(method string) []byte {
	w := capture{header: http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}}}
	p.write(&w)
	answer := http.Response{
		StatusCode: p.kind.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Close: true,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: &http.Request{Method: method},
	}
	var b bytes.Buffer
	if err := answer.Write(&b); err != nil { // a buffer takes every write
		panic(err)
	}
	return b.Bytes()
}

// capture keeps an answer.
type capture struct {
	header http.Header
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter], as the other methods do.
func (c *capture) Header() http.Header         { return c.header }
func (c *capture) WriteHeader(int)             {}
func (c *capture) Write(b []byte) (int, error) { return c.body.Write(b) }

func badParameter(name, detail string) *problem {
	return &problem{kind: &kindParameter, parameter: name, detail: detail}
}

func badHeader(name, detail string) *problem {
	return &problem{kind: &kindHeader, header: name, detail: detail}
}
