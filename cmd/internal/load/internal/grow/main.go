// Command grow changes the members of a running local cluster under a constant
// load of gets and puts, and says what clients noticed; deploy/local/grow.sh
// starts it with a cluster of three nodes.
//
// Every value is one of its own, every client is the only writer of its keys,
// and all requests ask for a quorum of owners (sloppy=false). So every get
// tells whether it misses a write that was acknowledged before it began, and
// in the end every acknowledged write is looked for. The exit code is 1 where
// a goal is missed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	script               string
	phases               string
	steady               time.Duration
	patience             time.Duration
	turns                int
	clients, keys, bytes int
}

func main() {
	var o options
	flag.StringVar(&o.script, "script", "deploy/local/cluster.sh", "the script that runs the cluster")
	flag.StringVar(&o.phases, "phases", "grow,turns,shrink,replace,three", "what to do, in this order")
	flag.DurationVar(&o.steady, "steady", 10*time.Second, "time measured while nothing changes")
	flag.DurationVar(&o.patience, "patience", 10*time.Minute, "the longest that a change may take")
	flag.IntVar(&o.turns, "turns", 5, "turns, or pairs of windows, with and without a transfer; 0: none")
	flag.IntVar(&o.clients, "connections", 16, "requests under way at once")
	flag.IntVar(&o.keys, "keys", 100_000, "keys in all")
	flag.IntVar(&o.bytes, "value-bytes", 1024, "bytes of a value")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "grow:", err)
		os.Exit(1)
	}
}

var errGoals = errors.New("not every goal was reached")

func run(ctx context.Context, o options) error {
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.clients.Close()
	phases := map[string]func(context.Context) error{
		"grow": b.grow, "turns": b.turns, "shrink": b.shrink, "replace": b.replace, "three": b.three,
	}
	if err := b.fill(ctx); err != nil {
		return err
	}
	for name := range strings.SplitSeq(o.phases, ",") {
		phase, ok := phases[name]
		if !ok {
			return fmt.Errorf("phase %q: grow, turns, shrink, replace and three are there", name)
		}
		if err := b.under(ctx, phase); err != nil {
			b.report(os.Stdout)
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := b.check(ctx, name); err != nil {
			return err
		}
	}
	if !b.report(os.Stdout) {
		return errGoals
	}
	return nil
}
