package main

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

// lineWriter hands on what is written to it.
type lineWriter struct{ lines chan string }

func (w *lineWriter) Write(p []byte) (int, error) {
	w.lines <- string(p)
	return len(p), nil
}

func TestBenchAndCompare(t *testing.T) {
	store, stop := echoServer(t)
	defer stop()
	echo, stop2 := echoServer(t)
	defer stop2()
	c := newCLI(t, store)
	got := c.run("bench", "--workload", "f", "--duration", "50ms", "--warm-up", "1ms", "--records", "5", "--connections", "2", "-o", "json")
	var r struct {
		Workload   string         `json:"workload"`
		Ops        int64          `json:"ops"`
		Operations map[string]any `json:"operations"`
	}
	if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != 0 || r.Workload != "f" || r.Ops == 0 || len(r.Operations) == 0 {
		t.Errorf("bench: %+v, %v", got, err)
	}
	got = c.run("bench", "--workload", "c", "--duration", "50ms", "--warm-up", "1ms", "--records", "5", "--connections", "2")
	if got.code != 0 || !strings.Contains(got.out, "workload c: 2 connections") || !strings.Contains(got.out, "P99.9") || strings.Contains(got.err, "#") {
		t.Errorf("bench: %+v", got)
	}
	compare := []string{"bench", "compare", "--echo", echo, "--rounds", "1", "--round-duration", "200ms", "--warm-up", "1ms", "--records", "5", "--connections", "2"}
	got = c.run(append(compare, "--put-goal", "0.0001", "--get-goal", "0.0001")...)
	if got.code != 0 || !strings.Contains(got.out, "PASS: PUT") || !strings.Contains(got.out, "median") {
		t.Errorf("compare: %+v", got)
	}
	got = c.run(append(compare, "--put-goal", "1000")...)
	if got.code != 1 || !strings.Contains(got.out, "FAIL: PUT") || !strings.Contains(got.err, "goals") {
		t.Errorf("compare with a goal out of reach: %+v", got)
	}
	got = c.run(append(compare, "-o", "json", "--put-goal", "1000")...)
	if got.code != 1 || !strings.Contains(got.out, `"put_pass": false`) {
		t.Errorf("compare as JSON: %+v", got)
	}
}

// echoServer runs the hidden command until stop is called.
func echoServer(t *testing.T) (endpoint string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out := &lineWriter{lines: make(chan string, 1)}
	a := &app{in: strings.NewReader(""), out: out, err: io.Discard, env: func(string) string { return "" }}
	ended := make(chan int)
	go func() { ended <- execute(ctx, a, []string{"bench-echo", "--listen", "127.0.0.1:0", "--bytes", "1024"}) }()
	return strings.TrimSpace(<-out.lines), func() {
		cancel()
		select {
		case code := <-ended:
			if code != 0 {
				t.Errorf("bench-echo ended with exit code %d", code)
			}
		case <-time.After(30 * time.Second):
			t.Error("bench-echo does not end")
		}
	}
}
