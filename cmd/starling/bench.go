package main

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"starling/cmd/internal/load"
)

// benchFlags are those of bench and bench compare.
type benchFlags struct {
	connections, records, valueBytes int
	warmUp                           time.Duration
	consistency, bucket              string
	seed                             uint64
}

func (b *benchFlags) add(cmd *cobra.Command, warmUp time.Duration) {
	f := cmd.Flags()
	f.IntVar(&b.connections, "connections", 32, "requests under way at once, each on a connection of its own")
	f.IntVar(&b.records, "records", 10_000, "keys in the key space")
	f.IntVar(&b.valueBytes, "value-bytes", 1024, "bytes of a value")
	f.DurationVar(&b.warmUp, "warm-up", warmUp, "time driven before measuring")
	f.StringVar(&b.consistency, "consistency", "quorum", "consistency `level` of all requests")
	f.StringVar(&b.bucket, "bucket", "bench", "bucket of the records")
	f.Uint64Var(&b.seed, "seed", 1, "what is drawn depends on it alone")
	complete(cmd, "consistency", levels...)
}

// check refuses what the load generator would not say as clearly.
func (b *benchFlags) check() error {
	if err := checkLevel(b.consistency, false); err != nil {
		return err
	}
	for name, n := range map[string]int{"connections": b.connections, "records": b.records, "value-bytes": b.valueBytes} {
		if n < 1 {
			return usagef("--%s %d: 1 or more is allowed", name, n)
		}
	}
	if b.warmUp < 0 {
		return usagef("--warm-up %v: it must not be negative", b.warmUp)
	}
	return nil
}

func (b *benchFlags) target(a *app) load.Target {
	query := url.Values{"consistency": {b.consistency}}
	if a.timeout > 0 {
		query.Set("timeout", a.timeout.String())
	}
	return load.Target{Name: "starling", Endpoints: a.endpoints(), Bucket: b.bucket, Query: query.Encode()}
}

func newBenchCommand(a *app) *cobra.Command {
	var b benchFlags
	var name string
	var duration time.Duration
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a cluster with a YCSB workload",
		Long: `Drive a cluster with a YCSB workload of gets and puts and show throughput and
latencies (microseconds):

  a  half reads, half updates, zipfian
  b  95 % reads, 5 % updates, zipfian
  c  reads, zipfian
  d  95 % reads of what is new, 5 % inserts
  f  half reads, half read-modify-writes, zipfian

The records are written first where they are not there. The connections are
spread over the endpoints in turn. It is a closed loop: latencies are those at
the throughput shown.`,
		Example: `  starling bench --workload b --duration 30s
  starling bench --connections 64 --value-bytes 4096 --consistency one -o json`,
		Args: exactly(),
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		workload, err := load.ParseWorkload(name)
		if err != nil {
			return usageError{err}
		}
		if err := b.check(); err != nil {
			return err
		}
		if duration <= 0 {
			return usagef("--duration %v: it must be positive", duration)
		}
		l, err := load.New(load.Options{
			Target: b.target(a), Connections: b.connections, Records: b.records, ValueBytes: b.valueBytes, Seed: b.seed,
		})
		if err != nil {
			return usageError{err}
		}
		defer l.Close()
		ctx := endAtSignal(cmd.Context(), func() {})
		bar := a.newBar()
		defer bar.clear()
		if err := l.Fill(ctx, bar.part("filling")); err != nil {
			return err
		}
		r, err := l.Run(ctx, load.Phase{
			Workload: workload, WarmUp: b.warmUp, Duration: duration, Progress: bar.part("workload " + workload.Name),
		})
		bar.clear()
		if err != nil && r.Ops == 0 {
			return err
		}
		if perr := a.printBench(&r); perr != nil {
			return perr
		}
		if err == nil && r.Ops == 0 {
			err = fmt.Errorf("no operation succeeded: %s", r.FirstError)
		}
		return err
	}
	cmd.Flags().StringVar(&name, "workload", "a", "YCSB `workload`: a, b, c, d or f")
	cmd.Flags().DurationVar(&duration, "duration", 10*time.Second, "time measured")
	b.add(cmd, 2*time.Second)
	complete(cmd, "workload", "a", "b", "c", "d", "f")
	cmd.AddCommand(newCompareCommand(a))
	return cmd
}

func (a *app) printBench(r *load.Result) error {
	if a.output == outputJSON {
		return a.printJSON(r)
	}
	if err := a.printLine(bold, "workload %s: %d connections, %d records of %d bytes, %.1f s: %.0f ops/s",
		r.Workload, r.Connections, r.Records, r.ValueBytes, r.DurationSeconds, r.OpsPerSecond); err != nil {
		return err
	}
	t := newTable("OPERATION", "OPS/S", "OPS", "ERRORS", "P50", "P90", "P99", "P99.9", "MAX")
	for _, name := range sortedKeys(r.Operations) {
		o := r.Operations[name]
		line := plain
		if o.Errors > 0 {
			line = red
		}
		t.add(line, name, fmt.Sprintf("%.0f", o.OpsPerSecond), strconv.FormatInt(o.Ops, 10), strconv.FormatInt(o.Errors, 10),
			us(o.Latency.P50), us(o.Latency.P90), us(o.Latency.P99), us(o.Latency.P999), us(o.Latency.Max))
	}
	if err := a.printTable(t); err != nil || r.Errors == 0 {
		return err
	}
	return a.printLine(red, "errors: %s", errorSummary(r))
}

// errorSummary lists what was answered instead of success.
func errorSummary(r *load.Result) string {
	var parts []string
	for _, name := range sortedKeys(r.Operations) {
		statuses := r.Operations[name].Statuses
		for _, status := range sortedKeys(statuses) {
			if status[0] != '2' && status != "300" {
				parts = append(parts, fmt.Sprintf("%s %s: %d", name, status, statuses[status]))
			}
		}
	}
	if r.FirstError != "" {
		parts = append(parts, "first: "+r.FirstError)
	}
	return strings.Join(parts, ", ")
}

func us(n int64) string { return strconv.FormatInt(n, 10) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
