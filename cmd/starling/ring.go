package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"starling/client"
)

// ringDoc is the answer of GET /v1/ring.
type ringDoc struct {
	Partitions int          `json:"partitions"`
	Replicas   int          `json:"replicas"`
	Hash       string       `json:"hash"`
	MapHash    string       `json:"map_hash"`
	Members    []ringMember `json:"members"`
	Owners     [][]int      `json:"owners"`
	Pending    [][]int      `json:"pending"`
}

type ringMember struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Alive  bool   `json:"alive"`
	Zone   string `json:"zone"`
	Weight int    `json:"weight"`
	Owns   int    `json:"owns"`
	HTTP   string `json:"http"`
}

func newRingCommand(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "ring",
		Short: "Show how the partitions are spread over the members",
		Long: `Show the ring: how many partitions each member owns, or with --all the owners of
each partition. With -o json the answer is that of GET /v1/ring, whose owners
are indexes into its members.`,
		Example: `  starling ring
  starling ring --all
  starling ring -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var raw json.RawMessage
			if err := a.ask(cmd.Context(), "/v1/ring", &raw); err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(raw)
			}
			var doc ringDoc
			if err := json.Unmarshal(raw, &doc); err != nil {
				return fmt.Errorf("ring: %w", err)
			}
			if all {
				return a.printPartitions(&doc)
			}
			return a.printRing(&doc)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "one line for each partition")
	return cmd
}

func (a *app) printRing(doc *ringDoc) error {
	total := 0
	for _, m := range doc.Members {
		total += m.Owns
	}
	t := newTable("NAME", "STATE", "ALIVE", "WEIGHT", "OWNS", "OWNS%", "ZONE", "HTTP")
	for _, m := range slices.SortedFunc(slices.Values(doc.Members), func(a, b ringMember) int { return strings.Compare(a.Name, b.Name) }) {
		share := 0.0
		if total > 0 {
			share = 100 * float64(m.Owns) / float64(total)
		}
		line := plain
		if !m.Alive && m.State != stateRemoved {
			line = red
		}
		t.add(line, m.Name, m.State, yesNo(m.Alive), strconv.Itoa(m.Weight), strconv.Itoa(m.Owns), fmt.Sprintf("%.1f", share), dash(m.Zone), m.HTTP)
	}
	if err := a.printTable(t); err != nil {
		return err
	}
	pending := 0
	for _, p := range doc.Pending {
		if len(p) > 0 {
			pending++
		}
	}
	return a.printLine(plain, "%d partitions, %d replicas each, %d with a pending owner; hash %s, map %s",
		doc.Partitions, doc.Replicas, pending, doc.Hash, doc.MapHash)
}

func (a *app) printPartitions(doc *ringDoc) error {
	names := func(indexes [][]int, p int) string {
		if p >= len(indexes) {
			return "-"
		}
		list := make([]string, len(indexes[p]))
		for i, m := range indexes[p] {
			list[i] = "?"
			if m >= 0 && m < len(doc.Members) {
				list[i] = doc.Members[m].Name
			}
		}
		return dash(strings.Join(list, ","))
	}
	t := newTable("PARTITION", "OWNERS", "PENDING")
	for p := range doc.Owners {
		t.add(plain, strconv.Itoa(p), names(doc.Owners, p), names(doc.Pending, p))
	}
	return a.printTable(t)
}

// whereDoc is the JSON of where.
type whereDoc struct {
	Bucket    string   `json:"bucket"`
	Key       string   `json:"key"`
	Partition int      `json:"partition"`
	Owners    []string `json:"owners"`
	Pending   []string `json:"pending"`
	Fallbacks []string `json:"fallbacks"`
}

func newWhereCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "where BUCKET KEY",
		Short: "Show which nodes hold a key",
		Long: `Show a key's partition, the nodes that own it, those that it is being copied to,
and the order in which other nodes stand in for owners that are down. The key
need not exist.`,
		Example: `  starling where carts alice
  starling where carts alice -o json | jq -r '.owners[]'`,
		Args: exactly("BUCKET", "KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			doc := whereDoc{Bucket: args[0], Key: args[1]}
			path := "/v1/ring/" + client.EscapeKey(args[0]) + "/" + client.EscapeKey(args[1])
			if err := a.ask(cmd.Context(), path, &doc); err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(doc)
			}
			t := newTable("PARTITION", "OWNERS", "PENDING", "FALLBACKS")
			t.add(plain, strconv.Itoa(doc.Partition), list(doc.Owners), list(doc.Pending), list(doc.Fallbacks))
			return a.printTable(t)
		},
	}
}

func list(names []string) string { return dash(strings.Join(names, ",")) }
