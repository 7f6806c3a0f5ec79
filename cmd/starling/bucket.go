package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"starling/client"
)

// newBucketCommand is about what buckets differ in.
func newBucketCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bucket",
		Short: "List, declare, show and drop buckets",
	}
	cmd.AddCommand(newBucketListCommand(a), newBucketCreateCommand(a), newBucketShowCommand(a), newBucketDropCommand(a))
	return cmd
}

func newBucketListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the buckets that were declared, and those that were dropped once",
		Long: `List the buckets that the cluster knows something of: those that were declared,
and those that were dropped once, with how often (DROPPED). A bucket that was
neither has the defaults and is not in the list, whatever is in it.`,
		Example: `  starling bucket ls
  starling bucket ls -o json | jq -r '.buckets[] | select(.declared).name'`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listBuckets(cmd.Context()) },
	}
}

func newBucketShowCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show BUCKET",
		Short: "Show the properties of a bucket",
		Long: `Show the properties of a bucket. Every bucket has some: one that nobody declared
has the defaults.`,
		Example: `  starling bucket show sessions`,
		Args:    exactly("BUCKET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := a.bucket(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printBucket(b)
		},
	}
	cmd.ValidArgsFunction = a.completeBucket
	return cmd
}

var conflictModes = []string{"siblings", "lww", "max", "min", "union", "json-merge", "counter"}

func newBucketCreateCommand(a *app) *cobra.Command {
	var p client.BucketProperties
	var level string
	cmd := &cobra.Command{
		Use:   "create BUCKET",
		Short: "Declare a bucket, or give it other properties",
		Long: `Declare a bucket, or give a declared one other properties: what is not given is
the default, whatever it was before. Buckets need not be declared to be used.

--conflicts says what becomes of concurrent writes of one key: siblings keeps all
values until one replaces them, lww shows the newest, and max, min (numbers),
union (JSON arrays), json-merge (JSON objects) and counter (increments) merge
them. Of a declared bucket it can only change between siblings and lww: for
another, drop the bucket first (exit code 5).`,
		Example: `  starling bucket create sessions --conflicts lww --ttl 24h
  starling bucket create carts --conflicts union --consistency quorum`,
		Args: exactly("BUCKET"),
	}
	f := cmd.Flags()
	f.StringVar(&p.Conflicts, "conflicts", "", "`mode` of concurrent writes: "+strings.Join(conflictModes, ", ")+" (default siblings)")
	f.StringVar(&level, "consistency", "", "consistency `level` of requests that name none: "+strings.Join(levels[:len(levels)-1], ", ")+" (default quorum)")
	f.IntVar(&p.R, "r", 0, "replicas that must answer such a read; wins over --consistency")
	f.IntVar(&p.W, "w", 0, "replicas that must acknowledge such a write; wins over --consistency")
	f.DurationVar(&p.TTL, "ttl", 0, "how long values are kept that are put without a TTL (default for ever)")
	f.IntVar(&p.MaxSiblings, "max-siblings", 0, "most siblings that a put may bring a key to (default the nodes')")
	f.Int64Var(&p.MaxValueBytes, "max-value-bytes", 0, "most bytes of a value (default the nodes')")
	complete(cmd, "conflicts", conflictModes...)
	complete(cmd, "consistency", levels[:len(levels)-1]...)
	cmd.ValidArgsFunction = a.completeBucket
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if level != "" {
			if err := checkLevel(level, false); err != nil {
				return err
			}
		}
		for name, bad := range map[string]bool{
			"r": p.R < 1, "w": p.W < 1, "ttl": p.TTL <= 0, "max-siblings": p.MaxSiblings < 1, "max-value-bytes": p.MaxValueBytes < 1,
		} {
			if bad && cmd.Flags().Changed(name) {
				return usagef("--%s %s: it must be positive; leave it out for the default", name, cmd.Flag(name).Value)
			}
		}
		p.Consistency = client.Level(level)
		b, err := askAs(cmd.Context(), a, func(ctx context.Context, c *client.Client) (*client.Bucket, error) {
			return c.CreateBucket(ctx, args[0], p)
		})
		if err != nil {
			return err
		}
		return a.printBucket(b)
	}
	return cmd
}

