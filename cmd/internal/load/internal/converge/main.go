// Command converge measures what it takes to make replicas equal again, and
// what it costs while they are; deploy/local/converge.sh runs it with a
// directory and ports of its own, and ends the nodes that it starts.
//
// There are three measurements:
//
//   - a node is away while some of its keys change (away.go), the default;
//   - one key differs among a million (million.go), with -million;
//   - throughput with and without exchanges (pairs.go), with -pairs n.
//
// Each prints its figures beside the goals. The exit code is 1 where a goal is
// missed.
//
// Bytes are those that all nodes wrote on connections to other nodes, whatever
// they are for: comparisons, objects, cluster maps, pings. So each measurement
// takes an idle time as well, and tells what came on top of it.
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
	script                    string
	keys, valueBytes, changed int
	quiet, idle               time.Duration
	million                   bool
	millionKeys               int
	interval                  time.Duration
	pairs                     int
}

func main() {
	var o options
	flag.StringVar(&o.script, "script", "deploy/local/cluster.sh", "the script that runs the cluster")
	flag.IntVar(&o.keys, "keys", 200_000, "keys that there are")
	flag.IntVar(&o.valueBytes, "value-bytes", 100, "bytes of a value")
	flag.IntVar(&o.changed, "changed", 1000, "keys of the node that is away that change meanwhile")
	flag.DurationVar(&o.quiet, "quiet", 30*time.Second, "time after the node's return in which nothing but metrics is asked for")
	flag.DurationVar(&o.idle, "idle", time.Minute, "time measured once all is equal")
	flag.BoolVar(&o.million, "million", false, "measure the repair of one key among many instead")
	flag.IntVar(&o.millionKeys, "million-keys", 1_000_000, "keys of that measurement")
	flag.DurationVar(&o.interval, "interval", 10*time.Second, "length of each of its windows")
	flag.IntVar(&o.pairs, "pairs", 0, "measure so many pairs of windows with and without exchanges instead; at least 20")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "converge:", err)
		os.Exit(1)
	}
}

var errGoals = errors.New("not every goal was reached")

func run(ctx context.Context, o options) error {
	var r report
	var err error
	switch {
	case o.pairs > 0:
		err = measurePairs(ctx, o, &r)
	case o.million:
		err = measureMillion(ctx, o, &r)
	default:
		err = measureAway(ctx, o, &r)
	}
	reached := r.print(os.Stdout) // what was measured before an error, too
	if err == nil && !reached {
		err = errGoals
	}
	return err
}
