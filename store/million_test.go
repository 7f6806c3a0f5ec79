package store

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"starling/store/object"
	"starling/store/version"
)

var (
	million     = flag.Bool("store.million", false, "run TestMillion: fill a store, kill its process, and time the next start")
	millionFill = flag.String("store.millionfill", "", "what TestMillion runs in the process that it kills: the directory to fill")
)

const (
	millionKeys  = 1_000_000
	millionHints = 100_000
)

func millionRef(i int) object.Ref {
	return object.Ref{Partition: uint32(i % 1024), Bucket: "million", Key: fmt.Sprintf("key-%08d", i)}
}

// TestMillion fills a store with a million keys of 100 bytes and some hints,
// ends its process by SIGKILL while it writes on, and logs how long the next
// one takes to open it and to read.
func TestMillion(t *testing.T) {
	if !*million {
		t.Skip("only with -store.million")
	}
	dir := t.TempDir()
	killWhenFull(t, dir)
	took := func(what string, f func()) time.Duration {
		start := time.Now()
		f()
		d := time.Since(start)
		t.Logf("%-22s %v", what, d.Round(10*time.Microsecond))
		return d
	}
	var s *Store
	if d := took("open", func() { s = mustOpen(t, millionOptions(dir)) }); d > 10*time.Second {
		t.Errorf("a node that was killed must serve within 10 s")
	}
	defer mustClose(t, s)
	rng := rand.New(rand.NewPCG(1, 1))
	read := func() {
		if o := mustGet(t, s, millionRef(rng.IntN(millionKeys))); len(o.Siblings) != 1 {
			t.Errorf("a key holds %v", o)
		}
	}
	took("first read", read)
	took("first put", func() { mustPut(t, s, millionRef(millionKeys), version.Context{}, "v") })
	took("first 1000 reads", func() {
		for range 1000 {
			read()
		}
	})
	took("totals of hints", func() {
		totals := s.HintTotals()
		if len(totals) != 1 || totals[0].Hints != millionHints {
			t.Errorf("totals are %v", totals)
		}
	})
	took("range over all hints", func() {
		n := 0
		for range s.Hints(testTarget(1), object.Ref{}) {
			n++
		}
		if n != millionHints {
			t.Errorf("%d hints", n)
		}
	})
}

func millionOptions(dir string) Options {
	return Options{Dir: dir, FreeFloorBytes: -1, HintsMaxBytes: 1 << 30, HintsMaxTargetBytes: 1 << 30}
}

// killWhenFull fills the directory in another process, and kills it.
func killWhenFull(t *testing.T, dir string) {
	t.Helper()
	fill := exec.Command(os.Args[0], "-test.run=^TestMillionFill$", "-test.v", "-store.millionfill="+dir)
	fill.Stderr = os.Stderr
	out, err := fill.StdoutPipe()
	if err == nil {
		err = fill.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for full := false; !full; full = strings.Contains(lines.Text(), "full") {
		if !lines.Scan() {
			t.Fatal("the other process ended early")
		}
	}
	if err := fill.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = fill.Wait() // it was killed
}

// TestMillionFill is the process that TestMillion kills.
func TestMillionFill(t *testing.T) {
	if *millionFill == "" {
		t.Skip("runs in another process, for TestMillion")
	}
	s := mustOpen(t, millionOptions(*millionFill))
	value := []byte(strings.Repeat("0123456789", 10))
	each(t, millionKeys, func(i int) (object.Written, error) {
		return s.Put(millionRef(i), version.Context{}, object.Sibling{Value: value, Op: op(i + 1)})
	})
	each(t, millionHints, func(i int) (object.Written, error) {
		return s.MergeHint(testTarget(1), millionRef(i), foreign(7, uint64(i+1), string(value)))
	})
	fmt.Println("full")
	for i := 0; ; i++ { // until the end
		mustPut(t, s, testRef(1, key(i)), version.Context{}, "v")
	}
}

// each does n writes from a few goroutines, and waits for the last of each.
func each(t *testing.T, n int, write func(i int) (object.Written, error)) {
	t.Helper()
	const writers = 4
	var group errgroup.Group
	for g := range writers {
		group.Go(func() error {
			var last object.Written
			for i := g; i < n; i += writers {
				w, err := write(i)
				if err != nil {
					return err
				}
				last = w
			}
			return last.Wait()
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}
