package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"starling/client"
)

// maxPartitionsShown is how many partitions a line names.
const maxPartitionsShown = 10

func (a *app) plan(ctx context.Context, p client.Proposal) (*client.Plan, error) {
	return askAs(ctx, a, func(ctx context.Context, c *client.Client) (*client.Plan, error) { return c.Plan(ctx, p) })
}

func (a *app) showPlan(ctx context.Context, p client.Proposal) error {
	plan, err := a.plan(ctx, p)
	if err != nil {
		return err
	}
	if a.output == outputJSON {
		return a.printJSON(plan)
	}
	return a.printPlan(plan)
}

func (a *app) printPlan(p *client.Plan) error {
	t := newTable("NODE", "STATE", "BEFORE", "AFTER", "IN", "OUT", "RECEIVES", "SENDS")
	for _, n := range p.Nodes {
		line, state := plain, n.State
		if state == stateRemoved || n.Down {
			line = amber
		}
		if n.Down {
			state += ",down"
		}
		t.add(line, n.Node, state, strconv.Itoa(n.PartitionsBefore), strconv.Itoa(n.PartitionsAfter),
			strconv.Itoa(n.In), strconv.Itoa(n.Out), bytesText(n.BytesIn), bytesText(n.BytesSent))
	}
	if err := a.printTable(t); err != nil {
		return err
	}
	if err := a.printLine(plain, "%s", movesText(p)); err != nil {
		return err
	}
	survives := plain
	if p.SurvivesAfter.Nodes < p.SurvivesBefore.Nodes || p.SurvivesAfter.Zones < p.SurvivesBefore.Zones {
		survives = amber
	}
	if err := a.printLine(survives, "may fail at once: %s now, %s after", failuresText(p.SurvivesBefore), failuresText(p.SurvivesAfter)); err != nil {
		return err
	}
	warned := amber
	if len(p.LostPartitions) > 0 {
		warned = red
	}
	for _, w := range p.Warnings {
		if err := a.printLine(warned, "warning: %s", w); err != nil {
			return err
		}
	}
	return nil
}

// movesText is one line: what is to be copied, and how long that takes.
func movesText(p *client.Plan) string {
	if p.Replicas == 0 {
		return "nothing is to be copied"
	}
	text := fmt.Sprintf("%s to make, of %s, %s together", count(int64(p.Replicas), "copy", "copies"),
		count(int64(p.Partitions), "partition", "partitions"), bytesText(p.Bytes))
	if p.Seconds > 0 {
		text += ", in about " + durationText(p.Seconds)
	}
	if p.BusySeconds > 0 {
		text += ", or " + durationText(p.BusySeconds) + " while clients are served"
	}
	return text
}

// failuresText says how many may fail, whichever they are.
func failuresText(f client.Failures) string {
	if f.Nodes < 0 {
		return "nothing, a partition is without a quorum"
	}
	return count(int64(f.Nodes), "node", "nodes") + " or " + count(int64(f.Zones), "zone", "zones")
}

// verdict has a line for the partitions that a change would lose, and one for
// those that it would put at risk.
func verdict(lost, atRisk []int) []string {
	var lines []string
	if len(lost) > 0 {
		lines = append(lines, "lost, no complete copy is left: "+partitionsText(lost))
	}
	if len(atRisk) > 0 {
		lines = append(lines, "at risk, fewer complete copies than a quorum are left: "+partitionsText(atRisk))
	}
	return lines
}

func partitionsText(partitions []int) string {
	shown := make([]string, 0, maxPartitionsShown)
	for _, p := range partitions[:min(len(partitions), maxPartitionsShown)] {
		shown = append(shown, strconv.Itoa(p))
	}
	text := count(int64(len(partitions)), "partition", "partitions") + " (" + strings.Join(shown, ", ")
	if len(partitions) > maxPartitionsShown {
		text += ", …"
	}
	return text + ")"
}

// bytesText is a size as people read it.
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/(1<<10), 0
	for value >= 999.95 && unit < len(units)-1 {
		value /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// durationText is a time as people read it, to the second or, from an hour on,
// to the minute.
func durationText(seconds float64) string {
	n := max(1, int64(math.Ceil(seconds)))
	switch {
	case n < 120:
		return fmt.Sprintf("%d s", n)
	case n < 3600:
		return fmt.Sprintf("%d min %02d s", n/60, n%60)
	default:
		return fmt.Sprintf("%d h %02d min", n/3600, n%3600/60)
	}
}
