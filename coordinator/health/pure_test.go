package health

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// impurities says which imports, goroutines and readings of the clock a file
// has that a core must not have.
func impurities(file *ast.File) []string {
	var bad []string
	for _, spec := range file.Imports {
		if path := strings.Trim(spec.Path.Value, `"`); path != "math" && path != "time" {
			bad = append(bad, "import "+path)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt:
			bad = append(bad, "a goroutine's tool")
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			clock := []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}
			if ok && pkg.Name == "time" && slices.Contains(clock, n.Sel.Name) {
				bad = append(bad, "time."+n.Sel.Name)
			}
		}
		return true
	})
	return bad
}

func TestPure(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		checked++
		for _, bad := range impurities(file) {
			t.Errorf("%s: %s", e.Name(), bad)
		}
	}
	if checked < 5 {
		t.Errorf("checked %d files only", checked)
	}
}

func TestPureNoticesWhatIsNot(t *testing.T) {
	const source = `package p
import ("sync"; "time")
func f() { go f(); _ = time.Now() }
var c chan int`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if bad := impurities(file); len(bad) != 4 {
		t.Errorf("found %v", bad)
	}
}
