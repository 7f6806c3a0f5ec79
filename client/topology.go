package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// changeTimeout is the longest that a node takes over a change of the members
// or a question about one; see the HTTP interface.
const changeTimeout = 4 * time.Second

// Proposal is a change of the members that nobody has made yet. What it names
// are members, by name or ID, in the form of the HTTP interface; the node that
// is asked checks all of it. The zero Proposal changes nothing.
type Proposal struct {
	// Leave are members that leave, Remove dead ones that are taken out.
	Leave, Remove []string
	// Join are new members: NAME, NAME:ZONE or NAME:ZONE:WEIGHT.
	Join []string
	// Replace are dead members and what takes their places: DEAD:NEW, where
	// NEW is the name of a new member or of one that has joined.
	Replace []string
	// Weight and Zone are those that members are to have: MEMBER:WEIGHT and
	// MEMBER:ZONE.
	Weight, Zone []string
}

// Plan is what a change of the members moves and what it does to safety.
type Plan struct {
	// Nodes are the members before and after the change, by name.
	Nodes []NodePlan `json:"nodes"`
	// Partitions counts those with a copy to make, Replicas the copies, Bytes
	// their size as far as the nodes can tell. What earlier changes still have
	// to move is part of it.
	Partitions int   `json:"partitions"`
	Replicas   int   `json:"replicas"`
	Bytes      int64 `json:"bytes"`
	// Seconds is how long the busiest node is at it at the configured pace where
	// nobody serves clients, BusySeconds where all do; 0 where nothing moves or
	// nothing is known.
	Seconds     float64 `json:"seconds"`
	BusySeconds float64 `json:"busy_seconds"`
	// SurvivesBefore and SurvivesAfter are what may fail at once, now and when
	// the change is complete.
	SurvivesBefore Failures `json:"survives_before"`
	SurvivesAfter  Failures `json:"survives_after"`
	// LostPartitions are those whose last complete copies go. AtRiskPartitions
	// lose one and keep fewer than a quorum, UnreachablePartitions keep such
	// copies on members that are down only.
	LostPartitions        []int `json:"lost_partitions"`
	AtRiskPartitions      []int `json:"at_risk_partitions"`
	UnreachablePartitions []int `json:"unreachable_partitions"`
	// Warnings are for a person to read.
	Warnings []string `json:"warnings"`
}

// NodePlan is one node's part of a [Plan].
type NodePlan struct {
	Node string `json:"node"`
	// ID is empty for a node that is no member yet.
	ID string `json:"id"`
	// State is the one after the change: "joining", "active", "leaving" or
	// "removed".
	State string `json:"state"`
	// Down: it does not answer now.
	Down bool `json:"down"`
	// PartitionsBefore and PartitionsAfter count those that it is to own.
	PartitionsBefore int `json:"partitions_before"`
	PartitionsAfter  int `json:"partitions_after"`
	// In counts the copies that it gets, Out the complete ones that it gives
	// up; BytesIn and BytesOut are their sizes.
	In       int   `json:"in"`
	Out      int   `json:"out"`
	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
	// BytesSent is what others are to read from it.
	BytesSent int64 `json:"bytes_sent"`
}

// Failures is how many nodes, or whole zones, whichever they are, may fail at
// once beside those that are down with a quorum of owners left for every
// partition; -1 where one has none even so.
type Failures struct {
	Nodes int `json:"nodes"`
	Zones int `json:"zones"`
}

// Change is a change of the members that was made, now or before. What it
// moves is on its way: [Client.Cluster] shows how far.
type Change struct {
	// Node is the name of the member that it is about, ID its ID.
	Node string `json:"node"`
	ID   string `json:"id"`
	// State is the one that the member has now: "leaving" or "removed".
	State string `json:"state"`
	// Plan is what had to move when the change was made; where it had been made
	// before, what is still to move.
	Plan Plan `json:"plan"`
}

// Safety says whether a node may be stopped without anybody missing it.
type Safety struct {
	Node    string         `json:"node"`
	Safe    bool           `json:"safe"`
	Reasons []SafetyReason `json:"reasons"`
}

// SafetyReason is why a node should not be stopped.
type SafetyReason struct {
	// Kind is "quorum", "hints", "transfer", "unknown" or "down", the last of
	// which is no reason against it.
	Kind string `json:"kind"`
	// Partitions counts those that it is about.
	Partitions int `json:"partitions"`
	// Detail is for a person to read.
	Detail string `json:"detail"`
}

// Leave has a member hand on all that it holds, after which it is removed and
// its process ends. It returns when the member has begun, and does no harm to
// one that leaves or has left already. The node must be named: an attempt that
// is repeated elsewhere must not mean another.
func (c *Client) Leave(ctx context.Context, node string) (*Change, error) {
	return c.change(ctx, "leave", node, struct {
		Node string `json:"node"`
	}{node})
}

// Remove takes a dead member out of the cluster, for ever. Where a partition
// would be left without a complete copy the answer is a [*Problem] of type
// [ProblemPrecondition], unless force is set. It does no harm to a member that
// is removed already.
func (c *Client) Remove(ctx context.Context, node string, force bool) (*Change, error) {
	return c.change(ctx, "remove", node, struct {
		Node  string `json:"node"`
		Force bool   `json:"force"`
	}{node, force})
}

// Replace takes a dead member out and gives its place to by, a member that has
// joined; force is that of [Client.Remove].
func (c *Client) Replace(ctx context.Context, node, by string, force bool) (*Change, error) {
	if by == "" {
		return nil, fmt.Errorf("%w: replace: the member that takes the place must be named", ErrInvalid)
	}
	return c.change(ctx, "replace", node, struct {
		Node  string `json:"node"`
		By    string `json:"by"`
		Force bool   `json:"force"`
	}{node, by, force})
}

func (c *Client) change(ctx context.Context, op, node string, body any) (*Change, error) {
	if node == "" {
		return nil, fmt.Errorf("%w: %s: the member must be named", ErrInvalid, op)
	}
	k := &call{op: op, method: http.MethodPost, path: "/v1/cluster/" + op, write: true, timeout: changeTimeout}
	var err error
	if k.body, err = json.Marshal(body); err != nil { // strings and booleans cannot fail
		panic(err)
	}
	return ask[Change](ctx, c, k)
}

// Plan asks what a change would move. Nothing is changed.
func (c *Client) Plan(ctx context.Context, p Proposal) (*Plan, error) {
	query := url.Values{}
	for name, values := range map[string][]string{
		"leave": p.Leave, "remove": p.Remove, "join": p.Join, "replace": p.Replace, "weight": p.Weight, "zone": p.Zone,
	} {
		if len(values) > 0 {
			query[name] = values
		}
	}
	return ask[Plan](ctx, c, &call{op: "plan", method: http.MethodGet, path: "/v1/cluster/plan", query: query.Encode(), timeout: changeTimeout})
}

// SafeToStop asks whether a member, by name or ID, may be stopped.
func (c *Client) SafeToStop(ctx context.Context, node string) (*Safety, error) {
	if node == "" {
		return nil, fmt.Errorf("%w: safe-to-stop: the member must be named", ErrInvalid)
	}
	query := url.Values{"node": {node}}.Encode()
	return ask[Safety](ctx, c, &call{op: "safe-to-stop", method: http.MethodGet, path: "/v1/cluster/safe-to-stop", query: query, timeout: changeTimeout})
}
