package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"starling/client"
)

// commands are the constructors of all commands; the help sorts them by name.
var commands = []func(*app) *cobra.Command{
	newServeCommand,
	newDemoCommand,
	newPutCommand,
	newGetCommand,
	newDeleteCommand,
	newAddCommand,
	newLsCommand,
	newImportCommand,
	newExportCommand,
	newBucketCommand,
	newStatusCommand,
	newRingCommand,
	newWhereCommand,
	newExplainCommand,
	newHintsCommand,
	newConvergenceCommand,
	newRepairCommand,
	newClusterCommand,
	newSafeToStopCommand,
	newDoctorCommand,
	newDiagCommand,
	newConfigCommand,
	newBenchCommand,
	newBenchEchoCommand,
	newVersionCommand,
}

const (
	endpointEnv     = "STARLING_ENDPOINT"
	defaultEndpoint = "http://127.0.0.1:4700"

	outputTable = "table"
	outputJSON  = "json"
)

// app is one invocation: what the commands are given, and their global flags.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string

	endpointFlag []string
	output       string
	timeout      time.Duration
	// began is set when a command's own code runs: errors before that are
	// mistakes in the command line.
	began bool
}

// execute runs one command line and gives the exit code.
func execute(ctx context.Context, a *app, args []string) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // what waits for a signal ends with the command
	root := newRootCommand(a)
	root.SetArgs(append([]string{}, negativeLast(root, args)...))
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if !a.began {
		err = usageError{err}
	}
	_, _ = fmt.Fprintf(a.err, "starling: %s\n", message(err)) // there is nowhere else to say it
	code := exitCode(err)
	if code == exitUsage {
		_, _ = fmt.Fprintf(a.err, "Run '%s --help' for usage.\n", cmd.CommandPath())
	}
	return code
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "starling",
		Short: "A leaderless, eventually consistent key-value store",
		Long: `Starling is a leaderless, eventually consistent key-value store in the line of
Amazon's Dynamo. This program is its server, its client and its tools.

Exit codes: 0 done, 1 failed (or not found), 2 usage, 3 unreachable,
4 unhealthy, 5 precondition (409 or 412).`,
		Example: `  starling put carts alice '2 apples'
  starling get carts alice
  starling --endpoint http://10.0.0.1:4700,http://10.0.0.2:4700 status`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetGlobalNormalizationFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "endpoints" {
			name = "endpoint"
		}
		return pflag.NormalizedName(name)
	})
	flags := root.PersistentFlags()
	flags.StringSliceVar(&a.endpointFlag, "endpoint", nil, "node to talk to; repeatable or comma-separated (default $"+endpointEnv+" or "+defaultEndpoint+")")
	flags.StringVarP(&a.output, "output", "o", outputTable, "output `format`: table or json")
	flags.DurationVar(&a.timeout, "timeout", 0, "how long the cluster may take (default 10s for the whole call)")
	complete(root, "output", outputTable, outputJSON)
	for _, newCommand := range commands {
		root.AddCommand(newCommand(a))
	}
	root.InitDefaultCompletionCmd() // before prepare, so that it keeps the same rules
	a.prepare(root)
	return root
}

// prepare wraps what commands run: the global flags are checked first, and a
// command that only groups others explains itself.
func (a *app) prepare(cmd *cobra.Command) {
	if !cmd.Runnable() {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = runGroup
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.began = true
			if err := a.checkGlobal(); err != nil {
				return err
			}
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		a.prepare(sub)
	}
}

func runGroup(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		text += "; did you mean " + strings.Join(s, " or ") + "?"
	}
	return usagef("%s", text)
}

func (a *app) checkGlobal() error {
	if a.output != outputTable && a.output != outputJSON {
		return usagef("-o %s: table and json are allowed", a.output)
	}
	if a.timeout < 0 {
		return usagef("--timeout %v: it must be positive", a.timeout)
	}
	for _, e := range a.endpoints() {
		if _, err := client.ParseEndpoint(e); err != nil {
			return usageError{err}
		}
	}
	return nil
}

// endpoints are the nodes to talk to: the flag's, else the environment's,
// else the local one.
func (a *app) endpoints() []string {
	if len(a.endpointFlag) > 0 {
		return a.endpointFlag
	}
	var list []string
	for e := range strings.SplitSeq(a.env(endpointEnv), ",") {
		if e = strings.TrimSpace(e); e != "" {
			list = append(list, e)
		}
	}
	if len(list) == 0 {
		return []string{defaultEndpoint}
	}
	return list
}

// exactly is a check of positional arguments that names them.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		wanted := cmd.CommandPath() + " takes " + strings.Join(names, " ")
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s is missing: %s", names[len(args)], wanted)
		case len(args) > len(names) && len(names) == 0:
			return fmt.Errorf("unexpected argument %q: %s takes none", args[0], cmd.CommandPath())
		case len(args) > len(names):
			return fmt.Errorf("unexpected argument %q: %s", args[len(names)], wanted)
		}
		return nil
	}
}

// upToOne is a check of an argument that may be left out.
func upToOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return fmt.Errorf("unexpected argument %q: %s takes %s", args[1], cmd.CommandPath(), name)
		}
		return nil
	}
}

// complete offers fixed values for a flag in shell completion.
func complete(cmd *cobra.Command, flag string, values ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag does not exist: no command line can work
	}
}
