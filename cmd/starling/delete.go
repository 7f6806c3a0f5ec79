package main

import (
	"github.com/spf13/cobra"

	"starling/client"
)

func newDeleteCommand(a *app) *cobra.Command {
	var quorum quorumFlags
	var o client.DeleteOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "delete BUCKET KEY",
		Short: "Delete a value",
		Long: `Delete a value: what --context has seen, or without it what a read at this
consistency sees. A write that happens at the same time survives, but in a bucket
with conflicts lww, where the later of the two wins. Deleting what is not there is
no error. A counter begins again at 0.`,
		Example: `  starling delete carts alice
  starling delete carts alice --consistency all
  starling delete carts alice --context "$(starling get carts alice -o json | jq -r .context)"`,
		Args: exactly("BUCKET", "KEY"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if o.Consistency, err = quorum.consistency(cmd.Flags(), true); err != nil {
			return err
		}
		if o.Context != "" && (quorum.r > 0 || quorum.pr > 0) {
			return usagef("--r and --pr are for a delete without --context, which reads first")
		}
		o.Timeout = a.timeout
		c, err := a.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := a.within(cmd.Context())
		defer cancel()
		w, err := c.Delete(ctx, args[0], args[1], &o)
		if err != nil {
			return err
		}
		return a.printWritten("deleted", args[0], args[1], w, asJSON)
	}
	f := cmd.Flags()
	quorum.add(cmd, true, true)
	f.StringVar(&o.Context, "context", "", "`token` of what this delete supersedes")
	f.StringVar(&o.IdempotencyKey, "idempotency-key", "", "name of this delete (default drawn at random)")
	f.BoolVar(&asJSON, "json", false, "the same as -o json")
	return cmd
}
