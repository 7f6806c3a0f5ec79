package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"starling/gossip/state"
	"starling/gossip/topology"
	"starling/ring"
)

// planTimeout bounds what is asked of the members for a plan, changeTimeout
// the change itself. Clients wait longer than for both.
const (
	planTimeout   = reportTimeout
	changeTimeout = 2 * time.Second
)

// crossOrigin tells the requests that a browser sends on behalf of a page of
// somebody else: a form may post here, but must not change the members.
var crossOrigin http.CrossOriginProtection

// changeDoc is the JSON of a change of the members that was made.
type changeDoc struct {
	Node  string   `json:"node"`
	ID    string   `json:"id"`
	State string   `json:"state"`
	Plan  *planDoc `json:"plan"`
}

// changeMembers has members leave, removed or replaced.
func (s *Server) changeMembers(kind ChangeKind) adminHandler {
	return func(w http.ResponseWriter, r *http.Request) *problem {
		if crossOrigin.Check(r) != nil {
			return &problem{kind: &kindOrigin, detail: "A page of another origin must not change the members. Nothing changed."}
		}
		if p := s.topologyOffered(); p != nil {
			return p
		}
		m := s.opts.Cluster.Map()
		req, p := s.changeRequest(w, r, kind, m)
		if p != nil {
			return p
		}
		done, p := s.diagnose()
		if p != nil {
			return p
		}
		defer done()
		plan, p := s.change(r.Context(), req, m)
		if p != nil {
			return p
		}
		s.opts.Logger.Info("api: change of the members", "kind", kind, "node", req.Node, "by", req.By, "force", req.Force, "from", r.RemoteAddr)
		m = s.opts.Cluster.Map()
		mem, _ := m.Member(req.Node) // a record never goes
		w.Header()["Cache-Control"] = noStore
		writeJSON(w, http.StatusAccepted, changeDoc{Node: mem.Name, ID: mem.ID.String(), State: mem.State.String(), Plan: plan})
		return nil
	}
}

// topologyOffered is the answer where this node cannot say or change anything
// about the members; nil where it can.
func (s *Server) topologyOffered() *problem {
	if s.opts.Cluster.View() == nil {
		return s.notReady(opAdmin)
	}
	if s.opts.Topology == nil {
		return notOffered()
	}
	return nil
}

// changeRequest is what the body means. A member that is to leave is by
// default this node.
func (s *Server) changeRequest(w http.ResponseWriter, r *http.Request, kind ChangeKind, m state.Map) (req ChangeRequest, p *problem) {
	req = ChangeRequest{Kind: kind, Node: s.opts.Self}
	var node, by string
	fields := map[string]any{"node": &node}
	if kind != ChangeLeave {
		fields["force"] = &req.Force
	}
	if kind == ChangeReplace {
		fields["by"] = &by
	}
	given, p := readFields(w, r, fields)
	if p != nil {
		return req, p
	}
	if given["node"] || kind != ChangeLeave {
		if req.Node, p = memberField(m, "node", node); p != nil {
			return req, p
		}
	}
	if kind == ChangeReplace {
		if req.By, p = memberField(m, "by", by); p != nil {
			return req, p
		}
		if req.By == req.Node {
			return req, badBody(fmt.Sprintf("\"node\" and \"by\" are both %s: the member that takes the place must be another.", nodeName(m, req.By)))
		}
	}
	return req, nil
}

// memberField is the member that a field of a body names.
func memberField(m state.Map, field, name string) (ring.NodeID, *problem) {
	if name == "" {
		return ring.NodeID{}, badBody(fmt.Sprintf("%q must be the name or ID of a member.", field))
	}
	return findMember(m, name)
}

// findMember is the member with a name or ID.
func findMember(m state.Map, name string) (ring.NodeID, *problem) {
	mem, err := m.Find(name)
	if err != nil {
		text := plainTextWithin(err, maxReasonBytes)
		return ring.NodeID{}, &problem{kind: &kindNoNode, detail: strings.ToUpper(text[:1]) + text[1:] + "."}
	}
	return mem.ID, nil
}

