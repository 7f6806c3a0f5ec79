package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"starling/cmd/internal/load"
)

const maxShown = 10 // findings and failures

// report prints the table and the verdict, and tells whether all goals were
// reached.
func (b *bench) report(w io.Writer) bool {
	trace := b.clients.Trace()
	missed := b.reportWindows(w, trace)
	fmt.Fprintf(w, "\nmedian of replica requests without a fault %s; n%d answered %v later\n", ms(b.median), slowed, b.delay)
	for _, r := range b.recoveries {
		fmt.Fprintf(w, "%s: no hint left after %.1f s\n", r.what, r.took.Seconds())
	}
	for _, c := range b.checks {
		fmt.Fprintf(w, "%s: %d keys with acknowledged writes, %d copies at their owners, %d with siblings, %d not as they must be\n",
			c.when, c.Keys, c.Copies, c.Siblings, len(c.Findings))
		for i, f := range c.Findings {
			if i == maxShown {
				break
			}
			fmt.Fprintf(w, "  %s\n", f)
		}
		if len(c.Findings) > 0 {
			missed = append(missed, "an owner lacks acknowledged writes "+c.when)
		}
	}
	if notes := b.clients.Failures(); len(notes) > 0 {
		fmt.Fprintf(w, "\nthe first failures:\n")
		for _, n := range notes[:min(len(notes), maxShown)] {
			fmt.Fprintf(w, "  %s\n", n)
		}
	}
	for _, m := range missed {
		fmt.Fprintf(w, "MISSED: %s\n", m)
	}
	if len(missed) == 0 {
		fmt.Fprintln(w, "every goal was reached")
	}
	return len(missed) == 0
}

// reportWindows prints one row for each window and answers which goals were
// missed. The ratios are to the last healthy window before.
func (b *bench) reportWindows(w io.Writer, trace load.Trace) (missed []string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "WINDOW\tSECONDS\tREQ/S\tOK %\tFAILED\tSTALE\tP50 MS\tP99 MS\tMAX MS\tP99 RATIO\tGET P99\tRATIO\tPUT P99\tRATIO\t")
	var healthy [3]load.Summary
	for _, r := range b.rows {
		sums := split(trace, r.Window)
		if r.healthy {
			healthy = sums
		}
		all := sums[0]
		var ratios [3]float64
		for k := range sums {
			ratios[k] = float64(sums[k].P99) / float64(max(healthy[k].P99, 1))
		}
		fmt.Fprintf(t, "%s\t%.1f\t%.0f\t%.3f\t%d\t%d\t%s\t%s\t%s\t%.2f\t%s\t%.2f\t%s\t%.2f\t\n",
			r.Name, r.Till.Sub(r.From).Seconds(), all.PerSecond, all.SuccessPercent(), all.Failed, all.Stale,
			ms(all.P50), ms(all.P99), ms(all.Max), ratios[0], ms(sums[1].P99), ratios[1], ms(sums[2].P99), ratios[2])
		if r.success > 0 && all.SuccessPercent() < r.success {
			missed = append(missed, fmt.Sprintf("%s: %.3f %% succeeded, wanted %.1f %%", r.Name, all.SuccessPercent(), r.success))
		}
		if r.ratio > 0 && ratios[0] > r.ratio {
			missed = append(missed, fmt.Sprintf("%s: p99 is %.2f times the healthy one, wanted at most %.1f times", r.Name, ratios[0], r.ratio))
		}
	}
	_ = t.Flush() // what cannot be printed cannot be told either
	return missed
}

// split measures a window's requests: all, gets, puts.
func split(trace load.Trace, w load.Window) (sums [3]load.Summary) {
	for i, only := range []func(load.Request) bool{nil, func(r load.Request) bool { return !r.Put }, func(r load.Request) bool { return r.Put }} {
		w.Only = only
		sums[i] = trace.Summarize(w)
	}
	return sums
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1000) }
