package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// cluster is the running cluster, by way of its script.
type cluster struct {
	script    string
	endpoints []string
}

func openCluster(ctx context.Context, script string) (*cluster, error) {
	c := &cluster{script: script}
	out, err := c.call(ctx, nil, "endpoints")
	c.endpoints = strings.Fields(out)
	if err == nil && len(c.endpoints) < 4 {
		err = fmt.Errorf("%d nodes: at least 4 are needed", len(c.endpoints))
	}
	return c, err
}

// call runs a verb of the script; settings are added to the environment.
func (c *cluster) call(ctx context.Context, settings []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.script, args...)
	cmd.Env = append(os.Environ(), settings...)
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", c.script, strings.Join(args, " "), err, strings.TrimSpace(problems.String()))
	}
	return out.String(), nil
}

func (c *cluster) node(ctx context.Context, verb string, i int, settings ...string) error {
	_, err := c.call(ctx, settings, verb, strconv.Itoa(i))
	return err
}

// histogram is a cumulative one: counts by upper bound in seconds.
type histogram map[float64]float64

// replicaLatency adds up the nodes' histograms of what reads and writes at
// other replicas took since they started.
func (c *cluster) replicaLatency(ctx context.Context) (histogram, error) {
	const name = "starling_replica_request_duration_seconds_bucket{"
	sum := make(histogram)
	for _, endpoint := range c.endpoints {
		text, err := get(ctx, endpoint+"/metrics")
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

func get(ctx context.Context, target string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d", target, resp.StatusCode)
	}
	return string(b), err
}

// await waits for a time, or for the end of ctx.
func await(ctx context.Context, until time.Time) error {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
