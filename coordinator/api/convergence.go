package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"starling/gossip/state"
	"starling/ring"
)

// reportTimeout bounds the wait for what the members say of convergence and
// repairs: callers give a node three seconds to answer.
const reportTimeout = 2 * time.Second

// convergenceDoc is the JSON of /v1/convergence.
type convergenceDoc struct {
	Node      string `json:"node"` // that asked
	Converged bool   `json:"converged"`
	// OldestProof is missing a value where a pair was never proven.
	OldestProof *float64 `json:"oldest_proof_seconds"`
	Partitions  int      `json:"partitions"`
	// PairsTotal counts all pairs, Stale those that do not hold, Unproven
	// those of them that were never proven.
	PairsTotal  int         `json:"pairs_total"`
	Stale       int         `json:"stale"`
	Unproven    int         `json:"unproven"`
	Pairs       []pairDoc   `json:"pairs,omitzero"`
	Unreachable []string    `json:"unreachable"`
	Filling     int         `json:"filling"`
	Hints       int64       `json:"hints"`
	Tombstones  int64       `json:"tombstones"`
	Blockers    []blockedBy `json:"purge_blockers"`
}

type pairDoc struct {
	Partition int      `json:"partition"`
	A         string   `json:"a"`
	B         string   `json:"b"`
	Proven    *float64 `json:"proven_seconds_ago"`
	Holds     bool     `json:"holds"`
}

type blockedBy struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// pairsListed says which pairs an answer lists.
type pairsListed struct{ none, staleOnly bool }

func (s *Server) getConvergence(w http.ResponseWriter, r *http.Request) *problem {
	query := r.URL.Query()
	pairs, p := boolParameter(query, "pairs", true)
	if p != nil {
		return p
	}
	stale, p := boolParameter(query, "stale", false)
	if p != nil {
		return p
	}
	// The view comes first: the map that is read after it knows its members.
	view := s.opts.Cluster.View()
	if view == nil {
		return s.notReady(opAdmin)
	}
	if s.opts.Convergence == nil {
		return notOffered()
	}
	done, p := s.diagnose()
	if p != nil {
		return p
	}
	defer done()
	ctx, cancel := context.WithTimeout(r.Context(), reportTimeout)
	defer cancel()
	reports, missing := s.opts.Convergence.Reports(ctx)
	meter := newMeter(view)
	for node, report := range reports {
		meter.add(node, &report)
	}
	doc := newConvergenceDoc(meter, s.opts.Cluster.Map(), missing, pairsListed{none: !pairs, staleOnly: stale})
	doc.Node = s.opts.Name
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, http.StatusOK, doc)
	return nil
}

// newConvergenceDoc puts names to what a meter has found.
func newConvergenceDoc(m *meter, members state.Map, missing []ring.NodeID, listed pairsListed) *convergenceDoc {
	doc := &convergenceDoc{
		Partitions: len(m.first) - 1, PairsTotal: len(m.pairs), Unreachable: nodeNames(members, m.silent(members, missing)),
		Filling: m.filling, Hints: m.hints, Tombstones: m.tombstones, Blockers: []blockedBy{},
	}
	var oldest time.Duration
	doc.Stale, doc.Unproven, oldest = m.count()
	if doc.Unproven == 0 {
		doc.OldestProof = seconds(oldest)
	}
	doc.Converged = doc.Stale == 0 && len(doc.Unreachable) == 0 && doc.Hints == 0 && doc.Filling == 0
	for _, b := range m.reasons() {
		doc.Blockers = append(doc.Blockers, blockedBy{Node: nodeName(members, b.Node), Reason: named(members, plainText(errors.New(b.Reason)))})
	}
	slices.Sort(doc.Unreachable)
	if !listed.none {
		doc.Pairs = m.list(members, listed.staleOnly)
	}
	return doc
}

// list names the pairs, in the order of partition and names.
func (m *meter) list(members state.Map, staleOnly bool) []pairDoc {
	list := []pairDoc{}
	for p := range len(m.first) - 1 {
		from := len(list)
		for _, pair := range m.pairs[m.first[p]:m.first[p+1]] {
			if staleOnly && pair.holds() {
				continue
			}
			d := pairDoc{Partition: p, A: nodeName(members, pair.a), B: nodeName(members, pair.b), Holds: pair.holds()}
			if d.A > d.B {
				d.A, d.B = d.B, d.A
			}
			if pair.proven {
				d.Proven = seconds(pair.age)
			}
			list = append(list, d)
		}
		slices.SortFunc(list[from:], func(x, y pairDoc) int { return strings.Compare(x.A+"\x00"+x.B, y.A+"\x00"+y.B) })
	}
	return list
}

// seconds are whole milliseconds in JSON.
func seconds(d time.Duration) *float64 {
	s := float64(d.Milliseconds()) / 1000
	return &s
}

// boolParameter is the value of a parameter that is true or false.
func boolParameter(query map[string][]string, name string, missing bool) (bool, *problem) {
	if len(query[name]) == 0 {
		return missing, nil
	}
	switch value := query[name][0]; value {
	case "true", "false":
		return value == "true", nil
	default:
		return false, badParameter(name, fmt.Sprintf("%s=%q: allowed are true and false.", name, clip(value)))
	}
}
