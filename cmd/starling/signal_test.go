package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asCommand makes this test binary the command itself.
const asCommand = "TEST_AS_STARLING"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// TestSignals: a node goes on serving after the first signal, for as long as
// it was told to, and ends at the second, or in good order without one.
func TestSignals(t *testing.T) {
	for _, tc := range []struct {
		delay  string
		second bool
		code   int
	}{{"1h", true, exitFailed}, {"1ms", false, exitDone}} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "serve", "--data-dir", t.TempDir(),
			"--http", "127.0.0.1:0", "--rpc", "127.0.0.1:0", "--gossip", "127.0.0.1:0", "--drain-delay", tc.delay, "--shutdown-grace", "7s")
		cmd.Env = append(os.Environ(), asCommand+"=1")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		stopping := ""
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			switch {
			case strings.Contains(lines.Text(), "listening"):
				err = cmd.Process.Signal(syscall.SIGTERM)
			case strings.Contains(lines.Text(), "stopping gracefully") && tc.second:
				stopping = lines.Text()
				err = cmd.Process.Signal(syscall.SIGINT)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		_ = cmd.Wait() // the code says it
		if code := cmd.ProcessState.ExitCode(); code != tc.code {
			t.Errorf("delay %s: exit code %d, want %d\n%s", tc.delay, code, tc.code, log.String())
		}
		if tc.second && !strings.Contains(stopping, "requests_end_within=1h0m7s") {
			t.Errorf("the first signal was answered %q", stopping)
		}
		if clean := strings.Contains(log.String(), "msg=stopped"); clean == tc.second {
			t.Errorf("delay %s: it stopped in good order: %v\n%s", tc.delay, clean, log.String())
		}
	}
}
