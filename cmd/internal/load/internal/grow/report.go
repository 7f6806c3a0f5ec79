package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"starling/cmd/internal/load"
)

const maxShown = 10 // findings and failures

// report prints the table and the verdict, and tells whether all goals were
// reached.
func (b *bench) report(w io.Writer) bool {
	b.reportWindows(w, b.clients.Trace())
	fmt.Fprintln(w)
	for _, f := range b.facts {
		fmt.Fprintln(w, f)
	}
	if notes := b.clients.Failures(); len(notes) > 0 {
		fmt.Fprintf(w, "\nthe first failures:\n")
		for _, n := range notes[:min(len(notes), maxShown)] {
			fmt.Fprintf(w, "  %s\n", n)
		}
	}
	for _, m := range b.missed {
		fmt.Fprintf(w, "MISSED: %s\n", m)
	}
	if len(b.missed) == 0 {
		fmt.Fprintln(w, "every goal was reached")
	}
	return len(b.missed) == 0
}

// reportWindows prints one row for each window. What changes is held against
// the steady window before it.
func (b *bench) reportWindows(w io.Writer, trace load.Trace) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "WINDOW\tSECONDS\tREQ/S\tOF STEADY\t503\tOTHERWISE FAILED\tSTALE\tP50 MS\tP99 MS\tMAX MS\t")
	steady := 0.0
	var turns []float64
	for _, r := range b.rows {
		all := trace.Summarize(r.Window)
		r.Only = func(q load.Request) bool { return q.Failed && q.Status == http.StatusServiceUnavailable }
		refused := trace.Summarize(r.Window).Requests
		if r.steady {
			steady = all.PerSecond
		}
		ratio := all.PerSecond / max(steady, 1)
		fmt.Fprintf(t, "%s\t%.1f\t%.0f\t%.2f\t%d\t%d\t%d\t%s\t%s\t%s\t\n", r.Name, r.Till.Sub(r.From).Seconds(), all.PerSecond, ratio,
			refused, all.Failed-refused, all.Stale, ms(all.P50), ms(all.P99), ms(all.Max))
		b.judge(r, all, refused)
		if r.paired != nil {
			b.judgePairs(trace, *r.paired, steady)
		}
		if r.turn {
			turns = append(turns, ratio)
		}
	}
	_ = t.Flush() // what cannot be printed cannot be told either
	b.judgeTurns(turns)
}

// judgeTurns holds the throughput during transfers against that before each.
// With nodes that join there are more processes on the machine than before, and
// each write has more copies: there [pairs] are judged.
func (b *bench) judgeTurns(turns []float64) {
	if len(turns) == 0 {
		return
	}
	slices.Sort(turns)
	middle := median(turns)
	b.tell("throughput while a node is filled: median %.2f of that before (%.2f to %.2f, %d turns)", middle, turns[0], turns[len(turns)-1], len(turns))
	if middle < goalThroughput {
		b.miss("%.2f of the throughput before while a node is filled, wanted %.1f", middle, goalThroughput)
	}
}

// judge holds a window against the goals.
func (b *bench) judge(r row, all load.Summary, refused int) {
	if all.Stale > 0 {
		b.miss("%s: %d gets missed a write that was acknowledged before", r.Name, all.Stale)
	}
	if r.mishaps {
		return
	}
	if failed := all.Failed - refused; failed > 0 {
		b.miss("%s: %d requests failed otherwise than with 503", r.Name, failed)
	}
	if part := 100 * float64(refused) / float64(max(all.Requests, 1)); part > goalRefused {
		b.miss("%s: %.3f %% were answered 503, at most %.1f are wanted", r.Name, part, goalRefused)
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1000) }
