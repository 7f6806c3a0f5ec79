package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"starling/cmd/internal/load"
	"starling/cmd/internal/load/internal/lab"
)

const (
	pairWindow = 4 * time.Second
	pairLead   = 500 * time.Millisecond // until what was under way has ended
	// pairHold bounds a hold, should this program die.
	pairHold = time.Minute
)

// pairs are windows of one change in turns, while partitions are transferred
// and while they are held, with nothing else different: the same members,
// processes, and copies of a write. Each of the former has one of the latter
// before and after it.
type pairs struct {
	name         string
	moving, held []load.Window
}

// pairUp measures turns until it has as many as are wanted, or nothing is
// pending any more, or ctx ends. In the end nothing is held.
func (b *bench) pairUp(ctx context.Context, name string, nodes int) (p pairs, err error) {
	if p.name = name; b.opts.turns == 0 {
		return p, nil
	}
	defer func() {
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkWithin)
		defer cancel()
		err = errors.Join(err, b.hold(release, nodes, false))
	}()
	if err := b.until(ctx, func() error { return b.moving(ctx, nodes) }); err != nil {
		return p, err
	}
	for len(p.moving) < b.opts.turns {
		held, err := b.measured(ctx, nodes, true)
		if err != nil {
			return p, err
		}
		p.held = append(p.held, held)
		moving, err := b.measured(ctx, nodes, false)
		if err != nil || b.moving(ctx, nodes) != nil {
			return p, err
		}
		p.moving = append(p.moving, moving)
	}
	held, err := b.measured(ctx, nodes, true)
	if err == nil {
		p.held = append(p.held, held)
	}
	return p, err
}

// moving is nil while as many nodes are members, all of them alive, and some
// partitions are pending.
func (b *bench) moving(ctx context.Context, nodes int) error {
	doc, err := b.askCluster(ctx, 1)
	if err != nil {
		return err
	}
	pending, alive := 0, 0
	for _, m := range doc.Members {
		pending += m.Pending
		if m.Alive {
			alive++
		}
	}
	if alive != nodes || pending == 0 {
		return fmt.Errorf("%d members of %d, %d partitions pending", alive, nodes, pending)
	}
	return nil
}

// measured is a window in which transfers are held, or not.
func (b *bench) measured(ctx context.Context, nodes int, held bool) (w load.Window, err error) {
	if err := b.hold(ctx, nodes, held); err != nil {
		return w, err
	}
	if err := lab.Await(ctx, time.Now().Add(pairLead)); err != nil {
		return w, err
	}
	w.From = time.Now()
	err = lab.Await(ctx, w.From.Add(pairWindow))
	w.Till = time.Now()
	return w, err
}

// hold has all nodes hold their transfers, or go on.
func (b *bench) hold(ctx context.Context, nodes int, held bool) error {
	method, doc := http.MethodDelete, ""
	if held {
		method, doc = http.MethodPut, fmt.Sprintf(`{"bytes_per_second":0,"seconds":%d}`, int(pairHold.Seconds()))
	}
	errs := make([]error, nodes)
	var calls sync.WaitGroup
	for i := range nodes {
		calls.Go(func() { errs[i] = b.send(ctx, method, b.endpoint(i+1)+"/v1/node/pace", doc) })
	}
	calls.Wait()
	return errors.Join(errs...)
}

// judgePairs holds the throughput during a transfer against that around it,
// while transfers were held.
func (b *bench) judgePairs(trace load.Trace, p pairs, steady float64) {
	p.moving = p.moving[:min(len(p.moving), max(len(p.held)-1, 0))]
	switch {
	case b.opts.turns == 0:
		return
	case len(p.moving) == 0:
		b.tell("%s: too quick for a pair of windows with and without transfers", p.name)
		return
	}
	held := make([]float64, len(p.held))
	for i, w := range p.held {
		held[i] = trace.Summarize(w).PerSecond
	}
	ratios := make([]float64, len(p.moving))
	for i, w := range p.moving {
		ratios[i] = trace.Summarize(w).PerSecond / max((held[i]+held[i+1])/2, 1)
	}
	slices.Sort(ratios)
	middle := median(ratios)
	slices.Sort(held)
	b.tell("%s: throughput while partitions are transferred: median %.2f of that while they are held (%.2f to %.2f, %d pairs); held it was %.2f of the steady one before",
		p.name, middle, ratios[0], ratios[len(ratios)-1], len(ratios), median(held)/max(steady, 1))
	if middle < goalThroughput {
		b.miss("%s: %.2f of the throughput while partitions are transferred, wanted %.1f", p.name, middle, goalThroughput)
	}
}

// median is that of a sorted list.
func median(sorted []float64) float64 {
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