// change plans a change, then makes it. One that has been made before is not
// asked for again: states only move forward, so what the map says of them
// stays true, however old the map is. It is where force is to give up what was
// found to be lost after the change.
func (s *Server) change(ctx context.Context, req ChangeRequest, m state.Map) (*planDoc, *problem) {
	c := proposed(req, m)
	again := made(req, m)
	if again {
		c = topology.Change{}
	}
	plan, p := s.plan(ctx, c)
	if p != nil || again && !givesUp(req, m) {
		return plan, p
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
	defer cancel()
	if err := s.opts.Topology.Change(ctx, req); err != nil {
		return nil, s.changeProblem(err, "/v1/cluster shows the members as they are. To ask again does no harm.")
	}
	return plan, nil
}

// made reports whether the members are as the change would have them.
func made(req ChangeRequest, m state.Map) bool {
	mem, _ := m.Member(req.Node)
	switch req.Kind {
	case ChangeLeave:
		return mem.State >= state.Leaving
	case ChangeRemove:
		return mem.State == state.Removed
	default:
		return mem.State == state.Removed && mem.Heir == req.By
	}
}

// givesUp reports whether partitions that nobody holds are to be given up by a
// removal that was not marked as forced.
func givesUp(req ChangeRequest, m state.Map) bool {
	mem, _ := m.Member(req.Node)
	return req.Force && !mem.Forced && len(m.Lost()) > 0
}

// proposed is the change that a request asks for.
func proposed(req ChangeRequest, m state.Map) topology.Change {
	switch req.Kind {
	case ChangeLeave:
		return topology.Change{Leave: []ring.NodeID{req.Node}}
	case ChangeRemove:
		return topology.Change{Remove: []ring.NodeID{req.Node}}
	default:
		heir := topology.NewMember{Name: nodeName(m, req.By)}
		return topology.Change{Replace: []topology.Replacement{{Dead: req.Node, Heir: heir}}}
	}
}

// changeProblem tells what err means for a change of the cluster map; lookup says
// how to find out whether it was made.
func (s *Server) changeProblem(err error, lookup string) *problem {
	p := s.problemOf(err, false, s.opts.Cluster.Map())
	if p.kind.status < 500 {
		return p
	}
	row := rowOf(err)
	maybe := row == nil || row.open
	p.maybeApplied = &maybe
	if maybe {
		p.detail += " The change may have been made: " + lookup
	} else {
		p.detail += " Nothing changed."
	}
	return p
}

// maxListed bounds the partitions that a problem lists.
const maxListed = 1000

// changeReport is the part of a problem that a refused change adds.
type changeReport struct {
	Lost   []int `json:"lost_partitions,omitempty"`
	AtRisk []int `json:"at_risk_partitions,omitempty"`
}

// preconditionProblem is a change that the state of the cluster forbids.
func preconditionProblem(pre *PreconditionError, m state.Map) *problem {
	detail := named(m, pre.Reason) + "."
	if n := len(pre.Lost); n > 0 {
		detail += fmt.Sprintf(" %s would be left without a complete copy.", partitions(n))
	}
	if n := len(pre.AtRisk); n > 0 {
		detail += fmt.Sprintf(" %s would keep fewer complete copies than a quorum.", partitions(n))
	}
	if len(pre.Lost)+len(pre.AtRisk) > 0 {
		detail += ` With "force": true it is done all the same, and what other copies lack is gone for good.`
	}
	return &problem{kind: &kindPrecondition, detail: detail + " Nothing changed.", change: &changeReport{
		Lost: pre.Lost[:min(len(pre.Lost), maxListed)], AtRisk: pre.AtRisk[:min(len(pre.AtRisk), maxListed)],
	}}
}

func partitions(n int) string {
	if n == 1 {
		return "1 partition"
	}
	return fmt.Sprintf("%d partitions", n)
}
