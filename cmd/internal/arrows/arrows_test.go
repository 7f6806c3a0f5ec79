package arrows

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestArrows(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range sources(t) {
		seen[s.pkg] = true
		for _, bad := range checkImports(s.pkg, s.test, s.imports()) {
			t.Errorf("%s: %s", s.name, bad)
		}
		for _, bad := range checkPure(s) {
			t.Error(bad)
		}
	}
	// Were the walk to start in the wrong place, it would find nothing wrong.
	for _, pkg := range []string{"ring", "store/object", "config", "cmd/internal/arrows"} {
		if !seen[pkg] {
			t.Errorf("no Go file of %s was seen", pkg)
		}
	}
}

func TestLayout(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, bad := range checkLayout(names) {
		t.Error(bad)
	}
}

// The checker itself: made-up imports, and what it must say of them.
func TestCheckImports(t *testing.T) {
	for _, tc := range []struct {
		pkg   string
		test  bool
		path  string
		wrong bool
	}{
		{"ring", false, "fmt", false},
		{"ring", false, "time", false},
		{"ring", false, "github.com/cespare/xxhash/v2", false},
		{"ring", false, "os", true},
		{"ring", false, "net/http", true},
		{"ring", false, "math/rand/v2", true},
		{"ring", true, "math/rand/v2", false},
		{"ring", false, "sync/atomic", true},
		{"ring", false, "github.com/prometheus/client_golang/prometheus", true},
		{"ring", false, "starling/store/version", true},
		{"ring", true, "starling/ring", false},
		{"ring", true, "starling/store", true},
		{"store/object", false, "starling/store/version", false},
		{"store/version", false, "starling/store/object", true},
		{"store/object", false, "starling/store", true},
		{"store/object/internal/codec", false, "starling/store/version", false},
		{"store/object/internal/codec", false, "os", true},
		{"gossip/state", false, "starling/ring", false},
		{"gossip/state", false, "starling/gossip", true},

		{"store", false, "github.com/cockroachdb/pebble/v2", false},
		{"gossip", false, "github.com/cockroachdb/pebble/v2", true},
		{"coordinator", true, "github.com/cockroachdb/pebble/v2/vfs", true},
		{"cmd/internal/node", false, "github.com/cockroachdb/pebble/v2/vfs", false},
		{"cmd/internal/node", false, "github.com/cockroachdb/pebble/v2", true},
		{"store", false, "starling/coordinator", true},
		{"store", false, "starling/ring", true},
		{"coordinator", false, "starling/store", true},
		{"coordinator", true, "starling/store", true},
		{"coordinator", false, "starling/gossip", true},
		{"antientropy", false, "starling/coordinator", true},
		{"antientropy", false, "starling/coordinator/quorum", false},
		{"coordinator/hint", false, "starling/coordinator", true},
		{"gossip", false, "github.com/hashicorp/memberlist", false},
		{"cmd/internal/node", false, "github.com/hashicorp/memberlist", true},

		{"coordinator/rpc", false, "starling/coordinator", false},
		{"coordinator/rpc", false, "starling/coordinator/rpc/internal/wire", false},
		{"coordinator/rpc/internal/wire", false, "starling/coordinator", false},
		{"coordinator/rpc", false, "starling/gossip", true},
		{"coordinator/rpc", false, "starling/coordinator/api", true},
		{"coordinator/api", false, "github.com/go-chi/chi/v5", false},
		{"coordinator/rpc", false, "github.com/go-chi/chi/v5", true},
		{"coordinator", false, "starling/coordinator/api", true},

		{"config", false, "github.com/spf13/viper", false},
		{"cmd/starling", false, "github.com/spf13/viper", true},
		{"config", false, "starling/store", true},
		{"client", false, "net/http", false},
		{"client", false, "github.com/cespare/xxhash/v2", true},
		{"client", true, "github.com/cespare/xxhash/v2", false},
		{"client", false, "starling/ring", true},
		{"client", true, "starling/ring", true},

		{"cmd/starling", false, "starling/cmd/internal/node", false},
		{"cmd/starling", false, "starling/store", true},
		{"cmd/starling", true, "starling/store", false},
		{"cmd/internal/node", false, "starling/coordinator/rpc", false},
		{"cmd/internal/node", false, "starling/client", true},
		{"surprise", false, "fmt", true},
		{".", false, "fmt", true},
	} {
		if got := checkImports(tc.pkg, tc.test, []string{tc.path}); len(got) > 0 != tc.wrong {
			t.Errorf("%s (test %v) importing %s: the checker says %q, want wrong %v", tc.pkg, tc.test, tc.path, got, tc.wrong)
		}
	}
}

func TestCheckPure(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"ring/a.go", `package ring; import "time"; var t = time.Now()`, "calls time.Now"},
		{"ring/a.go", `package ring; import clock "time"; func f() { clock.Sleep(1) }`, "calls time.Sleep"},
		{"ring/a.go", `package ring; import "time"; var now = time.Since`, "calls time.Since"},
		{"ring/a.go", `package ring; func f() { go f() }`, "starts a goroutine"},
		{"ring/a.go", `package ring; import . "time"`, "hides where"},
		{"ring/internal/x/a.go", `package x; func f() { go f() }`, "starts a goroutine"},
		{"ring/a.go", `package ring; import "time"; const d = time.Second; func f(t time.Time) {}`, ""},
		{"ring/a_test.go", `package ring; func f() { go f() }`, ""},
		{"store/a.go", `package store; func f() { go f() }`, ""},
	} {
		s, err := parse(tc.name, tc.text)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(checkPure(s), "\n")
		if !strings.Contains(got, tc.want) || (tc.want == "") != (got == "") {
			t.Errorf("%s: %s\ngot %q, want %q", tc.name, tc.text, got, tc.want)
		}
	}
}

func TestCheckLayout(t *testing.T) {
	if bad := checkLayout(append(slices.Clone(topLevel), ".git", "bin")); len(bad) > 0 {
		t.Errorf("the agreed layout: %q", bad)
	}
	if bad := checkLayout(append(slices.Clone(topLevel), "util")); len(bad) != 1 || !strings.Contains(bad[0], "util") {
		t.Errorf("an entry too many: %q", bad)
	}
	if bad := checkLayout(topLevel[1:]); len(bad) != 1 || !strings.Contains(bad[0], topLevel[0]) {
		t.Errorf("an entry that lacks: %q", bad)
	}
}
