package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// style is how a terminal shows a line of a table.
type style string

const (
	plain style = ""
	bold  style = "\x1b[1m"
	red   style = "\x1b[31m"
	amber style = "\x1b[33m"
	green style = "\x1b[32m"
	reset       = "\x1b[0m"
)

// isTerminal tells whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colourful tells whether standard output takes colours.
func (a *app) colourful() bool {
	return isTerminal(a.out) && a.env("NO_COLOR") == "" && a.env("TERM") != "dumb"
}

// table is lines of cells in aligned columns, the first line being the head.
type table struct {
	rows   [][]string
	styles []style
}

func newTable(head ...string) *table {
	t := &table{}
	t.add(bold, head...)
	return t
}

func (t *table) add(s style, cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	t.rows, t.styles = append(t.rows, cells), append(t.styles, s)
}

// print aligns first and colours whole lines after that, so that escape
// sequences have no part in the widths.
func (t *table) print(w io.Writer, colour bool) error {
	var aligned bytes.Buffer
	tw := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	for _, row := range t.rows {
		if _, err := fmt.Fprintln(tw, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(aligned.String(), "\n"), "\n")
	for i, line := range lines {
		line = strings.TrimRight(line, " ")
		if colour && t.styles[i] != plain {
			line = string(t.styles[i]) + line + reset
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// printTable prints to standard output.
func (a *app) printTable(t *table) error { return t.print(a.out, a.colourful()) }

// printLine prints one line to standard output, in colour on a terminal.
func (a *app) printLine(s style, format string, args ...any) error {
	line := printable(fmt.Sprintf(format, args...))
	if s != plain && a.colourful() {
		line = string(s) + line + reset
	}
	_, err := fmt.Fprintln(a.out, line)
	return err
}

// note tells people something beside the result.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintln(a.err, printable(fmt.Sprintf(format, args...))) // a lost note is no failure
}

// printJSON prints one document to standard output.
func (a *app) printJSON(doc any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(doc)
}

// printable replaces what could drive a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// encodeText puts bytes into a JSON string: as they are if they are UTF-8.
func encodeText(b []byte) (encoding, text string) {
	if utf8.Valid(b) {
		return "utf-8", string(b)
	}
	return "base64", base64.StdEncoding.EncodeToString(b)
}

// formatTime is empty for the zero time.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.999Z07:00")
}
