package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"starling/client"
)

// newClusterCommand is about who is a member of the cluster.
func newClusterCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Plan and make changes of the members, and pace what moves",
	}
	cmd.AddCommand(newPlanCommand(a), newLeaveCommand(a), newRemoveCommand(a), newReplaceCommand(a), newPaceCommand(a))
	return cmd
}

func newPlanCommand(a *app) *cobra.Command {
	var p client.Proposal
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what a change of the members would move, without making it",
		Long: `Show what a change of the members would move: for each node how many partitions
it owns before and after, those that it gets and gives away, and the bytes that
it receives and sends; how long that takes at the configured pace; how many
nodes, or zones, may fail at once before and after; and what would be lost.
Nothing is changed. Several changes are planned as one. Without any, the plan
shows what is still to be moved.

All flags may be repeated. Nodes that join, and other weights and zones, are
made by starting nodes: see --join, --weight and --zone of starling serve.`,
		Example: `  starling cluster plan --join n6 --join n7:rack-b
  starling cluster plan --leave n3
  starling cluster plan --replace n2:n6 --weight n1:200 -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.showPlan(cmd.Context(), p) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&p.Leave, "leave", nil, "a `node` that leaves")
	f.StringArrayVar(&p.Remove, "remove", nil, "a dead `node` that is taken out")
	f.StringArrayVar(&p.Join, "join", nil, "a new node, as `NAME[:ZONE[:WEIGHT]]`")
	f.StringArrayVar(&p.Weight, "weight", nil, "another weight of a node, as `NODE:WEIGHT`")
	f.StringArrayVar(&p.Zone, "zone", nil, "another zone of a node, as `NODE:ZONE`")
	f.StringArrayVar(&p.Replace, "replace", nil, "a dead node and the one that takes its place, as `DEAD:NEW`")
	a.completeMembers(cmd, "leave")
	a.completeMembers(cmd, "remove")
	return cmd
}

func newLeaveCommand(a *app) *cobra.Command {
	var o changeFlags
	var wait bool
	cmd := &cobra.Command{
		Use:   "leave [NODE]",
		Short: "Have a node hand over all that it holds, leave for good, and stop",
		Long: `Have a node leave the cluster: it hands over its partitions and the hints that it
keeps, is removed, and its process ends with exit code 0. Without NODE the one
that --endpoint names leaves. A node that leaves cannot be kept after all: it
may join again as a new member, with an empty data directory.

The command returns when the node has begun. With --wait it ends when the node
has left, or after --timeout where that is given; the node goes on without it.
Asking again, of a node that leaves already, does no harm.`,
		Example: `  starling cluster leave n3 --dry-run
  starling cluster leave n3 --yes --wait`,
		Args: upToOne("NODE"),
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the node has left")
	cmd.ValidArgsFunction = a.completeMember
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		node, err := a.nodeMeant(ctx, args)
		if err != nil {
			return err
		}
		return a.change(ctx, memberChange{
			proposal: client.Proposal{Leave: []string{node}},
			question: node + " hands over what it holds, leaves the cluster for good, and stops",
			make:     func(ctx context.Context, c *client.Client) (*client.Change, error) { return c.Leave(ctx, node) },
			wait:     wait,
		}, &o)
	}
	return cmd
}

func newRemoveCommand(a *app) *cobra.Command {
	var o changeFlags
	var force bool
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a dead node out of the cluster, for ever",
		Long: `Take a node that is dead and does not come back out of the cluster. Others become
owners of its partitions and copy them from the owners that are left. Its data
directory is refused from then on. A node that runs should leave instead.

The cluster refuses, with exit code 5, while the node is alive, and where a
partition would be left without a complete copy: the plan of --dry-run shows
which. Bring the node back, or wait until what moves has moved. --force removes
it all the same, and what it alone holds is lost.`,
		Example: `  starling cluster remove n3 --dry-run
  starling cluster remove n3 --yes`,
		Args: exactly("NODE"),
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "remove it even where data is lost with it")
	cmd.ValidArgsFunction = a.completeMember
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		node := args[0]
		return a.change(cmd.Context(), memberChange{
			proposal: client.Proposal{Remove: []string{node}},
			question: node + " is taken out of the cluster for ever, with all that it alone holds",
			make:     func(ctx context.Context, c *client.Client) (*client.Change, error) { return c.Remove(ctx, node, force) },
		}, &o)
	}
	return cmd
}

func newReplaceCommand(a *app) *cobra.Command {
	var o changeFlags
	var by string
	var force bool
	cmd := &cobra.Command{
		Use:   "replace DEAD --by NODE",
		Short: "Give a dead node's place to one that has joined",
		Long: `Take a node that is dead and does not come back out of the cluster, and give its
place to another member: with the same weight and zone, that one gets its
partitions and nothing else moves. A new node can do so as it joins: see
--replace of starling serve.

The cluster refuses as it does for starling cluster remove, and so does --force
overrule it.`,
		Example: `  starling cluster replace n3 --by n6 --dry-run
  starling cluster replace n3 --by n3-2 --yes`,
		Args: exactly("DEAD"),
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringVar(&by, "by", "", "the `node` that takes the place")
	f.BoolVar(&force, "force", false, "replace it even where data is lost with it")
	a.completeMembers(cmd, "by")
	cmd.ValidArgsFunction = a.completeMember
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dead := args[0]
		if by == "" {
			return usagef("--by is missing: the node that takes the place of %s", dead)
		}
		return a.change(cmd.Context(), memberChange{
			proposal: client.Proposal{Replace: []string{dead + ":" + by}},
			question: by + " takes the place of " + dead + ", which is taken out of the cluster for ever",
			make: func(ctx context.Context, c *client.Client) (*client.Change, error) {
				return c.Replace(ctx, dead, by, force)
			},
		}, &o)
	}
	return cmd
}

// changeFlags are those of every command that changes the members.
type changeFlags struct{ yes, dryRun bool }

func (o *changeFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do it without asking; needed where there is no terminal")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "show the plan and change nothing")
}

// memberChange is a change of the members, and the same as a proposal.
type memberChange struct {
	proposal client.Proposal
	question string // what is about to happen, without an end mark
	make     func(context.Context, *client.Client) (*client.Change, error)
	wait     bool
}

// change carries out a command that changes the members.
func (a *app) change(ctx context.Context, c memberChange, o *changeFlags) error {
	if o.dryRun {
		return a.showPlan(ctx, c.proposal)
	}
	if !o.yes {
		if err := a.confirm(ctx, c); err != nil {
			return err
		}
	}
	var others []string // whom to ask when the node that was asked has left
	if c.wait {
		var err error
		if others, err = a.addresses(ctx); err != nil {
			return err
		}
	}
	done, err := askAs(ctx, a, c.make)
	if err != nil {
		return explainRefusal(err)
	}
	if c.wait {
		if err := a.awaitLeft(ctx, done.ID, others, watchPause); err != nil {
			return err
		}
		done.State = stateRemoved
	}
	return a.printChange(done)
}

// explainRefusal adds what a refused change would lose.
func explainRefusal(err error) error {
	var p *client.Problem
	if errors.As(err, &p) && p.Type == client.ProblemPrecondition {
		for _, part := range verdict(p.LostPartitions, p.AtRiskPartitions) {
			err = fmt.Errorf("%w\n  %s", err, part)
		}
	}
	return err
}

// confirm shows the plan of a change and asks whether to make it.
func (a *app) confirm(ctx context.Context, c memberChange) error {
	if !isTerminal(a.in) || !isTerminal(a.err) {
		return usagef("--yes is missing: %s (--dry-run shows the plan)", c.question)
	}
	plan, err := a.plan(ctx, c.proposal)
	if err != nil {
		return err
	}
	people := *a
	people.out = a.err // standard output is for the result
	if err := people.printPlan(plan); err != nil {
		return err
	}
	return askYes(a.in, a.err, c.question)
}

// errKept ends a command whose question was not answered with yes.
var errKept = errors.New("nothing was changed")

func askYes(in io.Reader, out io.Writer, question string) error {
	if _, err := fmt.Fprintf(out, "%s. Go on? [y/N] ", printable(question)); err != nil {
		return err
	}
	var answer string
	if _, err := fmt.Fscanln(in, &answer); err != nil || answer != "y" && answer != "yes" {
		return errKept
	}
	return nil
}

// printChange tells what has begun.
func (a *app) printChange(done *client.Change) error {
	if a.output == outputJSON {
		return a.printJSON(done)
	}
	if err := a.printLine(plain, "%s is %s", done.Node, done.State); err != nil {
		return err
	}
	return a.printPlan(&done.Plan)
}

// nodeMeant is the node that an argument names; without one, the node that the
// only endpoint is.
func (a *app) nodeMeant(ctx context.Context, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	if len(a.endpoints()) > 1 {
		return "", usagef("NODE is missing: with several endpoints it must be named")
	}
	var doc client.Cluster
	if err := a.ask(ctx, "/v1/cluster", &doc); err != nil {
		return "", err
	}
	if doc.ID == "" {
		return "", errors.New("the node has not joined a cluster")
	}
	return doc.Node, nil
}

// askAs makes one call of the client, at one endpoint after the other.
func askAs[T any](ctx context.Context, a *app, ask func(context.Context, *client.Client) (*T, error)) (*T, error) {
	c, err := client.New(client.Options{Endpoints: a.endpoints(), DisableRing: true, Attempts: max(callAttempts, len(a.endpoints()))})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := a.within(ctx)
	defer cancel()
	return ask(ctx, c)
}

// completeMember offers the members' names for the first argument.
func (a *app) completeMember(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.memberNames(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
}
