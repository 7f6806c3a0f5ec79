package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shellBlock is a fenced block of commands that a page says can be run as
// they are; what is only shown is fenced otherwise.
var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// The commands in the pages run against a cluster, and none is answered with
// an error.
func TestDocumentedCommandsRun(t *testing.T) {
	if out, err := exec.Command("curl", "--version").Output(); err != nil || !hasHeaderVariable(string(out)) {
		t.Skip("the pages use curl 7.84 or newer, which is not installed here")
	}
	c := up(t, 3)
	pages := []string{filepath.Join(root, "README.md")}
	more, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, page := range append(pages, more...) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range shellBlock.FindAllStringSubmatch(string(text), -1) {
			blocks++
			script := strings.ReplaceAll(m[1], "127.0.0.1:4700", fmt.Sprintf("127.0.0.1:%d", c.base+10))
			cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
			out, err := cmd.CombinedOutput()
			if err != nil || strings.Contains(string(out), `"type":"/problems/`) {
				t.Errorf("%s: %v\n%s\nprinted\n%s", filepath.Base(page), err, script, out)
			}
		}
	}
	if blocks < 5 {
		t.Fatalf("%d blocks of commands: the pages have lost their examples, or this test its pattern", blocks)
	}
}

// hasHeaderVariable says whether this curl knows %header{name}.
func hasHeaderVariable(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(version, "curl %d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 7 || major == 7 && minor >= 84
}
