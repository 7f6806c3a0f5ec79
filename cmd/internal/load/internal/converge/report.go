package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is a list of figures, some of them with a goal.
type report struct{ rows []row }

type row struct {
	what, measured, goal string
	missed               bool
}

// note adds a figure without a goal.
func (r *report) note(what, format string, args ...any) {
	r.rows = append(r.rows, row{what: what, measured: fmt.Sprintf(format, args...)})
}

// goal adds a figure and whether it is what it must be.
func (r *report) goal(reached bool, what, goal, format string, args ...any) {
	r.rows = append(r.rows, row{what: what, measured: fmt.Sprintf(format, args...), goal: goal, missed: !reached})
}

// print tells whether all goals were reached.
func (r *report) print(w io.Writer) bool {
	all := true
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tMEASURED\tGOAL\t")
	for _, row := range r.rows {
		verdict := ""
		switch {
		case row.missed:
			verdict, all = "MISS", false
		case row.goal != "":
			verdict = "PASS"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", row.what, row.measured, row.goal, verdict)
	}
	_ = t.Flush() // what cannot be printed cannot be told either
	return all
}

// kib is a number of bytes for a person.
func kib(bytes float64) string { return fmt.Sprintf("%.1f KiB", bytes/1024) }

// counts lists what is at least one, by name.
func counts(of map[string]float64) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		if of[name] >= 1 {
			list = append(list, fmt.Sprintf("%s %.0f", name, of[name]))
		}
	}
	return strings.Join(list, ", ")
}
