package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"starling/cmd/internal/load/internal/lab"
)

// histogram is a cumulative one: counts by upper bound in seconds.
type histogram map[float64]float64

// replicaLatency adds up the nodes' histograms of what reads and writes at
// other replicas took since they started.
func replicaLatency(ctx context.Context, c *lab.Cluster) (histogram, error) {
	const name = "starling_replica_request_duration_seconds_bucket{"
	sum := make(histogram)
	for _, endpoint := range c.Endpoints {
		text, err := lab.Get(ctx, endpoint+"/metrics")
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			labels, isBucket := strings.CutPrefix(line, name)
			if !isBucket || !strings.Contains(labels, `op="re`) { // read and replicate
				continue
			}
			_, bound, _ := strings.Cut(labels, `le="`)
			bound, count, ok := strings.Cut(bound, `"`)
			le, err := strconv.ParseFloat(bound, 64)
			n, nerr := strconv.ParseFloat(strings.TrimSpace(strings.TrimLeft(count, `}`)), 64)
			if !ok || err != nil || nerr != nil {
				return nil, fmt.Errorf("%s/metrics: cannot read %q", endpoint, line)
			}
			sum[le] += n
		}
	}
	return sum, nil
}
