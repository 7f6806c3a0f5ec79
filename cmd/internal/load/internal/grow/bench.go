package main

import (
	"context"
	"fmt"
	"time"

	"starling/cmd/internal/load"
	"starling/cmd/internal/load/internal/lab"
)

// The goals.
const (
	goalRefused    = 0.1 // percent of requests answered 503, at most
	goalThroughput = 0.7 // of that before, while partitions move
	leastShare     = 0.7 // of an even share, the ring's bounds
	mostShare      = 1.1
	startNodes     = 3
	maxNodes       = 9
	pollInterval   = 250 * time.Millisecond
	checkWithin    = 30 * time.Second
)

// bench is one run of all phases.
type bench struct {
	opts    options
	cluster *lab.Cluster
	clients *load.Clients
	rows    []row
	nodes   int      // that there are
	facts   []string // that the report tells
	missed  []string // goals
}

// row is a window of time. What it is held against is the last steady one.
type row struct {
	load.Window
	steady bool
	// mishaps: processes were killed, so that requests may fail otherwise than
	// with 503.
	mishaps bool
	// turn: one of several windows of the same kind, whose median is judged.
	turn bool
	// paired, where it is set, has windows of this one.
	paired *pairs
}

func newBench(ctx context.Context, o options) (*bench, error) {
	c, err := lab.Open(ctx, o.script, startNodes)
	if err != nil {
		return nil, err
	}
	// Nodes that do not exist refuse connections, and the next one is asked.
	all, err := endpointsOf(c.Endpoints[0])
	if err != nil {
		return nil, err
	}
	clients, err := load.NewClients(load.ClientOptions{
		Endpoints: all, Bucket: "grow", Clients: o.clients, KeysEach: max(1, o.keys/o.clients), ValueBytes: o.bytes,
		Strict: true, Seed: 1, Timeout: 5 * time.Second,
	})
	return &bench{opts: o, nodes: startNodes, cluster: c, clients: clients}, err
}

// endpointsOf lists the endpoints of all nodes that the script can start, by
// that of the first.
func endpointsOf(first string) (all []string, err error) {
	var port int
	if _, err := fmt.Sscanf(first, "http://127.0.0.1:%d", &port); err != nil {
		return nil, fmt.Errorf("endpoint %s: %w", first, err)
	}
	for i := range maxNodes {
		all = append(all, fmt.Sprintf("http://127.0.0.1:%d", port+10*i))
	}
	return all, nil
}

// endpoint is that of node i.
func (b *bench) endpoint(i int) string {
	all, _ := endpointsOf(b.cluster.Endpoints[0]) // it could be parsed before
	return all[i-1]
}

func (b *bench) fill(ctx context.Context) error {
	lab.Say("writing %d keys of %d bytes", b.opts.keys, b.opts.bytes)
	return b.clients.Fill(ctx)
}

// under runs the clients while f runs.
func (b *bench) under(ctx context.Context, f func(context.Context) error) error {
	run, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		b.clients.Run(run)
		close(ended)
	}()
	err := f(ctx)
	stop()
	<-ended
	return err
}

// steady measures a time in which nothing changes.
func (b *bench) steady(ctx context.Context, name string) error {
	b.clients.GoHome()
	if err := lab.Await(ctx, time.Now().Add(2*time.Second)); err != nil {
		return err
	}
	from := time.Now()
	lab.Say("%s: %v without a change", name, b.opts.steady)
	if err := lab.Await(ctx, from.Add(b.opts.steady)); err != nil {
		return err
	}
	b.rows = append(b.rows, row{Window: load.Window{Name: name, From: from, Till: time.Now()}, steady: true})
	return nil
}

// change measures the time until a change is done.
func (b *bench) change(ctx context.Context, name string, mishaps bool, f func(context.Context) error) error {
	lab.Say("%s", name)
	from := time.Now()
	ctx, cancel := context.WithTimeout(ctx, b.opts.patience)
	defer cancel()
	err := f(ctx)
	b.rows = append(b.rows, row{Window: load.Window{Name: name, From: from, Till: time.Now()}, mishaps: mishaps})
	if err != nil {
		return err
	}
	b.tell("%s: %.1f s", name, time.Since(from).Seconds())
	return nil
}

func (b *bench) tell(format string, args ...any) {
	b.facts = append(b.facts, fmt.Sprintf(format, args...))
}

func (b *bench) miss(format string, args ...any) {
	b.missed = append(b.missed, fmt.Sprintf(format, args...))
}

// check looks for every acknowledged write at its owners.
func (b *bench) check(ctx context.Context, when string) error {
	lab.Say("checking every acknowledged write at all its owners")
	until := time.Now().Add(checkWithin)
	for {
		found, err := b.clients.Verify(ctx)
		if err != nil {
			return err
		}
		if len(found.Findings) == 0 || time.Now().After(until) {
			b.tell("after %s: %d keys with acknowledged writes, %d copies at their owners, %d not as they must be",
				when, found.Keys, found.Copies, len(found.Findings))
			for i, f := range found.Findings {
				if i == maxShown {
					break
				}
				b.miss("after %s: %s", when, f)
			}
			return nil
		}
		if err := lab.Await(ctx, time.Now().Add(time.Second)); err != nil {
			return err
		}
	}
}
