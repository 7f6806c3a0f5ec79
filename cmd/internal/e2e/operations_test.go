package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// pathBlock is a fenced block of the newcomer's path.
var pathBlock = regexp.MustCompile("(?s)```sh path\n(.*?)```")

// port is one of the ports that the page uses: 4710 and up.
var port = regexp.MustCompile(`\b47([1-8])([0-2])\b`)

// The newcomer's path in docs/operations.md: each command does what the page
// says, in one shell, with ports that are free here.
func TestOperationsPath(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	base := freeBase(t)
	var script strings.Builder
	// Whatever happens, the nodes end with the shell.
	script.WriteString("trap 'code=$?; kill -9 $(jobs -p) 2>/dev/null || true; wait || true; exit $code' EXIT\n")
	blocks := pathBlock.FindAllStringSubmatch(string(text), -1)
	for _, m := range blocks {
		script.WriteString("set -x\n")
		script.WriteString(port.ReplaceAllStringFunc(m[1], func(p string) string {
			n, _ := strconv.Atoi(p) // the expression has digits alone
			return strconv.Itoa(base + n - 4700)
		}))
	}
	if len(blocks) < 8 {
		t.Fatalf("%d blocks: the page has lost its path, or this test its pattern", len(blocks))
	}
	bin, err := filepath.Abs(filepath.Join(root, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "timeout", "180", "bash", "-euo", "pipefail", "-c", script.String())
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		logs, _ := filepath.Glob(filepath.Join(dir, "practice", "*.log"))
		for _, f := range logs {
			log, _ := os.ReadFile(f)
			t.Logf("%s:\n%s", f, tail(log, 2000))
		}
		t.Fatalf("%v\n%s", err, tail(out, 8000))
	}
	for _, says := range []string{"red", "green", "0 problems", "converged, oldest proof", "n2 may be stopped", "starling-diag/"} {
		if !strings.Contains(string(out), says) {
			t.Errorf("the path does not print %q:\n%s", says, tail(out, 8000))
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("it leaves %v behind", left)
	}
}
