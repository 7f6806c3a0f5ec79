package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"starling/cmd/internal/node"
	"starling/config"
)

// newServeCommand runs one node until a signal.
func newServeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Run one node until SIGTERM or SIGINT. It then stops gracefully: it is not ready
any more, goes on serving for drain_delay, and lets the requests that it serves
end, for shutdown_grace at most. A second signal ends it at once, with exit
code 1.

On an empty data directory a node without --join creates a cluster, and one
with --join waits until a member answers and joins that one; with --replace
too it takes the place of a member that is dead. On a directory that was used
before the node goes on as the member that it was, also under another address.
A node that has left the cluster, as starling cluster leave asks for, ends with
exit code 0. Settings come from flags, STARLING_ variables, the file named
by --config, and defaults, in this order; "starling config show" lists them.`,
		Example: `  starling serve --data-dir /var/lib/starling
  starling serve --data-dir /var/lib/starling --join 10.0.0.1:4701,10.0.0.2:4701
  starling serve --data-dir /var/lib/starling --join 10.0.0.1:4701 --replace n3`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(cmd.Flags(), os.Environ())
			if err != nil {
				return usageError{err}
			}
			return serve(cmd.Context(), cfg, a.err)
		},
	}
	config.Register(cmd.Flags())
	return cmd
}

func serve(ctx context.Context, cfg config.Config, logs io.Writer) error {
	log := newLogger(logs, cfg)
	n, err := node.New(node.Options{Config: cfg, Version: version(), Logger: log})
	if err != nil {
		return err
	}
	ctx = endAtSignal(ctx, func() {
		log.Info("stopping gracefully; a second signal ends the process at once",
			"requests_end_within", cfg.DrainDelay+cfg.ShutdownGrace)
	})
	log.Info("listening", "http", n.HTTPAddr(), "rpc", n.RPCAddr(), "version", version())
	err = n.Run(ctx)
	if err != nil {
		return fmt.Errorf("the node stopped: %w", err)
	}
	log.Info("stopped")
	return nil
}

func newLogger(w io.Writer, cfg config.Config) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
