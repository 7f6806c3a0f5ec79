package api

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"

	"starling/coordinator/api/console"
)

// Server is the HTTP API of one node. Make it with [New]; it is safe for
// concurrent use.
type Server struct {
	opts      Options
	router    *chi.Mux
	metrics   *metrics
	admission admission
	overdue   overdue
	layouts   layoutCache
	// diagnoses has an element for each question to all members under way.
	diagnoses chan struct{}
	// listings has an element for each page of keys that is being gathered.
	listings    chan struct{}
	connections atomic.Int64
	open        openConns
	stopping    atomic.Bool // Serve's context has ended
	hushed      atomic.Bool // answers do not ask for the end of their connection
}

// New makes a server and registers its metrics.
func New(o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{opts: o, router: chi.NewRouter(), diagnoses: make(chan struct{}, maxDiagnoses), listings: make(chan struct{}, maxListings)}
	s.admission.maxRequests, s.admission.maxBytes = int64(o.MaxInflight), o.MaxInflightBytes
	s.metrics, err = newMetrics(o.Metrics, s)
	if err != nil {
		return nil, fmt.Errorf("api: metrics: %w", err)
	}
	s.routes()
	return s, nil
}

// keyRoute is the path of a key; what the star stands for is taken from the
// escaped path instead, because the router cannot tell %2F from %252F.
const keyRoute = "/v1/buckets/{bucket}/keys/*"

func (s *Server) routes() {
	s.router.Method(http.MethodGet, keyRoute, s.keyHandler(opGet))
	s.router.Method(http.MethodHead, keyRoute, s.keyHandler(opHead))
	s.router.Method(http.MethodPut, keyRoute, s.keyHandler(opPut))
	s.router.Method(http.MethodDelete, keyRoute, s.keyHandler(opDelete))
	s.router.Method(http.MethodPost, keyRoute, s.addHandler())
	s.router.Method(http.MethodGet, listRoute, http.HandlerFunc(s.listKeys))
	s.router.Method(http.MethodPost, "/v1/buckets/{bucket}/batch", s.valueHandler(opBatch, s.admitBatch, s.batch))
	s.router.Method(http.MethodPut, bucketRoute, s.admin(s.putBucket))
	s.router.Method(http.MethodDelete, bucketRoute, s.admin(s.dropBucket))
	s.router.Method(http.MethodPut, paceRoute, s.admin(s.putPace))
	s.router.Method(http.MethodDelete, paceRoute, s.admin(s.deletePace))
	for path, h := range map[string]adminHandler{
		"/v1/buckets":            s.getBuckets,
		bucketRoute:              s.getBucket,
		"/v1/ring":               s.getRing,
		"/v1/ring/{bucket}/*":    s.getKeyRing,
		"/v1/explain/{bucket}/*": s.getExplanation,
		"/v1/cluster":            s.getCluster,
		"/v1/hints":              s.getHints,
		"/v1/node":               s.getHost,
		"/v1/node/peers":         s.getReach,
		paceRoute:                s.getPace,
		"/v1/repair":             s.getRepair,
		"/healthz":               s.getHealth,
		"/readyz":                s.getReady,
		"/metrics":               s.getMetrics(),
		"/openapi.yaml":          getDocument,
		"/":                      getConsole,
		console.Prefix + "*":     getConsole,
	} {
		s.get(path, s.admin(h))
	}
	s.get("/debug/pprof/{profile}", s.admin(s.getProfile, "seconds", "debug"))
	s.get("/v1/convergence", s.admin(s.getConvergence, "pairs", "stale"))
	s.get("/v1/cluster/plan", s.adminRepeated(s.getPlan, planParams...))
	s.get("/v1/cluster/safe-to-stop", s.admin(s.getSafety, "node"))
	for _, kind := range []ChangeKind{ChangeLeave, ChangeRemove, ChangeReplace} {
		s.router.Method(http.MethodPost, "/v1/cluster/"+string(kind), s.admin(s.changeMembers(kind)))
	}
	s.router.Method(http.MethodPost, "/v1/hints/replay", s.admin(s.replayHints, "target"))
	s.router.Method(http.MethodPost, "/v1/repair", s.admin(s.startRepair, "partition", "bucket", "node", "local"))
	s.router.NotFound(s.admin(noSuchRoute))
	s.router.MethodNotAllowed(s.admin(s.methodNotAllowed))
}

