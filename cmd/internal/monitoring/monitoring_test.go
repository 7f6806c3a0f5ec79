package monitoring

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the top of the repository.
const root = "../../.."

// The repository has what this package renders, and nothing that it once did.
func TestFilesAreRendered(t *testing.T) {
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what is rendered (%v): run make monitoring", name, err)
		}
	}
	for _, dir := range []string{"deploy/monitoring", "docs/runbooks"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() == "nodes.yml" { // the operator's own
				return err
			}
			rel, err := filepath.Rel(root, path)
			if files[filepath.ToSlash(rel)] == nil {
				t.Errorf("%s is rendered by nobody", rel)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A page for everything, words on every panel, and a unit.
func TestEverythingIsExplained(t *testing.T) {
	alerts := Alerts()
	if len(alerts) < 14 {
		t.Errorf("%d alerts", len(alerts))
	}
	names := make(map[string]bool)
	for _, a := range alerts {
		if names[a.Name] {
			t.Errorf("two alerts are called %s", a.Name)
		}
		names[a.Name] = true
		if a.Severity != Critical && a.Severity != Warning || a.Summary == "" || len(a.Means) < 40 || len(a.Do) < 2 {
			t.Errorf("%s: severity %q, summary %q, %d bytes about what it means, %d things to do", a.Name, a.Severity, a.Summary, len(a.Means), len(a.Do))
		}
		if rest := labelValue.ReplaceAllString(a.Summary, ""); strings.Contains(rest, "{{") || strings.Contains(a.summaryOf(a.Fires.Labels), "{{") {
			t.Errorf("%s: the summary uses something that the case's labels do not have: %s", a.Name, a.Summary)
		}
		for _, c := range []Case{a.Fires, a.Silent} {
			if len(c.Series) == 0 || len(c.Series)%2 != 0 || c.At == 0 {
				t.Errorf("%s: a case with %d texts at %v", a.Name, len(c.Series), c.At)
			}
		}
	}
	for _, d := range Dashboards() {
		titles := make(map[string]bool)
		for _, p := range d.Panels() {
			if len(p.Description) < 15 || p.Unit == "" || len(p.Queries) == 0 || titles[p.Title] || p.Wide < 4 || p.Wide > 24 {
				t.Errorf("%s, panel %q (twice: %v): description %q, unit %q, %d queries, %d wide", d.Name, p.Title, titles[p.Title], p.Description, p.Unit, len(p.Queries), p.Wide)
			}
			titles[p.Title] = true
			for _, q := range p.Queries {
				if q.Legend == "" && p.Kind != "table" {
					t.Errorf("%s, panel %q: a line without a name", d.Name, p.Title)
				}
			}
		}
	}
}

// What nobody asks for is not recorded.
func TestEveryRecordIsUsed(t *testing.T) {
	var asked []string
	for _, a := range Alerts() {
		asked = append(asked, a.Expr)
	}
	for _, d := range Dashboards() {
		for _, p := range d.Panels() {
			for _, q := range p.Queries {
				asked = append(asked, q.Expr)
			}
		}
	}
	for _, r := range Records() {
		if !strings.Contains(strings.Join(asked, "\n"), r.Name) {
			t.Errorf("no alert or panel uses %s", r.Name)
		}
	}
}

// What the steps call a panel is the title of one.
func TestStepsNamePanels(t *testing.T) {
	var titles []string
	for _, d := range Dashboards() {
		for _, p := range d.Panels() {
			titles = append(titles, p.Title)
		}
	}
	named := 0
	for _, a := range Alerts() {
		for _, step := range a.Do {
			for i, part := range strings.Split(step, "*") {
				if i%2 == 1 {
					named++
					if !slices.Contains(titles, part) {
						t.Errorf("%s: no panel is called %q", a.Name, part)
					}
				}
			}
		}
	}
	if named < 10 {
		t.Errorf("only %d panels are named: has the mark changed?", named)
	}
}

// Grafana's form, as far as it matters here.
func TestDashboardJSON(t *testing.T) {
	for _, d := range Dashboards() {
		text, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			UID        string
			Templating struct{ List []struct{ Name, Type string } }
			Panels     []struct {
				ID                       int
				Type, Title, Description string
				Datasource               struct{ UID string }
				GridPos                  struct{ X, Y, W, H int }
				Targets                  []struct{ Expr string }
				FieldConfig              struct{ Defaults struct{ Unit string } }
			}
		}
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		if len(doc.Templating.List) < 2 || doc.Templating.List[0].Type != "datasource" {
			t.Errorf("%s: variables %+v", d.UID, doc.Templating.List)
		}
		taken := make(map[[2]int]string)
		for _, p := range doc.Panels {
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%s: %q lies on %q, or beyond the edge", d.UID, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			if p.Type != "row" && (p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 || p.FieldConfig.Defaults.Unit == "") {
				t.Errorf("%s, panel %q: %+v", d.UID, p.Title, p)
			}
		}
	}
}
