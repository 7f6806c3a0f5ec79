package api

import (
	"fmt"
	"net/http"
	"time"
)

// paceRoute is the path of the pace of transfers.
const paceRoute = "/v1/node/pace"

// Bounds of a pace that is set for a while: of its rate where it does not hold
// the transfers, which are those of the setting, and of how long it lasts. It
// always ends by itself, so that one that is forgotten does no lasting harm.
const (
	minPaceRate, maxPaceRate       = 64 << 10, 64 << 30 // bytes per second
	defaultPaceSeconds             = 60 * 60
	minPaceSeconds, maxPaceSeconds = 1, 24 * 60 * 60
)

// Pace is the pace of this node's transfers, which an administrator may change
// for a while. Its methods answer at once and may be called concurrently.
type Pace interface {
	// Pace is the pace in force.
	Pace() PaceReport
	// SetPace has transfers go at a rate until a time; 0 holds them.
	SetPace(bytesPerSecond int64, until time.Time)
	// ResetPace has them go at the rate of the setting again.
	ResetPace()
}

// PaceReport is the pace of transfers in force, in bytes per second.
type PaceReport struct {
	// BytesPerSecond is in force; 0: transfers are held.
	BytesPerSecond int64
	// Setting is what they go at unless somebody has changed it for a while.
	Setting int64
	// Until is when that change ends; zero: the setting is in force.
	Until time.Time
}

// paceDoc is the JSON of /v1/node/pace.
type paceDoc struct {
	Node           string `json:"node"`
	BytesPerSecond int64  `json:"bytes_per_second"`
	Held           bool   `json:"held"`
	Setting        int64  `json:"setting"`
	// Until is missing where the setting is in force.
	Until string `json:"until,omitempty"`
}

func (s *Server) getPace(w http.ResponseWriter, _ *http.Request) *problem {
	if s.opts.Pace == nil {
		return notOffered()
	}
	return s.writePace(w)
}

// putPace changes the pace for a while.
func (s *Server) putPace(w http.ResponseWriter, r *http.Request) *problem {
	if p := s.paceToChange(r); p != nil {
		return p
	}
	rate, seconds, p := readPace(w, r)
	if p != nil {
		return p
	}
	until := s.opts.Now().Add(time.Duration(seconds) * time.Second)
	s.opts.Pace.SetPace(rate, until)
	s.opts.Logger.Info("api: pace of transfers changed", "bytes_per_second", rate, "until", until, "from", r.RemoteAddr)
	return s.writePace(w)
}

// deletePace goes back to the setting.
func (s *Server) deletePace(w http.ResponseWriter, r *http.Request) *problem {
	if p := s.paceToChange(r); p != nil {
		return p
	}
	if r.ContentLength != 0 {
		return badBody("Only a PUT has a body, and a DELETE came with one.")
	}
	s.opts.Pace.ResetPace()
	s.opts.Logger.Info("api: pace of transfers is the setting's again", "from", r.RemoteAddr)
	return s.writePace(w)
}

// paceToChange is the answer where the pace may not be changed; nil where it may.
func (s *Server) paceToChange(r *http.Request) *problem {
	if crossOrigin.Check(r) != nil {
		return &problem{kind: &kindOrigin, detail: "A page of another origin must not change the pace of transfers. Nothing changed."}
	}
	if s.opts.Pace == nil {
		return notOffered()
	}
	return nil
}

// readPace is the rate that a body asks for, and for how long.
func readPace(w http.ResponseWriter, r *http.Request) (rate, seconds int64, _ *problem) {
	rateField := boundedField{
		allowed: fmt.Sprintf("0, which holds the transfers, or a whole number from %d to %d", minPaceRate, maxPaceRate),
		within:  func(n int64) bool { return n == 0 || n >= minPaceRate && n <= maxPaceRate },
	}
	secondsField := boundedField{
		value:   defaultPaceSeconds,
		allowed: fmt.Sprintf("a whole number from %d to %d", minPaceSeconds, maxPaceSeconds),
		within:  func(n int64) bool { return n >= minPaceSeconds && n <= maxPaceSeconds },
	}
	given, p := readFields(w, r, map[string]any{"bytes_per_second": &rateField, "seconds": &secondsField})
	if p != nil {
		return 0, 0, p
	}
	if !given["bytes_per_second"] {
		return 0, 0, badBody(fmt.Sprintf("%q is missing: it must be %s.", "bytes_per_second", rateField.allowed))
	}
	return rateField.value, secondsField.value, nil
}

// writePace answers with the pace in force.
func (s *Server) writePace(w http.ResponseWriter) *problem {
	report := s.opts.Pace.Pace()
	doc := paceDoc{Node: s.opts.Name, BytesPerSecond: report.BytesPerSecond, Held: report.BytesPerSecond == 0, Setting: report.Setting}
	if !report.Until.IsZero() {
		doc.Until = isoTime(report.Until.UnixMilli())
	}
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, http.StatusOK, doc)
	return nil
}