func newBucketDropCommand(a *app) *cobra.Command {
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use:   "drop BUCKET",
		Short: "Drop a bucket with all that is in it",
		Long: `Drop a bucket: all that is in it is gone for good, and so are its properties. It
may be used again at once, and is empty then. The keys are deleted in the
background.

Members that are down learn of it when they are back and bring nothing back. They
are named.`,
		Example: `  starling bucket drop sessions --dry-run
  starling bucket drop sessions --yes`,
		Args: exactly("BUCKET"),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking; needed where there is no terminal")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the bucket and change nothing")
	cmd.ValidArgsFunction = a.completeBucket
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, name := cmd.Context(), args[0]
		question := "all that is in the bucket " + name + " is gone for good"
		if dryRun {
			b, err := a.bucket(ctx, name)
			if err != nil {
				return err
			}
			return a.printBucket(b)
		}
		if !yes {
			if !isTerminal(a.in) || !isTerminal(a.err) {
				return usagef("--yes is missing: %s (--dry-run shows the bucket)", question)
			}
			if err := askYes(a.in, a.err, question); err != nil {
				return err
			}
		}
		done, err := askAs(ctx, a, func(ctx context.Context, c *client.Client) (*dropped, error) {
			pending, err := c.DropBucket(ctx, name)
			return &dropped{Bucket: name, Pending: append([]string{}, pending...)}, err
		})
		if err != nil {
			return err
		}
		return a.printDropped(done)
	}
	return cmd
}

// dropped is the JSON of a bucket that was dropped.
type dropped struct {
	Bucket string `json:"bucket"`
	// Pending are the members that have not confirmed.
	Pending []string `json:"pending"`
}

func (a *app) printDropped(d *dropped) error {
	if a.output == outputJSON {
		return a.printJSON(d)
	}
	if err := a.printLine(plain, "%s is dropped", d.Bucket); err != nil || len(d.Pending) == 0 {
		return err
	}
	return a.printLine(amber, "not confirmed by %s: told when back", strings.Join(d.Pending, ", "))
}

func (a *app) bucket(ctx context.Context, name string) (*client.Bucket, error) {
	return askAs(ctx, a, func(ctx context.Context, c *client.Client) (*client.Bucket, error) { return c.ShowBucket(ctx, name) })
}

func (a *app) buckets(ctx context.Context) ([]client.Bucket, error) {
	list, err := askAs(ctx, a, func(ctx context.Context, c *client.Client) (*[]client.Bucket, error) {
		list, err := c.Buckets(ctx)
		return &list, err
	})
	if err != nil {
		return nil, err
	}
	return *list, nil
}

func (a *app) listBuckets(ctx context.Context) error {
	list, err := a.buckets(ctx)
	if err != nil {
		return err
	}
	if a.output == outputJSON {
		return a.printJSON(map[string]any{"buckets": append([]client.Bucket{}, list...)})
	}
	return a.printBuckets(list...)
}

func (a *app) printBucket(b *client.Bucket) error {
	if a.output == outputJSON {
		return a.printJSON(b)
	}
	if err := a.printBuckets(*b); err != nil || len(b.Pending) == 0 {
		return err
	}
	return a.printLine(amber, "not confirmed by %s: told when back", strings.Join(b.Pending, ", "))
}

func (a *app) printBuckets(list ...client.Bucket) error {
	t := newTable("BUCKET", "DECLARED", "DROPPED", "CONFLICTS", "CONSISTENCY", "TTL", "MAX SIBLINGS", "MAX VALUE")
	for _, b := range list {
		p, declared := b.Properties, "no"
		if b.Declared {
			declared = "yes"
		}
		t.add(plain, b.Name, declared, strconv.FormatUint(b.Incarnation, 10), p.Conflicts, consistencyText(p), ttlText(p.TTL),
			orDefault(int64(p.MaxSiblings), func(n int64) string { return strconv.FormatInt(n, 10) }), orDefault(p.MaxValueBytes, bytesText))
	}
	return a.printTable(t)
}

// consistencyText is the level with the numbers that win over it.
func consistencyText(p client.BucketProperties) string {
	text := string(p.Consistency)
	if p.R > 0 {
		text += " r=" + strconv.Itoa(p.R)
	}
	if p.W > 0 {
		text += " w=" + strconv.Itoa(p.W)
	}
	return text
}

func ttlText(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func orDefault(n int64, text func(int64) string) string {
	if n == 0 {
		return "-"
	}
	return text(n)
}

// completeBucket offers the buckets' names for the first argument.
func (a *app) completeBucket(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := a.buckets(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, b := range list {
		names = append(names, b.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
