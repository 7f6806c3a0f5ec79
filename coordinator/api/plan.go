package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"starling/gossip/state"
	"starling/gossip/topology"
	"starling/ring"
)

// planDoc is the JSON of what a change moves and what it does to safety.
type planDoc struct {
	Nodes          []nodePlan `json:"nodes"`
	Partitions     int        `json:"partitions"`
	Replicas       int        `json:"replicas"`
	Bytes          int64      `json:"bytes"`
	Seconds        float64    `json:"seconds"`
	BusySeconds    float64    `json:"busy_seconds"`
	SurvivesBefore failures   `json:"survives_before"`
	SurvivesAfter  failures   `json:"survives_after"`
	Lost           []int      `json:"lost_partitions"`
	AtRisk         []int      `json:"at_risk_partitions"`
	Unreachable    []int      `json:"unreachable_partitions"`
	Warnings       []string   `json:"warnings"`
}

type nodePlan struct {
	Node             string `json:"node"`
	ID               string `json:"id,omitempty"` // missing for one that is no member yet
	State            string `json:"state"`
	Down             bool   `json:"down"`
	PartitionsBefore int    `json:"partitions_before"`
	PartitionsAfter  int    `json:"partitions_after"`
	In               int    `json:"in"`
	Out              int    `json:"out"`
	BytesIn          int64  `json:"bytes_in"`
	BytesOut         int64  `json:"bytes_out"`
	BytesSent        int64  `json:"bytes_sent"`
}

type failures struct {
	Nodes int `json:"nodes"`
	Zones int `json:"zones"`
}

// planParams are the query parameters of a plan. Each may be repeated.
var planParams = []string{"leave", "remove", "join", "replace", "weight", "zone"}

func (s *Server) getPlan(w http.ResponseWriter, r *http.Request) *problem {
	if p := s.topologyOffered(); p != nil {
		return p
	}
	c, p := parseChange(s.opts.Cluster.Map(), r.URL.Query())
	if p != nil {
		return p
	}
	done, p := s.diagnose()
	if p != nil {
		return p
	}
	defer done()
	doc, p := s.plan(r.Context(), c)
	if p != nil {
		return p
	}
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, http.StatusOK, doc)
	return nil
}

// plan asks what a change would move, before it is made.
func (s *Server) plan(ctx context.Context, c topology.Change) (*planDoc, *problem) {
	ctx, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	plan, err := s.opts.Topology.Plan(ctx, c)
	m := s.opts.Cluster.Map()
	if err != nil {
		p := s.problemOf(err, false, m)
		p.detail += " Nothing changed."
		return nil, p
	}
	return newPlanDoc(&plan, m), nil
}

func newPlanDoc(p *topology.Plan, m state.Map) *planDoc {
	doc := &planDoc{
		Nodes: make([]nodePlan, len(p.Nodes)), Partitions: p.Partitions, Replicas: p.Replicas, Bytes: p.Bytes, Seconds: p.Seconds, BusySeconds: p.BusySeconds,
		SurvivesBefore: failures(p.SurvivesBefore), SurvivesAfter: failures(p.SurvivesAfter),
		Lost: listed(p.Lost), AtRisk: listed(p.AtRisk), Unreachable: listed(p.Unreachable), Warnings: make([]string, len(p.Warnings)),
	}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		doc.Nodes[i] = nodePlan{
			Node: n.Name, State: n.State.String(), Down: n.Down, PartitionsBefore: n.PartitionsBefore, PartitionsAfter: n.PartitionsAfter,
			In: n.In, Out: n.Out, BytesIn: n.BytesIn, BytesOut: n.BytesOut, BytesSent: n.BytesSent,
		}
		if _, ok := m.Member(n.ID); ok {
			doc.Nodes[i].ID = n.ID.String()
		}
	}
	for i, text := range p.Warnings {
		doc.Warnings[i] = named(m, text)
	}
	return doc
}

