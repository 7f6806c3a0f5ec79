package monitoring

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// promtool runs the tool of Prometheus in a directory.
func promtool(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed here (Debian: apt-get install prometheus)")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// workdir has the rendered files of Prometheus, and the nodes that an operator
// would write.
func workdir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if below, ok := strings.CutPrefix(name, "deploy/monitoring/"); ok && !strings.Contains(below, "/") {
			write(t, filepath.Join(dir, below), text)
		}
	}
	write(t, filepath.Join(dir, "nodes.yml"), []byte(nodesExample))
	return dir
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPromtoolChecks(t *testing.T) {
	t.Parallel()
	dir := workdir(t)
	write(t, filepath.Join(dir, "fixed.yml"), Config(Timing{Scrape: 500 * time.Millisecond, Evaluate: time.Second}, "rules.yml", "c", map[string]string{"n1": "127.0.0.1:4710"}))
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"check", "config", "fixed.yml"}, {"check", "rules", "rules.yml"}} {
		if out, err := promtool(t, dir, args...); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Every alert fires in its one case, with these words, and is silent in the
// other.
func TestPromtoolTestsEveryAlert(t *testing.T) {
	t.Parallel()
	dir := workdir(t)
	if out, err := promtool(t, dir, "test", "rules", "rules_test.yml"); err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
}

// Were promtool to find nothing wrong with anything, the test before would not
// say much: the cases the other way round must all fail.
func TestPromtoolFindsWrongCases(t *testing.T) {
	t.Parallel()
	dir := workdir(t)
	var swapped []Alert
	for _, a := range Alerts() {
		if a.Name == "NodeDown" || a.Name == "HintSpaceLow" {
			a.Fires.Series, a.Silent.Series = a.Silent.Series, a.Fires.Series
			swapped = append(swapped, a)
		}
	}
	write(t, filepath.Join(dir, "swapped.yml"), RuleTests("rules.yml", swapped))
	out, err := promtool(t, dir, "test", "rules", "swapped.yml")
	if failures := strings.Count(out, "alertname:"); err == nil || failures != 2*len(swapped) {
		t.Errorf("%d of %d wrong cases fail: %v\n%s", failures, 2*len(swapped), err, out)
	}
}
