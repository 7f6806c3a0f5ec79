package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"starling/cmd/internal/load/internal/lab"
)

// The goals of the measurement of a node that was away.
const (
	goalSeconds = 120.0
	goalRatio   = 3.0 // of the bytes sent to those of the objects
)

// away is the measurement of a node that was away while some of its keys
// changed. Hints and read repair are off: the exchange has to find them.
type away struct {
	*cluster
	opts options
	node int
	keys []string // that changed
	// back is when the node was started again; converged when every pair of
	// every node was first seen to hold.
	back, converged time.Time
	repair, idle    reading // what was done until all was equal, and after it
	repairTook      time.Duration
	idleNodes       []reading
	meter           meter
	wrong           int64 // changed keys that the node has not as they are
}

func measureAway(ctx context.Context, o options, r *report) error {
	c, err := up(ctx, o.script, 5, "STARLING_REPLICAS=3", "STARLING_HINTS_ENABLED=false", "STARLING_READ_REPAIR_ENABLED=false")
	if err != nil {
		return err
	}
	a := &away{cluster: c, opts: o, node: 1}
	for _, step := range []func(context.Context) error{a.prepare, a.change, a.comeBack, a.rest, a.check} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	a.report(r)
	return nil
}

// prepare loads the keys and chooses those that are to change.
func (a *away) prepare(ctx context.Context) error {
	if err := a.load(ctx, a.opts.keys, a.opts.valueBytes); err != nil {
		return err
	}
	if err := a.awaitProven(ctx, time.Now()); err != nil {
		return err
	}
	for k := 0; k < a.opts.keys && len(a.keys) < a.opts.changed; k++ {
		owned, err := a.owned(ctx, a.node, keyName(k))
		if err != nil {
			return err
		}
		if owned {
			a.keys = append(a.keys, keyName(k))
		}
	}
	if len(a.keys) < a.opts.changed {
		return fmt.Errorf("n%d owns only %d of %d keys", a.node+1, len(a.keys), a.opts.keys)
	}
	return nil
}

// others is a node that is not away.
func (a *away) others(k int) int { return (a.node + 1 + k%(len(a.endpoints)-1)) % len(a.endpoints) }

// change kills the node and changes the keys.
func (a *away) change(ctx context.Context) error {
	lab.Say("killing n%d, and changing %d of its keys", a.node+1, len(a.keys))
	if err := a.cluster.node(ctx, "kill", a.node); err != nil {
		return err
	}
	err := each(ctx, len(a.keys), func(ctx context.Context, k int) error {
		return a.overwrite(ctx, a.others(k), a.keys[k], valueOf(a.keys[k], "new", a.opts.valueBytes))
	})
	if err != nil {
		return err
	}
	// Until the others have given it up, their proofs of before hold.
	for {
		live, err := a.read(ctx, a.node)
		if err != nil {
			return err
		}
		noticed := 0
		for i, r := range live {
			if i != a.node && r.openPairs > 0 {
				noticed++
			}
		}
		if noticed == len(live)-1 {
			return nil
		}
		if err := await(ctx, pollPause); err != nil {
			return err
		}
	}
}

// comeBack starts the node and waits, with no more than a look at metrics now
// and then, until the quiet time is over and all is equal.
func (a *away) comeBack(ctx context.Context) error {
	before, err := a.read(ctx, a.node)
	if err != nil {
		return err
	}
	lab.Say("starting n%d; no request for %v", a.node+1, a.opts.quiet)
	a.back = time.Now()
	if err := a.cluster.node(ctx, "start", a.node); err != nil {
		return err
	}
	for a.converged.IsZero() || time.Since(a.back) < a.opts.quiet {
		if time.Since(a.back) > convergence {
			return fmt.Errorf("not equal %v after the return", convergence)
		}
		now, err := a.read(ctx, -1)
		if err != nil {
			return err
		}
		a.repair, a.repairTook = now.since(before), time.Since(a.back)
		if a.repair.openPairs == 0 && a.converged.IsZero() {
			a.converged = time.Now()
		}
		if err := await(ctx, pollPause); err != nil {
			return err
		}
	}
	a.meter, err = a.cluster.meter(ctx, 0)
	return err
}

// rest measures a time in which there is nothing to do.
func (a *away) rest(ctx context.Context) error {
	lab.Say("all is equal: %v of idle time", a.opts.idle)
	before, err := a.read(ctx, -1)
	if err != nil {
		return err
	}
	if err := await(ctx, a.opts.idle); err != nil {
		return err
	}
	after, err := a.read(ctx, -1)
	if err != nil {
		return err
	}
	a.idle = after.since(before)
	for i := range after {
		a.idleNodes = append(a.idleNodes, after[i].since(before[i]))
	}
	return nil
}

// check reads the changed keys from the node's own copy.
func (a *away) check(ctx context.Context) error {
	var wrong atomic.Int64
	err := each(ctx, len(a.keys), func(ctx context.Context, k int) error {
		got, err := a.ask(ctx, http.MethodGet, a.node, bucket+a.keys[k]+"?consistency=one", "", "")
		if errors.Is(err, context.Canceled) {
			return err
		}
		if err != nil || string(got.body) != valueOf(a.keys[k], "new", a.opts.valueBytes) {
			wrong.Add(1)
		}
		return nil
	})
	a.wrong = wrong.Load()
	return err
}

func (a *away) report(r *report) {
	took := a.converged.Sub(a.back).Seconds()
	idleRate := a.idle.sentBytes / a.opts.idle.Seconds()
	beyond := a.repair.sentBytes - idleRate*a.repairTook.Seconds()
	ratio := beyond / max(a.repair.shippedBytes, 1)
	r.note("keys, bytes of a value, changed", "%d, %d, %d", a.opts.keys, a.opts.valueBytes, len(a.keys))
	r.goal(a.meter.Converged, "all pairs proven", "all", "%d of %d", a.meter.PairsTotal-a.meter.Stale, a.meter.PairsTotal)
	r.goal(took <= goalSeconds, "seconds from the start of the node to that", fmt.Sprintf("<= %.0f", goalSeconds), "%.1f", took)
	r.goal(a.repair.shipped == float64(len(a.keys)), "objects shipped", fmt.Sprintf("= %d", len(a.keys)), "%.0f", a.repair.shipped)
	r.goal(a.wrong == 0, "changed keys that the node has not", "0", "%d", a.wrong)
	r.note("bytes of these objects, with names and vectors", "%s", kib(a.repair.shippedBytes))
	r.note("bytes that all nodes sent in that time", "%s in %.1f s", kib(a.repair.sentBytes), a.repairTook.Seconds())
	r.note("bytes beyond those of an idle time", "%s", kib(beyond))
	r.goal(ratio < goalRatio, "these to those of the objects", fmt.Sprintf("< %.0f", goalRatio), "%.2f", ratio)
	more := added(a.repair.requests, a.idle.requests, -a.repairTook.Seconds()/a.opts.idle.Seconds())
	r.note("requests between nodes beyond those of an idle time", "%s", counts(more))
	r.note("idle: bytes that all nodes send in a second", "%s", kib(idleRate))
	r.goal(a.idle.shipped == 0, "idle: objects shipped", "0", "%.0f in %v", a.idle.shipped, a.opts.idle)
	for i, n := range a.idleNodes {
		r.note(fmt.Sprintf("idle: CPU of n%d", i+1), "%.2f %% of a core", 100*n.cpuSeconds/a.opts.idle.Seconds())
	}
}
