package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"starling/cmd/internal/load"
	"starling/cmd/internal/load/internal/lab"
)

// The nodes that the faults strike, and what is expected.
const (
	killed, paused, slowed = 2, 4, 3

	onset        = 2 * time.Second // after which a fault is to be hardly noticed
	backWindow   = 5 * time.Second // measured at least once a node is back
	hintsWithin  = time.Minute
	checkWithin  = 30 * time.Second
	slowFactor   = 50
	goalSuccess  = 99.9 // percent
	goalFault    = 3.0  // p99 over the healthy one
	goalSlow     = 2.0
	pollInterval = 100 * time.Millisecond
)

// bench is one run of the plan.
type bench struct {
	opts    options
	cluster *lab.Cluster
	clients *load.Clients
	rows    []row
	// recoveries say how long after a node's return no hint was left.
	recoveries []recovery
	checks     []checked
	delay      time.Duration // of the slow node
	median     time.Duration // of replica requests, without a fault
}

// row is a window and what it is to reach; 0: nothing. Those that follow a
// healthy one are held against it.
type row struct {
	load.Window
	healthy        bool
	success, ratio float64
}

type recovery struct {
	what string
	took time.Duration
}

type checked struct {
	when string
	load.Check
}

func newBench(ctx context.Context, o options) (*bench, error) {
	c, err := lab.Open(ctx, o.script, 4)
	if err != nil {
		return nil, err
	}
	clients, err := load.NewClients(load.ClientOptions{
		Endpoints: c.Endpoints, Clients: o.clients, KeysEach: o.keys, ValueBytes: o.bytes, Seed: 1,
	})
	return &bench{opts: o, cluster: c, clients: clients}, err
}

// drive goes through the plan: kill and pause under one run of the clients,
// then a slow node under another.
func (b *bench) drive(ctx context.Context) error {
	if err := b.under(ctx, b.killAndPause); err != nil {
		return err
	}
	if err := b.check(ctx, "after the kill and the pause"); err != nil {
		return err
	}
	if err := b.slowDown(ctx); err != nil {
		return err
	}
	if err := b.under(ctx, b.measureSlow); err != nil {
		return err
	}
	return b.check(ctx, "after the slow node")
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

func (b *bench) window(name string, from, till time.Time, goals ...float64) *row {
	r := row{Window: load.Window{Name: name, From: from, Till: till}}
	if len(goals) == 2 {
		r.success, r.ratio = goals[0], goals[1]
	}
	b.rows = append(b.rows, r)
	return &b.rows[len(b.rows)-1]
}

// killAndPause measures each fault next to a time without one: what else the
// machine does then meets both alike.
func (b *bench) killAndPause(ctx context.Context) error {
	if err := b.measureHealthy(ctx); err != nil {
		return err
	}
	if err := b.fault(ctx, "kill", "start", killed, b.opts.kill); err != nil {
		return err
	}
	if err := b.measureHealthy(ctx); err != nil {
		return err
	}
	if err := b.fault(ctx, "pause", "resume", paused, b.opts.pause); err != nil {
		return err
	}
	return b.measureHealthy(ctx)
}

func (b *bench) measureHealthy(ctx context.Context) error {
	lab.Say("warming up for %v, then %v without a fault", b.opts.warmUp, b.opts.healthy)
	b.clients.GoHome()
	if err := lab.Await(ctx, time.Now().Add(b.opts.warmUp)); err != nil {
		return err
	}
	from := time.Now()
	before, err := replicaLatency(ctx, b.cluster)
	if err != nil {
		return err
	}
	if err := lab.Await(ctx, from.Add(b.opts.healthy)); err != nil {
		return err
	}
	w := b.window("healthy", from, time.Now())
	w.healthy, w.Answered = true, true
	after, err := replicaLatency(ctx, b.cluster)
	if err != nil {
		return err
	}
	b.median, err = after.median(before)
	return err
}

// fault strikes a node for a time, lets it return, and waits until no node
// holds a hint.
func (b *bench) fault(ctx context.Context, strike, mend string, node int, lasts time.Duration) error {
	lab.Say("%s n%d, for %v", strike, node, lasts)
	b.clients.FreshKeys()
	struck := time.Now()
	if err := b.cluster.Node(ctx, strike, node); err != nil {
		return err
	}
	if err := lab.Await(ctx, struck.Add(lasts)); err != nil {
		return err
	}
	lab.Say("%s n%d", mend, node)
	b.clients.FreshKeys()
	mended := time.Now()
	name := fmt.Sprintf("%s n%d", strike, node)
	b.window(name+", first 2 s", struck, struck.Add(onset))
	b.window(name+", then", struck.Add(onset), mended, goalSuccess, goalFault)
	if err := b.cluster.Node(ctx, mend, node); err != nil {
		return err
	}
	if err := b.awaitHints(ctx, fmt.Sprintf("%s n%d", mend, node), mended); err != nil {
		return err
	}
	if err := lab.Await(ctx, mended.Add(backWindow)); err != nil {
		return err
	}
	b.window(fmt.Sprintf("%s n%d", mend, node), mended, time.Now(), goalSuccess, 0)
	return nil
}

func (b *bench) awaitHints(ctx context.Context, what string, since time.Time) error {
	for {
		left, err := b.clients.Hints(ctx)
		took := time.Since(since)
		switch {
		case err == nil && left == 0:
			b.recoveries = append(b.recoveries, recovery{what, took})
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case took > hintsWithin && err != nil:
			return fmt.Errorf("%v after %s: %w", took, what, err)
		case took > hintsWithin:
			return fmt.Errorf("%v after %s there are still %d hints", took.Round(time.Second), what, left)
		}
		if err := lab.Await(ctx, time.Now().Add(pollInterval)); err != nil {
			return err
		}
	}
}

// check asks all owners until every acknowledged write is there or time runs
// out: what a coordinator was still sending when the clients ended may arrive
// a little later.
func (b *bench) check(ctx context.Context, when string) error {
	lab.Say("checking every acknowledged write at all its owners")
	until := time.Now().Add(checkWithin)
	for {
		found, err := b.clients.Verify(ctx)
		if err != nil {
			return err
		}
		if len(found.Findings) == 0 || time.Now().After(until) {
			b.checks = append(b.checks, checked{when, found})
			return nil
		}
		if err := lab.Await(ctx, time.Now().Add(10*pollInterval)); err != nil {
			return err
		}
	}
}

// slowDown starts a node anew that delays each answer to other nodes.
func (b *bench) slowDown(ctx context.Context) error {
	b.delay = (slowFactor * b.median).Round(time.Millisecond)
	if b.delay < time.Millisecond {
		return errors.New("the replicas are too quick to slow one down by a number of milliseconds")
	}
	lab.Say("starting n%d anew, with answers to other nodes delayed by %v", slowed, b.delay)
	if err := b.cluster.Node(ctx, "stop", slowed); err != nil {
		return err
	}
	return b.cluster.Node(ctx, "start", slowed, "STARLING_TEST_REPLICA_DELAY="+b.delay.String())
}

func (b *bench) measureSlow(ctx context.Context) error {
	lab.Say("warming up for %v, then %v with the slow node", b.opts.warmUp, b.opts.slow)
	b.clients.GoHome()
	b.clients.FreshKeys()
	if err := lab.Await(ctx, time.Now().Add(b.opts.warmUp)); err != nil {
		return err
	}
	from := time.Now()
	if err := lab.Await(ctx, from.Add(b.opts.slow)); err != nil {
		return err
	}
	b.window(fmt.Sprintf("n%d slow", slowed), from, time.Now(), goalSuccess, goalSlow)
	return nil
}
