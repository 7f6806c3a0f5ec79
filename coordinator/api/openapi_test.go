package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/go-chi/chi/v5"
)

var loadDocument = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

func openapi(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := loadDocument()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	return doc
}

// TestDocumentServed: the served document is the one the tests check.
func TestDocumentServed(t *testing.T) {
	f := serve(t)
	a := f.do("GET", "/openapi.yaml", "").want(200)
	if !bytes.Equal(a.body, document) || openapi(t).OpenAPI != "3.1.0" {
		t.Errorf("the document served is another: %.80q", a.body)
	}
}

// TestRoutesAreDocumented: the router has exactly the routes of the document.
func TestRoutesAreDocumented(t *testing.T) {
	f := serve(t)
	var routed []string
	err := chi.Walk(f.server.router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		route = strings.Replace(route, "/*", "/{key}", 1)
		if method == http.MethodPost && strings.HasSuffix(route, "/keys/{key}") {
			route += addSuffix // which a router cannot tell from the end of a key
		}
		routed = append(routed, method+" "+route)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for path, item := range openapi(t).Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	slices.Sort(routed)
	slices.Sort(documented)
	if !slices.Equal(routed, documented) {
		t.Errorf("routes\n%s\ndocumented\n%s", strings.Join(routed, "\n"), strings.Join(documented, "\n"))
	}
}

// TestProblemsAreDocumented: the document lists exactly the problem types.
func TestProblemsAreDocumented(t *testing.T) {
	kinds := []*kind{&kindBucket, &kindKey, &kindParameter, &kindHeader, &kindContext, &kindBody, &kindLength, &kindValueSize,
		&kindNoRoute, &kindMethod, &kindAbsent, &kindNoNode, &kindOrigin, &kindNoAccepted, &kindNotLive, &kindInternal, &kindQuorum, &kindMode}
	for _, row := range errorTable {
		kinds = append(kinds, row.kind)
	}
	var want []string
	for _, k := range kinds {
		want = append(want, "/problems/"+k.slug)
	}
	slices.Sort(want)
	want = slices.Compact(want)
	var documented []string
	for _, v := range openapi(t).Components.Schemas["Problem"].Value.Properties["type"].Value.Enum {
		documented = append(documented, v.(string))
	}
	slices.Sort(documented)
	if !slices.Equal(want, documented) {
		t.Errorf("problems\n%v\ndocumented\n%v", want, documented)
	}
}

// findRoute is the router of the document: unlike that of any library, its
// {key} takes the slashes that follow, but for a known end of the path. Of the
// paths that match, the longest that has the method is meant.
func findRoute(doc *openapi3.T, method string, u *url.URL) *routers.Route {
	var best *routers.Route
	for path, item := range doc.Paths.Map() {
		if _, ok := pathParams(path, u); !ok {
			continue
		}
		r := &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: item.GetOperation(method)}
		switch {
		case best == nil, best.Operation == nil && r.Operation != nil:
			best = r
		case (best.Operation == nil) == (r.Operation == nil) && len(path) > len(best.Path):
			best = r
		}
	}
	return best
}

func pathParams(pattern string, u *url.URL) (map[string]string, bool) {
	raw := u.RawPath
	if raw == "" {
		raw = u.EscapedPath()
	}
	params := map[string]string{}
	for rest := pattern; ; {
		before, after, ok := strings.Cut(rest, "{")
		if !strings.HasPrefix(raw, before) {
			return nil, false
		}
		raw = raw[len(before):]
		if !ok {
			return params, raw == ""
		}
		name, tail, _ := strings.Cut(after, "}")
		value := raw
		switch {
		case name != "key":
			value, _, _ = strings.Cut(raw, "/")
		case tail != "":
			if value, ok = strings.CutSuffix(raw, tail); !ok {
				return nil, false
			}
		}
		decoded, err := url.PathUnescape(value)
		if err != nil {
			return nil, false
		}
		params[name], raw, rest = decoded, raw[len(value):], tail
	}
}

// genericHeaders are those of HTTP itself, which the document leaves out, and
// those that stand for any number of names.
func isGenericHeader(name string) bool {
	return slices.Contains([]string{"Connection", "Content-Length", "Content-Type", "Date"}, name) ||
		strings.HasPrefix(name, hMetaPrefix)
}

// checkExchange holds a request and its answer against the document: a
// request that was carried out is valid, and every answer is a documented one.
func checkExchange(t *testing.T, req *http.Request, a *answer) {
	t.Helper()
	doc := openapi(t)
	if a.header.Get("Date") == "" {
		t.Fatalf("%s %s: net/http answered %d %q by itself", req.Method, req.URL, a.status, a.body)
	}
	route := findRoute(doc, req.Method, req.URL)
	if route == nil || route.Operation == nil {
		checkUnrouted(t, doc, req, a, route != nil)
		return
	}
	params, _ := pathParams(route.Path, req.URL)
	options := &openapi3filter.Options{IncludeResponseStatus: true, SkipSettingDefaults: true, ExcludeRequestBody: true}
	input := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route, Options: options}
	if a.status < 400 || a.status == 404 || a.status == 409 || a.status >= 500 {
		if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil {
			t.Errorf("%s %s was answered %d, but the document forbids it: %v", req.Method, req.URL, a.status, err)
		}
	}
	response := route.Operation.Responses.Status(a.status)
	if response == nil {
		t.Errorf("%s %s: the document has no answer %d", req.Method, req.URL, a.status)
		return
	}
	for name, h := range response.Value.Headers {
		if h.Value.Required && a.header[http.CanonicalHeaderKey(name)] == nil {
			t.Errorf("%s %s: answer %d has no %s", req.Method, req.URL, a.status, name)
		}
	}
	for name := range a.header {
		documented := isGenericHeader(name)
		for known := range response.Value.Headers {
			documented = documented || http.CanonicalHeaderKey(known) == name
		}
		if !documented {
			t.Errorf("%s %s: answer %d has the undocumented header %s", req.Method, req.URL, a.status, name)
		}
	}
	if req.Method == http.MethodHead { // the validator skips HEAD; its headers are those of GET
		get := *req
		get.Method = http.MethodGet
		input.Request, options.ExcludeResponseBody = &get, true
		if len(a.body) != 0 {
			t.Errorf("HEAD %s has a body: %q", req.URL, a.body)
		}
	}
	err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: a.status, Header: a.header,
		Body: io.NopCloser(bytes.NewReader(a.body)), Options: options,
	})
	if err != nil {
		t.Errorf("%s %s: answer %d: %v", req.Method, req.URL, a.status, err)
	}
}

// checkUnrouted checks the answer to a request that the document does not
// have: 405 where it has the path, else 404.
func checkUnrouted(t *testing.T, doc *openapi3.T, req *http.Request, a *answer, pathKnown bool) {
	t.Helper()
	want := http.StatusNotFound
	if pathKnown {
		want = http.StatusMethodNotAllowed
	}
	if a.status != want {
		t.Errorf("%s %s is not in the document and was answered %d", req.Method, req.URL, a.status)
	}
	if (a.header.Get("Allow") != "") != pathKnown {
		t.Errorf("%s %s: Allow %q", req.Method, req.URL, a.header.Get("Allow"))
	}
	if req.Method == http.MethodHead {
		return
	}
	var v any
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%s %s: %v in %q", req.Method, req.URL, err, a.body)
	}
	if err := doc.Components.Schemas["Problem"].Value.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
		t.Errorf("%s %s: %v", req.Method, req.URL, err)
	}
}
