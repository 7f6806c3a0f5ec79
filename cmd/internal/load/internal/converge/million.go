package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"starling/cmd/internal/load/internal/lab"
)

// The goals of the repair of one key among a million.
const (
	goalBytes = 200e3
	goalCPU   = 2.0 // seconds, of all nodes
)

const (
	windowsEach = 3 // windows of each kind but the one with the difference
	fillRounds  = 10
)

// million is the measurement of one key that differs. Exchanges begin only when
// they are asked for, so that what the start of a process costs is no part of
// it: in a window each pair is compared once, as in an interval of the time in
// which that goes by itself.
type million struct {
	*cluster
	opts options
	node int // that missed the write
}

func measureMillion(ctx context.Context, o options, r *report) error {
	c, err := up(ctx, o.script, 3, "STARLING_REPLICAS=3", "STARLING_HINTS_ENABLED=false", "STARLING_READ_REPAIR_ENABLED=false",
		"STARLING_ANTIENTROPY_ENABLED=false")
	if err != nil {
		return err
	}
	m := &million{cluster: c, opts: o, node: 2}
	if err := m.prepare(ctx); err != nil {
		return err
	}
	if err := m.differ(ctx); err != nil {
		return err
	}
	return m.measure(ctx, r)
}

// prepare loads the keys and makes all replicas equal.
func (m *million) prepare(ctx context.Context) error {
	if err := m.load(ctx, m.opts.millionKeys, m.opts.valueBytes); err != nil {
		return err
	}
	for range fillRounds {
		did, err := m.window(ctx, true)
		if err != nil {
			return err
		}
		lab.Say("a first round: %.0f objects shipped", did.shipped)
		if did.shipped == 0 {
			return nil
		}
	}
	return fmt.Errorf("the replicas are not equal after %d rounds", fillRounds)
}

// differ stops a node, writes one key at the others, and starts it.
func (m *million) differ(ctx context.Context) error {
	lab.Say("stopping n%d, and changing one key", m.node+1)
	if err := m.cluster.node(ctx, "stop", m.node); err != nil {
		return err
	}
	key := keyName(m.opts.millionKeys / 2)
	if err := m.overwrite(ctx, 0, key, valueOf(key, "new", m.opts.valueBytes)); err != nil {
		return err
	}
	if err := m.cluster.node(ctx, "start", m.node); err != nil {
		return err
	}
	for {
		seen, err := m.meter(ctx, 0)
		if err != nil {
			return err
		}
		if len(seen.Unreachable) == 0 {
			return nil
		}
		if err := await(ctx, pollPause); err != nil {
			return err
		}
	}
}

// window measures an interval, at the beginning of which every pair is made
// due or none.
func (m *million) window(ctx context.Context, compare bool) (reading, error) {
	before, err := m.read(ctx, -1)
	if err != nil {
		return reading{}, err
	}
	if compare {
		if _, err := m.ask(ctx, http.MethodPost, 0, "/v1/repair", "", ""); err != nil {
			return reading{}, err
		}
	}
	if err := await(ctx, m.opts.interval); err != nil {
		return reading{}, err
	}
	after, err := m.read(ctx, -1)
	return after.since(before), err
}

// windows measures some, and gives the medians.
func (m *million) windows(ctx context.Context, compare bool) (typical reading, err error) {
	var sent, cpu []float64
	for range windowsEach {
		did, err := m.window(ctx, compare)
		if err != nil {
			return typical, err
		}
		typical.shipped += did.shipped
		sent, cpu = append(sent, did.sentBytes), append(cpu, did.cpuSeconds)
	}
	typical.sentBytes, typical.cpuSeconds = median(sent), median(cpu)
	return typical, nil
}

func (m *million) measure(ctx context.Context, r *report) error {
	lab.Say("windows of %v: with nothing to do, with the difference, with none", m.opts.interval)
	if err := await(ctx, m.opts.interval); err != nil { // after the start
		return err
	}
	quiet, err := m.windows(ctx, false)
	if err != nil {
		return err
	}
	repair, err := m.window(ctx, true)
	if err != nil {
		return err
	}
	idle, err := m.windows(ctx, true)
	if err != nil {
		return err
	}
	r.note("keys, bytes of a value", "%d, %d", m.opts.millionKeys, m.opts.valueBytes)
	r.goal(repair.shipped == 1 && idle.shipped == 0, "objects shipped, and after it", "1, 0", "%.0f, %.0f", repair.shipped, idle.shipped)
	beyond := repair.since(idle)
	within := func(what string, d reading) {
		r.goal(d.sentBytes < goalBytes, "bytes of "+what, "< "+kib(goalBytes), "%s", kib(d.sentBytes))
		r.goal(d.cpuSeconds < goalCPU, "CPU seconds of "+what, fmt.Sprintf("< %.0f", goalCPU), "%.2f", d.cpuSeconds)
	}
	within("the repair, beyond an interval without a difference", beyond)
	within("a comparison of all with the repair, beyond no comparison", repair.since(quiet))
	r.note("interval with all compared and equal", "%s, %.2f CPU seconds", kib(idle.sentBytes), idle.cpuSeconds)
	r.note("interval with nothing compared", "%s, %.2f CPU seconds", kib(quiet.sentBytes), quiet.cpuSeconds)
	return nil
}

// median sorts the values.
func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
