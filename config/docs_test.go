package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	docBegin = "<!-- settings: begin -->\n"
	docEnd   = "<!-- settings: end -->"
)

var (
	docPath      = filepath.Join("..", "docs", "configuration.md")
	docVariables = regexp.MustCompile(`STARLING_[A-Z][A-Z_]*[A-Z]`)
	docBlocks    = regexp.MustCompile("(?s)```(yaml|toml)\n(.*?)```")
)

// settingsTable is the generated part of docs/configuration.md.
func settingsTable() string {
	var b strings.Builder
	b.WriteString("| setting | default | allowed | what it is |\n|---|---|---|---|\n")
	for _, f := range fields {
		def := f.derived
		switch {
		case f.def != "":
			def = "`" + f.def + "`"
		case def == "":
			def = "empty"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.name, def, f.allowed, f.about)
	}
	return b.String()
}

func TestDocumentationHasTheTable(t *testing.T) {
	page, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(page), docBegin)
	got, after, ended := strings.Cut(rest, docEnd)
	if !found || !ended {
		t.Fatalf("%s lacks the lines %q and %q", docPath, docBegin, docEnd)
	}
	want := settingsTable()
	if *update {
		if err := os.WriteFile(docPath, []byte(before+docBegin+want+docEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		got = want
	}
	if got != want {
		t.Errorf("%s does not show the table of settings (go test ./config -update writes it); it must be\n%s", docPath, want)
	}
}

// Every variable that a page or script names is known.
func TestDocumentedVariablesExist(t *testing.T) {
	known := slices.Clone(elsewhere)
	for _, f := range fields {
		known = append(known, f.env())
	}
	seen := 0
	for _, pattern := range []string{"*.md", "docs/*.md", "deploy/local/*", ".ci/run"} {
		paths, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range docVariables.FindAllString(string(text), -1) {
				seen++
				if !slices.Contains(known, name) && name != "STARLING_PORT" { // the example of what Kubernetes makes
					t.Errorf("%s names %s, which does not exist", path, name)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("no page names any variable")
	}
}

func TestDocumentedFilesLoad(t *testing.T) {
	page, err := os.ReadFile(docPath)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, block := range docBlocks.FindAllStringSubmatch(string(page), -1) {
		seen[block[1]] = true
		path := file(t, "example."+block[1], block[2])
		if _, err := load(flags(t, "--config", path), nil, host("h", "10.0.0.7/24")); err != nil {
			t.Errorf("an example of %s does not load: %v", docPath, err)
		}
	}
	if !seen["yaml"] || !seen["toml"] {
		t.Errorf("%s has examples in %v, want yaml and toml", docPath, seen)
	}
}
