package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// A request that bears a trace leaves it as the exemplar of its duration, for
// scrapers that speak OpenMetrics.
func TestTracesAreExemplars(t *testing.T) {
	reg := prometheus.NewRegistry()
	f := serve(t, func(o *Options) { o.Metrics, o.Gatherer = reg, reg })
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	f.do("PUT", testKey, "v", "Traceparent: 00-"+trace+"-00f067aa0ba902b7-01").want(204)
	open := f.do("GET", "/metrics", "", "Accept: application/openmetrics-text; version=1.0.0").want(200)
	if kind := open.header.Get("Content-Type"); !strings.HasPrefix(kind, "application/openmetrics-text") {
		t.Errorf("Content-Type %q", kind)
	}
	if text := string(open.body); !strings.Contains(text, `trace_id="`+trace+`"`) || !strings.HasSuffix(text, "# EOF\n") {
		t.Errorf("no exemplar in %s", text)
	}
	if text := string(f.do("GET", "/metrics", "").want(200).body); strings.Contains(text, trace) {
		t.Error("an exemplar in the text form, which has none")
	}
}

func TestTraceID(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for given, want := range map[string]string{
		"00-" + id + "-00f067aa0ba902b7-01":                       id,
		"00-" + id + "-00f067aa0ba902b7":                          "",
		"00-" + strings.ToUpper(id) + "-00f067aa0ba902b7-01":      "",
		"00-" + strings.Repeat("\"", 32) + "-00f067aa0ba902b7-01": "",
		"00_" + id + "-00f067aa0ba902b7-01":                       "",
		"":                                                        "",
	} {
		if got := traceID(http.Header{"Traceparent": {given}}); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
	if got := traceID(http.Header{}); got != "" {
		t.Errorf("no header: %q", got)
	}
}
