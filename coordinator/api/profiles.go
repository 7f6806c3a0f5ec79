package api

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
)

// Bounds of the seconds of a CPU profile.
const (
	defaultProfileSeconds = 10
	maxProfileSeconds     = 30
)

// cpuProfile is the name of the profile that takes time. The others show what
// is, or what was since the start.
const cpuProfile = "profile"

// getProfile answers a profile in the format of the pprof tool; debug=1 or 2 asks
// for text of those that have it.
func (s *Server) getProfile(w http.ResponseWriter, r *http.Request) *problem {
	if !s.opts.Profiles {
		return notOffered()
	}
	name, query := chi.URLParam(r, "profile"), r.URL.Query()
	seconds, p := intParam(query.Get("seconds"), "seconds", defaultProfileSeconds, 1, maxProfileSeconds)
	if p != nil {
		return p
	}
	debug, p := intParam(query.Get("debug"), "debug", 0, 0, 2)
	if p != nil {
		return p
	}
	w.Header()["Cache-Control"] = noStore
	if name == cpuProfile {
		return s.sampleCPU(w, r, time.Duration(seconds)*time.Second)
	}
	profile := pprof.Lookup(name)
	if profile == nil {
		return &problem{kind: &kindNoRoute, detail: "There is no such profile: profile (of the CPU), heap, allocs, goroutine, mutex, block and threadcreate are there."}
	}
	w.Header().Set("Content-Type", profileType(debug))
	w.Header()["X-Content-Type-Options"] = noSniff
	_ = profile.WriteTo(w, debug) // the caller has gone
	return nil
}

func profileType(debug int) string {
	if debug > 0 {
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// sampleCPU profiles for a while, or until the caller goes. There is one at a time.
func (s *Server) sampleCPU(w http.ResponseWriter, r *http.Request, d time.Duration) *problem {
	var b bytes.Buffer
	if err := pprof.StartCPUProfile(&b); err != nil {
		return refusal(&kindOverloaded, opAdmin, "This node is being profiled for another caller already.")
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
	pprof.StopCPUProfile()
	w.Header().Set("Content-Type", profileType(0))
	w.Header()["X-Content-Type-Options"] = noSniff
	_, _ = w.Write(b.Bytes())
	return nil
}

// intParam reads a parameter that may be left out.
func intParam(text, name string, def, least, most int) (int, *problem) {
	if text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, badParameter(name, fmt.Sprintf("%s=%s: a whole number from %d to %d is allowed.", name, text, least, most))
	}
	return n, nil
}
