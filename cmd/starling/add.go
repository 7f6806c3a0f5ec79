package main

import (
	"context"
	"regexp"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"starling/client"
)

func newAddCommand(a *app) *cobra.Command {
	var quorum quorumFlags
	var o client.AddOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "add BUCKET KEY DELTA",
		Short: "Add to a counter",
		Long: `Add a whole number, which may be negative, to a counter, and print what it is
then. The bucket must have been declared with --conflicts counter. Increments from
everywhere all count, each once. A counter that is not there begins at 0.

Where it is not known whether an increment was made, the error says so. The same
command with the same --idempotency-key counts once, if it comes within seconds:
a counter is sure to know an increment for 15 s from when it was first asked for.`,
		Example: `  starling bucket create visits --conflicts counter
  starling add visits home 1
  starling add visits home -5 --consistency all
  starling get visits home`,
		Args: exactly("BUCKET", "KEY", "DELTA"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if o.Consistency, err = quorum.consistency(cmd.Flags(), true); err != nil {
			return err
		}
		delta, err := strconv.ParseInt(args[2], 10, 64)
		switch {
		case err != nil:
			return usagef("DELTA %s: it must be a whole number that 64 bits hold", args[2])
		case o.TTL < 0 || cmd.Flags().Changed("ttl") && o.TTL == 0:
			return usagef("--ttl %v: it must be positive", o.TTL)
		}
		o.Timeout = a.timeout
		n, err := askAs(cmd.Context(), a, func(ctx context.Context, c *client.Client) (*client.Counted, error) {
			return c.Add(ctx, args[0], args[1], delta, &o)
		})
		if err != nil {
			return err
		}
		return a.printCounted(args[0], args[1], n, asJSON)
	}
	f := cmd.Flags()
	quorum.add(cmd, false, true)
	f.DurationVar(&o.TTL, "ttl", 0, "how long the counter lives from now on, for example 1h (default for ever, or as the bucket says)")
	f.StringVar(&o.IdempotencyKey, "idempotency-key", "", "name of this increment: two with the same name and delta are one (default drawn at random)")
	f.BoolVar(&asJSON, "json", false, "the same as -o json")
	cmd.ValidArgsFunction = a.completeBucket
	return cmd
}

// countedDoc is the JSON of an increment that was made.
type countedDoc struct {
	Bucket      string `json:"bucket"`
	Key         string `json:"key"`
	Value       int64  `json:"value"`
	Context     string `json:"context"`
	Acked       int    `json:"acked"`
	Hinted      int    `json:"hinted"`
	Required    int    `json:"required"`
	Coordinator string `json:"coordinator"`
}

func (a *app) printCounted(bucket, key string, n *client.Counted, asJSON bool) error {
	if !asJSON && a.output != outputJSON {
		return a.printLine(plain, "%d", n.Value)
	}
	counts := replicaCounts(n.Replicas)
	return a.printJSON(countedDoc{
		Bucket: bucket, Key: key, Value: n.Value, Context: n.Context,
		Acked: counts["acked"], Hinted: counts["hinted"], Required: counts["required"], Coordinator: n.Coordinator,
	})
}

var negativeNumber = regexp.MustCompile(`^-[0-9]+$`)

// negativeLast puts the negative number in the command line of an add behind --,
// so that it is not taken for flags. It is the last argument there.
func negativeLast(root *cobra.Command, args []string) []string {
	cmd, _, err := root.Find(args)
	if err != nil || cmd.Name() != "add" || cmd.Parent() != root || slices.Contains(args, "--") {
		return args
	}
	var first, last []string
	for _, arg := range args {
		if negativeNumber.MatchString(arg) {
			last = append(last, arg)
		} else {
			first = append(first, arg)
		}
	}
	if len(last) == 0 {
		return args
	}
	return slices.Concat(first, []string{"--"}, last)
}
