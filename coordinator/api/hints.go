package api

import (
	"errors"
	"fmt"
	"net/http"

	"starling/gossip/state"
	"starling/ring"
)

// hintsDoc is the JSON of /v1/hints: what this node keeps for others.
type hintsDoc struct {
	Node    string       `json:"node"`
	Hints   int64        `json:"hints"`
	Bytes   int64        `json:"bytes"`
	Targets []hintTarget `json:"targets"`
}

type hintTarget struct {
	Target    string `json:"target"`
	ID        string `json:"id"`
	Hints     int64  `json:"hints"`
	Bytes     int64  `json:"bytes"`
	State     string `json:"state"`
	Delivered int64  `json:"delivered"`
	LastError string `json:"last_error"`
}

func (s *Server) getHints(w http.ResponseWriter, _ *http.Request) *problem {
	if s.opts.Hints == nil {
		return notOffered()
	}
	m := s.opts.Cluster.Map()
	doc := hintsDoc{Node: s.opts.Name, Targets: []hintTarget{}}
	for _, t := range s.opts.Hints.Targets() {
		doc.Hints += t.Hints
		doc.Bytes += t.Bytes
		doc.Targets = append(doc.Targets, hintTarget{
			Target: nodeName(m, t.Node), ID: t.Node.String(), Hints: t.Hints, Bytes: t.Bytes,
			State: t.State.String(), Delivered: t.Delivered, LastError: named(m, plainText(errors.New(t.LastError))),
		})
	}
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, http.StatusOK, doc)
	return nil
}

// replayDoc is the JSON of a replay that was begun.
type replayDoc struct {
	Pending int64 `json:"pending"`
}

// replayHints begins the delivery of the hints for one target, or for all.
func (s *Server) replayHints(w http.ResponseWriter, r *http.Request) *problem {
	if s.opts.Hints == nil {
		return notOffered()
	}
	m := s.opts.Cluster.Map()
	target, p := s.target(m, r.URL.Query())
	if p != nil {
		return p
	}
	pending, err := s.opts.Hints.Replay(target)
	if err != nil {
		return s.problemOf(err, false, m)
	}
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, http.StatusAccepted, replayDoc{Pending: pending})
	return nil
}

// target is the node that the query means: the one with this name or ID, a
// member or one that something is kept for; without a name the zero ID.
func (s *Server) target(m state.Map, query map[string][]string) (ring.NodeID, *problem) {
	if len(query["target"]) == 0 {
		return ring.NodeID{}, nil
	}
	name := query["target"][0]
	for _, mem := range m.Members {
		if mem.Name == name || mem.ID.String() == name {
			return mem.ID, nil
		}
	}
	for _, t := range s.opts.Hints.Targets() {
		if nodeName(m, t.Node) == name {
			return t.Node, nil
		}
	}
	return ring.NodeID{}, &problem{kind: &kindNoNode, detail: fmt.Sprintf("There is no member %q, and this node keeps nothing for one of that name.", clip(name))}
}
