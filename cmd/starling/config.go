package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"starling/config"
)

// newConfigCommand checks and shows what serve would run with.
func newConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check or show the settings of a node",
	}
	check := &cobra.Command{
		Use:     "check",
		Short:   "Check the settings and print every problem",
		Example: "  starling config check --config /etc/starling.yaml",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := config.Load(cmd.Flags(), os.Environ()); err != nil {
				return usageError{err}
			}
			return a.printLine(plain, "ok")
		},
	}
	show := &cobra.Command{
		Use:     "show",
		Short:   "Print each setting, its value and where it came from",
		Example: "  starling config show\n  starling config show -o json",
		Args:    exactly(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return showConfig(a, cmd) },
	}
	for _, c := range []*cobra.Command{check, show} {
		config.Register(c.Flags())
		cmd.AddCommand(c)
	}
	return cmd
}

func showConfig(a *app, cmd *cobra.Command) error {
	cfg, err := config.Load(cmd.Flags(), os.Environ())
	if err != nil {
		return usageError{err}
	}
	if a.output == outputJSON {
		return a.printJSON(cfg.Settings())
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "SETTING\tVALUE\tSOURCE") // Flush reports what fails
	for _, s := range cfg.Settings() {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, s.Value, s.Source)
	}
	return w.Flush()
}
