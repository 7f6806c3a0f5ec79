// Command listing measures pages of keys on a running local cluster where most
// keys were deleted; deploy/local/list.sh starts it with a cluster of five nodes.
//
// It writes keys, deletes all but one in every so many, and goes through the bucket
// page by page: with all nodes, then with one of them killed. Each time the pages
// must give exactly the keys that are left, in order. It prints how many pages
// that took, how long the pages took, and how many rows the nodes read for one,
// of which coordinator/list.go has the bound. The exit code is 1 where a listing is
// not complete, or a page reads more rows than that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"starling/client"
	"starling/cmd/internal/load/internal/lab"
)

// bucket is the one that is listed.
const bucket = "listing"

// rowsRead counts the rows that a node read for listings.
const rowsRead = "starling_list_rows_read_total"

// options are the command's flags.
type options struct {
	script             string
	keys, every, limit int
	mostRows           float64
}

func main() {
	var o options
	flag.StringVar(&o.script, "script", "deploy/local/cluster.sh", "the script that runs the cluster")
	flag.IntVar(&o.keys, "keys", 100_000, "keys that are written")
	flag.IntVar(&o.every, "every", 10, "one in so many stays, the others are deleted")
	flag.IntVar(&o.limit, "limit", 100, "keys of a page")
	flag.Float64Var(&o.mostRows, "most-rows", 4*2*8192, "goal: the most rows that the nodes may read for a page, in the mean: 4 rounds, 2 copies, 8192 rows")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "listing:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.keys < 1 || o.every < 1 || o.limit < 1 {
		return errors.New("keys, every and limit must be 1 or more")
	}
	cluster, err := lab.Open(ctx, o.script, 4)
	if err != nil {
		return err
	}
	c, err := client.New(client.Options{Endpoints: cluster.Endpoints, Timeout: time.Minute})
	if err != nil {
		return err
	}
	defer c.Close()
	b := bench{options: o, client: c}
	lab.Say("writing %d keys and deleting all but one in %d", o.keys, o.every)
	if err := b.fill(ctx); err != nil {
		return err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(out, "PAGES OF %d KEYS\tPAGES\tKEYS\tROWS READ A PAGE\tP50 MS\tP99 MS\tMAX MS\t\n", o.limit)
	for _, when := range []string{"all nodes", "one node dead"} {
		if when != "all nodes" {
			if err := cluster.Node(ctx, "kill", len(cluster.Endpoints)); err != nil {
				return err
			}
			cluster.Endpoints = cluster.Endpoints[:len(cluster.Endpoints)-1]
		}
		if err := b.list(ctx, out, when, cluster.Endpoints); err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
	}
	return out.Flush()
}

// bench is one measurement.
type bench struct {
	options
	client *client.Client
}

func (b *bench) key(i int) string { return fmt.Sprintf("user/%08d", i) }
func (b *bench) stays(i int) bool { return i%b.every == 0 }
func (b *bench) left() (n []string) {
	for i := range b.keys {
		if b.stays(i) {
			n = append(n, b.key(i))
		}
	}
	return n
}

// fill writes all keys, then deletes those that do not stay.
func (b *bench) fill(ctx context.Context) error {
	err := b.each(ctx, func(i int) *client.Op {
		return &client.Op{Kind: client.OpPut, Key: b.key(i), Data: fmt.Append(nil, "value of ", i)}
	})
	if err != nil {
		return err
	}
	return b.each(ctx, func(i int) *client.Op {
		if b.stays(i) {
			return nil
		}
		return &client.Op{Kind: client.OpDelete, Key: b.key(i)}
	})
}

// each carries out an operation for each key, in batches, four at once.
func (b *bench) each(ctx context.Context, op func(i int) *client.Op) error {
	const size = 500
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				from := int(next.Add(size)) - size
				if from >= b.keys {
					return
				}
				var ops []client.Op
				for i := from; i < min(b.keys, from+size); i++ {
					if o := op(i); o != nil {
						ops = append(ops, *o)
					}
				}
				results, err := b.client.Batch(ctx, bucket, ops, nil)
				for i := range results {
					err = errors.Join(err, results[i].Err)
				}
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// page is the part of an answer that is looked at.
type page struct {
	Keys     []struct{ Key string }
	Next     string
	Complete bool
}

// list goes through the bucket once, a page at each node in turn.
func (b *bench) list(ctx context.Context, out *tabwriter.Writer, when string, endpoints []string) error {
	before, err := rows(ctx, endpoints)
	if err != nil {
		return err
	}
	var keys []string
	var took []time.Duration
	for after := ""; ; {
		var p page
		start := time.Now()
		target := endpoints[len(took)%len(endpoints)] + "/v1/buckets/" + bucket + "/keys?limit=" + strconv.Itoa(b.limit) + "&after=" + url.QueryEscape(after)
		if err := lab.GetJSON(ctx, target, &p); err != nil {
			return err
		}
		took = append(took, time.Since(start))
		for _, k := range p.Keys {
			keys = append(keys, k.Key)
		}
		if p.Complete {
			break
		}
		if p.Next <= after {
			return fmt.Errorf("a page behind %q goes on at %q", after, p.Next)
		}
		after = p.Next
	}
	if want := b.left(); !slices.Equal(keys, want) {
		return fmt.Errorf("%d keys were listed, or not in order; want %d", len(keys), len(want))
	}
	now, err := rows(ctx, endpoints)
	if err != nil {
		return err
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	mean := (now - before) / float64(len(took))
	_, _ = fmt.Fprintf(out, "%s\t%d\t%d\t%.0f\t%.1f\t%.1f\t%.1f\t\n", when, len(took), len(keys), mean,
		ms(took[len(took)/2]), ms(took[len(took)*99/100]), ms(took[len(took)-1]))
	if mean > b.mostRows {
		return errors.Join(out.Flush(), fmt.Errorf("a page reads %.0f rows: at most %.0f", mean, b.mostRows))
	}
	return nil
}

// rows adds up what the nodes have read for listings.
func rows(ctx context.Context, endpoints []string) (sum float64, err error) {
	for _, e := range endpoints {
		text, err := lab.Get(ctx, e+"/metrics")
		if err != nil {
			return 0, err
		}
		sum += lab.Metric(text, rowsRead)
	}
	return sum, nil
}