// listed is a list in JSON, which is never null.
func listed[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// parseChange is the change that the parameters of a plan mean.
func parseChange(m state.Map, query map[string][]string) (c topology.Change, p *problem) {
	pr := changeParser{m: m}
	pr.c.Weights, pr.c.Zones = make(map[ring.NodeID]uint32), make(map[ring.NodeID]string)
	count := 0
	for _, name := range planParams {
		if count += len(query[name]); count > ring.MaxMembers {
			return c, badParameter(name, fmt.Sprintf("There are more than %d changes in one plan, as many as members may be.", ring.MaxMembers))
		}
		for _, value := range query[name] {
			if p := pr.add(name, value); p != nil {
				return c, p
			}
		}
	}
	return pr.c, nil
}

// changeParser gathers a change from parameters.
type changeParser struct {
	m state.Map
	c topology.Change
}

func (pr *changeParser) add(name, value string) *problem {
	switch name {
	case "join":
		return pr.join(value)
	case "leave", "remove":
		id, p := memberParameter(pr.m, name, value, value)
		if p == nil && name == "leave" {
			pr.c.Leave = append(pr.c.Leave, id)
		} else if p == nil {
			pr.c.Remove = append(pr.c.Remove, id)
		}
		return p
	}
	// What comes after the first colon may have others.
	member, rest, ok := strings.Cut(value, ":")
	switch name {
	case "replace":
		if !ok || rest == "" {
			return badForm(name, value, "DEAD:NEW, a member and the name of what takes its place")
		}
		id, p := memberParameter(pr.m, name, value, member)
		pr.c.Replace = append(pr.c.Replace, topology.Replacement{Dead: id, Heir: topology.NewMember{Name: rest}})
		return p
	case "zone":
		if !ok {
			return badForm(name, value, "MEMBER:ZONE")
		}
		return setOnce(pr.m, pr.c.Zones, name, value, member, rest)
	default:
		weight, valid := parseWeight(rest)
		if !ok || !valid {
			return badForm(name, value, fmt.Sprintf("MEMBER:WEIGHT with a weight from 1 to %d", ring.MaxWeight))
		}
		return setOnce(pr.m, pr.c.Weights, name, value, member, weight)
	}
}

// join takes NAME, NAME:ZONE or NAME:ZONE:WEIGHT.
func (pr *changeParser) join(value string) *problem {
	parts := strings.SplitN(value, ":", 3)
	n := topology.NewMember{Name: parts[0]}
	valid := n.Name != ""
	if len(parts) > 1 {
		n.Zone = parts[1]
	}
	if len(parts) > 2 {
		var ok bool
		n.Weight, ok = parseWeight(parts[2])
		valid = valid && ok
	}
	if !valid {
		return badForm("join", value, fmt.Sprintf("NAME, NAME:ZONE or NAME:ZONE:WEIGHT with a weight from 1 to %d", ring.MaxWeight))
	}
	pr.c.Join = append(pr.c.Join, n)
	return nil
}

// memberParameter is the member that the value of a parameter names.
func memberParameter(m state.Map, param, value, name string) (ring.NodeID, *problem) {
	if name == "" {
		return ring.NodeID{}, badForm(param, value, "the name or ID of a member")
	}
	return findMember(m, name)
}

// setOnce notes what a member is to have.
func setOnce[T any](m state.Map, into map[ring.NodeID]T, param, value, name string, to T) *problem {
	id, p := memberParameter(m, param, value, name)
	if p != nil {
		return p
	}
	if _, twice := into[id]; twice {
		return badParameter(param, fmt.Sprintf("%s=%q: it is given twice for %s.", param, clip(value), nodeName(m, id)))
	}
	into[id] = to
	return nil
}

func parseWeight(s string) (weight uint32, ok bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n >= 1 && n <= ring.MaxWeight
}

func badForm(param, value, form string) *problem {
	return badParameter(param, fmt.Sprintf("%s=%q: wanted is %s.", param, clip(value), form))
}

// safetyDoc is the JSON of whether a member may be stopped.
type safetyDoc struct {
	Node    string         `json:"node"`
	Safe    bool           `json:"safe"`
	Reasons []safetyReason `json:"reasons"`
}

type safetyReason struct {
	Kind       string `json:"kind"`
	Partitions int    `json:"partitions"`
	Detail     string `json:"detail"`
}

func (s *Server) getSafety(w http.ResponseWriter, r *http.Request) *problem {
	if p := s.topologyOffered(); p != nil {
		return p
	}
	m, id := s.opts.Cluster.Map(), s.opts.Self
	if values := r.URL.Query()["node"]; len(values) > 0 {
		var p *problem
		if id, p = memberParameter(m, "node", values[0], values[0]); p != nil {
			return p
		}
	}
	done, p := s.diagnose()
	if p != nil {
		return p
	}
	defer done()
	ctx, cancel := context.WithTimeout(r.Context(), planTimeout)
	defer cancel()
	safety, err := s.opts.Topology.SafeToStop(ctx, id)
	m = s.opts.Cluster.Map()
	if err != nil {
		return s.problemOf(err, false, m)
	}
	doc := safetyDoc{Node: nodeName(m, id), Safe: safety.Safe, Reasons: []safetyReason{}}
	for _, r := range safety.Reasons {
		doc.Reasons = append(doc.Reasons, safetyReason{Kind: r.Kind, Partitions: r.Partitions, Detail: named(m, r.Detail)})
	}
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, http.StatusOK, doc)
	return nil
}
