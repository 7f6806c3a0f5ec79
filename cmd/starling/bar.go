package main

import (
	"fmt"
	"strings"

	"starling/cmd/internal/load"
)

// bar shows progress on standard error, if that is a terminal.
type bar struct {
	app   *app
	shown bool
	width int
}

const barCells = 24

// newBar answers a bar that shows nothing where nobody would see it.
func (a *app) newBar() *bar { return &bar{app: a, shown: isTerminal(a.err)} }

// part gives a function that shows the progress of one part of the work.
func (b *bar) part(name string) func(load.Progress) {
	return func(p load.Progress) { b.show(name, p) }
}

func (b *bar) show(part string, p load.Progress) { b.draw(barLine(part, p)) }

// draw puts a line in the place of the one before.
func (b *bar) draw(line string) {
	if !b.shown {
		return
	}
	pad := max(0, b.width-len(line))
	b.width = len(line)
	_, _ = fmt.Fprint(b.app.err, "\r"+line+strings.Repeat(" ", pad)) // progress that cannot be shown is no failure
}

// clear makes the line empty for what is printed next.
func (b *bar) clear() {
	if b.width > 0 {
		_, _ = fmt.Fprint(b.app.err, "\r"+strings.Repeat(" ", b.width)+"\r")
		b.width = 0
	}
}

// gauge is the bar itself: how much of a part is done, 0 to 1.
func gauge(part string, share float64) string {
	done := int(min(1, max(0, share)) * barCells)
	return fmt.Sprintf("[%s%s] %3.0f%% %s", strings.Repeat("#", done), strings.Repeat("-", barCells-done), 100*share, part)
}

func barLine(part string, p load.Progress) string {
	line := fmt.Sprintf("%s: %d ops", gauge(part, p.Done), p.Ops)
	if seconds := p.Elapsed.Seconds(); seconds >= 1 {
		line += fmt.Sprintf(", %.0f/s", float64(p.Ops)/seconds)
	}
	if p.Errors > 0 {
		line += fmt.Sprintf(", %d errors", p.Errors)
	}
	return line
}
