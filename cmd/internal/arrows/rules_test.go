package arrows

import (
	"fmt"
	"slices"
	"strings"
)

// rule is what one package of the module may import of the others.
type rule struct {
	pure bool
	may  []string // paths below the module; "…/*" is a subtree
}

// rules has one line for every package. A package under P/internal/ follows
// the line of P.
var rules = map[string]rule{
	"ring":                 {pure: true},
	"store/version":        {pure: true},
	"store/object":         {pure: true, may: []string{"store/version"}},
	"store/bucket":         {pure: true},
	"store/bucket/resolve": {pure: true, may: []string{"store/bucket", "store/object", "store/version"}},
	"gossip/state":         {pure: true, may: []string{"ring", "store/bucket"}},
	"gossip/topology":      {pure: true, may: []string{"ring", "gossip/state", "store/bucket"}},
	"coordinator/quorum":   {pure: true, may: []string{"store/object", "store/version"}},
	"coordinator/health":   {pure: true},
	"coordinator/pace":     {pure: true},
	"antientropy/merkle":   {pure: true},
	"antientropy/purge":    {pure: true, may: []string{"ring", "store/object", "store/version"}},

	"store":            {may: []string{"store/object", "store/version"}},
	"gossip":           {may: []string{"ring", "gossip/state", "store/bucket"}},
	"coordinator":      {may: []string{"ring", "store/bucket", "store/bucket/resolve", "store/object", "store/version", "coordinator/quorum", "coordinator/health"}},
	"coordinator/hint": {may: []string{"ring", "coordinator/pace", "store/object", "store/version"}},
	"antientropy":      {may: []string{"ring", "store/object", "store/version", "coordinator/quorum", "coordinator/pace", "antientropy/merkle", "antientropy/purge"}},

	"coordinator/rpc": {may: []string{"coordinator", "coordinator/health", "antientropy", "antientropy/merkle", "store", "gossip/state", "ring", "store/bucket", "store/bucket/resolve", "store/object", "store/version"}},
	"coordinator/api": {may: []string{"config/nearest", "coordinator", "coordinator/api/console", "coordinator/health", "coordinator/hint", "antientropy", "store", "gossip/state", "gossip/topology", "ring", "store/bucket", "store/bucket/resolve", "store/object", "store/version"}},

	"coordinator/api/console": {},

	"config":         {may: []string{"config/nearest"}},
	"config/nearest": {pure: true},
	"client":         {},

	"cmd/internal/arrows": {},
	"cmd/internal/e2e":    {},
	"cmd/internal/load":   {},
	// It lists as a client of a cluster does.
	"cmd/internal/load/internal/listing": {may: []string{"client", "cmd/internal/load/*"}},
	"cmd/internal/node":                  {may: []string{"ring", "gossip/*", "store/*", "coordinator/*", "antientropy/*", "config"}},
	"cmd/internal/sim":                   {may: []string{"ring", "gossip/*", "store/*", "coordinator/*", "antientropy/*", "config", "client", "cmd/internal/*"}},
	"cmd/starling":                       {may: []string{"cmd/internal/*", "config", "client"}},

	"cmd/internal/monitoring":        {},
	"cmd/internal/monitoring/render": {may: []string{"cmd/internal/monitoring"}},
}

// owners are the packages that may import a library, the longest matching
// path deciding.
var owners = map[string][]string{
	"github.com/cockroachdb/pebble":        {"store"},
	"github.com/cockroachdb/pebble/v2/vfs": {"store", "cmd/internal/node", "cmd/internal/sim"},
	"github.com/hashicorp/memberlist":      {"gossip"},
	"github.com/spf13/viper":               {"config"},
	"github.com/spf13/pflag":               {"config", "cmd/starling"},
	"github.com/spf13/cobra":               {"cmd/starling"},
	"github.com/go-chi/chi":                {"coordinator/api"},
	"github.com/prometheus/prometheus":     {"cmd/internal/monitoring"}, // and of it only the tests
}

// pureLibraries are those of pure functions.
var pureLibraries = []string{"github.com/cespare/xxhash/v2", "google.golang.org/protobuf/encoding/protowire"}

// impure are the standard packages that bring goroutines' tools, the outside
// world or randomness; with all below them.
var impure = []string{"context", "crypto/rand", "log", "math/rand", "net", "os", "runtime", "sync", "syscall", "testing", "unsafe"}

// clock are the names of package time that depend on when they are called.
var clock = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}

// under says whether path is root or lies below it.
func under(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

func matches(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		root, subtree := strings.CutSuffix(p, "/*")
		return path == root || subtree && under(path, root)
	})
}

// governing is the package whose rule covers pkg.
func governing(pkg string) string {
	if _, ok := rules[pkg]; ok {
		return pkg
	}
	if i := strings.LastIndex(pkg, "/internal/"); i >= 0 {
		return governing(pkg[:i])
	}
	return pkg
}

// checkImports says what is wrong with the imports of one file of a package.
// Tests of a pure package may use any library; in all else the tests keep the
// rules of their package. The commands' tests drive the whole.
func checkImports(pkg string, test bool, imports []string) []string {
	name := governing(pkg)
	r, ok := rules[name]
	if !ok {
		return []string{fmt.Sprintf("%s has no line in the table of rules", pkg)}
	}
	if test && under(pkg, "cmd") {
		return nil
	}
	var bad []string
	for _, path := range imports {
		if why := refuse(pkg, name, r, test, path); why != "" {
			bad = append(bad, fmt.Sprintf("%s imports %s: %s", pkg, path, why))
		}
	}
	return bad
}

func refuse(pkg, name string, r rule, test bool, path string) string {
	if own, ok := strings.CutPrefix(path, module+"/"); ok {
		if under(own, pkg) && test || own == name || under(own, name+"/internal") || matches(own, r.may) {
			return ""
		}
		return "not among the packages that it may import"
	}
	if !strings.Contains(strings.Split(path, "/")[0], ".") {
		return refuseStandard(r, test, path)
	}
	switch owner, has := ownersOf(path); {
	case has && !slices.Contains(owner, name):
		return "only for " + strings.Join(owner, ", ")
	case test:
		return ""
	case name == "client":
		return "the client needs nothing but the standard library"
	case r.pure && !slices.Contains(pureLibraries, path):
		return "not a library of pure functions"
	}
	return ""
}

func refuseStandard(r rule, test bool, path string) string {
	if r.pure && !test && slices.ContainsFunc(impure, func(root string) bool { return under(path, root) }) {
		return "pure code has no part in it"
	}
	return ""
}

func ownersOf(path string) ([]string, bool) {
	best := ""
	for root := range owners {
		if under(path, root) && len(root) > len(best) {
			best = root
		}
	}
	return owners[best], best != ""
}

// topLevel is what may stand at the top; names that start with a dot may too.
var topLevel = []string{
	"cmd", "ring", "gossip", "store", "coordinator", "antientropy", "config", "deploy", "go.mod", "go.sum", "Makefile",
	"client", "docs", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md",
}

// built is what the project itself makes there and version control ignores.
var built = []string{"bin", "coverage.out", "starling-data"}

// checkLayout says which entries of the top level are too many and which lack.
func checkLayout(names []string) []string {
	var bad []string
	for _, name := range names {
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) && !slices.Contains(built, name) {
			bad = append(bad, name+" does not belong to the top level")
		}
	}
	for _, name := range topLevel {
		if !slices.Contains(names, name) {
			bad = append(bad, name+" is missing")
		}
	}
	return bad
}
