package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"starling/cmd/internal/node"
	"starling/config"
)

// maxDemoNodes bounds a demo: all nodes share one process.
const maxDemoNodes = 9

// newDemoCommand runs a whole cluster in one process.
func newDemoCommand(a *app) *cobra.Command {
	nodes := 5
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole cluster in this process, on free ports, until Ctrl-C",
		Long: `Run a cluster in one process to try things out. The nodes listen on free
loopback ports, keep their data in a temporary directory, and leave nothing
behind.`,
		Example: "  starling demo\n  starling demo --nodes 3",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if nodes < 1 || nodes > maxDemoNodes {
				return usagef("--nodes %d: 1 to %d", nodes, maxDemoNodes)
			}
			return demo(endAtSignal(cmd.Context(), func() {}), nodes, a.out, a.err)
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", nodes, "how many nodes, at most 9")
	return cmd
}

func demo(ctx context.Context, count int, out, logs io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "starling-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	defer running.Wait()
	log := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelWarn}))

	var nodes []*node.Node
	for i := range count {
		n, err := demoNode(i+1, dir, nodes, log)
		if err != nil {
			cancel(err)
			return err
		}
		nodes = append(nodes, n)
		running.Go(func() {
			if err := n.Run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	if err := awaitReady(ctx, nodes); err != nil {
		return err
	}
	for i, n := range nodes {
		fmt.Fprintf(out, "n%d  http://%s\n", i+1, n.HTTPAddr())
	}
	fmt.Fprintf(out, "\nready; try:\n  curl -X PUT http://%[1]s/v1/buckets/demo/keys/hello -d world\n  curl http://%[2]s/v1/buckets/demo/keys/hello\nCtrl-C ends it.\n",
		nodes[0].HTTPAddr(), nodes[len(nodes)-1].HTTPAddr())
	<-ctx.Done()
	return failure(ctx)
}

// failure is why a demo ended, nil if it was asked to.
func failure(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, errSignal) {
		return cause
	}
	return nil
}

func demoNode(i int, dir string, earlier []*node.Node, log *slog.Logger) (*node.Node, error) {
	name := fmt.Sprint("n", i)
	env := []string{
		"STARLING_NAME=" + name, "STARLING_DATA_DIR=" + filepath.Join(dir, name),
		"STARLING_HTTP=127.0.0.1:0", "STARLING_RPC=127.0.0.1:0", "STARLING_GOSSIP=127.0.0.1:0", "STARLING_CACHE_BYTES=16MiB",
	}
	if len(earlier) > 0 {
		env = append(env, "STARLING_JOIN="+earlier[0].RPCAddr())
	}
	cfg, err := config.Load(nil, env)
	if err != nil {
		return nil, err
	}
	return node.New(node.Options{Config: cfg, Version: version(), Logger: log.With("node", name)})
}

// awaitReady returns when every node is an active member and owns all that it
// is to own.
func awaitReady(ctx context.Context, nodes []*node.Node) error {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for _, n := range nodes {
		for n.Ready() != nil || n.Pending() > 0 {
			select {
			case <-ctx.Done():
				return failure(ctx)
			case <-poll.C:
			}
		}
	}
	return nil
}
