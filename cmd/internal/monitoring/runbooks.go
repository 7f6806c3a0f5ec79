package monitoring

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// page is the runbook page of an alert.
func (a Alert) page() []byte {
	var b bytes.Buffer
	wait := "at once"
	if a.For > 0 {
		wait = "after " + seconds(a.For)
	}
	fmt.Fprintf(&b, "<!-- %s -->\n# %s\n\n%s. Severity: **%s**; it fires %s.\n\n## What it means\n\n%s\n\n## What to do\n\n",
		rendered, a.Name, withoutLabels(a.Summary), a.Severity, wait, wrap(a.Means, ""))
	for i, step := range a.Do {
		fmt.Fprintf(&b, "%s\n", wrap(fmt.Sprintf("%d. %s", i+1, step), "   "))
	}
	fmt.Fprintf(&b, "\n## The rule\n\n```promql\n%s\n```\n\n", a.Expr)
	fmt.Fprintf(&b, "The metrics are explained in [metrics.md](../metrics.md); [all alerts](README.md).\n")
	return b.Bytes()
}

// runbookIndex lists the pages.
func runbookIndex() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!-- %s -->\n# What to do when an alert fires\n\n", rendered)
	b.WriteString("Critical is what clients feel, or what may lose data: it wakes somebody. A warning is what the cluster bears, and is for\nthe day. " +
		"When several fire at once begin at the top.\n\n| alert | severity | what it says |\n|---|---|---|\n")
	for _, a := range Alerts() {
		fmt.Fprintf(&b, "| [%s](%s.md) | %s | %s |\n", a.Name, a.Name, a.Severity, withoutLabels(a.Summary))
	}
	return b.Bytes()
}

var (
	mdLink     = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	labelValue = regexp.MustCompile(`\{\{ \$labels\.([a-z]+) \}\}`)
)

// plain is a text without the marks of links and code.
func plain(text string) string {
	return strings.NewReplacer("`", "", "*", "").Replace(mdLink.ReplaceAllString(text, "$1"))
}

// withoutLabels is a summary that speaks of no particular node.
func withoutLabels(summary string) string { return labelValue.ReplaceAllString(summary, "*$1*") }

func code(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = "`" + n + "`"
	}
	return strings.Join(quoted, ", ")
}

// wrap breaks a text into lines of at most 120 characters, those after the first
// indented.
func wrap(text, indent string) string {
	const width = 120
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > width:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
