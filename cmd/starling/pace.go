package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"starling/client"
	"starling/config"
)

const pacePath = "/v1/node/pace"

// What may be asked for in the place of a rate.
const paceHold, paceDefault = "hold", "default"

// Bounds of a pace that is set; the nodes have the same.
const (
	leastPace, mostPace       = 64 << 10, 64 << 30 // bytes per second
	defaultPaceFor            = time.Hour
	leastPaceFor, mostPaceFor = time.Second, 24 * time.Hour
)

// paceDoc is the answer of /v1/node/pace.
type paceDoc struct {
	Node           string    `json:"node"`
	BytesPerSecond int64     `json:"bytes_per_second"`
	Held           bool      `json:"held"`
	Setting        int64     `json:"setting"`
	Until          time.Time `json:"until,omitzero"` // zero: the setting is in force
}

// text is the pace in force, for people.
func (d *paceDoc) text() string {
	if d.Held {
		return "held"
	}
	return bytesText(d.BytesPerSecond) + "/s"
}

// paceChange is what is asked of each member.
type paceChange struct {
	method string
	body   []byte
}

func newPaceCommand(a *app) *cobra.Command {
	var nodes []string
	span := defaultPaceFor
	cmd := &cobra.Command{
		Use:   "pace [RATE|hold|default]",
		Short: "Show, slow down or hold the transfers of partitions, for a while",
		Long: `Show the pace at which every member transfers partitions, or change it for a
while. RATE is in bytes a second, 65536 or more, or with a unit, such as 8MiB. hold has no partition transferred, for the peak hour; default goes back to
the setting transfer_bytes_per_second of each node.

A pace that was set ends by itself, after --for, and with the node's process: it
is for the hours in which clients need all that the nodes have. What is held is
only slower to be whole again, and nothing is lost; but a node that joins waits
for its share meanwhile, and one that leaves cannot go.

Every member is told by itself, or those that --node names. Which pace each has
now is then shown; the exit code is not 0 where one could not be reached or
refused. To ask again does no harm.`,
		Example: `  starling cluster pace
  starling cluster pace hold --for 2h
  starling cluster pace 8MiB --node n3 --node n4
  starling cluster pace default`,
		Args: upToOne("RATE, hold or default"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{paceHold, paceDefault}, cobra.ShellCompDirectiveNoFileComp
		},
	}
	f := cmd.Flags()
	f.DurationVar(&span, "for", span, "how long a RATE or hold is in force, 1s to 24h")
	f.StringArrayVar(&nodes, "node", nil, "only this `node`; may be repeated")
	a.completeMembers(cmd, "node")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 || args[0] == paceDefault {
			if f.Changed("for") {
				return usagef("--for %v: it is for a RATE or hold alone", span)
			}
		}
		change, err := parsePaceChange(args, span)
		if err != nil {
			return err
		}
		return a.pace(cmd.Context(), change, nodes)
	}
	return cmd
}

// parsePaceChange is what an argument asks for; without one, to be told.
func parsePaceChange(args []string, span time.Duration) (paceChange, error) {
	switch {
	case len(args) == 0:
		return paceChange{method: http.MethodGet}, nil
	case args[0] == paceDefault:
		return paceChange{method: http.MethodDelete}, nil
	case span < leastPaceFor || span > mostPaceFor:
		return paceChange{}, usagef("--for %v: 1s to 24h is allowed", span)
	}
	var rate int64
	if args[0] != paceHold {
		var ok bool
		if rate, ok = config.ParseSize(args[0]); !ok || rate < leastPace || rate > mostPace {
			return paceChange{}, usagef("RATE %s: hold, default, or 64KiB to 64GiB a second is allowed, in bytes or with a unit such as KiB or MB", args[0])
		}
	}
	seconds := int64((span + time.Second - 1) / time.Second)
	body := fmt.Sprintf(`{"bytes_per_second":%d,"seconds":%d}`, rate, seconds)
	return paceChange{method: http.MethodPut, body: []byte(body)}, nil
}

// pacesDoc is the JSON of cluster pace.
type pacesDoc struct {
	Nodes      []paceDoc    `json:"nodes"`
	Unanswered []unanswered `json:"unanswered"`
}

