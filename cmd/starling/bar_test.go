package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"starling/cmd/internal/load"
)

func TestBarLine(t *testing.T) {
	for want, p := range map[string]load.Progress{
		"[------------------------]   0% filling: 0 ops":                      {},
		"[############------------]  50% filling: 7 ops":                      {Done: 0.5, Ops: 7, Elapsed: time.Millisecond},
		"[########################] 100% filling: 2000 ops, 1000/s, 3 errors": {Done: 1, Ops: 2000, Errors: 3, Elapsed: 2 * time.Second},
	} {
		if got := barLine("filling", p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBarClearsItself(t *testing.T) {
	var err bytes.Buffer
	a := &app{err: &err}
	b := a.newBar()
	b.show("x", load.Progress{})
	b.clear()
	if err.Len() != 0 {
		t.Errorf("a bar where there is no terminal: %q", err.String())
	}
	b.shown = true
	b.show("a long part", load.Progress{})
	long := err.Len()
	b.show("x", load.Progress{})
	if got := err.Len() - long; got != long {
		t.Errorf("a shorter line covers %d of %d bytes", got, long)
	}
	b.clear()
	b.clear()
	if got := err.String(); !strings.HasSuffix(got, "\r") || strings.Count(got, "\r") != 4 {
		t.Errorf("%q", got)
	}
}
