package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"starling/cmd/internal/load/internal/lab"
)

// goalThroughput is the least part of the throughput that is to be left while
// converged replicas are compared.
const goalThroughput = 0.95

// measurePairs runs the benchmark that measures three nodes in one process, with
// exchanges and without, in turns. Two clusters one after the other would tell
// less: what else the machine does differs by more than exchanges cost.
func measurePairs(ctx context.Context, o options, r *report) error {
	const name = "BenchmarkExchangeCost"
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^"+name+"$", "-timeout", "1h",
		"-benchtime", strconv.Itoa(max(o.pairs, 20))+"x", "./cmd/internal/node")
	cmd.Stderr = os.Stderr
	lab.Say("%s", strings.Join(cmd.Args, " "))
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go test: %w: %s", err, out)
	}
	found := benchmarkMetrics(string(out), name)
	ratio, ok := found["throughput-ratio"]
	if !ok {
		return fmt.Errorf("no ratio in what the benchmark printed: %s", out)
	}
	r.goal(ratio >= goalThroughput, "throughput with exchanges to without, median", fmt.Sprintf(">= %.2f", goalThroughput), "%.4f", ratio)
	r.note("middle half of the ratios", "%.4f to %.4f", found["ratio-p25"], found["ratio-p75"])
	r.note("requests a second without", "%.0f", found["req/s"])
	r.note("comparisons a second with", "%.0f", found["comparisons/s"])
	return nil
}

// benchmarkMetrics are the values by unit of a line of go test -bench.
func benchmarkMetrics(text, name string) map[string]float64 {
	found := make(map[string]float64)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[0], name) {
			continue
		}
		for k := 2; k+1 < len(fields); k += 2 { // after the name and the count
			if v, err := strconv.ParseFloat(fields[k], 64); err == nil {
				found[fields[k+1]] = v
			}
		}
	}
	return found
}
