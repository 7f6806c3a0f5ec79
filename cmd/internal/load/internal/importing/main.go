// Command importing compares "starling import" with one put a request, at the
// same number of requests under way, on a running local cluster;
// deploy/local/import.sh starts it with a cluster of five nodes.
//
// In each round the same lines are imported and put one by one, each time into
// a bucket of their own, so that what else the machine does meets both alike.
// Then both buckets are read back: every line must be there. The exit code is 1
// where the median of the rounds' ratios is below the goal, or a line is lost.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"starling/cmd/internal/load/internal/lab"
)

// options are the command's flags.
type options struct {
	script, binary                           string
	lines, rounds, atOnce, alone, valueBytes int
	goal                                     float64
}

func main() {
	var o options
	flag.StringVar(&o.script, "script", "deploy/local/cluster.sh", "the script that runs the cluster")
	flag.StringVar(&o.binary, "binary", "bin/starling", "the program that imports")
	flag.IntVar(&o.lines, "lines", 200_000, "lines of the import")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; the median decides")
	flag.IntVar(&o.atOnce, "at-once", 8, "requests under way at once: batches, or single puts")
	flag.IntVar(&o.alone, "single-at-once", 0, "the same for the single puts; 0: as -at-once")
	flag.IntVar(&o.valueBytes, "value-bytes", 128, "bytes of a value")
	flag.Float64Var(&o.goal, "goal", 3, "least median of import by single puts, in lines a second")
	flag.Parse()
	if o.alone == 0 {
		o.alone = o.atOnce
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "importing:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.lines < 1 || o.rounds < 1 || o.atOnce < 1 || o.alone < 1 || o.valueBytes < 1 {
		return errors.New("lines, rounds, at-once, single-at-once and value-bytes must be 1 or more")
	}
	text, err := lab.At(o.script).Call(ctx, nil, "endpoints")
	if err != nil {
		return err
	}
	endpoints := strings.Fields(text)
	dir, err := os.MkdirTemp("", "importing")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := bench{options: o, endpoints: endpoints, file: filepath.Join(dir, "lines.ndjson")}
	if err := b.write(); err != nil {
		return err
	}
	fmt.Printf("%d lines with values of %d bytes, %d requests at once (single puts: %d), %d nodes; lines a second:\n",
		o.lines, o.valueBytes, o.atOnce, o.alone, len(endpoints))
	var ratios []float64
	for round := range o.rounds {
		ratio, err := b.round(ctx, round+1)
		if err != nil {
			return err
		}
		ratios = append(ratios, ratio)
	}
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	fmt.Printf("median ratio %.2f, goal %.2f\n", median, o.goal)
	if median < o.goal {
		return errors.New("the goal is not reached")
	}
	return nil
}

// bench is one comparison.
type bench struct {
	options
	endpoints []string
	file      string
}

func (b *bench) key(i int) string { return fmt.Sprintf("user/%08d", i) }

func (b *bench) value(i int) []byte {
	text := fmt.Appendf(nil, `{"name":"user %d","note":"`, i)
	return append(append(text, bytes.Repeat([]byte{'x'}, max(0, b.valueBytes-len(text)-2))...), '"', '}')
}

// write makes the file that is imported.
func (b *bench) write() error {
	f, err := os.Create(b.file)
	if err != nil {
		return err
	}
	e := json.NewEncoder(f)
	for i := range b.lines {
		if err := e.Encode(map[string]string{"key": b.key(i), "value": string(b.value(i)), "content_type": "application/json"}); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

// round measures both once, each first in every other round.
func (b *bench) round(ctx context.Context, round int) (float64, error) {
	rates := [2]float64{}
	parts := [2]func(context.Context, string) (time.Duration, error){b.importAll, b.putAll}
	for k := range parts {
		part := (k + round) % 2
		bucket := fmt.Sprintf("%s-%d", [2]string{"import", "single"}[part], round)
		took, err := parts[part](ctx, bucket)
		if err == nil {
			err = b.check(ctx, bucket)
		}
		if err != nil {
			return 0, fmt.Errorf("round %d, %s: %w", round, bucket, err)
		}
		rates[part] = float64(b.lines) / took.Seconds()
	}
	fmt.Printf("round %d: import %.0f, single puts %.0f, ratio %.2f\n", round, rates[0], rates[1], rates[0]/rates[1])
	return rates[0] / rates[1], nil
}

func (b *bench) importAll(ctx context.Context, bucket string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, b.binary, "import", bucket, b.file, "--concurrency", strconv.Itoa(b.atOnce), "--endpoint", strings.Join(b.endpoints, ","))
	start := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, out)
	}
	return time.Since(start), nil
}

// putAll puts every line in a request of its own, on connections that are kept.
func (b *bench) putAll(ctx context.Context, bucket string) (time.Duration, error) {
	start := time.Now()
	err := b.each(ctx, b.alone, func(transport http.RoundTripper, i int) error {
		req, err := b.request(ctx, http.MethodPut, bucket, i, b.value(i))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		status, _, err := exchange(transport, req)
		if err == nil && status != http.StatusNoContent {
			err = fmt.Errorf("%s: status %d", req.URL, status)
		}
		return err
	})
	return time.Since(start), err
}

// check reads every line back.
func (b *bench) check(ctx context.Context, bucket string) error {
	return b.each(ctx, 16, func(transport http.RoundTripper, i int) error {
		req, err := b.request(ctx, http.MethodGet, bucket, i, nil)
		if err != nil {
			return err
		}
		status, body, err := exchange(transport, req)
		if err == nil && (status != http.StatusOK || !bytes.Equal(body, b.value(i))) {
			err = fmt.Errorf("%s: status %d, %.100q", req.URL, status, body)
		}
		return err
	})
}

// each calls do for every line, so many at once, each with connections of its
// own. The first error ends it.
func (b *bench) each(ctx context.Context, atOnce int, do func(http.RoundTripper, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			transport := &http.Transport{DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext, DisableCompression: true}
			defer transport.CloseIdleConnections()
			for i := int(next.Add(1)) - 1; i < b.lines && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(transport, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (b *bench) request(ctx context.Context, method, bucket string, i int, body []byte) (*http.Request, error) {
	target := b.endpoints[i%len(b.endpoints)] + "/v1/buckets/" + bucket + "/keys/" + b.key(i)
	return http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
}

// exchange sends a request and reads the answer to its end.
func exchange(transport http.RoundTripper, req *http.Request) (status int, body []byte, err error) {
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return resp.StatusCode, b.Bytes(), errors.Join(err, resp.Body.Close())
}
