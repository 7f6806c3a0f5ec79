package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"starling/gossip/state"
	"starling/store/bucket"
	"starling/store/version"
)

// Bounds of names, in bytes.
const (
	maxBucketBytes = 64
	maxKeyBytes    = 1024
)

// keyRequest is one request about the value of a key while it is served.
type keyRequest struct {
	recorder
	r  *http.Request
	op op

	bucket, key string
	cluster     state.Map // as it was when the bucket was looked up
	inBucket
	params params
	// context is what the caller has seen; given tells an empty token from none.
	context version.Context
	given   bool

	delta int64 // of an increment

	start time.Time
	label int // of the metrics
	// admitted: the request has a place, and reserved bytes with it.
	admitted bool
	reserved int64
	bodyRead bool // to its end
	watched  watched
}

// keyHandler is the handler of one key.
func (s *Server) keyHandler(o op) http.HandlerFunc { return s.valueHandler(o, s.admit, s.carryOut) }

// valueHandler is the one handler between the router and the KV. admit decides
// all that can be decided before the body is read; carryOut reports whether the
// request is still its handler's: if it is not, it has been answered.
func (s *Server) valueHandler(o op, admit func(*keyRequest) *problem, carryOut func(*keyRequest) (*problem, bool)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := &keyRequest{recorder: recorder{ResponseWriter: w}, r: r, op: o, start: time.Now(), label: labelNone}
		mine := true // to answer and to count
		defer func() {
			if q.admitted {
				s.admission.leave(q.reserved)
			}
			if mine {
				s.metrics.observe(o, q.label, q.status, time.Since(q.start), r.Header)
			}
		}()
		defer func() {
			if v := recover(); v != nil {
				mine = s.overdue.leave(q)
				s.panicked(&q.recorder, r, v, mine)
			}
		}()
		s.sayClose(w.Header())
		p := admit(q)
		if p == nil {
			q.label = q.params.label(q.consistency().Level)
			p, mine = carryOut(q)
		}
		if p != nil {
			q.refuse(p)
		}
	}
}

// admit is that of one key.
func (s *Server) admit(q *keyRequest) *problem { return s.admitKey(q, q.r.URL) }

// admitKey is admit for the key that a URL has in its path.
func (s *Server) admitKey(q *keyRequest, u *url.URL) (p *problem) {
	if q.bucket, q.key, p = parseKeyPath(u, "/v1/buckets/", "/keys/"); p != nil {
		return p
	}
	if s.opts.Cluster.View() == nil {
		return s.notReady(q.op)
	}
	if q.admitted = s.admission.enter(); !q.admitted {
		s.metrics.refused[refusedRequests].Inc()
		return refusal(&kindOverloaded, q.op, fmt.Sprintf("This node is serving %d requests, as many as it may.", s.opts.MaxInflight))
	}
	s.lookUp(q)
	if p = refuseUnsupported(q.r.Header, q.op); p != nil {
		return p
	}
	if p = q.openContext(); p != nil {
		return p
	}
	longest := s.opts.MaxTimeout
	if q.op == opAdd {
		longest = min(longest, maxAddTimeout)
	}
	q.params.timeout = min(s.opts.DefaultTimeout, longest)
	if q.r.URL.RawQuery != "" {
		scope := paramScope{
			op: q.op, replicas: int(q.cluster.Settings.Replicas), maxTimeout: longest,
			mode: q.record.Properties.Mode, readsFirst: q.op == opDelete && !q.given,
		}
		if p = scope.parse(q.r.URL.RawQuery, &q.params); p != nil {
			return p
		}
	}
	if q.op != opPut && q.op != opAdd && q.r.ContentLength != 0 {
		return &problem{kind: &kindBody, detail: fmt.Sprintf("Only a PUT and an increment have a body, and %s came with one.", q.op.method())}
	}
	if q.params.previous && q.record.Properties.Mode != bucket.LWW {
		return badParameter("previous", fmt.Sprintf("previous=%q: only buckets with conflicts=lww keep what lost; this one has %s.", "true", q.record.Properties.Mode))
	}
	return nil
}

func (s *Server) notReady(o op) *problem {
	return refusal(&kindNotReady, o, "This node has not joined its cluster yet. Try another node, or this one later.")
}

// refusal is a problem of a request that was not begun.
func refusal(k *kind, o op, detail string) *problem {
	maybe := false
	return &problem{kind: k, detail: detail + outcome(o.write(), maybe), maybeApplied: &maybe}
}

// crowded is the refusal of bytes that are not free.
func (s *Server) crowded(q *keyRequest) *problem {
	s.metrics.refused[refusedBytes].Inc()
	return refusal(&kindOverloaded, q.op, fmt.Sprintf("The values of the requests being served have %d bytes together, as many as they may, or nearly so.", s.opts.MaxInflightBytes))
}

// carryOut is that of one key.
func (s *Server) carryOut(q *keyRequest) (p *problem, mine bool) {
	if q.op.write() {
		return s.write(q)
	}
	return s.read(q)
}

// openContext reads the token that the caller was given with an earlier answer.
func (q *keyRequest) openContext() *problem {
	token, p := one(q.r.Header, hContext)
	if p != nil || token == "" {
		return p
	}
	c, err := q.openToken(q.key, token)
	if err != nil {
		return &problem{kind: &kindContext, header: hContext,
			detail: "X-Starling-Context: " + plainText(err) + "."}
	}
	q.context, q.given = c, true
	return nil
}

// seal is the token of c for this key.
func (q *keyRequest) seal(c version.Context) string { return q.sealToken(q.key, c) }

// deadline is the context to read under, or to write under: a read ends with
// its caller, a write does not.
func (q *keyRequest) deadline() (context.Context, context.CancelFunc) {
	ctx := q.r.Context()
	if q.op.write() {
		ctx = context.WithoutCancel(ctx)
	}
	return context.WithTimeout(ctx, q.params.timeout)
}

// parseKeyPath takes bucket and key from prefix{bucket}middle{key…}. The path
// is taken as it came, which is what the router matched: URL.EscapedPath
// would write a path with unescaped non-ASCII bytes anew, its %2F as slashes.
func parseKeyPath(u *url.URL, prefix, middle string) (bucket, key string, _ *problem) {
	rawBucket, rawKey, _ := strings.Cut(strings.TrimPrefix(rawPath(u), prefix), middle)
	bucket, err := url.PathUnescape(rawBucket)
	if err != nil || !validBucket(bucket) {
		return "", "", &problem{kind: &kindBucket,
			detail: fmt.Sprintf("The bucket %q is not 1 to %d of the characters A-Z a-z 0-9 . _ -", clip(rawBucket), maxBucketBytes)}
	}
	key, err = url.PathUnescape(rawKey)
	if err != nil {
		return "", "", &problem{kind: &kindKey, detail: "The key is not percent-encoded correctly."}
	}
	if key == "" || len(key) > maxKeyBytes {
		return "", "", &problem{kind: &kindKey,
			detail: fmt.Sprintf("The key has %d bytes after percent-decoding; 1 to %d are allowed.", len(key), maxKeyBytes)}
	}
	return bucket, key, nil
}

func validBucket(b string) bool {
	for i := range len(b) {
		c := b[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return b != "" && len(b) <= maxBucketBytes
}
