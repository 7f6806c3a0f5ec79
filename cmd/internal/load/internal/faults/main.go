// Command faults measures what clients of a running local cluster notice while
// nodes are killed, paused, and slow; deploy/local/faults.sh starts it with a
// cluster of its own.
//
// It drives the clients of package load through the phases of plan.go, injects
// the faults with deploy/local/cluster.sh, and prints one row for each window
// of time. The exit code is 1 where a goal is missed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	script                       string
	warmUp, healthy, kill, pause time.Duration
	slow                         time.Duration
	clients, keys, bytes         int
}

func main() {
	var o options
	flag.StringVar(&o.script, "script", "deploy/local/cluster.sh", "the script that runs the cluster")
	flag.DurationVar(&o.warmUp, "warm-up", 5*time.Second, "time driven before measuring")
	flag.DurationVar(&o.healthy, "healthy", 15*time.Second, "time measured without a fault")
	flag.DurationVar(&o.kill, "kill", 15*time.Second, "how long the killed node stays dead")
	flag.DurationVar(&o.pause, "pause", 20*time.Second, "how long the paused node stays paused")
	flag.DurationVar(&o.slow, "slow", 15*time.Second, "time measured with a slow node")
	flag.IntVar(&o.clients, "connections", 32, "requests under way at once")
	flag.IntVar(&o.keys, "keys", 32, "keys for each connection")
	flag.IntVar(&o.bytes, "value-bytes", 1024, "bytes of a value")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
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
	if err := b.drive(ctx); err != nil {
		return err
	}
	if !b.report(os.Stdout) {
		return errGoals
	}
	return nil
}