func (a *app) pace(ctx context.Context, change paceChange, names []string) error {
	answers, err := a.askPaces(ctx, change, names)
	if err != nil {
		return err
	}
	doc := pacesDoc{Nodes: []paceDoc{}}
	var failed error
	if change.method == http.MethodGet {
		doc.Unanswered, failed = absent(a, answers)
	} else {
		doc.Unanswered, failed = untold(answers)
	}
	for _, r := range answers {
		if r.err == nil {
			r.doc.Node = r.member.Name
			doc.Nodes = append(doc.Nodes, r.doc)
		}
	}
	if a.output == outputJSON {
		return errors.Join(a.printJSON(doc), failed)
	}
	return errors.Join(a.printPaces(answers), failed)
}

// askPaces asks every member that has not left, or those that are named.
func (a *app) askPaces(ctx context.Context, change paceChange, names []string) ([]memberAnswer[paceDoc], error) {
	var cluster client.Cluster
	if err := a.ask(ctx, "/v1/cluster", &cluster); err != nil {
		return nil, err
	}
	if cluster.ID == "" { // then nobody would be told, and nothing go wrong
		return nil, errors.New("the node has not joined a cluster")
	}
	members, err := membersNamed(remaining(cluster.Members), names)
	if err != nil {
		return nil, err
	}
	return askThese[paceDoc](ctx, a, members, change.method, pacePath, change.body), nil
}

// membersNamed are the members that names mean, by name or ID; without names
// all.
func membersNamed(members []client.Member, names []string) ([]client.Member, error) {
	if len(names) == 0 {
		return members, nil
	}
	meant := map[string]bool{} // by ID
	for _, name := range names {
		var ids []string
		for _, m := range members {
			if m.ID == name {
				ids = []string{m.ID}
				break
			}
			if m.Name == name {
				ids = append(ids, m.ID)
			}
		}
		switch len(ids) {
		case 0:
			return nil, usagef("--node %s: there is no such member", name)
		case 1:
			meant[ids[0]] = true
		default:
			return nil, usagef("--node %s: it is the name of %s: give the ID", name, strings.Join(ids, " and "))
		}
	}
	return slices.DeleteFunc(members, func(m client.Member) bool { return !meant[m.ID] }), nil
}

// untold are the members that did not do what they were asked. It is an error
// where there is any: one that is held for dead from here may well transfer.
func untold(answers []memberAnswer[paceDoc]) ([]unanswered, error) {
	silent := []unanswered{}
	var all []error
	var texts []string
	for _, r := range answers {
		if r.err == nil {
			continue
		}
		silent = append(silent, unanswered{Node: r.member.Name, Alive: r.member.Alive, Error: message(r.err)})
		all = append(all, fmt.Errorf("%s: %w", r.member.Name, r.err))
		texts = append(texts, r.member.Name+": "+message(r.err))
	}
	switch len(silent) {
	case 0:
		return silent, nil
	case len(answers):
		return silent, errors.Join(all...)
	default: // their errors are their own, not that of the whole command
		return silent, fmt.Errorf("not done at %s", strings.Join(texts, "; "))
	}
}

func (a *app) printPaces(answers []memberAnswer[paceDoc]) error {
	t := newTable("NODE", "PACE", "SETTING", "UNTIL")
	for _, r := range answers {
		line := plain
		switch {
		case r.err != nil:
			t.add(red, r.member.Name, "unknown", "-", "-")
			continue
		case r.doc.BytesPerSecond != r.doc.Setting:
			line = amber
		}
		t.add(line, r.member.Name, r.doc.text(), bytesText(r.doc.Setting)+"/s", dash(formatTime(r.doc.Until)))
	}
	return a.printTable(t)
}

// checkPace tells of the nodes whose pace somebody has changed.
func checkPace(seen []patient) (found []finding) {
	for _, p := range seen {
		if p.pace == nil || p.pace.BytesPerSecond == p.pace.Setting {
			continue
		}
		how := "go at " + p.pace.text()
		if p.pace.Held {
			how = "are held"
		}
		found = append(found, finding{Level: levelNote, Node: p.Name,
			Detail: fmt.Sprintf("transfers %s until %s, the setting is %s/s", how, dash(formatTime(p.pace.Until)), bytesText(p.pace.Setting)),
			Advice: "It ends by itself. To end it now: starling cluster pace default"})
	}
	return found
}
