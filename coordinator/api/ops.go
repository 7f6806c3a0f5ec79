package api

import (
	_ "embed" // the OpenAPI document
	"errors"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// document is the OpenAPI 3.1 description of this API.
//
//go:embed openapi.yaml
var document []byte

func getDocument(w http.ResponseWriter, _ *http.Request) *problem {
	h := w.Header()
	h.Set("Content-Type", "application/yaml")
	h.Set("Content-Length", strconv.Itoa(len(document)))
	h["Cache-Control"] = noCache
	_, _ = w.Write(document)
	return nil
}

// healthDoc is the JSON of /healthz and /readyz where all is well.
type healthDoc struct {
	Status  string `json:"status"`
	Node    string `json:"node"`
	Version string `json:"version"`
}

// getHealth says whether the process makes progress.
func (s *Server) getHealth(w http.ResponseWriter, _ *http.Request) *problem {
	return s.health(w, "ok", s.opts.Live(), &kindNotLive)
}

// getReady says whether the node has joined and is not draining. It does not
// depend on a quorum: a node without one must keep telling its clients so.
func (s *Server) getReady(w http.ResponseWriter, _ *http.Request) *problem {
	err := s.opts.Ready()
	if err == nil && s.draining() {
		err = errors.New("the node is stopping")
	}
	return s.health(w, "ready", err, &kindNotReady)
}

func (s *Server) health(w http.ResponseWriter, status string, err error, k *kind) *problem {
	if err != nil {
		return &problem{kind: k, detail: plainText(err)}
	}
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, http.StatusOK, healthDoc{Status: status, Node: s.opts.Name, Version: s.opts.Version})
	return nil
}

func (s *Server) getMetrics() adminHandler {
	h := promhttp.HandlerFor(s.opts.Gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true})
	return func(w http.ResponseWriter, r *http.Request) *problem {
		h.ServeHTTP(w, r)
		return nil
	}
}
