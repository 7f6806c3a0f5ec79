package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"starling/client"
)

func newConvergenceCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "convergence",
		Short: "Show whether the replicas are proven equal, and what stands in the way",
		Long: `Ask every member when it last found its replicas equal to those of the other
owners, and say whether all of them are: converged, or what stands in the way.

A pair, two owners of a partition, holds as long as both vouch for the last
proof: neither was down or has restarted since, and no comparison since has
ended otherwise. Pairs that do not hold are counted by the two nodes. Deleted
keys that are not purged yet, and what keeps them from being purged, are named
too; they do not stand in the way. With -o json the answer is that of
GET /v1/convergence?stale=true, whose pairs are those that do not hold.

The exit code is 4 where the cluster is not converged.`,
		Example: `  starling convergence
  starling convergence -o json | jq '{converged, oldest_proof_seconds, hints}'
  until starling convergence >/dev/null 2>&1; do sleep 1; done`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var raw json.RawMessage
			if err := a.ask(cmd.Context(), "/v1/convergence?stale=true", &raw); err != nil {
				return err
			}
			var doc client.Convergence
			if err := json.Unmarshal(raw, &doc); err != nil {
				return fmt.Errorf("convergence: %w", err)
			}
			if err := a.printConvergence(raw, &doc); err != nil {
				return err
			}
			if !doc.Converged {
				return errNotConverged
			}
			return nil
		},
	}
}

func (a *app) printConvergence(raw json.RawMessage, doc *client.Convergence) error {
	if a.output == outputJSON {
		return a.printJSON(raw)
	}
	line := green
	if !doc.Converged {
		line = red
	}
	if err := a.printLine(line, "%s", convergenceText(doc)); err != nil {
		return err
	}
	if groups := staleGroups(doc.Pairs); len(groups) > 0 {
		t := newTable("A", "B", "PAIRS", "NEVER PROVEN", "OLDEST PROOF")
		for _, g := range groups {
			t.add(amber, g.a, g.b, strconv.Itoa(g.pairs), strconv.Itoa(g.unproven), g.oldest())
		}
		if err := a.printTable(t); err != nil {
			return err
		}
	}
	if doc.Tombstones > 0 {
		if err := a.printLine(plain, "%s of deleted keys not purged yet", count(doc.Tombstones, "copy", "copies")); err != nil {
			return err
		}
	}
	for _, b := range doc.PurgeBlockers {
		if err := a.printLine(amber, "purge waits for %s: %s", b.Node, b.Reason); err != nil {
			return err
		}
	}
	return nil
}

// convergenceText is one line: since when the replicas are proven equal, or
// what stands in the way.
func convergenceText(doc *client.Convergence) string {
	if !doc.Converged {
		return "not converged: " + strings.Join(obstacles(doc), ", ")
	}
	if doc.PairsTotal == 0 || doc.OldestProofSeconds == nil {
		return "converged, no partition has two owners"
	}
	return "converged, oldest proof " + secondsText(*doc.OldestProofSeconds) + " ago"
}

// obstacles are what keeps a cluster from being converged.
func obstacles(doc *client.Convergence) []string {
	var list []string
	if doc.Stale > 0 {
		list = append(list, count(int64(doc.Stale), "pair", "pairs"))
	}
	if len(doc.Unreachable) > 0 {
		list = append(list, strings.Join(doc.Unreachable, ", ")+" unreachable")
	}
	if doc.Hints > 0 {
		list = append(list, count(doc.Hints, "hint", "hints"))
	}
	if doc.Filling > 0 {
		list = append(list, count(int64(doc.Filling), "partition", "partitions")+" being filled")
	}
	if len(list) == 0 {
		list = append(list, "the node does not say why")
	}
	return list
}

func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// secondsText rounds to what a person reads.
func secondsText(seconds float64) string {
	switch {
	case seconds < 10:
		return fmt.Sprintf("%.1f s", seconds)
	case seconds < 120:
		return fmt.Sprintf("%.0f s", seconds)
	default:
		return (time.Duration(seconds) * time.Second).String()
	}
}

// staleGroup sums up the pairs of the same two nodes that do not hold.
type staleGroup struct {
	a, b            string
	pairs, unproven int
	oldestSeconds   float64
}

func (g *staleGroup) oldest() string {
	if g.unproven == g.pairs {
		return "-"
	}
	return secondsText(g.oldestSeconds) + " ago"
}

// staleGroups are sorted, those with the most pairs first.
func staleGroups(pairs []client.ConvergencePair) []*staleGroup {
	groups := make(map[[2]string]*staleGroup)
	for _, p := range pairs {
		if p.Holds {
			continue
		}
		g := groups[[2]string{p.A, p.B}]
		if g == nil {
			g = &staleGroup{a: p.A, b: p.B}
			groups[[2]string{p.A, p.B}] = g
		}
		g.pairs++
		if p.ProvenSecondsAgo == nil {
			g.unproven++
		} else {
			g.oldestSeconds = max(g.oldestSeconds, *p.ProvenSecondsAgo)
		}
	}
	return slices.SortedFunc(maps.Values(groups), func(x, y *staleGroup) int {
		return cmp.Or(cmp.Compare(y.pairs, x.pairs), strings.Compare(x.a, y.a), strings.Compare(x.b, y.b))
	})
}
