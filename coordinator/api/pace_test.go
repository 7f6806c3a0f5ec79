package api

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakePace does as it is told, and notes it.
type fakePace struct {
	report PaceReport
	calls  []string
}

func (p *fakePace) Pace() PaceReport { return p.report }

func (p *fakePace) SetPace(bytesPerSecond int64, until time.Time) {
	p.report.BytesPerSecond, p.report.Until = bytesPerSecond, until
	p.calls = append(p.calls, fmt.Sprint("set ", bytesPerSecond))
}

func (p *fakePace) ResetPace() {
	p.report.BytesPerSecond, p.report.Until = p.report.Setting, time.Time{}
	p.calls = append(p.calls, "reset")
}

// servePace serves a node whose setting is 64 MiB a second.
func servePace(t *testing.T, change ...func(*Options)) (*fixture, *fakePace) {
	pace := &fakePace{report: PaceReport{BytesPerSecond: 64 << 20, Setting: 64 << 20}}
	return serve(t, append(change, func(o *Options) { o.Pace = pace })...), pace
}

// atSetting is the pace of a node that nobody has changed.
const atSetting = `{"node":"n1","bytes_per_second":67108864,"held":false,"setting":67108864}`

// TestPace: the pace is shown, changed for a while, and the setting's again. The
// clock of the test stands at 10:00:00.125.
func TestPace(t *testing.T) {
	var log logBuffer
	f, pace := servePace(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	f.do("GET", paceRoute, "").want(200).wantHeader("Cache-Control", "no-store").wantBody(atSetting)
	f.do("HEAD", paceRoute, "").want(200).wantBody("")
	for _, tc := range []struct{ body, want, until string }{
		{`{"bytes_per_second":0}`, `"bytes_per_second":0,"held":true`, "11:00:00.125"},
		{`{"seconds":1,"bytes_per_second":65536}`, `"bytes_per_second":65536,"held":false`, "10:00:01.125"},
		{`{"bytes_per_second":68719476736,"seconds":7200}`, `"bytes_per_second":68719476736,"held":false`, "12:00:00.125"},
	} {
		want := fmt.Sprintf(`{"node":"n1",%s,"setting":67108864,"until":"2026-11-02T%sZ"}`, tc.want, tc.until)
		f.do("PUT", paceRoute, tc.body, "Content-Type: application/json").want(200).wantHeader("Cache-Control", "no-store").wantBody(want)
		f.do("GET", paceRoute, "").want(200).wantBody(want)
	}
	f.do("PUT", paceRoute, `{"bytes_per_second":0,"seconds":86400}`, "Content-Type: application/json").want(200)
	if day := f.now.Now().Add(24 * time.Hour); !pace.report.Until.Equal(day) {
		t.Errorf("until %v, want %v", pace.report.Until, day)
	}
	for range 2 { // again does no harm
		f.do("DELETE", paceRoute, "").want(200).wantHeader("Cache-Control", "no-store").wantBody(atSetting)
	}
	if want := []string{"set 0", "set 65536", "set 68719476736", "set 0", "reset", "reset"}; !slices.Equal(pace.calls, want) {
		t.Errorf("called %v, want %v", pace.calls, want)
	}
	for _, says := range []string{"bytes_per_second=65536", "until=2026-11-02T10:00:01.125Z", "from=127.0.0.1:", "the setting's again"} {
		if !strings.Contains(log.String(), says) {
			t.Errorf("the log does not say %q: %s", says, log.String())
		}
	}
}

// TestPaceRefused: what is wrong and what is allowed is named, and nothing is
// changed.
func TestPaceRefused(t *testing.T) {
	f, pace := servePace(t)
	const rates, spans = "0, which holds the transfers, or a whole number from 65536 to 68719476736", "a whole number from 1 to 86400"
	for _, tc := range []struct {
		body string
		says []string
	}{
		{``, []string{`"bytes_per_second" is missing`, rates}},
		{`{"seconds":60}`, []string{`"bytes_per_second" is missing`, rates}},
		{`{"bytes_per_second":-1}`, []string{`"bytes_per_second" is -1`, rates}},
		{`{"bytes_per_second":65535}`, []string{`"bytes_per_second" is 65535`, rates}},
		{`{"bytes_per_second":68719476737}`, []string{`"bytes_per_second" is 68719476737`, rates}},
		{`{"bytes_per_second":99999999999999999999}`, []string{rates}},
		{`{"bytes_per_second":65536.5}`, []string{rates}},
		{`{"bytes_per_second":"64MiB"}`, []string{`"bytes_per_second" is "64MiB"`, rates}},
		{`{"bytes_per_second":null}`, []string{`"bytes_per_second" is null`, rates}},
		{`{"bytes_per_second":0,"seconds":0}`, []string{`"seconds" is 0`, spans}},
		{`{"bytes_per_second":0,"seconds":86401}`, []string{`"seconds" is 86401`, spans}},
		{`{"bytes_per_second":0,"seconds":null}`, []string{`"seconds" is null`, spans}},
		{`{"bytes_per_second":0,"seconds":"1h"}`, []string{`"seconds" is "1h"`, spans}},
		{`{"bytes_per_second":0,"for":60}`, []string{`no field "for"`, "allowed are bytes_per_second, seconds."}},
		{`{"bytes_per_second":0,"bytes_per_second":65536}`, []string{`"bytes_per_second" is given twice`}},
		{`[0]`, []string{"one JSON object with fields among bytes_per_second, seconds"}},
	} {
		f.do("PUT", paceRoute, tc.body, "Content-Type: application/json").wantProblem(400, "bad-body", append(tc.says, "Nothing changed")...)
	}
	f.do("DELETE", paceRoute, `{}`).wantProblem(400, "bad-body", "Only a PUT has a body")
	f.do("PUT", paceRoute+"?seconds=60", `{"bytes_per_second":0}`).wantProblem(400, "bad-parameter", "takes none")
	f.do("POST", paceRoute, `{}`).wantProblem(405, "method-not-allowed", "DELETE, GET, HEAD, PUT")
	f.do("PUT", paceRoute, `{"bytes_per_second":0}`, "Sec-Fetch-Site: cross-site").wantProblem(403, "cross-origin", "Nothing changed")
	f.do("DELETE", paceRoute, "", "Origin: http://elsewhere.example").wantProblem(403, "cross-origin", "Nothing changed")
	if pace.calls != nil {
		t.Errorf("called %v", pace.calls)
	}
	f = serve(t)
	f.do("GET", paceRoute, "").wantProblem(503, "not-ready", "does not offer")
	f.do("DELETE", paceRoute, "").wantProblem(503, "not-ready", "does not offer")
	f.do("PUT", paceRoute, `{"bytes_per_second":0}`, "Content-Type: application/json").wantProblem(503, "not-ready", "does not offer")
}
