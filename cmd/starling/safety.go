package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"starling/client"
)

func newSafeToStopCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "safe-to-stop [NODE]",
		Short: "Say whether a node may be stopped without harm",
		Long: `Say whether a node may be stopped for a while, for an upgrade for example, with a
quorum of owners left for every partition. Without NODE the one that --endpoint
names is meant.

The exit code is 4 where it is not safe, and the reasons are listed. KIND is
quorum: partitions would be left with too few owners that answer; hints: it
keeps writes that are nowhere else; transfer: data moves that it gives or takes;
unknown: something could not be asked; down: it is down already.`,
		Example: `  starling safe-to-stop n3
  starling safe-to-stop n3 && systemctl restart starling`,
		Args: upToOne("NODE"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.safeToStop(cmd.Context(), args) },
	}
	cmd.ValidArgsFunction = a.completeMember
	return cmd
}

func (a *app) safeToStop(ctx context.Context, args []string) error {
	node, err := a.nodeMeant(ctx, args)
	if err != nil {
		return err
	}
	s, err := askAs(ctx, a, func(ctx context.Context, c *client.Client) (*client.Safety, error) { return c.SafeToStop(ctx, node) })
	if err != nil {
		return err
	}
	if err := a.printSafety(s); err != nil {
		return err
	}
	if !s.Safe {
		return errNotSafe
	}
	return nil
}

func (a *app) printSafety(s *client.Safety) error {
	if a.output == outputJSON {
		return a.printJSON(s)
	}
	if len(s.Reasons) > 0 {
		t := newTable("KIND", "PARTITIONS", "DETAIL")
		for _, r := range s.Reasons {
			line := amber
			if s.Safe {
				line = plain
			}
			t.add(line, r.Kind, strconv.Itoa(r.Partitions), r.Detail)
		}
		if err := a.printTable(t); err != nil {
			return err
		}
	}
	if s.Safe {
		return a.printLine(green, "%s may be stopped", s.Node)
	}
	return a.printLine(red, "%s should not be stopped now", s.Node)
}
