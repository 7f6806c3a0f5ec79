package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"starling/client"
)

func newExplainCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "explain BUCKET KEY",
		Short: "Show what every node holds for a key, and whether they agree",
		Long: `Ask every owner of a key, and every node that could stand in for one, what it
holds, and say what that comes to. HASH is equal for equal copies; one in
brackets is that of a hint, which the node keeps for the nodes named in HINTS.
The key need not exist, and no value is shown. With -o json the answer is that
of GET /v1/explain.`,
		Example: `  starling explain carts alice
  starling explain carts alice -o json | jq '.replicas[] | {node, vector, siblings}'`,
		Args: exactly("BUCKET", "KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/explain/" + client.EscapeKey(args[0]) + "/" + client.EscapeKey(args[1])
			var raw json.RawMessage
			if err := a.ask(cmd.Context(), path, &raw); err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(raw)
			}
			var doc client.Explanation
			if err := json.Unmarshal(raw, &doc); err != nil {
				return fmt.Errorf("explain: %w", err)
			}
			return a.printExplanation(&doc)
		},
	}
}

func (a *app) printExplanation(doc *client.Explanation) error {
	t := newTable("NODE", "ROLE", "ALIVE", "HASH", "SIBLINGS", "HINTS", "ERROR")
	for _, r := range doc.Replicas {
		line := plain
		switch {
		case !r.Alive:
			line = red
		case r.Error != "":
			line = amber
		}
		t.add(line, r.Node, r.Role, yesNo(r.Alive), hashCell(r), siblingsCell(r.Siblings), hintsCell(r), dash(r.Error))
	}
	if err := a.printTable(t); err != nil {
		return err
	}
	line := amber
	if doc.Agree {
		line = green
	}
	return a.printLine(line, "partition %d: %s", doc.Partition, doc.Verdict)
}

func hashCell(r client.ExplainedReplica) string {
	if r.Hinted {
		return "(" + r.Hash + ")"
	}
	return dash(r.Hash)
}

// siblingsCell counts values and deletes.
func siblingsCell(siblings []client.ExplainedSibling) string {
	deleted := 0
	for _, s := range siblings {
		if s.Deleted {
			deleted++
		}
	}
	text := strconv.Itoa(len(siblings))
	if deleted > 0 {
		text += fmt.Sprintf(" (%d deleted)", deleted)
	}
	return text
}

// hintsCell counts the hints and says whom they are for.
func hintsCell(r client.ExplainedReplica) string {
	if r.Hints == 0 {
		return "0"
	}
	var names []string
	for _, h := range r.HeldFor {
		names = append(names, h.Node)
	}
	return fmt.Sprintf("%d for %s", r.Hints, strings.Join(names, ","))
}
