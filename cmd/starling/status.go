package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"starling/client"
)

const (
	// stateRemoved is that of members that have left for good: that they do
	// not answer is as it should be.
	stateRemoved = "removed"
	// breakerOpen: the asked node sends a member no requests.
	breakerOpen = "open"
)

// statusDoc is the JSON of status.
type statusDoc struct {
	ClusterID  string   `json:"cluster_id"`
	MapHash    string   `json:"map_hash"`
	Partitions int      `json:"partitions"`
	Replicas   int      `json:"replicas"`
	SeenBy     string   `json:"seen_by"`
	Healthy    bool     `json:"healthy"`
	Problems   []string `json:"problems"`
	// Convergence is without its pairs; nil where the node could not say.
	Convergence *client.Convergence `json:"convergence,omitempty"`
	Members     []statusMember      `json:"members"`
}

type statusMember struct {
	client.Member
	// OwnedPercent is the member's part of all replicas of all partitions;
	// those of all members add up to 100.
	OwnedPercent float64 `json:"owned_percent"`
}

func newStatusCommand(a *app) *cobra.Command {
	var watch bool
	o := watchOptions{pause: watchPause}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the members of the cluster and whether it is healthy",
		Long: `Show one line for each member: its state; whether the asked node's failure
detector believes it alive, and whether that node sends it requests (BREAKER
closed, half_open while it is tried again, open); how many partitions it owns,
its part of all replicas (OWNED%, 100 together), partitions that are still
being copied to it (PENDING), and the hints that it holds for others (? where
it did not say). A last line says whether the replicas are proven equal; more
of that shows starling convergence.

The exit code is 4 where a member is not alive, its breaker is open, or a
partition is pending.

With --watch the same is shown again and again, without that line, and a bar
for each member that is filled or leaves: until Ctrl-C, for --timeout at most
where that is given, or with --until-settled until nothing moves. The exit code
is then 0, or 1 where --until-settled did not see the end. Without a terminal
there is one block, or one JSON document, for each look.`,
		Example: `  starling status
  starling status --watch
  starling status --watch --until-settled --timeout 1h
  starling status -o json | jq '.members[] | select(.alive | not) | .name'
  until starling status >/dev/null; do sleep 1; done`,
		Args: exactly(),
	}
	f := cmd.Flags()
	f.BoolVar(&watch, "watch", false, "show the status again and again")
	f.DurationVar(&o.pause, "interval", o.pause, "time between two looks, with --watch")
	f.BoolVar(&o.untilSettled, "until-settled", false, "end when nobody joins, leaves or is filled, with --watch")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case watch && o.pause < leastWatchPause:
			return usagef("--interval %v: %v or more is allowed", o.pause, leastWatchPause)
		case watch:
			return a.watchStatus(cmd.Context(), o)
		case f.Changed("interval") || o.untilSettled:
			return usagef("--interval and --until-settled are for --watch")
		}
		return a.showStatus(cmd.Context())
	}
	return cmd
}

func (a *app) showStatus(ctx context.Context) error {
	var doc client.Cluster
	if err := a.ask(ctx, "/v1/cluster", &doc); err != nil {
		return err
	}
	s := statusOf(&doc)
	convergence, unknown := a.askConvergence(ctx, &doc)
	s.Convergence = convergence
	if err := errors.Join(a.printStatus(&s), a.printLeaving(&s), a.printConverged(convergence, unknown)); err != nil {
		return err
	}
	if !s.Healthy {
		return errUnhealthy
	}
	return nil
}

// askConvergence asks a node that has joined for its summary; unknown is why
// there is none.
func (a *app) askConvergence(ctx context.Context, cluster *client.Cluster) (_ *client.Convergence, unknown error) {
	if cluster.ID == "" {
		return nil, nil
	}
	doc := &client.Convergence{}
	if err := a.ask(ctx, "/v1/convergence?pairs=false", doc); err != nil {
		return nil, err
	}
	return doc, nil
}

// printLeaving says what members that leave wait for.
func (a *app) printLeaving(s *statusDoc) error {
	if a.output == outputJSON {
		return nil
	}
	for _, m := range s.Members {
		if m.State != stateLeaving {
			continue
		}
		if err := a.printLine(amber, "%s leaves: %s", m.Name, leavingText(m.Member)); err != nil {
			return err
		}
	}
	return nil
}

// printConverged is the last line of the table.
func (a *app) printConverged(doc *client.Convergence, unknown error) error {
	switch {
	case a.output == outputJSON:
		return nil
	case unknown != nil:
		return a.printLine(amber, "convergence not known: %s", message(unknown))
	case doc == nil:
		return nil
	case doc.Converged:
		return a.printLine(green, "%s", convergenceText(doc))
	default:
		return a.printLine(amber, "%s", convergenceText(doc))
	}
}

// statusOf judges what a node said.
func statusOf(doc *client.Cluster) statusDoc {
	s := statusDoc{
		ClusterID: doc.ID, MapHash: doc.MapHash, Partitions: doc.Partitions, Replicas: doc.Replicas,
		SeenBy: doc.Node, Problems: []string{}, Members: make([]statusMember, len(doc.Members)),
	}
	if doc.ID == "" {
		s.Problems = append(s.Problems, "the node has not joined a cluster")
	}
	members := byName(doc.Members)
	total := 0
	for _, m := range members {
		total += m.Settled
	}
	for i, m := range members {
		s.Members[i].Member = m
		if total > 0 {
			s.Members[i].OwnedPercent = float64(m.Settled*1000/total) / 10
		}
		if m.State == stateRemoved {
			continue
		}
		switch {
		case !m.Alive:
			s.Problems = append(s.Problems, m.Name+" is not alive")
		case breakerOf(m) == breakerOpen:
			s.Problems = append(s.Problems, fmt.Sprintf("%s sends no requests to %s, which does not answer them", doc.Node, m.Name))
		}
		if m.Pending > 0 {
			s.Problems = append(s.Problems, fmt.Sprintf("%s has %d pending partitions", m.Name, m.Pending))
		}
	}
	s.Healthy = len(s.Problems) == 0
	return s
}

// byName sorts members.
func byName(members []client.Member) []client.Member {
	return slices.SortedFunc(slices.Values(members), func(a, b client.Member) int { return strings.Compare(a.Name, b.Name) })
}

// breakerOf is how a member looks from the asked node; empty for that itself.
func breakerOf(m client.Member) string {
	if m.Peer == nil {
		return ""
	}
	return m.Breaker
}

func (a *app) printStatus(s *statusDoc) error {
	if a.output == outputJSON {
		return a.printJSON(s)
	}
	t := newTable("NAME", "STATE", "ALIVE", "BREAKER", "OWNED", "OWNED%", "PENDING", "HINTS", "ZONE", "HTTP")
	for _, m := range s.Members {
		line := plain
		switch {
		case m.State == stateRemoved:
		case !m.Alive || breakerOf(m.Member) == breakerOpen:
			line = red
		case m.Pending > 0 || m.State != stateActive || m.Draining:
			line = amber
		}
		state, hints := m.State, "?"
		if m.Draining {
			state += ",draining"
		}
		if m.Answered {
			hints = strconv.FormatInt(m.Hints, 10)
		}
		t.add(line, m.Name, state, yesNo(m.Alive), dash(breakerOf(m.Member)), strconv.Itoa(m.Settled), fmt.Sprintf("%.1f", m.OwnedPercent),
			strconv.Itoa(m.Pending), hints, dash(m.Zone), m.HTTP)
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
