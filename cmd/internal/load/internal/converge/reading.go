package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"starling/cmd/internal/load/internal/lab"
)

// reading is what a node's metrics say. All but the last two rise while the
// process lives.
type reading struct {
	shipped, shippedBytes float64 // objects, by exchanges that this node began
	sentBytes             float64 // to other nodes
	cpuSeconds            float64
	requests              map[string]float64 // to other nodes, by method
	// openPairs are those that are not known to be equal; oldestSeconds is the
	// age of the oldest proof.
	openPairs, oldestSeconds float64
}

// readingOf adds up the samples of each metric in a node's /metrics.
func readingOf(text string) (r reading, err error) {
	for _, m := range []struct {
		name string
		to   *float64
	}{
		{"starling_antientropy_shipped_keys_total", &r.shipped},
		{"starling_antientropy_shipped_bytes_total", &r.shippedBytes},
		{`starling_rpc_bytes_total{direction="out"}`, &r.sentBytes},
		{"process_cpu_seconds_total", &r.cpuSeconds},
		{"starling_antientropy_open_pairs", &r.openPairs},
		{"starling_antientropy_oldest_proof_seconds", &r.oldestSeconds},
	} {
		samples := 0
		for line := range strings.Lines(text) {
			rest, ok := strings.CutPrefix(line, m.name)
			if !ok || rest[0] != ' ' && rest[0] != '{' {
				continue
			}
			v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
			if err != nil {
				return r, fmt.Errorf("metrics: cannot read %q", line)
			}
			*m.to += v
			samples++
		}
		if samples == 0 {
			return r, fmt.Errorf("metrics: there is no %s", m.name)
		}
	}
	r.requests, err = requestsOf(text)
	return r, err
}

// since is what the counters rose by.
func (r reading) since(before reading) reading {
	r.shipped -= before.shipped
	r.shippedBytes -= before.shippedBytes
	r.sentBytes -= before.sentBytes
	r.cpuSeconds -= before.cpuSeconds
	r.requests = added(r.requests, before.requests, -1)
	return r
}

func (r reading) plus(other reading) reading {
	r.shipped += other.shipped
	r.shippedBytes += other.shippedBytes
	r.sentBytes += other.sentBytes
	r.cpuSeconds += other.cpuSeconds
	r.requests = added(r.requests, other.requests, 1)
	r.openPairs += other.openPairs
	r.oldestSeconds = max(r.oldestSeconds, other.oldestSeconds)
	return r
}

// requestsOf counts a node's requests to others that were answered, by method.
func requestsOf(text string) (map[string]float64, error) {
	counts := make(map[string]float64)
	for line := range strings.Lines(text) {
		labels, ok := strings.CutPrefix(line, "starling_rpc_requests_total{")
		if !ok || !strings.Contains(labels, `side="client"`) || !strings.Contains(labels, `result="ok"`) {
			continue
		}
		_, method, _ := strings.Cut(labels, `method="`)
		method, _, named := strings.Cut(method, `"`)
		n, err := strconv.ParseFloat(strings.TrimSpace(labels[strings.LastIndexByte(labels, ' '):]), 64)
		if !named || err != nil {
			return nil, fmt.Errorf("metrics: cannot read %q", line)
		}
		if n > 0 {
			counts[method] += n
		}
	}
	return counts, nil
}

// added gives a plus times b.
func added(a, b map[string]float64, times float64) map[string]float64 {
	sum := maps.Clone(a)
	if sum == nil {
		sum = make(map[string]float64)
	}
	for name, n := range b {
		sum[name] += times * n
	}
	return sum
}

// readings are those of all nodes, at about one time.
type readings []reading

// read asks all nodes but one that is down, which has read nothing; none: -1.
func (c *cluster) read(ctx context.Context, down int) (readings, error) {
	all := make(readings, len(c.endpoints))
	for i := range all {
		if i == down {
			continue
		}
		a, err := c.ask(ctx, http.MethodGet, i, "/metrics", "", "")
		if err != nil {
			return nil, err
		}
		if all[i], err = readingOf(string(a.body)); err != nil {
			return nil, fmt.Errorf("n%d: %w", i+1, err)
		}
	}
	return all, nil
}

func (rs readings) sum() (sum reading) {
	for _, r := range rs {
		sum = sum.plus(r)
	}
	return sum
}

// since is what all nodes' counters rose by. A node that was down before
// counts from its start.
func (rs readings) since(before readings) (sum reading) {
	for i, r := range rs {
		sum = sum.plus(r.since(before[i]))
	}
	return sum
}

// awaitProven waits until every pair was proven equal since that time.
func (c *cluster) awaitProven(ctx context.Context, since time.Time) error {
	lab.Say("waiting until all owners are proven equal")
	var sum reading
	for start := time.Now(); time.Since(start) < convergence; {
		until := time.Since(since).Seconds()
		all, err := c.read(ctx, -1)
		if err != nil {
			return err
		}
		if sum = all.sum(); sum.openPairs == 0 && sum.oldestSeconds < until {
			return nil
		}
		if err := await(ctx, pollPause); err != nil {
			return err
		}
	}
	return fmt.Errorf("after %v %v pairs are open and the oldest proof is %.0f s old", convergence, sum.openPairs, sum.oldestSeconds)
}
