package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"starling/antientropy"
	"starling/gossip/state"
	"starling/ring"
)

// repairDoc is the JSON of /v1/repair: the last repair of every member, and
// the sums.
type repairDoc struct {
	Node    string `json:"node"` // that asked
	Running bool   `json:"running"`
	repairCount
	Members []memberRepair `json:"members"`
	// Unreachable are members that did not say.
	Unreachable []string `json:"unreachable"`
}

type repairCount struct {
	PairsDone    int    `json:"pairs_done"`
	PairsTotal   int    `json:"pairs_total"`
	KeysShipped  uint64 `json:"keys_shipped"`
	BytesShipped uint64 `json:"bytes_shipped"`
}

type memberRepair struct {
	Node string `json:"node"`
	// ID tells repairs of one member apart; 0: there was none.
	ID      uint64 `json:"id"`
	Running bool   `json:"running"`
	Started string `json:"started,omitempty"`
	repairCount
	// Unreachable are the members whose pairs could not be compared.
	Unreachable []string `json:"unreachable"`
}

func (s *Server) getRepair(w http.ResponseWriter, r *http.Request) *problem {
	done, p := s.askRepair()
	if p != nil {
		return p
	}
	defer done()
	ctx, cancel := context.WithTimeout(r.Context(), reportTimeout)
	defer cancel()
	statuses := s.opts.Convergence.RepairStatuses(ctx)
	m := s.opts.Cluster.Map()
	s.writeRepair(w, http.StatusOK, newRepairDoc(statuses, m, wantedMembers(m)))
	return nil
}

// startRepair has this node, and all members unless the query says otherwise,
// compare the pairs that it means.
func (s *Server) startRepair(w http.ResponseWriter, r *http.Request) *problem {
	query := r.URL.Query()
	local, p := boolParameter(query, "local", false)
	if p != nil {
		return p
	}
	done, p := s.askRepair()
	if p != nil {
		return p
	}
	defer done()
	m := s.opts.Cluster.Map()
	req, p := repairRequest(m, query)
	if p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(r.Context(), reportTimeout)
	defer cancel()
	statuses, err := s.opts.Convergence.Repair(ctx, req, local)
	m = s.opts.Cluster.Map()
	if err != nil {
		return s.problemOf(err, false, m)
	}
	wanted := wantedMembers(m)
	if local {
		wanted = []ring.NodeID{s.opts.Self}
	}
	s.writeRepair(w, http.StatusAccepted, newRepairDoc(statuses, m, wanted))
	return nil
}

// askRepair takes a place to ask the members about repairs.
func (s *Server) askRepair() (done func(), p *problem) {
	if s.opts.Cluster.View() == nil {
		return nil, s.notReady(opAdmin)
	}
	if s.opts.Convergence == nil {
		return nil, notOffered()
	}
	return s.diagnose()
}

// repairRequest is what the query means; without parameters every pair.
func repairRequest(m state.Map, query map[string][]string) (antientropy.RepairRequest, *problem) {
	var req antientropy.RepairRequest
	if values := query["partition"]; len(values) > 0 {
		n, err := strconv.ParseUint(values[0], 10, 32)
		partition := uint32(n)
		if err != nil || partition >= m.Settings.Partitions {
			return req, badParameter("partition", fmt.Sprintf("partition=%q: a whole number from 0 to %d.", clip(values[0]), m.Settings.Partitions-1))
		}
		req.Partition = &partition
	}
	if values := query["bucket"]; len(values) > 0 {
		if !validBucket(values[0]) {
			return req, badParameter("bucket", fmt.Sprintf("bucket=%q: 1 to %d of the characters A-Z a-z 0-9 . _ -", clip(values[0]), maxBucketBytes))
		}
		req.Bucket = values[0]
	}
	if values := query["node"]; len(values) > 0 {
		i := slices.IndexFunc(m.Members, func(mem state.Member) bool {
			return mem.State != state.Removed && (mem.Name == values[0] || mem.ID.String() == values[0])
		})
		if i < 0 {
			return req, &problem{kind: &kindNoNode, detail: fmt.Sprintf("There is no member %q.", clip(values[0]))}
		}
		req.Node = m.Members[i].ID
	}
	return req, nil
}

// wantedMembers are those that a question to all is for.
func wantedMembers(m state.Map) []ring.NodeID {
	var wanted []ring.NodeID
	for _, mem := range m.Members {
		if mem.State != state.Removed {
			wanted = append(wanted, mem.ID)
		}
	}
	return wanted
}

// newRepairDoc lists the wanted members by name.
func newRepairDoc(statuses map[ring.NodeID]antientropy.RepairStatus, m state.Map, wanted []ring.NodeID) *repairDoc {
	doc := &repairDoc{Members: []memberRepair{}, Unreachable: []string{}}
	for _, id := range wanted {
		status, ok := statuses[id]
		if !ok {
			doc.Unreachable = append(doc.Unreachable, nodeName(m, id))
			continue
		}
		d := newMemberRepair(&status, m)
		d.Node = nodeName(m, id)
		doc.Members = append(doc.Members, d)
		doc.Running = doc.Running || d.Running
		doc.PairsDone += d.PairsDone
		doc.PairsTotal += d.PairsTotal
		doc.KeysShipped += d.KeysShipped
		doc.BytesShipped += d.BytesShipped
	}
	slices.SortFunc(doc.Members, func(a, b memberRepair) int { return strings.Compare(a.Node, b.Node) })
	slices.Sort(doc.Unreachable)
	return doc
}

func newMemberRepair(status *antientropy.RepairStatus, m state.Map) memberRepair {
	d := memberRepair{
		ID: status.ID, Running: status.Running, Unreachable: nodeNames(m, status.Unreachable),
		repairCount: repairCount{
			PairsDone: status.PairsDone, PairsTotal: status.PairsTotal,
			KeysShipped: status.KeysShipped, BytesShipped: status.BytesShipped,
		},
	}
	if !status.Started.IsZero() {
		d.Started = isoTime(status.Started.UnixMilli())
	}
	slices.Sort(d.Unreachable)
	return d
}

func (s *Server) writeRepair(w http.ResponseWriter, status int, doc *repairDoc) {
	doc.Node = s.opts.Name
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, status, doc)
}
