package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// clusterDoc is the answer of GET /v1/cluster, as far as it is shown.
type clusterDoc struct {
	ClusterID  string          `json:"cluster_id"`
	MapHash    string          `json:"map_hash"`
	Partitions int             `json:"partitions"`
	Replicas   int             `json:"replicas"`
	Node       string          `json:"node"`
	Members    []clusterMember `json:"members"`
}

type clusterMember struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	State   string `json:"state"`
	Alive   bool   `json:"alive"`
	HTTP    string `json:"http"`
	RPC     string `json:"rpc"`
	Zone    string `json:"zone"`
	Weight  int    `json:"weight"`
	Settled int    `json:"settled"`
	Pending int    `json:"pending"`
	Hints   int64  `json:"hints"`
}

// The state of members that have left for good: that they do not answer is as
// it should be.
const stateRemoved = "removed"

// statusDoc is the JSON of status.
type statusDoc struct {
	ClusterID  string         `json:"cluster_id"`
	MapHash    string         `json:"map_hash"`
	Partitions int            `json:"partitions"`
	Replicas   int            `json:"replicas"`
	SeenBy     string         `json:"seen_by"`
	Healthy    bool           `json:"healthy"`
	Problems   []string       `json:"problems"`
	Members    []statusMember `json:"members"`
}

type statusMember struct {
	clusterMember
	// OwnedPercent is the member's part of all replicas of all partitions;
	// those of all members add up to 100.
	OwnedPercent float64 `json:"owned_percent"`
}

func newStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the members of the cluster and whether it is healthy",
		Long: `Show one line for each member: its state, whether the asked node can reach it,
how many partitions it owns, its part of all replicas (OWNED%, 100 together),
partitions that are still being copied to it (PENDING), and the hints that it
holds for others.

The exit code is 4 where a member is not alive or a partition is pending.`,
		Example: `  starling status
  starling status -o json | jq '.members[] | select(.alive | not) | .name'
  until starling status >/dev/null; do sleep 1; done`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var doc clusterDoc
			if err := a.ask(cmd.Context(), "/v1/cluster", &doc); err != nil {
				return err
			}
			s := statusOf(&doc)
			if err := a.printStatus(&s); err != nil {
				return err
			}
			if !s.Healthy {
				return errUnhealthy
			}
			return nil
		},
	}
}

// statusOf judges what a node said.
func statusOf(doc *clusterDoc) statusDoc {
	s := statusDoc{
		ClusterID: doc.ClusterID, MapHash: doc.MapHash, Partitions: doc.Partitions, Replicas: doc.Replicas,
		SeenBy: doc.Node, Problems: []string{}, Members: make([]statusMember, len(doc.Members)),
	}
	if doc.ClusterID == "" {
		s.Problems = append(s.Problems, "the node has not joined a cluster")
	}
	members := slices.SortedFunc(slices.Values(doc.Members), func(a, b clusterMember) int { return strings.Compare(a.Name, b.Name) })
	total := 0
	for _, m := range members {
		total += m.Settled
	}
	for i, m := range members {
		s.Members[i].clusterMember = m
		if total > 0 {
			s.Members[i].OwnedPercent = float64(m.Settled*1000/total) / 10
		}
		if m.State == stateRemoved {
			continue
		}
		if !m.Alive {
			s.Problems = append(s.Problems, m.Name+" is not alive")
		}
		if m.Pending > 0 {
			s.Problems = append(s.Problems, fmt.Sprintf("%s has %d pending partitions", m.Name, m.Pending))
		}
	}
	s.Healthy = len(s.Problems) == 0
	return s
}

func (a *app) printStatus(s *statusDoc) error {
	if a.output == outputJSON {
		return a.printJSON(s)
	}
	t := newTable("NAME", "STATE", "ALIVE", "OWNED", "OWNED%", "PENDING", "HINTS", "ZONE", "HTTP")
	for _, m := range s.Members {
		line := plain
		switch {
		case m.State == stateRemoved:
		case !m.Alive:
			line = red
		case m.Pending > 0 || m.State != "active":
			line = amber
		}
		t.add(line, m.Name, m.State, yesNo(m.Alive), strconv.Itoa(m.Settled), fmt.Sprintf("%.1f", m.OwnedPercent),
			strconv.Itoa(m.Pending), strconv.FormatInt(m.Hints, 10), dash(m.Zone), m.HTTP)
	}
	if err := a.printTable(t); err != nil {
		return err
	}
	if s.Healthy {
		return a.printLine(green, "healthy: %d partitions, %d replicas each", s.Partitions, s.Replicas)
	}
	for _, p := range s.Problems {
		if err := a.printLine(red, "unhealthy: %s", p); err != nil {
			return err
		}
	}
	return nil
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

// dash stands for what is empty: an empty cell would look like a mistake.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
