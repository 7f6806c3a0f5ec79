package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// process is a node that the test started itself, to see how it ends.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	ports int // the first of three
	log   bytes.Buffer
	ended chan error
}

// serveAlone starts a node that is a cluster by itself and waits until it is
// ready.
func serveAlone(t *testing.T) *process {
	t.Helper()
	p := &process{t: t, ports: freeBase(t) + 10, ended: make(chan error, 1)}
	address := func(n int) string { return fmt.Sprint("127.0.0.1:", p.ports+n) }
	p.cmd = exec.Command(filepath.Join(root, "bin", "starling"), "serve", "--name", "alone", "--data-dir", t.TempDir(),
		"--replicas", "1", "--partitions", "16", "--shutdown-grace", "1m",
		"--http", address(0), "--rpc", address(1), "--gossip", address(2))
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // mostly it has ended
		if err, ok := <-p.ended; ok && t.Failed() {
			t.Logf("the node ended with %v:\n%s", err, p.log.Bytes())
		}
	})
	eventually(t, "the node is ready", func() bool { return p.ready() })
	return p
}

func (p *process) ready() bool {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", p.ports))
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == 200
}

// begin sends a put but for the end of its body, and returns once the node
// has asked for that.
func (p *process) begin() net.Conn {
	p.t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", p.ports))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "PUT %sk HTTP/1.1\r\nHost: alone\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", keys)
	const goOn = "HTTP/1.1 100 Continue\r\n\r\n"
	answer := make([]byte, len(goOn))
	if err == nil {
		_, err = io.ReadFull(conn, answer)
	}
	if err != nil || string(answer) != goOn {
		p.t.Fatalf("%q, %v: want to be told to go on", answer, err)
	}
	if _, err := fmt.Fprint(conn, "val"); err != nil {
		p.t.Fatal(err)
	}
	return conn
}

func (p *process) signal() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// wait is how the process ends, which it has to do soon.
func (p *process) wait() error {
	p.t.Helper()
	select {
	case err := <-p.ended:
		close(p.ended)
		return err
	case <-time.After(20 * time.Second):
		p.t.Fatal("the node does not end")
		return nil
	}
}

// After SIGTERM a node is not ready, answers what it has begun, and ends
// with code 0.
func TestStopFinishesWhatItHasBegun(t *testing.T) {
	t.Parallel()
	p := serveAlone(t)
	conn := p.begin()
	p.signal()
	eventually(t, "the node is not ready", func() bool { return !p.ready() })
	select {
	case err := <-p.ended:
		t.Fatalf("the node has ended with %v while it had a request", err)
	default:
	}
	if _, err := fmt.Fprint(conn, "ue"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 204 {
		t.Fatalf("the request that was begun: %v, %+v", err, resp)
	}
	_ = resp.Body.Close()
	if err := p.wait(); err != nil {
		t.Errorf("the node ended with %v", err)
	}
}

// A second signal ends a node at once.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	p := serveAlone(t)
	p.begin()
	p.signal()
	eventually(t, "the node is not ready", func() bool { return !p.ready() })
	p.signal()
	var exit *exec.ExitError
	if err := p.wait(); !errors.As(err, &exit) || exit.ExitCode() == 0 {
		t.Errorf("the node ended with %v, want not to have finished", err)
	}
}
