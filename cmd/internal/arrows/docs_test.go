package arrows

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"starling/cmd/internal/monitoring"
)

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fence    = regexp.MustCompile("(?s)```.*?```")
	makeCall = regexp.MustCompile(`\bmake ([a-z]+)\b`)
	codeSpan = regexp.MustCompile("(?s)```.*?```|`[^`]+`")
	metric   = regexp.MustCompile("`(starling_[a-z_]+)`")
	target   = regexp.MustCompile(`(?m)^([a-z]+):`)
)

// pages are the documents at the top and in docs, paths below the root.
func pages(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "deploy/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range found {
			rel, err := filepath.Rel(root, p)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, filepath.ToSlash(rel))
		}
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// anchor is what a heading is called in a link.
func anchor(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ' || r == '-':
			b.WriteByte('-')
		case r == '_' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9':
			b.WriteRune(r)
		}
	}
	return b.String()
}

// checkLinks says which links of a page lead nowhere. load gives the text of
// another page or file.
func checkLinks(page, text string, load func(name string) (string, error)) []string {
	var bad []string
	for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		if strings.Contains(m[1], "://") {
			continue // the network is not part of a test
		}
		file, part, _ := strings.Cut(m[1], "#")
		there := text
		if file != "" {
			var err error
			if there, err = load(filepath.ToSlash(filepath.Join(filepath.Dir(page), file))); err != nil {
				bad = append(bad, fmt.Sprintf("%s: %s leads nowhere", page, m[1]))
				continue
			}
		}
		var anchors []string
		for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(there, ""), -1) {
			anchors = append(anchors, anchor(h[1]))
		}
		if part != "" && !slices.Contains(anchors, part) {
			bad = append(bad, fmt.Sprintf("%s: %s has no such heading", page, m[1]))
		}
	}
	return bad
}

// checkTargets says which make targets in the code of a page do not exist.
func checkTargets(page, text, makefile string) []string {
	var have []string
	for _, m := range target.FindAllStringSubmatch(makefile, -1) {
		have = append(have, m[1])
	}
	var bad []string
	for _, code := range codeSpan.FindAllString(text, -1) {
		for _, m := range makeCall.FindAllStringSubmatch(code, -1) {
			if !slices.Contains(have, m[1]) {
				bad = append(bad, fmt.Sprintf("%s: there is no make %s", page, m[1]))
			}
		}
	}
	return bad
}

// checkMetrics says which metrics of a page the catalogue does not have.
func checkMetrics(page, text string, has func(name string) bool) []string {
	var bad []string
	for _, m := range metric.FindAllStringSubmatch(text, -1) {
		if !has(m[1]) {
			bad = append(bad, fmt.Sprintf("%s: there is no metric %s", page, m[1]))
		}
	}
	return bad
}

func TestDocumentedMetrics(t *testing.T) {
	has := func(name string) bool {
		m, ok := monitoring.Lookup(name)
		return ok && m.Name == name
	}
	for _, page := range pages(t) {
		for _, bad := range checkMetrics(page, read(t, page), has) {
			t.Error(bad)
		}
	}
	if bad := checkMetrics("README.md", "`starling_no_such_thing`", has); len(bad) != 1 {
		t.Errorf("a metric that is not there: %q", bad)
	}
}

func TestDocumentation(t *testing.T) {
	load := func(name string) (string, error) {
		path := filepath.Join(root, name)
		info, err := os.Stat(path)
		if err != nil || info.IsDir() {
			return "", err
		}
		b, err := os.ReadFile(path)
		return string(b), err
	}
	makefile := read(t, "Makefile")
	all := pages(t)
	for _, want := range []string{"README.md", "CONTRIBUTING.md", "docs/architecture.md"} {
		if !slices.Contains(all, want) {
			t.Errorf("%s was not seen", want)
		}
	}
	for _, page := range all {
		text := read(t, page)
		for _, bad := range append(checkLinks(page, text, load), checkTargets(page, text, makefile)...) {
			t.Error(bad)
		}
	}
	for _, want := range []string{"make cluster", "make test"} {
		if !strings.Contains(read(t, "README.md"), want) {
			t.Errorf("README.md does not say %q", want)
		}
	}
}

func TestCheckLinks(t *testing.T) {
	load := func(name string) (string, error) {
		if name == "docs/b.md" {
			return "# Two Words, `one` more-dash\n```sh\n# not a heading\n```\n", nil
		}
		return "", os.ErrNotExist
	}
	for text, want := range map[string]string{
		"[b](b.md)":                            "",
		"[b](b.md#two-words-one-more-dash)":    "",
		"[b](b.md#not-a-heading)":              "no such heading",
		"[c](c.md)":                            "leads nowhere",
		"[here](#here)\n## Here":               "",
		"[there](#there)\n## Here":             "no such heading",
		"[out](https://example.com/x)":         "",
		"```go\nm[k](nothing)\n```":            "",
		"[b](../docs/b.md) [d](../README.md#)": "leads nowhere",
	} {
		got := strings.Join(checkLinks("docs/a.md", text, load), "\n")
		if !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestCheckTargets(t *testing.T) {
	makefile := ".PHONY: test\ntest: ## all\n\tgo test ./...\n"
	for text, want := range map[string]string{
		"`make test`":                       "",
		"these make sense":                  "",
		"```sh\nmake test\nmake nope\n```":  "no make nope",
		"run `make nothing` and make tests": "no make nothing",
	} {
		got := strings.Join(checkTargets("README.md", text, makefile), "\n")
		if !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