// get routes GET and HEAD of a path.
func (s *Server) get(path string, h http.HandlerFunc) {
	s.router.Method(http.MethodGet, path, h)
	s.router.Method(http.MethodHead, path, h)
}

// Handler serves every route. Nothing may stand before it that cleans paths.
func (s *Server) Handler() http.Handler { return s.router }

// adminHandler answers a request that is not about a key's value. The problem
// it returns, if any, is the answer.
type adminHandler func(w http.ResponseWriter, r *http.Request) *problem

// admin serves a route without query parameters but those of params, each
// given once at most.
func (s *Server) admin(h adminHandler, params ...string) http.HandlerFunc {
	return s.administer(h, func(query string) *problem { return onlyParams(query, params, false) })
}

// adminRepeated is admin for parameters that may be repeated.
func (s *Server) adminRepeated(h adminHandler, params ...string) http.HandlerFunc {
	return s.administer(h, func(query string) *problem { return onlyParams(query, params, true) })
}

// administer wraps what is common to all routes but those of values: the check
// of the query, problems, panics and metrics.
func (s *Server) administer(h adminHandler, check func(query string) *problem) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		defer func() { s.metrics.observe(opAdmin, labelNone, rec.status, time.Since(start), r.Header) }()
		defer func() {
			if v := recover(); v != nil {
				s.panicked(rec, r, v, true)
			}
		}()
		s.sayClose(w.Header())
		p := check(r.URL.RawQuery)
		if p == nil {
			p = h(rec, r)
		}
		if p != nil {
			p.write(rec)
		}
	}
}

// recorder remembers the status that was sent.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// panicked answers 500 after a panic, if the answer is still to be given.
// Where part of it has gone out already the connection is cut, so that the
// caller cannot take it for whole.
func (s *Server) panicked(w *recorder, r *http.Request, v any, unanswered bool) {
	if v == http.ErrAbortHandler {
		panic(v)
	}
	s.metrics.panics.Inc()
	s.opts.Logger.Error("api: panic while serving", "method", r.Method, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	if w.status != 0 || !unanswered {
		panic(http.ErrAbortHandler)
	}
	(&problem{kind: &kindInternal, detail: "This node failed while serving the request; its log says why."}).write(w)
}

// getConsole serves the page for people, and its files.
func getConsole(w http.ResponseWriter, r *http.Request) *problem {
	if !console.Serve(w, r) {
		return noSuchRoute(w, r)
	}
	return nil
}

func noSuchRoute(_ http.ResponseWriter, r *http.Request) *problem {
	return &problem{kind: &kindNoRoute, detail: "There is no such resource. A key is at /v1/buckets/{bucket}/keys/{key}; /openapi.yaml lists every route."}
}

// methodNotAllowed is also called for methods that the router does not know,
// whatever the path.
func (s *Server) methodNotAllowed(w http.ResponseWriter, r *http.Request) *problem {
	path := r.URL.Path
	if r.URL.RawPath != "" {
		path = r.URL.RawPath
	}
	var allowed []string
	for _, m := range []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut} {
		route := chi.NewRouteContext()
		if s.router.Match(route, m, path) && (m != http.MethodPost || route.RoutePattern() != keyRoute || isAdd(path)) {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) == 0 {
		return noSuchRoute(w, r)
	}
	list := strings.Join(allowed, ", ")
	w.Header().Set("Allow", list)
	return &problem{kind: &kindMethod, detail: "This resource takes " + list + "."}
}
